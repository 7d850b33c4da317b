//! Acknowledgements: somebody has seen an alert and works on it, so it is not repeated until then.

use std::collections::HashMap;

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
pub struct Acknowledgements(HashMap<Fingerprint, Acknowledgement>);

impl Acknowledgements {
    pub fn set(&mut self, fingerprint: Fingerprint, acknowledgement: Acknowledgement) {
        self.0.insert(fingerprint, acknowledgement);
    }

    /// Takes an acknowledgement back; says whether there was one.
    pub fn remove(&mut self, fingerprint: Fingerprint) -> bool {
        self.0.remove(&fingerprint).is_some()
    }

    /// The acknowledgement that still holds.
    pub fn get(&self, fingerprint: Fingerprint, now: Millis) -> Option<&Acknowledgement> {
        self.0.get(&fingerprint).filter(|one| now < one.until)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Fingerprint, &Acknowledgement)> {
        self.0.iter().map(|(fingerprint, one)| (*fingerprint, one))
    }

    /// Forgets those that are over, and those of alerts that are gone.
    pub fn retain(&mut self, now: Millis, is_known: impl Fn(Fingerprint) -> bool) {
        self.0.retain(|fingerprint, one| now < one.until && is_known(*fingerprint));
    }
}
