//! Room on disk: the size that the data folder may have, the space that must stay free, and a reserve for bad times.
//!
//! Looked at once a second. The size is a hard ceiling over everything in the folder but the operator's own snapshots:
//! the oldest blocks go before it is reached, and what memory holds moves into blocks while there is room for that.
//! Where even that is not enough, or others fill the file system, samples are refused until there is room again;
//! reading goes on. The reserve is a file of zeros that is given up when a block or a snapshot fails for want of space:
//! it is what lets the log shrink on a disk that is full.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::base::disk::Disk;

use crate::storage::block::BlockError;

use super::config::DiskLimits;
use super::store::{Shared, Store};

/// The file whose space is kept for finishing what was begun.
const RESERVE: &str = "reserve";

/// Of what is not in blocks yet, the part that the reserve is kept at, up to the limit of the settings.
const RESERVE_SHARE: u64 = 16;

/// The reserve of a store that has everything in blocks.
const RESERVE_MIN: u64 = 128 << 10;

/// It is made smaller when it is more than so many times what is wanted. The log is cut at every snapshot, and it need not
/// follow that; but it follows a flush, which leaves next to nothing.
const RESERVE_SLACK: u64 = 4;
const RESERVE_SLACK_FLUSHED: u64 = 1;

/// Hard links that the operator asked for: they are his, and count when he counts.
const SNAPSHOTS: &str = "snapshots";

/// Folders below the data folder that are looked into, at most so deep.
const DEPTH_MAX: usize = 4;

/// The room that there is.
#[derive(Debug, Default)]
pub(super) struct Room {
    folder: PathBuf,
    /// Why nothing may be written now; a flag beside it for a look without the lock.
    reason: Mutex<Option<String>>,
    is_refusing: AtomicBool,
    /// Bytes of the folder at the last look, and those that the log had written by then.
    used: AtomicU64,
    logged: AtomicU64,
    /// What the file system has, at the last look; `u64::MAX` where nobody knows.
    free: AtomicU64,
    total: AtomicU64,
    reserve: AtomicU64,
    /// How often the reserve was given up.
    released: AtomicU64,
}

/// What `Store::room` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomStats {
    pub used: u64,
    pub free: u64,
    pub reserve: u64,
    pub reserve_released: u64,
    pub is_refusing: bool,
    /// Below this much free space nothing is written.
    pub free_min: u64,
    /// 0 where there is no limit.
    pub size_max: u64,
}

impl Room {
    pub(super) fn new(folder: &Path) -> Self {
        let unknown = || AtomicU64::new(u64::MAX);
        Self { folder: folder.to_owned(), free: unknown(), total: unknown(), ..Self::default() }
    }

    /// Why nothing may be written, if so.
    #[inline]
    pub(super) fn refusal(&self) -> Option<String> {
        if self.is_refusing.load(Ordering::Acquire) { self.reason.lock().clone() } else { None }
    }

    fn set(&self, reason: Option<String>) {
        let mut current = self.reason.lock();
        match (&*current, &reason) {
            (None, Some(reason)) => tracing::error!(reason, "no room: the store is read-only until there is"),
            (Some(_), None) => tracing::info!("there is room again: the store takes samples"),
            _ => {}
        }
        self.is_refusing.store(reason.is_some(), Ordering::Release);
        *current = reason;
    }

    /// A fiftieth of a small file system is enough: limits in bytes are meant for large ones.
    fn scaled(&self, bytes: u64) -> u64 {
        bytes.min(self.total.load(Ordering::Relaxed) / 50)
    }

    /// Bytes that the folder may take: the least of what is set.
    fn size_max(&self, limits: &DiskLimits) -> Option<u64> {
        let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total < u64::MAX);
        let share = total.filter(|_| limits.size_percentage > 0.0);
        let share = share.map(|total| (total as f64 * (limits.size_percentage / 100.0)) as u64);
        limits.size_max.into_iter().chain(share).min()
    }

    /// Gives the reserve up; answers whether there was one.
    fn release(&self, disk: &Disk) -> bool {
        if self.reserve.swap(0, Ordering::Relaxed) == 0 {
            return false;
        }
        let removed = disk.remove(&self.folder.join(RESERVE));
        self.released.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("the disk is full: the reserve file was given up to finish writing");
        removed.is_ok()
    }

    /// Makes the reserve, where there is ample space for it. `unblocked`: bytes of the log and its snapshot; what has to
    /// be written on a full disk is in proportion to them, and not to blocks.
    fn keep_reserve(&self, disk: &Disk, limits: &DiskLimits, unblocked: u64) {
        let held = self.reserve.load(Ordering::Relaxed);
        let most = self.scaled(limits.reserve_bytes).min(self.size_max(limits).map_or(u64::MAX, |max| max / 50));
        let want = most.min((unblocked / RESERVE_SHARE).max(RESERVE_MIN));
        let path = self.folder.join(RESERVE);
        let is_endless = self.total.load(Ordering::Relaxed) == u64::MAX;
        // It doubles when it grows, so that it is made anew a few times in all.
        let slack = if want == RESERVE_MIN { RESERVE_SLACK_FLUSHED } else { RESERVE_SLACK };
        let serves = |bytes: u64| bytes > 0 && bytes >= want / 2 && bytes / slack <= want;
        if serves(held) || want == 0 || is_endless {
            return;
        }
        let low = self.scaled(limits.free_min_bytes);
        let is_ample = self.free.load(Ordering::Relaxed) >= want.saturating_add(low.saturating_mul(2));
        let found = disk.open(&path).and_then(|file| file.len()).ok();
        // One of another size is better than none.
        if let Some(found) = found.filter(|found| *found > 0 && *found <= most && (serves(*found) || !is_ample)) {
            self.reserve.store(found, Ordering::Relaxed);
            return;
        }
        self.reserve.store(0, Ordering::Relaxed);
        if (found.is_some() && disk.remove(&path).is_err()) || !is_ample {
            return;
        }
        match disk.create_new(&path).and_then(|file| file.allocate(want)) {
            Ok(()) => self.reserve.store(want, Ordering::Relaxed),
            Err(error) => {
                tracing::debug!(%error, "cannot make the reserve file");
                let _ = disk.remove(&path);
            }
        }
    }
}

/// Bytes of the files in a folder and below. What vanishes meanwhile does not count.
fn bytes_in(disk: &Disk, folder: &Path, depth: usize) -> u64 {
    let mut bytes = 0;
    for entry in disk.list(folder).unwrap_or_default() {
        if !entry.is_dir {
            bytes += entry.len;
        } else if depth < DEPTH_MAX && !(depth == 0 && entry.name == SNAPSHOTS) {
            bytes += bytes_in(disk, &folder.join(entry.name), depth + 1);
        }
    }
    bytes
}

impl Store {
    /// Says how short memory is: whether what is in memory should move into blocks, and why samples are refused
    /// meanwhile, if they are.
    pub fn press(&self, is_pressed: bool, hold: Option<String>) {
        let shared = self.shared();
        shared.is_pressed.store(is_pressed, Ordering::Relaxed);
        shared.is_held.store(hold.is_some(), Ordering::Release);
        *shared.held.lock() = hold;
    }

    /// The room on disk.
    pub fn room(&self) -> RoomStats {
        self.shared().room_stats()
    }
}

impl Shared {
    /// Looks at the disk, and says whether samples may come. Once a second.
    pub(super) fn look_at_disk(&self) {
        let Some(wal) = &self.wal else { return };
        let (room, disk, limits) = (&self.room, &self.seams.disk, &self.config.disk);
        match disk.space(&room.folder) {
            Ok(space) => {
                room.free.store(space.free, Ordering::Relaxed);
                room.total.store(space.total, Ordering::Relaxed);
            }
            Err(error) => tracing::debug!(%error, "cannot ask for the space on disk"),
        }
        room.logged.store(wal.stats().bytes, Ordering::Relaxed);
        room.used.store(bytes_in(disk, &room.folder, 0), Ordering::Relaxed);
        let reason = self.low_on_disk().or_else(|| self.out_of_size());
        if reason.is_none() {
            room.keep_reserve(disk, limits, self.size_needed());
        }
        room.set(reason);
    }

    /// Bytes that the folder may take, if there is a limit.
    pub(super) fn size_max(&self) -> Option<u64> {
        self.room.size_max(&self.config.disk)
    }

    fn low_on_disk(&self) -> Option<String> {
        let free = self.room.free.load(Ordering::Relaxed);
        let low = self.room.scaled(self.config.disk.free_min_bytes);
        // It takes a quarter more to be let in again, so that nobody flutters at the mark.
        let enough = if self.room.is_refusing.load(Ordering::Acquire) { low.saturating_add(low / 4) } else { low };
        (free < enough).then(|| {
            format!("the file system of {} has {free} bytes free, less than {enough}", self.room.folder.display())
        })
    }

    fn out_of_size(&self) -> Option<String> {
        let max = self.size_max()?;
        let used = self.size_used();
        (used.saturating_add(self.size_needed()) > max - margin(max)).then(|| {
            format!("the data folder has {used} bytes of at most {max}, and the log needs room to be written in short")
        })
    }

    /// Bytes of the folder now: those found at the last look, and what the log has written since.
    fn size_used(&self) -> u64 {
        let logged = self.wal.as_ref().map_or(0, |wal| wal.stats().bytes);
        let since = logged.saturating_sub(self.room.logged.load(Ordering::Relaxed));
        self.room.used.load(Ordering::Relaxed).saturating_add(since)
    }

    /// What the next snapshot or flush may take before it gives more back: no more than the log and the last one.
    fn size_needed(&self) -> u64 {
        let log = self.wal.as_ref().map_or(0, |wal| wal.live_bytes());
        log.saturating_add(self.snapshot_bytes.load(Ordering::Relaxed))
    }

    /// Bytes that blocks may take. What is not blocks has its place already.
    pub(super) fn blocks_bytes_max(&self) -> Option<u64> {
        let own = self.config.blocks_bytes_max;
        let Some(max) = self.size_max() else { return own };
        let blocks = self.blocks.as_ref().map_or(0, |blocks| blocks.version().bytes());
        let others = self.size_used().saturating_sub(blocks).saturating_add(self.size_needed());
        let left = (max - margin(max)).saturating_sub(others);
        Some(own.map_or(left, |own| own.min(left)))
    }

    /// Whether a job that writes so much beside what there is has room.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        let low = self.room.scaled(self.config.disk.free_min_bytes);
        let fits = self.room.free.load(Ordering::Relaxed).saturating_sub(bytes) >= low.saturating_mul(2);
        fits && self.fits_size(bytes)
    }

    /// Whether the limit of size leaves room for so much, beside what the log needs.
    pub(super) fn fits_size(&self, bytes: u64) -> bool {
        self.size_max().is_none_or(|max| {
            self.size_used().saturating_add(self.size_needed()).saturating_add(bytes) <= max - margin(max)
        })
    }

    /// Looks at the size of the folder again, where it matters.
    pub(super) fn recount(&self) {
        let Some(wal) = self.wal.as_ref().filter(|_| self.size_max().is_some()) else { return };
        self.room.logged.store(wal.stats().bytes, Ordering::Relaxed);
        self.room.used.store(bytes_in(&self.seams.disk, &self.room.folder, 0), Ordering::Relaxed);
    }

    /// Whether the log and its snapshot take so much of the allowed size that memory should move into blocks.
    pub(super) fn is_log_too_large(&self) -> bool {
        self.size_max().is_some_and(|max| self.size_needed() > max / 4)
    }

    /// Log bytes after which a snapshot is due; a small folder gets them earlier.
    pub(super) fn snapshot_after(&self) -> u64 {
        let own = self.config.wal.snapshot_after_bytes;
        self.size_max().map_or(own, |max| own.min(max / 8))
    }

    /// Does what makes room; where the disk is full, once more with the reserve given up.
    pub(super) fn with_reserve<T>(&self, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match work() {
            Err(error) if is_full(&error) && self.room.release(&self.seams.disk) => work(),
            other => other,
        }
    }

    pub(super) fn room_stats(&self) -> RoomStats {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let room = &self.room;
        RoomStats {
            used: self.size_used(),
            free: get(&room.free),
            reserve: get(&room.reserve),
            reserve_released: get(&room.released),
            is_refusing: room.is_refusing.load(Ordering::Relaxed),
            free_min: room.scaled(self.config.disk.free_min_bytes),
            size_max: self.size_max().unwrap_or(0),
        }
    }
}

/// What requests that are on their way may add between two looks.
fn margin(size_max: u64) -> u64 {
    (size_max / 16).min(64 << 20)
}

/// Whether this means that there is no space, as the system or a quota says.
fn is_full(error: &io::Error) -> bool {
    let kind = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    // Layers between may have wrapped it.
    let inner = || error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>());
    let block = || match error.get_ref()?.downcast_ref::<BlockError>()? {
        BlockError::Io { error, .. } => Some(error),
        _ => None,
    };
    kind(error) || inner().is_some_and(kind) || block().is_some_and(kind)
}
