//! What groups that are due tell their receivers: at once, after a delay, or together in a digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Dispatcher, GroupId, Muting, Notification, Told, millis};
use crate::base::clock::Millis;
use crate::model::labels::{Labels, Quoted};
use crate::notify::alert::{Alert, Fingerprint};
use crate::notify::config::receivers::Integration;
use crate::notify::log::{Reason, Rules, State};
use crate::notify::route::Route;

/// What one group looks like now.
struct Seen {
    /// In the order of notifications.
    alerts: Vec<Alert>,
    state: State,
    /// When it will look different although nobody reports anything: a delay or a hold is over.
    wake: Option<Millis>,
}

impl Dispatcher {
    /// What has to be sent now. Groups are put forward by their interval.
    pub fn due(&mut self, now: Millis) -> Vec<Notification> {
        self.settle(now);
        let routing = Arc::clone(&self.routing);
        let mut notifications = Vec::new();
        let mut digests: BTreeMap<&str, Vec<(Arc<GroupId>, &Route)>> = BTreeMap::new();
        for id in self.groups.take_due(now) {
            let Some(route) = routing.route(&id.route) else { continue };
            let Some(group) = self.groups.get_mut(&id) else { continue };
            if group.in_flight > 0 {
                // It is looked at when the notification that is under way has ended.
                group.is_waiting = true;
                continue;
            }
            group.is_old = true;
            if routing.beyond.delivery(&route.receiver).is_some_and(|delivery| delivery.digest.is_some()) {
                digests.entry(&route.receiver).or_default().push((id, route));
            } else {
                notifications.extend(self.flush(&id, route, now));
            }
        }
        for (receiver, groups) in digests {
            notifications.extend(self.digest(receiver, &groups, now));
        }
        notifications.extend(self.escalate(now));
        notifications
    }

    /// One group to all places of its receiver.
    fn flush(&mut self, id: &Arc<GroupId>, route: &Route, now: Millis) -> Vec<Notification> {
        let seen = self.see(id, route, now);
        let next = now.saturating_add(millis(route.group_interval).max(1));
        let wake = seen.as_ref().and_then(|seen| seen.wake).unwrap_or(next);
        self.groups.schedule(id, next.min(wake.max(now + 1)));
        let planned = seen.map_or(Vec::new(), |seen| self.plan(id, route, &seen, now));
        if planned.is_empty() {
            self.drop_resolved(id, now);
        } else if let Some(group) = self.groups.get_mut(id) {
            group.in_flight = planned.len();
        }
        planned
    }

    /// The alerts of a group that are not muted; `None` where the route is closed now.
    fn see(&self, id: &GroupId, route: &Route, now: Millis) -> Option<Seen> {
        let group = self.groups.get(id)?;
        if !self.routing.is_open(route, now) {
            return None;
        }
        let beyond = &self.routing.beyond;
        let delay = beyond.delivery(&route.receiver).map_or(0, |delivery| delivery.delay.as_millis());
        let mut seen = Seen { alerts: Vec::new(), state: State::default(), wake: None };
        let mut wake_at = |time: Millis| seen.wake = Some(seen.wake.map_or(time, |known| known.min(time)));
        for (fingerprint, alert) in &group.alerts {
            if self.muting(&alert.labels, now) != Muting::default() {
                continue;
            }
            let told_from = alert.starts_at.saturating_add(delay);
            let is_resolved = alert.is_resolved_at(now);
            if told_from > if is_resolved { alert.ends_at } else { now } {
                // Too young to be told, or over before it was old enough.
                if !is_resolved {
                    wake_at(told_from);
                }
                continue;
            }
            let mut alert = alert.clone();
            if is_resolved && let Some(until) = self.flaps.held_until(*fingerprint, &beyond.settings.flapping, now) {
                wake_at(until);
                alert.ends_at = until;
            }
            let side = if alert.is_resolved_at(now) { &mut seen.state.resolved } else { &mut seen.state.firing };
            side.insert(*fingerprint);
            seen.alerts.push(alert);
        }
        seen.alerts.sort_by(Alert::notification_order);
        Some(seen)
    }

    /// What each place of the group's receiver is told.
    fn plan(&self, id: &Arc<GroupId>, route: &Route, seen: &Seen, now: Millis) -> Vec<Notification> {
        let Some(receiver) = self.routing.receiver(&route.receiver) else { return Vec::new() };
        let group_key = format!("{}:{}", route.key, group_labels_text(&id.labels));
        let places = receiver.integrations().into_iter().enumerate();
        let plan = |(integration, place): (usize, Integration<'_>)| {
            let rules = Rules { send_resolved: place.send_resolved(), repeat_interval: route.repeat_interval };
            let log_key = log_key(&receiver.name, integration);
            let reason = self.log.reason((&group_key, &log_key), &seen.state, rules, now)?;
            if reason == Reason::Repeat && self.is_seen(&seen.state, now) {
                return None;
            }
            let is_told = |alert: &&Alert| rules.send_resolved || !alert.is_resolved_at(now);
            let alerts: Vec<_> = seen.alerts.iter().filter(is_told).cloned().collect();
            Some(Notification {
                receiver: receiver.name.clone(),
                integration,
                group_key: group_key.clone(),
                group_labels: id.labels.clone(),
                route_labels: route.labels.clone(),
                is_silent: alerts.is_empty(),
                alerts,
                reason,
                timeout: route.group_interval,
                told: vec![Told { id: Arc::clone(id), group_key: group_key.clone(), state: seen.state.clone() }],
                escalated: Vec::new(),
            })
        };
        places.filter_map(plan).collect()
    }

    /// Who has acknowledged everything that fires need not be reminded.
    fn is_seen(&self, state: &State, now: Millis) -> bool {
        state.firing.iter().all(|fingerprint| self.acknowledgements.get(*fingerprint, now).is_some())
    }

    /// All groups of a receiver in one message for each of its places: what changed since the last one.
    fn digest(&mut self, receiver: &str, groups: &[(Arc<GroupId>, &Route)], now: Millis) -> Vec<Notification> {
        let routing = Arc::clone(&self.routing);
        let Some(receiver) = routing.receiver(receiver) else { return Vec::new() };
        let digest = routing.beyond.delivery(&receiver.name).and_then(|delivery| delivery.digest);
        let next = now.saturating_add(digest.map_or(1, |digest| digest.as_millis()));
        self.digests.insert(receiver.name.clone(), next);
        let mut seen = Vec::new();
        for (id, route) in groups {
            self.groups.schedule(id, next);
            seen.extend(self.see(id, route, now).map(|seen| (id, *route, seen)));
        }
        let mut notifications = Vec::new();
        for (integration, place) in receiver.integrations().into_iter().enumerate() {
            let log_key = log_key(&receiver.name, integration);
            let (mut alerts, mut told) = (Vec::new(), Vec::new());
            for (id, route, seen) in &seen {
                let group_key = format!("{}:{}", route.key, group_labels_text(&id.labels));
                let rules = Rules { send_resolved: place.send_resolved(), repeat_interval: route.repeat_interval };
                let reason = self.log.reason((&group_key, &log_key), &seen.state, rules, now);
                // What fired and ended between two digests belongs into the second.
                let is_over = self.log.get(&group_key, &log_key).is_none() && !seen.state.resolved.is_empty();
                if reason.is_none() && !(is_over && rules.send_resolved)
                    || reason == Some(Reason::Repeat) && self.is_seen(&seen.state, now)
                {
                    continue;
                }
                let is_told = |alert: &&Alert| rules.send_resolved || !alert.is_resolved_at(now);
                alerts.extend(seen.alerts.iter().filter(is_told).cloned());
                told.push(Told { id: Arc::clone(id), group_key, state: seen.state.clone() });
            }
            if told.is_empty() {
                continue;
            }
            for one in &told {
                if let Some(group) = self.groups.get_mut(&one.id) {
                    group.in_flight += 1;
                }
            }
            alerts.sort_by(Alert::notification_order);
            notifications.push(Notification {
                receiver: receiver.name.clone(),
                integration,
                group_key: format!("digest:{}", receiver.name),
                group_labels: Labels::empty(),
                route_labels: BTreeMap::new(),
                is_silent: alerts.is_empty(),
                alerts,
                reason: Reason::Digest,
                timeout: digest.map_or(std::time::Duration::ZERO, |digest| digest.as_duration()),
                told,
                escalated: Vec::new(),
            });
        }
        for (id, ..) in &seen {
            if self.groups.get(id).is_some_and(|group| group.in_flight == 0) {
                self.drop_resolved(id, now);
            }
        }
        notifications
    }

    /// Reports what became of a notification. A success is logged, and what it said of resolved alerts is forgotten
    /// once every place of the group's receiver has been told.
    pub fn delivered(&mut self, notification: &Notification, is_success: bool, now: Millis) {
        for key in notification.escalated.iter().filter(|_| !is_success) {
            self.step_failed(key, now);
        }
        for told in &notification.told {
            if is_success {
                let key = log_key(&notification.receiver, notification.integration);
                self.log.record(&told.group_key, &key, told.state.clone(), now);
            }
            let Some(group) = self.groups.get_mut(&told.id) else { continue };
            group.in_flight = group.in_flight.saturating_sub(1);
            if group.in_flight > 0 {
                continue;
            }
            if std::mem::take(&mut group.is_waiting) {
                self.groups.schedule(&told.id, now);
            }
            if is_success {
                let resolved = &told.state.resolved;
                self.groups.retain(&told.id, |id, alert| !(resolved.contains(id) && alert.is_resolved_at(now)));
            }
        }
    }

    /// Forgets resolved alerts of a group about which nobody needs to be told.
    fn drop_resolved(&mut self, id: &GroupId, now: Millis) {
        let (flaps, settings) = (&self.flaps, &self.routing.beyond.settings.flapping);
        let is_held = |id: &Fingerprint| flaps.held_until(*id, settings, now).is_some();
        self.groups.retain(id, |id, alert| !alert.is_resolved_at(now) || is_held(id));
    }
}

/// The receiver and the place in it: what the log knows a receiver by.
pub(super) fn log_key(receiver: &str, integration: usize) -> String {
    format!("{receiver}/{integration}")
}

/// Group labels as Go prints a label set: `{alertname="Down", job="vm"}`.
pub(super) fn group_labels_text(labels: &Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={}", Quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}
