//! Background work on blocks: merging small ones into larger, removing expired ones. One job at a time, each chosen
//! from the live version, each a single publication at its end.

use std::io;
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::codec::{chunk, rollup};
use crate::model::labels::Labels;
use crate::promql::source::Column;

use super::columns::{CHUNK_SAMPLES, merge, seal};
use super::index::Index;
use super::reader::{Block, BlockError, decode};
use super::rolling;
use super::shelf::Blocks;
use super::tombstones::{Graves, Mask};
use super::ulid::Ulid;
use super::version::Version;
use super::window::{WINDOW_MS, window_of};

/// Widths of merged blocks, aligned to the epoch.
const WIDTHS: [i64; 3] = [WINDOW_MS, 4 * WINDOW_MS, 12 * WINDOW_MS];

/// What may stay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Raw blocks whose last sample is before this go.
    pub oldest: Option<i64>,
    /// The same for blocks of the tier.
    pub tier_oldest: Option<i64>,
    /// When all block files are larger than this, the oldest go.
    pub bytes_max: Option<u64>,
}

/// A piece of work that is due.
#[derive(Debug)]
pub enum Job {
    /// Replaces blocks, in the order of the version, by one.
    Merge(Vec<Arc<Block>>),
    Expire(Vec<Ulid>),
    /// Makes the tier block of a raw one.
    Roll(Arc<Block>),
    /// Replaces a block by what deletions have left of it.
    Rewrite(Arc<Block>),
}

/// What a job did, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub removed: Vec<Ulid>,
    pub added: Vec<Ulid>,
    pub bytes_before: u64,
    pub bytes_after: u64,
}

impl Blocks {
    /// What is due now, if anything.
    pub fn next_job(&self, policy: &Policy) -> Option<Job> {
        let version = self.version();
        let expired = expired(&version, policy);
        if !expired.is_empty() {
            return Some(Job::Expire(expired));
        }
        mergeable(&version).map(Job::Merge).or_else(|| rolling::due(&version).map(Job::Roll))
    }
}

fn expired(version: &Version, policy: &Policy) -> Vec<Ulid> {
    let mut expired = Vec::new();
    let mut bytes = version.bytes();
    // Ascending by first time: by size the oldest go first.
    for block in version.blocks() {
        let oldest = if block.meta().resolution == 0 { policy.oldest } else { policy.tier_oldest };
        let old = oldest.is_some_and(|oldest| block.meta().max_time < oldest);
        if old || policy.bytes_max.is_some_and(|limit| bytes > limit) {
            bytes -= block.len();
            expired.push(block.meta().id);
        }
    }
    let gone = version.quarantined().iter().filter(|block| policy.oldest.is_some_and(|o| block.meta.max_time < o));
    expired.extend(gone.map(|block| block.meta.id));
    expired
}

/// Blocks of one window that should become one: the window is over, and what is added to the largest is worth writing
/// that one again.
fn mergeable(version: &Version) -> Option<Vec<Arc<Block>>> {
    let (_, newest) = version.bounds()?;
    let sound = |block: &&Arc<Block>| block.meta().resolution == 0 && block.is_mergeable();
    for width in WIDTHS {
        let mut groups: std::collections::BTreeMap<i64, Vec<Arc<Block>>> = std::collections::BTreeMap::new();
        for block in version.blocks().iter().filter(sound) {
            let window = window_of(block.meta().min_time, width);
            if window_of(block.meta().max_time, width) == window {
                groups.entry(window).or_default().push(Arc::clone(block));
            }
        }
        for (window, group) in groups {
            let over = (window + 1).saturating_mul(width) <= newest;
            let largest = group.iter().map(|block| block.len()).max().unwrap_or(0);
            let others = group.iter().map(|block| block.len()).sum::<u64>() - largest;
            if over && group.len() > 1 && (others * 20 >= largest || group.len() >= 8) {
                return Some(group);
            }
        }
    }
    None
}

impl Job {
    /// Does it. `now` is for the name of a new block. After an error nothing has changed; blocks that turned out to be
    /// damaged are not chosen again.
    pub fn run(&self, blocks: &Blocks, now: Millis) -> Result<Done, BlockError> {
        match self {
            Self::Expire(expired) => {
                let before = blocks.version().bytes();
                blocks.publish(&[], expired)?;
                let bytes_after = blocks.version().bytes();
                Ok(Done { removed: expired.clone(), added: Vec::new(), bytes_before: before, bytes_after })
            }
            Self::Roll(source) => rolling::run(blocks, now, source).inspect_err(|_| source.set_unmergeable()),
            Self::Rewrite(block) if block.meta().resolution > 0 => rewrite_points(blocks, now, block),
            Self::Rewrite(block) => merge_blocks(blocks, now, std::slice::from_ref(block)),
            Self::Merge(sources) => merge_blocks(blocks, now, sources).inspect_err(|_| {
                sources.iter().for_each(|block| block.set_unmergeable());
            }),
        }
    }
}

fn merge_blocks(blocks: &Blocks, now: Millis, sources: &[Arc<Block>]) -> Result<Done, BlockError> {
    let io = |error: io::Error| BlockError::Io { path: "a merged block".to_owned(), error };
    let removed: Vec<Ulid> = sources.iter().map(|block| block.meta().id).collect();
    let level = sources.iter().map(|block| block.meta().level).max().unwrap_or(0).saturating_add(1);
    let graves = |block: &Block| blocks.version().graves_of(block.meta().id);
    let walks = sources.iter().map(|block| Walk::visible(block, graves(block)));
    let mut walks = walks.collect::<Result<Vec<_>, _>>()?;
    let mut writer = blocks.writer(now, level, 0, removed.clone()).map_err(io)?;
    while let Some(labels) = walks.iter().filter_map(|walk| walk.labels.as_ref()).min().cloned() {
        let mut runs = Vec::new();
        for walk in walks.iter_mut().filter(|walk| walk.labels.as_ref() == Some(&labels)) {
            runs.push(walk.take()?);
        }
        let chunks = join(&runs).map_err(|error| io(io::Error::other(error)))?;
        if !chunks.is_empty() {
            writer.add(&labels, &chunks).map_err(io)?;
        }
    }
    let finished = writer.finish().map_err(io)?;
    let added: Vec<_> = finished.into_iter().collect();
    // Their tier blocks go with them: the merged block gets its own.
    let version = blocks.version();
    let tiers = version.blocks().iter().map(|block| block.meta());
    let tiers = tiers.filter(|meta| meta.resolution > 0 && meta.sources.iter().any(|id| removed.contains(id)));
    let gone: Vec<Ulid> = removed.iter().copied().chain(tiers.map(|meta| meta.id)).collect();
    blocks.publish(&added, &gone)?;
    Ok(Done {
        removed: gone,
        bytes_before: sources.iter().map(|block| block.len()).sum(),
        bytes_after: added.iter().map(|(_, len)| len).sum(),
        added: added.iter().map(|(meta, _)| meta.id).collect(),
    })
}

/// Writes a tier block again, of which the raw block is gone.
fn rewrite_points(blocks: &Blocks, now: Millis, block: &Arc<Block>) -> Result<Done, BlockError> {
    let io = |error: io::Error| BlockError::Io { path: "a tier block".to_owned(), error };
    let meta = block.meta();
    let mut writer = blocks.writer(now, meta.level, meta.resolution, meta.sources.clone()).map_err(io)?;
    let mut walk = Walk::visible(block, blocks.version().graves_of(meta.id))?;
    while let Some(labels) = walk.labels().cloned() {
        let chunks = walk.take()?;
        if !chunks.is_empty() {
            writer.add(&labels, &chunks).map_err(io)?;
        }
    }
    let added: Vec<_> = writer.finish().map_err(io)?.into_iter().collect();
    blocks.publish(&added, &[meta.id])?;
    Ok(Done {
        removed: vec![meta.id],
        bytes_before: block.len(),
        bytes_after: added.iter().map(|(_, len)| len).sum(),
        added: added.iter().map(|(meta, _)| meta.id).collect(),
    })
}

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
                if mask.touches(at.min_time, at.max_time) {
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
fn visible_part(bytes: &[u8], mask: &Mask) -> Result<Vec<Vec<u8>>, crate::codec::CodecError> {
    let mut chunks = Vec::new();
    if chunk::codec_name(bytes)? == rollup::NAME {
        let mut points = Vec::new();
        rollup::decode(bytes, i64::MIN, i64::MAX, &mut points)?;
        mask.apply_points(&mut points);
        if !points.is_empty() {
            let mut bytes = Vec::new();
            rollup::encode(&points, &mut bytes);
            chunks.push(bytes);
        }
        return Ok(chunks);
    }
    let mut column = Column::default();
    decode(bytes, i64::MIN, i64::MAX, &mut column)?;
    mask.apply(&mut column);
    seal(&column, 0, column.len(), &mut chunks);
    Ok(chunks)
}

/// The chunks of one series from several blocks as one run. Large chunks that do not overlap are kept as they are.
fn join(runs: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<u8>>, crate::codec::CodecError> {
    let mut sorted = Vec::new();
    for bytes in runs.iter().flatten() {
        sorted.push((chunk::header(bytes)?, bytes));
    }
    sorted.sort_by_key(|(header, _)| header.min_time);
    let apart = sorted.windows(2).all(|pair| pair[0].0.max_time < pair[1].0.min_time);
    let mut out = Vec::new();
    if !apart {
        let mut all = Column::default();
        for run in runs {
            let mut column = Column::default();
            for bytes in run {
                decode(bytes, i64::MIN, i64::MAX, &mut column)?;
            }
            merge(&mut all, &mut column);
        }
        seal(&all, 0, all.len(), &mut out);
        return Ok(out);
    }
    let mut small: Vec<&Vec<u8>> = Vec::new();
    let mut count = 0;
    for (header, bytes) in &sorted {
        if count + header.count > CHUNK_SAMPLES {
            reseal(&mut small, &mut out)?;
            count = 0;
        }
        small.push(bytes);
        count += header.count;
    }
    reseal(&mut small, &mut out)?;
    Ok(out)
}

/// Makes one chunk of those that were gathered.
fn reseal(small: &mut Vec<&Vec<u8>>, out: &mut Vec<Vec<u8>>) -> Result<(), crate::codec::CodecError> {
    if let [only] = small.as_slice() {
        out.push((*only).clone());
    } else {
        let mut column = Column::default();
        for bytes in small.iter() {
            decode(bytes, i64::MIN, i64::MAX, &mut column)?;
        }
        seal(&column, 0, column.len(), out);
    }
    small.clear();
    Ok(())
}
