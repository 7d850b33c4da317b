//! Takes a data folder of Prometheus: its blocks, oldest first, then its write-ahead log and the log of late samples.
//!
//! What the head holds in `chunks_head` is in those logs too, so that folder is not read. Deletions hold: those of blocks
//! are beside them, those of the head in its log.
//! Samples go through the same door as those of any sender, so limits and retention hold. Units that are damaged are
//! left out and named; the rest is taken.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::disk::Disk;
use crate::metrics::{Appender, CommitError, Origin, SeriesRef, Store};
use crate::model::labels::Labels;
use crate::storage::tsdb::block::{Index, Samples, Segment, Tombstones};
use crate::storage::tsdb::record::{self, Entry};
use crate::storage::tsdb::wal::Records;

/// Files larger than this are not what Prometheus writes: segments end at 512 MiB, an index is smaller still.
const FILE_BYTES_MAX: u64 = 8 << 30;
/// Samples between commits: one frame of the log each, and a chance for the store to move data to disk.
const SAMPLES_PER_COMMIT: u64 = 200_000;
/// Messages about damaged units that are kept.
const COMPLAINTS_MAX: usize = 100;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub blocks: u64,
    pub series: u64,
    pub samples: u64,
    pub histograms: u64,
    /// Refused samples by reason.
    pub refused: HashMap<&'static str, u64>,
    /// Damaged units that were left out, each with its place.
    pub damaged: Vec<String>,
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{} is not a data folder of Prometheus: it has neither blocks nor a folder wal", .0.display())]
    NotAFolder(PathBuf),
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("the store does not take more: {0}")]
    Commit(#[from] CommitError),
}

/// Reads the folder into the store. `progress` is told after each block and log segment.
pub fn import(
    store: &Arc<Store>,
    disk: &Disk,
    folder: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Outcome, ImportError> {
    let mut import = Import { store, disk, outcome: Outcome::default(), pending: 0 };
    let names = import.list(folder)?;
    let blocks: Vec<_> = names.iter().filter(|name| disk.list(&folder.join(name).join("chunks")).is_ok()).collect();
    if blocks.is_empty() && !names.iter().any(|name| name == "wal") {
        return Err(ImportError::NotAFolder(folder.to_owned()));
    }
    // Block names are ULIDs, which sort by time of writing.
    for name in blocks {
        import.block(&folder.join(name))?;
        import.outcome.blocks += 1;
        progress(&format!("block {name}: {} samples so far", import.outcome.samples));
    }
    // The log of late samples names series by what the other log defines.
    let mut known = Known::default();
    for name in ["wal", "wbl"] {
        import.log(&folder.join(name), &mut known, progress)?;
    }
    Ok(import.outcome)
}

/// What a log says of the series behind its references.
#[derive(Default)]
struct Known {
    labels: HashMap<u64, Labels>,
    /// Deleted ranges, ends included. Deletions came after the samples, so they are gathered before anything is taken.
    deleted: HashMap<u64, Vec<(i64, i64)>>,
}

impl Known {
    fn is_deleted(&self, reference: u64, time: i64) -> bool {
        let ranges = self.deleted.get(&reference);
        ranges.is_some_and(|ranges| ranges.iter().any(|&(from, to)| (from..=to).contains(&time)))
    }
}

struct Import<'a> {
    store: &'a Arc<Store>,
    disk: &'a Disk,
    outcome: Outcome,
    /// Samples since the last commit.
    pending: u64,
}

impl<'a> Import<'a> {
    fn list(&self, folder: &Path) -> Result<Vec<String>, ImportError> {
        let read = |error| ImportError::Read { path: folder.to_owned(), error };
        let mut names: Vec<_> = self.disk.list(folder).map_err(read)?.into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, ImportError> {
        self.disk.read(path, FILE_BYTES_MAX).map_err(|error| ImportError::Read { path: path.to_owned(), error })
    }

    fn damaged(&mut self, path: &Path, what: impl std::fmt::Display) {
        if self.outcome.damaged.len() < COMPLAINTS_MAX {
            self.outcome.damaged.push(format!("{}: {what}", path.display()));
        }
    }

    fn block(&mut self, folder: &Path) -> Result<(), ImportError> {
        let index_path = folder.join("index");
        let index = match Index::parse(self.read(&index_path)?) {
            Ok(index) => index,
            Err(error) => {
                self.damaged(&index_path, error);
                return Ok(());
            }
        };
        let tombstones = self.tombstones(&folder.join("tombstones"));
        let mut segments = Vec::new();
        for name in self.list(&folder.join("chunks"))? {
            let path = folder.join("chunks").join(&name);
            match Segment::parse(self.read(&path)?) {
                Ok(segment) => segments.push(Some(segment)),
                Err(error) => {
                    self.damaged(&path, error);
                    segments.push(None);
                }
            }
        }
        let mut appender = self.appender();
        let mut samples = Samples::default();
        for series in index.series() {
            let series = match series {
                Ok(series) => series,
                Err(error) => {
                    self.damaged(&index_path, error);
                    continue;
                }
            };
            let reference = match appender.series(series.labels.as_encoded()) {
                Ok(reference) => reference,
                Err(refusal) => {
                    *self.outcome.refused.entry(refusal.reason()).or_default() += 1;
                    continue;
                }
            };
            self.outcome.series += 1;
            for chunk in &series.chunks {
                samples.clear();
                let segment = segments.get(chunk.segment as usize).and_then(Option::as_ref);
                let read = segment.map(|segment| segment.read(chunk.offset, &mut samples));
                if let Some(Err(error)) = read {
                    self.damaged(folder, format!("{} chunk at {}: {error}", series.labels, chunk.offset));
                }
                let is_deleted = |time| tombstones.covers(series.reference, time);
                self.append(&mut appender, reference, &samples, is_deleted);
            }
            appender = self.commit_if_full(appender)?;
        }
        self.commit(appender)
    }

    fn tombstones(&mut self, path: &Path) -> Tombstones {
        match self.disk.read(path, FILE_BYTES_MAX).map(|bytes| Tombstones::parse(&bytes)) {
            Ok(Ok(tombstones)) => tombstones,
            // A block without deletions may lack the file.
            Err(_) => Tombstones::default(),
            Ok(Err(error)) => {
                self.damaged(path, error);
                Tombstones::default()
            }
        }
    }

    fn append(
        &mut self,
        appender: &mut Appender<'_>,
        series: SeriesRef,
        samples: &Samples,
        is_deleted: impl Fn(i64) -> bool,
    ) {
        for (&time, &value) in samples.times.iter().zip(&samples.values).filter(|(time, _)| !is_deleted(**time)) {
            let result = appender.float(series, time, 0, value);
            self.count(result.map_err(|refusal| refusal.reason()), false);
        }
        for (time, histogram) in samples.histograms.iter().filter(|(time, _)| !is_deleted(*time)) {
            let result = appender.histogram(series, *time, 0, histogram);
            self.count(result.map_err(|refusal| refusal.reason()), true);
        }
    }

    fn count(&mut self, result: Result<(), &'static str>, is_histogram: bool) {
        self.pending += 1;
        match result {
            Ok(()) if is_histogram => self.outcome.histograms += 1,
            Ok(()) => self.outcome.samples += 1,
            Err(reason) => *self.outcome.refused.entry(reason).or_default() += 1,
        }
    }

    /// The newest checkpoint, then the segments after it.
    fn log(&mut self, folder: &Path, known: &mut Known, progress: &mut dyn FnMut(&str)) -> Result<(), ImportError> {
        let Ok(names) = self.list(folder) else { return Ok(()) };
        let checkpoint = names.iter().rev().find(|name| name.starts_with("checkpoint."));
        let covered = checkpoint.and_then(|name| name.rsplit('.').next()?.parse::<u64>().ok());
        let mut files = Vec::new();
        if let Some(name) = checkpoint {
            let inside = folder.join(name);
            files.extend(self.list(&inside)?.into_iter().map(|file| inside.join(file)));
        }
        let after =
            |name: &&String| name.parse::<u64>().is_ok_and(|number| covered.is_none_or(|covered| number > covered));
        files.extend(names.iter().filter(after).map(|name| folder.join(name)));
        for path in &files {
            self.deletions(path, known)?;
        }
        for path in files {
            self.segment(&path, known)?;
            progress(&format!("log {}: {} samples so far", path.display(), self.outcome.samples));
        }
        Ok(())
    }

    /// Faults are met and told again when the samples are read.
    fn deletions(&self, path: &Path, known: &mut Known) -> Result<(), ImportError> {
        let bytes = self.read(path)?;
        let mut entries = Vec::new();
        for record in Records::new(&bytes).flatten().filter(|record| record.first() == Some(&record::TOMBSTONES)) {
            entries.clear();
            let _ = record::decode(&record, &mut entries);
            for entry in &entries {
                if let Entry::Tombstone { reference, mint, maxt } = entry {
                    known.deleted.entry(*reference).or_default().push((*mint, *maxt));
                }
            }
        }
        Ok(())
    }

    fn segment(&mut self, path: &Path, known: &mut Known) -> Result<(), ImportError> {
        let bytes = self.read(path)?;
        let mut entries = Vec::new();
        let mut references: HashMap<u64, SeriesRef> = HashMap::new();
        let mut appender = self.appender();
        for found in Records::new(&bytes) {
            entries.clear();
            let decoded = found.and_then(|bytes| record::decode(&bytes, &mut entries));
            for entry in entries.drain(..) {
                self.entry(&mut appender, entry, known, &mut references);
            }
            if let Err(error) = decoded {
                // The last record of a process that was killed is torn; that is no damage worth more than a line.
                self.damaged(path, error);
            }
            appender = self.commit_if_full(appender)?;
        }
        self.commit(appender)
    }

    fn entry(
        &mut self,
        appender: &mut Appender<'_>,
        entry: Entry,
        known: &mut Known,
        references: &mut HashMap<u64, SeriesRef>,
    ) {
        let (reference, time) = match &entry {
            Entry::Series { reference, labels } => {
                known.labels.insert(*reference, labels.clone());
                return;
            }
            Entry::Metadata { reference, metadata } => {
                if let Some(labels) = known.labels.get(reference) {
                    appender.metadata(labels.metric_name(), metadata);
                }
                return;
            }
            Entry::Tombstone { .. } => return,
            Entry::Float { reference, time, .. } | Entry::Histogram { reference, time, .. } => (*reference, *time),
        };
        if known.is_deleted(reference, time) {
            return;
        }
        let series = match references.get(&reference) {
            Some(series) => *series,
            None => {
                let Some(labels) = known.labels.get(&reference) else { return };
                match appender.series(labels.as_encoded()) {
                    Ok(series) => *references.entry(reference).or_insert(series),
                    Err(refusal) => return self.count(Err(refusal.reason()), false),
                }
            }
        };
        match entry {
            Entry::Float { start, value, .. } => {
                let result = appender.float(series, time, start, value);
                self.count(result.map_err(|refusal| refusal.reason()), false);
            }
            Entry::Histogram { start, value, .. } => {
                let result = appender.histogram(series, time, start, &value);
                self.count(result.map_err(|refusal| refusal.reason()), true);
            }
            _ => {}
        }
    }

    fn appender(&self) -> Appender<'a> {
        // Prometheus kept every sample, so every one is taken.
        self.store.appender(Origin::new("import_prometheus").without_dedup())
    }

    fn commit_if_full(&mut self, appender: Appender<'a>) -> Result<Appender<'a>, ImportError> {
        if self.pending < SAMPLES_PER_COMMIT {
            return Ok(appender);
        }
        self.commit(appender)?;
        Ok(self.appender())
    }

    fn commit(&mut self, appender: Appender<'_>) -> Result<(), ImportError> {
        self.pending = 0;
        appender.commit().wait()?;
        // Nobody else drives the store during an import.
        self.store.maintain();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::base::tasks::Tasks;
    use crate::metrics::Seams;
    use crate::metrics::config::Config;
    use crate::model::matcher::{MatchOp, Matcher};
    use crate::promql::source::{Column, SeriesSet as _};

    fn corpus() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/prometheus_data")
    }

    fn open(folder: &Path) -> Arc<Store> {
        let (clock, _) = Clock::simulated(1_795_300_000_000);
        let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
        let config = Config { retention_ms: None, ..Config::default() };
        Store::open(config, folder, seams).unwrap()
    }

    fn values(store: &Store, metric: &str) -> Vec<(String, Vec<(i64, f64)>)> {
        let matchers = [Matcher::new(MatchOp::Equal, "__name__", metric).unwrap()];
        let selection = store.select(&matchers, 0, i64::MAX);
        let read = |index| {
            let mut column = Column::default();
            selection.read(index, &mut column).unwrap();
            (selection.labels(index).to_string(), column.times.into_iter().zip(column.values).collect())
        };
        (0..selection.len()).map(read).collect()
    }

    #[test]
    fn a_real_folder_is_taken_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let outcome = import(&store, &Disk::real(), &corpus(), &mut |_| {}).unwrap();
        assert_eq!((outcome.blocks, outcome.series, outcome.refused.len()), (1, 2, 0));
        assert_eq!(
            values(&store, "requests_total"),
            [
                (
                    r#"requests_total{code="200"}"#.to_owned(),
                    vec![(1_700_000_000_000, 10.0), (1_700_000_015_000, 20.0), (1_700_000_030_000, 30.0)]
                ),
                (r#"requests_total{code="500"}"#.to_owned(), vec![(1_700_000_000_000, 1.0), (1_700_000_015_000, 2.5)]),
            ]
        );
        let scraped = values(&store, "temperature");
        assert_eq!(scraped.len(), 1);
        assert!(scraped[0].1.len() == 3 && scraped[0].1.iter().all(|(_, value)| *value == 21.5), "{scraped:?}");
        store.close().unwrap();
    }

    #[test]
    fn a_damaged_chunk_costs_only_itself() {
        let copy = tempfile::tempdir().unwrap();
        let block = "01M7Y4QMQ77GJRR550CR4PGHJD";
        std::fs::create_dir_all(copy.path().join(block).join("chunks")).unwrap();
        for name in ["index", "tombstones", "chunks/000001"] {
            std::fs::copy(corpus().join(block).join(name), copy.path().join(block).join(name)).unwrap();
        }
        let chunks = copy.path().join(block).join("chunks/000001");
        let mut bytes = std::fs::read(&chunks).unwrap();
        bytes[14] ^= 1;
        std::fs::write(&chunks, bytes).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let outcome = import(&store, &Disk::real(), copy.path(), &mut |_| {}).unwrap();
        assert_eq!((outcome.samples, outcome.damaged.len()), (2, 1));
        assert!(outcome.damaged[0].contains("checksum"), "{:?}", outcome.damaged);
    }

    #[test]
    fn another_folder_is_refused() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(folder.path());
        let result = import(&store, &Disk::real(), other.path(), &mut |_| {});
        assert!(matches!(result, Err(ImportError::NotAFolder(_))));
    }
}
