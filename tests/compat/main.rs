//! Data folders that earlier formats left behind: a later store opens them and answers right.
//!
//! Each folder below `tests/compat` is one: `v1` is the first format. They are never changed. When a format changes,
//! `NOVASCOPE_WRITE_FIXTURE=v2 cargo test --test compat` writes the next one, and all of them go on being read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod content;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use novascope::base::clock::{Clock, SimClock};
use novascope::base::disk::Disk;
use novascope::base::rng::Rng;
use novascope::base::tasks::Tasks;
use novascope::metrics::config::{Config, Tier};
use novascope::metrics::{Seams, Store};
use novascope::model::labels::Labels;
use novascope::promql::eval::{self, QueryOptions, QueryValue, Window};
use novascope::promql::parse::parse;
use novascope::promql::source::{Column, SeriesSet as _};

use content::{FIRST, MINUTE, NOW, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat")
}

/// Seeds differ between openings: with the same clock and numbers, blocks would get the names that others have.
fn open(folder: &Path, seed: u64) -> (Arc<Store>, Arc<SimClock>) {
    let (clock, hand) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(seed), tasks: Tasks::default() };
    let tiers = vec![Tier { resolution_ms: 60_000, retention_ms: None }];
    let config = Config { retention_ms: None, tiers, dedup_interval_ms: 0, ..Config::default() };
    (Store::open(config, folder, seams).unwrap(), hand)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(source, target).unwrap();
        }
    }
}

/// Folders of fixtures, by name.
fn fixtures() -> Vec<PathBuf> {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Every sample of every series, as bits.
fn read_all(store: &Store) -> BTreeMap<Labels, Vec<(i64, i64, Value)>> {
    let found = store.select(&[], i64::MIN, i64::MAX);
    let mut all = BTreeMap::new();
    let mut column = Column::default();
    for index in 0..found.len() {
        column.clear();
        found.read(index, &mut column).unwrap();
        let sample = |at: usize| {
            let value = match column.histograms.get(at).cloned().flatten() {
                Some(histogram) => Value::Histogram(histogram),
                None => Value::Float(column.values[at].to_bits()),
            };
            (column.times[at], column.starts.get(at).copied().unwrap_or(0), value)
        };
        all.insert(found.labels(index).clone(), (0..column.len()).map(sample).collect());
    }
    assert_eq!(found.notes().warnings, [] as [&str; 0]);
    all
}

#[track_caller]
fn assert_same(store: &Store, when: &str) {
    let (read, expect) = (read_all(store), content::expected());
    assert_eq!(read.keys().collect::<Vec<_>>(), expect.keys().collect::<Vec<_>>(), "{when}");
    for (labels, samples) in &expect {
        let got = &read[labels];
        assert_eq!(got.len(), samples.len(), "{when}: samples of {labels}");
        let different = got.iter().zip(samples).find(|(got, expect)| got != expect);
        assert!(different.is_none(), "{when}: {labels}: {different:?}");
    }
}

/// An answer that comes from the tier, and its values computed from the formula.
#[track_caller]
fn assert_tier(store: &Store) {
    let query = "max_over_time(gauge[5m])";
    let window = Window { start: FIRST + 10 * MINUTE, end: FIRST + 7 * 60 * MINUTE, step: 5 * MINUTE };
    let outcome = eval::range(store, query, &parse(query).unwrap(), window, &QueryOptions::default()).unwrap();
    let QueryValue::Matrix(matrix) = outcome.value else { panic!("a range query gives a matrix") };
    let gauge = &content::expected()[&Labels::from_pairs([("__name__", "gauge"), ("job", "a")])];
    let greatest = |end: i64| {
        let inside = gauge.iter().filter(|(time, ..)| *time > end - 5 * MINUTE && *time <= end);
        let values = inside.map(|(.., value)| if let Value::Float(bits) = value { f64::from_bits(*bits) } else { 0.0 });
        values.fold(f64::NEG_INFINITY, f64::max)
    };
    assert_eq!(matrix.len(), 1);
    assert!(matrix[0].floats.len() > 80);
    for (time, value) in &matrix[0].floats {
        assert_eq!(*value, greatest(*time), "at {time}");
    }
}

#[test]
fn a_folder_of_every_format_is_read_and_answers_as_it_was_written() {
    let folders = fixtures();
    assert!(!folders.is_empty());
    for folder in folders {
        let scratch = tempfile::tempdir().unwrap();
        copy(&folder, scratch.path());
        let (store, clock) = open(scratch.path(), 2);
        let name = folder.display().to_string();
        let recovery = store.recovery();
        let faults = recovery.frames_lost + recovery.damages + recovery.orphans;
        assert_eq!(faults, 0, "{name}: {recovery:?}");
        assert_same(&store, &name);
        assert_tier(&store);
        let exemplars = store.exemplars(&[vec![]], i64::MIN, i64::MAX);
        assert_eq!(exemplars.len(), 1, "{name}");
        assert_eq!(exemplars[0].exemplars, [content::exemplar()], "{name}");
        assert_eq!(store.metadata(Some("counter"), 0, 0)[0].metadata, [content::metadata()], "{name}");
        // What it makes of the old files: written anew, everything is as it was.
        store.flush().unwrap();
        for _ in 0..5 {
            clock.advance(Duration::from_secs(20));
            store.maintain();
        }
        assert_same(&store, &format!("{name} after a flush"));
        drop(store);
        let (store, _) = open(scratch.path(), 3);
        assert_same(&store, &format!("{name} opened again"));
    }
}

/// Writes a fixture with the formats of now, where it is asked to.
#[test]
fn a_fixture_is_written_on_demand() {
    let Some(name) = std::env::var_os("NOVASCOPE_WRITE_FIXTURE") else { return };
    let folder = root().join(name);
    assert!(!folder.exists(), "{} is there already: fixtures are never changed", folder.display());
    let (store, clock) = open(&folder, 1);
    content::write(&store, &clock);
    drop(store);
    fs::remove_file(folder.join("lock")).unwrap();
}
