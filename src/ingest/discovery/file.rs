//! Targets in files: read when the file system says that they changed, and now and then in case it does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::Group;
use super::config::{StaticConfig, kind_of};
use crate::base::glob;
use crate::base::units::Period;

/// A file of targets. Larger ones are refused.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Editors write in several steps; what comes within this time is read once.
const SETTLE: Duration = Duration::from_millis(20);

pub(super) struct FileSource {
    patterns: Vec<PathBuf>,
    interval: Duration,
    /// What each file said when it last could be read.
    known: BTreeMap<PathBuf, Vec<Group>>,
    stirred: Arc<Notify>,
    /// Watches folders, because a file that is replaced is another file. `None` where the system has no watches left.
    _watcher: Option<RecommendedWatcher>,
}

impl FileSource {
    pub(super) fn new(patterns: Vec<PathBuf>, interval: Period) -> Self {
        let stirred = Arc::new(Notify::new());
        let watcher = watch(&patterns, &stirred);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "cannot watch files of targets; they are read every {interval} only");
        }
        Self { patterns, interval: interval.as_duration(), known: BTreeMap::new(), stirred, _watcher: watcher.ok() }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) async fn stir(&self) {
        self.stirred.notified().await;
        tokio::time::sleep(SETTLE).await;
    }

    /// Reads every file. One that cannot be read keeps what it said; one that is gone says nothing.
    pub(super) fn refresh(&mut self) -> Vec<Group> {
        let files: Vec<PathBuf> = self.patterns.iter().flat_map(|pattern| glob::expand(pattern)).collect();
        self.known.retain(|file, _| files.contains(file));
        for file in files {
            match read(&file) {
                Ok(groups) => drop(self.known.insert(file, groups)),
                Err(error) => tracing::warn!(file = %file.display(), %error, "file of targets is not read"),
            }
        }
        self.known.values().flatten().cloned().collect()
    }
}

fn watch(patterns: &[PathBuf], stirred: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let stirred = Arc::clone(stirred);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            stirred.notify_one();
        }
    })?;
    let mut folders: Vec<&Path> = patterns.iter().filter_map(|pattern| pattern.parent()).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // A folder that does not exist yet is looked for at the next interval.
        if folder.exists() {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}

/// The groups of a file. An entry that is nothing is a fault, as with Prometheus.
pub(super) fn read(file: &Path) -> Result<Vec<Group>, String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{size} bytes are more than {FILE_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let entries: Vec<Option<StaticConfig>> = if kind_of(file) == Some(true) {
        serde_json::from_str(&text).map_err(|error| error.to_string())?
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())?
    };
    let filled =
        |(at, entry): (usize, Option<_>)| entry.ok_or_else(|| format!("nil target group item found (index {at})"));
    let configs: Vec<StaticConfig> = entries.into_iter().enumerate().map(filled).collect::<Result<_, _>>()?;
    if configs.iter().any(|config| config.labels.iter().flatten().any(|(name, _)| name.is_empty())) {
        return Err("\"\" is not a valid label name".to_owned());
    }
    let labelled = |config| {
        let mut group = Group::from_static(config);
        group.labels.insert("__meta_filepath".to_owned(), file.display().to_string());
        group
    };
    Ok(configs.into_iter().map(labelled).collect())
}
