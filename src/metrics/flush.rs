//! Moves what is old out of memory into blocks, in two steps, so that no reader ever misses a sample.
//!
//! First everything before a cut is copied into blocks, and these are published: new readers see those samples twice,
//! and merge them. When the last reader who began before is done, the samples leave memory, and a snapshot lets the
//! log before it go. Samples that come late, while a flush is under way or after it, stay in memory for the next
//! flush, which writes them into a small block of the same window; merging blocks joins both.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::promql::source::Column;
use crate::storage::block::{Blocks, Job, Policy, WINDOW_MS, WindowWriter};

use super::leaving::Flushed;
use super::series::SeriesRef;
use super::store::Shared;

/// A window is flushed this long after its end: dashboards of the last hour are answered from memory, with what their
/// range selectors look back, and what comes late has come by then.
const SLACK_MS: i64 = 4_500_000;

/// Chunks of flushable windows take at most this many bytes before they are flushed whatever the time.
const BACKLOG_BYTES_MAX: u64 = 32 << 20;

/// What came for windows that were flushed before, as after an import, is flushed when it takes this many bytes, once
/// nothing more comes or so many seconds have gone by since the flush before.
const BACKLOG_BYTES_MIN: u64 = 1 << 20;
const AGAIN_AFTER_SECS: u32 = 20;

/// A flush rests at least so many times as long as the one before took: a sender of the past that pauses does not keep
/// a thread busy with small blocks.
const REST: u32 = 4;

/// Jobs that are done in one round: as many as take this long together, and one. So what an import has left is merged and
/// rolled up in some rounds, at less than half a core.
const ROUND_OF_JOBS: Duration = Duration::from_millis(300);

/// However short they are.
const JOBS_MAX: usize = 16;

/// Where a flush stands.
#[derive(Debug, Default)]
pub(super) struct Flush(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Samples before this have been flushed, but for late ones.
    done_before: Option<i64>,
    /// Seconds of the monotonic clock when something was copied last.
    copied_at: u32,
    /// The monotonic clock from which on another flush has rested.
    rested_at: Duration,
    /// What is in blocks and has yet to leave memory.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    before: i64,
    /// The first version of the blocks that has it all.
    sequence: u64,
    flushed: Vec<(SeriesRef, Flushed)>,
}

/// What a flush has to copy.
struct Due {
    /// Ascending by labels.
    series: Vec<SeriesRef>,
    /// First and last time of their samples; `None` without any.
    bounds: Option<(i64, i64)>,
    /// Series of which everything is in blocks already.
    idle: Vec<(SeriesRef, Flushed)>,
}

impl Flush {
    /// Keeps flushes from starting, after waiting for one that copies.
    pub(super) fn pause(&self) -> impl Drop + '_ {
        self.0.lock()
    }
}

impl Shared {
    /// What is before this should be in blocks: the last window that is over, by the clock that is behind. Windows are
    /// closed to the right.
    pub(super) fn flush_cut(&self) -> i64 {
        let end = self.now_bounds().0.saturating_sub(SLACK_MS).div_euclid(WINDOW_MS).saturating_mul(WINDOW_MS);
        end.saturating_add(1)
    }

    /// Goes on with a flush, or starts one that is due. Takes as long as writing the blocks does.
    pub(super) fn flush_if_due(&self) {
        let Some(blocks) = &self.blocks else { return };
        let mut state = self.flush.0.lock();
        if state.pending.is_some() {
            self.release(blocks, &mut state);
            return;
        }
        let before = self.flush_cut();
        let backlog = self.backlog.load(Ordering::Relaxed);
        let is_new = state.done_before.is_none_or(|done| done < before) && backlog > 0;
        let heap_bytes = self.heap_bytes.load(Ordering::Relaxed);
        let is_full = heap_bytes > self.config.memory_bytes_max
            || (heap_bytes > 0 && (self.is_log_too_large() || self.is_pressed.load(Ordering::Relaxed)));
        let before = if is_full { self.now_bounds().0 } else { before };
        self.recount();
        let is_over = self.has_settled() && self.seams.clock.monotonic() >= state.rested_at;
        let is_time = is_over || self.uptime_secs().saturating_sub(state.copied_at) >= AGAIN_AFTER_SECS;
        let is_much = backlog >= if is_time { BACKLOG_BYTES_MIN } else { BACKLOG_BYTES_MAX };
        if !(is_new || is_full || is_much) || !self.fits_size(0) {
            return;
        }
        if let Err(error) = self.copy_before(blocks, before, &mut state) {
            tracing::warn!(%error, "cannot write a block; its samples stay in memory and in the log");
        }
    }

    /// Takes flushed samples out of memory, if no reader needs them there any more; answers whether none are left.
    pub(super) fn settle_flush(&self) -> bool {
        let Some(blocks) = &self.blocks else { return true };
        let mut state = self.flush.0.lock();
        self.release(blocks, &mut state);
        state.pending.is_none()
    }

    /// Moves everything into blocks now. Readers that began before keep what they need in memory.
    pub(super) fn flush_all(&self) -> io::Result<()> {
        let Some(blocks) = &self.blocks else { return Ok(()) };
        self.check_whole()?;
        let mut state = self.flush.0.lock();
        self.release(blocks, &mut state);
        if state.pending.is_none() {
            self.copy_before(blocks, i64::MAX, &mut state)?;
            self.release(blocks, &mut state);
        }
        // The reserve follows what is left of the log.
        self.look_at_disk();
        Ok(())
    }

    fn copy_before(&self, blocks: &Blocks, before: i64, state: &mut State) -> io::Result<()> {
        state.copied_at = self.uptime_secs();
        let began = self.seams.clock.monotonic();
        let pending = self.with_reserve(|| self.copied_before(blocks, before));
        let ended = self.seams.clock.monotonic();
        state.rested_at = ended.saturating_add(ended.saturating_sub(began).saturating_mul(REST));
        state.pending = Some(pending?);
        Ok(())
    }

    fn copied_before(&self, blocks: &Blocks, before: i64) -> io::Result<Pending> {
        let Due { series: due, bounds, idle: mut flushed } = self.due(before);
        flushed.reserve(due.len());
        if let Some(bounds) = bounds {
            let mut writer = WindowWriter::new(blocks, self.seams.clock.now(), bounds);
            let (mut column, mut buffer) = (Column::default(), Vec::new());
            for (place, reference) in due.iter().enumerate() {
                if place % 1_024 == 0
                    && let Some(wal) = &self.wal
                {
                    // A flush may take seconds: what the log does by time goes on meanwhile.
                    wal.tick(self.seams.clock.monotonic());
                }
                let copied = {
                    let mut shard = self.shards[reference.shard as usize].lock();
                    let labels = shard.labels(*reference, &mut buffer);
                    labels.zip(shard.get_mut(*reference).and_then(|series| series.copy_before(before)))
                };
                let Some((labels, (snapshot, marks))) = copied else { continue };
                column.clear();
                snapshot.read(i64::MIN, before.saturating_sub(1), &mut column).map_err(io::Error::other)?;
                writer.add(&labels, &column)?;
                flushed.push((*reference, marks));
            }
            let finished = writer.finish()?;
            blocks.publish(&finished, &[]).map_err(io::Error::other)?;
            self.counters.blocks_flushed.fetch_add(finished.len() as u64, Ordering::Relaxed);
        }
        let sequence = blocks.version().sequence();
        Ok(Pending { before, sequence, flushed })
    }

    /// Series with samples before the cut, ascending by labels, and the times of those samples.
    fn due(&self, before: i64) -> Due {
        let (mut due, mut idle) = (Vec::new(), Vec::new());
        let mut bounds: Option<(i64, i64)> = None;
        for shard in &self.shards {
            let shard = shard.lock();
            for (slot, series) in shard.iter() {
                if let Some(all) = series.all_flushed(before) {
                    idle.extend(shard.reference(slot).map(|reference| (reference, all)));
                    continue;
                }
                let Some((first, last)) = series.bounds().filter(|(first, _)| *first < before) else { continue };
                let last = last.min(before - 1);
                bounds = Some(bounds.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
                due.extend(shard.reference(slot));
            }
        }
        Due { series: self.sorted_references(due), bounds, idle }
    }

    /// Takes flushed samples out of memory, if nobody reads them there any more.
    fn release(&self, blocks: &Blocks, state: &mut State) {
        let Some(pending) = state.pending.take_if(|pending| blocks.oldest_reader() >= pending.sequence) else { return };
        for (reference, flushed) in &pending.flushed {
            let mut shard = self.shards[reference.shard as usize].lock();
            let Some(series) = shard.get_mut(*reference) else { continue };
            let keeps_samples = series.drop_flushed(flushed);
            if !keeps_samples && series.touched < state.copied_at {
                shard.remove(reference.slot);
                self.series_total.fetch_sub(1, Ordering::Relaxed);
                self.counters.series_evicted.fetch_add(1, Ordering::Relaxed);
                self.turnover.removed(1, self.seams.clock.now());
            }
        }
        if pending.before < i64::MAX {
            state.done_before = Some(pending.before);
        }
        self.backlog.store(0, Ordering::Relaxed);
        self.heap_bytes.store(0, Ordering::Relaxed);
        if !pending.flushed.is_empty()
            && let Err(error) = self.snapshot()
        {
            tracing::warn!(%error, "cannot write a snapshot after a flush; the log stays until one succeeds");
        }
    }

    /// Removes the oldest blocks where the limit of size asks for it, before anything else is written.
    pub(super) fn make_room(&self) {
        let Some(blocks) = self.blocks.as_ref().filter(|_| self.size_max().is_some()) else { return };
        if !self.fits_size(0)
            && let Some(wal) = &self.wal
            && let Err(error) = wal.forget_damaged()
        {
            tracing::warn!(%error, "cannot remove damaged files of the log that were set aside");
        }
        let _work = self.block_work.lock();
        if let Some(job @ Job::Expire(_)) = blocks.next_job(&self.policy()) {
            match self.with_reserve(|| job.run(blocks, self.seams.clock.now()).map_err(io::Error::other)) {
                Ok(done) => tracing::debug!(?done, "blocks expired to keep the limit of size"),
                Err(error) => tracing::warn!(%error, "cannot expire blocks"),
            }
            self.recount();
        }
    }

    fn policy(&self) -> Policy {
        Policy { bytes_max: self.blocks_bytes_max(), ..self.config.policy(self.now_bounds().0) }
    }

    /// Merges, rolls up or expires blocks, some jobs a round. A wall clock that jumped ahead makes nothing go: the clock
    /// that is behind decides.
    pub(super) fn block_jobs_if_due(&self) {
        let Some(blocks) = &self.blocks else { return };
        let began = self.seams.clock.monotonic();
        for _ in 0..JOBS_MAX {
            if !self.block_job(blocks) || self.seams.clock.monotonic().saturating_sub(began) >= ROUND_OF_JOBS {
                return;
            }
            if let Some(wal) = &self.wal {
                wal.tick(self.seams.clock.monotonic());
            }
        }
    }

    /// Does the next job; false where none is due or it came to nothing.
    fn block_job(&self, blocks: &Blocks) -> bool {
        self.recount();
        let _work = self.block_work.lock();
        let Some(job) = blocks.next_job(&self.policy()) else { return false };
        if !self.has_room_for(job.bytes(&blocks.version())) {
            // Small blocks cost speed; a full disk costs samples.
            return false;
        }
        match job.run(blocks, self.seams.clock.now()) {
            Ok(done) => {
                if let Some(corrected) = done.corrected {
                    self.changes.note(corrected);
                }
                tracing::debug!(?done, "blocks merged or expired");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "cannot merge or expire blocks");
                false
            }
        }
    }
}
