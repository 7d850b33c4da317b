//! A sample: a time and a value.

use std::sync::Arc;

use super::histogram::Histogram;

/// The bits of the NaN that says "this series ended here" (Prometheus: `value.StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker. Compare with [`is_stale`]: it is a NaN, so `==` never holds.
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a value is the staleness marker, and not just any NaN.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Whether any value is a staleness marker. In blocks, because a loop that may end at each value does not run wide.
#[multiversion::multiversion(targets("x86_64+avx+avx2"))]
pub fn any_stale(values: &[f64]) -> bool {
    values.chunks(256).any(|block| block.iter().fold(false, |any, value| any | is_stale(*value)))
}

/// Whether a start timestamp means a reset since the sample before. Samples are (time, start). A start that is unknown
/// (0), at or after its own sample, or before the other sample says nothing. One exactly at the other sample is how
/// deltas are written, but also how counters of unknown start are: the start of the other sample tells them apart.
pub fn start_means_reset(before: (i64, i64), now: (i64, i64)) -> bool {
    let (start, previous) = (now.1, before.0);
    if start == 0 || start >= now.0 || start < previous {
        return false;
    }
    start > previous || (before.1 <= previous && before.1 != 0 && before.1 != previous)
}

/// What a sample holds.
#[derive(Clone, Debug)]
pub enum Value {
    Float(f64),
    /// A native histogram; one whose `sum` is the staleness marker is itself a staleness marker.
    Histogram(Arc<Histogram>),
}

/// A value at a time. `start` is when its counting began, in milliseconds; 0 means unknown.
#[derive(Clone, Debug)]
pub struct Sample {
    pub time: i64,
    pub start: i64,
    pub value: Value,
}
