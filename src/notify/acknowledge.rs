//! Acknowledgements: somebody has seen an alert and works on it, so it is not repeated until then.

use std::collections::{BTreeSet, HashMap};

use super::alert::Fingerprint;
use crate::base::clock::Millis;

/// Who acknowledged an alert, why, and until when. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub by: String,
    pub comment: String,
    pub time: Millis,
    pub until: Millis,
}

/// Acknowledgements by alert.
#[derive(Clone, Debug, Default)]
pub struct Acknowledgements {
    by_alert: HashMap<Fingerprint, Acknowledgement>,
    changed: BTreeSet<Fingerprint>,
}

impl Acknowledgements {
    pub fn set(&mut self, fingerprint: Fingerprint, acknowledgement: Acknowledgement) {
        self.changed.insert(fingerprint);
        self.by_alert.insert(fingerprint, acknowledgement);
    }

    /// Puts back what was read from disk; one without an end was taken back.
    pub fn restore(&mut self, fingerprint: Fingerprint, acknowledgement: Acknowledgement) {
        if acknowledgement.until == 0 {
            self.by_alert.remove(&fingerprint);
        } else {
            self.by_alert.insert(fingerprint, acknowledgement);
        }
    }

    /// Takes an acknowledgement back; says whether there was one.
    pub fn remove(&mut self, fingerprint: Fingerprint) -> bool {
        let was_there = self.by_alert.remove(&fingerprint).is_some();
        if was_there {
            self.changed.insert(fingerprint);
        }
        was_there
    }

    /// The acknowledgement that still holds.
    pub fn get(&self, fingerprint: Fingerprint, now: Millis) -> Option<&Acknowledgement> {
        self.by_alert.get(&fingerprint).filter(|one| now < one.until)
    }

    /// The acknowledgement, whether it still holds or not.
    pub fn known(&self, fingerprint: Fingerprint) -> Option<&Acknowledgement> {
        self.by_alert.get(&fingerprint)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Fingerprint, &Acknowledgement)> {
        self.by_alert.iter().map(|(fingerprint, one)| (*fingerprint, one))
    }

    /// Forgets those that are over, and those of alerts that are gone.
    pub fn retain(&mut self, now: Millis, is_known: impl Fn(Fingerprint) -> bool) {
        self.by_alert.retain(|fingerprint, one| now < one.until && is_known(*fingerprint));
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<Fingerprint> {
        std::mem::take(&mut self.changed)
    }
}
