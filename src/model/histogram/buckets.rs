//! Buckets with their bounds, one by one.

use super::{Histogram, bounds, side};

/// One bucket: (lower, upper] where positive, [lower, upper) where negative, both included for the zero bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub count: f64,
}

impl Bucket {
    /// The share of the bucket's width at or below `value`, which lies inside its finite bounds: on a linear scale, or
    /// on the logarithmic one on which exponential buckets are equally wide.
    pub fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let lower = self.lower.abs().log2();
        let upper = self.upper.abs().log2();
        let at = value.abs().log2();
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

impl Histogram {
    /// Positive buckets, ascending. Empty ones are included.
    pub fn positive(&self) -> impl Iterator<Item = Bucket> {
        side::cells(&self.positive_spans, &self.positive_buckets).map(|(index, count)| Bucket {
            lower: bounds::upper(index.saturating_sub(1), self.schema, &self.custom_values),
            upper: bounds::upper(index, self.schema, &self.custom_values),
            count,
        })
    }

    /// Negative buckets, from the one next to zero downwards. Empty ones are included.
    pub fn negative(&self) -> impl Iterator<Item = Bucket> {
        side::cells(&self.negative_spans, &self.negative_buckets).map(|(index, count)| Bucket {
            lower: -bounds::exponential(index, self.schema),
            upper: -bounds::exponential(index.saturating_sub(1), self.schema),
            count,
        })
    }

    /// The zero bucket.
    pub fn zero(&self) -> Bucket {
        Bucket { lower: -self.zero_threshold, upper: self.zero_threshold, count: self.zero_count }
    }

    /// All buckets, ascending: negative, zero (if it counts anything), positive. A bucket that overlaps the zero bucket
    /// is cut at its edge.
    pub fn all(&self) -> Vec<Bucket> {
        let mut buckets = Vec::with_capacity(self.negative_buckets.len() + self.positive_buckets.len() + 1);
        buckets.extend(self.negative());
        buckets.reverse();
        if self.zero_count > 0.0 {
            buckets.push(self.zero());
        }
        buckets.extend(self.positive());
        let edge = self.zero_threshold;
        if edge > 0.0 {
            for bucket in &mut buckets {
                if bucket.upper < 0.0 && bucket.upper > -edge {
                    bucket.upper = -edge;
                } else if bucket.lower > 0.0 && bucket.lower < edge {
                    bucket.lower = edge;
                }
            }
        }
        buckets
    }
}
