//! The durable substrate: write-ahead log, the lock of the data folder, blocks, manifest.
//!
//! Owns the files of a data folder and their formats (docs/format/*.md). Promises that what it acknowledged is found
//! again after a crash, and that damage is noticed and costs only the damaged unit. Knows nothing of what the bytes
//! mean: the signal stores encode and decode them. Synchronous; time, files and threads come from `base`.

pub mod block;
pub mod lock;
pub mod tsdb;
pub mod wal;
