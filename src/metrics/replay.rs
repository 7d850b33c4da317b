//! Brings the store back to where it was: the newest snapshot, then the log behind it.
//!
//! What is read goes to shards of its own (by way of `crew`), while those of the store already take new samples. When
//! all is read, each restored shard takes the place of its twin and what came meanwhile is appended to it. So readers
//! see nothing of the log or all of it, appenders and replay never meet, and series of the log come back in the order
//! of the log.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::CodecError;
use crate::codec::bytes::Reader;
use crate::storage::wal::reader::{Damage, FrameReader, payloads};
use crate::storage::wal::{Step, Wal, decompressed, segment_path, snapshot};

use super::columns::Restored;
use super::crew::{Crew, with_crew};
use super::deletion::{delete_in, evict_if_empty, read_deletions};
use super::exemplars::Exemplars;
use super::metadata::Families;
use super::record::{
    BATCH, COLUMNS, Columns, DEFINITIONS, DELETIONS, END, Item, put_definition, read_batch, read_definitions,
};
use super::refs::Refs;
use super::replayed::{Entry, Replayed};
use super::series::SeriesRef;
use super::shard::{Shards, new_shards};
use super::store::{OpenError, Shared, Store};

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

/// Removals that the restored shards are said to have seen: references into the shards before them are stale then.
const GENERATION: u32 = 1 << 30;

/// What is being restored, beside the store that already serves.
pub(super) struct Restoring<'a> {
    pub shared: &'a Shared,
    pub shards: Shards,
    pub exemplars: Exemplars,
    pub families: Families,
}

/// The reading of the log.
struct Replay<'a, 'b> {
    head: &'a Restoring<'a>,
    wal: &'a Wal,
    crew: &'a mut Crew<'b>,
    refs: Refs,
    /// The file that is read, until all its definitions are known.
    file: Option<PathBuf>,
    segment: u64,
    id_max: u64,
    columns: Columns,
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
    let snapshots = snapshot::list(&shared.seams.disk, wal.folder())?;
    // A crash between publishing a snapshot and removing the one before leaves two: the newer says it all.
    let newest = snapshots.last().copied();
    let segments = wal.found(newest.map_or(0, |(number, _)| number))?;
    shared.progress.start(&segments, newest);
    let bytes = newest.map_or(0, |(_, len)| len) + segments.iter().map(|(_, len)| len).sum::<u64>();
    let Some((mut recovery, id_max)) = with_crew(&head, bytes, |crew| Replay::new(&head, wal, crew).read(newest))?
    else {
        return Ok(None);
    };
    if recovery.orphans > 0 || recovery.frames_lost > 0 {
        tracing::warn!(
            frames_lost = recovery.frames_lost,
            orphans = recovery.orphans,
            "the log is not whole: samples were lost to damage"
        );
    }
    // Names of series are never used again, also those that only lost definitions had.
    shared.next_id.fetch_max(id_max.saturating_add(1), Ordering::Relaxed);
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
    let mut buffer = Vec::new();
    for shard in shards {
        let mut definitions = Vec::new();
        let shard = shard.lock();
        for (_, series) in shard.iter() {
            let labels = shard.symbols().encoded(&series.labels).into_encoded(&mut buffer);
            put_definition(&mut definitions, series.id, labels);
        }
        drop(shard);
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

impl<'a, 'b> Replay<'a, 'b> {
    fn new(head: &'a Restoring<'a>, wal: &'a Wal, crew: &'a mut Crew<'b>) -> Self {
        Self {
            head,
            wal,
            crew,
            refs: Refs::default(),
            file: None,
            segment: 0,
            id_max: 0,
            columns: Columns::default(),
            emptied: Vec::new(),
            recovery: Recovery::default(),
        }
    }

    /// Reads the snapshot with this number and length, and the segments behind it. Answers what it found and the
    /// highest name of a series; `None` where the store was closed before the end.
    fn read(mut self, newest: Option<(u64, u64)>) -> io::Result<Option<(Recovery, u64)>> {
        if let Some((number, len)) = newest {
            self.recovery.snapshot_bytes = len;
            self.read_snapshot(number)?;
        }
        let found = self.wal.replay(newest.map_or(0, |(number, _)| number), |step| self.step(step))?;
        if self.head.shared.progress.is_stopped() {
            return Ok(None);
        }
        self.settle();
        for series in &self.emptied {
            evict_if_empty(&self.head.shards, *series);
        }
        let recovery = &mut self.recovery;
        recovery.segments = found.segments;
        recovery.frames += found.frames;
        recovery.frames_lost += found.lost_frames;
        for (number, damage) in &found.damaged {
            note_damage(recovery, &format!("segment {number}"), damage);
        }
        Ok(Some((self.recovery, self.id_max)))
    }

    fn read_snapshot(&mut self, number: u64) -> io::Result<()> {
        let (shared, wal) = (self.head.shared, self.wal);
        let path = snapshot::snapshot_path(wal.folder(), number);
        self.file = Some(path.clone());
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
        if step.segment != self.segment {
            (self.segment, self.file) = (step.segment, Some(segment_path(self.wal.folder(), step.segment)));
        }
        self.frame(step.kind, step.payload);
        ControlFlow::Continue(())
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) {
        let result = match kind {
            DEFINITIONS => self.definitions(payload),
            BATCH => self.batch(payload),
            COLUMNS => self.columns(payload),
            DELETIONS => {
                self.settle();
                self.delete(payload);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.recovery.frames_lost += 1;
            tracing::warn!(kind, %error, "a frame of the log cannot be understood");
        }
    }

    fn definitions(&mut self, payload: &[u8]) -> Result<(), CodecError> {
        let payload = decompressed(payload).map_err(|_| CodecError("definitions cannot be decompressed"))?;
        let mut is_new = false;
        let result = read_definitions(&payload, |id, encoded| {
            self.id_max = self.id_max.max(id);
            if self.refs.get(id).is_none() {
                is_new = true;
                let shard = self.head.shared.shard_number(xxh3_64(encoded));
                self.crew.entry(shard, Entry::Definition(id), encoded);
            }
        });
        if is_new {
            // The next frame may need them.
            self.settle();
        }
        result
    }

    fn batch(&mut self, payload: &[u8]) -> Result<(), CodecError> {
        let mut columns = std::mem::take(&mut self.columns);
        let result = read_batch(payload, &mut columns, |dedup, item| self.item(dedup, item));
        self.columns = columns;
        result
    }

    #[inline]
    fn item(&mut self, dedup: i64, item: Item<'_>) {
        match item {
            Item::Float { id, time, start, value } => {
                if let Some(series) = self.find(id) {
                    self.crew.float(series, &Replayed { dedup, time, start, value });
                }
            }
            Item::Histogram { id, chunk } => {
                if let Some(series) = self.find(id) {
                    self.crew.entry(series.shard as usize, Entry::Histograms(series, dedup), chunk);
                }
            }
            Item::Exemplar { id, exemplar } => {
                if let Some(series) = self.find(id) {
                    self.crew.exemplar(series, exemplar);
                }
            }
            Item::Metadata { family, metadata } => {
                self.head.families.set(family, &metadata);
            }
        }
    }

    /// The series of an id. One that nobody defined is counted.
    #[inline]
    fn find(&mut self, id: u64) -> Option<SeriesRef> {
        self.id_max = self.id_max.max(id);
        self.refs.get(id).or_else(|| self.find_behind(id))
    }

    /// Definitions stand before what refers to them and once more behind it. Where the first are damaged, those in the
    /// rest of the file are looked for, once in each file.
    #[cold]
    fn find_behind(&mut self, id: u64) -> Option<SeriesRef> {
        if let Some(path) = self.file.take() {
            let disk = &self.head.shared.seams.disk;
            // What cannot be read or understood is reported when its turn comes.
            let _ = payloads(disk, &path, DEFINITIONS, |payload| {
                let _ = self.definitions(payload);
            });
        }
        let found = self.refs.get(id);
        self.recovery.orphans += u64::from(found.is_none());
        found
    }

    fn columns(&mut self, payload: &[u8]) -> Result<(), CodecError> {
        let mut reader = Reader::new(payload);
        while !reader.is_empty() {
            let id = reader.varint()?;
            let rest = reader.rest();
            Restored::skip(&mut reader)?;
            let bytes = rest.get(..rest.len() - reader.rest().len()).unwrap_or(rest);
            if let Some(series) = self.find(id) {
                self.crew.entry(series.shard as usize, Entry::Columns(series), bytes);
            }
        }
        Ok(())
    }

    /// Waits until everything that was read is in place.
    fn settle(&mut self) {
        let done = self.crew.settle();
        for (id, reference) in done.defined {
            self.refs.insert(id, reference);
        }
        self.recovery.frames_lost += done.lost;
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
