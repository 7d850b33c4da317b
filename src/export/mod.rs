//! Data out, in the forms of others: remote read, JSON lines, OpenMetrics, blocks of Prometheus.
//!
//! Writers take series from a selection and put bytes into a buffer or a folder. Promises: memory is bounded by one
//! window of one series, whatever the range; floats leave bit by bit wherever the form can hold them, and what it
//! cannot hold is counted. Does not know HTTP: `api` and `cli` bring requests and files.

pub mod blocks;
pub mod frames;
pub mod json_lines;
pub mod open_metrics;
pub mod remote_read;
mod windows;

pub use windows::{Window, each_series};
