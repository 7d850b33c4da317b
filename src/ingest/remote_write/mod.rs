//! Prometheus remote write.

pub mod histogram;
