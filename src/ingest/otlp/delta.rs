//! Deltas to running totals.
//!
//! A series of deltas has a state: its total, and the intervals that went into it lately. Totals only ever grow by what
//! was sent, so order matters little: a delta that comes late (behind a newer one) is added to the total and shows with
//! the next point, because a sample in the past would look like a counter reset. An interval that was counted already is
//! recognised, so that a request sent again counts once. State is bounded and lives in memory: after a restart or a long
//! silence a series begins anew with its own start time, which readers see as a reset.

use std::sync::Arc;

use parking_lot::Mutex;

use super::points::{Buckets, Explicit, Exponential, millis};
use crate::ingest::recent::Recent;

/// Intervals that are remembered to recognise repeats.
const SEEN_MAX: usize = 8;

/// Buckets of one side of an exponential total; with more its resolution is halved.
const BUCKETS_MAX: i64 = 320;

/// What is added up.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Total {
    Number(f64),
    Explicit(Explicit),
    Exponential(Exponential),
}

/// What became of a delta.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// It is the newest: the total so far, and since when in milliseconds.
    Total(Total, i64),
    /// It was counted already.
    Repeated,
    /// It was added behind a newer one.
    Late,
    /// It is older than everything remembered: it may have been counted.
    TooOld,
}

/// What a delta covers, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub start: u64,
    pub end: u64,
}

impl Interval {
    /// Milliseconds; 0 where the sender did not say.
    fn start_millis(self) -> i64 {
        if self.start < self.end { millis(self.start) } else { 0 }
    }
}

#[derive(Debug)]
struct State {
    /// Milliseconds.
    start: i64,
    total: Total,
    /// Ascending by end.
    seen: Vec<Interval>,
}

/// The states of all series.
#[derive(Debug)]
pub(super) struct Deltas(Recent<Arc<Mutex<Option<State>>>>);

impl Default for Deltas {
    /// A quarter million series of deltas; each costs about 300 bytes and its buckets.
    fn default() -> Self {
        Self(Recent::new(1 << 18))
    }
}

impl Deltas {
    /// Counts a delta of the series `key`.
    pub(super) fn add(&self, key: u128, interval: Interval, delta: Total, now_secs: u64) -> Outcome {
        let state = self.0.get_or_insert_with(key, now_secs, || Arc::new(Mutex::new(None)));
        let mut state = state.lock();
        match &mut *state {
            Some(state) => state.add(interval, delta),
            None => {
                let start = interval.start_millis();
                *state = Some(State { start, total: delta.clone(), seen: vec![interval] });
                Outcome::Total(delta, start)
            }
        }
    }
}

impl State {
    fn add(&mut self, interval: Interval, delta: Total) -> Outcome {
        if self.seen.contains(&interval) {
            return Outcome::Repeated;
        }
        let at = self.seen.partition_point(|seen| seen.end <= interval.end);
        let is_newest = at == self.seen.len();
        if at == 0 && self.seen.len() >= SEEN_MAX {
            return Outcome::TooOld;
        }
        self.seen.insert(at, interval);
        if self.seen.len() > SEEN_MAX {
            self.seen.remove(0);
        }
        if !merge(&mut self.total, &delta) {
            // Other bounds: the totals before mean nothing for what comes now.
            self.total = delta;
            self.start = interval.start_millis();
        }
        if is_newest { Outcome::Total(self.total.clone(), self.start) } else { Outcome::Late }
    }
}

/// Adds a delta; false where it does not fit the total.
fn merge(total: &mut Total, delta: &Total) -> bool {
    match (total, delta) {
        (Total::Number(total), Total::Number(delta)) => *total += delta,
        (Total::Explicit(total), Total::Explicit(delta)) => {
            if total.bounds != delta.bounds || total.counts.len() != delta.counts.len() {
                return false;
            }
            for (total, delta) in total.counts.iter_mut().zip(&delta.counts) {
                *total = total.saturating_add(*delta);
            }
            total.count = total.count.saturating_add(delta.count);
            total.sum = total.sum.zip(delta.sum).map(|(a, b)| a + b);
        }
        (Total::Exponential(total), Total::Exponential(delta)) => return merge_exponential(total, delta),
        _ => return false,
    }
    true
}

fn merge_exponential(total: &mut Exponential, delta: &Exponential) -> bool {
    let mut scale = total.scale.min(delta.scale);
    let fits = |scale: i64| {
        [(&total.positive, &delta.positive), (&total.negative, &delta.negative)]
            .into_iter()
            .all(|(a, b)| width((a, total.scale), (b, delta.scale), scale) <= BUCKETS_MAX)
    };
    while !fits(scale) {
        scale -= 1;
        if scale < -31 {
            return false;
        }
    }
    total.positive = joined((&total.positive, total.scale), (&delta.positive, delta.scale), scale);
    total.negative = joined((&total.negative, total.scale), (&delta.negative, delta.scale), scale);
    total.scale = scale;
    total.count = total.count.saturating_add(delta.count);
    total.zero_count = total.zero_count.saturating_add(delta.zero_count);
    total.zero_threshold = total.zero_threshold.max(delta.zero_threshold);
    total.sum = total.sum.zip(delta.sum).map(|(a, b)| a + b);
    true
}

/// How far an index moves from one scale to a coarser one.
fn shift(from: i64, to: i64) -> u32 {
    u32::try_from(from.saturating_sub(to)).unwrap_or(0).min(63)
}

/// First and last index at a coarser scale; `None` without buckets.
fn extent((buckets, from): (&Buckets, i64), scale: i64) -> Option<(i64, i64)> {
    let last = buckets.offset + i64::try_from(buckets.counts.len()).ok()?.checked_sub(1).filter(|last| *last >= 0)?;
    let by = shift(from, scale);
    Some((buckets.offset >> by, last >> by))
}

fn width(a: (&Buckets, i64), b: (&Buckets, i64), scale: i64) -> i64 {
    match (extent(a, scale), extent(b, scale)) {
        (Some((first, last)), Some((other_first, other_last))) => last.max(other_last) - first.min(other_first) + 1,
        (Some((first, last)), None) | (None, Some((first, last))) => last - first + 1,
        (None, None) => 0,
    }
}

/// Both sides added up at a coarser scale, at which they fit [`BUCKETS_MAX`].
fn joined(a: (&Buckets, i64), b: (&Buckets, i64), scale: i64) -> Buckets {
    let extents = [extent(a, scale), extent(b, scale)];
    let Some(offset) = extents.iter().flatten().map(|(first, _)| *first).min() else { return Buckets::default() };
    let length = usize::try_from(width(a, b, scale)).unwrap_or(0);
    let mut counts = vec![0_u64; length];
    for (buckets, from) in [a, b] {
        let by = shift(from, scale);
        for (at, count) in buckets.counts.iter().enumerate() {
            let index = ((buckets.offset + at as i64) >> by) - offset;
            if let Some(slot) = usize::try_from(index).ok().and_then(|index| counts.get_mut(index)) {
                *slot = slot.saturating_add(*count);
            }
        }
    }
    Buckets { offset, counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(deltas: &Deltas, start: u64, end: u64, value: f64) -> Outcome {
        deltas.add(1, Interval { start: start * 1_000_000, end: end * 1_000_000 }, Total::Number(value), 0)
    }

    #[test]
    fn nothing_is_lost_or_counted_twice_in_a_reordered_batch() {
        let deltas = Deltas::default();
        assert_eq!(add(&deltas, 0, 10, 1.0), Outcome::Total(Total::Number(1.0), 0));
        assert_eq!(add(&deltas, 20, 30, 4.0), Outcome::Total(Total::Number(5.0), 0));
        assert_eq!(add(&deltas, 10, 20, 2.0), Outcome::Late);
        assert_eq!(add(&deltas, 20, 30, 4.0), Outcome::Repeated);
        assert_eq!(add(&deltas, 10, 20, 2.0), Outcome::Repeated);
        assert_eq!(add(&deltas, 30, 40, 8.0), Outcome::Total(Total::Number(15.0), 0));
        for n in 4..12 {
            add(&deltas, n * 10, n * 10 + 10, 0.0);
        }
        assert_eq!(add(&deltas, 0, 10, 1.0), Outcome::TooOld);
    }

    #[test]
    fn other_bounds_begin_anew() {
        let deltas = Deltas::default();
        let histogram = |bounds: &[f64]| {
            Total::Explicit(Explicit {
                count: 1,
                sum: Some(2.0),
                counts: vec![1; bounds.len() + 1],
                bounds: bounds.to_vec(),
            })
        };
        let add = |end: u64, bounds: &[f64]| {
            deltas.add(2, Interval { start: (end - 1) * 1_000_000, end: end * 1_000_000 }, histogram(bounds), 0)
        };
        add(1, &[1.0]);
        let Outcome::Total(Total::Explicit(total), 0) = add(2, &[1.0]) else { panic!() };
        assert_eq!((total.count, total.sum, total.counts), (2, Some(4.0), vec![2, 2]));
        assert_eq!(add(3, &[5.0]), Outcome::Total(histogram(&[5.0]), 2));
    }

    #[test]
    fn exponential_totals_meet_at_the_coarser_scale_and_stay_small() {
        let at = |scale, offset, counts: &[u64]| Exponential {
            count: counts.iter().sum(),
            scale,
            positive: Buckets { offset, counts: counts.to_vec() },
            ..Exponential::default()
        };
        let mut total = at(2, -1, &[1, 2, 3]);
        assert!(merge_exponential(&mut total, &at(1, 3, &[7])));
        assert_eq!((total.scale, total.count), (1, 13));
        assert_eq!(total.positive, Buckets { offset: -1, counts: vec![1, 5, 0, 0, 7] });
        assert!(merge_exponential(&mut total, &at(1, i64::from(i32::MAX), &[1])));
        assert!(total.positive.counts.len() <= 320 && total.positive.counts.iter().sum::<u64>() == 14);
    }
}
