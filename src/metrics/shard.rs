//! A shard: some of the series behind one lock, with the maps that find them.

use crossbeam::utils::CachePadded;
use hashbrown::HashTable;
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::model::labels::{Labels, METRIC_NAME};

use super::index::Slab;
use super::matching::{Plan, find};
use super::postings::{Postings, Slots};
use super::series::{Series, SeriesRef};
use super::symbols::{Coded, Symbols};

/// Places ahead at which a series is fetched from memory.
const AHEAD: usize = 16;

/// Part of the store's series.
#[derive(Debug, Default)]
pub(super) struct Shard {
    number: u32,
    /// Slots by hash of the labels.
    slots: HashTable<u32>,
    series: Slab,
    postings: Postings,
    /// Counts removals, so that a reference to a removed series is seen to be stale.
    generation: u32,
}

/// All shards; their number is a power of two.
pub(super) type Shards = Box<[CachePadded<Mutex<Shard>>]>;

/// Empty shards that are said to have seen this many removals.
pub(super) fn new_shards(count: usize, generation: u32) -> Shards {
    let shard = |number| Shard { number: number as u32, generation, ..Shard::default() };
    (0..count).map(|number| CachePadded::new(Mutex::new(shard(number)))).collect()
}

impl Shard {
    /// Makes a series known that the log defines, or renames it: a series that left and came back has a new name.
    pub(super) fn restore(&mut self, labels: &Labels, id: u64) -> SeriesRef {
        let hash = labels.stable_hash();
        if let Some(known) = self.lookup(hash, labels.as_encoded()) {
            if let Some(series) = self.get_mut(known) {
                series.id = series.id.max(id);
            }
            return known;
        }
        self.insert(labels, hash, id)
    }

    /// Takes the series of another shard, whose samples are newer, in.
    pub(super) fn take_all(&mut self, other: Self) {
        let (symbols, mut buffer) = (other.postings.symbols(), Vec::new());
        for newer in other.series.into_series() {
            let reference = self.restore(&symbols.labels(&newer.labels, &mut buffer), newer.id);
            if let Some(series) = self.get_mut(reference) {
                series.take_newer(newer);
            }
        }
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The series with these labels, if it is known.
    #[inline]
    pub(super) fn lookup(&self, hash: u64, encoded: &[u8]) -> Option<SeriesRef> {
        let slot = *self.slots.find(hash, |slot| {
            self.series
                .get(*slot)
                .is_some_and(|series| series.hash == hash && self.symbols().are(&series.labels, encoded))
        })?;
        let generation = self.series.get(slot)?.generation;
        Some(SeriesRef { shard: self.number, slot, generation })
    }

    /// Adds a series that is not known.
    pub(super) fn insert(&mut self, labels: &Labels, hash: u64, id: u64) -> SeriesRef {
        let generation = self.generation;
        let slot = self.series.insert(Series::new(Coded::default(), hash, id, generation));
        let coded = self.postings.insert(slot, labels);
        if let Some(series) = self.series.get_mut(slot) {
            series.labels = coded;
        }
        let series = &self.series;
        self.slots.insert_unique(hash, slot, |slot| series.get(*slot).map_or(0, |series| series.hash));
        SeriesRef { shard: self.number, slot, generation }
    }

    /// Removes a series and what finds it.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Series> {
        let series = self.series.remove(slot)?;
        self.postings.remove(slot, &series.labels);
        if let Ok(entry) = self.slots.find_entry(series.hash, |other| *other == slot) {
            entry.remove();
        }
        self.generation = self.generation.wrapping_add(1);
        Some(series)
    }

    /// The series behind a reference, unless it was removed.
    #[inline]
    pub(super) fn get_mut(&mut self, reference: SeriesRef) -> Option<&mut Series> {
        self.series.get_mut(reference.slot).filter(|series| series.generation == reference.generation)
    }

    /// Has the first of a run of series fetched from memory; those behind come with `prefetch_ahead`.
    #[inline]
    pub(super) fn prefetch_first(&self, slots: impl Iterator<Item = u32>) {
        slots.take(AHEAD).for_each(|slot| self.series.prefetch(slot));
    }

    /// Has series fetched from memory that will be written to; `slot_in(n)` is the one `n` places on. From half way the
    /// end of its open column comes too: the series itself should be there by then.
    #[inline]
    pub(super) fn prefetch_ahead(&self, slot_in: impl Fn(usize) -> Option<u32>) {
        if let Some(slot) = slot_in(AHEAD) {
            self.series.prefetch(slot);
        }
        if let Some(series) = slot_in(AHEAD / 2).and_then(|slot| self.series.get(slot)) {
            series.open.prefetch_end();
        }
    }

    #[inline]
    pub(super) fn get(&self, reference: SeriesRef) -> Option<&Series> {
        self.series.get(reference.slot).filter(|series| series.generation == reference.generation)
    }

    /// The labels of a series, by way of a buffer.
    pub(super) fn labels(&self, reference: SeriesRef, buffer: &mut Vec<u8>) -> Option<Labels> {
        self.get(reference).map(|series| self.symbols().labels(&series.labels, buffer))
    }

    pub(super) fn by_slot(&self, slot: u32) -> Option<&Series> {
        self.series.get(slot)
    }

    pub(super) fn by_slot_mut(&mut self, slot: u32) -> Option<&mut Series> {
        self.series.get_mut(slot)
    }

    pub(super) fn reference(&self, slot: u32) -> Option<SeriesRef> {
        self.series.get(slot).map(|series| SeriesRef { shard: self.number, slot, generation: series.generation })
    }

    /// Slots of the series that match and have a sample in the range.
    pub(super) fn matching(&self, plans: &[Plan<'_>], mint: i64, maxt: i64) -> RoaringBitmap {
        let mut found = find(&self.postings, plans);
        let outside: Vec<u32> = found
            .iter()
            .filter(|slot| {
                let bounds = self.series.get(*slot).and_then(Series::bounds);
                bounds.is_none_or(|(first, last)| last < mint || first > maxt)
            })
            .collect();
        for slot in outside {
            found.remove(slot);
        }
        found
    }

    pub(super) fn postings(&self) -> &Postings {
        &self.postings
    }

    /// What the labels of the series are written in.
    pub(super) fn symbols(&self) -> &Symbols {
        self.postings.symbols()
    }

    /// How many series a metric has.
    pub(super) fn metric_len(&self, name: &str) -> usize {
        self.postings.values(METRIC_NAME).and_then(|values| values.get(name)).map_or(0, Slots::len)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        self.series.iter()
    }

    /// Slots that were ever in use.
    pub(super) fn slots(&self) -> u32 {
        self.series.slots()
    }
}
