//! Groups of alerts and when they are due: the heart of delivery, as plain state that is told the time.
//!
//! [`Dispatcher::due`] gives what has to be sent now, by group, digest and escalation. The caller sends, then reports
//! back with [`Dispatcher::delivered`]; only then is the log written, so a crash in between sends twice rather than
//! never. What changed since the last call, to be kept on disk, is given by [`Dispatcher::drain`].

mod escalate;
mod group;
mod plan;
mod routing;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub use self::group::GroupId;
use self::group::Groups;
pub use self::routing::Routing;
use super::acknowledge::Acknowledgements;
use super::alert::{Alert, Fingerprint};
use super::config::SectionError;
use super::escalation::{Escalations, Key};
use super::flapping::Flaps;
use super::history::{Event, Kind};
use super::inhibit::Inhibitor;
use super::log::{Log, Reason, State};
use super::record::Record;
use super::recurring::{Recurring, Recurrings};
use super::silence::{SilenceError, Silences};
use crate::base::clock::Millis;
use crate::base::rng::Rng;
use crate::model::labels::Labels;
use crate::telemetry::Counters;

/// More alerts than this are refused: the oldest stay, the newcomer is counted.
pub const ALERTS_MAX: usize = 500_000;
/// Who reports alerts has this long after a restart before one counts as resolved because nobody speaks of it.
const GRACE_MS: Millis = 5 * 60 * 1000;

static REFUSED: Counters<0> = Counters::new(
    "novascope_alerts_refused_total",
    "Alerts that were refused because as many are known as may be.",
    [],
);

/// Everything that delivery remembers.
pub struct Dispatcher {
    routing: Arc<Routing>,
    alerts: HashMap<Fingerprint, Known>,
    /// When firing alerts end, unless they are reported again.
    ends: BTreeSet<(Millis, Fingerprint)>,
    groups: Groups,
    inhibitor: Inhibitor,
    /// When receivers with a digest get the next one.
    digests: HashMap<String, Millis>,
    pub silences: Silences,
    recurring: Recurrings,
    pub log: Log,
    pub acknowledgements: Acknowledgements,
    pub escalations: Escalations,
    flaps: Flaps,
    changed: HashSet<Fingerprint>,
    events: Vec<Event>,
}

/// An alert as it is known.
struct Known {
    alert: Alert,
    is_firing: bool,
    /// The end that is on disk, and since when.
    saved: (Millis, Millis),
}

/// What one place of a receiver is to be told.
#[derive(Clone, Debug)]
pub struct Notification {
    pub receiver: String,
    /// Which place of the receiver, counted over all kinds.
    pub integration: usize,
    pub group_key: String,
    pub group_labels: Labels,
    pub route_labels: BTreeMap<String, String>,
    /// In the order of notifications; the resolved ones only where the receiver wants them.
    pub alerts: Vec<Alert>,
    pub reason: Reason,
    /// It must be sent by then; the group is looked at again.
    pub timeout: Duration,
    /// Nothing to send, but the log must learn of the state: all resolved, and the receiver does not want to hear it.
    pub is_silent: bool,
    /// The groups that it speaks of.
    told: Vec<Told>,
    /// Escalations that took a step with it.
    escalated: Vec<Key>,
}

/// A group and the state of it that a notification tells.
#[derive(Clone, Debug)]
struct Told {
    id: Arc<GroupId>,
    group_key: String,
    state: State,
}

/// Why an alert is not notified now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muting {
    pub silenced_by: Vec<String>,
    pub inhibited_by: Vec<Fingerprint>,
    /// Windows of maintenance.
    pub muted_by: Vec<String>,
}

impl Dispatcher {
    pub fn new(routing: Routing) -> Result<Self, SectionError> {
        let inhibitor = Inhibitor::build(&routing.config.inhibit_rules)?;
        Ok(Self {
            routing: Arc::new(routing),
            alerts: HashMap::new(),
            ends: BTreeSet::new(),
            groups: Groups::default(),
            inhibitor,
            digests: HashMap::new(),
            silences: Silences::default(),
            recurring: Recurrings::default(),
            log: Log::default(),
            acknowledgements: Acknowledgements::default(),
            escalations: Escalations::default(),
            flaps: Flaps::default(),
            changed: HashSet::new(),
            events: Vec::new(),
        })
    }

    /// Takes a new configuration; alerts are grouped anew, and the log keeps what was told.
    pub fn reload(&mut self, routing: Routing, now: Millis) -> Result<(), SectionError> {
        self.inhibitor = Inhibitor::build(&routing.config.inhibit_rules)?;
        self.routing = Arc::new(routing);
        self.digests.clear();
        self.escalations.retain_policies(&self.routing.beyond.policies);
        self.group_all(now);
        Ok(())
    }

    fn group_all(&mut self, now: Millis) {
        self.groups.clear();
        let alerts: Vec<_> = self.alerts.values().map(|known| known.alert.clone()).collect();
        for alert in alerts {
            self.inhibitor.update(&alert);
            self.group(&alert, now);
        }
    }

    pub fn routing(&self) -> &Arc<Routing> {
        &self.routing
    }

    /// Takes a report of an alert, merged with what is known of it.
    pub fn put(&mut self, alert: Alert, now: Millis) {
        self.settle(now);
        let fingerprint = alert.fingerprint();
        let old = self.alerts.get(&fingerprint);
        if old.is_none() && self.alerts.len() >= ALERTS_MAX {
            REFUSED.get().inc();
            return;
        }
        let was_firing = old.is_some_and(|known| known.is_firing);
        let saved = old.map_or((Millis::MIN, now), |known| known.saved);
        let is_same = old.is_some_and(|known| known.alert.says_the_same(&alert));
        let alert = match old {
            Some(known) if alert.overlaps(&known.alert) => known.alert.clone().merge(alert, now),
            _ => alert,
        };
        let is_firing = !alert.is_resolved_at(now);
        if let Some(old) = self.alerts.get(&fingerprint) {
            self.ends.remove(&(old.alert.ends_at, fingerprint));
        }
        if is_firing {
            self.ends.insert((alert.ends_at, fingerprint));
        }
        // A report that only moves the end is written when half of the time that is on disk has passed.
        let is_fresh = is_same && is_firing == was_firing && now < saved.1 + (saved.0 - saved.1) / 2;
        let saved = if is_fresh { saved } else { (alert.ends_at, now) };
        if !is_fresh {
            self.changed.insert(fingerprint);
        }
        self.inhibitor.update(&alert);
        self.group(&alert, now);
        self.alerts.insert(fingerprint, Known { alert, is_firing, saved });
        self.turn(fingerprint, was_firing, now);
    }

    /// Notices alerts that ended because nobody speaks of them any more.
    fn settle(&mut self, now: Millis) {
        self.recurring.settle(&mut self.silences, now);
        while let Some((end, fingerprint)) = self.ends.first().copied()
            && end <= now
        {
            self.ends.pop_first();
            if let Some(known) = self.alerts.get_mut(&fingerprint) {
                let was_firing = std::mem::replace(&mut known.is_firing, false);
                self.turn(fingerprint, was_firing, now);
            }
        }
    }

    /// What follows from an alert that fires or fires no more.
    fn turn(&mut self, fingerprint: Fingerprint, was_firing: bool, now: Millis) {
        let Some(known) = self.alerts.get(&fingerprint).filter(|known| known.is_firing != was_firing) else { return };
        let routing = Arc::clone(&self.routing);
        let kind = if known.is_firing {
            self.escalations.fired(&routing.beyond.policies, &known.alert, now);
            Kind::Fired
        } else {
            self.escalations.resolved(fingerprint, now);
            self.acknowledgements.remove(fingerprint);
            Kind::Resolved
        };
        let labels = known.alert.labels.clone();
        let mut note = |kind| self.events.push(Event::of(kind, fingerprint, labels.clone(), now));
        note(kind);
        if self.flaps.changed(fingerprint, &routing.beyond.settings.flapping, now) {
            note(Kind::Flapping);
        }
    }

    fn group(&mut self, alert: &Alert, now: Millis) {
        let routing = Arc::clone(&self.routing);
        for route in routing.root.matching(&alert.labels) {
            let id = GroupId { route: route.id.clone(), labels: route.group_by.of(&alert.labels) };
            let digest = routing.beyond.delivery(&route.receiver).and_then(|delivery| delivery.digest);
            if let Some(digest) = digest {
                let next = self.digests.entry(route.receiver.clone()).or_insert(now.saturating_add(digest.as_millis()));
                self.groups.insert(id, alert, *next);
                continue;
            }
            let wait = millis(route.group_wait);
            // An alert that has waited long enough elsewhere goes out at once.
            let has_waited = alert.starts_at.saturating_add(wait) < now;
            let next = if has_waited { now } else { now.saturating_add(wait) };
            self.groups.insert(id.clone(), alert, next);
            if has_waited {
                self.groups.hasten(&id, now);
            }
        }
    }

    /// When something is due next; `None` while there is nothing.
    pub fn next_due(&self) -> Option<Millis> {
        let ends = self.ends.first().map(|(end, _)| *end);
        [self.groups.next_due(), self.escalations.next_due(), self.recurring.next_due(), ends]
            .into_iter()
            .flatten()
            .min()
    }

    /// Why an alert with these labels would not be notified now.
    pub fn muting(&self, labels: &Labels, now: Millis) -> Muting {
        Muting {
            silenced_by: self.silences.silenced_by(labels, now),
            inhibited_by: self.inhibitor.inhibited_by(labels, now).into_iter().collect(),
            muted_by: self.routing.beyond.muted_by(labels, now),
        }
    }

    /// Silences that come again.
    pub fn recurring(&self) -> &Recurrings {
        &self.recurring
    }

    /// Adds or changes a silence that comes again and gives its id.
    ///
    /// # Errors
    /// Says why it was not taken.
    pub fn set_recurring(&mut self, one: Recurring, now: Millis, rng: &Rng) -> Result<String, SilenceError> {
        self.recurring.set(one, &mut self.silences, (now, rng))
    }

    /// Ends a silence that comes again.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn remove_recurring(&mut self, id: &str, now: Millis) -> Result<(), SilenceError> {
        self.recurring.remove(id, &mut self.silences, now)
    }

    /// Puts back what was read from disk; nothing where it was removed.
    pub(super) fn restore_recurring(&mut self, id: String, one: Option<Recurring>) {
        self.recurring.restore(id, one);
    }

    /// All alerts that are known.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().map(|known| &known.alert)
    }

    pub fn alert(&self, fingerprint: Fingerprint) -> Option<&Alert> {
        self.alerts.get(&fingerprint).map(|known| &known.alert)
    }

    /// Alerts that are known and not resolved, with their fingerprints.
    pub fn active(&self, now: Millis) -> impl Iterator<Item = (Fingerprint, &Alert)> {
        let firing = self.alerts.iter().filter(move |(_, known)| !known.alert.is_resolved_at(now));
        firing.map(|(fingerprint, known)| (*fingerprint, &known.alert))
    }

    /// Groups with their route, for `/api/v2/alerts/groups`.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Labels, Vec<&Alert>)> {
        self.groups.iter().map(|(id, group)| (id.route.as_str(), &id.labels, group.alerts.values().collect()))
    }

    /// How often an alert changed lately, and whether that is flapping.
    pub fn flapping(&self, fingerprint: Fingerprint, now: Millis) -> (usize, bool) {
        let settings = &self.routing.beyond.settings.flapping;
        (self.flaps.changes(fingerprint, settings, now), self.flaps.is_flapping(fingerprint, settings, now))
    }

    /// Notes who acknowledged an alert, or that it was taken back.
    pub fn note(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Forgets what is over: resolved alerts that are in no group, ended sources, old log entries and silences.
    pub fn maintain(&mut self, now: Millis, retention: Duration) {
        self.settle(now);
        let grouped: HashSet<_> = self.groups.iter().flat_map(|(_, group)| group.alerts.keys().copied()).collect();
        self.alerts.retain(|fingerprint, known| known.is_firing || grouped.contains(fingerprint));
        let alerts = &self.alerts;
        self.acknowledgements.retain(now, |fingerprint| alerts.contains_key(&fingerprint));
        self.inhibitor.forget_resolved(now);
        self.silences.forget_expired(now, retention);
        self.log.forget_before(now.saturating_sub(millis(retention)));
        self.flaps.forget(&self.routing.beyond.settings.flapping, now);
    }

    /// What changed since the last call, for the disk, and what happened, for the history.
    pub fn drain(&mut self) -> (Vec<Record>, Vec<Event>) {
        let mut records = Vec::new();
        let changed = std::mem::take(&mut self.changed);
        records.extend(changed.iter().filter_map(|id| Some(Record::alert(&self.alerts.get(id)?.alert))));
        for id in self.silences.take_changed() {
            records.extend(self.silences.get(&id).map(Record::silence));
        }
        for id in self.recurring.take_changed() {
            records.push(Record::recurring(&id, self.recurring.get(&id)));
        }
        for id in self.acknowledgements.take_changed() {
            records.push(Record::acknowledgement(id, self.acknowledgements.known(id)));
        }
        for key in self.escalations.take_changed() {
            records.push(Record::escalation(&key, self.escalations.get(&key)));
        }
        for (group, receiver) in self.log.take_changed() {
            if let Some(entry) = self.log.get(&group, &receiver) {
                records.push(Record::log(&group, &receiver, entry));
            }
        }
        (records, std::mem::take(&mut self.events))
    }

    /// Everything there is, for a whole file.
    pub fn records(&self) -> Vec<Record> {
        let mut records: Vec<_> = self.silences.iter().map(Record::silence).collect();
        records.extend(self.recurring.iter().map(|one| Record::recurring(&one.id, Some(one))));
        records.extend(self.log.iter().map(|(group, receiver, entry)| Record::log(group, receiver, entry)));
        records.extend(self.acknowledgements.iter().map(|(id, one)| Record::acknowledgement(id, Some(one))));
        records.extend(self.escalations.iter().map(|(key, one)| Record::escalation(key, Some(one))));
        records.extend(self.alerts().map(Record::alert));
        records
    }

    /// Puts back an alert read from disk; [`Self::restored`] ends it.
    pub(super) fn restore(&mut self, alert: Alert) {
        let saved = (alert.ends_at, alert.updated_at);
        self.alerts.insert(alert.fingerprint(), Known { alert, is_firing: false, saved });
    }

    /// Puts back a change of an alert, so that flapping is known across a restart.
    pub(super) fn restore_change(&mut self, fingerprint: Fingerprint, time: Millis) {
        self.flaps.changed(fingerprint, &self.routing.beyond.settings.flapping, time);
    }

    /// Ends reading from disk, where `last` is the newest time that was found. What fired then fires on for a while,
    /// because nobody could say otherwise in between.
    pub(super) fn restored(&mut self, last: Millis, now: Millis) {
        for (fingerprint, known) in &mut self.alerts {
            known.is_firing = known.alert.ends_at > last;
            if known.is_firing {
                known.alert.ends_at = known.alert.ends_at.max(now.saturating_add(GRACE_MS));
                self.ends.insert((known.alert.ends_at, *fingerprint));
            }
        }
        self.group_all(now);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
impl Dispatcher {
    /// A first notification about these alerts, for tests of what is sent.
    pub(super) fn example(alerts: Vec<Alert>) -> Notification {
        Notification {
            receiver: "RECEIVER".to_owned(),
            integration: 0,
            group_key: r#"{}:{alertname="Down"}"#.to_owned(),
            group_labels: Labels::from_pairs([("alertname", "Down")]),
            route_labels: BTreeMap::new(),
            alerts,
            reason: Reason::First,
            timeout: Duration::from_secs(1),
            is_silent: false,
            told: Vec::new(),
            escalated: Vec::new(),
        }
    }
}
