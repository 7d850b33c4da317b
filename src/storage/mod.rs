//! The durable substrate: write-ahead log, blocks, manifest.

pub mod tsdb;
