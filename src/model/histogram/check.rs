//! Whether a histogram makes sense.

use super::{Histogram, Span, bounds};

/// Why a histogram cannot be accepted, in Prometheus' words.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    #[error(
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema {0}"
    )]
    Schema(i8),
    #[error("{side}span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    NegativeOffset { side: &'static str, number: usize, offset: i32 },
    #[error(
        "{side}spans need {needed} buckets, have {present} buckets: histogram spans specify different number of buckets than provided"
    )]
    BucketCount { side: &'static str, needed: u64, present: usize },
    #[error(
        "{side}bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is negative"
    )]
    NegativeBucket { side: &'static str, number: usize, count: f64 },
    #[error("zero bucket has observation count of {0}: histogram has a bucket whose observation count is negative")]
    NegativeZeroCount(f64),
    #[error("observation count is {0}: histogram's observation count is negative")]
    NegativeCount(f64),
    #[error("custom buckets: histogram custom bounds must be in strictly increasing order")]
    BoundsOrder,
    #[error("custom buckets: histogram custom bounds must not be NaN")]
    BoundNan,
    #[error("custom buckets: histogram custom bounds must be finite")]
    BoundInfinite,
    #[error(
        "custom buckets: only {present} custom bounds defined which is insufficient to cover total span length of {needed}"
    )]
    BoundsMissing { present: usize, needed: u64 },
    #[error("custom buckets: must have neither negative buckets nor a zero bucket")]
    CustomSides,
    #[error("histogram with exponential schema must not have custom bounds")]
    ExponentialBounds,
}

impl Histogram {
    /// Checks spans against buckets, bounds and signs. A histogram that passes can be computed with.
    pub fn check(&self) -> Result<(), HistogramError> {
        if self.uses_custom_buckets() {
            self.check_custom()?;
        } else if bounds::is_exponential(self.schema) {
            if !self.custom_values.is_empty() {
                return Err(HistogramError::ExponentialBounds);
            }
            check_spans("positive side: ", &self.positive_spans, self.positive_buckets.len(), false)?;
            check_spans("negative side: ", &self.negative_spans, self.negative_buckets.len(), false)?;
            check_counts("negative side: ", &self.negative_buckets)?;
            if self.zero_count < 0.0 {
                return Err(HistogramError::NegativeZeroCount(self.zero_count));
            }
        } else {
            return Err(HistogramError::Schema(self.schema));
        }
        if self.count < 0.0 {
            return Err(HistogramError::NegativeCount(self.count));
        }
        check_counts("positive side: ", &self.positive_buckets)
    }

    fn check_custom(&self) -> Result<(), HistogramError> {
        if self.custom_values.iter().any(|bound| bound.is_nan()) {
            return Err(HistogramError::BoundNan);
        }
        if self.custom_values.windows(2).any(|pair| pair[1] <= pair[0]) {
            return Err(HistogramError::BoundsOrder);
        }
        if self.custom_values.last() == Some(&f64::INFINITY) {
            return Err(HistogramError::BoundInfinite);
        }
        check_spans("custom buckets: ", &self.positive_spans, self.positive_buckets.len(), true)?;
        let needed =
            self.positive_spans.iter().map(|span| u64::from(span.length) + u64::from(span.offset.unsigned_abs())).sum();
        if self.custom_values.len() as u64 + 1 < needed {
            return Err(HistogramError::BoundsMissing { present: self.custom_values.len(), needed });
        }
        let other = self.negative_buckets.len() + self.negative_spans.len();
        if other > 0 || self.zero_count != 0.0 || self.zero_threshold != 0.0 {
            return Err(HistogramError::CustomSides);
        }
        Ok(())
    }
}

fn check_spans(side: &'static str, spans: &[Span], buckets: usize, custom: bool) -> Result<(), HistogramError> {
    for (at, span) in spans.iter().enumerate() {
        if span.offset < 0 && (at > 0 || custom) {
            return Err(HistogramError::NegativeOffset { side, number: at + 1, offset: span.offset });
        }
    }
    let needed = spans.iter().map(|span| u64::from(span.length)).sum();
    if needed != buckets as u64 {
        return Err(HistogramError::BucketCount { side, needed, present: buckets });
    }
    Ok(())
}

fn check_counts(side: &'static str, counts: &[f64]) -> Result<(), HistogramError> {
    match counts.iter().position(|count| *count < 0.0) {
        Some(at) => Err(HistogramError::NegativeBucket { side, number: at + 1, count: counts[at] }),
        None => Ok(()),
    }
}
