//! Quantiles and fractions of native histograms.

use super::Histogram;
use super::buckets::Bucket;

/// A number read out of a histogram, and what a user should know about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub value: f64,
    /// There were observations of NaN, which are in no bucket.
    pub nan: NanObservations,
}

/// What observations of NaN did to an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanObservations {
    None,
    /// The rank lies among them, so the result is NaN.
    Reached,
    /// They were counted as +Inf, or left out of a fraction.
    Skewed,
}

impl Estimate {
    fn plain(value: f64) -> Self {
        Self { value, nan: NanObservations::None }
    }
}

impl Histogram {
    /// The quantile `q`: interpolated linearly in custom buckets and in the zero bucket, exponentially elsewhere.
    pub fn quantile(&self, q: f64) -> Estimate {
        if q < 0.0 {
            return Estimate::plain(f64::NEG_INFINITY);
        }
        if q > 1.0 {
            return Estimate::plain(f64::INFINITY);
        }
        if self.count == 0.0 || q.is_nan() {
            return Estimate::plain(f64::NAN);
        }
        // Counting from the nearer end loses less precision. NaN observations are beyond the upper end, so with them
        // only counting from below is right.
        let from_below = self.sum.is_nan() || q < 0.5;
        let mut buckets = self.all();
        if !from_below {
            buckets.reverse();
        }
        let mut rank = if from_below { q * self.count } else { (1.0 - q) * self.count };
        let mut seen = 0.0;
        let mut bucket = Bucket { lower: 0.0, upper: 0.0, count: 0.0 };
        let mut rest = buckets.iter();
        for candidate in rest.by_ref() {
            bucket = *candidate;
            if bucket.count == 0.0 {
                continue;
            }
            seen += bucket.count;
            if seen >= rank {
                break;
            }
        }
        if let Some(value) = self.trim_to_known_values(&mut bucket) {
            return Estimate::plain(value);
        }
        seen = seen.min(self.count);
        if seen < rank {
            return if self.sum.is_nan() {
                Estimate { value: f64::NAN, nan: NanObservations::Reached }
            } else {
                // Only imprecise counts lead here; the highest bound is the best guess.
                Estimate::plain(bucket.upper)
            };
        }
        rank = if from_below { rank - (seen - bucket.count) } else { seen - rank };
        let mut nan = NanObservations::None;
        if self.sum.is_nan() {
            // Infinite observations of both signs make the sum NaN too: then all counts are in buckets. What follows
            // the last bucket looked at decides, as in Prometheus, also for the interpolation.
            for following in rest {
                bucket = *following;
                seen += bucket.count;
            }
            if seen < self.count {
                nan = NanObservations::Skewed;
            }
        }
        Estimate { value: self.interpolate(&bucket, rank / bucket.count), nan }
    }

    /// Cuts a bucket at 0 where the histogram has observations on one side only. Some for the outermost custom buckets,
    /// where only one end is known.
    fn trim_to_known_values(&self, bucket: &mut Bucket) -> Option<f64> {
        if self.uses_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return Some(bucket.upper);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return Some(bucket.lower);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.cut_at_zero(bucket);
        }
        None
    }

    fn cut_at_zero(&self, bucket: &mut Bucket) {
        if self.negative_buckets.is_empty() && !self.positive_buckets.is_empty() {
            bucket.lower = 0.0;
        } else if self.positive_buckets.is_empty() && !self.negative_buckets.is_empty() {
            bucket.upper = 0.0;
        }
    }

    fn interpolate(&self, bucket: &Bucket, fraction: f64) -> f64 {
        if self.uses_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return bucket.lower + (bucket.upper - bucket.lower) * fraction;
        }
        let lower = bucket.lower.abs().log2();
        let upper = bucket.upper.abs().log2();
        if bucket.lower > 0.0 {
            (lower + (upper - lower) * fraction).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - fraction)).exp2()
        }
    }

    /// The share of observations between two values.
    pub fn fraction(&self, lower: f64, upper: f64) -> Estimate {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return Estimate::plain(f64::NAN);
        }
        if lower >= upper {
            return Estimate::plain(0.0);
        }
        let buckets = self.all();
        let ranks = self.ranks(&buckets, [lower, upper]);
        let mut nan = NanObservations::None;
        let mut count = self.count;
        if self.sum.is_nan() {
            count = buckets.iter().map(|bucket| bucket.count).sum();
            if count < self.count {
                nan = NanObservations::Skewed;
            }
        }
        let [low, high] = ranks.map(|rank| rank.filter(|rank| *rank <= count).unwrap_or(count));
        Estimate { value: (high - low) / self.count, nan }
    }

    /// How many observations are at or below each of two values; `None` where that is all of them.
    fn ranks(&self, buckets: &[Bucket], values: [f64; 2]) -> [Option<f64>; 2] {
        let mut below = 0.0;
        let mut ranks = [None; 2];
        for bucket in buckets {
            let mut bucket = *bucket;
            let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if zero {
                self.cut_at_zero(&mut bucket);
            }
            for (rank, value) in ranks.iter_mut().zip(values) {
                if rank.is_some() {
                    continue;
                }
                if bucket.lower >= value {
                    *rank = Some(below);
                } else if bucket.upper > value {
                    let linear = self.uses_custom_buckets() || zero;
                    *rank = Some(if linear && bucket.lower == f64::NEG_INFINITY {
                        // Where the bucket has no end nothing can be interpolated: all of it is below.
                        bucket.count
                    } else {
                        below + bucket.count * bucket.fraction_below(value, linear)
                    });
                }
            }
            if ranks.iter().all(Option::is_some) {
                break;
            }
            below += bucket.count;
        }
        ranks
    }

    /// The variance of the observations, each taken to be in the middle of its bucket.
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut sum = super::sum::Compensated::default();
        for bucket in self.all().into_iter().filter(|bucket| bucket.count != 0.0) {
            let middle = if self.uses_custom_buckets() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            let delta = middle - mean;
            sum.push(bucket.count * delta * delta);
        }
        sum.total() / self.count
    }
}
