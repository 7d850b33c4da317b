//! Brings the store back to where it was: the newest snapshot, then the log behind it.
//!
//! What is read goes to shards of its own, while those of the store already take new samples. When all is read, each
//! restored shard takes the place of its twin and what came meanwhile is appended to it. So readers see nothing of the
//! log or all of it, appenders and replay never meet, and series of the log come back in the order of the log.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::storage::wal::reader::{Damage, FrameReader};
use crate::storage::wal::{Step, Wal, snapshot};

use super::deletion::{delete_in, evict_if_empty, read_deletions};
use super::exemplars::Exemplars;
use super::metadata::Families;
use super::record::{BATCH, COLUMNS, DEFINITIONS, DELETIONS, END, put_definition};
use super::series::SeriesRef;
use super::shard::{Shards, new_shards};
use super::store::{OpenError, Shared, Store};
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
    /// Bytes that the disk could not read.
    pub unreadable_bytes: u64,
    pub millis: u64,
}

/// Payload bytes that are gathered before they are applied.
const GATHER_BYTES: usize = 4 << 20;

/// Removals that the restored shards are said to have seen: references into the shards before them are stale then.
const GENERATION: u32 = 1 << 30;

/// What is being restored, beside the store that already serves.
pub(super) struct Restoring<'a> {
    pub shared: &'a Shared,
    pub shards: Shards,
    pub exemplars: Exemplars,
    pub families: Families,
}

/// Maps the names of series in the log to where they live now.
struct Replay<'a> {
    head: Restoring<'a>,
    refs: Refs,
    id_max: u64,
    gathered: Gathered,
    /// Series that a deletion left nothing of: the log may have more for them.
    emptied: Vec<SeriesRef>,
    recovery: Recovery,
}

impl Store {
    /// Reads the log, after [`Store::begin`]. To be called once, from a thread that may take its time; returns early
    /// when the store is closed meanwhile.
    ///
    /// # Errors
    /// Where files of the log cannot be read.
    pub fn replay(&self) -> Result<(), OpenError> {
        let shared = self.shared();
        let Some(wal) = &shared.wal else { return Ok(()) };
        let failed = |error| OpenError::Io { what: "read the log in", path: wal.folder().display().to_string(), error };
        if let Some(recovery) = replay(shared, wal).map_err(failed)? {
            shared.snapshot_bytes.store(recovery.snapshot_bytes, Ordering::Relaxed);
            shared.recovery.set(recovery);
            shared.progress.finish();
        }
        Ok(())
    }
}

/// Reads everything in the folder of the log. Answers what it found, with the length of the snapshot; `None` where the
/// store was closed before the end.
fn replay(shared: &Shared, wal: &Wal) -> io::Result<Option<Recovery>> {
    let begin = shared.seams.clock.monotonic();
    let head = Restoring {
        shared,
        shards: new_shards(shared.shards.len(), GENERATION),
        exemplars: Exemplars::new(shared.config.exemplar_bytes_max),
        families: Families::new(shared.config.metadata_families_max),
    };
    let recovery = Recovery::default();
    let (refs, gathered) = (Refs::default(), Gathered::default());
    let mut replay = Replay { head, refs, id_max: 0, gathered, emptied: Vec::new(), recovery };
    let snapshots = snapshot::list(&shared.seams.disk, wal.folder())?;
    // A crash between publishing a snapshot and removing the one before leaves two: the newer says it all.
    let newest = snapshots.last().copied();
    let from = newest.map_or(0, |(number, _)| number);
    shared.progress.start(&wal.found(from)?, newest);
    if let Some((number, len)) = newest {
        replay.recovery.snapshot_bytes = len;
        replay.read_snapshot(wal, number)?;
    }
    let found = wal.replay(from, |step| replay.step(step))?;
    if shared.progress.is_stopped() {
        return Ok(None);
    }
    replay.apply();
    for series in &replay.emptied {
        evict_if_empty(&replay.head.shards, *series);
    }
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
    // Names of series are never used again, also those that only lost definitions had.
    shared.next_id.fetch_max(replay.id_max.saturating_add(1), Ordering::Relaxed);
    let Replay { head, mut recovery, refs, .. } = replay;
    drop(refs);
    if !shared.log_is_synced.load(Ordering::Relaxed) {
        define_all(&head.shards, wal);
    }
    recovery.series = head.shards.iter().map(|shard| shard.lock().len() as u64).sum();
    shared.put_below(head);
    recovery.millis = u64::try_from((shared.seams.clock.monotonic() - begin).as_millis()).unwrap_or(u64::MAX);
    Ok(Some(recovery))
}

/// Defines series in the log again, before anything that refers to them is written.
fn define_all(shards: &Shards, wal: &Wal) {
    for shard in shards {
        let mut definitions = Vec::new();
        for (_, series) in shard.lock().iter() {
            put_definition(&mut definitions, series.id, series.labels.as_encoded());
        }
        if !definitions.is_empty() {
            wal.prelude(DEFINITIONS, &definitions);
        }
    }
}

impl Shared {
    /// Puts what was restored below what came meanwhile.
    fn put_below(&self, restored: Restoring<'_>) {
        for (live, restored) in self.shards.iter().zip(restored.shards) {
            let mut live = live.lock();
            let before = live.len();
            let meanwhile = std::mem::replace(&mut *live, restored.into_inner().into_inner());
            live.take_all(meanwhile);
            self.series_total.fetch_add(live.len() - before, Ordering::Relaxed);
        }
        self.exemplars.put_below(restored.exemplars);
        self.families.put_below(restored.families);
        // Results that were kept meanwhile lack what was restored.
        self.changes.note(i64::MIN);
    }
}

fn note_damage(recovery: &mut Recovery, place: &str, damage: &Damage) {
    if damage.unreadable > 0 || damage.error.is_some() {
        recovery.damages += 1;
        recovery.unreadable_bytes += damage.unreadable;
        let error = damage.error.as_deref().unwrap_or("read error");
        tracing::warn!(place, bytes = damage.unreadable, error, "the disk cannot read a part of the log");
    }
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
        let shared = self.head.shared;
        let path = snapshot::snapshot_path(wal.folder(), number);
        let file = match shared.seams.disk.open(&path).and_then(|file| file.len().map(|_| file)) {
            Ok(file) => file,
            Err(error) => {
                wal.note_damaged(&path);
                let damage = Damage::unopened(&error, self.recovery.snapshot_bytes);
                note_damage(&mut self.recovery, &format!("snapshot {number}"), &damage);
                return Ok(());
            }
        };
        let mut reader = FrameReader::new(&file)?;
        let mut last = 0;
        let mut ended = false;
        loop {
            shared.progress.at_snapshot(reader.position());
            let Some((header, payload)) = reader.next_frame() else { break };
            if shared.progress.is_stopped() {
                return Ok(());
            }
            self.recovery.frames_lost += header.sequence.saturating_sub(last + 1);
            last = header.sequence;
            ended |= header.kind == END;
            self.recovery.frames += 1;
            self.frame(header.kind, payload);
        }
        if !ended {
            self.recovery.frames_lost += 1;
        }
        // The end of a snapshot was synced before it got its name.
        if reader.damage() != &Damage::default() {
            wal.note_damaged(&path);
        }
        note_damage(&mut self.recovery, &format!("snapshot {number}"), reader.damage());
        Ok(())
    }

    fn step(&mut self, step: Step<'_>) -> ControlFlow<()> {
        let progress = &self.head.shared.progress;
        progress.at_segment(step.segment, step.offset);
        if progress.is_stopped() {
            return ControlFlow::Break(());
        }
        self.frame(step.kind, step.payload);
        ControlFlow::Continue(())
    }

    /// Takes a frame; frames of one kind are gathered, to be applied by several threads at once.
    fn frame(&mut self, kind: u8, payload: &[u8]) {
        if kind == DELETIONS {
            self.apply();
            self.delete(payload);
        }
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

    fn delete(&mut self, payload: &[u8]) {
        match read_deletions(payload) {
            Ok(deletions) => {
                let emptied = deletions.iter().flat_map(|deletion| delete_in(&self.head.shards, deletion));
                self.emptied.extend(emptied);
            }
            Err(error) => {
                self.recovery.frames_lost += 1;
                tracing::warn!(%error, "a deletion in the log cannot be understood: its samples may be visible again");
            }
        }
    }

    fn apply(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        let done = apply(&self.head, &self.refs, &gathered);
        for (id, reference) in done.defined {
            self.refs.insert(id, reference);
        }
        self.id_max = self.id_max.max(done.id_max);
        self.recovery.frames_lost += done.frames_lost;
        self.recovery.orphans += done.orphans;
    }
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
