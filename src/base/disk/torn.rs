//! What lies between a call and the disk of the simulation: unsynced writes and names, which a power cut keeps in part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::rng::Rng;

/// Bytes that reach the disk together or not at all.
const SECTOR: usize = 512;

/// A file: what programs see, what is on disk, and the writes between the two.
#[derive(Debug, Default)]
pub(super) struct Inode {
    pub seen: Vec<u8>,
    pub durable: Vec<u8>,
    pub pending: Vec<Write>,
    /// Bytes from and to which the disk cannot read.
    pub bad: Option<(usize, usize)>,
}

impl Inode {
    pub(super) fn is_bad(&self, offset: usize, len: usize) -> bool {
        self.bad.is_some_and(|(from, to)| offset < to && from < offset.saturating_add(len))
    }
}

/// An unsynced write.
#[derive(Debug)]
pub(super) struct Write {
    pub offset: usize,
    pub bytes: Vec<u8>,
}

/// An unsynced change of a name.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create { path: PathBuf, inode: u64 },
    Rename { from: PathBuf, to: PathBuf, inode: u64 },
    Remove { path: PathBuf },
}

impl NameChange {
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Create { path, .. } | Self::Remove { path } => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove { path } => {
                names.remove(path);
            }
        }
    }
}

impl Write {
    pub(super) fn apply(&self, target: &mut Vec<u8>) {
        let end = self.offset + self.bytes.len();
        if target.len() < end {
            target.resize(end, 0);
        }
        if let Some(slot) = target.get_mut(self.offset..end) {
            slot.copy_from_slice(&self.bytes);
        }
    }

    /// Keeps any of the sectors.
    pub(super) fn apply_torn(&self, rng: &Rng, target: &mut Vec<u8>) {
        let mut at = 0;
        while at < self.bytes.len() {
            let sector_end = (self.offset + at) / SECTOR * SECTOR + SECTOR - self.offset;
            let end = sector_end.min(self.bytes.len());
            if rng.chance(0.5) {
                let bytes = self.bytes.get(at..end).unwrap_or(&[]).to_vec();
                Self { offset: self.offset + at, bytes }.apply(target);
            }
            at = end;
        }
    }
}
