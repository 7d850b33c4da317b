//! Counter resets between two histograms.

use super::side::{self};
use super::wide::widened_zero;
use super::{Histogram, ResetHint, Span, bounds};

impl Histogram {
    /// Whether the counter behind the histogram was reset since `previous`.
    ///
    /// An explicit hint decides. Otherwise a count that went down anywhere, a populated bucket that is gone, a finer
    /// schema and a narrower zero bucket mean a reset, because no counter does that.
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.uses_custom_buckets() {
            if !previous.uses_custom_buckets() {
                return true;
            }
            if self.custom_values != previous.custom_values {
                return self.custom_bounds_reset(previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold) = widened_zero(previous, self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero {
            return true;
        }
        let side = |mine: (&[Span], &[f64]), theirs: (&[Span], &[f64])| {
            if mine.0 == theirs.0 && self.schema == previous.schema && threshold == previous.zero_threshold {
                return mine.1.iter().zip(theirs.1).any(|(mine, theirs)| mine < theirs);
            }
            let schema = self.schema;
            let visible = |spans, counts, origin| {
                merged(spans, counts, origin, schema).into_iter().skip_while(move |(index, _)| {
                    threshold > 0.0
                        && bounds::is_exponential(schema)
                        && bounds::exponential(*index, schema) <= threshold
                })
            };
            went_down(visible(mine.0, mine.1, schema), visible(theirs.0, theirs.1, previous.schema))
        };
        side((&self.positive_spans, &self.positive_buckets), (&previous.positive_spans, &previous.positive_buckets))
            || side(
                (&self.negative_spans, &self.negative_buckets),
                (&previous.negative_spans, &previous.negative_buckets),
            )
    }

    /// Compares the counts between the bounds that both have.
    fn custom_bounds_reset(&self, previous: &Self) -> bool {
        let mut common = super::wide::common_bounds(&self.custom_values, &previous.custom_values);
        common.push(f64::INFINITY);
        let mut mine = self.positive().peekable();
        let mut theirs = previous.positive().peekable();
        common.into_iter().any(|bound| {
            let mut sum = 0.0;
            while let Some(bucket) = mine.next_if(|bucket| bucket.upper <= bound) {
                sum += bucket.count;
            }
            let mut previous = 0.0;
            while let Some(bucket) = theirs.next_if(|bucket| bucket.upper <= bound) {
                previous += bucket.count;
            }
            sum < previous
        })
    }
}

/// Buckets merged down to a coarser schema.
fn merged(spans: &[Span], counts: &[f64], origin: i8, target: i8) -> Vec<(i32, f64)> {
    let mut merged: Vec<(i32, f64)> = Vec::with_capacity(counts.len());
    for (index, count) in side::cells(spans, counts) {
        let index = if origin == target { index } else { bounds::merged_index(index, origin, target) };
        match merged.last_mut() {
            Some(last) if last.0 == index => last.1 += count,
            _ => merged.push((index, count)),
        }
    }
    merged
}

/// Whether a populated bucket of `previous` is missing or counts less in `current`.
fn went_down(current: impl Iterator<Item = (i32, f64)>, previous: impl Iterator<Item = (i32, f64)>) -> bool {
    let mut current = current.peekable();
    for (index, before) in previous {
        while current.next_if(|(candidate, _)| *candidate < index).is_some() {}
        let now = current.peek().filter(|(candidate, _)| *candidate == index).map(|(_, count)| *count);
        let fell = now.map_or(before != 0.0, |now| now < before);
        if fell {
            return true;
        }
    }
    false
}
