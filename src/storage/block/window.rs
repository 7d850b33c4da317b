//! Writes sorted series into one block for each aligned window of time.

use std::collections::BTreeMap;
use std::io;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::promql::source::Column;

use super::columns::seal;
use super::format::Meta;
use super::shelf::Blocks;
use super::writer::BlockWriter;

/// Which window of a width a time is in. Windows are closed to the right, as range selectors are.
pub(super) fn window_of(time: i64, width: i64) -> i64 {
    time.saturating_sub(1).div_euclid(width)
}

/// Width of a fresh block's window, aligned to the epoch.
pub const WINDOW_MS: i64 = 7_200_000;

/// Windows that are written at once: each holds a file and its symbols. Beyond it they get wider.
const WINDOWS_MAX: i64 = 64;

/// Blocks in the making. Dropped without `finish`, it leaves nothing.
#[derive(Debug)]
pub struct WindowWriter<'a> {
    blocks: &'a Blocks,
    now: Millis,
    width: i64,
    writers: BTreeMap<i64, BlockWriter>,
}

impl<'a> WindowWriter<'a> {
    /// For samples in `mint..=maxt`. `now` is for the names of the blocks.
    pub fn new(blocks: &'a Blocks, now: Millis, (mint, maxt): (i64, i64)) -> Self {
        let span = maxt.saturating_sub(mint).max(0);
        let mut width = WINDOW_MS;
        while span / width >= WINDOWS_MAX {
            width = width.saturating_mul(12);
        }
        Self { blocks, now, width, writers: BTreeMap::new() }
    }

    /// Adds the samples of a series; labels come in ascending order.
    pub fn add(&mut self, labels: &Labels, column: &Column) -> io::Result<()> {
        let mut from = 0;
        while let Some(first) = column.times.get(from) {
            let window = window_of(*first, self.width);
            let rest = column.times.get(from..).unwrap_or_default();
            let to = from + rest.partition_point(|time| window_of(*time, self.width) == window);
            let mut chunks = Vec::new();
            seal(column, from, to, &mut chunks);
            let writer = match self.writers.entry(window) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(self.blocks.writer(self.now, 0, 0, Vec::new())?)
                }
            };
            writer.add(labels, &chunks)?;
            from = to;
        }
        Ok(())
    }

    /// Finishes every block; they live once `Blocks::publish` names them.
    pub fn finish(self) -> io::Result<Vec<(Meta, u64)>> {
        let mut finished = Vec::new();
        for writer in self.writers.into_values() {
            finished.extend(writer.finish()?);
        }
        Ok(finished)
    }
}
