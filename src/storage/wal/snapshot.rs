//! Snapshots: files of frames that stand for every segment below their number.
//!
//! A snapshot is written under a temporary name, synced, renamed, and its folder synced; only then is what it covers
//! removed. It ends with a frame that says so: one without it was cut by a crash and never had its name.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::disk::{Disk, File, temporary_name};

use super::frame::push_frame;
use super::log::Wal;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;

/// Writes a snapshot.
#[derive(Debug)]
pub struct SnapshotWriter {
    disk: Disk,
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    offset: u64,
    buffer: Vec<u8>,
    sequence: u64,
}

/// The path of a snapshot.
pub fn snapshot_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.snapshot"))
}

impl SnapshotWriter {
    /// Begins a snapshot that will stand for the segments below `number`.
    pub fn create(disk: &Disk, folder: &Path, number: u64) -> io::Result<Self> {
        let path = snapshot_path(folder, number);
        let temporary = temporary_name(&path);
        match disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create_new(&temporary)?;
        Ok(Self { disk: disk.clone(), path, temporary, file, offset: 0, buffer: Vec::new(), sequence: 1 })
    }

    /// Adds a frame.
    pub fn push(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        push_frame(&mut self.buffer, kind, self.sequence, payload);
        self.sequence += 1;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Publishes the snapshot; answers its length.
    pub fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        self.file.sync()?;
        self.disk.rename(&self.temporary, &self.path)?;
        if let Some(folder) = self.path.parent() {
            self.disk.sync_dir(folder)?;
        }
        Ok(self.offset)
    }

    /// Gives up and removes what was written.
    pub fn abandon(self) {
        let _ = self.disk.remove(&self.temporary);
    }
}

/// Numbers and lengths of the snapshots in a folder, ascending.
pub fn list(disk: &Disk, folder: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut snapshots: Vec<(u64, u64)> = disk
        .list(folder)?
        .into_iter()
        .filter_map(|entry| Some((entry.name.strip_suffix(".snapshot")?.parse().ok()?, entry.len)))
        .collect();
    snapshots.sort_unstable();
    Ok(snapshots)
}

/// Opens a snapshot for reading.
pub fn open(disk: &Disk, folder: &Path, number: u64) -> io::Result<File> {
    disk.open(&snapshot_path(folder, number))
}

/// Removes the snapshots below a number, and what unfinished ones left.
pub fn remove_below(disk: &Disk, wal: &Wal, number: u64) -> io::Result<()> {
    let folder = wal.folder();
    for (snapshot, _) in list(disk, folder)? {
        if snapshot < number {
            wal.retire(&snapshot_path(folder, snapshot))?;
        }
    }
    for entry in disk.list(folder)?.into_iter().filter(|entry| entry.name.ends_with(".tmp")) {
        disk.remove(&folder.join(entry.name))?;
    }
    Ok(())
}
