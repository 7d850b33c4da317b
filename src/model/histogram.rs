//! Native histograms: exponential buckets (schemas -4..=8) and custom buckets (schema -53).
//!
//! Counts are floats, as in Prometheus' `FloatHistogram`; integer histograms fit exactly below 2^53.

use std::sync::Arc;

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
