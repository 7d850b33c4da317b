//! A data folder that is only looked at: nothing in it changes, whatever its age and the settings of its daemon.
//!
//! Opening a store begins a segment of the log and may make a manifest anew. So the store opens a folder of links to the
//! files of the log and of blocks, in a temporary place that goes away with it; files that are linked are never written
//! to. The folder's own lock is held meanwhile, because a running daemon replaces files at any time.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::metrics::config::Config;
use crate::metrics::{Seams, Store};
use crate::storage::lock::FolderLock;

/// Folders of a data folder that hold samples.
const PARTS: [&str; 2] = ["wal", "blocks"];

/// Folders inside these are followed this deep.
const DEPTH_MAX: usize = 4;

/// A store to read from. The folder is free again when it drops.
pub(super) struct Reading {
    // Closed before the links go.
    store: Arc<Store>,
    _links: Links,
    _lock: Option<FolderLock>,
}

impl std::ops::Deref for Reading {
    type Target = Arc<Store>;

    fn deref(&self) -> &Arc<Store> {
        &self.store
    }
}

/// Opens a folder that no daemon uses. Of the settings, retention is passed over: what is there is wanted.
pub(super) fn open(folder: &Path, settings: Config, clock: &Clock) -> Result<Reading, String> {
    let named = |error: String| format!("{}: {error}", folder.display());
    let disk = Disk::real();
    let entries = disk.list(folder).map_err(|error| named(error.to_string()))?;
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    if !PARTS.iter().any(|part| has(part)) {
        return Err(named("it is no data folder: it has no log and no blocks".to_owned()));
    }
    // Without a lock file no daemon ran here, as in a copy; making one would change the folder.
    let lock = if has("lock") { held(&disk, folder).map_err(named)? } else { None };
    let links = Links::to(folder).map_err(|error| named(error.to_string()))?;
    let seams = Seams { clock: clock.clone(), disk, rng: Rng::from_os(), tasks: Tasks::default() };
    let settings = Config { retention_ms: None, retention_rules: Vec::new(), ..settings };
    let store = Store::open(settings, &links.0, seams).map_err(|error| named(error.to_string()))?;
    Ok(Reading { store, _links: links, _lock: lock })
}

fn held(disk: &Disk, folder: &Path) -> Result<Option<FolderLock>, String> {
    match FolderLock::take(disk, folder) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err("it is in use by another process: ask that one, with --url".to_owned()),
        // Whoever cannot write to the folder shares it with no daemon of this machine.
        Err(error) if matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) => {
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A temporary folder of links.
struct Links(PathBuf);

impl Links {
    fn to(folder: &Path) -> io::Result<Self> {
        let folder = fs::canonicalize(folder)?;
        let name = format!("novascope-reading-{}-{:016x}", std::process::id(), Rng::from_os().next_u64());
        let links = Self(std::env::temp_dir().join(name));
        fs::DirBuilder::new().mode(0o700).create(&links.0)?;
        for part in PARTS.iter().filter(|part| folder.join(part).is_dir()) {
            link(&folder.join(part), &links.0.join(part), DEPTH_MAX)?;
        }
        Ok(links)
    }
}

fn link(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if !entry.file_type()?.is_dir() {
            symlink(&source, &target)?;
        } else if depth > 0 {
            link(&source, &target, depth - 1)?;
        }
    }
    Ok(())
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Origin;
    use crate::model::labels::Labels;
    use crate::promql::source::{Column, SeriesSet as _};

    /// Every file with its bytes.
    fn content(folder: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                content(&path, into);
            } else {
                into.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
        into.sort();
    }

    #[test]
    fn reading_changes_nothing_and_keeps_daemons_out() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let clock = Clock::real();
        let seams =
            || Seams { clock: clock.clone(), disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
        let settings = Config { retention_ms: None, ..Config::default() };
        let labels = Labels::from_pairs([("__name__", "x")]);
        let old = clock.now() - 400 * 86_400_000;
        let store = Store::open(settings.clone(), &data, seams()).unwrap();
        let append = |times: std::ops::Range<i64>| {
            let mut appender = store.appender(Origin::new("test"));
            for t in times {
                appender.sample(labels.as_encoded(), old + t * 1_000, 0, t as f64).unwrap();
            }
            appender.commit().wait().unwrap();
        };
        append(0..100);
        store.flush().unwrap();
        append(100..110);
        assert!(open(&data, Config::default(), &clock).err().unwrap().contains("in use"));
        drop(store);

        let (mut before, mut after) = (Vec::new(), Vec::new());
        content(&data, &mut before);
        let reading = open(&data, Config::default(), &clock).unwrap();
        let links = reading._links.0.clone();
        assert_eq!(reading.select(&[], i64::MIN, i64::MAX).len(), 1);
        reading.maintain();
        assert!(matches!(Store::open(settings, &data, seams()), Err(crate::metrics::OpenError::Locked(_))));
        let mut column = Column::default();
        reading.select(&[], i64::MIN, i64::MAX).read(0, &mut column).unwrap();
        assert_eq!(column.len(), 110);
        drop(reading);
        content(&data, &mut after);
        assert_eq!(before, after);
        assert!(!links.exists());
        assert!(open(folder.path(), Config::default(), &clock).err().unwrap().contains("no data folder"));
    }
}
