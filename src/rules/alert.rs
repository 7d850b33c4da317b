//! The life of the alerts of one rule: pending, firing, resolved.
//!
//! Semantics are Prometheus', including: `for` is measured on evaluation times; resolved alerts stay for 15 minutes so
//! that their end is told more than once; exceeding the limit forgets all alerts of the rule.

use std::collections::BTreeMap;

use crate::base::clock::Millis;
use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::sample::Value;
use crate::rules::rule::{Alerting, Rule};
use crate::rules::seam::RuleSample;

/// How long a resolved alert is kept and told again.
const RESOLVED_RETENTION: Millis = 15 * 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    Inactive,
    Pending,
    Firing,
}

impl AlertState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert of a rule. Times are those of evaluations.
#[derive(Clone, Debug)]
pub struct Alert {
    pub state: AlertState,
    pub labels: Labels,
    pub annotations: Labels,
    /// Of the last evaluation that gave it; the sum's count for a histogram.
    pub value: f64,
    pub active_at: Millis,
    pub fired_at: Option<Millis>,
    pub resolved_at: Option<Millis>,
    pub last_sent_at: Option<Millis>,
    /// A receiver that hears nothing more takes it for resolved at this time.
    pub valid_until: Millis,
    /// Since when the expression does not give it although it still fires.
    pub keep_firing_since: Option<Millis>,
}

impl Alert {
    fn new(labels: Labels, annotations: Labels, value: f64, time: Millis) -> Self {
        Self {
            state: AlertState::Pending,
            labels,
            annotations,
            value,
            active_at: time,
            fired_at: None,
            resolved_at: None,
            last_sent_at: None,
            valid_until: 0,
            keep_firing_since: None,
        }
    }

    fn needs_sending(&self, time: Millis, resend_delay: Millis) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        match self.last_sent_at {
            None => true,
            Some(sent) => self.resolved_at.is_some_and(|resolved| resolved > sent) || sent + resend_delay < time,
        }
    }
}

/// A label set that the expression gives now.
#[derive(Clone, Debug)]
pub struct Firing {
    pub labels: Labels,
    pub annotations: Labels,
    pub value: f64,
}

/// The alerts of one rule, by their labels.
#[derive(Clone, Debug, Default)]
pub struct AlertBook {
    alerts: BTreeMap<Labels, Alert>,
    /// Counts alerts that came, went or changed their state.
    changes: u64,
}

/// More alerts than the group allows, or two with the same labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    #[error("exceeded limit of {limit} with {count} alerts")]
    Limit { limit: usize, count: usize },
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    Duplicate,
}

impl AlertBook {
    /// All alerts, also resolved ones that are still told.
    pub fn iter(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// As [`AlertBook::iter`], to be changed; labels and states must stay.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Alert> {
        self.alerts.values_mut()
    }

    /// Alerts that are pending or firing.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.iter().filter(|alert| alert.resolved_at.is_none())
    }

    /// The worst state of any alert.
    pub fn state(&self) -> AlertState {
        self.iter().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive)
    }

    /// A number that moves whenever an alert comes, goes or changes its state.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Puts back an alert from before a restart or reload.
    pub fn restore(&mut self, alert: Alert) {
        self.alerts.insert(alert.labels.clone(), alert);
    }

    /// Takes what the expression gives at a time and moves every alert to its next state.
    pub fn update(
        &mut self,
        found: Vec<Firing>,
        time: Millis,
        alerting: &Alerting,
        limit: usize,
    ) -> Result<(), AlertError> {
        let mut present = BTreeMap::new();
        for firing in found {
            let labels = firing.labels.clone();
            if present.insert(labels, firing).is_some() {
                return Err(AlertError::Duplicate);
            }
        }
        for (labels, firing) in &present {
            match self.alerts.get_mut(labels) {
                Some(alert) if alert.state != AlertState::Inactive => {
                    alert.value = firing.value;
                    alert.annotations = firing.annotations.clone();
                }
                _ => {
                    let alert = Alert::new(labels.clone(), firing.annotations.clone(), firing.value, time);
                    self.alerts.insert(labels.clone(), alert);
                    self.changes += 1;
                }
            }
        }
        let (mut count, mut changes) = (0, 0);
        self.alerts.retain(|labels, alert| {
            let before = alert.state;
            let stepped = step(alert, present.contains_key(labels), time, alerting);
            changes += u64::from(stepped.is_none() || alert.state != before);
            count += usize::from(stepped == Some(true));
            stepped.is_some()
        });
        self.changes += changes;
        if limit > 0 && count > limit {
            self.alerts.clear();
            self.changes += 1;
            return Err(AlertError::Limit { limit, count });
        }
        Ok(())
    }

    /// Lets those of the found fire that are not active, between two evaluations. False where there are none, or where they
    /// are wrong or too many, which the next evaluation tells.
    pub fn fire_early(&mut self, found: Vec<Firing>, time: Millis, limit: usize) -> bool {
        let mut fresh: BTreeMap<Labels, Firing> = BTreeMap::new();
        let count = found.len();
        for firing in found {
            fresh.insert(firing.labels.clone(), firing);
        }
        let is_sound = fresh.len() == count && (limit == 0 || count <= limit);
        fresh.retain(|labels, _| self.alerts.get(labels).is_none_or(|alert| alert.state == AlertState::Inactive));
        if !is_sound || fresh.is_empty() {
            return false;
        }
        for (labels, firing) in fresh {
            let mut alert = Alert::new(labels.clone(), firing.annotations, firing.value, time);
            alert.state = AlertState::Firing;
            alert.fired_at = Some(time);
            self.alerts.insert(labels, alert);
            self.changes += 1;
        }
        true
    }

    /// The series `ALERTS` and `ALERTS_FOR_STATE` of what is pending or firing.
    pub fn samples(&self, rule: &Rule, time: Millis) -> Vec<RuleSample> {
        let mut samples = Vec::new();
        for alert in self.iter().filter(|alert| alert.state != AlertState::Inactive) {
            let mut builder = alert.labels.to_builder();
            // Labels of the rule that a template made empty are not on the alert; Prometheus writes them as they stand.
            for (name, value) in &rule.labels {
                if alert.labels.get(name).is_none() {
                    builder.set(name, value);
                }
            }
            builder.set("alertname", &rule.name).set(METRIC_NAME, "ALERTS_FOR_STATE");
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
            let active_secs = alert.active_at.div_euclid(1000) as f64;
            samples.push(RuleSample { labels: builder.build(), time, value: Value::Float(active_secs) });
            builder.set(METRIC_NAME, "ALERTS").set("alertstate", alert.state.name());
            samples.push(RuleSample { labels: builder.build(), time, value: Value::Float(1.0) });
        }
        samples
    }

    /// The alerts that a receiver should hear of now; notes that it did.
    pub fn to_send(&mut self, time: Millis, resend_delay: Millis, interval: Millis) -> Vec<Alert> {
        let mut due = Vec::new();
        for alert in self.alerts.values_mut().filter(|alert| alert.needs_sending(time, resend_delay)) {
            alert.last_sent_at = Some(time);
            // Two evaluations or deliveries may fail before the receiver takes it for resolved.
            alert.valid_until = time + 4 * interval.max(resend_delay);
            due.push(alert.clone());
        }
        due
    }
}

/// Moves one alert on: whether it counts as active, or `None` where it is to be forgotten.
fn step(alert: &mut Alert, present: bool, time: Millis, alerting: &Alerting) -> Option<bool> {
    if present {
        alert.keep_firing_since = None;
    } else {
        let mut keeps = false;
        if alert.state == AlertState::Firing && alerting.keep_firing > 0 {
            let since = *alert.keep_firing_since.get_or_insert(time);
            keeps = time - since < alerting.keep_firing;
        }
        let expired = alert.resolved_at.is_some_and(|resolved| time - resolved > RESOLVED_RETENTION);
        if alert.state == AlertState::Pending || expired {
            return None;
        }
        if !keeps {
            if alert.state != AlertState::Inactive {
                alert.state = AlertState::Inactive;
                alert.resolved_at = Some(time);
            }
            return Some(false);
        }
    }
    let held = time - alert.active_at >= alerting.hold;
    match alert.state {
        AlertState::Pending if held => {
            alert.state = AlertState::Firing;
            alert.fired_at = Some(time);
        }
        // `for` became longer by a reload.
        AlertState::Firing if !held => {
            alert.state = AlertState::Pending;
            alert.fired_at = None;
            alert.last_sent_at = None;
            alert.keep_firing_since = None;
        }
        _ => {}
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firing(instance: &str) -> Firing {
        Firing {
            labels: Labels::from_pairs([("alertname", "A"), ("instance", instance)]),
            annotations: Labels::empty(),
            value: 1.0,
        }
    }

    fn states(book: &AlertBook) -> Vec<&'static str> {
        book.iter().map(|alert| alert.state.name()).collect()
    }

    #[test]
    fn pending_firing_kept_resolved_forgotten() {
        let alerting = Alerting { hold: 60_000, keep_firing: 30_000, ..Alerting::default() };
        let mut book = AlertBook::default();
        let mut at = |secs: i64, found: &[&str]| {
            let found = found.iter().map(|instance| firing(instance)).collect();
            book.update(found, secs * 1000, &alerting, 0).unwrap();
            let sent: Vec<_> =
                book.to_send(secs * 1000, 60_000, 10_000).iter().map(|alert| alert.state.name()).collect();
            (states(&book), sent)
        };
        assert_eq!(at(0, &["a", "b"]), (vec!["pending", "pending"], vec![]));
        // A pending alert that is not given any more is forgotten at once.
        assert_eq!(at(30, &["a"]), (vec!["pending"], vec![]));
        assert_eq!(at(60, &["a"]), (vec!["firing"], vec!["firing"]));
        assert_eq!(at(90, &[]), (vec!["firing"], vec![]));
        assert_eq!(at(100, &["a"]), (vec!["firing"], vec![]));
        assert_eq!(at(130, &[]), (vec!["firing"], vec!["firing"]));
        assert_eq!(at(159, &[]), (vec!["firing"], vec![]));
        assert_eq!(at(160, &[]), (vec!["inactive"], vec!["inactive"]));
        assert_eq!(at(1060, &[]), (vec!["inactive"], vec!["inactive"]));
        assert_eq!(at(1061, &[]).0, Vec::<&str>::new());
    }

    #[test]
    fn the_limit_and_duplicates_are_errors() {
        let alerting = Alerting::default();
        let mut book = AlertBook::default();
        let error = book.update(vec![firing("a"), firing("b")], 0, &alerting, 1).unwrap_err();
        assert_eq!(error.to_string(), "exceeded limit of 1 with 2 alerts");
        assert!(states(&book).is_empty());
        assert_eq!(book.update(vec![firing("a"), firing("a")], 0, &alerting, 0), Err(AlertError::Duplicate));
    }

    #[test]
    fn an_alert_that_comes_back_starts_anew() {
        let alerting = Alerting { hold: 10_000, ..Alerting::default() };
        let mut book = AlertBook::default();
        for (time, found) in [(0, true), (10_000, true), (20_000, false), (30_000, true)] {
            book.update(found.then(|| firing("a")).into_iter().collect(), time, &alerting, 0).unwrap();
        }
        let alert = book.iter().next().unwrap();
        assert_eq!((alert.state, alert.active_at, alert.resolved_at), (AlertState::Pending, 30_000, None));
    }
}
