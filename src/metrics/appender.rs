//! Takes the samples of one request.

mod floats;

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::model::exemplar::Exemplar;
use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span};
use crate::model::metadata::Metadata;
use crate::model::sample::is_stale;

use crate::storage::wal::ticket::Ticket;

use super::admission::Admission;
use super::commit::{Commit, Committed};
use super::exemplars::EXEMPLAR_LABEL_BYTES_MAX;
use super::histograms::{HistogramSample, seal_histograms};
use super::record::{BATCH, Batch};
use super::refusal::Refusal;
use super::series::{Placed, SeriesRef};
use super::store::Shared;

pub use floats::{Float, Run};

/// Who sends, and how its samples are to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the protocol, for counters.
    pub protocol: &'static str,
    /// Whether the dedup window of the settings applies.
    pub dedup: bool,
}

impl Origin {
    /// A sender by this protocol, with the dedup window of the settings.
    pub fn new(protocol: &'static str) -> Self {
        Self { protocol, dedup: true }
    }

    /// Keeps every sample: for scrapes that are faster than the dedup window.
    pub fn without_dedup(self) -> Self {
        Self { dedup: false, ..self }
    }
}

/// Appends samples. What was appended is visible at once, and durable when the commit resolves; dropped without a
/// commit it stays visible, but nobody was promised it.
#[derive(Debug)]
pub struct Appender<'a> {
    shared: &'a Arc<Shared>,
    admission: Admission,
    dedup: i64,
    now_secs: u32,
    read_only: bool,
    /// The oldest time that was written; `i64::MAX` where nothing was.
    oldest: i64,
    tally: Tally,
    batch: Batch,
    /// Of frames that were handed to the log already.
    tickets: Vec<Ticket>,
    /// For labels of series that have exemplars.
    buffer: Vec<u8>,
}

/// Bytes of a batch above which a frame goes to the log before the commit.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// What happened to the samples, counted without atomics until the end.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub committed: Committed,
    pub placed: [u64; 5],
    pub refused: [u64; Refusal::COUNT],
}

impl Tally {
    fn note(&mut self, placed: Placed) {
        self.placed[placed as usize] += 1;
    }
}

impl<'a> Appender<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, origin: Origin) -> Self {
        let dedup = if origin.dedup { shared.config.dedup_interval_ms } else { 0 };
        let mut batch = shared.batches.lock().pop().unwrap_or_default();
        batch.dedup = dedup;
        Self {
            shared,
            admission: shared.admission(),
            dedup,
            now_secs: shared.uptime_secs(),
            read_only: shared.read_only().is_some(),
            oldest: i64::MAX,
            tally: Tally::default(),
            batch,
            tickets: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// The series with these labels (canonical encoding), which is made if need be. A known series costs a hash and a
    /// look-up. The reference may be kept, also across appenders, until it is refused as `UnknownSeries`.
    #[inline]
    pub fn series(&mut self, encoded_labels: &[u8]) -> Result<SeriesRef, Refusal> {
        let hash = xxh3_64(encoded_labels);
        let known = self.shared.shard_of(hash).lock().lookup(hash, encoded_labels);
        match known {
            Some(series) => Ok(series),
            None => {
                let created = if self.read_only {
                    Err(self.shared.read_only_refusal())
                } else {
                    self.shared.create(hash, encoded_labels)
                };
                self.counted(created)
            }
        }
    }

    /// Appends a float. `start` is when its counting began, in milliseconds; 0 where unknown.
    #[inline]
    pub fn float(&mut self, series: SeriesRef, time: i64, start: i64, value: f64) -> Result<(), Refusal> {
        let placed = self.place_float(series, time, start, value);
        let placed = self.counted(placed)?;
        self.oldest = self.oldest.min(time);
        self.tally.note(placed);
        self.tally.committed.samples += 1;
        self.bound_batch();
        Ok(())
    }

    #[inline]
    fn place_float(&mut self, reference: SeriesRef, time: i64, start: i64, value: f64) -> Result<Placed, Refusal> {
        self.check(time)?;
        let (id, placed) = {
            let mut shard = self.shared.shards[reference.shard as usize].lock();
            let series = shard.get_mut(reference).ok_or(Refusal::UnknownSeries)?;
            series.touched = self.now_secs;
            (series.id, series.append_float(time, start, value, self.dedup)?)
        };
        // Also what is stored already: its first copy may not be durable yet, or never become so.
        self.batch.push(id, time, start, value);
        Ok(placed)
    }

    #[inline]
    fn check(&self, time: i64) -> Result<(), Refusal> {
        if self.read_only {
            return Err(self.shared.read_only_refusal());
        }
        self.admission.check(time)
    }

    /// `series` and `float` in one, for protocols that name the series with each sample.
    #[inline]
    pub fn sample(&mut self, encoded_labels: &[u8], time: i64, start: i64, value: f64) -> Result<SeriesRef, Refusal> {
        let series = self.series(encoded_labels)?;
        self.float(series, time, start, value)?;
        Ok(series)
    }

    /// Appends a native histogram.
    pub fn histogram(&mut self, series: SeriesRef, time: i64, start: i64, value: &Histogram) -> Result<(), Refusal> {
        let placed = self.place_histogram(series, time, start, value);
        let placed = self.counted(placed)?;
        self.oldest = self.oldest.min(time);
        self.tally.note(placed);
        self.tally.committed.histograms += 1;
        Ok(())
    }

    fn place_histogram(
        &mut self,
        reference: SeriesRef,
        time: i64,
        start: i64,
        value: &Histogram,
    ) -> Result<Placed, Refusal> {
        self.check(time)?;
        check_histogram(value).map_err(Refusal::InvalidHistogram)?;
        let sample = HistogramSample { time, start, value: Arc::new(value.clone()) };
        let bytes = seal_histograms(std::slice::from_ref(&sample));
        let (id, placed) = {
            let mut shard = self.shared.shards[reference.shard as usize].lock();
            let series = shard.get_mut(reference).ok_or(Refusal::UnknownSeries)?;
            series.touched = self.now_secs;
            (series.id, series.append_histogram(sample, self.dedup)?)
        };
        self.batch.push_histogram(id, &bytes);
        self.bound_batch();
        Ok(placed)
    }

    /// Notes an exemplar of a series. One that repeats the newest, or is older than it, is taken for known.
    pub fn exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) -> Result<(), Refusal> {
        let placed = self.place_exemplar(series, exemplar);
        self.counted(placed)?;
        self.tally.committed.exemplars += 1;
        Ok(())
    }

    fn place_exemplar(&mut self, reference: SeriesRef, exemplar: &Exemplar) -> Result<(), Refusal> {
        if exemplar.labels.as_encoded().len() > EXEMPLAR_LABEL_BYTES_MAX {
            return Err(Refusal::ExemplarTooLong { limit: EXEMPLAR_LABEL_BYTES_MAX });
        }
        self.check(exemplar.time)?;
        let (id, labels) = {
            let shard = self.shared.shards[reference.shard as usize].lock();
            let series = shard.get(reference).ok_or(Refusal::UnknownSeries)?;
            (series.id, shard.symbols().labels(&series.labels, &mut self.buffer))
        };
        if self.shared.exemplars.push(&labels, exemplar) {
            self.batch.push_exemplar(id, exemplar);
            self.bound_batch();
        }
        Ok(())
    }

    /// Notes what a sender says of a metric family.
    pub fn metadata(&mut self, family: &str, metadata: &Metadata) {
        if !self.read_only && self.shared.families.set(family, metadata) {
            self.batch.push_metadata(family, metadata);
            self.bound_batch();
        }
    }

    /// Ends the request. The result resolves when everything above is as durable as the settings ask.
    pub fn commit(mut self) -> Commit {
        self.flush();
        self.tickets.reverse();
        let inline = self.shared.wal.as_ref().filter(|wal| !wal.is_threaded()).map(Arc::clone);
        Commit { committed: self.tally.committed, tickets: std::mem::take(&mut self.tickets), inline }
    }

    /// Hands what there is to the log.
    fn flush(&mut self) {
        let Some(wal) = &self.shared.wal else { return };
        if self.read_only {
            // Nothing was taken; the ticket says why.
            self.tickets.push(wal.append(BATCH, Vec::new()));
        } else if !self.batch.is_empty() {
            self.tickets.push(wal.append(BATCH, self.batch.encode()));
        }
        self.batch.clear();
    }

    /// Keeps frames at a size that can be written and read at once.
    #[inline]
    fn bound_batch(&mut self) {
        if self.batch.size() > BATCH_BYTES_MAX {
            self.flush();
        }
    }

    #[inline]
    fn counted<T>(&mut self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = &result {
            self.tally.refused[refusal.index()] += 1;
        }
        result
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        self.shared.counters.add(&self.tally);
        if self.oldest != i64::MAX {
            // A sample may take the place of one before it in the same dedup window.
            self.shared.changes.note(self.oldest.saturating_sub(self.dedup));
        }
        // Without a commit nobody waits, but what is visible now should still be there after a restart.
        self.flush();
        self.shared.keep_batch(std::mem::take(&mut self.batch));
    }
}

/// Whether the parts of a histogram fit together. Stale markers may be empty.
fn check_histogram(histogram: &Histogram) -> Result<(), &'static str> {
    if is_stale(histogram.sum) {
        return Ok(());
    }
    let custom = histogram.schema == CUSTOM_BUCKETS_SCHEMA;
    if !custom && !(-4..=8).contains(&histogram.schema) {
        return Err("unknown schema");
    }
    if !spans_cover(&histogram.positive_spans, histogram.positive_buckets.len())
        || !spans_cover(&histogram.negative_spans, histogram.negative_buckets.len())
    {
        return Err("spans and buckets differ in number");
    }
    if histogram.positive_spans.iter().skip(1).chain(histogram.negative_spans.iter().skip(1)).any(|s| s.offset < 0) {
        return Err("span with a negative offset");
    }
    if custom {
        let ascending = histogram.custom_values.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        if !ascending || histogram.custom_values.iter().any(|bound| bound.is_nan()) {
            return Err("custom bounds do not ascend");
        }
        if !histogram.negative_buckets.is_empty() || histogram.zero_count != 0.0 {
            return Err("custom buckets with negative or zero buckets");
        }
    } else if !histogram.custom_values.is_empty() {
        return Err("custom bounds with an exponential schema");
    }
    let counts = histogram.positive_buckets.iter().chain(&histogram.negative_buckets);
    if counts.chain([&histogram.zero_count, &histogram.count]).any(|count| *count < 0.0) {
        return Err("negative count");
    }
    Ok(())
}

fn spans_cover(spans: &[Span], buckets: usize) -> bool {
    spans.iter().map(|span| u64::from(span.length)).sum::<u64>() == buckets as u64
}
