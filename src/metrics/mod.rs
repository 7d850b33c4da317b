//! The metrics store: series, their samples in memory by column, and the log that makes them durable.
//!
//! Owns the life of a sample from `Appender::float` until it leaves retention. Promises: a sample is visible to
//! readers at the latest when its commit resolves, and in `sync` mode it is on disk then; what was accepted is never
//! dropped before retention says so; readers never block appenders for longer than it takes to copy one series'
//! open column. Does not parse protocols, evaluate queries or start tasks: it is synchronous, and driven by
//! `Store::maintain` from outside.
//!
//! Data passes: `Store::appender` → `Appender` → shard (`shard`, `series`, `open`) → on `commit` the log. Readers go
//! `Store::select` → `postings` → `Selection`, which implements `promql::source::SeriesSet`.

pub mod changes;
pub mod config;
pub mod refusal;

mod admission;
mod appender;
mod audit;
mod backup;
pub mod cardinality;
mod catalog;
mod column;
mod columns;
mod commit;
mod crew;
mod deletion;
mod exemplars;
mod few;
mod flush;
mod histograms;
mod index;
mod late;
mod leaving;
mod matching;
mod metadata;
mod newcomers;
mod order;
mod packed;
mod postings;
mod progress;
mod record;
mod refs;
mod replay;
mod replayed;
mod room;
mod selection;
mod series;
mod shard;
mod snapshot;
mod stats;
mod store;
mod symbols;
mod upkeep;
mod usage;
mod view;

pub use appender::{Appender, Float, Origin, Run};
pub use audit::{LogAudit, LogFile, audit_log, good_frames};
pub use catalog::{Listing, MetadataRow};
pub use commit::{Commit, CommitError, Committed};
pub use deletion::DeleteError;
pub use exemplars::ExemplarRow;
pub use progress::{ReplayState, Replaying};
pub use refusal::Refusal;
pub use replay::Recovery;
pub use room::RoomStats;
pub use selection::Selection;
pub use series::SeriesRef;
pub use stats::{Stats, TopEntry, Totals};
pub use store::{OpenError, Seams, Store};
pub use usage::{Churn, Flux, Queried};

#[cfg(test)]
mod tests;
