//! The job that takes series out of a block that rules keep shorter than the others in it: their bytes are freed.

use std::sync::Arc;

use crate::base::clock::Millis;

use super::format::Meta;
use super::groups::Role;
use super::job::{Done, Job};
use super::merging::io;
use super::policy::Policy;
use super::reader::{Block, BlockError};
use super::rolling;
use super::shelf::Blocks;
use super::ulid::Ulid;
use super::version::Version;
use super::walk::Walk;

/// A block that may hold series that should be gone, and has not been looked at for them.
pub(super) fn due(version: &Version, policy: &Policy) -> Option<Job> {
    for (role, block) in version.with_roles() {
        let meta = block.meta();
        let newest = match role {
            Role::Raw(number) => {
                let Some(group) = version.groups.get(number as usize) else { continue };
                // First the windows that outlive it.
                if !group.whole || !rolling::due(version, group, policy).is_empty() {
                    continue;
                }
                group.max_time
            }
            Role::Tier(_) | Role::Orphan => meta.max_time,
            Role::Stale => continue,
        };
        let over = policy.over(meta.resolution, newest);
        if over & !block.trimmed() != 0 && block.is_mergeable() {
            return Some(Job::Trim { block: Arc::clone(block), newest, policy: policy.clone() });
        }
    }
    None
}

pub(super) fn run(
    blocks: &Blocks,
    now: Millis,
    (block, newest): (&Arc<Block>, Millis),
    policy: &Policy,
) -> Result<Done, BlockError> {
    let meta = block.meta();
    let classes = policy.over(meta.resolution, newest);
    let index = block.index()?;
    let mut is_over = Vec::with_capacity(index.len());
    for number in 0..index.len() as u32 {
        let labels = index.labels(number).map_err(|error| block.index_broken(error))?;
        is_over.push(policy.is_series_over(&labels, meta.resolution, newest));
    }
    if !is_over.contains(&true) {
        block.set_trimmed(classes);
        return Ok(Done::default());
    }
    let sources = if meta.resolution == 0 { vec![meta.id] } else { meta.sources.clone() };
    let mut added: Vec<(Meta, u64)> = copy(blocks, now, (block, sources), &is_over)?.into_iter().collect();
    let trimmed = added.first().map(|(meta, _)| meta.id);
    let mut removed = vec![meta.id];
    let version = blocks.version();
    if meta.resolution == 0 {
        // Tier blocks go on standing for what they were made from, under its new name. Those that cannot be read are
        // made anew.
        for id in version.tiers_of(&[meta.id]) {
            removed.push(id);
            let tier = version.with_roles().find(|(role, tier)| tier.meta().id == id && *role != Role::Stale);
            // What deletions took out of samples has yet to be taken out of their windows.
            if let Some((_, tier)) = tier.filter(|_| version.graves_of(id).is_empty()) {
                let renamed = |source: &Ulid| if *source == meta.id { trimmed } else { Some(*source) };
                let sources: Vec<Ulid> = tier.meta().sources.iter().filter_map(renamed).collect();
                // The last of them gone, the name of one that is no more makes it an orphan.
                let sources = if sources.is_empty() { vec![meta.id] } else { sources };
                added.extend(copy(blocks, now, (tier, sources), &[])?);
            }
        }
    }
    blocks.publish(&added, &removed)?;
    let done = Done::replaced(&version, &added, removed);
    for (_, block) in blocks.version().with_roles().filter(|(_, block)| Some(block.meta().id) == trimmed) {
        block.set_trimmed(classes);
    }
    Ok(done)
}

/// Writes a tier block again with what deletions have left of it.
pub(super) fn rewrite(blocks: &Blocks, now: Millis, block: &Arc<Block>) -> Result<Done, BlockError> {
    let removed = vec![block.meta().id];
    let added: Vec<(Meta, u64)> = copy(blocks, now, (block, block.meta().sources.clone()), &[])?.into_iter().collect();
    let version = blocks.version();
    blocks.publish(&added, &removed)?;
    Ok(Done::replaced(&version, &added, removed))
}

/// Writes a block again, without the series that are marked.
fn copy(
    blocks: &Blocks,
    now: Millis,
    (block, sources): (&Block, Vec<Ulid>),
    without: &[bool],
) -> Result<Option<(Meta, u64)>, BlockError> {
    let meta = block.meta();
    let mut writer = blocks.writer(now, meta.level, meta.resolution, sources).map_err(io)?;
    let mut walk = Walk::visible(block, blocks.version().graves_of(meta.id))?;
    let mut number = 0;
    while let Some(labels) = walk.labels().cloned() {
        let chunks = walk.take()?;
        if !chunks.is_empty() && !without.get(number).copied().unwrap_or(false) {
            writer.add(&labels, &chunks).map_err(io)?;
        }
        number += 1;
    }
    writer.finish().map_err(io)
}
