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
