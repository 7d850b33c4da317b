//! A set of live blocks as a reader sees it: finding series over all of them. What is read of a series stands in
//! `reading`.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;
use smallvec::SmallVec;

use crate::model::labels::Labels;
use crate::model::matcher::Matcher;

use super::format::Meta;
use super::groups::{Group, Role, sort_out};
use super::index::Index;
use super::manifest::Live;
use super::reader::{Block, BlockError};
use super::tier::Asked;
use super::tombstones::{Deletion, Graves, Mask, Tombstone};
use super::ulid::Ulid;

/// A block that cannot be read at all.
#[derive(Clone, Debug)]
pub struct Quarantined {
    pub meta: Meta,
    /// Bytes that its file should have.
    pub len: u64,
    pub reason: String,
}

impl Quarantined {
    /// What an answer that lacks it says.
    pub fn note(&self) -> String {
        let Meta { id, min_time, max_time, .. } = self.meta;
        format!("block {id} ({min_time} to {max_time} ms) was left out: {}", self.reason)
    }
}

/// The live blocks at one time.
#[derive(Debug, Default)]
pub struct Version {
    /// Ascending by first time, then by age.
    blocks: Vec<Arc<Block>>,
    quarantined: Vec<Arc<Quarantined>>,
    /// Raw blocks that share time, ascending.
    pub(super) groups: Vec<Group>,
    /// Of each block.
    pub(super) roles: Vec<Role>,
    /// Deletions that are not carried out yet.
    tombstones: Vec<Tombstone>,
    /// For each block: those that are about it.
    graves: Vec<Graves>,
    /// Counts publications.
    sequence: u64,
}

/// What an answer lacks, and what it was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    pub warnings: BTreeSet<String>,
    pub infos: BTreeSet<String>,
}

/// What of a series is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub mint: i64,
    pub maxt: i64,
    /// Which rolled-up points may stand for samples.
    pub asked: Asked,
}

impl Wanted {
    /// Raw samples, as long as there are any.
    pub fn raw(mint: i64, maxt: i64) -> Self {
        Self { mint, maxt, asked: Asked::RAW }
    }
}

/// A series, and where its samples are: (place of the block in the version, number in the block).
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: Labels,
    pub parts: SmallVec<[(u32, u32); 4]>,
}

/// Series that were found. It holds the indexes of their blocks, so that reading them does not load those again.
#[derive(Debug, Default)]
pub struct Selected {
    pub series: Vec<Series>,
    _pins: Vec<Arc<Index>>,
}

impl Version {
    pub(super) fn new(
        mut blocks: Vec<Arc<Block>>,
        quarantined: Vec<Arc<Quarantined>>,
        tombstones: Vec<Tombstone>,
        sequence: u64,
    ) -> Self {
        blocks.sort_by_key(|block| (block.meta().min_time, block.meta().id));
        let graves = blocks.iter().map(|block| Graves::of(&tombstones, block.meta().id)).collect();
        let readable: Vec<&Meta> = blocks.iter().map(|block| block.meta()).collect();
        let lost: Vec<&Meta> = quarantined.iter().map(|block| &block.meta).collect();
        let (groups, roles) = sort_out(&readable, &lost);
        Self { blocks, quarantined, groups, roles, tombstones, graves, sequence }
    }

    /// The role of the block at a place.
    pub(super) fn role(&self, place: u32) -> Role {
        self.roles.get(place as usize).copied().unwrap_or(Role::Stale)
    }

    /// Blocks with their roles.
    pub(super) fn with_roles(&self) -> impl Iterator<Item = (Role, &Arc<Block>)> {
        self.roles.iter().copied().zip(&self.blocks)
    }

    /// Tier blocks that were made from any of these raw blocks: when those change, these go with them.
    pub fn tiers_of(&self, raw: &[Ulid]) -> Vec<Ulid> {
        let tiers = self.blocks.iter().map(|block| block.meta()).filter(|meta| meta.resolution > 0);
        tiers.filter(|meta| meta.sources.iter().any(|id| raw.contains(id))).map(|meta| meta.id).collect()
    }

    /// Whether a reader has to look into a block for series.
    fn is_looked_into(&self, place: u32, asked: Asked) -> bool {
        match self.role(place) {
            Role::Raw(_) | Role::Orphan => true,
            Role::Stale => false,
            Role::Tier(group) => self.groups.get(group as usize).is_some_and(|group| {
                let exact = group.tiers.iter().find(|(resolution, _)| asked.fits(*resolution));
                group.lost_series || exact.is_some_and(|(_, exact)| *exact == place)
            }),
        }
    }

    /// Whether samples of a series are read from a block, where nothing is in the way: raw blocks beside windows that
    /// answer exactly are looked into for their series only.
    pub(super) fn is_read(&self, place: u32, asked: Asked) -> bool {
        match self.role(place) {
            Role::Raw(group) if asked.inner == 0 => {
                let fits = |group: &Group| group.tiers.iter().any(|(resolution, _)| asked.fits(*resolution));
                !self.groups.get(group as usize).is_some_and(fits)
            }
            _ => true,
        }
    }

    /// The widest windows of any block in a range that answer exactly; 0 without any.
    pub fn window(&self, asked: Asked, mint: i64, maxt: i64) -> i64 {
        let tiers = self.looked_into(mint, maxt, asked).map(|(_, block)| block.meta().resolution);
        tiers.filter(|resolution| asked.fits(*resolution)).max().unwrap_or(0)
    }

    pub fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    /// Grows with each publication.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn quarantined(&self) -> &[Arc<Quarantined>] {
        &self.quarantined
    }

    /// Deletions that are not carried out yet.
    pub(super) fn tombstones(&self) -> &[Tombstone] {
        &self.tombstones
    }

    /// Blocks of which some samples are hidden by deletions.
    pub fn buried(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.blocks.iter().zip(&self.graves).filter(|(_, graves)| !graves.is_empty()).map(|(block, _)| block)
    }

    /// Deletions that are not carried out yet, in number.
    pub fn deletions(&self) -> usize {
        self.tombstones.len()
    }

    /// Damaged pages that were met in live blocks.
    pub fn pages_damaged(&self) -> u64 {
        self.blocks.iter().map(|block| block.pages_damaged() as u64).sum()
    }

    /// The deletions of a block.
    pub(super) fn graves_of(&self, block: Ulid) -> Graves {
        Graves::of(&self.tombstones, block)
    }

    /// Blocks that may hold samples that a deletion is about.
    pub(super) fn concerned(&self, deletion: &Deletion) -> Vec<Ulid> {
        let (mint, maxt) = (deletion.mint, deletion.maxt);
        let finds = |block: &&Arc<Block>| {
            // Where the index cannot be read now, it may be later.
            let is_clear =
                || block.index().is_ok_and(|index| index.find(&deletion.matchers).is_ok_and(|found| found.is_empty()));
            block.overlaps(mint, maxt) && !is_clear()
        };
        let readable = self.blocks.iter().filter(finds).map(|block| block.meta().id);
        let outside = |meta: &Meta| meta.min_time > maxt || meta.max_time < mint;
        let unreadable = self.quarantined.iter().map(|block| &block.meta).filter(|meta| !outside(meta));
        readable.chain(unreadable.map(|meta| meta.id)).collect()
    }

    /// What is hidden of a series in a block.
    pub(super) fn mask(&self, place: u32, labels: &Labels) -> Mask {
        let graves = self.graves.get(place as usize).filter(|graves| !graves.is_empty());
        graves.map_or_else(Mask::default, |graves| graves.mask(labels))
    }

    pub(super) fn live(&self) -> impl Iterator<Item = Live> {
        let readable = self.blocks.iter().map(|block| Live { meta: block.meta().clone(), len: block.len() });
        readable.chain(self.quarantined.iter().map(|block| Live { meta: block.meta.clone(), len: block.len }))
    }

    /// Bytes of all block files.
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.len()).sum()
    }

    /// First and last time of the raw samples; `None` without any.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let raw = || self.blocks.iter().filter(|block| block.meta().resolution == 0);
        Some((raw().map(|b| b.meta().min_time).min()?, raw().map(|b| b.meta().max_time).max()?))
    }

    /// Blocks that have to be looked into for series with samples in a range.
    pub(super) fn looked_into(&self, mint: i64, maxt: i64, asked: Asked) -> impl Iterator<Item = (u32, &Arc<Block>)> {
        let blocks = self.blocks.iter().enumerate().map(|(place, block)| (place as u32, block));
        blocks.filter(move |(place, block)| block.overlaps(mint, maxt) && self.is_looked_into(*place, asked))
    }

    /// The series that fulfil all matchers and have samples in the range, ascending by labels. What cannot be read is
    /// named in `notes`.
    pub fn select(&self, matchers: &[Matcher], wanted: Wanted, remarks: &mut Remarks) -> Selected {
        let Wanted { mint, maxt, asked } = wanted;
        let (mut found, mut pins) = (Vec::new(), Vec::new());
        for (place, block) in self.looked_into(mint, maxt, asked) {
            let before = found.len();
            match self.find_in(place, matchers, (mint, maxt), &mut found) {
                Ok(index) => pins.push(index),
                Err(error) => {
                    found.truncate(before);
                    remarks.warnings.insert(note(block, &error));
                }
            }
        }
        let outside = |block: &&Arc<Quarantined>| block.meta.min_time > maxt || block.meta.max_time < mint;
        remarks.warnings.extend(self.quarantined.iter().filter(|block| !outside(block)).map(|block| block.note()));
        // Places ascend with time and age, so the parts of a series come in the order in which they are merged.
        found.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut series: Vec<Series> = Vec::new();
        for (labels, place, number) in found {
            match series.last_mut() {
                Some(last) if last.labels == labels => last.parts.push((place, number)),
                _ => series.push(Series { labels, parts: SmallVec::from_slice(&[(place, number)]) }),
            }
        }
        Selected { series, _pins: pins }
    }

    pub(super) fn is_buried(&self, place: u32) -> bool {
        self.graves.get(place as usize).is_some_and(|graves| !graves.is_empty())
    }

    /// Adds the series of a block that fulfil all matchers and may have visible samples in the range.
    fn find_in(
        &self,
        place: u32,
        matchers: &[Matcher],
        (mint, maxt): (i64, i64),
        found: &mut Vec<(Labels, u32, u32)>,
    ) -> Result<Arc<Index>, BlockError> {
        let block = &self.blocks[place as usize];
        let index = block.index()?;
        let mut buffer = Vec::with_capacity(256);
        for number in &self.visible(place, &index, matchers, (mint, maxt))? {
            let labels = index.labels_by(number, &mut buffer).map_err(|error| block.index_broken(error))?;
            found.push((labels, place, number));
        }
        Ok(index)
    }

    /// The series of a block that fulfil all matchers and may have visible samples in the range, by number.
    pub(super) fn visible(
        &self,
        place: u32,
        index: &Index,
        matchers: &[Matcher],
        (mint, maxt): (i64, i64),
    ) -> Result<RoaringBitmap, BlockError> {
        let block = &self.blocks[place as usize];
        let broken = |error| block.index_broken(error);
        let mut found = index.find(matchers).map_err(broken)?;
        let buried = self.is_buried(place);
        if mint <= block.meta().min_time && maxt >= block.meta().max_time && !buried {
            return Ok(found);
        }
        let mut outside = Vec::new();
        for number in &found {
            let chunks = index.chunks(number, mint, maxt).map_err(broken)?;
            let visible = if buried {
                let mask = self.mask(place, &index.labels(number).map_err(broken)?);
                chunks.iter().any(|at| !mask.covers(at.min_time.max(mint), at.max_time.min(maxt)))
            } else {
                !chunks.is_empty()
            };
            if !visible {
                outside.push(number);
            }
        }
        outside.into_iter().for_each(|number| {
            found.remove(number);
        });
        Ok(found)
    }
}

pub(super) fn note(block: &Block, error: &BlockError) -> String {
    let Meta { id, min_time, max_time, .. } = block.meta();
    format!("part of block {id} ({min_time} to {max_time} ms) was left out: {error}")
}
