//! Reads a block from its first byte to its last: for `inspect` and `check`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::disk::Disk;
use crate::codec::chunk;
use crate::codec::rollup::{self, Need};
use crate::promql::source::Column;

use super::cache::Cache;
use super::manifest::{self, Found};
use super::points::Points;
use super::reader::{Block, BlockError, decode};
use super::tombstones;
use super::ulid::Ulid;
use super::walk::Walk;

/// What a metric or a codec takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub chunks: u64,
    pub samples: u64,
    pub bytes: u64,
}

/// What was found in a block.
#[derive(Debug, Default)]
pub struct Audit {
    pub by_metric: BTreeMap<String, Usage>,
    pub by_codec: BTreeMap<&'static str, Usage>,
    /// The first few faults.
    pub faults: Vec<String>,
}

/// Faults that are kept: one damaged section gives as many as there are series.
const FAULTS_MAX: usize = 100;

/// Opens every block file in a folder, without changing anything there; also those that no manifest names.
pub fn open_all(disk: &Disk, folder: &Path) -> io::Result<Vec<(PathBuf, Result<Block, BlockError>)>> {
    // Walks read each page once: a cache would keep what nobody asks for again.
    let cache = Arc::new(Cache::new(0));
    let names = disk.list(folder)?.into_iter().map(|entry| entry.name);
    let blocks = names.filter(|name| name.strip_suffix(".block").and_then(Ulid::parse).is_some());
    let open = |name: String| {
        let path = folder.join(name);
        let block = Block::open(disk, &path, &cache);
        (path, block)
    };
    Ok(blocks.map(open).collect())
}

/// What the manifest of a folder says that is not so; nothing where all is well.
pub fn check_manifest(disk: &Disk, folder: &Path, blocks: &[&Block]) -> Vec<String> {
    let live = match manifest::read(disk, folder) {
        Found::Whole(live) => live,
        Found::Nothing => return vec!["there is no manifest".to_owned()],
        Found::Damaged(live) => return vec![format!("the manifest is damaged; {} records are whole", live.len())],
    };
    let same = |live: &&manifest::Live| blocks.iter().any(|b| *b.meta() == live.meta && b.len() == live.len);
    let missing = live.iter().filter(|live| !same(live));
    missing.map(|live| format!("block {} is not what the manifest says, or missing", live.meta.id)).collect()
}

/// What is wrong with the list of deletions of a folder; nothing where all is well. And how many there are.
pub fn check_tombstones(disk: &Disk, folder: &Path) -> (Vec<String>, usize) {
    let found = tombstones::read(disk, folder);
    let faults = found.fault.iter().map(|fault| format!("the list of deletions is damaged: {fault}"));
    (faults.collect(), found.tombstones.len())
}

/// Reads and decodes everything in a block.
pub fn audit(block: &Block) -> Audit {
    let mut audit = Audit::default();
    let mut walk = match Walk::new(block) {
        Ok(walk) => walk,
        Err(error) => {
            audit.faults.push(error.to_string());
            return audit;
        }
    };
    let (mut samples, mut series) = (0, 0);
    while let Some(labels) = walk.labels().cloned() {
        series += 1;
        match walk.take() {
            Ok(chunks) => {
                for bytes in &chunks {
                    samples += audit.add(labels.metric_name(), bytes);
                }
            }
            Err(error) => audit.fault(error.to_string()),
        }
        if audit.faults.len() >= FAULTS_MAX || walk.is_stuck() {
            break;
        }
    }
    let meta = block.meta();
    if audit.faults.is_empty() && (samples, series) != (meta.samples, meta.series) {
        audit.fault(format!("{series} series and {samples} samples were found, not what the footer says"));
    }
    audit
}

impl Audit {
    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX && self.faults.last() != Some(&fault) {
            self.faults.push(fault);
        }
    }

    fn add(&mut self, metric: &str, bytes: &[u8]) -> u64 {
        let mut column = Column::default();
        let parsed = chunk::header(bytes).and_then(|header| {
            let codec = chunk::codec_name(bytes)?;
            if codec == rollup::NAME {
                let mut points = Points::default();
                points.decode(bytes, (i64::MIN, i64::MAX), Need::All)?;
                let ends = points.floats.iter().map(|point| point.end_time);
                let ends = ends.chain(points.histograms.iter().map(|point| point.last_time));
                ends.for_each(|end| column.push_float(end, 0, 0.0));
            } else {
                decode(bytes, i64::MIN, i64::MAX, &mut column)?;
            }
            Ok((header, codec))
        });
        let (header, codec) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                self.fault(format!("a chunk of {metric}: {error}"));
                return 0;
            }
        };
        let bounds = (column.times.first(), column.times.last());
        let ascend = column.times.is_sorted_by(|a, b| a < b);
        if !ascend || bounds != (Some(&header.min_time), Some(&header.max_time)) || column.len() != header.count {
            self.fault(format!("a chunk of {metric}: its times are not what its header says"));
        }
        let by_metric = self.by_metric.entry(metric.to_owned()).or_default();
        for usage in [by_metric, self.by_codec.entry(codec).or_default()] {
            usage.chunks += 1;
            usage.samples += header.count as u64;
            usage.bytes += bytes.len() as u64;
        }
        header.count as u64
    }
}
