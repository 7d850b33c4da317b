//! Background work on blocks: merging small ones into larger, rolling them up, removing what is too old. One job at a
//! time, each chosen from the live version, each a single publication at its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock::Millis;

use super::groups::{Group, Role};
use super::merging;
use super::policy::Policy;
use super::reader::{Block, BlockError};
use super::rolling;
use super::shelf::Blocks;
use super::trimming;
use super::ulid::Ulid;
use super::version::Version;
use super::window::{WINDOW_MS, window_of};

/// Widths of merged blocks, aligned to the epoch.
const WIDTHS: [i64; 3] = [WINDOW_MS, 4 * WINDOW_MS, 12 * WINDOW_MS];

/// A rolled-up point of noise: seven numbers.
const POINT_BYTES_MAX: u64 = 64;

/// A piece of work that is due.
#[derive(Debug)]
pub enum Job {
    /// Replaces raw blocks, in the order of the version, by one, and their tier blocks likewise.
    Merge(Vec<Arc<Block>>),
    Expire(Vec<Ulid>),
    /// Makes the tier blocks of a group of raw ones, in place of stale ones.
    Roll {
        group: Vec<Arc<Block>>,
        widths: Vec<i64>,
        policy: Policy,
    },
    /// Makes one of tier blocks whose raw ones are gone.
    Join(Vec<Arc<Block>>),
    /// Replaces a block by what deletions have left of it.
    Rewrite(Arc<Block>),
    /// Takes the series that should be gone out of a block; the newest sample counts that it shares time with.
    Trim {
        block: Arc<Block>,
        newest: Millis,
        policy: Policy,
    },
}

/// What a job did, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub removed: Vec<Ulid>,
    pub added: Vec<Ulid>,
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// From which time on answers may be others than before: windows were corrected.
    pub corrected: Option<Millis>,
}

impl Blocks {
    /// What is due now, if anything.
    pub fn next_job(&self, policy: &Policy) -> Option<Job> {
        let version = self.version();
        let expired = expired(&version, policy);
        if !expired.is_empty() {
            return Some(Job::Expire(expired));
        }
        let merge = || mergeable(&version).map(Job::Merge);
        let roll = |is_meant: &dyn Fn(&Group) -> bool| {
            let (group, widths) = version.groups.iter().filter(|group| is_meant(group)).find_map(|group| {
                let widths = rolling::due(&version, group, policy);
                (!widths.is_empty()).then(|| (rolling::members(&version, group), widths))
            })?;
            Some(Job::Roll { group, widths, policy: policy.clone() })
        };
        // Windows of series whose samples a rule took away are only in tier blocks: they are taken over before a merge
        // makes the raw blocks forgotten that these name.
        let bare = || if policy.classes.len() > 1 { roll(&|group| rolling::is_stale(&version, group)) } else { None };
        let join = || rolling::joinable(&version).map(Job::Join);
        bare().or_else(merge).or_else(|| roll(&|_| true)).or_else(join).or_else(|| trimming::due(&version, policy))
    }
}

fn expired(version: &Version, policy: &Policy) -> Vec<Ulid> {
    let mut expired = Vec::new();
    let mut bytes = version.bytes();
    let group_of = |number: u32| version.groups.get(number as usize);
    let too_large = |bytes: u64| policy.bytes_max.is_some_and(|limit| bytes > limit);
    // Ascending by first time: by size the oldest go first. Blocks of a group go together: what is rolled up of one of
    // them is rolled up of all.
    for (role, block) in version.with_roles() {
        let meta = block.meta();
        if expired.contains(&meta.id) {
            continue;
        }
        let group = if let Role::Raw(number) = role { group_of(number) } else { None };
        let newest = group.map_or(meta.max_time, |group| group.max_time);
        let waits = group.is_some_and(|group| !rolling::due(version, group, policy).is_empty());
        if (policy.is_over(meta.resolution, newest) && !waits) || too_large(bytes) {
            match group {
                Some(group) => expired.extend(group.ids.iter().copied()),
                None => expired.push(meta.id),
            }
            let members = group.map(|group| rolling::members(version, group));
            bytes -= members.map_or(block.len(), |all| all.iter().map(|block| block.len()).sum()).min(bytes);
        }
    }
    let lost = version.quarantined().iter().map(|block| &block.meta);
    let lost = lost.filter(|meta| policy.is_over(meta.resolution, meta.max_time) && !expired.contains(&meta.id));
    let lost: Vec<Ulid> = lost.filter(|meta| !is_shared(version, meta.id)).map(|meta| meta.id).collect();
    expired.extend(lost);
    expired
}

/// Whether a block that cannot be read shares its time with some that can: then they go together.
fn is_shared(version: &Version, id: Ulid) -> bool {
    let shares = |group: &Group| group.ids.contains(&id) && !group.members.is_empty();
    version.groups.iter().any(shares)
}

/// Blocks of one window that should become one: the window is over, and what is added to the largest is worth writing
/// that one again.
fn mergeable(version: &Version) -> Option<Vec<Arc<Block>>> {
    let (_, newest) = version.bounds()?;
    let sound = |block: &&Arc<Block>| block.meta().resolution == 0 && block.is_mergeable();
    for width in WIDTHS {
        let mut groups: BTreeMap<i64, Vec<Arc<Block>>> = BTreeMap::new();
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
    /// Bytes that it writes at most before it gives any back; `version` is what it was chosen from.
    pub fn bytes(&self, version: &Version) -> u64 {
        let all = |blocks: &[Arc<Block>]| blocks.iter().map(|block| block.len()).sum::<u64>();
        match self {
            Self::Expire(_) => 0,
            Self::Rewrite(block) | Self::Trim { block, .. } => block.len(),
            Self::Join(sources) => all(sources),
            Self::Merge(sources) => {
                let merged = |id: &Ulid| sources.iter().any(|source| source.meta().id == *id);
                let tiers = version.blocks().iter().filter(|block| block.meta().resolution > 0);
                let tiers = tiers.filter(|block| block.meta().sources.iter().any(merged));
                all(sources) + tiers.map(|block| block.len()).sum::<u64>()
            }
            // Of samples that follow a rule the points may not: what counts is how many there are.
            Self::Roll { group, widths, .. } => {
                let points = |block: &Arc<Block>, width: &i64| {
                    let meta = block.meta();
                    let span = meta.max_time.saturating_sub(meta.min_time).unsigned_abs();
                    let windows = span / width.unsigned_abs().max(1) + 2;
                    meta.series.saturating_mul(windows).min(meta.samples)
                };
                let points = group.iter().flat_map(|block| widths.iter().map(move |width| points(block, width)));
                points.sum::<u64>().saturating_mul(POINT_BYTES_MAX)
            }
        }
    }

    /// Does it. `now` is for the name of a new block. After an error nothing has changed; blocks that turned out to be
    /// damaged are not chosen again.
    pub fn run(&self, blocks: &Blocks, now: Millis) -> Result<Done, BlockError> {
        let leave = |sources: &[Arc<Block>]| sources.iter().for_each(|block| block.set_unmergeable());
        match self {
            Self::Expire(expired) => {
                let before = blocks.version().bytes();
                blocks.publish(&[], expired)?;
                let bytes_after = blocks.version().bytes();
                Ok(Done { removed: expired.clone(), bytes_before: before, bytes_after, ..Done::default() })
            }
            Self::Roll { group, widths, policy } => {
                rolling::run(blocks, now, (group, widths), policy).inspect_err(|_| leave(group))
            }
            Self::Join(sources) => rolling::join(blocks, now, sources).inspect_err(|_| leave(sources)),
            Self::Trim { block, newest, policy } => {
                trimming::run(blocks, now, (block, *newest), policy).inspect_err(|_| block.set_trimmed(u64::MAX))
            }
            Self::Rewrite(block) if block.meta().resolution > 0 => trimming::rewrite(blocks, now, block),
            Self::Rewrite(block) => merging::run(blocks, now, std::slice::from_ref(block)),
            Self::Merge(sources) => merging::run(blocks, now, sources).inspect_err(|_| leave(sources)),
        }
    }
}

impl Done {
    /// For blocks that took the place of others.
    pub(super) fn replaced(version: &Version, added: &[(super::format::Meta, u64)], removed: Vec<Ulid>) -> Self {
        let gone = version.blocks().iter().filter(|block| removed.contains(&block.meta().id));
        Self {
            bytes_before: gone.map(|block| block.len()).sum(),
            bytes_after: added.iter().map(|(_, len)| len).sum(),
            added: added.iter().map(|(meta, _)| meta.id).collect(),
            removed,
            corrected: None,
        }
    }
}
