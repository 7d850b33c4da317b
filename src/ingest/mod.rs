//! Protocols in: one folder a protocol.

pub mod counters;
pub mod discovery;
pub mod exposition;
pub mod host;
pub mod import;
pub mod labels;
pub mod otlp;
pub mod prometheus_data;
pub mod recent;
pub mod relabel;
pub mod remote_write;
pub mod report;
pub mod scrape;

#[cfg(test)]
mod fixture;
