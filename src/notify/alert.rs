//! An alert, and how two reports of the same alert become one.

use std::cmp::Ordering;
use std::fmt;

use crate::base::clock::Millis;
use crate::model::labels::Labels;

/// Identifies an alert by its labels, as Alertmanager does (FNV-1a over sorted names and values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Fingerprint {
    /// The fingerprint of a label set.
    pub fn of(labels: &Labels) -> Self {
        Self::of_pairs(labels.iter())
    }

    /// The same over pairs that need not be a label set: values may be empty.
    pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        for (name, value) in pairs {
            name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]).for_each(&mut add);
        }
        Self(hash)
    }
}

/// One alert. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub labels: Labels,
    pub annotations: Labels,
    pub generator_url: String,
    pub starts_at: Millis,
    /// When it ends or ended; until then it fires.
    pub ends_at: Millis,
    /// When the last report came.
    pub updated_at: Millis,
    /// `ends_at` is our guess (the sender gave none), not the sender's word.
    pub is_timeout: bool,
}

/// Why a report is not an alert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    #[error("at least one label pair required")]
    NoLabels,
    #[error("start time must be before end time")]
    EndsBeforeStart,
}

impl Alert {
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.labels)
    }

    /// The label `alertname`.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").unwrap_or("")
    }

    pub fn is_resolved_at(&self, now: Millis) -> bool {
        self.ends_at <= now
    }

    /// What Alertmanager demands of an alert from outside.
    pub fn check(&self) -> Result<(), AlertError> {
        if self.labels.is_empty() {
            return Err(AlertError::NoLabels);
        }
        if self.ends_at < self.starts_at { Err(AlertError::EndsBeforeStart) } else { Ok(()) }
    }

    /// Whether the other report differs at most in its times.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.annotations == other.annotations && self.generator_url == other.generator_url
    }

    /// Whether the two reports speak of one firing, so that [`Alert::merge`] applies.
    pub fn overlaps(&self, old: &Self) -> bool {
        let inside = |time: Millis| time > old.starts_at && time < old.ends_at;
        inside(self.ends_at) || inside(self.starts_at)
    }

    /// One alert out of two reports with the same labels: the younger one's words, the earliest start.
    pub fn merge(self, other: Self, now: Millis) -> Self {
        let (old, mut new) = if other.updated_at < self.updated_at { (other, self) } else { (self, other) };
        new.starts_at = new.starts_at.min(old.starts_at);
        if new.is_resolved_at(now) {
            if old.is_resolved_at(now) {
                new.ends_at = new.ends_at.max(old.ends_at);
            }
        } else if old.ends_at > new.ends_at && !old.is_timeout {
            // A sender's own end time outlives a guess that came later.
            new.ends_at = old.ends_at;
        }
        new
    }

    /// The order in notifications: by job, then instance, then labels.
    pub fn notification_order(&self, other: &Self) -> Ordering {
        for label in ["job", "instance"] {
            let order = match (self.labels.get(label), other.labels.get(label)) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(a), Some(b)) => a.cmp(b),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        self.labels.cmp(&other.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(starts_at: Millis, ends_at: Millis, updated_at: Millis) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "Down")]),
            annotations: Labels::empty(),
            generator_url: String::new(),
            starts_at,
            ends_at,
            updated_at,
            is_timeout: false,
        }
    }

    /// Computed with prometheus/common's `LabelSet.Fingerprint`, which hashes `alertname`, 0xff, `Down`, 0xff.
    #[test]
    fn fingerprints_are_fnv_1a_with_separators() {
        let by_hand = b"alertname\xffDown\xff"
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        assert_eq!(alert(0, 0, 0).fingerprint(), Fingerprint(by_hand));
    }

    #[test]
    fn merging_keeps_the_earliest_start_and_the_youngest_word() {
        let merged = alert(100, 500, 10).merge(alert(200, 600, 20), 300);
        assert_eq!((merged.starts_at, merged.ends_at, merged.updated_at), (100, 600, 20));
        let resolved = alert(100, 500, 10).merge(alert(200, 250, 20), 300);
        assert_eq!((resolved.starts_at, resolved.ends_at), (100, 250));
        let backwards = alert(200, 600, 20).merge(alert(100, 500, 10), 300);
        assert_eq!(backwards.ends_at, 600);
    }
}
