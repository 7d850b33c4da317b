//! Prometheus' own data folder, read only: blocks (index version 2, chunk segments, tombstones) and the write-ahead log.
//!
//! It serves `novascope import prometheus`. The readers work on bytes that the caller brings: files stay behind
//! `base::disk`. Checksums are verified on every unit, and a damaged unit is an error that names its place, so that
//! the importer can say what it left out. Formats: prometheus/tsdb/docs/format.

pub mod block;
mod cursor;
pub mod record;
pub mod wal;

pub use cursor::TsdbError;
