//! Exemplars: single observations that point to a trace.

use super::labels::Labels;

/// One observation with labels of its own, such as `trace_id`.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub labels: Labels,
    pub value: f64,
    /// Milliseconds; 0 where the sender gave none (the sample's time is meant).
    pub time: i64,
}
