//! Applies what the log holds to the shards: each thread to its own, so that a start uses all cores.
//!
//! Every worker reads all payloads and skips what belongs to others: decoding is cheap, finding and filling series is
//! not. Within a series order is kept.

use hashbrown::HashMap;
use parking_lot::MutexGuard;
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::CodecError;
use crate::codec::bytes::Reader;
use crate::model::labels::Labels;
use crate::storage::wal::decompressed;

use super::columns::Restored;
use super::histograms::read_histograms;
use super::record::{BATCH, COLUMNS, DEFINITIONS, Item, read_batch, read_definitions};
use super::replay::Restoring;
use super::replayed::Floats;
use super::series::SeriesRef;
use super::shard::Shard;

/// Payload bytes from which on threads pay.
const PARALLEL_BYTES: usize = 128 << 10;

/// Threads at most.
const WORKERS_MAX: usize = 8;

/// Payloads of one kind, in order.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub kind: u8,
    pub payloads: Vec<Vec<u8>>,
    pub bytes: usize,
}

/// What applying them found.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub defined: Vec<(u64, SeriesRef)>,
    pub id_max: u64,
    pub frames_lost: u64,
    pub orphans: u64,
}

/// Where the series of the log live now. Each run of the process names its series from a place of its own on, and
/// densely: those go to a list for each run.
#[derive(Debug, Default)]
pub(super) struct Refs {
    /// Ascending by run.
    runs: Vec<Run>,
    sparse: HashMap<u64, SeriesRef, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Run {
    number: u64,
    base: u64,
    dense: Vec<Option<SeriesRef>>,
}

/// Bits of an id below the number of its run.
pub(super) const RUN_BITS: u32 = 36;

/// Ids that a list reaches below its first and in all.
const DENSE_BELOW: u64 = 1 << 20;
const DENSE_MAX: u64 = 1 << 22;

impl Refs {
    pub(super) fn insert(&mut self, id: u64, reference: SeriesRef) {
        let number = id >> RUN_BITS;
        let at = match self.runs.binary_search_by_key(&number, |run| run.number) {
            Ok(at) => at,
            Err(at) => {
                let base = id.saturating_sub(DENSE_BELOW).max(number << RUN_BITS);
                self.runs.insert(at, Run { number, base, dense: Vec::new() });
                at
            }
        };
        let Some(run) = self.runs.get_mut(at) else { return };
        match id.checked_sub(run.base).filter(|at| *at < DENSE_MAX) {
            Some(at) => {
                let at = at as usize;
                if run.dense.len() <= at {
                    run.dense.resize(at + 1, None);
                }
                if let Some(place) = run.dense.get_mut(at) {
                    *place = Some(reference);
                }
            }
            None => {
                self.sparse.insert(id, reference);
            }
        }
    }

    #[inline]
    fn get(&self, id: u64) -> Option<SeriesRef> {
        let number = id >> RUN_BITS;
        let run = match self.runs.last() {
            // Most samples are of the last run.
            Some(run) if run.number == number => run,
            _ => self.runs.get(self.runs.binary_search_by_key(&number, |run| run.number).ok()?)?,
        };
        match id.checked_sub(run.base).filter(|at| *at < DENSE_MAX) {
            Some(at) => *run.dense.get(at as usize)?,
            None => self.sparse.get(&id).copied(),
        }
    }
}

/// Applies payloads, with as many threads as there are cores if there is enough to do.
pub(super) fn apply(head: &Restoring<'_>, refs: &Refs, gathered: &Gathered) -> Done {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = if gathered.bytes < PARALLEL_BYTES { 1 } else { cores.min(WORKERS_MAX).min(head.shards.len()) };
    let run = |number: usize| {
        let mut worker = Worker::new(head, refs, (number, count));
        for payload in &gathered.payloads {
            if worker.payload(gathered.kind, payload).is_err() && number == 0 {
                worker.done.frames_lost += 1;
                tracing::warn!(kind = gathered.kind, "a frame of the log cannot be understood");
            }
        }
        worker.floats.append_to(&mut worker.shards);
        worker.done
    };
    if count == 1 {
        return run(0);
    }
    let mut all = Done::default();
    std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || run(number))).collect();
        for thread in threads {
            match thread.join() {
                Ok(done) => {
                    all.defined.extend(done.defined);
                    all.id_max = all.id_max.max(done.id_max);
                    all.frames_lost += done.frames_lost;
                    all.orphans += done.orphans;
                }
                // A panic here is a bug of ours: starting with part of the data would hide it.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all
}

/// One thread, with the locks of its shards.
struct Worker<'a> {
    head: &'a Restoring<'a>,
    refs: &'a Refs,
    number: usize,
    count: usize,
    shards: Vec<Option<MutexGuard<'a, Shard>>>,
    floats: Floats,
    done: Done,
}

impl<'a> Worker<'a> {
    fn new(head: &'a Restoring<'a>, refs: &'a Refs, (number, count): (usize, usize)) -> Self {
        let mine = |at: usize| at % count == number;
        let shards = head.shards.iter().enumerate().map(|(at, shard)| mine(at).then(|| shard.lock())).collect();
        Self { head, refs, number, count, shards, floats: Floats::default(), done: Done::default() }
    }

    fn payload(&mut self, kind: u8, payload: &[u8]) -> Result<(), CodecError> {
        match kind {
            DEFINITIONS => self.definitions(payload),
            BATCH => {
                let mut result = Ok(());
                read_batch(payload, |dedup, item| {
                    result = result.and(self.item(dedup, item));
                })?;
                result
            }
            COLUMNS => self.columns(payload),
            _ => Ok(()),
        }
    }

    fn definitions(&mut self, payload: &[u8]) -> Result<(), CodecError> {
        let payload = decompressed(payload).map_err(|_| CodecError("definitions cannot be decompressed"))?;
        read_definitions(&payload, |id, encoded| {
            self.done.id_max = self.done.id_max.max(id);
            let hash = xxh3_64(encoded);
            let Some(Some(shard)) = self.shards.get_mut(self.head.shared.shard_number(hash)) else { return };
            if self.refs.get(id).is_some() {
                return;
            }
            match Labels::from_encoded(encoded) {
                Ok(labels) => self.done.defined.push((id, shard.restore(&labels, id))),
                Err(_) => self.done.frames_lost += 1,
            }
        })
    }

    #[inline]
    fn item(&mut self, dedup: i64, item: Item<'_>) -> Result<(), CodecError> {
        match item {
            Item::Float { id, time, start, value } => {
                if self.floats.is_full_for(dedup) {
                    self.floats.append_to(&mut self.shards);
                }
                if let Some((_, reference)) = self.find(id) {
                    self.floats.push((reference.shard, reference.slot), dedup, (time, start, value));
                }
            }
            Item::Histogram { id, chunk } => {
                // Whichever of both comes first has a time for itself.
                self.floats.append_to(&mut self.shards);
                if let Some((shard, reference)) = self.find(id)
                    && let Some(series) = shard.get_mut(reference)
                {
                    for sample in read_histograms(chunk, i64::MIN, i64::MAX)? {
                        let _ = series.append_histogram(sample, dedup);
                    }
                }
            }
            Item::Exemplar { id, exemplar } => {
                let found = self.find(id).and_then(|(shard, reference)| shard.get(reference));
                if let Some(labels) = found.map(|series| series.labels.clone()) {
                    self.head.exemplars.push(&labels, &exemplar);
                }
            }
            Item::Metadata { family, metadata } => {
                if self.number == 0 {
                    self.head.families.set(family, &metadata);
                }
            }
        }
        Ok(())
    }

    /// The series of an id, if it is in a shard of this worker. An id that nobody defined is counted by the first.
    #[inline]
    fn find(&mut self, id: u64) -> Option<(&mut Shard, SeriesRef)> {
        self.done.id_max = self.done.id_max.max(id);
        let Some(reference) = self.refs.get(id) else {
            self.done.orphans += u64::from(self.number == 0);
            return None;
        };
        let shard = self.shards.get_mut(reference.shard as usize)?.as_deref_mut()?;
        Some((shard, reference))
    }

    fn columns(&mut self, payload: &[u8]) -> Result<(), CodecError> {
        let mut reader = Reader::new(payload);
        while !reader.is_empty() {
            let id = reader.varint()?;
            let is_mine = self.refs.get(id).is_some_and(|found| found.shard as usize % self.count == self.number);
            if !is_mine {
                // Notes an orphan.
                self.find(id);
                Restored::skip(&mut reader)?;
                continue;
            }
            let restored = Restored::read(&mut reader)?;
            if let Some((shard, reference)) = self.find(id)
                && let Some(series) = shard.get_mut(reference)
            {
                series.restore(restored);
            }
        }
        Ok(())
    }
}
