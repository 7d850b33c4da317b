//! Silences that come again: while a window of theirs holds, there is a silence like any other, which amtool and Grafana
//! see, can end early, and find among the expired ones afterwards.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::matchers;
use super::silence::{Silence, SilenceError, Silences};
use crate::base::clock::Millis;
use crate::base::rng::Rng;
use crate::model::calendar::Window;
use crate::model::matcher::Matcher;

/// More than any team can mean.
pub const RECURRING_MAX: usize = 1_000;
/// Where a window does not hold within a month, it is looked at again after this long.
const LOOK_AGAIN_MS: Millis = 24 * 60 * 60 * 1_000;
/// How far ahead windows are looked for.
const AHEAD_MS: Millis = 31 * LOOK_AGAIN_MS;

/// One silence that comes again. Times are milliseconds since the epoch.
#[derive(Clone, Debug)]
pub struct Recurring {
    /// A UUID; empty for one that is new.
    pub id: String,
    pub matchers: Vec<Matcher>,
    /// When, as it was given; an object in the calendar's form.
    pub schedule: Value,
    window: Window,
    pub created_by: String,
    pub comment: String,
    pub updated_at: Millis,
    /// The silence of the last window, and that window's end.
    pub last: Option<(String, Millis)>,
    /// When it is looked at next.
    next: Millis,
}

impl Recurring {
    /// Reads matchers and a schedule.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn read(texts: &[String], schedule: Value) -> Result<Self, String> {
        let mut all = Vec::new();
        for text in texts {
            all.extend(matchers::parse(text).map_err(|error| error.to_string())?);
        }
        let mut named = schedule.clone();
        let Some(fields) = named.as_object_mut() else { return Err("the schedule is not an object".to_owned()) };
        fields.insert("name".to_owned(), Value::from("schedule"));
        let window: Window = serde_json::from_value(named).map_err(|error| error.to_string())?;
        Ok(Self {
            id: String::new(),
            matchers: all,
            schedule,
            window,
            created_by: String::new(),
            comment: String::new(),
            updated_at: 0,
            last: None,
            next: 0,
        })
    }

    /// The next window, or the rest of the one that holds.
    pub fn upcoming(&self, now: Millis) -> Option<(Millis, Millis)> {
        self.window.ranges(now, now.saturating_add(AHEAD_MS)).first().copied()
    }

    /// The silence that is due, if the window holds and has none yet.
    fn occur(&mut self, now: Millis) -> Option<Silence> {
        // Whoever ended the silence of this window meant it.
        if let Some((_, end)) = &self.last
            && *end > now
        {
            self.next = *end;
            return None;
        }
        let upcoming = self.upcoming(now);
        self.next = match upcoming {
            Some((start, _)) if start > now => start,
            // A window may go on behind what was looked at; it then gets one silence after the other.
            Some((_, end)) => end,
            None => now.saturating_add(LOOK_AGAIN_MS),
        };
        let (_, end) = upcoming.filter(|(start, _)| *start <= now)?;
        let id = silence_id(&self.id, end);
        self.last = Some((id.clone(), end));
        Some(Silence {
            id,
            matchers: self.matchers.clone(),
            starts_at: now,
            ends_at: end,
            updated_at: now,
            created_by: self.created_by.clone(),
            comment: format!("{} (comes again: {})", self.comment, self.id),
        })
    }
}

/// Always the same for the same window, so that a restart makes no second silence.
fn silence_id(recurring: &str, end: Millis) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{recurring} {end}").as_bytes());
    let hex: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// All that are known.
#[derive(Debug, Default)]
pub struct Recurrings {
    by_id: BTreeMap<String, Recurring>,
    next: Option<Millis>,
    changed: BTreeSet<String>,
}

impl Recurrings {
    /// Adds or changes one and gives its id. What was silenced by the old one is so no more.
    ///
    /// # Errors
    /// There is none of this id, it would silence everything, or there are too many.
    pub fn set(
        &mut self,
        mut new: Recurring,
        silences: &mut Silences,
        (now, rng): (Millis, &Rng),
    ) -> Result<String, SilenceError> {
        if new.matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(SilenceError::Invalid("at least one matcher must not match the empty string"));
        }
        if new.id.is_empty() {
            if self.by_id.len() >= RECURRING_MAX {
                return Err(SilenceError::TooMany);
            }
            new.id = super::silence::uuid(rng);
        } else {
            let old = self.by_id.get(&new.id).ok_or(SilenceError::NotFound)?;
            end_last(old, silences, now);
        }
        new.updated_at = now;
        let id = new.id.clone();
        self.changed.insert(id.clone());
        self.by_id.insert(id.clone(), new);
        self.next = Some(now);
        self.settle(silences, now);
        Ok(id)
    }

    /// Ends one, and the silence that it made.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn remove(&mut self, id: &str, silences: &mut Silences, now: Millis) -> Result<(), SilenceError> {
        let old = self.by_id.remove(id).ok_or(SilenceError::NotFound)?;
        end_last(&old, silences, now);
        self.changed.insert(id.to_owned());
        Ok(())
    }

    /// Makes the silences of windows that have begun.
    pub fn settle(&mut self, silences: &mut Silences, now: Millis) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        for one in self.by_id.values_mut().filter(|one| one.next <= now) {
            if let Some(silence) = one.occur(now) {
                silences.put(silence);
                self.changed.insert(one.id.clone());
            }
        }
        self.next = self.by_id.values().map(|one| one.next).min();
    }

    /// When the next window begins or ends.
    pub fn next_due(&self) -> Option<Millis> {
        self.next
    }

    pub fn get(&self, id: &str) -> Option<&Recurring> {
        self.by_id.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Recurring> {
        self.by_id.values()
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed)
    }

    /// Puts back what was read from disk; nothing where it was removed.
    pub fn restore(&mut self, id: String, one: Option<Recurring>) {
        match one {
            Some(one) => drop(self.by_id.insert(id, one)),
            None => drop(self.by_id.remove(&id)),
        }
        self.next = Some(0);
    }
}

fn end_last(old: &Recurring, silences: &mut Silences, now: Millis) {
    if let Some((id, _)) = &old.last {
        // It may be forgotten already.
        let _ = silences.expire(id, now);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::labels::Labels;

    const HOUR: Millis = 3_600_000;

    fn nightly() -> Recurring {
        let schedule = json!({"time_intervals": [{"times": [{"start_time": "01:00", "end_time": "03:00"}]}]});
        Recurring { comment: "backup".to_owned(), ..Recurring::read(&["job=vm".to_owned()], schedule).unwrap() }
    }

    #[test]
    fn each_window_has_a_silence_of_its_own() {
        let (mut all, mut silences, rng) = (Recurrings::default(), Silences::default(), Rng::from_seed(1));
        let id = all.set(nightly(), &mut silences, (0, &rng)).unwrap();
        let labels = Labels::from_pairs([("job", "vm")]);
        assert_eq!(all.next_due(), Some(HOUR));
        let mut at = |now: Millis, silences: &mut Silences| {
            all.settle(silences, now);
            silences.silenced_by(&labels, now).len()
        };
        let day = 24 * HOUR;
        let seen: Vec<_> =
            [0, HOUR, 3 * HOUR - 1, 3 * HOUR, day, day + HOUR].map(|now| at(now, &mut silences)).to_vec();
        assert_eq!(seen, [0, 1, 1, 0, 0, 1]);
        let ends: BTreeSet<_> = silences.iter().map(|one| (one.ends_at, one.comment.clone())).collect();
        let comment = format!("backup (comes again: {id})");
        assert_eq!(ends, BTreeSet::from([(3 * HOUR, comment.clone()), (day + 3 * HOUR, comment)]));
        // Ended by hand, it stays ended until the next window.
        let now = day + HOUR + 1;
        let last = all.get(&id).unwrap().last.clone().unwrap().0;
        silences.expire(&last, now).unwrap();
        all.settle(&mut silences, now + 1);
        assert!(silences.silenced_by(&labels, now + 1).is_empty());
    }

    #[test]
    fn a_window_without_an_end_has_one_silence_at_a_time() {
        let (mut all, mut silences, rng) = (Recurrings::default(), Silences::default(), Rng::from_seed(1));
        let schedule = json!({"time_intervals": [{"times": [{"start_time": "00:00", "end_time": "24:00"}]}]});
        let always = Recurring::read(&["job=vm".to_owned()], schedule).unwrap();
        all.set(always, &mut silences, (0, &rng)).unwrap();
        let labels = Labels::from_pairs([("job", "vm")]);
        for now in [HOUR, AHEAD_MS - 1, AHEAD_MS, AHEAD_MS + HOUR, 2 * AHEAD_MS] {
            all.next = Some(0);
            all.settle(&mut silences, now);
            assert_eq!(silences.silenced_by(&labels, now).len(), 1, "at {now}");
        }
        assert_eq!(silences.iter().count(), 3);
    }

    #[test]
    fn changing_or_removing_one_ends_its_silence() {
        let (mut all, mut silences, rng) = (Recurrings::default(), Silences::default(), Rng::from_seed(1));
        let id = all.set(nightly(), &mut silences, (2 * HOUR, &rng)).unwrap();
        let (vm, web) = (Labels::from_pairs([("job", "vm")]), Labels::from_pairs([("job", "web")]));
        assert_eq!(silences.silenced_by(&vm, 2 * HOUR).len(), 1);
        let other = Recurring::read(&["job=web".to_owned()], nightly().schedule).unwrap();
        all.set(Recurring { id: id.clone(), ..other }, &mut silences, (2 * HOUR + 1, &rng)).unwrap();
        let covered = |silences: &Silences, now| [&vm, &web].map(|labels| silences.silenced_by(labels, now).len());
        assert_eq!(covered(&silences, 2 * HOUR + 1), [0, 1]);
        all.remove(&id, &mut silences, 2 * HOUR + 2).unwrap();
        assert_eq!(covered(&silences, 2 * HOUR + 2), [0, 0]);
        assert_eq!(all.remove(&id, &mut silences, 0), Err(SilenceError::NotFound));
    }

    #[test]
    fn wrong_ones_say_why() {
        let wrong = |schedule: Value| Recurring::read(&["a=b".to_owned()], schedule).unwrap_err();
        assert!(wrong(json!({"weekday": "monday"})).contains("weekday"));
        assert!(wrong(json!({"start": "2026-01-01T00:00:00Z"})).contains("end or duration"));
        let everything = Recurring::read(&["a=~\".*\"".to_owned()], nightly().schedule).unwrap();
        let (mut all, mut silences, rng) = (Recurrings::default(), Silences::default(), Rng::from_seed(1));
        assert!(matches!(all.set(everything, &mut silences, (0, &rng)), Err(SilenceError::Invalid(_))));
    }
}
