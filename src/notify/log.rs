//! The notification log: what each receiver was last told about each group, so that nothing is told twice.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::alert::Fingerprint;
use crate::base::clock::Millis;

/// What a receiver was last told about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub time: Millis,
    pub firing: BTreeSet<Fingerprint>,
    pub resolved: BTreeSet<Fingerprint>,
}

/// Why a notification is sent. The texts stand in the webhook's `notification_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    First,
    NewAlerts,
    AllResolved,
    NewResolved,
    Repeat,
    /// The time of a receiver's digest has come.
    Digest,
    /// Nobody acknowledged.
    Escalation,
}

impl Reason {
    const ALL: [Self; 7] = [
        Self::First,
        Self::NewAlerts,
        Self::AllResolved,
        Self::NewResolved,
        Self::Repeat,
        Self::Digest,
        Self::Escalation,
    ];

    pub fn from_name(name: &str) -> Option<Self> {
        // The first two are how they were written before they had Alertmanager's words.
        match name {
            "new alerts in group" => Some(Self::NewAlerts),
            "new resolved alerts" => Some(Self::NewResolved),
            _ => Self::ALL.into_iter().find(|reason| reason.name() == name),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first notification",
            Self::NewAlerts => "new alerts added",
            Self::AllResolved => "all alerts resolved",
            Self::NewResolved => "some alerts resolved",
            Self::Repeat => "repeat interval elapsed",
            Self::Digest => "digest",
            Self::Escalation => "escalation",
        }
    }
}

/// Entries by group key and receiver.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: HashMap<(String, String), Entry>,
    changed: BTreeSet<(String, String)>,
}

/// What a group holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub firing: BTreeSet<Fingerprint>,
    pub resolved: BTreeSet<Fingerprint>,
}

impl Log {
    pub fn get(&self, group_key: &str, receiver: &str) -> Option<&Entry> {
        self.entries.get(&(group_key.to_owned(), receiver.to_owned()))
    }

    /// Whether a receiver has to be told about a group, and why.
    pub fn reason(&self, key: (&str, &str), state: &State, rules: Rules, now: Millis) -> Option<Reason> {
        let Some(entry) = self.get(key.0, key.1) else {
            return (!state.firing.is_empty()).then_some(Reason::First);
        };
        if !state.firing.is_subset(&entry.firing) {
            return Some(if entry.firing.is_empty() { Reason::First } else { Reason::NewAlerts });
        }
        // Also without `send_resolved`: the log must learn that nothing fires any more.
        if state.firing.is_empty() {
            return (!entry.firing.is_empty()).then_some(Reason::AllResolved);
        }
        if rules.send_resolved && !state.resolved.is_subset(&entry.resolved) {
            return Some(Reason::NewResolved);
        }
        let repeat = i64::try_from(rules.repeat_interval.as_millis()).unwrap_or(i64::MAX);
        (entry.time < now.saturating_sub(repeat)).then_some(Reason::Repeat)
    }

    /// Records that a receiver was told.
    pub fn record(&mut self, group_key: &str, receiver: &str, state: State, now: Millis) {
        let entry = Entry { time: now, firing: state.firing, resolved: state.resolved };
        self.changed.insert((group_key.to_owned(), receiver.to_owned()));
        self.entries.insert((group_key.to_owned(), receiver.to_owned()), entry);
    }

    /// Puts back an entry read from disk.
    pub fn restore(&mut self, group_key: String, receiver: String, entry: Entry) {
        self.entries.insert((group_key, receiver), entry);
    }

    /// Forgets what is older than the retention.
    pub fn forget_before(&mut self, oldest: Millis) {
        self.entries.retain(|_, entry| entry.time >= oldest);
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<(String, String)> {
        std::mem::take(&mut self.changed)
    }

    /// Everything, to be written to disk.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Entry)> {
        self.entries.iter().map(|((group, receiver), entry)| (group.as_str(), receiver.as_str(), entry))
    }
}

/// What the route and the receiver say about repeats.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub send_resolved: bool,
    pub repeat_interval: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { send_resolved: true, repeat_interval: Duration::from_secs(60) };

    fn state(firing: &[u64], resolved: &[u64]) -> State {
        let set = |ids: &[u64]| ids.iter().map(|id| Fingerprint(*id)).collect();
        State { firing: set(firing), resolved: set(resolved) }
    }

    #[test]
    fn a_receiver_is_told_once_for_each_change() {
        let mut log = Log::default();
        let key = ("g", "r");
        assert_eq!(log.reason(key, &state(&[], &[1]), RULES, 0), None);
        assert_eq!(log.reason(key, &state(&[1], &[]), RULES, 0), Some(Reason::First));
        log.record("g", "r", state(&[1], &[]), 0);
        assert_eq!(log.reason(key, &state(&[1], &[]), RULES, 1_000), None);
        assert_eq!(log.reason(key, &state(&[1, 2], &[]), RULES, 1_000), Some(Reason::NewAlerts));
        assert_eq!(log.reason(key, &state(&[1], &[]), RULES, 60_001), Some(Reason::Repeat));
        log.record("g", "r", state(&[1, 2], &[]), 1_000);
        assert_eq!(log.reason(key, &state(&[1], &[2]), RULES, 2_000), Some(Reason::NewResolved));
        let silent = Rules { send_resolved: false, ..RULES };
        assert_eq!(log.reason(key, &state(&[1], &[2]), silent, 2_000), None);
        assert_eq!(log.reason(key, &state(&[], &[1, 2]), silent, 2_000), Some(Reason::AllResolved));
        log.record("g", "r", state(&[], &[1, 2]), 3_000);
        assert_eq!(log.reason(key, &state(&[], &[1, 2]), RULES, 100_000), None);
        assert_eq!(log.reason(key, &state(&[1], &[]), RULES, 100_000), Some(Reason::First));
        log.forget_before(3_001);
        assert_eq!(log.get("g", "r"), None);
    }
}
