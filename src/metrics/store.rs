//! The store: its shards, its seams, and what it does when asked to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::{TaskKind, Tasks, cores};
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::promql::source::{Select, SeriesSet, Source, SourceError};

use crate::storage::block::{Blocks, Wanted, asked_of};
use crate::storage::lock::FolderLock;
use crate::storage::wal::{Mode, Wal, WalConfig};

use super::appender::{Appender, Origin};
use super::backup;
use super::changes::Changes;
use super::config::{Config, Durability};
use super::exemplars::Exemplars;
use super::flush::Flush;
use super::metadata::Families;
use super::newcomers::Newcomers;
use super::order::Order;
use super::progress::{Progress, Replaying};
use super::record::{Batch, DEFINITIONS, put_definition};
use super::refs::RUN_BITS;
use super::refusal::Refusal;
use super::replay::{LastRecovery, Recovery};
use super::room::Room;
use super::selection::Selection;
use super::series::SeriesRef;
use super::shard::{Shard, Shards, new_shards};
use super::stats::Counters;
use super::upkeep::Upkeep;
use super::usage::{Asked, Turnover};

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
    folder: PathBuf,
    committer: Mutex<Option<JoinHandle<()>>>,
    _lock: FolderLock,
}

/// What appenders and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub config: Config,
    pub seams: Seams,
    pub shards: Shards,
    pub exemplars: Exemplars,
    pub families: Families,
    pub counters: Counters,
    pub changes: Changes,
    /// What queries ask for, and series that come and go.
    pub asked: Asked,
    pub turnover: Turnover,
    pub series_total: AtomicUsize,
    pub newcomers: Newcomers,
    /// Why nothing is taken: said from outside, by whoever watches the memory of the process.
    pub held: Mutex<Option<String>>,
    pub is_held: AtomicBool,
    /// Memory is short: what can leave it shall.
    pub is_pressed: AtomicBool,
    pub next_id: AtomicU64,
    /// `None` in `memory` mode.
    pub wal: Option<Arc<Wal>>,
    pub room: Room,
    pub recovery: LastRecovery,
    pub progress: Progress,
    /// What the start found of the log is durable: new frames may refer to it.
    pub log_is_synced: AtomicBool,
    /// Buffers of batches, for the next appender.
    pub batches: Mutex<Vec<Batch>>,
    pub upkeep: Upkeep,
    pub order: Order,
    /// `None` in `memory` mode.
    pub blocks: Option<Blocks>,
    pub flush: Flush,
    /// Held by whoever rewrites blocks, or changes what is hidden in them.
    pub block_work: Mutex<()>,
    /// Held while a deletion is in the log and not yet in memory.
    pub deleting: Mutex<()>,
    /// Bytes that series take, and those of them that a flush would take away; as the last walk found.
    pub heap_bytes: AtomicU64,
    pub backlog: AtomicU64,
    /// Length of the last snapshot, which the log must outgrow before the next.
    pub snapshot_bytes: AtomicU64,
    /// Wall time when the clock was made, to be carried on by the monotonic clock.
    opened_at: i64,
}

/// Buffers of batches that are kept: more requests at once than this are rare.
const BATCHES_MAX: usize = 64;

impl Shared {
    fn new((config, folder): (Config, &Path), seams: Seams, wal: Option<Arc<Wal>>, blocks: Option<Blocks>) -> Self {
        let shards = (2 * cores()).next_power_of_two().clamp(4, 256);
        Self {
            room: Room::new(folder),
            exemplars: Exemplars::new(config.exemplar_bytes_max),
            families: Families::new(config.metadata_families_max),
            counters: Counters::default(),
            changes: Changes::default(),
            asked: Asked::default(),
            turnover: Turnover::default(),
            series_total: AtomicUsize::new(0),
            newcomers: Newcomers::default(),
            held: Mutex::default(),
            is_held: AtomicBool::new(false),
            is_pressed: AtomicBool::new(false),
            // Above the names of all earlier runs, which are still to be read: each run begins with a segment
            // of its own number.
            next_id: AtomicU64::new(wal.as_ref().map_or(1, |wal| (wal.first_own() << RUN_BITS) + 1)),
            recovery: LastRecovery::default(),
            progress: Progress::new(wal.is_some()),
            log_is_synced: AtomicBool::new(true),
            batches: Mutex::default(),
            upkeep: Upkeep::default(),
            order: Order::default(),
            blocks,
            flush: Flush::default(),
            block_work: Mutex::default(),
            deleting: Mutex::default(),
            heap_bytes: AtomicU64::new(0),
            backlog: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(0),
            opened_at: seams.clock.now().saturating_sub(millis(seams.clock.monotonic())),
            shards: new_shards(shards, 0),
            wal,
            config,
            seams,
        }
    }
}

/// The log of a data folder, in a folder of its own; `None` in `memory` mode.
fn open_wal(config: &Config, folder: &Path, seams: &Seams) -> std::io::Result<Option<Arc<Wal>>> {
    let mode = match config.durability {
        Durability::Sync => Mode::Sync,
        Durability::Fast => Mode::Fast,
        Durability::Memory => return Ok(None),
    };
    let wal_folder = folder.join("wal");
    seams.disk.create_dir_all(&wal_folder)?;
    // The names of both folders must outlive a power cut as surely as what is acknowledged in them.
    seams.disk.sync_dir(folder)?;
    if let Some(parent) = folder.parent() {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        seams.disk.sync_dir(parent)?;
    }
    let threaded = !seams.disk.is_simulated();
    let segment_bytes_max = config.wal.segment_bytes_max;
    let segment_age_max = Duration::from_millis(config.wal.segment_age_ms_max);
    let config = WalConfig { folder: wal_folder, mode, segment_bytes_max, segment_age_max, threaded };
    Wal::shared(&seams.disk, config).map(Some)
}

/// The blocks of a data folder, in a folder of their own; `None` in `memory` mode.
fn open_blocks(config: &Config, folder: &Path, seams: &Seams) -> std::io::Result<Option<Blocks>> {
    if config.durability == Durability::Memory {
        return Ok(None);
    }
    let cache_bytes = usize::try_from(config.block_cache_bytes).unwrap_or(usize::MAX);
    let (blocks, warnings) = Blocks::open(seams.disk.clone(), &folder.join("blocks"), cache_bytes, seams.rng.clone())?;
    seams.disk.sync_dir(folder)?;
    for warning in warnings {
        tracing::warn!(%warning, "while opening blocks");
    }
    Ok(Some(blocks))
}

impl Store {
    /// Opens the data folder, which is created if need be, and reads what is in it.
    pub fn open(config: Config, folder: &Path, seams: Seams) -> Result<Arc<Self>, OpenError> {
        let store = Self::begin(config, folder, seams)?;
        store.replay()?;
        Ok(store)
    }

    /// Opens the data folder without reading its log: the store takes samples and answers from blocks, with a warning.
    /// What the log holds is there when [`Store::replay`] is done.
    pub fn begin(config: Config, folder: &Path, seams: Seams) -> Result<Arc<Self>, OpenError> {
        let io = |what, error| OpenError::Io { what, path: folder.display().to_string(), error };
        seams.disk.create_dir_all(folder).map_err(|error| io("create", error))?;
        let lock = match FolderLock::take(&seams.disk, folder) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(OpenError::Locked(folder.display().to_string())),
            Err(error) => return Err(io("lock", error)),
        };
        let wal = open_wal(&config, folder, &seams).map_err(|error| io("open the log in", error))?;
        let blocks = open_blocks(&config, folder, &seams).map_err(|error| io("open the blocks in", error))?;
        let shared = Arc::new(Shared::new((config, folder), seams, wal.clone(), blocks));
        backup::sweep(&shared, folder);
        let mut committer = None;
        if let Some(wal) = wal {
            shared.log_is_synced.store(wal.sync_found(), Ordering::Relaxed);
            if wal.is_threaded() {
                let run = move || wal.run();
                let thread = shared.seams.tasks.thread(TaskKind::WalCommit, run);
                committer = Some(thread.map_err(|error| io("start the committer of", error))?);
            }
        }
        shared.look_at_disk();
        let folder = folder.to_owned();
        Ok(Arc::new(Self { shared, folder, committer: Mutex::new(committer), _lock: lock }))
    }

    /// Takes samples, for one request or one scrape. Do not hold it while waiting for anything.
    pub fn appender(&self, origin: Origin) -> Appender<'_> {
        Appender::new(&self.shared, origin)
    }

    /// The series that fulfil all matchers and have samples in `mint..=maxt`, ascending by labels.
    pub fn select(&self, matchers: &[Matcher], mint: i64, maxt: i64) -> Selection {
        Selection::new(&self.shared, matchers, mint, maxt)
    }

    /// Does what is due: syncs and probes of the log, snapshots, expiry, sealing of idle series. To be called about
    /// once a second, from one thread; a snapshot takes as long as writing out all columns does.
    pub fn maintain(&self) {
        if let Some(wal) = &self.shared.wal {
            wal.tick(self.shared.seams.clock.monotonic());
        }
        self.shared.look_at_disk();
        if self.is_replaying() {
            // What is in memory is not everything: a snapshot of it would take the place of the log.
            return;
        }
        self.shared.make_room();
        self.shared.snapshot_if_due();
        self.shared.walk_if_due();
        self.shared.flush_if_due();
        self.shared.block_jobs_if_due();
    }

    /// Moves everything that is in memory into blocks, where it is smallest. Takes as long as encoding it all does.
    pub fn flush(&self) -> std::io::Result<()> {
        self.shared.flush_all()
    }

    /// The live blocks; `None` in `memory` mode.
    pub fn blocks(&self) -> Option<&Blocks> {
        self.shared.blocks.as_ref()
    }

    /// Writes everything out, so that the next start has no log to read. A snapshot and not blocks: it takes chunks as
    /// they are, and who stops the process waits for it. Called when nothing appends any more.
    pub fn close(&self) -> std::io::Result<()> {
        self.shared.progress.stop();
        let result = if self.is_replaying() { Ok(()) } else { self.snapshot() };
        self.stop_log();
        result
    }

    /// Writes a snapshot of all columns and removes the log that it covers.
    pub fn snapshot(&self) -> std::io::Result<()> {
        self.shared.snapshot()
    }

    /// Why the store takes no samples now, if so.
    pub fn read_only(&self) -> Option<String> {
        self.shared.read_only()
    }

    /// What the start found in the data folder.
    pub fn recovery(&self) -> Recovery {
        self.shared.recovery.get()
    }

    /// Whether the log is still to be read, or being read.
    pub fn is_replaying(&self) -> bool {
        !self.shared.progress.is_done()
    }

    /// How far the reading of the log is.
    pub fn replaying(&self) -> Replaying {
        self.shared.progress.get()
    }

    fn stop_log(&self) {
        if let Some(wal) = &self.shared.wal {
            wal.close();
        }
        if let Some(committer) = self.committer.lock().take()
            && committer.join().is_err()
        {
            tracing::error!("the committer of the log panicked");
        }
    }

    /// What has been written lately, for those who keep results.
    pub fn changes(&self) -> &Changes {
        &self.shared.changes
    }

    /// The settings it was opened with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop_log();
    }
}

impl Source for Store {
    fn select(&self, select: &Select) -> Result<Box<dyn SeriesSet>, SourceError> {
        let wanted = Wanted { mint: select.mint, maxt: select.maxt, asked: asked_of(select) };
        let selection = Selection::asked(&self.shared, &select.matchers, wanted, select.hints.newest);
        self.note_query(&select.matchers, &selection);
        Ok(Box::new(selection))
    }

    fn window(&self, select: &Select) -> i64 {
        self.blocks().map_or(0, |blocks| blocks.version().window(asked_of(select), select.mint, select.maxt))
    }
}

impl Shared {
    /// The shard of a hash. Its low and highest bits choose the place inside the shard's map.
    #[inline]
    pub(super) fn shard_of(&self, hash: u64) -> &CachePadded<Mutex<Shard>> {
        &self.shards[self.shard_number(hash)]
    }

    #[inline]
    pub(super) fn shard_number(&self, hash: u64) -> usize {
        (hash >> 40) as usize & (self.shards.len() - 1)
    }

    /// How old a sample may be of which anything is kept; `None` for any age.
    pub(super) fn horizon_ms(&self) -> Option<i64> {
        // Without blocks there are no tiers either.
        if self.blocks.is_none() { self.config.retention_ms } else { self.config.horizon_ms() }
    }

    pub(super) fn now_bounds(&self) -> (i64, i64) {
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
    pub(super) fn create(&self, hash: u64, encoded: &[u8]) -> Result<SeriesRef, Refusal> {
        let labels = Labels::from_encoded(encoded)?;
        let limits = &self.config.limits;
        self.check_limits(&labels)?;
        let mut shard = self.shard_of(hash).lock();
        if let Some(known) = shard.lookup(hash, encoded) {
            return Ok(known);
        }
        self.newcomers.admit(self.uptime_secs(), limits.series_new_per_minute_max)?;
        // Index entries and a first open column cost some hundred bytes.
        self.heap_bytes.fetch_add(encoded.len() as u64 + 512, Ordering::Relaxed);
        self.series_total.fetch_add(1, Ordering::Relaxed);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // Under the shard's lock: nobody can log a sample of the series before its definition is handed in.
        if let Some(wal) = &self.wal {
            let mut definition = Vec::with_capacity(encoded.len() + 16);
            put_definition(&mut definition, id, encoded);
            wal.prelude(DEFINITIONS, &definition);
        }
        let reference = shard.insert(&labels, hash, id);
        drop(shard);
        self.turnover.created(labels.metric_name(), self.seams.clock.now());
        Ok(reference)
    }

    /// The name of a series in the log.
    pub(super) fn id_of(&self, labels: &Labels) -> Option<u64> {
        let hash = labels.stable_hash();
        let shard = self.shard_of(hash).lock();
        shard.get(shard.lookup(hash, labels.as_encoded())?).map(|series| series.id)
    }

    pub(super) fn read_only(&self) -> Option<String> {
        if self.is_held.load(Ordering::Acquire) {
            return self.held.lock().clone();
        }
        self.room.refusal().or_else(|| self.wal.as_ref().and_then(|wal| wal.read_only()))
    }

    #[cold]
    pub(super) fn read_only_refusal(&self) -> Refusal {
        Refusal::ReadOnly(self.read_only().unwrap_or_else(|| "the log just came back".to_owned()))
    }

    /// Keeps the buffers of a batch for the next appender.
    pub(super) fn keep_batch(&self, batch: Batch) {
        let mut batches = self.batches.lock();
        if batches.len() < BATCHES_MAX {
            batches.push(batch);
        }
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
