//! One life: the store is opened, fed, disturbed, stopped and compared, some times over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use novascope::base::clock::{Clock, SimClock};
use novascope::base::disk::{Crash, Disk, Faults, SimDisk};
use novascope::base::rng::Rng;
use novascope::base::tasks::Tasks;
use novascope::metrics::config::{Config, Durability};
use novascope::metrics::{Origin, Seams, Store};
use novascope::model::histogram::Histogram;
use novascope::model::labels::Labels;
use novascope::model::matcher::{MatchOp, Matcher};
use novascope::promql::source::{Column, SeriesSet as _};

use super::oracle::Oracle;

const NOW: i64 = 1_700_000_000_000;
const FOLDER: &str = "/data/store";

/// A bug that is planted to see whether it is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    SkipSync,
    SkipSyncDir,
    AckEarly,
    NoChecksum,
    RenameFirst,
}

/// What a life went through.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) crashes: usize,
}

/// One seeded life.
pub(crate) struct Life {
    bug: Bug,
    rng: Rng,
    disk: Disk,
    hand: Arc<SimDisk>,
    clock: Clock,
    clock_hand: Arc<SimClock>,
    config: Config,
    oracle: Oracle,
    outcome: Outcome,
    tick: i64,
}

impl Life {
    pub(crate) fn new(seed: u64, bug: Bug) -> Self {
        let rng = Rng::from_seed(seed);
        let (disk, hand) = Disk::simulated(Rng::from_seed(seed ^ 0xd15c));
        let (clock, clock_hand) = Clock::simulated(NOW);
        let mut config = Config { retention_ms: None, ..Config::default() };
        config.dedup_interval_ms = if rng.chance(0.5) { 1_000 } else { 0 };
        config.idle_seal_ms = 20_000;
        config.disk.free_min_bytes = rng.below(2_000);
        config.disk.reserve_bytes = rng.below(4_000);
        config.wal.segment_bytes_max = 500 + rng.below(8_000);
        config.wal.snapshot_after_bytes = 2_000 + rng.below(30_000);
        if bug == Bug::AckEarly {
            config.durability = Durability::Fast;
        }
        Self {
            bug,
            rng,
            disk,
            hand,
            clock,
            clock_hand,
            config,
            oracle: Oracle::default(),
            outcome: Outcome::default(),
            tick: 0,
        }
    }

    pub(crate) fn run(mut self) -> Result<Outcome, String> {
        let generations = 2 + self.rng.below(4);
        for _ in 0..generations {
            self.generation()?;
        }
        let store = self.whole()?;
        self.check(&store, false)?;
        Ok(self.outcome)
    }

    /// A store that has read its log.
    fn whole(&mut self) -> Result<Arc<Store>, String> {
        let store = self.begin()?;
        store.replay().map_err(|error| format!("does not read its log: {error}"))?;
        Ok(store)
    }

    fn begin(&mut self) -> Result<Arc<Store>, String> {
        let seams = Seams {
            clock: self.clock.clone(),
            disk: self.disk.clone(),
            rng: self.rng.clone(),
            tasks: Tasks::default(),
        };
        Store::begin(self.config.clone(), Path::new(FOLDER), seams).map_err(|error| format!("does not start: {error}"))
    }

    /// From a start to a stop.
    fn generation(&mut self) -> Result<(), String> {
        let store = self.begin()?;
        if self.rng.chance(0.3) {
            // Samples come before the log is read.
            for _ in 0..self.rng.below(5) {
                self.feed(&store);
                store.maintain();
            }
        }
        store.replay().map_err(|error| format!("does not read its log: {error}"))?;
        self.check(&store, false)?;
        let faults = self.faults();
        self.hand.set_faults(faults);
        for _ in 0..10 + self.rng.below(30) {
            self.feed(&store);
            if self.rng.chance(0.3) {
                self.disturb(&store);
            }
            if self.rng.chance(0.1) {
                self.delete(&store);
            }
            if self.hand.is_crashed() {
                break;
            }
        }
        self.stop(store)
    }

    fn faults(&self) -> Faults {
        let mut faults = Faults {
            sync_lies: self.bug == Bug::SkipSync,
            sync_dir_lies: self.bug == Bug::SkipSyncDir,
            rename_first: self.bug == Bug::RenameFirst,
            ..Faults::default()
        };
        if self.rng.chance(0.6) {
            faults.crash_after = Some(self.rng.below(120));
        }
        if self.rng.chance(0.3) {
            faults.sync_error = 0.1;
        }
        if self.rng.chance(0.2) {
            faults.write_error = 0.1;
        }
        if self.rng.chance(0.2) {
            faults.name_error = 0.05;
        }
        if self.rng.chance(0.2) {
            faults.read_error = 0.05;
        }
        if self.rng.chance(0.2) {
            faults.capacity = Some(self.hand.used() + self.rng.below(20_000));
        }
        faults
    }

    /// A commit of a few samples: on time, late, repeated, of new and of old series.
    fn feed(&mut self, store: &Store) {
        // Now and then some hours go by, so that lives have blocks of several windows, merges and tiers.
        self.tick += if self.rng.chance(0.1) { self.rng.below(7_200) as i64 } else { 1 };
        let mut sent = Vec::new();
        let mut appender = store.appender(Origin::new("test"));
        for _ in 0..=self.rng.below(30) {
            let series = self.rng.below(12) as u32;
            let back = if self.rng.chance(0.2) { self.rng.below(40) as i64 } else { 0 };
            let back = if self.rng.chance(0.01) { self.rng.below(self.tick.max(1) as u64) as i64 } else { back };
            let time = NOW - 1_000_000_000 + (self.tick - back) * 1_000;
            let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("series", series.to_string())]);
            let Ok(reference) = appender.series(labels.as_encoded()) else { continue };
            // A value is a function of series and time, so that sending it again is no contradiction.
            let number = (u64::from(series) * 31 + time as u64 / 1_000) % 97;
            let (bits, result) = if series == 11 {
                let histogram = Histogram { count: number as f64, sum: 1.5, ..Histogram::default() };
                (number | 1 << 63, appender.histogram(reference, time, 0, &histogram))
            } else {
                let value = number as f64 / 8.0;
                (value.to_bits(), appender.float(reference, time, 0, value))
            };
            if result.is_ok() {
                self.oracle.tried(series, time, bits);
                sent.push((series, time));
            }
        }
        if self.rng.chance(0.05) {
            // The request goes away without a commit.
            return;
        }
        if appender.commit().wait().is_ok() {
            for (series, time) in sent {
                self.oracle.acknowledged(series, time);
            }
        }
    }

    /// Deletes some seconds of a series, also of what is to come: that must stay.
    fn delete(&mut self, store: &Store) {
        let series = self.rng.below(12) as u32;
        let matcher = Matcher::new(MatchOp::Equal, "series", &series.to_string()).expect("a plain text is a matcher");
        let first = NOW - 100_000_000 + (self.tick - self.rng.below(60) as i64) * 1_000;
        let range = (first, first + self.rng.below(80) as i64 * 1_000);
        let is_done = store.delete(&[vec![matcher]], range.0, range.1).is_ok();
        self.oracle.delete(series, range, is_done);
    }

    fn disturb(&self, store: &Store) {
        match self.rng.below(8) {
            7 => drop(store.clean_tombstones()),
            0 => drop(store.snapshot()),
            6 => drop(store.flush()),
            1 => self.clock_hand.jump_to(NOW + self.rng.below(1_000_000_000) as i64 - 500_000_000),
            2 => self.clock_hand.advance(Duration::from_secs(30)),
            _ => self.clock_hand.advance(Duration::from_secs(1)),
        }
        store.maintain();
    }

    fn stop(&mut self, store: Arc<Store>) -> Result<(), String> {
        if self.rng.chance(0.2) && !self.hand.is_crashed() {
            let _ = store.close();
        }
        let crash = if self.hand.is_crashed() || self.rng.chance(0.7) { Crash::Power } else { Crash::Process };
        self.outcome.crashes += 1;
        // The process is gone before the machine is back.
        drop(store);
        self.hand.restart(crash);
        if self.bug == Bug::NoChecksum {
            self.forge();
        } else if self.rng.chance(0.25) {
            self.damage()?;
        }
        Ok(())
    }

    /// A bit flips, a place cannot be read any more, or some reads of a start fail: it is said, and nothing is invented.
    fn damage(&mut self) -> Result<(), String> {
        let stored = |path: &Path| path.parent().is_some_and(|p| p.ends_with("wal") || p.ends_with("blocks"));
        let kind = self.rng.below(5);
        match kind {
            0..3 => drop(self.hand.flip_bit(stored)),
            3 => drop(self.hand.spoil(stored)),
            _ => self.hand.set_faults(Faults { read_error: 0.1, ..Faults::default() }),
        }
        if kind >= 3 {
            // A piece that cannot be read may hold both copies of a deletion.
            self.oracle.forgive();
        }
        let store = self.whole()?;
        self.hand.set_faults(Faults::default());
        self.check(&store, true)?;
        // The damage stays on the disk: a snapshot of what is there makes the next lives whole again.
        store.snapshot().map_err(|error| format!("no snapshot after damage: {error}"))
    }

    /// Changes a stored value and its checksums, as damage would be that no checksum guards.
    fn forge(&self) {
        use novascope::storage::wal::frame::{HEADER_LEN, Header, push_frame};
        let folder = Path::new(FOLDER).join("wal");
        for entry in self.disk.list(&folder).unwrap_or_default() {
            let path = folder.join(&entry.name);
            let Ok(mut bytes) = self.disk.read(&path, 1 << 20) else { continue };
            let Some(head) = bytes.first_chunk::<HEADER_LEN>() else { continue };
            let Some(header) = Header::parse(head) else { continue };
            let end = HEADER_LEN + header.len as usize;
            if header.kind != 2 || end > bytes.len() {
                continue;
            }
            let mut payload = bytes[HEADER_LEN..end].to_vec();
            let Some(last) = payload.last_mut() else { continue };
            *last ^= 1;
            let mut forged = Vec::new();
            push_frame(&mut forged, header.kind, header.sequence, &payload);
            forged.extend_from_slice(&bytes.split_off(end));
            let _ = self.disk.remove(&path);
            let _ = self.disk.publish(&path, &forged);
        }
    }

    /// Compares the store with the oracle. After damage samples may be missing, if the start said so.
    fn check(&mut self, store: &Store, damaged: bool) -> Result<(), String> {
        let (read, warnings) = read_all(store)?;
        let difference = self.oracle.compare(&read);
        if let Some(invented) = difference.invented.first() {
            return Err(format!("{} invented, such as {invented}", difference.invented.len()));
        }
        if difference.lost > 0 {
            let recovery = store.recovery();
            let set_aside = store.blocks().map_or(0, |blocks| blocks.set_aside());
            let reported = set_aside + recovery.frames_lost + recovery.damages + recovery.cut_tails + recovery.orphans
                > 0
                || !warnings.is_empty();
            if !damaged || !reported {
                return Err(format!("{} acknowledged samples lost; the start said {recovery:?}", difference.lost));
            }
        }
        if damaged {
            self.oracle.accept(&read);
        }
        Ok(())
    }
}

/// Samples by series and time, and the warnings that came with them.
type Read = (BTreeMap<(u32, i64), u64>, Vec<String>);

fn read_all(store: &Store) -> Result<Read, String> {
    let found = store.select(&[], i64::MIN, i64::MAX);
    let mut all = BTreeMap::new();
    let mut column = Column::default();
    for index in 0..found.len() {
        let series = found.labels(index).get("series").and_then(|text| text.parse().ok());
        let series = series.ok_or_else(|| format!("invented series {}", found.labels(index)))?;
        column.clear();
        found.read(index, &mut column).map_err(|error| error.to_string())?;
        if !column.times.is_sorted_by(|a, b| a < b) {
            return Err(format!("times of series {series} do not ascend"));
        }
        for (at, time) in column.times.iter().enumerate() {
            let bits = match column.histograms.get(at).cloned().flatten() {
                Some(histogram) => histogram.count as u64 | 1 << 63,
                None => column.values[at].to_bits(),
            };
            all.insert((series, *time), bits);
        }
    }
    Ok((all, found.notes().warnings))
}
