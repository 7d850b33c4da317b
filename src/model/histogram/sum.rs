//! Compensated sums and means of histograms.

use super::side::Cell;
use super::wide::{Combined, IncompatibleSchema, Wide};
use super::{Histogram, ResetHint, Span};

/// A float and the part of it that did not fit (Kahan's summation with Neumaier's improvement).
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Compensated {
    pub sum: f64,
    pub carry: f64,
}

impl Compensated {
    /// Adds one number. The error term is exact whichever number is larger, hence equal to Neumaier's, without its
    /// branch.
    #[inline]
    pub fn push(&mut self, value: f64) {
        let total = self.sum + value;
        let added = total - self.sum;
        let error = (self.sum - (total - added)) + (value - added);
        // Beyond the range of floats the carry would become NaN.
        self.carry = if total.is_infinite() { 0.0 } else { self.carry + error };
        self.sum = total;
    }

    /// Sum and carry together.
    #[inline]
    pub fn total(self) -> f64 {
        self.sum + self.carry
    }
}

impl From<f64> for Compensated {
    #[inline]
    fn from(sum: f64) -> Self {
        Self { sum, carry: 0.0 }
    }
}

impl Cell for Compensated {
    #[inline]
    fn add(&mut self, other: Self) {
        self.push(other.sum);
        if other.carry != 0.0 {
            self.push(other.carry);
        }
    }

    fn is_empty(&self) -> bool {
        self.sum == 0.0
    }

    fn change(&mut self, mut change: impl FnMut(&mut f64)) {
        change(&mut self.sum);
        change(&mut self.carry);
    }
}

/// A sum of histograms in which rounding errors do not accumulate.
#[derive(Clone, Debug)]
pub struct HistogramSum(Wide<Compensated>);

impl HistogramSum {
    /// A sum of one.
    pub fn new(first: &Histogram) -> Self {
        let side = |spans: &[Span], counts: &[f64]| {
            (spans.to_vec(), counts.iter().map(|count| Compensated::from(*count)).collect())
        };
        Self(Wide {
            reset_hint: first.reset_hint,
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            zero_count: first.zero_count.into(),
            count: first.count.into(),
            sum: first.sum.into(),
            positive: side(&first.positive_spans, &first.positive_buckets),
            negative: side(&first.negative_spans, &first.negative_buckets),
            custom_values: first.custom_values.clone(),
        })
    }

    /// Adds one more. On an error nothing has changed.
    pub fn add(&mut self, other: &Histogram) -> Result<Combined, IncompatibleSchema> {
        if (self.0.schema == super::CUSTOM_BUCKETS_SCHEMA) != other.uses_custom_buckets() {
            return Err(IncompatibleSchema);
        }
        Ok(self.0.combine(other, 1.0))
    }

    /// Adds another sum, as when parts were summed on several threads.
    pub fn merge(&mut self, other: &Self) -> Result<Combined, IncompatibleSchema> {
        let combined = self.add(&other.part(|cell| cell.sum))?;
        let mut carry = other.part(|cell| cell.carry);
        carry.reset_hint = self.0.reset_hint;
        self.add(&carry)?;
        Ok(combined)
    }

    /// Multiplies everything by a factor that is not negative.
    pub fn scale(&mut self, factor: f64) {
        self.0.change(|value| *value *= factor);
    }

    /// Divides everything by a positive number.
    pub fn divide(&mut self, divisor: f64) {
        self.0.change(|value| *value /= divisor);
    }

    pub fn reset_hint(&self) -> ResetHint {
        self.0.reset_hint
    }

    /// Whether a number in it went beyond the range of floats.
    pub fn has_overflow(&self) -> bool {
        let wide = &self.0;
        [wide.zero_count, wide.count, wide.sum]
            .iter()
            .chain(&wide.positive.1)
            .chain(&wide.negative.1)
            .any(|cell| cell.sum.is_infinite())
    }

    /// The sum, with the carries added in.
    pub fn total(&self) -> Histogram {
        self.part(|cell| cell.total())
    }

    fn part(&self, part: impl Fn(&Compensated) -> f64) -> Histogram {
        let wide = &self.0;
        Histogram {
            reset_hint: wide.reset_hint,
            schema: wide.schema,
            zero_threshold: wide.zero_threshold,
            zero_count: part(&wide.zero_count),
            count: part(&wide.count),
            sum: part(&wide.sum),
            positive_spans: wide.positive.0.clone(),
            positive_buckets: wide.positive.1.iter().map(&part).collect(),
            negative_spans: wide.negative.0.clone(),
            negative_buckets: wide.negative.1.iter().map(&part).collect(),
            custom_values: wide.custom_values.clone(),
        }
    }
}
