//! A histogram in the middle of a computation, over plain or compensated cells.

use std::sync::Arc;

use super::side::{self, Cell};
use super::{CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span, bounds};

/// Exponential and custom buckets met in one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
pub struct IncompatibleSchema;

/// What a user should be told about an addition or subtraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Combined {
    /// One side was marked as reset, the other as not reset.
    pub hint_collision: bool,
    /// Custom bounds differed, so that only the common ones are left.
    pub bounds_reconciled: bool,
}

/// The fields of [`Histogram`] over cells of type `C`.
#[derive(Clone, Debug)]
pub(super) struct Wide<C> {
    pub(super) reset_hint: ResetHint,
    pub(super) schema: i8,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: C,
    pub(super) count: C,
    pub(super) sum: C,
    pub(super) positive: (Vec<Span>, Vec<C>),
    pub(super) negative: (Vec<Span>, Vec<C>),
    pub(super) custom_values: Arc<[f64]>,
}

/// The parts of a histogram that decide how far its zero bucket reaches.
struct ZeroView<'a, C> {
    schema: i8,
    threshold: f64,
    count: C,
    positive: (&'a [Span], &'a [C]),
    negative: (&'a [Span], &'a [C]),
}

impl Wide<f64> {
    /// Moves a histogram in; `histogram` is left without buckets.
    pub(super) fn take(histogram: &mut Histogram) -> Self {
        Self {
            reset_hint: histogram.reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: histogram.zero_count,
            count: histogram.count,
            sum: histogram.sum,
            positive: (std::mem::take(&mut histogram.positive_spans), std::mem::take(&mut histogram.positive_buckets)),
            negative: (std::mem::take(&mut histogram.negative_spans), std::mem::take(&mut histogram.negative_buckets)),
            custom_values: histogram.custom_values.clone(),
        }
    }

    /// Moves the histogram out again.
    pub(super) fn give(self) -> Histogram {
        Histogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive_spans: self.positive.0,
            positive_buckets: self.positive.1,
            negative_spans: self.negative.0,
            negative_buckets: self.negative.1,
            custom_values: self.custom_values,
        }
    }
}

impl<C: Cell> Wide<C> {
    /// Adds `sign` times `other`. Both use exponential buckets, or both custom ones: the caller has checked.
    pub(super) fn combine(&mut self, other: &Histogram, sign: f64) -> Combined {
        let mut combined = Combined { hint_collision: self.adjust_hint(other.reset_hint), bounds_reconciled: false };
        self.count.add(C::from(sign * other.count));
        self.sum.add(C::from(sign * other.sum));
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            if self.custom_values == other.custom_values {
                add_side(&mut self.positive, &other.positive_spans, &other.positive_buckets, sign);
            } else {
                combined.bounds_reconciled = true;
                self.combine_custom(other, sign);
            }
            return combined;
        }
        let zero = self.reconcile_zero(other);
        self.zero_count.add(C::from(sign * zero));
        if other.schema < self.schema {
            side::reduce(&mut self.positive.0, &mut self.positive.1, self.schema, other.schema);
            side::reduce(&mut self.negative.0, &mut self.negative.1, self.schema, other.schema);
            self.schema = other.schema;
        }
        let same = other.schema == self.schema && self.zero_threshold == other.zero_threshold;
        for (mine, spans, counts) in [
            (&mut self.positive, &other.positive_spans, &other.positive_buckets),
            (&mut self.negative, &other.negative_spans, &other.negative_buckets),
        ] {
            if same {
                add_side(mine, spans, counts, sign);
            } else {
                let (schema, threshold) = (self.schema, self.zero_threshold);
                let (mut spans, mut cells) = (spans.clone(), counts.iter().map(|c| C::from(sign * c)).collect());
                side::reduce(&mut spans, &mut cells, other.schema, schema);
                // What lies inside the zero bucket has been counted there.
                let outside = side::cells(&spans, &cells)
                    .skip_while(|(index, _)| bounds::exponential(*index, schema) <= threshold)
                    .collect::<Vec<_>>();
                side::add(&mut mine.0, &mut mine.1, outside.into_iter());
            }
        }
        combined
    }

    pub(super) fn change(&mut self, mut change: impl FnMut(&mut f64)) {
        self.zero_count.change(&mut change);
        self.count.change(&mut change);
        self.sum.change(&mut change);
        for cell in self.positive.1.iter_mut().chain(&mut self.negative.1) {
            cell.change(&mut change);
        }
    }

    /// Joins reset hints; true if they contradict each other.
    fn adjust_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        let (joined, collision) = match (self.reset_hint, other) {
            (mine, other) if mine == other => (mine, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.reset_hint = joined;
        collision
    }

    /// Widens the zero bucket to include that of `other`, and returns the zero count that `other` has at that width.
    fn reconcile_zero(&mut self, other: &Histogram) -> f64 {
        let mut count = other.zero_count;
        let mut threshold = other.zero_threshold;
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (count, threshold) = zero_view(other).widened(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = self.zero_view().widened(threshold);
                let (schema, edge) = (self.schema, self.zero_threshold);
                for side in [&mut self.positive, &mut self.negative] {
                    side::retain(&mut side.0, &mut side.1, |index, cell| {
                        !cell.is_empty() && bounds::exponential(index.saturating_sub(1), schema) >= edge
                    });
                }
            }
            if threshold.is_nan() || self.zero_threshold.is_nan() {
                break;
            }
        }
        count
    }

    fn zero_view(&self) -> ZeroView<'_, C> {
        ZeroView {
            schema: self.schema,
            threshold: self.zero_threshold,
            count: self.zero_count,
            positive: (&self.positive.0, &self.positive.1),
            negative: (&self.negative.0, &self.negative.1),
        }
    }

    /// Maps both sides to the bounds that they have in common, then adds.
    fn combine_custom(&mut self, other: &Histogram, sign: f64) {
        let common = common_bounds(&self.custom_values, &other.custom_values);
        let mut target: Vec<Option<C>> = vec![None; common.len() + 1];
        let mut put = |index: i32, bounds: &[f64], cell: C| {
            let slot = usize::try_from(index)
                .ok()
                .and_then(|index| bounds.get(index))
                .map_or(common.len(), |bound| common.partition_point(|candidate| candidate < bound));
            match &mut target[slot] {
                Some(held) => held.add(cell),
                empty => *empty = Some(cell),
            }
        };
        side::cells(&self.positive.0, &self.positive.1).for_each(|(index, cell)| put(index, &self.custom_values, cell));
        side::cells(&other.positive_spans, &other.positive_buckets)
            .for_each(|(index, count)| put(index, &other.custom_values, C::from(sign * count)));
        let mut built = side::SideBuilder::with_capacity(target.len());
        for (index, cell) in (0_i32..).zip(target) {
            if let Some(cell) = cell.filter(|cell| !cell.is_empty()) {
                built.push(index, cell);
            }
        }
        self.positive = built.finish();
        self.custom_values = common.into();
    }
}

fn zero_view(histogram: &Histogram) -> ZeroView<'_, f64> {
    ZeroView {
        schema: histogram.schema,
        threshold: histogram.zero_threshold,
        count: histogram.zero_count,
        positive: (&histogram.positive_spans, &histogram.positive_buckets),
        negative: (&histogram.negative_spans, &histogram.negative_buckets),
    }
}

/// What the zero count of a histogram becomes if its zero bucket is widened to `threshold`, and the width that it gets:
/// more than `threshold` where that lies within a populated bucket.
pub(super) fn widened_zero(histogram: &Histogram, threshold: f64) -> (f64, f64) {
    zero_view(histogram).widened(threshold)
}

impl<C: Cell> ZeroView<'_, C> {
    fn widened(&self, mut threshold: f64) -> (C, f64) {
        if threshold == self.threshold {
            return (self.count, threshold);
        }
        loop {
            let mut count = self.count;
            let edge = self.swallow(self.positive, threshold, &mut count);
            threshold = edge;
            let edge = self.swallow(self.negative, threshold, &mut count);
            // The negative side asked for more: what was taken from the positive side is no longer right.
            if edge == threshold {
                return (count, threshold);
            }
            threshold = edge;
        }
    }

    /// Adds the buckets that begin inside `threshold` to `count`; returns the end of the last one if it is populated
    /// and reaches beyond, else `threshold`.
    fn swallow(&self, side: (&[Span], &[C]), threshold: f64, count: &mut C) -> f64 {
        for (index, cell) in side::cells(side.0, side.1) {
            if bounds::exponential(index.saturating_sub(1), self.schema) >= threshold {
                break;
            }
            count.add(cell);
            let end = bounds::exponential(index, self.schema);
            if end > threshold {
                return if cell.is_empty() { threshold } else { end };
            }
        }
        threshold
    }
}

/// Adds a side without reconciling, in place where the layouts are the same.
fn add_side<C: Cell>(mine: &mut (Vec<Span>, Vec<C>), spans: &[Span], counts: &[f64], sign: f64) {
    if mine.0 == spans && mine.1.len() == counts.len() {
        for (cell, count) in mine.1.iter_mut().zip(counts) {
            cell.add(C::from(sign * count));
        }
    } else {
        let other = side::cells(spans, counts).map(|(index, count)| (index, C::from(sign * count)));
        side::add(&mut mine.0, &mut mine.1, other);
    }
}

/// The bounds that are in both ascending lists.
pub(super) fn common_bounds(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().copied().filter(|bound| right.binary_search_by(|other| other.total_cmp(bound)).is_ok()).collect()
}
