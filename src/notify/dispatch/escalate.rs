//! The steps of escalations that are due, as notifications.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::plan::group_labels_text;
use super::{Dispatcher, Muting, Notification};
use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::notify::alert::Alert;
use crate::notify::escalation::{Key, Progress};
use crate::notify::history::{Event, Kind};
use crate::notify::log::Reason;
use crate::notify::settings::Policy;

/// A step is given up after this long and tried again.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What one policy tells of alerts of one name.
#[derive(Default)]
struct Batch {
    alerts: Vec<Alert>,
    receivers: BTreeSet<String>,
    keys: Vec<Key>,
}

impl Dispatcher {
    /// Takes the steps that are due: alerts of one name and one policy go together.
    pub(super) fn escalate(&mut self, now: Millis) -> Vec<Notification> {
        let routing = Arc::clone(&self.routing);
        let mut batches: BTreeMap<(String, String), Batch> = BTreeMap::new();
        for key in self.escalations.due(now) {
            let policy = routing.beyond.policies.iter().find(|policy| policy.escalation.name == key.1);
            let (Some(policy), Some(alert)) = (policy, self.alert(key.0).cloned()) else {
                self.escalations.end(&key);
                continue;
            };
            let receivers = self.step(&key, policy, &alert, now);
            if !receivers.is_empty() {
                let batch = batches.entry((key.1.clone(), alert.name().to_owned())).or_default();
                batch.receivers.extend(receivers);
                batch.alerts.push(alert);
                batch.keys.push(key);
            }
        }
        let mut notifications = Vec::new();
        for ((policy, name), mut batch) in batches {
            batch.alerts.sort_by(Alert::notification_order);
            let group_labels = Labels::from_pairs([("alertname", name.as_str())]);
            let key = format!("{{}}/escalation={policy:?}:{}", group_labels_text(&group_labels));
            for receiver in batch.receivers.iter().filter_map(|name| routing.receiver(name)) {
                for (integration, place) in receiver.integrations().into_iter().enumerate() {
                    let is_told = |alert: &&Alert| place.send_resolved() || !alert.is_resolved_at(now);
                    let alerts: Vec<_> = batch.alerts.iter().filter(is_told).cloned().collect();
                    if alerts.is_empty() {
                        continue;
                    }
                    notifications.push(Notification {
                        receiver: receiver.name.clone(),
                        integration,
                        group_key: key.clone(),
                        group_labels: group_labels.clone(),
                        route_labels: BTreeMap::new(),
                        alerts,
                        reason: Reason::Escalation,
                        timeout: TIMEOUT,
                        is_silent: false,
                        told: Vec::new(),
                        escalated: batch.keys.clone(),
                    });
                }
            }
        }
        notifications
    }

    /// Whom an escalation tells now, which moves it on.
    fn step(&mut self, key: &Key, policy: &Policy, alert: &Alert, now: Millis) -> Vec<String> {
        let Some(progress) = self.escalations.get(key).cloned() else { return Vec::new() };
        let steps = &policy.escalation.steps;
        if progress.is_over {
            self.escalations.end(key);
            return steps.iter().take(progress.taken).map(|step| step.receiver.clone()).collect();
        }
        if let Some(seen) = self.acknowledgements.get(key.0, now) {
            let until = seen.until;
            self.escalations.set(key.clone(), Progress { next: until, ..progress });
            return Vec::new();
        }
        if self.muting(&alert.labels, now) != Muting::default() {
            self.escalations.postpone(key, now);
            return Vec::new();
        }
        let Some(step) = steps.get(progress.taken).or(steps.last()) else { return Vec::new() };
        let next = match (steps.get(progress.taken + 1), policy.escalation.repeat) {
            (Some(next), _) => progress.since.saturating_add(next.after.as_millis()).max(now),
            (None, Some(repeat)) => now.saturating_add(repeat.as_millis()),
            (None, None) => Millis::MAX,
        };
        self.escalations.set(key.clone(), Progress { taken: progress.taken + 1, next, ..progress });
        let mut event = Event::of(Kind::Escalated, key.0, alert.labels.clone(), now);
        event.by.clone_from(&policy.escalation.name);
        event.detail.clone_from(&step.receiver);
        self.note(event);
        vec![step.receiver.clone()]
    }

    /// Takes a step back that did not reach anybody; it is tried again soon.
    pub(super) fn step_failed(&mut self, key: &Key, now: Millis) {
        if let Some(progress) = self.escalations.get(key).filter(|one| !one.is_over && one.taken > 0).cloned() {
            self.escalations.set(key.clone(), Progress { taken: progress.taken - 1, ..progress });
            self.escalations.postpone(key, now);
        }
    }
}
