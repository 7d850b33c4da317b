//! The operators `</` and `>/`: the part of a histogram below or above a value.

use super::Histogram;
use super::buckets::Bucket;

/// Which part stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Below,
    Above,
}

/// Counts and the sum of what stays, the latter estimated from the middles of buckets.
#[derive(Default)]
struct Kept {
    count: f64,
    sum: f64,
    changed: bool,
}

impl Histogram {
    /// Keeps the observations on one side of `value`. Count and sum are estimated anew if anything went.
    pub fn trim(&mut self, value: f64, keep: Keep) {
        let mut kept = Kept::default();
        let positive: Vec<Bucket> = self.positive().collect();
        let negative: Vec<Bucket> = self.negative().collect();
        let custom = self.uses_custom_buckets();
        for (slot, bucket) in self.positive_buckets.iter_mut().zip(&positive) {
            kept.take(slot, bucket, Scale { positive: true, linear: custom }, (value, keep));
        }
        for (slot, bucket) in self.negative_buckets.iter_mut().zip(&negative) {
            kept.take(slot, bucket, Scale { positive: false, linear: custom }, (value, keep));
        }
        if self.zero_count > 0.0 {
            let populated = |buckets: &[Bucket]| buckets.iter().any(|bucket| bucket.count != 0.0);
            let mut zero = self.zero();
            match (populated(&negative), populated(&positive)) {
                (true, false) => zero.upper = 0.0,
                (false, true) => zero.lower = 0.0,
                _ => {}
            }
            let (count, middle) = trim_zero(&zero, value, keep);
            kept.changed |= self.zero_count != count;
            self.zero_count = count;
            kept.sum += middle * count;
            kept.count += count;
        }
        if kept.changed {
            self.count = kept.count;
            self.sum = kept.sum;
            self.compact();
        }
    }
}

/// How values spread inside a bucket.
#[derive(Clone, Copy)]
struct Scale {
    positive: bool,
    linear: bool,
}

impl Kept {
    fn take(&mut self, slot: &mut f64, bucket: &Bucket, scale: Scale, (value, keep): (f64, Keep)) {
        if bucket.count == 0.0 {
            return;
        }
        let (whole, part) = match keep {
            Keep::Below => (bucket.upper <= value, bucket.lower < value),
            Keep::Above => (bucket.lower >= value, bucket.upper > value),
        };
        if whole {
            self.count += bucket.count;
            self.sum += middle(bucket.lower, bucket.upper, scale) * bucket.count;
        } else if part {
            let (count, middle) = trim_bucket(bucket, scale, value, keep);
            self.count += count;
            self.sum += middle * count;
            self.changed |= *slot != count;
            *slot = count;
        } else {
            *slot = 0.0;
            self.changed = true;
        }
    }
}

/// Count and middle of the part of a bucket that stays, where `value` lies inside.
fn trim_bucket(bucket: &Bucket, scale: Scale, value: f64, keep: Keep) -> (f64, f64) {
    if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
        return trim_endless(bucket, value, keep);
    }
    let below = if value <= bucket.lower {
        0.0
    } else if value >= bucket.upper {
        bucket.count
    } else {
        bucket.count * bucket.fraction_below(value, scale.linear)
    };
    match keep {
        Keep::Below => (below, middle(bucket.lower, value, scale)),
        Keep::Above => (bucket.count - below, middle(value, bucket.upper, scale)),
    }
}

/// The same for a bucket without one of its ends. How values spread there is unknown: the bucket goes whole, unless
/// the known end says that it may stay, or a finite positive upper end lets it be taken to begin at 0.
fn trim_endless(bucket: &Bucket, value: f64, keep: Keep) -> (f64, f64) {
    let finite = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
    if bucket.lower == f64::NEG_INFINITY {
        let from_zero = bucket.upper > 0.0 && bucket.upper.is_finite();
        return match keep {
            Keep::Below if value >= bucket.upper => (bucket.count, 0.0),
            Keep::Below if value > 0.0 && from_zero => (bucket.count * value / bucket.upper, value / 2.0),
            Keep::Below if bucket.upper <= 0.0 => (bucket.count, value),
            Keep::Above if value <= bucket.lower => (bucket.count, 0.0),
            Keep::Above if value >= 0.0 && bucket.upper > value && bucket.upper.is_finite() => {
                (bucket.count * (1.0 - value / bucket.upper), (value + bucket.upper) / 2.0)
            }
            _ => (0.0, finite(bucket.upper)),
        };
    }
    match keep {
        Keep::Above if value >= bucket.lower => (bucket.count, value),
        _ => (0.0, finite(bucket.lower)),
    }
}

fn trim_zero(zero: &Bucket, value: f64, keep: Keep) -> (f64, f64) {
    let (lower, upper) = (zero.lower, zero.upper);
    let (fraction, middle) = match keep {
        Keep::Below if value <= lower => return (0.0, 0.0),
        Keep::Below if value >= upper => return (zero.count, (lower + upper) / 2.0),
        Keep::Below => ((value - lower) / (upper - lower), (lower + value) / 2.0),
        Keep::Above if value <= lower => return (zero.count, (lower + upper) / 2.0),
        Keep::Above if value >= upper => return (0.0, 0.0),
        Keep::Above => ((upper - value) / (upper - lower), (value + upper) / 2.0),
    };
    (zero.count * fraction, middle)
}

/// The value that stands for all between two bounds.
fn middle(lower: f64, upper: f64, scale: Scale) -> f64 {
    if lower.is_infinite() {
        return match upper {
            upper if upper.is_infinite() => 0.0,
            upper if upper > 0.0 => upper / 2.0,
            upper => upper,
        };
    }
    if upper.is_infinite() {
        return lower;
    }
    if scale.linear {
        return (lower + upper) / 2.0;
    }
    let middle = (lower * upper).abs().sqrt();
    if scale.positive { middle } else { -middle }
}
