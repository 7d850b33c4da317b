//! Writes batches of frames to segments, and knows what to do when the disk refuses.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::disk::{Disk, File};

/// Unsynced bytes after which a log that syncs by time syncs at once: they are held in memory until then.
const UNSYNCED_MAX: usize = 32 << 20;

/// The end of the log.
#[derive(Debug)]
pub(super) struct Writer {
    disk: Disk,
    folder: PathBuf,
    segment_bytes_max: u64,
    /// The segment that takes the next batch; `None` before the first and after a failure.
    segment: Option<Segment>,
    /// Number of the next segment to be made.
    pub next_number: u64,
    /// What the present segment holds beyond its last sync, to be written again elsewhere if a sync fails.
    unsynced: Vec<u8>,
    /// When the present segment was first looked at by `age`.
    seen_since: Option<Duration>,
    /// Frame number of the next frame.
    pub sequence: u64,
    /// Failures that were healed by a fresh segment.
    pub healed: u64,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    len: u64,
}

/// The path of a segment.
pub fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.wal"))
}

impl Writer {
    pub(super) fn new(disk: Disk, folder: PathBuf, segment_bytes_max: u64) -> Self {
        Self {
            disk,
            folder,
            segment_bytes_max,
            segment: None,
            next_number: 1,
            unsynced: Vec::new(),
            seen_since: None,
            sequence: 1,
            healed: 0,
        }
    }

    /// Writes frames, and syncs them if asked to. An error means that they are not durable, not even by way of a fresh
    /// segment.
    pub(super) fn write(&mut self, frames: &[u8], sync: bool) -> io::Result<()> {
        if self.segment.as_ref().is_some_and(|segment| segment.len >= self.segment_bytes_max) {
            self.cut();
        }
        if self.segment.is_some() {
            match self.try_write(frames, sync) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "log segment failed; writing what is not synced to a fresh one");
                    self.healed += 1;
                }
            }
        }
        // The old segment stays as it is: what a failed sync left there is unknown, and replay takes what is good.
        self.segment = None;
        let unsynced = std::mem::take(&mut self.unsynced);
        let result = self.start_segment().and_then(|()| {
            if !unsynced.is_empty() {
                self.try_write(&unsynced, false)?;
            }
            self.try_write(frames, sync)
        });
        if result.is_err() {
            self.discard();
            self.unsynced = unsynced;
        }
        result
    }

    /// Gives the present segment up. One that took nothing is removed, or a full disk would fill with empty files.
    fn discard(&mut self) {
        if let Some(segment) = self.segment.take().filter(|segment| segment.len == 0) {
            let _ = self.disk.remove(&segment.path);
        }
    }

    fn try_write(&mut self, frames: &[u8], sync: bool) -> io::Result<()> {
        let Some(segment) = &mut self.segment else { return Err(io::Error::other("no open segment")) };
        segment.file.write_at(frames, segment.len)?;
        segment.len += frames.len() as u64;
        if sync {
            segment.file.sync()?;
            self.unsynced.clear();
        } else {
            self.unsynced.extend_from_slice(frames);
            if self.unsynced.len() > UNSYNCED_MAX {
                self.sync()?;
            }
        }
        Ok(())
    }

    /// Makes everything that was written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        if let Some(segment) = &self.segment {
            match segment.file.sync() {
                Ok(()) => {
                    self.unsynced = Vec::new();
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%error, "log sync failed; writing what is not synced to a fresh segment");
                    self.healed += 1;
                }
            }
        }
        self.segment = None;
        let unsynced = std::mem::take(&mut self.unsynced);
        let result = self.start_segment().and_then(|()| self.try_write(&unsynced, true));
        if result.is_err() {
            self.discard();
            self.unsynced = unsynced;
        }
        result
    }

    /// Ends the present segment, which must be durable as far as anybody was told: the next batch starts a fresh one.
    pub(super) fn cut(&mut self) {
        if self.sync().is_ok() {
            self.segment = None;
        }
    }

    /// Ends the present segment when it has been written to for so long; `now` is of the monotonic clock. To be called
    /// about once a second.
    pub(super) fn cut_aged(&mut self, now: Duration, age_max: Duration) {
        if self.segment.is_none() {
            return;
        }
        let since = *self.seen_since.get_or_insert(now);
        if now.saturating_sub(since) >= age_max {
            self.cut();
        }
    }

    fn start_segment(&mut self) -> io::Result<()> {
        self.seen_since = None;
        let path = segment_path(&self.folder, self.next_number);
        // The number is used up even if this fails: a name that may or may not exist is not tried again.
        self.next_number += 1;
        let file = self.disk.create_new(&path)?;
        // The name must be durable before anything in the file is acknowledged.
        if let Err(error) = self.disk.sync_dir(&self.folder) {
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        self.segment = Some(Segment { file, path, len: 0 });
        Ok(())
    }
}
