//! What damage in a block costs, series by series, and a new block out of what can still be read.

use std::io;
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::promql::source::Column;

use super::format::Meta;
use super::index::ChunkRef;
use super::reader::{Block, BlockError, decode};
use super::shelf::Blocks;
use super::ulid::Ulid;

/// Samples of one series that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub labels: Labels,
    pub first: i64,
    pub last: i64,
}

/// What of a block cannot be read, ascending by labels; an error where all of it is lost, because its index is.
pub fn losses(block: &Block) -> Result<Vec<Loss>, BlockError> {
    let mut lost = Vec::new();
    each_series(block, |labels, read| {
        lost.extend(read.lost.iter().map(|at| Loss { labels: labels.clone(), first: at.min_time, last: at.max_time }));
        Ok(())
    })?;
    Ok(lost)
}

/// Chunks of one series, read and unreadable.
#[derive(Debug, Default)]
struct Read {
    chunks: Vec<Vec<u8>>,
    lost: Vec<ChunkRef>,
}

fn each_series(block: &Block, mut visit: impl FnMut(&Labels, Read) -> io::Result<()>) -> Result<(), BlockError> {
    let index = block.index()?;
    let mut page: Option<(u32, Option<Vec<u8>>)> = None;
    for number in 0..index.len() as u32 {
        let labels = index.labels(number).map_err(|error| block.index_broken(error))?;
        let mut read = Read::default();
        for at in block.chunks(&index, number, (i64::MIN, i64::MAX))? {
            if page.as_ref().is_none_or(|(number, _)| *number != at.page) {
                page = Some((at.page, block.page_uncached(&index, at.page).ok()));
            }
            let bytes = page.as_ref().and_then(|(_, page)| sound(block, page.as_deref()?, at));
            match bytes {
                Some(bytes) => read.chunks.push(bytes),
                None => read.lost.push(at),
            }
        }
        let io = |error| BlockError::Io { path: "a block that is repaired".to_owned(), error };
        visit(&labels, read).map_err(io)?;
    }
    Ok(())
}

fn sound(block: &Block, page: &[u8], at: ChunkRef) -> Option<Vec<u8>> {
    let bytes = block.chunk_bytes(page, at).ok()?;
    let is_sound = block.meta().resolution > 0 || decode(bytes, i64::MIN, i64::MAX, &mut Column::default()).is_ok();
    is_sound.then(|| bytes.to_vec())
}

impl Blocks {
    /// Replaces a block by one that has what can still be read of it. The file of the old one is removed.
    pub fn salvage(&self, block: &Arc<Block>, now: Millis) -> Result<Option<Meta>, BlockError> {
        let meta = block.meta();
        let io = |error: io::Error| BlockError::Io { path: "a block that is repaired".to_owned(), error };
        // A tier block goes on naming what it was made from; a raw one is named by what replaces it.
        let sources = if meta.resolution > 0 { meta.sources.clone() } else { vec![meta.id] };
        let mut writer = self.writer(now, meta.level, meta.resolution, sources).map_err(io)?;
        each_series(
            block,
            |labels, read| {
                if read.chunks.is_empty() { Ok(()) } else { writer.add(labels, &read.chunks) }
            },
        )?;
        let added: Vec<(Meta, u64)> = writer.finish().map_err(io)?.into_iter().collect();
        // Tier blocks of a raw one go with it: what is left gets its own.
        let tiers = if meta.resolution > 0 { Vec::new() } else { self.version().tiers_of(&[meta.id]) };
        let gone: Vec<Ulid> = std::iter::once(meta.id).chain(tiers).collect();
        self.publish(&added, &gone)?;
        Ok(added.into_iter().next().map(|(meta, _)| meta))
    }

    /// Forgets a block that cannot be read at all. Its file is removed.
    pub fn give_up(&self, meta: &Meta) -> Result<(), BlockError> {
        self.publish(&[], &[meta.id])
    }
}
