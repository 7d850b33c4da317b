//! Deleted samples are gone at once, for good, and no others.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::storage::block::WINDOW_MS;

fn open_at(folder: &Path, seed: u64) -> (Arc<Store>, Arc<SimClock>) {
    let (clock, hand) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(seed), tasks: Tasks::default() };
    let config = Config { dedup_interval_ms: 0, retention_ms: None, ..Config::default() };
    (Store::open(config, folder, seams).unwrap(), hand)
}

fn of_job(job: &str) -> Vec<Vec<Matcher>> {
    vec![vec![Matcher::new(MatchOp::Equal, "job", job).unwrap()]]
}

fn samples(from: i64, to: i64) -> Vec<(i64, f64)> {
    (from..to).map(|i| (NOW - 100_000_000 + i * 1_000, i as f64)).collect()
}

const fn at(i: i64) -> i64 {
    NOW - 100_000_000 + i * 1_000
}

fn times(store: &Store, job: &str) -> Vec<i64> {
    let read = read(store, job, i64::MIN, i64::MAX);
    assert!(read.iter().all(|(time, value)| at(*value as i64) == *time));
    read.iter().map(|(_, value)| *value as i64).collect()
}

fn run(ranges: &[(i64, i64)]) -> Vec<i64> {
    ranges.iter().flat_map(|(from, to)| *from..*to).collect()
}

#[test]
fn a_range_is_deleted_in_memory_and_in_blocks_and_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _clock) = open_at(folder.path(), 1);
    append(&store, "a", &samples(0, 900));
    append(&store, "b", &samples(0, 900));
    store.flush().unwrap();
    append(&store, "a", &samples(900, 1_500));
    append(&store, "a", &samples(1_700, 1_800));
    append(&store, "a", &samples(1_500, 1_510));
    let token = store.changes().token();
    store.delete(&of_job("a"), at(100), at(199)).unwrap();
    store.delete(&of_job("a"), at(800), at(999)).unwrap();
    store.delete(&of_job("a"), at(1_505), at(1_749)).unwrap();
    let widest = Config::default().tiers.iter().map(|tier| tier.resolution_ms).max().unwrap();
    assert_eq!(store.changes().since(token), at(100) - widest);
    let left = run(&[(0, 100), (200, 800), (1_000, 1_505), (1_750, 1_800)]);
    assert_eq!(times(&store, "a"), left);
    assert_eq!(times(&store, "b"), run(&[(0, 900)]));
    drop(store);
    let (store, _clock) = open_at(folder.path(), 2);
    assert_eq!(store.recovery().frames_lost, 0);
    assert_eq!(times(&store, "a"), left, "after a start");
    // The same samples again: they are new ones.
    append(&store, "a", &samples(150, 160));
    append(&store, "a", &samples(1_600, 1_610));
    append(&store, "a", &samples(1_800, 1_801));
    let left = run(&[(0, 100), (150, 160), (200, 800), (1_000, 1_505), (1_600, 1_610), (1_750, 1_801)]);
    assert_eq!(times(&store, "a"), left, "with what was written again");
    store.flush().unwrap();
    assert_eq!(times(&store, "a"), left, "after a flush");
    assert_eq!(store.totals().tombstones, 2);
    store.clean_tombstones().unwrap();
    assert_eq!((store.totals().tombstones, times(&store, "a")), (0, left.clone()), "after cleaning");
    drop(store);
    let (store, _clock) = open_at(folder.path(), 3);
    assert_eq!(times(&store, "a"), left, "after another start");
    assert_eq!(times(&store, "b"), run(&[(0, 900)]));
}

#[test]
fn a_series_without_samples_is_not_listed_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _clock) = open_at(folder.path(), 1);
    for job in ["disk", "both", "other"] {
        append(&store, job, &samples(0, 300));
    }
    store.flush().unwrap();
    for job in ["both", "memory", "other"] {
        append(&store, job, &samples(300, 310));
    }
    let any = Matcher::new(MatchOp::Regex, "job", "disk|both|memory").unwrap();
    store.delete(&[vec![any]], i64::MIN, i64::MAX).unwrap();
    let check = |store: &Store| {
        assert_eq!(store.label_values("job", &[], (i64::MIN, i64::MAX), 0).items, ["other"]);
        assert_eq!(store.label_values("job", &[vec![]], (i64::MIN, i64::MAX), 0).items, ["other"]);
        assert_eq!(store.series(&[vec![]], i64::MIN, i64::MAX, 0).items, [up("other")]);
        assert_eq!(store.label_names(&[], i64::MIN, i64::MAX, 0).items, ["__name__", "job"]);
        assert_eq!(times(store, "other"), run(&[(0, 310)]));
    };
    check(&store);
    drop(store);
    let (store, _clock) = open_at(folder.path(), 2);
    check(&store);
    store.clean_tombstones().unwrap();
    check(&store);
    // A series that comes back is a new one.
    append(&store, "both", &samples(305, 312));
    assert_eq!(times(&store, "both"), run(&[(305, 312)]));
    drop(store);
    let (store, _clock) = open_at(folder.path(), 3);
    assert_eq!(times(&store, "both"), run(&[(305, 312)]));
}

#[test]
fn merging_carries_deletions_out() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock) = open_at(folder.path(), 1);
    let window = WINDOW_MS / 1_000;
    append(&store, "a", &samples(0, 4 * window));
    store.flush().unwrap();
    assert!(store.totals().blocks >= 4);
    store.delete(&of_job("a"), at(window), at(2 * window)).unwrap();
    let left = run(&[(0, window), (2 * window + 1, 4 * window)]);
    assert_eq!(times(&store, "a"), left);
    append(&store, "a", &samples(8 * window, 8 * window + 10));
    store.flush().unwrap();
    for _ in 0..20 {
        clock.advance(Duration::from_secs(20));
        store.maintain();
    }
    let left: Vec<i64> = left.into_iter().chain(8 * window..8 * window + 10).collect();
    assert_eq!(times(&store, "a"), left);
    assert_eq!(store.totals().tombstones, 0);
}

#[test]
fn a_snapshot_and_the_log_agree_on_what_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _clock) = open_at(folder.path(), 1);
    append(&store, "a", &samples(0, 600));
    store.delete(&of_job("a"), at(500), at(900)).unwrap();
    append(&store, "a", &samples(550, 560));
    store.snapshot().unwrap();
    store.delete(&of_job("a"), at(0), at(9)).unwrap();
    append(&store, "a", &samples(5, 6));
    let left = run(&[(5, 6), (10, 500), (550, 560)]);
    assert_eq!(times(&store, "a"), left);
    drop(store);
    let (store, _clock) = open_at(folder.path(), 2);
    assert_eq!(times(&store, "a"), left);
}

#[test]
fn deleted_histograms_are_gone_too() {
    let f = open(|_| {});
    let mut appender = f.store.appender(Origin::new("test"));
    let series = appender.series(up("h").as_encoded()).unwrap();
    for i in 0..10 {
        let histogram = Histogram { count: i as f64, ..Histogram::default() };
        appender.histogram(series, NOW + i * 1_000, 0, &histogram).unwrap();
    }
    appender.commit().wait().unwrap();
    f.store.delete(&of_job("h"), NOW + 2_000, NOW + 8_000).unwrap();
    let found = f.store.select(&[], i64::MIN, i64::MAX);
    let mut column = Column::default();
    found.read(0, &mut column).unwrap();
    assert_eq!(column.times, [NOW, NOW + 1_000, NOW + 9_000]);
}
