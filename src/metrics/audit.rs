//! Reads the log of a data folder without opening the store: for `check`, `inspect` and `repair`.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::disk::Disk;
use crate::codec::CodecError;
use crate::codec::bytes::Reader;
use crate::storage::wal::decompressed;
use crate::storage::wal::frame::push_frame;
use crate::storage::wal::reader::{FrameReader, payloads};

use super::columns::Restored;
use super::deletion::read_deletions;
use super::histograms::read_histograms;
use super::record::{BATCH, COLUMNS, Columns, DEFINITIONS, DELETIONS, END, Item, read_batch, read_definitions};

/// Kind of a frame that says nothing.
const NOTHING: u8 = 0;

/// Lost frames in a row whose places are filled.
const FILLED_MAX: usize = 1 << 20;

/// What was found in one file of the log.
#[derive(Clone, Debug, Default)]
pub struct LogFile {
    pub path: PathBuf,
    pub len: u64,
    pub frames: u64,
    pub samples: u64,
    /// Oldest and newest time of its samples.
    pub bounds: Option<(i64, i64)>,
    /// What is damaged or missing, each in words.
    pub faults: Vec<String>,
}

/// Every file of a log: the newest snapshot, and the segments that it does not cover.
#[derive(Clone, Debug, Default)]
pub struct LogAudit {
    pub files: Vec<LogFile>,
    defined: HashSet<u64>,
    sequence: Option<u64>,
    /// Frames that can be understood, if they are wanted: for the file that is read.
    kept: Option<Vec<u8>>,
}

/// Reads the log in the folder `wal` of a data folder. Nothing is changed.
pub fn audit_log(disk: &Disk, folder: &Path) -> io::Result<LogAudit> {
    let mut audit = LogAudit::default();
    for (path, is_snapshot) in files(disk, folder)? {
        if let Err(error) = audit.read(disk, &path, is_snapshot) {
            let faults = vec![format!("it cannot be read: {error}")];
            audit.files.push(LogFile { path, faults, ..LogFile::default() });
        }
    }
    Ok(audit)
}

/// The good frames of a damaged file of the log, as they would stand in a whole one. Frames that say nothing take the
/// numbers of lost ones, so that a start does not count these again.
pub fn good_frames(disk: &Disk, folder: &Path, damaged: &Path) -> io::Result<Vec<u8>> {
    let mut audit = LogAudit::default();
    for (path, is_snapshot) in files(disk, folder)? {
        audit.kept = (path == damaged).then(Vec::new);
        audit.read(disk, &path, is_snapshot)?;
        if let Some(kept) = audit.kept.take() {
            return Ok(kept);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "it is no part of the log any more"))
}

/// The files that a start would read, in that order, and whether each is a snapshot.
fn files(disk: &Disk, folder: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    let entries = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let numbered = |suffix: &str| -> Vec<(u64, PathBuf)> {
        let number = |name: &str| name.strip_suffix(suffix)?.parse::<u64>().ok();
        entries.iter().filter_map(|entry| Some((number(&entry.name)?, folder.join(&entry.name)))).collect()
    };
    let newest = numbered(".snapshot").into_iter().max();
    let from = newest.as_ref().map_or(0, |(number, _)| *number);
    let mut segments = numbered(".wal");
    segments.sort_unstable();
    let segments = segments.into_iter().filter(|(number, _)| *number >= from).map(|(_, path)| (path, false));
    Ok(newest.map(|(_, path)| (path, true)).into_iter().chain(segments).collect())
}

impl LogAudit {
    fn read(&mut self, disk: &Disk, path: &Path, is_snapshot: bool) -> io::Result<()> {
        let file = disk.open(path)?;
        let mut found = LogFile { path: path.to_owned(), len: file.len()?, ..LogFile::default() };
        // As a start does: definitions stand twice, and the second may be all that is left.
        payloads(disk, path, DEFINITIONS, |payload| {
            let _ = define(payload, &mut self.defined);
        })?;
        let mut reader = FrameReader::new(&file)?;
        let mut ended = false;
        // A snapshot counts for itself.
        let mut last = if is_snapshot { Some(0) } else { self.sequence };
        while let Some((header, payload)) = reader.next_frame() {
            found.frames += 1;
            if let Some(before) = last.filter(|before| header.sequence > before + 1) {
                let (from, to) = (before + 1, header.sequence - 1);
                let around =
                    found.bounds.map_or_else(String::new, |(_, newest)| format!(", behind samples of {newest} ms"));
                found.faults.push(format!("frames {from} to {to} are missing{around}"));
                self.fill(from, to);
            }
            last = last.max(Some(header.sequence));
            ended |= header.kind == END;
            match understand(header.kind, payload, &mut self.defined, &mut found) {
                Ok(()) => {
                    if let Some(kept) = &mut self.kept {
                        push_frame(kept, header.kind, header.sequence, payload);
                    }
                }
                Err(error) => {
                    found.faults.push(format!("frame {} cannot be understood: {error}", header.sequence));
                    self.fill(header.sequence, header.sequence);
                }
            }
        }
        let damage = reader.damage();
        let hole =
            |hole: &crate::storage::wal::reader::Hole| format!("{} bytes at {} are no frames", hole.len, hole.offset);
        found.faults.extend(damage.holes.iter().map(hole));
        if damage.unreadable > 0 {
            found.faults.push(format!("{} bytes cannot be read from the disk", damage.unreadable));
        }
        if let Some(tail) = &damage.tail {
            let (len, offset) = (tail.len, tail.offset);
            let why = "a crash cut a write short, or the last frame is damaged";
            found.faults.push(format!("{len} bytes at its end, from {offset} on, are no frames: {why}"));
        }
        if is_snapshot && !ended {
            found.faults.push("its last frame is missing".to_owned());
            let next = last.unwrap_or(0) + 1;
            self.kept.iter_mut().for_each(|kept| push_frame(kept, END, next, &[]));
        }
        if !is_snapshot {
            self.sequence = last;
        }
        self.files.push(found);
        Ok(())
    }

    /// Puts frames that say nothing in the place of lost ones.
    fn fill(&mut self, from: u64, to: u64) {
        let Some(kept) = &mut self.kept else { return };
        (from..=to).take(FILLED_MAX).for_each(|sequence| push_frame(kept, NOTHING, sequence, &[]));
    }
}

/// Notes what a frame defines.
fn define(payload: &[u8], defined: &mut HashSet<u64>) -> Result<(), CodecError> {
    let plain = decompressed(payload).map_err(|_| CodecError("definitions cannot be decompressed"))?;
    read_definitions(&plain, |id, _| {
        defined.insert(id);
    })
}

/// Decodes all that a frame holds.
fn understand(kind: u8, payload: &[u8], defined: &mut HashSet<u64>, found: &mut LogFile) -> Result<(), CodecError> {
    let mut unknown = false;
    match kind {
        DEFINITIONS => define(payload, defined)?,
        BATCH => {
            let mut result = Ok(());
            read_batch(payload, &mut Columns::default(), |_, item| match item {
                Item::Float { id, time, .. } => {
                    unknown |= !defined.contains(&id);
                    found.note(1, time, time);
                }
                Item::Histogram { id, chunk } => {
                    unknown |= !defined.contains(&id);
                    match read_histograms(chunk, i64::MIN, i64::MAX) {
                        Ok(samples) => samples.iter().for_each(|sample| found.note(1, sample.time, sample.time)),
                        Err(error) => result = Err(error),
                    }
                }
                Item::Exemplar { .. } | Item::Metadata { .. } => {}
            })?;
            result?;
        }
        COLUMNS => {
            let mut reader = Reader::new(payload);
            while !reader.is_empty() {
                unknown |= !defined.contains(&reader.varint()?);
                let restored = Restored::read(&mut reader)?;
                restored.histograms.read(i64::MIN, i64::MAX)?;
                restored.spans().for_each(|(count, first, last)| found.note(count, first, last));
            }
        }
        DELETIONS => drop(read_deletions(payload)?),
        _ => {}
    }
    if unknown { Err(CodecError("it refers to a series that is not defined")) } else { Ok(()) }
}

impl LogFile {
    fn note(&mut self, samples: u64, first: i64, last: i64) {
        self.samples += samples;
        self.bounds = Some(self.bounds.map_or((first, last), |(from, to)| (from.min(first), to.max(last))));
    }
}
