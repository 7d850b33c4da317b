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
    /// Counts publications.
    sequence: u64,
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
    pub(super) fn new(mut blocks: Vec<Arc<Block>>, quarantined: Vec<Arc<Quarantined>>, sequence: u64) -> Self {
        blocks.sort_by_key(|block| (block.meta().min_time, block.meta().id));
        Self { blocks, quarantined, sequence }
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
    pub fn select(&self, matchers: &[Matcher], mint: i64, maxt: i64, notes: &mut BTreeSet<String>) -> Selected {
        let (mut found, mut pins) = (Vec::new(), Vec::new());
        for (place, block) in self.raw(mint, maxt) {
            let before = found.len();
            match find_in(block, place, matchers, (mint, maxt), &mut found) {
                Ok(index) => pins.push(index),
                Err(error) => {
                    found.truncate(before);
                    notes.insert(note(block, &error));
                }
            }
        }
        let outside = |block: &&Arc<Quarantined>| block.meta.min_time > maxt || block.meta.max_time < mint;
        notes.extend(self.quarantined.iter().filter(|block| !outside(block)).map(|block| block.note()));
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

    /// Appends the samples of a series in `mint..=maxt` to a cleared column. What cannot be read is named in `notes`.
    pub fn read(&self, series: &Series, (mint, maxt): (i64, i64), column: &mut Column, notes: &mut BTreeSet<String>) {
        for (place, number) in &series.parts {
            let Some(block) = self.blocks.get(*place as usize) else { continue };
            let mut failures = Vec::new();
            let mut part = Column::default();
            let into = if column.is_empty() { &mut *column } else { &mut part };
            if let Err(error) = block.read(*number, (mint, maxt), into, &mut failures) {
                failures.push(error);
            }
            notes.extend(failures.iter().map(|error| note(block, error)));
            merge(column, &mut part);
        }
    }

    /// Calls `visit` with each label name of each block that touches the range; names repeat between blocks.
    pub fn label_names(&self, mint: i64, maxt: i64, mut visit: impl FnMut(&str)) {
        for (_, block) in self.raw(mint, maxt) {
            if let Ok(index) = block.index() {
                // Damage shows in `select`, which can say so.
                let _ = index.names(&mut visit);
            }
        }
    }

    /// Calls `visit` with each value of a label in each block that touches the range; values repeat between blocks.
    pub fn label_values(&self, name: &str, mint: i64, maxt: i64, mut visit: impl FnMut(&str)) {
        for (_, block) in self.raw(mint, maxt) {
            if let Ok(index) = block.index() {
                // Damage shows in `select`, which can say so.
                let _ = index.values(name, &mut visit);
            }
        }
    }
}

fn find_in(
    block: &Block,
    place: u32,
    matchers: &[Matcher],
    (mint, maxt): (i64, i64),
    found: &mut Vec<(Labels, u32, u32)>,
) -> Result<Arc<Index>, BlockError> {
    let whole = mint <= block.meta().min_time && maxt >= block.meta().max_time;
    let index = block.index()?;
    let broken = |error| block.index_broken(error);
    for number in &index.find(matchers).map_err(broken)? {
        if whole || !index.chunks(number, mint, maxt).map_err(broken)?.is_empty() {
            found.push((index.labels(number).map_err(broken)?, place, number));
        }
    }
    Ok(index)
}

fn note(block: &Block, error: &BlockError) -> String {
    let Meta { id, min_time, max_time, .. } = block.meta();
    format!("part of block {id} ({min_time} to {max_time} ms) was left out: {error}")
}
