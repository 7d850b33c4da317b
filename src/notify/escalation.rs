//! Escalation: while nobody acknowledges an alert, more people are told, step by step.

use std::collections::{BTreeMap, BTreeSet};

use super::alert::{Alert, Fingerprint};
use super::matchers::all_match;
use super::settings::Policy;
use crate::base::clock::Millis;

/// A step that cannot be taken now (the alert is silenced) is looked at again after this long.
const RETRY_MS: Millis = 15_000;

/// How far the escalation of one alert by one policy has come. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// When the alert fired.
    pub since: Millis,
    /// Steps whose receivers were told.
    pub taken: usize,
    pub next: Millis,
    /// The alert is resolved, and those who were told are to hear it.
    pub is_over: bool,
}

/// An alert and the name of a policy.
pub type Key = (Fingerprint, String);

/// Every escalation under way.
#[derive(Clone, Debug, Default)]
pub struct Escalations {
    entries: BTreeMap<Key, Progress>,
    /// The same by time.
    times: BTreeSet<(Millis, Key)>,
    changed: BTreeSet<Key>,
}

impl Escalations {
    /// An alert fired: it escalates by every policy that matches.
    pub fn fired(&mut self, policies: &[Policy], alert: &Alert, now: Millis) {
        for policy in policies.iter().filter(|policy| all_match(&policy.matchers, &alert.labels)) {
            let first = policy.escalation.steps.first().map_or(0, |step| step.after.as_millis());
            let progress = Progress { since: now, taken: 0, next: now.saturating_add(first), is_over: false };
            self.set((alert.fingerprint(), policy.escalation.name.clone()), progress);
        }
    }

    /// An alert was resolved: who was told of it is told at once that it is over.
    pub fn resolved(&mut self, fingerprint: Fingerprint, now: Millis) {
        let keys: Vec<_> = self.of(fingerprint).map(|(policy, _)| (fingerprint, policy.to_owned())).collect();
        for key in keys {
            match self.entries.get(&key) {
                Some(progress) if progress.taken > 0 => {
                    let over = Progress { is_over: true, next: now, ..progress.clone() };
                    self.set(key, over);
                }
                _ => self.end(&key),
            }
        }
    }

    pub fn set(&mut self, key: Key, progress: Progress) {
        self.changed.insert(key.clone());
        self.restore(key, progress);
    }

    /// Puts back what was read from disk.
    pub fn restore(&mut self, key: Key, progress: Progress) {
        let next = progress.next;
        self.times.insert((next, key.clone()));
        if let Some(old) = self.entries.insert(key.clone(), progress)
            && old.next != next
        {
            self.times.remove(&(old.next, key));
        }
    }

    pub fn end(&mut self, key: &Key) {
        if let Some(old) = self.entries.remove(key) {
            self.times.remove(&(old.next, key.clone()));
            self.changed.insert(key.clone());
        }
    }

    /// Looks at it again a little later.
    pub fn postpone(&mut self, key: &Key, now: Millis) {
        if let Some(progress) = self.entries.get(key) {
            self.set(key.clone(), Progress { next: now.saturating_add(RETRY_MS), ..progress.clone() });
        }
    }

    pub fn get(&self, key: &Key) -> Option<&Progress> {
        self.entries.get(key)
    }

    /// The progress of one alert by policy.
    pub fn of(&self, fingerprint: Fingerprint) -> impl Iterator<Item = (&str, &Progress)> {
        let of = self.entries.range((fingerprint, String::new())..).take_while(move |(key, _)| key.0 == fingerprint);
        of.map(|(key, one)| (key.1.as_str(), one))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Progress)> {
        self.entries.iter()
    }

    /// What is due, in order.
    pub fn due(&self, now: Millis) -> Vec<Key> {
        self.times.iter().take_while(|(next, _)| *next <= now).map(|(_, key)| key.clone()).collect()
    }

    pub fn next_due(&self) -> Option<Millis> {
        self.times.first().map(|(next, _)| *next)
    }

    /// Forgets policies that are gone from the configuration.
    pub fn retain_policies(&mut self, policies: &[Policy]) {
        let is_known = |key: &&Key| policies.iter().any(|policy| policy.escalation.name == key.1);
        let gone: Vec<_> = self.entries.keys().filter(|key| !is_known(key)).cloned().collect();
        gone.iter().for_each(|key| self.end(key));
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changed)
    }
}
