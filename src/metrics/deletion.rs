//! Deleting samples: at once for queries, on disk when it is acknowledged, and never those that are written later.
//!
//! What is in blocks gets tombstones (`storage::block`), what is in memory is taken out of it, and a frame in the log
//! repeats that at the next start, between what was written before and after. It is handed to the log before memory
//! changes: a sample that was appended later is behind it there too.

use std::io;
use std::sync::atomic::Ordering;

use crate::codec::CodecError;
use crate::codec::bytes::{Reader, put_varint};
use crate::model::matcher::Matcher;
use crate::storage::block::{BlockError, Deletion, Job};

use super::column::Points;
use super::late::{LateSample, push_pieces};
use super::matching::Plan;
use super::record::DELETIONS;
use super::series::{Series, SeriesRef};
use super::shard::{Shard, Shards};
use super::store::{Shared, Store};

/// Series that are looked at under one lock.
const STRIDE: usize = 64;

/// Deletions in one frame.
const COUNT_MAX: usize = 1 << 16;

/// Why a deletion did not happen, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    #[error("cannot write down what is deleted: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Block(#[from] BlockError),
}

impl Store {
    /// Deletes the samples in `mint..=maxt` of the series that fulfil every matcher of any set. Durable when it
    /// returns. Waits for a flush or a merge that is under way.
    pub fn delete(&self, sets: &[Vec<Matcher>], mint: i64, maxt: i64) -> Result<(), DeleteError> {
        self.shared().delete(sets, mint, maxt)
    }

    /// Rewrites every block of which samples are deleted, so that those take no space any more.
    pub fn clean_tombstones(&self) -> Result<(), DeleteError> {
        let Some(blocks) = self.blocks() else { return Ok(()) };
        let _work = self.shared().block_work.lock();
        let raw = |is_raw: bool| -> Vec<_> {
            let version = blocks.version();
            version.buried().filter(|block| (block.meta().resolution == 0) == is_raw).cloned().collect()
        };
        // Raw blocks first: the tier blocks that were made from them go with them.
        for is_raw in [true, false] {
            for block in raw(is_raw) {
                Job::Rewrite(block).run(blocks, self.shared().seams.clock.now())?;
            }
        }
        Ok(())
    }
}

impl Shared {
    fn delete(&self, sets: &[Vec<Matcher>], mint: i64, maxt: i64) -> Result<(), DeleteError> {
        if let Some(reason) = self.read_only() {
            return Err(DeleteError::ReadOnly(reason));
        }
        // What the log still holds would come back above the deletion.
        self.check_whole().map_err(|error| DeleteError::ReadOnly(error.to_string()))?;
        // Nothing moves from memory into a block, or from one block into another, without knowing of the deletion.
        let _flush = self.flush.pause();
        let _work = self.block_work.lock();
        // What is newer than everything that is there now is not meant, whatever the clocks of senders say.
        let maxt = maxt.min(self.newest());
        if mint > maxt {
            return Ok(());
        }
        let deletion = |matchers: &Vec<Matcher>| Deletion { matchers: matchers.clone(), mint, maxt };
        let deletions: Vec<Deletion> = sets.iter().map(deletion).collect();
        if let Some(blocks) = &self.blocks {
            blocks.bury(&deletions)?;
        }
        let ticket = {
            // A snapshot stands for the log below its number: it may not come between the two.
            let _guard = self.deleting.lock();
            let ticket = self.wal.as_ref().map(|wal| wal.append_twice(DELETIONS, &encode(&deletions)));
            for deletion in &deletions {
                let emptied = delete_in(&self.shards, deletion);
                let left = emptied.into_iter().filter(|series| evict_if_empty(&self.shards, *series)).count();
                self.series_total.fetch_sub(left, Ordering::Relaxed);
                self.counters.series_evicted.fetch_add(left as u64, Ordering::Relaxed);
                self.turnover.removed(left as u64, self.seams.clock.now());
            }
            ticket
        };
        // Of points whose samples are gone whole windows go.
        let widest = self.config.tiers.iter().map(|tier| tier.resolution_ms).max().unwrap_or(0);
        self.changes.note(mint.saturating_sub(widest));
        self.counters.deletions.fetch_add(deletions.len() as u64, Ordering::Relaxed);
        if let (Some(ticket), Some(wal)) = (ticket, &self.wal) {
            if !wal.is_threaded() {
                wal.pump();
            }
            ticket.wait().map_err(|error| DeleteError::ReadOnly(error.to_string()))?;
        }
        Ok(())
    }

    /// Time of the newest sample.
    fn newest(&self) -> i64 {
        let in_blocks = self.blocks.as_ref().map(|blocks| blocks.version());
        let in_blocks = in_blocks.iter().flat_map(|version| version.blocks()).map(|block| block.meta().max_time).max();
        let newest = |shard: &Shard| shard.iter().filter_map(|(_, series)| series.bounds()).map(|(_, last)| last).max();
        let in_memory = self.shards.iter().filter_map(|shard| newest(&shard.lock())).max();
        in_blocks.max(in_memory).unwrap_or(i64::MIN)
    }
}

/// Carries a deletion out in memory. Answers the series that have nothing left.
pub(super) fn delete_in(shards: &Shards, deletion: &Deletion) -> Vec<SeriesRef> {
    let Deletion { matchers, mint, maxt } = deletion;
    let plans: Vec<Plan<'_>> = matchers.iter().map(Plan::new).collect();
    let mut emptied = Vec::new();
    for shard in shards {
        let found: Vec<SeriesRef> = {
            let shard = shard.lock();
            shard.matching(&plans, *mint, *maxt).iter().filter_map(|slot| shard.reference(slot)).collect()
        };
        for some in found.chunks(STRIDE) {
            let mut shard = shard.lock();
            for reference in some {
                if let Some(series) = shard.get_mut(*reference) {
                    series.delete(*mint, *maxt);
                    emptied.extend(series.bounds().is_none().then_some(*reference));
                }
            }
        }
    }
    emptied
}

/// A series that was emptied leaves the index, unless it got samples since. Answers whether it left.
pub(super) fn evict_if_empty(shards: &Shards, reference: SeriesRef) -> bool {
    let mut shard = shards[reference.shard as usize].lock();
    let is_empty = shard.get(reference).is_some_and(|series| series.bounds().is_none());
    is_empty && shard.remove(reference.slot).is_some()
}

/// The payload of a frame.
fn encode(deletions: &[Deletion]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, deletions.len() as u64);
    deletions.iter().for_each(|deletion| deletion.write(&mut out));
    out
}

/// Reads the payload of a frame.
pub(super) fn read_deletions(payload: &[u8]) -> Result<Vec<Deletion>, CodecError> {
    let mut reader = Reader::new(payload);
    (0..reader.count(COUNT_MAX)?).map(|_| Deletion::read(&mut reader)).collect()
}

impl Series {
    /// Takes the samples in `mint..=maxt` away.
    pub(super) fn delete(&mut self, mint: i64, maxt: i64) {
        let outside = |time: i64| time < mint || time > maxt;
        let from = self.sealed.partition_point(|chunk| chunk.last < mint);
        let to = self.sealed.partition_point(|chunk| chunk.first <= maxt).max(from);
        let rest = self.sealed.split_off(to);
        for chunk in self.sealed.split_off(from) {
            let mut points = Points::default();
            // A chunk that cannot be read has nothing to show either.
            let _ = chunk.read(i64::MIN, i64::MAX, &mut points);
            let kept = filtered(&points, outside);
            let place = self.sealed.len();
            if kept.len() > 0 {
                push_pieces(&kept, &mut self.sealed);
            }
            // What is left is in a block as much as the whole was.
            self.sealed.iter_mut().skip(place).for_each(|piece| piece.flushed = chunk.flushed);
        }
        self.sealed.extend(rest);
        if !self.open.is_empty() && self.open.first() <= maxt && self.open.last() >= mint {
            let mut points = Points::default();
            self.open.read(i64::MIN, i64::MAX, &mut points);
            self.open.clear();
            let kept = filtered(&points, outside);
            (0..kept.len()).for_each(|at| self.open.push(kept.times[at], kept.start(at), kept.values[at]));
        }
        if let Some(side) = &mut self.side {
            side.late.delete(mint, maxt);
            side.histograms.retain(outside, (mint, maxt));
        }
        self.reopen();
        self.drop_empty_side();
    }

    /// The newest float is in the open column, also after the ones behind it are gone: what comes is compared with it.
    fn reopen(&mut self) {
        if self.open.is_empty()
            && let Some(chunk) = self.sealed.pop()
        {
            let mut points = Points::default();
            let _ = chunk.read(i64::MIN, i64::MAX, &mut points);
            if let Some(at) = points.len().checked_sub(1) {
                let (time, start, value) = (points.times[at], points.start(at), points.values[at]);
                let place = self.sealed.len();
                let before = filtered(&points, |other| other < time);
                if before.len() > 0 {
                    push_pieces(&before, &mut self.sealed);
                }
                self.sealed.iter_mut().skip(place).for_each(|piece| piece.flushed = chunk.flushed);
                self.open.push(time, start, value);
            }
        }
        let newest = if self.open.is_empty() { i64::MIN } else { self.open.last() };
        let ahead = self.side.as_mut().map(|side| side.late.take_after(newest)).unwrap_or_default();
        for LateSample { time, start, value } in ahead {
            if !self.open.has_room(time) {
                self.seal();
            }
            self.open.push(time, start, value);
        }
    }
}

fn filtered(points: &Points, keep: impl Fn(i64) -> bool) -> Points {
    let mut kept = Points::default();
    for at in (0..points.len()).filter(|at| keep(points.times[*at])) {
        kept.push(points.times[at], points.start(at), points.values[at]);
    }
    kept
}
