//! Prometheus' own data folder: blocks (index version 2, chunk segments, tombstones) and the write-ahead log are read,
//! blocks are written.
//!
//! It serves `novascope import prometheus` and `novascope export prometheus`. The readers work on bytes that the caller brings: files stay behind
//! `base::disk`. Checksums are verified on every unit, and a damaged unit is an error that names its place, so that
//! the importer can say what it left out. Formats: prometheus/tsdb/docs/format.

pub mod block;
mod cursor;
pub mod record;
pub mod wal;
pub mod write;

pub use cursor::TsdbError;
