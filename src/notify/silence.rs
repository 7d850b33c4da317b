//! Silences: matchers with a start, an end, an author and a comment.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::matchers::all_match;
use crate::base::clock::Millis;
use crate::base::rng::Rng;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;

/// More silences than any team can mean.
pub const SILENCES_MAX: usize = 100_000;

/// One silence. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// A UUID; empty for one that is new.
    pub id: String,
    pub matchers: Vec<Matcher>,
    pub starts_at: Millis,
    pub ends_at: Millis,
    pub updated_at: Millis,
    pub created_by: String,
    pub comment: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceState {
    Pending,
    Active,
    Expired,
}

impl SilenceState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// Why a silence was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    #[error("silence not found")]
    NotFound,
    #[error("invalid silence: {0}")]
    Invalid(&'static str),
    #[error("exceeded maximum number of silences: {SILENCES_MAX}")]
    TooMany,
}

impl Silence {
    pub fn state(&self, now: Millis) -> SilenceState {
        match () {
            () if now < self.starts_at => SilenceState::Pending,
            () if now >= self.ends_at => SilenceState::Expired,
            () => SilenceState::Active,
        }
    }

    fn check(&self) -> Result<(), SilenceError> {
        if self.matchers.is_empty() {
            return Err(SilenceError::Invalid("at least one matcher required"));
        }
        if self.matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(SilenceError::Invalid("at least one matcher must not match the empty string"));
        }
        if self.ends_at < self.starts_at {
            return Err(SilenceError::Invalid("end time must not be before start time"));
        }
        Ok(())
    }

    /// Whether `new` only changes what may change under the same id: history stays as it was.
    fn can_become(&self, new: &Self, now: Millis) -> bool {
        if self.matchers != new.matchers {
            return false;
        }
        match self.state(now) {
            SilenceState::Active => new.starts_at == self.starts_at && new.ends_at >= now,
            SilenceState::Pending => new.starts_at >= now,
            SilenceState::Expired => false,
        }
    }
}

/// All silences that are known, until their retention is over.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    by_id: HashMap<String, Silence>,
    changed: BTreeSet<String>,
}

impl Silences {
    /// Adds or changes a silence and gives its id. A change that would rewrite history expires the old one and makes a
    /// new one, as Alertmanager does.
    pub fn set(&mut self, mut silence: Silence, now: Millis, rng: &Rng) -> Result<String, SilenceError> {
        if silence.starts_at == 0 {
            silence.starts_at = now;
        }
        silence.check()?;
        silence.updated_at = now;
        if !silence.id.is_empty() {
            let old = self.by_id.get(&silence.id).ok_or(SilenceError::NotFound)?;
            if old.can_become(&silence, now) {
                return Ok(self.keep(silence));
            }
        }
        if silence.ends_at <= now {
            return Err(SilenceError::Invalid("end time can't be in the past"));
        }
        if self.by_id.len() >= SILENCES_MAX {
            return Err(SilenceError::TooMany);
        }
        if !silence.id.is_empty() {
            self.expire(&silence.id, now)?;
        }
        silence.id = uuid(rng);
        silence.starts_at = silence.starts_at.max(now);
        Ok(self.keep(silence))
    }

    /// Adds a silence that has its id.
    pub(super) fn put(&mut self, silence: Silence) {
        self.keep(silence);
    }

    fn keep(&mut self, silence: Silence) -> String {
        let id = silence.id.clone();
        self.changed.insert(id.clone());
        self.by_id.insert(id.clone(), silence);
        id
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed)
    }

    /// Ends a silence now. Ending one that has ended is no error.
    pub fn expire(&mut self, id: &str, now: Millis) -> Result<(), SilenceError> {
        let silence = self.by_id.get_mut(id).ok_or(SilenceError::NotFound)?;
        match silence.state(now) {
            SilenceState::Expired => return Ok(()),
            SilenceState::Active => silence.ends_at = now,
            SilenceState::Pending => (silence.starts_at, silence.ends_at) = (now, now),
        }
        silence.updated_at = now;
        self.changed.insert(id.to_owned());
        Ok(())
    }

    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.by_id.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.by_id.values()
    }

    /// Puts back a silence read from disk.
    pub fn restore(&mut self, silence: Silence) {
        self.by_id.insert(silence.id.clone(), silence);
    }

    /// The active silences that cover an alert with these labels, ascending by id.
    pub fn silenced_by(&self, labels: &Labels, now: Millis) -> Vec<String> {
        let covers =
            |silence: &&Silence| silence.state(now) == SilenceState::Active && all_match(&silence.matchers, labels);
        let mut ids: Vec<_> = self.by_id.values().filter(covers).map(|silence| silence.id.clone()).collect();
        ids.sort_unstable();
        ids
    }

    /// Forgets silences that ended longer ago than the retention.
    pub fn forget_expired(&mut self, now: Millis, retention: Duration) {
        let keep = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        self.by_id.retain(|_, silence| silence.ends_at.saturating_add(keep) > now);
    }
}

/// A random UUID (version 4).
pub(super) fn uuid(rng: &Rng) -> String {
    let (high, low) = (rng.next_u64(), rng.next_u64());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        (low >> 48 & 0x3fff) | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::matchers;

    fn silence(text: &str, starts_at: Millis, ends_at: Millis) -> Silence {
        Silence {
            id: String::new(),
            matchers: matchers::parse(text).unwrap(),
            starts_at,
            ends_at,
            updated_at: 0,
            created_by: "me".to_owned(),
            comment: String::new(),
        }
    }

    #[test]
    fn an_active_silence_covers_matching_alerts_until_it_ends() {
        let (mut silences, rng) = (Silences::default(), Rng::from_seed(1));
        let id = silences.set(silence("job=vm", 0, 1_000), 100, &rng).unwrap();
        let labels = Labels::from_pairs([("job", "vm")]);
        assert_eq!(silences.silenced_by(&labels, 500), std::slice::from_ref(&id));
        assert!(silences.silenced_by(&Labels::from_pairs([("job", "x")]), 500).is_empty());
        silences.expire(&id, 600).unwrap();
        assert!(silences.silenced_by(&labels, 700).is_empty());
        assert_eq!(silences.expire("none", 0), Err(SilenceError::NotFound));
        silences.forget_expired(700, Duration::from_millis(50));
        assert!(silences.get(&id).is_none());
    }

    #[test]
    fn extending_keeps_the_id_and_rewriting_makes_a_new_one() {
        let (mut silences, rng) = (Silences::default(), Rng::from_seed(1));
        let id = silences.set(silence("job=vm", 0, 1_000), 100, &rng).unwrap();
        let longer = Silence { ends_at: 2_000, ..silences.get(&id).unwrap().clone() };
        assert_eq!(silences.set(longer, 200, &rng), Ok(id.clone()));
        let other = Silence { id: id.clone(), ..silence("job=web", 0, 2_000) };
        let new = silences.set(other, 300, &rng).unwrap();
        assert_ne!(new, id);
        assert_eq!(silences.get(&id).unwrap().state(300), SilenceState::Expired);
    }

    #[test]
    fn a_silence_of_everything_is_refused() {
        let (mut silences, rng) = (Silences::default(), Rng::from_seed(1));
        assert!(matches!(silences.set(silence("job=~\".*\"", 0, 10), 1, &rng), Err(SilenceError::Invalid(_))));
        assert!(matches!(silences.set(silence("job=a", 0, 10), 20, &rng), Err(SilenceError::Invalid(_))));
    }
}
