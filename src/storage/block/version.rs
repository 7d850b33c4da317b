//! A set of live blocks as a reader sees it: finding series over all of them, reading one from all that have it.

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::promql::source::Column;

use super::columns::merge;
use super::format::Meta;
use super::index::Index;
use super::manifest::Live;
use super::reader::{Block, BlockError};
use super::tier::{Shape, TIER_MS, distance, emit};
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
    /// For each block: the tier block that stands for it, if it is raw and no other raw block shares its time.
    rollups: Vec<Option<u32>>,
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
    /// Rolled-up points may stand for samples, if they keep this.
    pub shape: Option<Shape>,
    /// From this time on there are samples elsewhere: blocks that reach it are read raw.
    pub elsewhere_from: i64,
}

impl Wanted {
    /// Raw samples only.
    pub fn raw(mint: i64, maxt: i64) -> Self {
        Self { mint, maxt, shape: None, elsewhere_from: i64::MAX }
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
        let rollups = vec![None; blocks.len()];
        let mut version = Self { rollups, blocks, quarantined, tombstones, graves, sequence };
        let tier_of = |raw: &Arc<Block>| {
            let stands_for =
                |block: &Arc<Block>| block.meta().resolution > 0 && block.meta().sources == [raw.meta().id];
            version.blocks.iter().position(stands_for).map(|place| place as u32)
        };
        let rollups = version.blocks.iter().enumerate().map(|(place, block)| {
            if block.meta().resolution == 0 && version.is_alone(place) { tier_of(block) } else { None }
        });
        version.rollups = rollups.collect();
        version
    }

    /// Whether no other raw block, readable or not, shares the time of this one.
    pub(super) fn is_alone(&self, place: usize) -> bool {
        let Some(own) = self.blocks.get(place).map(|block| block.meta()) else { return false };
        let others = self.blocks.iter().map(|block| block.meta()).chain(self.quarantined.iter().map(|q| &q.meta));
        let mut near = others.filter(|meta| {
            meta.resolution == 0
                && meta.id != own.id
                && meta.min_time <= own.max_time.saturating_add(TIER_MS)
                && meta.max_time >= own.min_time.saturating_sub(TIER_MS)
        });
        // Neighbours may touch, if they do so between windows.
        let window = |time: i64| time.saturating_sub(1).div_euclid(TIER_MS);
        near.all(|meta| window(meta.max_time) < window(own.min_time) || window(meta.min_time) > window(own.max_time))
    }

    /// The tier block that stands for a raw one.
    pub(super) fn rollup_of(&self, place: usize) -> Option<u32> {
        self.rollups.get(place).copied().flatten()
    }

    /// Tier blocks of which the raw block is gone.
    fn is_orphan(&self, block: &Block) -> bool {
        let alive = |id: &Ulid| self.blocks.iter().any(|b| b.meta().id == *id && b.meta().resolution == 0);
        block.meta().resolution > 0 && !block.meta().sources.iter().any(alive)
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
    fn mask(&self, place: u32, labels: &Labels) -> Mask {
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

    fn raw(&self, mint: i64, maxt: i64) -> impl Iterator<Item = (u32, &Arc<Block>)> {
        let blocks = self.blocks.iter().enumerate().map(|(place, block)| (place as u32, block));
        blocks.filter(move |(_, block)| block.meta().resolution == 0 && block.overlaps(mint, maxt))
    }

    /// The series that fulfil all matchers and have samples in the range, ascending by labels. What cannot be read is
    /// named in `notes`.
    pub fn select(&self, matchers: &[Matcher], wanted: Wanted, remarks: &mut Remarks) -> Selected {
        let Wanted { mint, maxt, shape, .. } = wanted;
        let (mut found, mut pins) = (Vec::new(), Vec::new());
        let rolled = self.raw(mint, maxt).filter_map(|(place, _)| self.rollup_of(place as usize));
        let rolled: Vec<u32> = rolled.filter(|_| shape.is_some()).collect();
        let places = self.blocks.iter().enumerate().map(|(place, block)| (place as u32, block));
        for (place, block) in places.filter(|(_, block)| block.overlaps(mint, maxt)) {
            let orphan = self.is_orphan(block);
            if block.meta().resolution > 0 && !orphan && !rolled.contains(&place) {
                continue;
            }
            if orphan {
                remarks.infos.insert("older samples are answered from windows of 1 min".to_owned());
            }
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

    /// Appends the samples of a series that are wanted, as for `select`, to a cleared column. What cannot be read is
    /// named in the remarks. Answers the distance of the raw samples for which points stand, if any do: for an increase
    /// the caller has to see that all samples together are dense, and else read raw ones.
    pub fn read(&self, series: &Series, wanted: Wanted, column: &mut Column, remarks: &mut Remarks) -> Option<f64> {
        let Wanted { mint, maxt, .. } = wanted;
        let mut closest = None;
        for (place, number) in &series.parts {
            let Some(block) = self.blocks.get(*place as usize) else { continue };
            let mask = self.mask(*place, &series.labels);
            if block.meta().resolution > 0 {
                if self.is_orphan(block) {
                    let mut part = Column::default();
                    if let Ok(mut points) = block.points(*number, mint, maxt) {
                        mask.apply_points(&mut points);
                        emit(&points, wanted.shape.filter(|s| *s != Shape::Increase).unwrap_or(Shape::Last), &mut part);
                    }
                    merge(column, &mut part);
                }
                continue;
            }
            if let Some((mut part, distance)) = self.rolled(series, *place, wanted) {
                closest = Some(closest.map_or(distance, |closest: f64| closest.min(distance)));
                merge(column, &mut part);
                continue;
            }
            let mut failures = Vec::new();
            let mut part = Column::default();
            let into = if column.is_empty() && mask.is_empty() { &mut *column } else { &mut part };
            if let Err(error) = block.read(*number, (mint, maxt), into, &mut failures) {
                failures.push(error);
            }
            remarks.warnings.extend(failures.iter().map(|error| note(block, error)));
            mask.apply(&mut part);
            merge(column, &mut part);
        }
        closest
    }

    /// The samples that stand for a raw block's, if they do so exactly, and the distance of those.
    fn rolled(&self, series: &Series, place: u32, wanted: Wanted) -> Option<(Column, f64)> {
        let (shape, tier) = (wanted.shape?, self.rollup_of(place as usize)?);
        if self.blocks.get(place as usize)?.meta().max_time >= wanted.elsewhere_from.saturating_sub(TIER_MS) {
            return None;
        }
        if !self.mask(place, &series.labels).is_empty() {
            // Points were made from samples that are deleted since.
            return None;
        }
        let (_, number) = series.parts.iter().find(|(place, _)| *place == tier)?;
        // What is damaged here is not missed: raw samples are read in its place.
        let points = self.blocks.get(tier as usize)?.points(*number, wanted.mint, wanted.maxt).ok()?;
        let mut part = Column::default();
        (!points.is_empty() && emit(&points, shape, &mut part)).then(|| (part, distance(&points)))
    }

    /// Calls `visit` with each label name of each block that touches the range; names repeat between blocks.
    pub fn label_names(&self, mint: i64, maxt: i64, mut visit: impl FnMut(&str)) {
        for (place, block) in self.raw(mint, maxt) {
            // Damage shows in `select`, which can say so.
            if self.is_buried(place) {
                let _ = self.each_visible(place, |labels| labels.iter().for_each(|(name, _)| visit(name)));
            } else if let Ok(index) = block.index() {
                let _ = index.names(&mut visit);
            }
        }
    }

    /// Calls `visit` with each value of a label in each block that touches the range; values repeat between blocks.
    pub fn label_values(&self, name: &str, mint: i64, maxt: i64, mut visit: impl FnMut(&str)) {
        for (place, block) in self.raw(mint, maxt) {
            // Damage shows in `select`, which can say so.
            if self.is_buried(place) {
                let _ = self.each_visible(place, |labels| labels.get(name).into_iter().for_each(&mut visit));
            } else if let Ok(index) = block.index() {
                let _ = index.values(name, &mut visit);
            }
        }
    }

    fn is_buried(&self, place: u32) -> bool {
        self.graves.get(place as usize).is_some_and(|graves| !graves.is_empty())
    }

    /// Calls `visit` with the labels of each series of a block that deletions have left something of.
    fn each_visible(&self, place: u32, mut visit: impl FnMut(&Labels)) -> Result<(), BlockError> {
        let mut found = Vec::new();
        self.find_in(place, &[], (i64::MIN, i64::MAX), &mut found)?;
        found.iter().for_each(|(labels, ..)| visit(labels));
        Ok(())
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
        let whole = mint <= block.meta().min_time && maxt >= block.meta().max_time && !self.is_buried(place);
        let index = block.index()?;
        let broken = |error| block.index_broken(error);
        for number in &index.find(matchers).map_err(broken)? {
            let chunks = if whole { Vec::new() } else { index.chunks(number, mint, maxt).map_err(broken)? };
            if !whole && chunks.is_empty() {
                continue;
            }
            let labels = index.labels(number).map_err(broken)?;
            let mask = self.mask(place, &labels);
            if whole || chunks.iter().any(|at| !mask.covers(at.min_time.max(mint), at.max_time.min(maxt))) {
                found.push((labels, place, number));
            }
        }
        Ok(index)
    }
}

fn note(block: &Block, error: &BlockError) -> String {
    let Meta { id, min_time, max_time, .. } = block.meta();
    format!("part of block {id} ({min_time} to {max_time} ms) was left out: {error}")
}
