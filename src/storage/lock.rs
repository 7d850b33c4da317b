//! One process for each data folder.

use std::io;
use std::path::Path;

use crate::base::disk::{Disk, Lock};

/// Name of the lock file. It stays when the process ends; the lock on it does not.
const LOCK_FILE: &str = "lock";

/// Held while this process owns a data folder.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "held for its drop")] Lock);

impl FolderLock {
    /// Takes the folder; `None` where another process has it.
    pub fn take(disk: &Disk, folder: &Path) -> io::Result<Option<Self>> {
        Ok(disk.lock(&folder.join(LOCK_FILE))?.map(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::real();
        let held = FolderLock::take(&disk, folder.path()).unwrap();
        assert!(held.is_some());
        assert!(FolderLock::take(&disk, folder.path()).unwrap().is_none());
        drop(held);
        assert!(FolderLock::take(&disk, folder.path()).unwrap().is_some());
    }
}
