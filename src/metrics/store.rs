//! The store: its shards, its seams, and what it does when asked to.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::promql::source::{Select, SeriesSet, Source, SourceError};

use super::appender::{Appender, Origin};
use super::config::Config;
use super::exemplars::Exemplars;
use super::metadata::Families;
use super::refusal::Refusal;
use super::selection::Selection;
use super::shard::Shard;
use super::stats::Counters;

/// The machine, as the store sees it.
#[derive(Clone, Debug)]
pub struct Seams {
    pub clock: Clock,
    pub disk: Disk,
    pub rng: Rng,
    pub tasks: Tasks,
}

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("data folder {0} is in use by another process")]
    Locked(String),
    #[error("cannot {what} {path}: {error}")]
    Io { what: &'static str, path: String, error: std::io::Error },
}

/// The metrics store. Everything it does is done on the caller's thread, but for the log's committer.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What appenders and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub config: Config,
    pub seams: Seams,
    pub shards: Box<[CachePadded<Mutex<Shard>>]>,
    pub exemplars: Exemplars,
    pub families: Families,
    pub counters: Counters,
    pub series_total: AtomicUsize,
    next_id: AtomicU64,
    /// Wall time when the store was opened, to be carried on by the monotonic clock.
    opened_at: i64,
}

impl Store {
    /// Opens the data folder, which is created if need be, and reads what is in it.
    pub fn open(config: Config, folder: &Path, seams: Seams) -> Result<Arc<Self>, OpenError> {
        let io = |what, error| OpenError::Io { what, path: folder.display().to_string(), error };
        seams.disk.create_dir_all(folder).map_err(|error| io("create", error))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = (2 * cores).next_power_of_two().clamp(4, 256);
        let shards = (0..count).map(|number| CachePadded::new(Mutex::new(Shard::new(number as u32)))).collect();
        let shared = Shared {
            exemplars: Exemplars::new(config.exemplar_bytes_max),
            families: Families::new(config.metadata_families_max),
            counters: Counters::default(),
            series_total: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            opened_at: seams.clock.now().saturating_sub(millis(seams.clock.monotonic())),
            shards,
            config,
            seams,
        };
        Ok(Arc::new(Self { shared: Arc::new(shared) }))
    }

    /// Takes samples, for one request or one scrape. Do not hold it while waiting for anything.
    pub fn appender(&self, origin: Origin) -> Appender<'_> {
        Appender::new(&self.shared, origin)
    }

    /// The series that fulfil all matchers and have samples in `mint..=maxt`, ascending by labels.
    pub fn select(&self, matchers: &[Matcher], mint: i64, maxt: i64) -> Selection {
        Selection::new(&self.shared, matchers, mint, maxt)
    }

    /// Does what is due: expiry, sealing of idle series. To be called about once a second.
    pub fn maintain(&self) {
        self.shared.maintain();
    }

    /// The settings it was opened with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Source for Store {
    fn select(&self, select: &Select) -> Result<Box<dyn SeriesSet>, SourceError> {
        Ok(Box::new(Store::select(self, &select.matchers, select.mint, select.maxt)))
    }
}

/// The times that samples may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admission {
    pub oldest: i64,
    pub newest: i64,
    pub future_ms: i64,
}

impl Admission {
    #[inline]
    pub(super) fn check(self, time: i64) -> Result<(), Refusal> {
        if time > self.newest {
            return Err(Refusal::TooFarInFuture { time, limit_ms: self.future_ms });
        }
        if time < self.oldest {
            return Err(Refusal::TooOld { time, oldest: self.oldest });
        }
        Ok(())
    }
}

impl Shared {
    /// The shard of a hash. Its low and highest bits choose the place inside the shard's map.
    #[inline]
    pub(super) fn shard_of(&self, hash: u64) -> &CachePadded<Mutex<Shard>> {
        &self.shards[(hash >> 40) as usize & (self.shards.len() - 1)]
    }

    /// A wall clock that jumped must not refuse or expire anything: of the clock's time and the time carried on since
    /// the start, the later one bounds the future, the earlier one the past.
    pub(super) fn admission(&self) -> Admission {
        let (low, high) = self.now_bounds();
        let config = &self.config;
        Admission {
            oldest: config.retention_ms.map_or(i64::MIN, |retention| low.saturating_sub(retention)),
            newest: high.saturating_add(config.future_ms_max),
            future_ms: config.future_ms_max,
        }
    }

    fn now_bounds(&self) -> (i64, i64) {
        let wall = self.seams.clock.now();
        let carried = self.opened_at.saturating_add(millis(self.seams.clock.monotonic()));
        (wall.min(carried), wall.max(carried))
    }

    /// Seconds since the clock was made.
    pub(super) fn uptime_secs(&self) -> u32 {
        u32::try_from(self.seams.clock.monotonic().as_secs()).unwrap_or(u32::MAX)
    }

    /// Makes a series known, after the limits allow it.
    #[cold]
    pub(super) fn create(&self, hash: u64, encoded: &[u8]) -> Result<super::SeriesRef, Refusal> {
        let labels = Labels::from_encoded(encoded)?;
        self.check_limits(&labels)?;
        let mut shard = self.shard_of(hash).lock();
        if let Some(known) = shard.lookup(hash, encoded) {
            return Ok(known);
        }
        self.series_total.fetch_add(1, Ordering::Relaxed);
        Ok(shard.insert(&labels, hash, self.next_id.fetch_add(1, Ordering::Relaxed)))
    }

    fn check_limits(&self, labels: &Labels) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let over = |value: usize, limit: usize| limit > 0 && value > limit;
        let mut count = 0;
        for (name, value) in labels.iter() {
            count += 1;
            if over(name.len(), limits.label_name_bytes_max) {
                return Err(Refusal::LabelNameTooLong { limit: limits.label_name_bytes_max });
            }
            if over(value.len(), limits.label_value_bytes_max) {
                return Err(Refusal::LabelValueTooLong { limit: limits.label_value_bytes_max });
            }
        }
        if count == 0 {
            return Err(Refusal::NoLabels);
        }
        if over(count, limits.labels_per_series_max) {
            return Err(Refusal::TooManyLabels { limit: limits.labels_per_series_max });
        }
        if over(self.series_total.load(Ordering::Relaxed) + 1, limits.series_max) {
            return Err(Refusal::SeriesLimit { limit: limits.series_max });
        }
        if limits.series_per_metric_max > 0 {
            let name = labels.metric_name();
            let count: usize = self.shards.iter().map(|shard| shard.lock().metric_len(name)).sum();
            if count >= limits.series_per_metric_max {
                return Err(Refusal::MetricSeriesLimit { limit: limits.series_per_metric_max });
            }
        }
        Ok(())
    }

    /// Walks every series, a few under each lock, so that appenders wait for microseconds only.
    fn maintain(&self) {
        const STRIDE: u32 = 256;
        let oldest = self.config.retention_ms.map(|_| self.admission().oldest);
        let idle = u32::try_from(self.config.idle_seal_ms / 1_000).unwrap_or(u32::MAX);
        let now = self.uptime_secs();
        for shard in &self.shards {
            let mut slot = 0;
            loop {
                let mut shard = shard.lock();
                let end = shard.slots();
                if slot >= end {
                    break;
                }
                for slot in slot..(slot + STRIDE).min(end) {
                    let Some(series) = shard.by_slot_mut(slot) else { continue };
                    let quiet = now.saturating_sub(series.touched);
                    if quiet >= idle {
                        series.seal_idle();
                    }
                    // A series that was only just made has no samples yet: it is given a minute to get them.
                    if oldest.is_some_and(|oldest| !series.expire(oldest)) && quiet > 60 {
                        shard.remove(slot);
                        self.series_total.fetch_sub(1, Ordering::Relaxed);
                        self.counters.series_evicted.fetch_add(1, Ordering::Relaxed);
                    }
                }
                slot += STRIDE;
            }
        }
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
