//! What the store does by time: expiry, sealing, snapshots.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::changes::Token;
use super::snapshot;
use super::store::Shared;

/// When things were done last, in milliseconds of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    walks: Mutex<Walks>,
    /// Before this no snapshot is tried: one failed.
    next_snapshot: AtomicU64,
    /// Bytes that the log had been given at the last look, and when they were last other ones.
    logged: AtomicU64,
    logged_at: AtomicU64,
}

/// When to walk over all series: now and then, and when samples have come for windows that should be in blocks already, as
/// those of an import do.
#[derive(Debug, Default)]
struct Walks {
    /// When the last walk began, and how long it took.
    began: Option<u64>,
    took: u64,
    /// The last look for such samples, whether some came between it and the one before, and whether any came since the
    /// last walk.
    looked: Token,
    comes: bool,
    came: bool,
}

impl Walks {
    fn is_due(&self, now: u64) -> bool {
        let pause = match (self.came, self.comes) {
            (false, _) => WALK_EVERY,
            (true, true) => WALK_MEANWHILE,
            (true, false) => WALK_REST.saturating_mul(self.took).min(WALK_EVERY),
        };
        self.began.is_none_or(|began| now >= began.saturating_add(pause))
    }
}

/// Milliseconds without a write after which a snapshot disturbs nobody.
const QUIET: u64 = 5_000;

/// Log bytes that are worth a snapshot then.
const QUIET_BYTES_MIN: u64 = 4 << 20;

/// Milliseconds between walks, and while samples of the past come. After their end a walk rests so many times as long
/// as the one before took.
const WALK_EVERY: u64 = 15_000;
const WALK_MEANWHILE: u64 = 5_000;
const WALK_REST: u64 = 50;

/// Milliseconds after a failed snapshot before the next.
const SNAPSHOT_RETRY: u64 = 10_000;

/// Series that are looked at under one lock, so that appenders wait for microseconds only.
const STRIDE: u32 = 256;

impl Shared {
    fn mono_millis(&self) -> u64 {
        u64::try_from(self.seams.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes a snapshot when the log has outgrown both its limit and the last snapshot: what is written for snapshots
    /// is then at most as much as the log itself. When nobody writes a log half as long as the last snapshot is enough:
    /// columns take a tenth of the disk that their log takes, and a start reads them sooner.
    pub(super) fn snapshot_if_due(&self) {
        let Some(wal) = &self.wal else { return };
        let now = self.mono_millis();
        let last = self.snapshot_bytes.load(Ordering::Relaxed);
        let usual = self.snapshot_after().max(last);
        let limit = if self.is_quiet(wal.logged(), now) { usual.min(QUIET_BYTES_MIN.max(last / 2)) } else { usual };
        if wal.live_bytes() <= limit || !self.fits_size(0) || now < self.upkeep.next_snapshot.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.snapshot() {
            self.upkeep.next_snapshot.store(now + SNAPSHOT_RETRY, Ordering::Relaxed);
            tracing::warn!(%error, "cannot write a snapshot; the log stays until one succeeds");
        }
    }

    /// Whether nothing was written for a while.
    fn is_quiet(&self, logged: u64, now: u64) -> bool {
        if self.upkeep.logged.swap(logged, Ordering::Relaxed) != logged {
            self.upkeep.logged_at.store(now, Ordering::Relaxed);
        }
        now.saturating_sub(self.upkeep.logged_at.load(Ordering::Relaxed)) >= QUIET
    }

    /// Refuses what would take a store for whole whose log is still being read.
    pub(super) fn check_whole(&self) -> io::Result<()> {
        if self.progress.is_done() {
            return Ok(());
        }
        let percent = self.progress.get().percent();
        Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("the log is still being read ({percent} %)")))
    }

    pub(super) fn snapshot(&self) -> io::Result<()> {
        let Some(wal) = &self.wal else { return Ok(()) };
        self.check_whole()?;
        let ticket = {
            let _guard = self.deleting.lock();
            let ticket = wal.cut();
            if !wal.is_threaded() {
                wal.pump();
            }
            ticket
        };
        let number = ticket.wait().map_err(io::Error::other)?;
        let len = self.with_reserve(|| snapshot::write(self, wal, number))?;
        self.snapshot_bytes.store(len, Ordering::Relaxed);
        self.counters.snapshots.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Seals what is idle, drops what is older than retention, and counts what is to be flushed.
    pub(super) fn walk_if_due(&self) {
        let now = self.mono_millis();
        let mut walks = self.upkeep.walks.lock();
        let looked = std::mem::replace(&mut walks.looked, self.changes.token());
        walks.comes = self.changes.since(looked) < self.flush_cut();
        walks.came |= walks.comes;
        if !walks.is_due(now) {
            return;
        }
        self.walk();
        (walks.began, walks.took) = (Some(now), self.mono_millis().saturating_sub(now));
        walks.came = walks.comes;
    }

    fn walk(&self) {
        let oldest = self.horizon_ms().map(|_| self.admission().oldest);
        let before = self.flush_cut();
        let (mut heap_bytes, mut backlog) = (0, 0);
        for shard in &self.shards {
            let mut from = 0;
            loop {
                let mut shard = shard.lock();
                let end = shard.slots();
                if from >= end {
                    break;
                }
                for slot in from..(from + STRIDE).min(end) {
                    self.walk_series(&mut shard, slot, oldest);
                    if let Some(series) = shard.by_slot(slot) {
                        heap_bytes += series.size().bytes as u64;
                        backlog += series.bytes_before(before) as u64;
                    }
                }
                from += STRIDE;
            }
        }
        self.heap_bytes.store(heap_bytes, Ordering::Relaxed);
        self.backlog.store(backlog, Ordering::Relaxed);
    }

    /// Whether nothing more comes for windows that should be in blocks already.
    pub(super) fn has_settled(&self) -> bool {
        !self.upkeep.walks.lock().comes
    }

    fn walk_series(&self, shard: &mut super::shard::Shard, slot: u32, oldest: Option<i64>) {
        let Some(series) = shard.by_slot_mut(slot) else { return };
        let quiet = self.uptime_secs().saturating_sub(series.touched);
        if i64::from(quiet) * 1_000 >= self.config.idle_seal_ms {
            series.seal_idle();
        }
        // A series that was only just made has no samples yet: it is given a minute to get them.
        if oldest.is_some_and(|oldest| !series.expire(oldest)) && quiet > 60 {
            shard.remove(slot);
            self.series_total.fetch_sub(1, Ordering::Relaxed);
            self.counters.series_evicted.fetch_add(1, Ordering::Relaxed);
            self.turnover.removed(1, self.seams.clock.now());
        }
    }
}
