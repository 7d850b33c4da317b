//! Damaged files of the log: when a snapshot makes them needless they get another name instead of being removed.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use parking_lot::Mutex;

use crate::base::disk::Disk;

/// What a name ends with that a damaged file gets.
const SUFFIX: &str = ".damaged";

/// Files that are kept; the oldest go first.
const KEPT_MAX: usize = 8;

/// Names of files of the log that a start found damaged.
#[derive(Debug, Default)]
pub(super) struct Damaged(Mutex<BTreeSet<String>>);

impl Damaged {
    pub(super) fn note(&self, name: String) {
        self.0.lock().insert(name);
    }

    /// Takes a file away that is not needed any more: by removing it, or by another name where it is damaged.
    pub(super) fn retire(&self, disk: &Disk, folder: &Path, name: &str) -> io::Result<()> {
        let path = folder.join(name);
        if !self.0.lock().contains(name) {
            return disk.remove(&path);
        }
        disk.rename(&path, &folder.join(format!("{name}{SUFFIX}")))?;
        tracing::warn!(file = %path.display(), "a damaged file of the log is not needed any more: it was set aside");
        self.0.lock().remove(name);
        keep(disk, folder, KEPT_MAX)
    }
}

/// Removes all but the newest files that were set aside.
pub(super) fn keep(disk: &Disk, folder: &Path, count: usize) -> io::Result<()> {
    let mut names: Vec<String> = disk.list(folder)?.into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.ends_with(SUFFIX));
    names.iter().rev().skip(count).try_for_each(|name| disk.remove(&folder.join(name)))
}
