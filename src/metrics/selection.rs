//! The answer to a selector: which series, and their samples on demand, from blocks and from memory.

use std::cmp;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::promql::source::{Column, Notes, SeriesSet, SourceError};
use crate::storage::block::{self, Remarks, Selected, Version, Wanted};

use super::matching::Plan;
use super::order::Named;
use super::series::SeriesRef;
use super::shard::Shard;
use super::store::Shared;
use super::view::Snapshot;

/// Series that were found, ascending by labels. Reading one copies its open column under the shard's lock and decodes
/// the rest without it.
#[derive(Debug)]
pub struct Selection {
    shared: Arc<Shared>,
    found: Vec<Found>,
    wanted: Wanted,
    /// Time, start and value of the newest sample of series of which it is enough, and can be had without decoding
    /// anything.
    newest: Vec<(i64, i64, f64)>,
    /// The version holds a flush back: what was in memory when it was taken stays there until it is let go.
    blocks: Option<(Arc<Version>, Selected)>,
    remarks: Mutex<Remarks>,
    /// Width of the widest windows that were read so far, in milliseconds.
    widest: AtomicI64,
}

#[derive(Debug)]
struct Found {
    labels: Labels,
    head: Option<SeriesRef>,
    /// Place among the series selected from blocks.
    block: Option<u32>,
    /// Place among the newest samples.
    newest: Option<NonZeroU32>,
}

/// Series that are looked at under one lock.
const STRIDE: usize = 1_024;

impl Selection {
    pub(super) fn new(shared: &Arc<Shared>, matchers: &[Matcher], mint: i64, maxt: i64) -> Self {
        Self::asked(shared, matchers, Wanted::raw(mint, maxt), false)
    }

    /// A selection in which entries that keep what is asked of a window may stand for all of it. Where `newest`, of each
    /// series the newest sample is enough.
    pub(super) fn asked(shared: &Arc<Shared>, matchers: &[Matcher], wanted: Wanted, newest: bool) -> Self {
        let mut remarks = Remarks::default();
        if !shared.progress.is_done() {
            let percent = shared.progress.get().percent();
            remarks.warnings.insert(format!("the log is still being read ({percent} %): newer samples may be missing"));
        }
        // Before memory is looked at: what leaves it afterwards is in these blocks, or waits for this version.
        let blocks = shared.blocks.as_ref().map(|blocks| {
            let version = blocks.version();
            let selected = version.select(matchers, wanted, &mut remarks);
            (version, selected)
        });
        let plans: Vec<Plan<'_>> = matchers.iter().map(Plan::new).collect();
        let mut in_memory = InMemory::default();
        for shard in &shared.shards {
            let references: Vec<SeriesRef> = {
                let shard = shard.lock();
                shard
                    .matching(&plans, wanted.mint, wanted.maxt)
                    .iter()
                    .filter_map(|slot| shard.reference(slot))
                    .collect()
            };
            in_memory.found.reserve(references.len());
            references.chunks(STRIDE).for_each(|some| in_memory.add(&shard.lock(), some, newest.then_some(wanted)));
        }
        let InMemory { found, newest, .. } = in_memory;
        let in_head = |(labels, reference, newest)| Found { labels, head: Some(reference), block: None, newest };
        let mut found: Vec<Found> = shared.sorted(found).map(in_head).collect();
        if let Some((_, selected)) = &blocks {
            found = joined(found, &selected.series);
        }
        Self {
            shared: Arc::clone(shared),
            found,
            wanted,
            newest,
            blocks,
            remarks: Mutex::new(remarks),
            widest: AtomicI64::new(0),
        }
    }

    /// Labels of every series.
    pub fn iter_labels(&self) -> impl Iterator<Item = &Labels> {
        self.found.iter().map(|found| &found.labels)
    }
}

/// What a selection finds in memory.
#[derive(Default)]
struct InMemory {
    found: Vec<Named<Option<NonZeroU32>>>,
    newest: Vec<(i64, i64, f64)>,
    buffer: Vec<u8>,
}

impl InMemory {
    /// Adds series of a shard, with their newest samples in a range if that is given.
    fn add(&mut self, shard: &Shard, references: &[SeriesRef], newest_in: Option<Wanted>) {
        let slot_in = |number: usize| references.get(number).map(|reference| reference.slot);
        for (number, reference) in references.iter().enumerate() {
            if newest_in.is_some() {
                shard.prefetch_ahead(|on| slot_in(number + on));
            }
            // A series that is gone since had nothing left inside retention that is not in blocks.
            let Some(series) = shard.get(*reference) else { continue };
            let sample = newest_in.and_then(|Wanted { mint, maxt, .. }| series.newest(mint, maxt));
            self.newest.extend(sample);
            let place = sample.and_then(|_| NonZeroU32::new(u32::try_from(self.newest.len()).ok()?));
            self.found.push((shard.symbols().labels(&series.labels, &mut self.buffer), *reference, place));
        }
    }
}

/// Both runs ascend by labels.
fn joined(head: Vec<Found>, blocks: &[block::Series]) -> Vec<Found> {
    if blocks.is_empty() {
        return head;
    }
    let mut all = Vec::with_capacity(head.len().max(blocks.len()));
    let mut head = head.into_iter().peekable();
    for (place, series) in blocks.iter().enumerate() {
        let place = Some(place as u32);
        let same = loop {
            match head.peek().map(|found| found.labels.cmp(&series.labels)) {
                Some(cmp::Ordering::Less) => all.extend(head.next()),
                Some(cmp::Ordering::Equal) => break head.next(),
                Some(cmp::Ordering::Greater) | None => break None,
            }
        };
        all.push(match same {
            Some(found) => Found { block: place, ..found },
            None => Found { labels: series.labels.clone(), head: None, block: place, newest: None },
        });
    }
    all.extend(head);
    all
}

impl Selection {
    /// Appends the newest sample, where it is at hand and enough; false, and nothing, elsewhere.
    fn read_newest(&self, found: &Found, column: &mut Column) -> bool {
        let newest = found.newest.and_then(|place| self.newest.get(place.get() as usize - 1));
        let Some((time, start, value)) = newest.filter(|(time, ..)| self.is_behind(found, *time)) else { return false };
        column.push_float(*time, *start, *value);
        true
    }

    /// Whether everything that blocks have of a series is older than this.
    fn is_behind(&self, found: &Found, time: i64) -> bool {
        let (Some(place), Some((version, selected))) = (found.block, &self.blocks) else { return true };
        let series = selected.series.get(place as usize);
        let older = |block: u32| version.blocks().get(block as usize).is_some_and(|block| block.meta().max_time < time);
        series.is_some_and(|series| series.parts.iter().all(|(block, _)| older(*block)))
    }

    /// Reads from blocks and from memory.
    fn read_all(&self, found: &Found, wanted: Wanted, column: &mut Column) -> Result<(), SourceError> {
        let Wanted { mint, maxt, .. } = wanted;
        let in_head = found.head.and_then(|reference| {
            let shard = self.shared.shards[reference.shard as usize].lock();
            // A series that is gone had nothing left inside retention that is not in blocks.
            shard.get(reference).map(|series| series.outside_blocks(mint, maxt))
        });
        if let (Some(place), Some((version, selected))) = (found.block, &self.blocks)
            && let Some(series) = selected.series.get(place as usize)
        {
            let mut remarks = Remarks::default();
            let spans = in_head.as_ref().map(Snapshot::spans).unwrap_or_default();
            let widest = version.read(series, (wanted, &spans), column, &mut remarks);
            self.widest.fetch_max(widest, Ordering::Relaxed);
            if remarks != Remarks::default() {
                let mut all = self.remarks.lock();
                all.warnings.append(&mut remarks.warnings);
                all.infos.append(&mut remarks.infos);
            }
        }
        let Some(snapshot) = in_head else { return Ok(()) };
        let failed = |error| SourceError::Storage(format!("a chunk in memory cannot be read: {error}"));
        let before = column.len();
        snapshot.read(mint, maxt, column).map_err(failed)?;
        block::settle(column, before);
        Ok(())
    }
}

impl SeriesSet for Selection {
    fn len(&self) -> usize {
        self.found.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.found[index].labels
    }

    fn read(&self, index: usize, column: &mut Column) -> Result<(), SourceError> {
        let Some(found) = self.found.get(index) else { return Ok(()) };
        if self.read_newest(found, column) {
            return Ok(());
        }
        self.read_all(found, self.wanted, column)
    }

    fn tier(&self) -> &'static str {
        match self.widest.load(Ordering::Relaxed) {
            0 => "raw",
            10_000 => "10s",
            60_000 => "1m",
            300_000 => "5m",
            3_600_000 => "1h",
            _ => "windows",
        }
    }

    fn notes(&self) -> Notes {
        let Remarks { warnings, infos } = self.remarks.lock().clone();
        Notes { warnings: warnings.into_iter().collect(), infos: infos.into_iter().collect() }
    }
}

/// Reading piece by piece, for those who copy whole series out: a year of one does not fit a column.
impl Selection {
    /// First and last time that any of the series may have a sample at, inside the range of the selection.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        // Of every resolution: where samples are gone, coarser points may stand for them.
        let metas = self.blocks.iter().flat_map(|(version, _)| version.blocks()).map(|block| block.meta());
        let blocks = metas.map(|meta| (meta.min_time, meta.max_time));
        let head = self.found.iter().filter_map(|found| {
            let reference = found.head?;
            self.shared.shards[reference.shard as usize].lock().get(reference)?.bounds()
        });
        let (first, last) = head.chain(blocks).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        let (first, last) = (first.max(self.wanted.mint), last.min(self.wanted.maxt));
        (first <= last).then_some((first, last))
    }

    /// As `read`, but only samples in `mint..=maxt`, which lies inside the range of the selection.
    pub fn read_between(&self, index: usize, (mint, maxt): (i64, i64), column: &mut Column) -> Result<(), SourceError> {
        let Some(found) = self.found.get(index) else { return Ok(()) };
        self.read_all(found, Wanted::raw(mint, maxt), column)
    }
}
