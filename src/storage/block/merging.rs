//! The job that merges raw blocks of neighbouring times, or late ones into earlier ones, with their tier blocks.

use std::io;
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::codec::chunk;
use crate::codec::rollup::Need;
use crate::promql::source::Column;

use super::columns::{CHUNK_SAMPLES, merge, seal};
use super::format::Meta;
use super::groups::Group;
use super::job::Done;
use super::points::Points;
use super::reader::{Block, BlockError, decode};
use super::shelf::Blocks;
use super::ulid::Ulid;
use super::version::Version;
use super::walk::Walks;

pub(super) fn io(error: io::Error) -> BlockError {
    BlockError::Io { path: "a new block".to_owned(), error }
}

pub(super) fn run(blocks: &Blocks, now: Millis, sources: &[Arc<Block>]) -> Result<Done, BlockError> {
    let removed: Vec<Ulid> = sources.iter().map(|block| block.meta().id).collect();
    let level = sources.iter().map(|block| block.meta().level).max().unwrap_or(0).saturating_add(1);
    let version = blocks.version();
    let mut walks = Walks::new(&version, sources)?;
    let mut writer = blocks.writer(now, level, 0, removed.clone()).map_err(io)?;
    while let Some((labels, runs)) = walks.next()? {
        let runs: Vec<Vec<Vec<u8>>> = runs.into_iter().map(|(_, chunks)| chunks).collect();
        let chunks = join(&runs).map_err(|error| io(io::Error::other(error)))?;
        if !chunks.is_empty() {
            writer.add(&labels, &chunks).map_err(io)?;
        }
    }
    let mut added: Vec<(Meta, u64)> = writer.finish().map_err(io)?.into_iter().collect();
    if let Some(id) = added.first().map(|(meta, _)| meta.id) {
        for tiers in tiers_of(&version, &removed) {
            let sources = vec![id];
            added.extend(concatenate(blocks, now, &tiers, sources)?);
        }
    }
    // Tier blocks that could not be put together are made anew from the merged block.
    let gone: Vec<Ulid> = removed.iter().copied().chain(version.tiers_of(&removed)).collect();
    blocks.publish(&added, &gone)?;
    Ok(Done::replaced(&version, &added, gone))
}

/// For each resolution of which all merged groups have a block: those blocks.
fn tiers_of(version: &Version, merged: &[Ulid]) -> Vec<Vec<Arc<Block>>> {
    let groups: Vec<&Group> =
        version.groups.iter().filter(|group| group.ids.iter().any(|id| merged.contains(id))).collect();
    if groups.iter().any(|group| group.ids.iter().any(|id| !merged.contains(id))) {
        return Vec::new();
    }
    let Some(first) = groups.first() else { return Vec::new() };
    // What deletions took out of samples has yet to be taken out of their windows.
    if merged.iter().any(|id| !version.graves_of(*id).is_empty()) {
        return Vec::new();
    }
    let of = |resolution: i64| -> Option<Vec<Arc<Block>>> {
        let places = groups.iter().map(|group| group.tier(resolution));
        places.map(|place| version.blocks().get(place? as usize).cloned()).collect()
    };
    first.tiers.iter().filter_map(|(resolution, _)| of(*resolution)).collect()
}

/// One tier block of several of one resolution.
pub(super) fn concatenate(
    blocks: &Blocks,
    now: Millis,
    tiers: &[Arc<Block>],
    sources: Vec<Ulid>,
) -> Result<Option<(Meta, u64)>, BlockError> {
    let level = tiers.iter().map(|block| block.meta().level).max().unwrap_or(0).saturating_add(1);
    let width = tiers.first().map_or(0, |block| block.meta().resolution);
    let mut writer = blocks.writer(now, level, width, sources).map_err(io)?;
    let mut walks = Walks::new(&blocks.version(), tiers)?;
    while let Some((labels, mut runs)) = walks.next()? {
        let chunks = match runs.as_mut_slice() {
            [(_, only)] => std::mem::take(only),
            _ => {
                let mut points = Points::default();
                for bytes in runs.iter().flat_map(|(_, chunks)| chunks) {
                    let decoded = points.decode(bytes, (i64::MIN, i64::MAX), Need::All);
                    decoded.map_err(|error| io(io::Error::other(error)))?;
                }
                points.settle(width);
                points.encode()
            }
        };
        if !chunks.is_empty() {
            writer.add(&labels, &chunks).map_err(io)?;
        }
    }
    writer.finish().map_err(io)
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
