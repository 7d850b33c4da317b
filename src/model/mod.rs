//! The nouns of the field: labels, matchers, samples, histograms, exemplars, metadata, maintenance.
//!
//! Everything here is plain data without I/O. Times are milliseconds since the Unix epoch.

pub mod calendar;
pub mod exemplar;
pub mod float_text;
pub mod histogram;
pub mod json_text;
pub mod labels;
pub mod matcher;
pub mod metadata;
pub mod re2;
pub mod sample;
