//! The write-ahead log: frames in segments, one writer, many who wait.
//!
//! Owns the folder of segments and snapshots. Promises: a ticket resolves after its frames are as durable as the mode
//! asks; preludes (what other frames refer to) are on disk before the frames that were handed in after them, and
//! twice; after a failed write or sync the same bytes go to a fresh file, and if that fails too, every commit is
//! refused until a probe succeeds. Does not interpret frames, and does not decide when to snapshot.
//!
//! A frame is `frame`, a file of frames is read by `reader` and written by `writer`; `ticket` is what waiters hold.

mod aside;
pub mod frame;
pub mod reader;
pub mod snapshot;
pub mod ticket;

mod log;
mod writer;

pub use log::{Mode, Replayed, Step, Wal, WalConfig, WalStats, compressed, decompressed};
pub use writer::segment_path;
