//! The jobs that make tier blocks: rolling raw blocks up, and joining what is left when those are gone.

use std::io;
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::codec::rollup::Need;
use crate::promql::source::Column;

use super::columns::merge;
use super::format::Meta;
use super::groups::{Group, Role};
use super::job::Done;
use super::merging::{concatenate, io};
use super::points::Points;
use super::policy::Policy;
use super::reader::{Block, BlockError, decode};
use super::repeats;
use super::shelf::Blocks;
use super::ulid::Ulid;
use super::version::Version;
use super::walk::Walks;
use super::window::{WINDOW_MS, window_of};

/// Windows of a tier pay while their samples are there too, if they hold at least this many on average.
const SAMPLES_MIN: u64 = 24;

/// Time that a fresh group covers before it is rolled up: what is less is read as quickly as it is, and may be a part of
/// a window that was flushed by hand, and is merged with its rest.
const FRESH_SPAN_MS: i64 = WINDOW_MS / 8 * 5;

/// From this age on it does not matter how short it is: groups add up.
const RIPE_MS: i64 = 86_400_000;

/// Width of the windows of time whose orphans become one block.
const JOIN_MS: i64 = 12 * WINDOW_MS;

/// Blocks that are joined at once: each is named in the new one.
const JOIN_MAX: usize = 256;

/// The blocks of a group that can be read.
pub(super) fn members(version: &Version, group: &Group) -> Vec<Arc<Block>> {
    group.members.iter().filter_map(|place| version.blocks().get(*place as usize).cloned()).collect()
}

/// Widths of the tiers that a group should have and has not.
pub(super) fn due(version: &Version, group: &Group, policy: &Policy) -> Vec<i64> {
    let blocks = members(version, group);
    if !group.whole || blocks.iter().any(|block| !block.is_mergeable() || block.is_barren()) {
        return Vec::new();
    }
    let is_ripe = is_ripe(&blocks, group.max_time, policy.now);
    let wanted = |width: &i64| {
        let kept = !policy.is_over(*width, group.max_time);
        let is_due = || is_ripe && pays(&blocks, *width) || policy.is_leaving(*width, group.max_time);
        kept && group.tier(*width).is_none() && is_due()
    };
    policy.tiers.iter().copied().filter(wanted).collect()
}

/// Whether a tier block was made of this group before it changed.
pub(super) fn is_stale(version: &Version, group: &Group) -> bool {
    let of_group = |block: &Arc<Block>| block.meta().sources.iter().any(|id| group.ids.contains(id));
    version.with_roles().any(|(role, block)| role == Role::Stale && of_group(block))
}

/// Whether a group is worth rolling up by now: its last window is over, and it is long or old.
fn is_ripe(blocks: &[Arc<Block>], newest: Millis, now: Millis) -> bool {
    let end = window_of(newest, WINDOW_MS).saturating_add(1).saturating_mul(WINDOW_MS);
    let oldest = blocks.iter().map(|block| block.meta().min_time).min().unwrap_or(newest);
    end <= now && (newest.saturating_sub(oldest) >= FRESH_SPAN_MS || newest.saturating_add(RIPE_MS) <= now)
}

/// Whether windows of a width hold so many samples that queries gain by them.
fn pays(blocks: &[Arc<Block>], width: i64) -> bool {
    let metas = || blocks.iter().map(|block| block.meta());
    let samples: u64 = metas().map(|meta| meta.samples).sum();
    let series = metas().map(|meta| meta.series).max().unwrap_or(0).max(1);
    let span =
        metas().map(|meta| meta.max_time).max().unwrap_or(0) - metas().map(|meta| meta.min_time).min().unwrap_or(0);
    let windows = (span.unsigned_abs() / width.max(1).unsigned_abs()).max(1);
    samples >= SAMPLES_MIN.saturating_mul(windows).saturating_mul(series)
}

pub(super) fn run(
    blocks: &Blocks,
    now: Millis,
    (group, widths): (&[Arc<Block>], &[i64]),
    policy: &Policy,
) -> Result<Done, BlockError> {
    let sources: Vec<Ulid> = group.iter().map(|block| block.meta().id).collect();
    let newest = group.iter().map(|block| block.meta().max_time).max().unwrap_or(i64::MIN);
    let level = group.iter().map(|block| block.meta().level).max().unwrap_or(0);
    let writer = |width: &i64| Ok((*width, blocks.writer(now, level, *width, sources.clone()).map_err(io)?));
    let mut writers = widths.iter().map(writer).collect::<Result<Vec<_>, BlockError>>()?;
    let version = blocks.version();
    let elders = elders(&version, &sources, widths);
    let sorted: Vec<Arc<Block>> = group.iter().chain(elders.iter().map(|(_, block)| block)).cloned().collect();
    let mut walks = Walks::new(&version, &sorted)?;
    while let Some((labels, runs)) = walks.next()? {
        let (raw, old): (Vec<_>, Vec<_>) = runs.into_iter().partition(|(place, _)| *place < group.len());
        let column = samples(raw)?;
        for (width, writer) in &mut writers {
            if policy.is_series_over(&labels, *width, newest) {
                continue;
            }
            // Series whose samples a rule took away: what their windows say is all there is of them.
            let is_bare = policy.is_series_over(&labels, 0, newest);
            let (mut kept, mut known) = (Points::default(), Points::default());
            for (place, chunks) in &old {
                let Some((role, block)) = elders.get(place - group.len()) else { continue };
                let into = match role {
                    _ if block.meta().resolution != *width => continue,
                    Role::Orphan => &mut known,
                    _ if is_bare => &mut kept,
                    _ => continue,
                };
                for bytes in chunks {
                    let decoded = into.decode(bytes, (i64::MIN, i64::MAX), Need::All);
                    decoded.map_err(|error| io(io::Error::other(error)))?;
                }
            }
            let points = corrected(&column, (kept, known), *width);
            if !points.is_empty() {
                writer.add(&labels, &points.encode()).map_err(io)?;
            }
        }
    }
    let mut added = Vec::new();
    for (_, writer) in writers {
        added.extend(writer.finish().map_err(io)?);
    }
    if added.len() < widths.len() {
        // No rule keeps anything of it: asking again would give the same.
        group.iter().for_each(|block| block.set_barren());
    }
    let stale = version.with_roles().filter(|(role, block)| {
        let meta = block.meta();
        *role == Role::Stale && widths.contains(&meta.resolution) && meta.sources.iter().any(|id| sources.contains(id))
    });
    let removed: Vec<Ulid> = stale.map(|(_, block)| block.meta().id).collect();
    blocks.publish(&added, &removed)?;
    let begin = |block: &Arc<Block>| block.meta().min_time.saturating_sub(block.meta().resolution);
    let corrected = elders.iter().map(|(_, block)| begin(block)).min();
    Ok(Done { corrected, ..Done::replaced(&version, &added, removed) })
}

/// Blocks of these widths that were made before of the same time: of samples that are gone, or of a group that has
/// changed since.
fn elders(version: &Version, sources: &[Ulid], widths: &[i64]) -> Vec<(Role, Arc<Block>)> {
    let of_group = |block: &Arc<Block>| block.meta().sources.iter().any(|id| sources.contains(id));
    let group = version.blocks().iter().map(|block| block.meta()).filter(|meta| sources.contains(&meta.id));
    let (mint, maxt) =
        group.fold((i64::MAX, i64::MIN), |(from, to), meta| (from.min(meta.min_time), to.max(meta.max_time)));
    let is_elder = |(role, block): &(Role, &Arc<Block>)| {
        let width = block.meta().resolution;
        widths.contains(&width)
            && match role {
                // Of a point the block says when it ends, and not when it begins.
                Role::Orphan => block.overlaps(mint.saturating_sub(width), maxt.saturating_add(width)),
                Role::Stale => of_group(block),
                Role::Raw(_) | Role::Tier(_) => false,
            }
    };
    let found = version.with_roles().filter(is_elder);
    found.map(|(role, block)| (role, Arc::clone(block))).collect()
}

/// All samples of a series.
fn samples(runs: Vec<(usize, Vec<Vec<u8>>)>) -> Result<Column, BlockError> {
    let mut column = Column::default();
    for (_, chunks) in runs {
        let mut part = Column::default();
        for bytes in &chunks {
            let decoded = decode(bytes, i64::MIN, i64::MAX, &mut part);
            decoded.map_err(|error| io(io::Error::other(error)))?;
        }
        merge(&mut column, &mut part);
    }
    Ok(column)
}

/// The points of samples beside older ones: those that are kept are joined with them, those that are known stay where
/// they are and only keep samples from counting twice.
fn corrected(column: &Column, (mut kept, known): (Points, Points), width: i64) -> Points {
    if kept.is_empty() && known.is_empty() {
        return Points::roll(column, width);
    }
    let stays = kept.clone();
    kept.append(known);
    let sorted = repeats::sort(&kept, column);
    let mut points = Points::roll(&sorted.new, width);
    let is_joined = !stays.is_empty();
    points.append(stays);
    for run in &sorted.instead {
        points.append(Points::roll(run, width));
    }
    if is_joined {
        points.settle(width);
    } else {
        points.arrange();
    }
    points
}

/// Tier blocks without raw ones that should become one: those that share time, as late samples leave them, and those of
/// one day.
pub(super) fn joinable(version: &Version) -> Option<Vec<Arc<Block>>> {
    let orphans = || version.with_roles().filter(|(role, block)| *role == Role::Orphan && block.is_mergeable());
    let mut widths: Vec<i64> = orphans().map(|(_, block)| block.meta().resolution).collect();
    widths.sort_unstable();
    widths.dedup();
    for width in widths {
        let mut run: Vec<Arc<Block>> = Vec::new();
        let mut end = i64::MIN;
        for (_, block) in orphans().filter(|(_, block)| block.meta().resolution == width) {
            let meta: &Meta = block.meta();
            let day = |block: &Arc<Block>| {
                let (first, last) = (block.meta().min_time, block.meta().max_time);
                Some(window_of(first, JOIN_MS)).filter(|day| *day == window_of(last, JOIN_MS))
            };
            let near = run.last().is_some_and(|last| day(last).is_some() && day(last) == day(block));
            if run.len() >= JOIN_MAX || !(near || meta.min_time <= end.saturating_add(width)) {
                if run.len() > 1 {
                    return Some(run);
                }
                run.clear();
                end = i64::MIN;
            }
            end = end.max(meta.max_time);
            run.push(Arc::clone(block));
        }
        if run.len() > 1 {
            return Some(run);
        }
    }
    None
}

pub(super) fn join(blocks: &Blocks, now: Millis, sources: &[Arc<Block>]) -> Result<Done, BlockError> {
    let removed: Vec<Ulid> = sources.iter().map(|block| block.meta().id).collect();
    let added: Vec<(Meta, u64)> = concatenate(blocks, now, sources, removed.clone())?.into_iter().collect();
    let version = blocks.version();
    blocks.publish(&added, &removed)?;
    let begin = |block: &Arc<Block>| block.meta().min_time.saturating_sub(block.meta().resolution);
    let corrected = sources.iter().map(begin).min();
    Ok(Done { corrected, ..Done::replaced(&version, &added, removed) })
}
