//! Files and folders: the machine's, or simulated ones that crash, tear and rot on command.
//!
//! Owns every call that touches a file of the store. Promises no more than a disk does: what was written is on disk
//! only after `File::sync`, and a name (created, renamed, removed) only after `Disk::sync_dir` of its folder. Does not
//! retry, buffer or hide errors: the layers above decide what a failed call means.

mod damage;
mod real;
pub mod sealed;
mod sim;
mod torn;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use real::RealFile;
pub use sim::{Crash, Faults, SimDisk, SimFile, SimLock};

use crate::base::rng::Rng;

/// What is read at once where a larger read failed: disks lose whole sectors of this size.
const PIECE: usize = 4_096;

/// Pieces that failed after which the rest of a read is given up: a disk that is gone takes its time for each.
const FAILURES_MAX: u64 = 64;

/// Where files live. Clones share the same files.
#[derive(Clone, Debug)]
pub enum Disk {
    /// The machine's file system.
    Real,
    /// Lives in memory and fails on command.
    Simulated(Arc<SimDisk>),
}

/// What a folder holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
    pub len: u64,
}

/// Bytes of a file system; `u64::MAX` where there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What may still be written by us.
    pub free: u64,
    pub total: u64,
}

/// An open file. Writes go to explicit offsets, so that a torn write is never followed by a blind append.
#[derive(Debug)]
pub enum File {
    Real(RealFile),
    Simulated(SimFile),
}

/// Held while a process owns a folder; released on drop and at the end of the process.
#[derive(Debug)]
pub enum Lock {
    Real(RealFile),
    Simulated(SimLock),
}

impl Disk {
    /// The machine's file system.
    pub fn real() -> Self {
        Self::Real
    }

    /// An empty disk in memory, with the hand that makes it fail.
    pub fn simulated(rng: Rng) -> (Self, Arc<SimDisk>) {
        let sim = SimDisk::new(rng);
        (Self::Simulated(Arc::clone(&sim)), sim)
    }

    /// Whether this disk only exists in a test: what works on it must not start threads.
    pub fn is_simulated(&self) -> bool {
        match self {
            Self::Real => false,
            Self::Simulated(_) => true,
        }
    }

    /// Makes a folder and those above it. The new names are durable after `sync_dir` of their parents.
    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => real::create_dir_all(path),
            Self::Simulated(sim) => sim.create_dir_all(path),
        }
    }

    /// What a folder holds, ascending by name. Names that are not UTF-8 are left out: the store never writes such.
    pub fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = match self {
            Self::Real => real::list(path)?,
            Self::Simulated(sim) => sim.list(path)?,
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Creates a file for writing and reading; fails where the name exists.
    pub fn create_new(&self, path: &Path) -> io::Result<File> {
        match self {
            Self::Real => RealFile::create_new(path).map(File::Real),
            Self::Simulated(sim) => sim.create_new(path).map(File::Simulated),
        }
    }

    /// Opens an existing file for reading.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        match self {
            Self::Real => RealFile::open(path).map(File::Real),
            Self::Simulated(sim) => sim.open(path).map(File::Simulated),
        }
    }

    /// Gives a file another name, replacing what was there.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Real => real::rename(from, to),
            Self::Simulated(sim) => sim.rename(from, to),
        }
    }

    /// Gives a file a second name. Whoever changes a file by one name changes it by both: only for files that never
    /// change. Copies it where the file system knows no second names.
    pub fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let linked = match self {
            Self::Real => real::link(from, to),
            Self::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        match linked {
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
                self.copy(from, to)
            }
            other => other,
        }
    }

    /// Copies a file to a name that is not taken, and syncs the copy.
    pub fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (source, target) = (self.open(from)?, self.create_new(to)?);
        let (mut buffer, mut offset) = (vec![0; 1 << 20], 0);
        loop {
            let read = source.read_at(&mut buffer, offset)?;
            if read == 0 {
                return target.sync();
            }
            target.write_at(buffer.get(..read).unwrap_or_default(), offset)?;
            offset += read as u64;
        }
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => real::remove(path),
            Self::Simulated(sim) => sim.remove(path),
        }
    }

    /// Removes a folder with all that it holds.
    pub fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => real::remove_dir_all(path),
            Self::Simulated(sim) => sim.remove_dir_all(path),
        }
    }

    /// Makes the names in a folder durable.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => real::sync_dir(path),
            Self::Simulated(sim) => sim.sync_dir(path),
        }
    }

    /// Takes the lock file at `path`, creating it if need be; `None` where another process holds it.
    pub fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        match self {
            Self::Real => Ok(real::lock(path)?.map(Lock::Real)),
            Self::Simulated(sim) => Ok(sim.lock(path)?.map(Lock::Simulated)),
        }
    }

    /// The space of the file system of `path`.
    pub fn space(&self, path: &Path) -> io::Result<Space> {
        match self {
            Self::Real => real::space(path),
            Self::Simulated(sim) => Ok(sim.space()),
        }
    }

    /// Reads a whole file that is known to be small: more than `limit` bytes are an error.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let len = file.len()?;
        if len > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{} has {len} bytes", path.display())));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// As `read`, over places that the disk cannot read: zeros stand for them. Answers how many bytes these are too.
    pub fn read_salvaged(&self, path: &Path, limit: u64) -> io::Result<(Vec<u8>, u64)> {
        let file = self.open(path)?;
        let len = file.len()?;
        if len > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{} has {len} bytes", path.display())));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let (read, unreadable) = file.read_over(&mut bytes, 0);
        bytes.truncate(read);
        Ok((bytes, unreadable))
    }

    /// Publishes bytes under a name: a temporary file is written and synced, then renamed, then its folder synced.
    pub fn publish(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = temporary_name(path);
        match self.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.create_new(&temporary)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        self.rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| self.sync_dir(folder))
    }
}

/// The name under which a file is written before it is published.
pub fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

impl File {
    /// Writes all bytes at an offset.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.write_at(bytes, offset),
            Self::Simulated(file) => file.write_at(bytes, offset),
        }
    }

    /// Reads until the buffer is full or the file ends; answers how many bytes there were.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Real(file) => file.read_at(buffer, offset),
            Self::Simulated(file) => file.read_at(buffer, offset),
        }
    }

    /// As `read_at`, over places that the disk cannot read: zeros stand for them. Answers how many bytes there were, and
    /// how many of these could not be read.
    pub fn read_over(&self, buffer: &mut [u8], offset: u64) -> (usize, u64) {
        if let Ok(read) = self.read_at(buffer, offset) {
            return (read, 0);
        }
        let (mut at, mut unreadable, mut failures) = (0, 0, 0);
        while at < buffer.len() {
            let within = usize::try_from((offset + at as u64) % PIECE as u64).unwrap_or(0);
            let end = (at + PIECE - within).min(buffer.len());
            let Some(piece) = buffer.get_mut(at..end) else { break };
            let wanted = piece.len();
            let read = if failures < FAILURES_MAX { self.read_at(piece, offset + at as u64).ok() } else { None };
            match read {
                Some(read) if read < wanted => return (at + read, unreadable),
                Some(_) => {}
                None => {
                    piece.fill(0);
                    failures += 1;
                    unreadable += wanted as u64;
                }
            }
            at = end;
        }
        (at, unreadable)
    }

    /// Makes what was written durable, with the file's length. After an error the state of unsynced bytes is unknown,
    /// and a second call may lie: write them again to another file.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync(),
            Self::Simulated(file) => file.sync(),
        }
    }

    /// Cuts the file or extends it with zeros.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.set_len(len),
            Self::Simulated(file) => file.set_len(len),
        }
    }

    /// Gives an empty file this length and the space for it. Where that fails it may have a part of it.
    pub fn allocate(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.allocate(len),
            Self::Simulated(file) => file.allocate(len),
        }
    }

    pub fn len(&self) -> io::Result<u64> {
        match self {
            Self::Real(file) => file.len(),
            Self::Simulated(file) => file.len(),
        }
    }

    pub fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
}
