//! Immutable blocks: sealed samples of many series on disk, with their own index.
//!
//! Owns the folder `blocks`: block files, named by ULID, and the manifest that says which of them live. Promises: a
//! published file never changes; every byte that an answer uses was checked against a checksum; what is damaged costs
//! only its page (or, in an index, its block) and is named; memory is the page cache's budget plus what readers hold.
//! Does not decide when to flush, and does not know the head: it takes sorted series with sealed chunks. Everything is
//! synchronous and driven from outside: `Blocks::next_job`, `Job::run`.
//!
//! Data passes: head → `writer` → file → `manifest` → `shelf` (readers' versions) → `reader` → `index`, `cache`.
//! Tables: docs/format/block.md.

mod audit;
mod cache;
mod columns;
mod format;
mod gather;
mod groups;
mod index;
mod job;
mod listing;
mod manifest;
mod merging;
mod points;
mod policy;
mod reader;
mod reading;
mod repeats;
mod rolling;
mod salvage;
mod shelf;
mod tier;
mod tombstones;
mod trimming;
mod ulid;
mod version;
mod walk;
mod window;
mod writer;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tier_tests;

pub use audit::{Audit, Usage, audit, check_manifest, check_tombstones, open_all};
pub use cache::Cache;
pub use columns::settle;
pub use format::Meta;
pub use job::{Done, Job};
pub use policy::{CLASSES_MAX, Class, Policy};
pub use reader::{Block, BlockError};
pub use reading::Spans;
pub use salvage::{Loss, losses};
pub use shelf::{Blocks, Warnings};
pub use tier::{Asked, Shape, TIER_MS, asked_of};
pub use tombstones::Deletion;
pub use ulid::Ulid;
pub use version::{Quarantined, Remarks, Selected, Series, Version, Wanted};
pub use window::{WINDOW_MS, WindowWriter};
pub use writer::BlockWriter;
