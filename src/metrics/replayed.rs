//! What the log holds for one shard, gathered on the way from it and then put in place series by series.
//!
//! In the log the samples of a series lie a request apart, and by the next one the series has left the caches of the
//! processor. Gathered, a series is fetched once for several samples. What it has already (a snapshot is written
//! while samples come, so those are in both) is read once, and not looked for sample by sample.

use crate::codec::CodecError;
use crate::codec::bytes::Reader;
use crate::model::exemplar::Exemplar;
use crate::model::labels::Labels;

use super::column::Points;
use super::columns::Restored;
use super::histograms::read_histograms;
use super::replay::Restoring;
use super::series::SeriesRef;
use super::shard::Shard;

/// Bytes besides floats that are gathered.
const BYTES_MAX: usize = 1 << 18;

/// A float out of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replayed {
    /// Width of the dedup window that it went through.
    pub dedup: i64,
    pub time: i64,
    pub start: i64,
    pub value: f64,
}

/// Floats of one width of dedup windows, in the order of the log.
#[derive(Debug, Default)]
struct Floats {
    dedup: i64,
    /// Time of the first.
    base: i64,
    items: Vec<Item>,
    /// Empty, or one for each.
    starts: Vec<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    slot: u32,
    /// Milliseconds after `base`.
    offset: i32,
    value: f64,
}

/// Something else out of the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// The labels of a series, and its name in the log.
    Definition(u64),
    /// All columns of a series, out of a snapshot.
    Columns(SeriesRef),
    /// Native histograms, and the width of their dedup windows.
    Histograms(SeriesRef, i64),
}

/// What is gathered for a shard. It is carried out in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Load {
    shard: usize,
    floats: Floats,
    /// What came behind the floats, and where its bytes end.
    entries: Vec<(Entry, usize)>,
    bytes: Vec<u8>,
    exemplars: Vec<(SeriesRef, Exemplar)>,
    done: Done,
}

/// What carrying out found.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub defined: Vec<(u64, SeriesRef)>,
    /// Entries that could not be understood.
    pub lost: u64,
}

/// Buffers of a thread, for one load after the other.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// For each slot where its floats end in `order`.
    ends: Vec<u32>,
    order: Vec<u32>,
    /// What a series has already.
    known: Points,
    bytes: Vec<u8>,
}

impl Done {
    /// Adds what was found with a load.
    pub(super) fn take(&mut self, load: &mut Load) {
        self.defined.append(&mut load.done.defined);
        self.lost += std::mem::take(&mut load.done.lost);
    }
}

impl Load {
    /// With room for so many floats from the begin: a growing list leaves its earlier selves behind.
    pub(super) fn new(shard: usize, floats: usize) -> Self {
        let items = Vec::with_capacity(floats);
        Self { shard, floats: Floats { items, ..Floats::default() }, ..Self::default() }
    }

    pub(super) fn shard(&self) -> usize {
        self.shard
    }

    pub(super) fn is_empty(&self) -> bool {
        self.floats.items.is_empty() && self.entries.is_empty() && self.exemplars.is_empty()
    }

    /// Whether this float, as one of `most`, can only come when the load is carried out.
    #[inline]
    pub(super) fn is_full_for(&self, float: &Replayed, most: usize) -> bool {
        let Floats { dedup, base, items, .. } = &self.floats;
        !self.entries.is_empty()
            || items.len() >= most
            || (!items.is_empty() && (float.dedup != *dedup || offset(float.time, *base).is_none()))
    }

    /// Adds a float, for which it is not full.
    #[inline]
    pub(super) fn push_float(&mut self, slot: u32, float: &Replayed) {
        let Floats { dedup, base, items, starts } = &mut self.floats;
        if items.is_empty() {
            (*dedup, *base) = (float.dedup, float.time);
        }
        if float.start != 0 || !starts.is_empty() {
            starts.resize(items.len(), 0);
            starts.push(float.start);
        }
        items.push(Item { slot, offset: offset(float.time, *base).unwrap_or_default(), value: float.value });
    }

    /// Adds something else. Gives whether it is time to carry out.
    pub(super) fn push(&mut self, entry: Entry, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        self.entries.push((entry, self.bytes.len()));
        self.bytes.len() >= BYTES_MAX
    }

    pub(super) fn push_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> bool {
        self.exemplars.push((series, exemplar));
        self.exemplars.len() >= BYTES_MAX / 256
    }

    /// Puts everything in place, and is empty then.
    pub(super) fn carry_out(&mut self, head: &Restoring<'_>, scratch: &mut Scratch) {
        let Some(shard) = head.shards.get(self.shard) else { return };
        let mut shard = shard.lock();
        self.floats.append_to(&mut shard, scratch);
        let mut from = 0;
        for (entry, end) in self.entries.drain(..) {
            let bytes = self.bytes.get(from..end).unwrap_or(&[]);
            from = end;
            if put(&mut shard, entry, bytes, &mut self.done).is_err() {
                self.done.lost += 1;
                tracing::warn!("an entry of the log cannot be understood");
            }
        }
        self.bytes.clear();
        for (series, exemplar) in self.exemplars.drain(..) {
            if let Some(labels) = shard.labels(series, &mut scratch.bytes) {
                head.exemplars.push(&labels, &exemplar);
            }
        }
    }
}

#[inline]
fn offset(time: i64, base: i64) -> Option<i32> {
    time.checked_sub(base).and_then(|offset| i32::try_from(offset).ok())
}

fn put(shard: &mut Shard, entry: Entry, bytes: &[u8], done: &mut Done) -> Result<(), CodecError> {
    match entry {
        Entry::Definition(id) => {
            let labels = Labels::from_encoded(bytes).map_err(|_| CodecError("labels are damaged"))?;
            done.defined.push((id, shard.restore(&labels, id)));
        }
        Entry::Columns(series) => {
            let restored = Restored::read(&mut Reader::new(bytes))?;
            if let Some(series) = shard.get_mut(series) {
                series.restore(restored);
            }
        }
        Entry::Histograms(series, dedup) => {
            if let Some(series) = shard.get_mut(series) {
                for sample in read_histograms(bytes, i64::MIN, i64::MAX)? {
                    // What the store refuses now it has already, or it would not have logged it.
                    let _ = series.append_histogram(sample, dedup);
                }
            }
        }
    }
    Ok(())
}

impl Floats {
    /// Appends them all, each series' in order.
    fn append_to(&mut self, shard: &mut Shard, scratch: &mut Scratch) {
        let Self { dedup, base, items, starts } = self;
        let Scratch { ends, order, known, .. } = scratch;
        if items.is_empty() {
            return;
        }
        ends.clear();
        ends.resize(shard.slots() as usize + 1, 0);
        items.iter().for_each(|item| ends[item.slot as usize + 1] += 1);
        (1..ends.len()).for_each(|at| ends[at] += ends[at - 1]);
        order.clear();
        order.resize(items.len(), 0);
        for (at, item) in items.iter().enumerate() {
            let end = &mut ends[item.slot as usize];
            order[*end as usize] = at as u32;
            *end += 1;
        }
        let (mut from, mut grow) = (0, false);
        for mine in order.chunk_by(|a, b| items[*a as usize].slot == items[*b as usize].slot) {
            // Of several samples of one series some are passed over here.
            shard.prefetch_ahead(|on| order.get(from + on).map(|at| items[*at as usize].slot));
            from += mine.len();
            let Some(series) = mine.first().and_then(|at| shard.by_slot_mut(items[*at as usize].slot)) else {
                continue;
            };
            let times = || mine.iter().map(|at| *base + i64::from(items[*at as usize].offset));
            let (oldest, newest) = times().fold((i64::MAX, i64::MIN), |(a, b), time| (a.min(time), b.max(time)));
            // Series that are written together outgrow their buffers within a few samples of each other. Each for itself
            // would leave pages behind that a slower neighbour holds, and all of those at once are a tenth of the memory.
            grow |= series.open.make_room(grow);
            known.clear();
            if series.bounds().is_some_and(|(_, last)| oldest <= last) {
                series.read_floats(oldest, newest, known);
            }
            for (at, time) in mine.iter().zip(times()) {
                // At a time that is taken nothing changes, whatever the value.
                if known.times.binary_search(&time).is_err() {
                    let at = *at as usize;
                    // What the store refuses now it has already, or it would not have logged it.
                    let _ = series.append_float(time, starts.get(at).copied().unwrap_or(0), items[at].value, *dedup);
                }
            }
        }
        items.clear();
        starts.clear();
    }
}
