//! Native histograms: exponential buckets (schemas -4..=8) and custom buckets (schema -53).
//!
//! Counts are floats, as in Prometheus' `FloatHistogram`; integer histograms fit exactly below 2^53.
//!
//! Arithmetic never mutates its right side and reconciles what differs: it lowers the resolution to the coarser schema,
//! widens the zero bucket until no populated bucket straddles its edge, and keeps the common bounds of custom buckets.
//! Only exponential and custom buckets cannot be combined. [`sum::HistogramSum`] is the same with compensated addition.

pub mod bounds;
pub mod buckets;
pub mod check;
pub mod classic;
mod display;
pub mod quantile;
mod reset;
mod side;
pub mod sum;
pub mod trim;
mod wide;

use std::sync::Arc;

use crate::model::sample;

pub use wide::{Combined, IncompatibleSchema};

/// The schema of a histogram with custom bounds ("NHCB").
pub const CUSTOM_BUCKETS_SCHEMA: i8 = -53;

/// What is known about the counter behind a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResetHint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    /// The histogram is a gauge: resets mean nothing.
    Gauge,
}

/// A run of consecutive buckets: `offset` is the gap to the run before (for the first, the index of its bucket).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub offset: i32,
    pub length: u32,
}

/// A native histogram. Bucket counts are absolute (not deltas), one for each bucket that a span covers.
///
/// With schema n, bucket i covers (2^((i-1)/2^n), 2^(i/2^n)]. With [`CUSTOM_BUCKETS_SCHEMA`] only positive buckets
/// exist and bucket i ends at `custom_values[i]`, the last at +Inf.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Histogram {
    pub reset_hint: ResetHint,
    pub schema: i8,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive_spans: Vec<Span>,
    pub positive_buckets: Vec<f64>,
    pub negative_spans: Vec<Span>,
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of custom buckets, ascending, without +Inf; empty for exponential schemas.
    pub custom_values: Arc<[f64]>,
}

impl Histogram {
    /// Whether the buckets have custom bounds.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Whether this is a staleness marker.
    pub fn is_stale(&self) -> bool {
        sample::is_stale(self.sum)
    }

    /// How many samples of 16 bytes it counts for in budgets, as Prometheus counts them.
    pub fn size_in_samples(&self) -> u64 {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        let floats = self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len();
        (168 + 8 * (spans + floats) as u64 + 8) / 16
    }

    /// Whether both hold the same data, bit for bit: the same buckets (empty ones too) with the same counts. The reset
    /// hint is not data.
    pub fn same_data(&self, other: &Self) -> bool {
        let buckets = |spans: &'_ [Span], counts: &'_ [f64]| -> Vec<(i32, u64)> {
            side::cells(spans, counts).map(|(index, count)| (index, count.to_bits())).collect()
        };
        self.schema == other.schema
            && self.count.to_bits() == other.count.to_bits()
            && self.sum.to_bits() == other.sum.to_bits()
            && self.zero_threshold == other.zero_threshold
            && self.zero_count.to_bits() == other.zero_count.to_bits()
            && (!self.uses_custom_buckets() || self.custom_values == other.custom_values)
            && buckets(&self.positive_spans, &self.positive_buckets)
                == buckets(&other.positive_spans, &other.positive_buckets)
            && buckets(&self.negative_spans, &self.negative_buckets)
                == buckets(&other.negative_spans, &other.negative_buckets)
    }

    /// Adds `other`. On an error nothing has changed.
    pub fn add(&mut self, other: &Self) -> Result<Combined, IncompatibleSchema> {
        self.combine(other, 1.0)
    }

    /// Subtracts `other`. The reset hint is adjusted as for an addition; a caller for whom the result is a difference
    /// (and not a correction) marks it as a gauge.
    pub fn sub(&mut self, other: &Self) -> Result<Combined, IncompatibleSchema> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Self, sign: f64) -> Result<Combined, IncompatibleSchema> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(IncompatibleSchema);
        }
        let mut wide = wide::Wide::<f64>::take(self);
        let combined = wide.combine(other, sign);
        *self = wide.give();
        Ok(combined)
    }

    /// Multiplies all counts and the sum. A negative factor makes it a gauge.
    pub fn scale(&mut self, factor: f64) {
        self.each_count(|count| *count *= factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum. A divisor of zero leaves no buckets; a negative one makes it a gauge.
    pub fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        }
        self.each_count(|count| *count /= divisor);
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    fn each_count(&mut self, mut change: impl FnMut(&mut f64)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive_buckets.iter_mut().chain(&mut self.negative_buckets).for_each(change);
    }

    /// Removes empty buckets and joins adjacent spans.
    pub fn compact(&mut self) {
        side::compact(&mut self.positive_spans, &mut self.positive_buckets);
        side::compact(&mut self.negative_spans, &mut self.negative_buckets);
    }

    /// Merges buckets down to a coarser exponential schema. Without effect unless both schemas are exponential and
    /// `schema` is the coarser one.
    pub fn reduce_resolution(&mut self, schema: i8) {
        if !bounds::is_exponential(self.schema) || !bounds::is_exponential(schema) || schema >= self.schema {
            return;
        }
        side::reduce(&mut self.positive_spans, &mut self.positive_buckets, self.schema, schema);
        side::reduce(&mut self.negative_spans, &mut self.negative_buckets, self.schema, schema);
        self.schema = schema;
    }

    /// Whether any number in it is infinite, as after a sum beyond the range of floats.
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum].into_iter().any(f64::is_infinite)
            || [&self.positive_buckets[..], &self.negative_buckets, &self.custom_values]
                .into_iter()
                .flatten()
                .any(|count| count.is_infinite())
    }
}

#[cfg(test)]
mod tests;
