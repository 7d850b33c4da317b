//! What the store counts, and what it can say of its contents.

use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;

use crate::storage::wal::WalStats;

use super::appender::Tally;
use super::refusal::Refusal;
use super::store::Store;

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub samples: AtomicU64,
    pub histograms: AtomicU64,
    pub exemplars: AtomicU64,
    /// By `Placed`.
    pub placed: [AtomicU64; 5],
    /// By `Refusal::index`.
    pub refused: [AtomicU64; Refusal::COUNT],
    pub series_evicted: AtomicU64,
    pub snapshots: AtomicU64,
    pub blocks_flushed: AtomicU64,
    pub deletions: AtomicU64,
}

impl Counters {
    pub(super) fn add(&self, tally: &Tally) {
        self.samples.fetch_add(tally.committed.samples, Ordering::Relaxed);
        self.histograms.fetch_add(tally.committed.histograms, Ordering::Relaxed);
        self.exemplars.fetch_add(tally.committed.exemplars, Ordering::Relaxed);
        for (total, count) in self.placed.iter().zip(tally.placed) {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
        for (total, count) in self.refused.iter().zip(tally.refused) {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

/// A name and its count, for the largest of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopEntry {
    pub name: String,
    pub count: u64,
}

/// The state of the store. Walking all series costs about a microsecond each.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub series: u64,
    pub chunks: u64,
    pub samples: u64,
    /// Bytes that labels and samples take on the heap; an estimate.
    pub bytes: u64,
    /// Oldest and newest sample; `None` while empty.
    pub bounds: Option<(i64, i64)>,
    pub label_pairs: u64,
    pub exemplars: u64,
    pub exemplars_evicted: u64,
    /// The largest of each, as many as asked for.
    pub series_by_metric: Vec<TopEntry>,
    pub values_by_label: Vec<TopEntry>,
    pub bytes_by_label: Vec<TopEntry>,
    pub series_by_pair: Vec<TopEntry>,
}

/// Counts since the start; cheap to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub series: u64,
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
    pub replaced: u64,
    pub duplicates: u64,
    pub superseded: u64,
    pub late: u64,
    pub series_evicted: u64,
    pub snapshots: u64,
    pub blocks_flushed: u64,
    pub blocks: u64,
    pub blocks_bytes: u64,
    /// Deletions asked for since the start, and those that blocks have yet to carry out.
    pub deletions: u64,
    pub tombstones: u64,
    /// Blocks that cannot be read, and damaged pages that were met in others.
    pub blocks_quarantined: u64,
    pub pages_damaged: u64,
    /// Files of blocks that could not be opened while the manifest was damaged.
    pub block_files_set_aside: u64,
    pub wal: WalStats,
    /// By reason, in the order of `Refusal::REASONS`.
    pub refused: [u64; Refusal::COUNT],
}

impl Store {
    /// Counts since the start.
    pub fn totals(&self) -> Totals {
        let counters = &self.shared().counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let blocks = self.blocks().map(|blocks| blocks.version());
        Totals {
            series: self.shared().series_total.load(Ordering::Relaxed) as u64,
            samples: get(&counters.samples),
            histograms: get(&counters.histograms),
            exemplars: get(&counters.exemplars),
            replaced: get(&counters.placed[1]),
            duplicates: get(&counters.placed[2]),
            superseded: get(&counters.placed[3]),
            late: get(&counters.placed[4]),
            series_evicted: get(&counters.series_evicted),
            snapshots: get(&counters.snapshots),
            blocks_flushed: get(&counters.blocks_flushed),
            blocks: blocks.as_ref().map_or(0, |blocks| blocks.blocks().len() as u64),
            blocks_bytes: blocks.as_ref().map_or(0, |blocks| blocks.bytes()),
            deletions: get(&counters.deletions),
            tombstones: blocks.as_ref().map_or(0, |blocks| blocks.deletions() as u64),
            blocks_quarantined: blocks.as_ref().map_or(0, |blocks| blocks.quarantined().len() as u64),
            block_files_set_aside: self.blocks().map_or(0, |blocks| blocks.set_aside()),
            pages_damaged: blocks.as_ref().map_or(0, |blocks| blocks.pages_damaged()),
            wal: self.shared().wal.as_ref().map(|wal| wal.stats()).unwrap_or_default(),
            refused: std::array::from_fn(|at| get(&counters.refused[at])),
        }
    }

    /// What the store holds, with the `top` largest metrics, labels and pairs.
    pub fn stats(&self, top: usize) -> Stats {
        let mut stats = Stats::default();
        let mut by_metric: HashMap<String, u64> = HashMap::new();
        let mut by_pair: HashMap<String, u64> = HashMap::new();
        let mut by_label: HashMap<String, (HashMap<String, ()>, u64)> = HashMap::new();
        for shard in &self.shared().shards {
            let shard = shard.lock();
            for (_, series) in shard.iter() {
                let size = series.size();
                stats.series += 1;
                stats.chunks += size.chunks as u64;
                stats.samples += size.samples as u64;
                stats.bytes += size.bytes as u64;
                if let Some((first, last)) = series.bounds() {
                    stats.bounds = Some(stats.bounds.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
                }
            }
            for (name, values) in shard.postings().names() {
                let label = by_label.entry_ref(name).or_default();
                for (value, slots) in values {
                    let count = slots.len() as u64;
                    label.1 += count * value.len() as u64;
                    label.0.entry_ref(&**value).or_default();
                    *by_pair.entry(format!("{name}={value}")).or_default() += count;
                    if name == crate::model::labels::METRIC_NAME {
                        *by_metric.entry_ref(&**value).or_default() += count;
                    }
                }
            }
        }
        if let Some((first, last)) = self.blocks().and_then(|blocks| blocks.version().bounds()) {
            stats.bounds = Some(stats.bounds.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
        }
        let (exemplars, evicted) = self.shared().exemplars.counts();
        (stats.exemplars, stats.exemplars_evicted) = (exemplars as u64, evicted);
        stats.label_pairs = by_pair.len() as u64;
        stats.series_by_metric = largest(by_metric, top);
        stats.series_by_pair = largest(by_pair, top);
        let values = by_label.iter().map(|(name, (values, _))| (name.clone(), values.len() as u64)).collect();
        stats.values_by_label = largest(values, top);
        stats.bytes_by_label = largest(by_label.into_iter().map(|(name, (_, bytes))| (name, bytes)).collect(), top);
        stats
    }
}

/// The entries with the largest counts, `top` at most.
pub(super) fn largest(counts: HashMap<String, u64>, top: usize) -> Vec<TopEntry> {
    let mut entries: Vec<TopEntry> = counts.into_iter().map(|(name, count)| TopEntry { name, count }).collect();
    entries.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    entries.truncate(top);
    entries
}
