//! Brings the store back to where it was: the newest snapshot, then the log behind it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::codec::CodecError;
use crate::codec::chunk::{self, Target};
use crate::storage::wal::reader::{Damage, FrameReader};
use crate::storage::wal::{Wal, snapshot};

use super::record::{BATCH, COLUMNS, DEFINITIONS, END};
use super::series::HistogramSample;
use super::store::Shared;
use super::workers::{Gathered, Refs, apply};

/// What a start found in the data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub series: u64,
    pub snapshot_bytes: u64,
    pub segments: u64,
    pub frames: u64,
    /// Frames that should be there and are not, or could not be understood.
    pub frames_lost: u64,
    /// Runs of bytes that are no frames, besides what a crash may leave at the end of a segment.
    pub damages: u64,
    /// Segments whose end is no frame: a write that a crash cut short, or damage to the last frame.
    pub cut_tails: u64,
    /// Samples whose series is not defined.
    pub orphans: u64,
    pub millis: u64,
}

/// Payload bytes that are gathered before they are applied.
const GATHER_BYTES: usize = 4 << 20;

/// Maps the names of series in the log to where they live now.
struct Replay<'a> {
    shared: &'a Shared,
    refs: Refs,
    id_max: u64,
    gathered: Gathered,
    recovery: Recovery,
}

/// Reads everything in the folder of the log. Answers what it found, and the length of the snapshot.
pub(super) fn replay(shared: &Shared, wal: &Wal) -> io::Result<Recovery> {
    let begin = shared.seams.clock.monotonic();
    let (refs, gathered) = (Refs::default(), Gathered::default());
    let mut replay = Replay { shared, refs, id_max: 0, gathered, recovery: Recovery::default() };
    let snapshots = snapshot::list(&shared.seams.disk, wal.folder())?;
    let from = snapshots.last().map_or(0, |(number, _)| *number);
    // A crash between publishing a snapshot and removing the one before leaves two: the newer says it all.
    if let Some((number, len)) = snapshots.last() {
        replay.recovery.snapshot_bytes = *len;
        replay.read_snapshot(wal, *number)?;
    }
    let found = wal.replay(from, |kind, payload| replay.frame(kind, payload))?;
    replay.apply();
    let recovery = &mut replay.recovery;
    recovery.segments = found.segments;
    recovery.frames += found.frames;
    recovery.frames_lost += found.lost_frames;
    for (number, damage) in &found.damaged {
        note_damage(recovery, &format!("segment {number}"), damage);
    }
    if recovery.orphans > 0 || recovery.frames_lost > 0 {
        tracing::warn!(
            frames_lost = recovery.frames_lost,
            orphans = recovery.orphans,
            "the log is not whole: samples were lost to damage"
        );
    }
    recovery.series = shared.series_total.load(Ordering::Relaxed) as u64;
    recovery.millis = u64::try_from((shared.seams.clock.monotonic() - begin).as_millis()).unwrap_or(u64::MAX);
    // Names of series are never used again, also those that only lost definitions had.
    shared.next_id.store(replay.id_max.saturating_add(1), Ordering::Relaxed);
    if !found.synced {
        shared.define_all(wal);
    }
    Ok(replay.recovery)
}

fn note_damage(recovery: &mut Recovery, place: &str, damage: &Damage) {
    for hole in &damage.holes {
        recovery.damages += 1;
        tracing::warn!(
            place,
            offset = hole.offset,
            bytes = hole.len,
            "damaged bytes in the log; reading on behind them"
        );
    }
    if let Some(tail) = &damage.tail {
        recovery.cut_tails += 1;
        tracing::warn!(
            place,
            offset = tail.offset,
            bytes = tail.len,
            "the end of the log is cut or damaged: a write that a crash interrupted"
        );
    }
}

impl Replay<'_> {
    fn read_snapshot(&mut self, wal: &Wal, number: u64) -> io::Result<()> {
        let file = snapshot::open(&self.shared.seams.disk, wal.folder(), number)?;
        let mut reader = FrameReader::new(&file)?;
        let mut last = 0;
        let mut ended = false;
        while let Some((header, payload)) = reader.next_frame()? {
            self.recovery.frames_lost += header.sequence.saturating_sub(last + 1);
            last = header.sequence;
            ended |= header.kind == END;
            self.recovery.frames += 1;
            self.frame(header.kind, payload);
        }
        if !ended {
            self.recovery.frames_lost += 1;
        }
        note_damage(&mut self.recovery, &format!("snapshot {number}"), reader.damage());
        Ok(())
    }

    /// Takes a frame; frames of one kind are gathered, to be applied by several threads at once.
    fn frame(&mut self, kind: u8, payload: &[u8]) {
        if !matches!(kind, DEFINITIONS | BATCH | COLUMNS) {
            return;
        }
        if self.gathered.kind != kind {
            self.apply();
            self.gathered.kind = kind;
        }
        self.gathered.bytes += payload.len();
        self.gathered.payloads.push(payload.to_vec());
        if self.gathered.bytes >= GATHER_BYTES {
            self.apply();
        }
    }

    fn apply(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        let done = apply(self.shared, &self.refs, &gathered);
        for (id, reference) in done.defined {
            self.refs.insert(id, reference);
        }
        self.id_max = self.id_max.max(done.id_max);
        self.recovery.frames_lost += done.frames_lost;
        self.recovery.orphans += done.orphans;
    }
}

/// The samples of a chunk of native histograms.
pub(super) fn read_histograms(bytes: &[u8]) -> Result<Vec<HistogramSample>, CodecError> {
    let (mut times, mut starts, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut target = Target { times: &mut times, starts: &mut starts };
    chunk::decode_histograms(bytes, i64::MIN, i64::MAX, &mut target, &mut values)?;
    starts.resize(times.len(), 0);
    Ok(times
        .into_iter()
        .zip(starts)
        .zip(values)
        .map(|((time, start), value)| HistogramSample { time, start, value: Arc::clone(&value) })
        .collect())
}

/// What a start found, kept for the API.
#[derive(Debug, Default)]
pub(super) struct LastRecovery(Mutex<Recovery>);

impl LastRecovery {
    pub(super) fn set(&self, recovery: Recovery) {
        *self.0.lock() = recovery;
    }

    pub(super) fn get(&self) -> Recovery {
        self.0.lock().clone()
    }
}
