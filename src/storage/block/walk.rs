//! Walks over whole blocks, series by series.

use std::sync::Arc;

use crate::codec::rollup::{self, Need};
use crate::codec::{CodecError, chunk};
use crate::model::labels::Labels;
use crate::promql::source::Column;

use super::columns::seal;
use super::index::Index;
use super::points::Points;
use super::reader::{Block, BlockError, decode};
use super::tombstones::{Graves, Mask};
use super::version::Version;

/// Reads a block from its first series to its last, holding one page.
pub(super) struct Walk<'a> {
    block: &'a Block,
    index: Arc<Index>,
    next: u32,
    /// Of series `next`; `None` at the end.
    labels: Option<Labels>,
    page: Option<(u32, Vec<u8>)>,
    graves: Graves,
    /// Labels could not be read: there is no going on.
    stuck: bool,
}

impl<'a> Walk<'a> {
    /// Everything that is in the file.
    pub(super) fn new(block: &'a Block) -> Result<Self, BlockError> {
        Self::visible(block, Graves::default())
    }

    /// What deletions have left.
    pub(super) fn visible(block: &'a Block, graves: Graves) -> Result<Self, BlockError> {
        let index = block.index()?;
        let mut walk = Self { block, index, next: 0, labels: None, page: None, graves, stuck: false };
        walk.load()?;
        Ok(walk)
    }

    /// Of the series that `take` gives next; `None` at the end.
    pub(super) fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    fn load(&mut self) -> Result<(), BlockError> {
        self.labels = None;
        if (self.next as usize) < self.index.len() {
            let labels = self.index.labels(self.next);
            self.stuck = labels.is_err();
            self.labels = Some(labels.map_err(|error| self.block.index_broken(error))?);
        }
        Ok(())
    }

    /// The chunks of the series it stands at; goes on to the next.
    pub(super) fn take(&mut self) -> Result<Vec<Vec<u8>>, BlockError> {
        let number = self.next;
        self.next += 1;
        let mask = match &self.labels {
            Some(labels) if !self.graves.is_empty() => self.graves.mask(labels),
            _ => Mask::default(),
        };
        self.load()?;
        let mut chunks = Vec::new();
        for at in self.block.chunks(&self.index, number, (i64::MIN, i64::MAX))? {
            if self.page.as_ref().is_none_or(|(number, _)| *number != at.page) {
                self.page = Some((at.page, self.block.page_uncached(&self.index, at.page)?));
            }
            if let Some((_, page)) = &self.page {
                let bytes = self.block.chunk_bytes(page, at)?;
                // Of points the chunk says when they end, and not when the first one begins.
                if mask.touches(at.min_time.saturating_sub(self.block.meta().resolution), at.max_time) {
                    let left = visible_part(bytes, &mask);
                    chunks.extend(left.map_err(|error| self.block.index_broken(error))?);
                } else {
                    chunks.push(bytes.to_vec());
                }
            }
        }
        Ok(chunks)
    }
}

/// What a mask leaves of a chunk.
fn visible_part(bytes: &[u8], mask: &Mask) -> Result<Vec<Vec<u8>>, CodecError> {
    let mut chunks = Vec::new();
    if chunk::codec_name(bytes)? == rollup::NAME {
        let mut points = Points::default();
        points.decode(bytes, (i64::MIN, i64::MAX), Need::All)?;
        points.hide(mask);
        return Ok(points.encode());
    }
    let mut column = Column::default();
    decode(bytes, i64::MIN, i64::MAX, &mut column)?;
    mask.apply(&mut column);
    seal(&column, 0, column.len(), &mut chunks);
    Ok(chunks)
}

/// Walks over several blocks at once: the series of all, each with the chunks of those blocks that have it.
pub(super) struct Walks<'a>(Vec<Walk<'a>>);

/// A series, and its chunks in each block that has it, in the order of the blocks.
pub(super) type Row = (Labels, Vec<(usize, Vec<Vec<u8>>)>);

impl<'a> Walks<'a> {
    /// Over what deletions have left, as a version knows them.
    pub(super) fn new(version: &Version, blocks: &'a [Arc<Block>]) -> Result<Self, BlockError> {
        let visible = |block: &'a Arc<Block>| Walk::visible(block, version.graves_of(block.meta().id));
        Ok(Self(blocks.iter().map(visible).collect::<Result<_, _>>()?))
    }

    /// The next series, ascending by labels; it may have no chunks left.
    pub(super) fn next(&mut self) -> Result<Option<Row>, BlockError> {
        let Some(labels) = self.0.iter().filter_map(Walk::labels).min().cloned() else { return Ok(None) };
        let mut runs = Vec::new();
        for (at, walk) in self.0.iter_mut().enumerate() {
            if walk.labels() == Some(&labels) {
                runs.push((at, walk.take()?));
            }
        }
        Ok(Some((labels, runs)))
    }
}
