//! What operators ask of a store that runs: copies of the whole, and flushes to their end.
//!
//! A snapshot folder is a data folder: links to the blocks of now, the columns in memory as a file of the log's folder,
//! and links to whatever else the data folder holds. It appears under its name when it is complete and on disk.

use std::io;
use std::path::Path;

use crate::storage::block::BlockError;
use crate::storage::wal::snapshot::SnapshotWriter;

use super::snapshot;
use super::store::{Shared, Store};

/// Where snapshots are, below the data folder.
const FOLDER: &str = "snapshots";

/// What of a data folder is not linked as it is.
const OWN: [&str; 5] = ["lock", "wal", "blocks", "reserve", FOLDER];

/// Folders inside the data folder are followed this deep.
const DEPTH_MAX: usize = 4;

impl Store {
    /// Makes a snapshot of the store; without the head what is only in memory and in the log is left out. Answers its
    /// name below `snapshots`. What was acknowledged before the call is in it.
    pub fn back_up(&self, skip_head: bool) -> io::Result<String> {
        self.shared().back_up(self.folder(), skip_head)
    }

    /// Whether what was flushed has left memory, with the log that held it. Readers that began before a flush keep it.
    pub fn settle_flush(&self) -> bool {
        self.shared().settle_flush()
    }

    /// Merges fresh blocks now, whatever their age. Answers how many were replaced.
    pub fn gather_blocks(&self) -> Result<usize, BlockError> {
        let Some(blocks) = self.blocks() else { return Ok(0) };
        let _work = self.shared().block_work.lock();
        blocks.gather(self.shared().seams.clock.now())
    }
}

/// Removes what a crash left of snapshots in the making.
pub(super) fn sweep(shared: &Shared, folder: &Path) {
    let folder = folder.join(FOLDER);
    let Ok(entries) = shared.seams.disk.list(&folder) else { return };
    for entry in entries.into_iter().filter(|entry| entry.is_dir && entry.name.ends_with(".tmp")) {
        if let Err(error) = shared.seams.disk.remove_dir_all(&folder.join(&entry.name)) {
            tracing::warn!(%error, snapshot = entry.name, "cannot remove an unfinished snapshot");
        }
    }
}

impl Shared {
    fn back_up(&self, folder: &Path, skip_head: bool) -> io::Result<String> {
        let Some(blocks) = &self.blocks else {
            return Err(io::Error::other("nothing is on disk with the durability `memory`"));
        };
        self.check_whole()?;
        // Nothing leaves memory for a block, no block is removed, and nothing is deleted meanwhile.
        let _flush = self.flush.pause();
        let _work = self.block_work.lock();
        let name = self.snapshot_name();
        let root = folder.join(FOLDER);
        let (unfinished, finished) = (root.join(format!("{name}.tmp")), root.join(&name));
        let disk = &self.seams.disk;
        let made = blocks
            .link_into(&unfinished.join("blocks"))
            .and_then(|()| self.write_head(&unfinished.join("wal"), skip_head))
            .and_then(|()| self.link_rest(folder, &unfinished, 0))
            .and_then(|()| disk.sync_dir(&unfinished))
            .and_then(|()| disk.rename(&unfinished, &finished))
            .and_then(|()| disk.sync_dir(&root))
            .and_then(|()| disk.sync_dir(folder));
        if let Err(error) = made {
            let _ = disk.remove_dir_all(&unfinished);
            return Err(error);
        }
        Ok(name)
    }

    /// As Prometheus names them: the time, and random digits.
    fn snapshot_name(&self) -> String {
        let now = jiff::Timestamp::from_millisecond(self.seams.clock.now()).unwrap_or_default();
        format!("{}-{:016x}", now.strftime("%Y%m%dT%H%M%SZ"), self.seams.rng.next_u64())
    }

    fn write_head(&self, folder: &Path, skip_head: bool) -> io::Result<()> {
        self.seams.disk.create_dir_all(folder)?;
        if let Some(wal) = self.wal.as_ref().filter(|_| !skip_head) {
            let mut writer = SnapshotWriter::create(&self.seams.disk, folder, 1)?;
            snapshot::write_frames(self, wal, &mut writer)?;
            writer.finish()?;
        }
        self.seams.disk.sync_dir(folder)
    }

    /// Links what others keep beside the store. Their files are replaced as a whole, never changed.
    fn link_rest(&self, from: &Path, to: &Path, depth: usize) -> io::Result<()> {
        let disk = &self.seams.disk;
        for entry in disk.list(from)? {
            let is_own = depth == 0 && OWN.contains(&entry.name.as_str());
            if is_own || entry.name.ends_with(".tmp") {
                continue;
            }
            let (source, target) = (from.join(&entry.name), to.join(&entry.name));
            if entry.is_dir {
                if depth < DEPTH_MAX {
                    disk.create_dir_all(&target)?;
                    self.link_rest(&source, &target, depth + 1)?;
                    disk.sync_dir(&target)?;
                }
                continue;
            }
            match disk.link(&source, &target) {
                // It was replaced or removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}
