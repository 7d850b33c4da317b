//! Blocks as Prometheus' store has them, two hours each, aligned to UTC.
//!
//! A folder of them can be copied into the data folder of a Prometheus, uploaded by Thanos or read by promtool. They
//! hold everything but start times and exemplars, for which the format has no place.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::codec::prometheus::cut::cut;
use crate::promql::source::{Column, SeriesSet, SourceError};
use crate::storage::block::Ulid;
use crate::storage::tsdb::write::{BlockWriter, Written};

/// Length of a block: the ranges that Prometheus cuts its own into.
pub const BLOCK_MS: i64 = 2 * 3_600_000;

/// Why a block could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot write the block: {0}")]
    Write(#[from] io::Error),
}

/// Where blocks go.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub disk: &'a Disk,
    pub folder: &'a Path,
    pub clock: &'a Clock,
    pub rng: &'a Rng,
}

/// The ranges that blocks between two times have, first and last millisecond each.
pub fn ranges(first: i64, last: i64) -> impl Iterator<Item = (i64, i64)> {
    let start = first.div_euclid(BLOCK_MS).saturating_mul(BLOCK_MS);
    let starts = std::iter::successors(Some(start), |start| start.checked_add(BLOCK_MS));
    starts.take_while(move |start| *start <= last).map(|start| (start, start.saturating_add(BLOCK_MS - 1)))
}

/// Writes the samples of all series in the set, which lie in one range of [`ranges`], as one block; `None` where there
/// are none.
pub fn write(
    target: Target<'_>,
    set: &dyn SeriesSet,
    range: (i64, i64),
) -> Result<Option<(String, Written)>, BlockError> {
    if set.is_empty() {
        return Ok(None);
    }
    let name = Ulid::new(target.clock.now(), target.rng).to_string();
    let mut symbols: BTreeSet<&str> = BTreeSet::new();
    for index in 0..set.len() {
        symbols.extend(set.labels(index).iter().flat_map(|(name, value)| [name, value]));
    }
    let symbols = symbols.into_iter().map(Box::from).collect();
    let mut writer = BlockWriter::create(target.disk, target.folder, &name, symbols)?;
    let mut column = Column::default();
    let mut chunks = Vec::new();
    let mut is_empty = true;
    for index in 0..set.len() {
        column.clear();
        set.read(index, &mut column)?;
        chunks.clear();
        cut(&column.times, &column.values, &column.histograms, &mut chunks);
        if !chunks.is_empty() {
            is_empty = false;
            writer.series(set.labels(index), &chunks)?;
        }
    }
    if is_empty {
        writer.discard()?;
        return Ok(None);
    }
    let written = writer.finish((range.0, range.1.saturating_add(1)))?;
    Ok(Some((name, written)))
}
