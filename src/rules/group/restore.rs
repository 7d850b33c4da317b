//! Pending alerts from the series `ALERTS_FOR_STATE`, where no snapshot of our own has them: after a move of a
//! Prometheus' folder, or where another server's rules were received by remote write.
//!
//! As in Prometheus, this happens after the second evaluation, when recording rules and scrapes had their chance; until
//! then no rule that may find its past there writes such series itself.

use std::sync::atomic::Ordering;

use crate::base::clock::Millis;
use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::matcher::{MatchOp, Matcher};
use crate::model::sample::{Value, is_stale};
use crate::rules::group::{Group, World};
use crate::rules::rule::{Alerting, Rule};
use crate::rules::seam::RuleSample;

/// Prometheus' `--rules.alert.for-outage-tolerance`.
const OUTAGE_MAX: Millis = 3_600_000;

/// Prometheus' `--rules.alert.for-grace-period`: rules that hold for less start anew, and what would fire sooner waits
/// this long.
const GRACE: Millis = 600_000;

/// Evaluations before the series are looked at.
const EVALUATIONS: u8 = 2;

impl Group {
    /// Has the group restore its alerts from series after its first evaluations.
    pub fn await_series(&self) {
        self.awaits_series.store(EVALUATIONS, Ordering::Relaxed);
    }

    /// Whether the alerts of a rule are not restored yet, so that their series must not be overwritten.
    pub(super) fn is_rule_awaiting(&self, alerting: &Alerting) -> bool {
        alerting.hold >= GRACE && self.awaits_series.load(Ordering::Relaxed) > 0
    }

    /// Counts an evaluation; whether it is time for [`Group::restore_from_series`].
    pub fn counted_evaluation(&self) -> bool {
        let left = self.awaits_series.load(Ordering::Relaxed);
        if left > 1 {
            self.awaits_series.store(left - 1, Ordering::Relaxed);
        }
        left == 1
    }

    /// Sets when alerts became active to what the series say.
    pub fn restore_from_series(&self, world: &World, now: Millis) {
        for (index, rule) in self.spec.rules.iter().enumerate() {
            let Some(alerting) = rule.alerting().filter(|alerting| alerting.hold >= GRACE) else { continue };
            let found = match matchers(rule) {
                Some(matchers) => world.backend.last_samples(&matchers, (now - OUTAGE_MAX, now)),
                None => continue,
            };
            let series = match found {
                Ok(series) => series,
                Err(error) => {
                    tracing::warn!(rule = &*rule.name, error, "alerts cannot be restored from ALERTS_FOR_STATE");
                    continue;
                }
            };
            self.with_state(index, |state| {
                for alert in state.alerts.iter_mut() {
                    let of_alert = series.iter().filter(|sample| is_of(&sample.labels, &alert.labels));
                    if let Some((since, seen)) = of_alert.filter_map(since).max_by_key(|(_, seen)| *seen) {
                        alert.active_at = restored(since, seen, alerting.hold, now);
                    }
                }
            });
        }
        self.awaits_series.store(0, Ordering::Relaxed);
    }
}

/// Since when an alert counts as active, if it was since `since` when it was last seen.
fn restored(since: Millis, seen: Millis, hold: Millis, now: Millis) -> Millis {
    let remaining = hold - (seen - since);
    if remaining <= 0 {
        since
    } else if remaining < GRACE {
        now + GRACE - hold
    } else {
        since + (now - seen)
    }
}

/// The value of the series and when it was written.
fn since(sample: &RuleSample) -> Option<(Millis, Millis)> {
    match sample.value {
        #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
        Value::Float(secs) if !is_stale(secs) && secs.is_finite() => Some(((secs * 1000.0) as i64, sample.time)),
        _ => None,
    }
}

/// Whether a series is that of an alert. It may have more labels: external ones of the server that wrote it.
fn is_of(series: &Labels, alert: &Labels) -> bool {
    alert.iter().all(|(name, value)| series.get(name) == Some(value))
}

fn matchers(rule: &Rule) -> Option<Vec<Matcher>> {
    let equal = |name: &str, value: &str| Matcher::new(MatchOp::Equal, name, value).ok();
    let fixed = rule.labels.iter().filter(|(_, value)| !value.contains("{{"));
    [(METRIC_NAME, "ALERTS_FOR_STATE"), ("alertname", &*rule.name)]
        .into_iter()
        .chain(fixed.map(|(name, value)| (&**name, &**value)))
        .map(|(name, value)| equal(name, value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_nobody_looked_does_not_count() {
        let minute = 60_000;
        // It was firing already.
        assert_eq!(restored(0, 30 * minute, 20 * minute, 40 * minute), 0);
        // 5 of 20 minutes were left: it waits for the grace period of 10.
        assert_eq!(restored(0, 15 * minute, 20 * minute, 30 * minute), 20 * minute);
        // 15 of 20 were left: they still are.
        assert_eq!(restored(0, 5 * minute, 20 * minute, 30 * minute), 25 * minute);
    }
}
