//! Classic histograms (`_bucket`, `_count`, `_sum` series) as native ones with custom bounds.

use super::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span};

/// Collects the samples of one classic histogram at one time.
#[derive(Clone, Debug, Default)]
pub struct ClassicHistogram {
    /// Upper bound and cumulative count, ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Why samples do not make up a histogram.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ClassicError {
    #[error("bucket boundary is NaN")]
    NanBound,
    #[error("bucket count must be non-negative: le={bound}, count={count}")]
    NegativeBucket { bound: f64, count: f64 },
    #[error("count must be non-negative: count={0}")]
    NegativeCount(f64),
    #[error("count is not cumulative: {0} and {1}")]
    NotCumulative(f64, f64),
    #[error("count mismatch: count={count} != le={bound} count={bucket}")]
    CountMismatch { count: f64, bound: f64, bucket: f64 },
}

impl ClassicHistogram {
    /// Adds the bucket with this upper bound. One that is there already stays.
    pub fn bucket(&mut self, bound: f64, count: f64) -> Result<(), ClassicError> {
        if bound.is_nan() {
            return Err(ClassicError::NanBound);
        }
        if count < 0.0 {
            return Err(ClassicError::NegativeBucket { bound, count });
        }
        let at = self.buckets.partition_point(|(candidate, _)| *candidate < bound);
        if self.buckets.get(at).is_some_and(|(candidate, _)| *candidate == bound) {
            return Ok(());
        }
        let below = at.checked_sub(1).and_then(|before| self.buckets.get(before));
        if let Some((_, below)) = below.filter(|(_, below)| count < *below) {
            return Err(ClassicError::NotCumulative(count, *below));
        }
        if let Some((_, above)) = self.buckets.get(at).filter(|(_, above)| count > *above) {
            return Err(ClassicError::NotCumulative(count, *above));
        }
        self.buckets.insert(at, (bound, count));
        Ok(())
    }

    /// Sets the number of observations.
    pub fn count(&mut self, count: f64) -> Result<(), ClassicError> {
        if count < 0.0 {
            return Err(ClassicError::NegativeCount(count));
        }
        self.count = Some(count);
        Ok(())
    }

    /// Sets the sum of observations.
    pub fn sum(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// The native histogram. Without a `_count` the highest bucket counts; without a +Inf bucket the count does.
    pub fn build(mut self) -> Result<Histogram, ClassicError> {
        let count = self.count.or_else(|| self.buckets.last().map(|(_, count)| *count)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let mut bounds = Vec::with_capacity(self.buckets.len());
        let mut counts = Vec::with_capacity(self.buckets.len());
        for (bound, cumulative) in &self.buckets {
            counts.push(cumulative - before);
            before = *cumulative;
            if *bound != f64::INFINITY {
                bounds.push(*bound);
            }
        }
        if count != before {
            return Err(ClassicError::CountMismatch { count, bound: f64::INFINITY, bucket: before });
        }
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
            positive_buckets: counts,
            custom_values: bounds.into(),
            ..Histogram::default()
        };
        histogram.compact();
        Ok(histogram)
    }
}
