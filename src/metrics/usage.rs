//! What is asked and what comes and goes: when each metric was last queried, and how many series are made and leave.
//!
//! For operators who look for metrics that nobody needs and for senders that make series without end. Counted since the
//! start of the process; bounded, and what does not fit is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::model::labels::METRIC_NAME;
use crate::model::matcher::{MatchOp, Matcher};

use super::stats::{TopEntry, largest};

/// Metric names of which queries are counted; a name and its entry take some 100 bytes.
const NAMES_MAX: usize = 100_000;

/// Metric names of which new series are counted, in each of two hours.
const MAKERS_MAX: usize = 10_000;

/// Minutes of which comings and goings are remembered.
const MINUTES_MAX: usize = 24 * 60;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// How often a metric was queried, and when last, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queried {
    pub count: u64,
    pub last: i64,
}

/// Queries by metric name.
#[derive(Debug, Default)]
pub(super) struct Asked {
    names: Mutex<HashMap<Box<str>, Queried>>,
    /// Names that made room for newer ones.
    forgotten: AtomicU64,
}

impl Asked {
    /// The name that a selector asks for, if it is only one.
    pub(super) fn only_name(matchers: &[Matcher]) -> Option<&str> {
        let named = |matcher: &&Matcher| matcher.op == MatchOp::Equal && &*matcher.name == METRIC_NAME;
        matchers.iter().find(named).map(|matcher| &*matcher.value).filter(|name| !name.is_empty())
    }

    /// Notes a query that read these metrics.
    pub(super) fn note<'a>(&self, names: impl Iterator<Item = &'a str>, now: i64) {
        let mut known = self.names.lock();
        for name in names {
            let entry = match known.get_mut(name) {
                Some(entry) => entry,
                None => {
                    if known.len() >= NAMES_MAX {
                        self.make_room(&mut known);
                    }
                    known.entry(name.into()).or_default()
                }
            };
            entry.count += 1;
            entry.last = now;
        }
    }

    /// Forgets those that were asked longest ago, many at once so that it is seldom done.
    fn make_room(&self, known: &mut HashMap<Box<str>, Queried>) {
        let mut times: Vec<i64> = known.values().map(|entry| entry.last).collect();
        let (_, middle, _) = times.select_nth_unstable(NAMES_MAX / 16);
        let (bound, before) = (*middle, known.len());
        known.retain(|_, entry| entry.last > bound);
        self.forgotten.fetch_add((before - known.len()) as u64, Ordering::Relaxed);
    }

    pub(super) fn of(&self, name: &str) -> Option<Queried> {
        self.names.lock().get(name).copied()
    }

    /// Names that are remembered, and those that were forgotten.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.names.lock().len(), self.forgotten.load(Ordering::Relaxed))
    }
}

/// Series that came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flux {
    /// Series that came into memory: new ones, and those that had left it.
    pub created: u64,
    pub removed: u64,
}

/// Comings and goings of the last day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Churn {
    pub hour: Flux,
    pub day: Flux,
    /// Metrics with the most new series in the last hour or two.
    pub makers: Vec<TopEntry>,
    /// New series of metrics that were too many to be told apart.
    pub makers_untold: u64,
}

#[derive(Debug, Default)]
pub(super) struct Turnover(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// By minute since 1970, ascending.
    minutes: VecDeque<(i64, Flux)>,
    /// The hour, and the new series of each metric in it and in the one before.
    hour: i64,
    makers: [HashMap<Box<str>, u64>; 2],
    untold: [u64; 2],
}

impl Remembered {
    /// The current minute. A clock that went back adds to the newest minute there is.
    fn minute(&mut self, now: i64) -> &mut Flux {
        let minute = now.div_euclid(MINUTE_MS);
        if self.minutes.back().is_none_or(|(last, _)| *last < minute) {
            self.minutes.push_back((minute, Flux::default()));
            if self.minutes.len() > MINUTES_MAX {
                self.minutes.pop_front();
            }
        }
        let last = self.minutes.len() - 1;
        &mut self.minutes[last].1
    }

    fn turn(&mut self, now: i64) {
        let hour = now.div_euclid(HOUR_MS);
        if hour <= self.hour {
            return;
        }
        let is_next = hour == self.hour + 1;
        self.makers.swap(0, 1);
        self.untold.swap(0, 1);
        self.makers[0].clear();
        self.untold[0] = 0;
        if !is_next {
            self.makers[1].clear();
            self.untold[1] = 0;
        }
        self.hour = hour;
    }
}

impl Turnover {
    /// A series of this metric came into memory.
    pub(super) fn created(&self, metric: &str, now: i64) {
        let mut guard = self.0.lock();
        let seen = &mut *guard;
        seen.minute(now).created += 1;
        seen.turn(now);
        let makers = &mut seen.makers[0];
        let is_full = makers.len() >= MAKERS_MAX;
        match makers.get_mut(metric) {
            Some(count) => *count += 1,
            None if is_full => seen.untold[0] += 1,
            None => {
                makers.insert(metric.into(), 1);
            }
        }
    }

    /// Series left memory.
    pub(super) fn removed(&self, count: u64, now: i64) {
        self.0.lock().minute(now).removed += count;
    }

    pub(super) fn churn(&self, now: i64, top: usize) -> Churn {
        let mut seen = self.0.lock();
        seen.turn(now);
        let since = |minutes: i64| {
            let from = now.div_euclid(MINUTE_MS) - minutes;
            let recent = seen.minutes.iter().filter(|(minute, _)| *minute > from);
            recent.fold(Flux::default(), |sum, (_, flux)| Flux {
                created: sum.created + flux.created,
                removed: sum.removed + flux.removed,
            })
        };
        let mut makers: HashMap<String, u64> = HashMap::new();
        for (metric, count) in seen.makers.iter().flatten() {
            *makers.entry_ref(&**metric).or_default() += count;
        }
        let (hour, day) = (since(60), since(24 * 60));
        Churn { hour, day, makers: largest(makers, top), makers_untold: seen.untold.iter().sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_and_the_oldest_make_room() {
        let asked = Asked::default();
        asked.note(["a", "b"].into_iter(), 5);
        asked.note(["a"].into_iter(), 7);
        assert_eq!(asked.of("a"), Some(Queried { count: 2, last: 7 }));
        let names: Vec<String> = (0..NAMES_MAX).map(|n| format!("m{n}")).collect();
        for (at, name) in names.iter().enumerate() {
            asked.note(std::iter::once(name.as_str()), 10 + at as i64);
        }
        let (kept, forgotten) = asked.counts();
        assert!(kept <= NAMES_MAX && forgotten > 0 && kept as u64 + forgotten == NAMES_MAX as u64 + 2);
        assert_eq!(asked.of("b"), None);
        assert!(asked.of(&names[NAMES_MAX - 1]).is_some());
    }

    #[test]
    fn comings_and_goings_are_told_by_hour_and_day() {
        let turnover = Turnover::default();
        let start = 1_000 * HOUR_MS;
        turnover.created("a", start);
        turnover.created("a", start + 30 * MINUTE_MS);
        turnover.created("b", start + 61 * MINUTE_MS);
        turnover.removed(1, start + 61 * MINUTE_MS);
        let churn = turnover.churn(start + 61 * MINUTE_MS, 10);
        assert_eq!(churn.hour, Flux { created: 2, removed: 1 });
        assert_eq!(churn.day, Flux { created: 3, removed: 1 });
        assert_eq!(churn.makers[0], TopEntry { name: "a".to_owned(), count: 2 });
        let later = turnover.churn(start + 100 * HOUR_MS, 10);
        assert!(later.makers.is_empty() && later.day == Flux::default());
    }
}
