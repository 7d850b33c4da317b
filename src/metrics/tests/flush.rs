//! Samples on their way from memory into blocks.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::storage::block::WINDOW_MS;

fn open_at(folder: &Path, now: i64) -> (Arc<Store>, Arc<SimClock>) {
    let (clock, hand) = Clock::simulated(now);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    (Store::open(Config::default(), folder, seams).unwrap(), hand)
}

const START: i64 = NOW - NOW % WINDOW_MS + 1_000;

fn samples(from: i64, count: i64) -> Vec<(i64, f64)> {
    (0..count).map(|i| (from + i * 1_000, (from / 1_000 + i) as f64 / 10.0)).collect()
}

#[test]
fn a_window_moves_into_a_block_and_every_reader_sees_every_sample_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock) = open_at(folder.path(), START - 1_000);
    clock.advance(Duration::from_millis(WINDOW_MS as u64 + 4_600_000));
    let all = samples(START, 8_000);
    append(&store, "a", &all);
    append(&store, "gone", &samples(START, 100));
    let before = store.select(&[Matcher::new(MatchOp::Equal, "job", "a").unwrap()], i64::MIN, i64::MAX);
    clock.advance(Duration::from_secs(2));
    store.maintain();
    assert_eq!(store.totals().blocks, 2, "one of samples, one of their windows");
    // A reader from before holds the samples in memory; both see each once.
    for _ in 0..2 {
        clock.advance(Duration::from_secs(100));
        store.maintain();
        assert_eq!(read(&store, "a", i64::MIN, i64::MAX), all);
    }
    let mut column = Column::default();
    before.read(0, &mut column).unwrap();
    assert_eq!(column.len(), all.len());
    assert_eq!(store.stats(1).samples, 8_100);
    drop(before);
    // Late samples: one between flushed ones, one that was flushed already.
    append(&store, "a", &[(START + 500, 1.5), (START + 1_000, all[1].1)]);
    store.maintain();
    let in_memory = store.stats(1).samples;
    assert!(in_memory < 5_000, "{in_memory} samples are left: the late one changed a chunk, and that stays");
    assert_eq!(store.totals().series, 1, "a series without newer samples leaves memory");
    assert_eq!(read(&store, "gone", i64::MIN, i64::MAX), samples(START, 100));
    let mut expect = all.clone();
    expect[0] = (START + 500, 1.5);
    assert_eq!(read(&store, "a", START + 500, i64::MAX)[..5], expect[..5]);
    assert_eq!(read(&store, "a", START + 1_000, i64::MAX), all[1..]);
    let jobs = store.label_values("job", &[], (i64::MIN, i64::MAX), 0).items;
    assert_eq!(jobs, ["a", "gone"]);
    assert_eq!(store.series(&[vec![]], i64::MIN, i64::MAX, 0).items, [up("a"), up("gone")]);
    drop(store);
    let (store, _) = open_at(folder.path(), START + WINDOW_MS);
    assert_eq!(read(&store, "a", START + 1_000, i64::MAX), all[1..]);
    assert_eq!(store.recovery().frames_lost, 0);
}

#[test]
fn everything_can_be_flushed_and_appending_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _clock) = open_at(folder.path(), NOW);
    let histogram = Histogram { count: 3.0, sum: 1.5, ..Histogram::default() };
    for round in 0..3 {
        append(&store, "a", &samples(NOW - 100_000 + round * 30_000, 30));
        let mut appender = store.appender(Origin::new("test"));
        let series = appender.series(up("h").as_encoded()).unwrap();
        appender.histogram(series, NOW - 100_000 + round * 1_000, 0, &histogram).unwrap();
        appender.commit().wait().unwrap();
        store.flush().unwrap();
        assert!(store.stats(1).samples <= 1, "at most the newest sample stays in memory");
    }
    assert_eq!(read(&store, "a", i64::MIN, i64::MAX), samples(NOW - 100_000, 90));
    let found = store.select(&[Matcher::new(MatchOp::Equal, "job", "h").unwrap()], i64::MIN, i64::MAX);
    let mut column = Column::default();
    found.read(0, &mut column).unwrap();
    assert_eq!(column.histograms.iter().flatten().count(), 3);
    assert!(found.notes().warnings.is_empty());
}

#[test]
fn a_damaged_block_is_named_in_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _clock) = open_at(folder.path(), NOW);
    append(&store, "a", &samples(NOW - 100_000, 50));
    store.flush().unwrap();
    append(&store, "a", &samples(NOW - 50_000, 10));
    let blocks = folder.path().join("blocks");
    let file =
        std::fs::read_dir(&blocks).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some()).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let found = store.select(&[], i64::MIN, i64::MAX);
    let mut column = Column::default();
    found.read(0, &mut column).unwrap();
    assert_eq!(column.times.last(), Some(&(NOW - 41_000)));
    assert!(column.len() <= 11);
    let warnings = found.notes().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("checksum"), "{warnings:?}");
}

#[test]
fn a_second_flush_writes_nothing_that_the_first_has_written() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, _) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let config = Config { retention_ms: None, ..Config::default() };
    let store = Store::open(config, folder.path(), seams).unwrap();
    let samples = |store: &Store| {
        let version = store.blocks().unwrap().version();
        let raw = version.blocks().iter().map(|block| block.meta()).filter(|meta| meta.resolution == 0);
        raw.map(|meta| meta.samples).sum::<u64>()
    };
    let all: Vec<(i64, f64)> = (0..300).map(|at| (NOW - 900_000 + at * 1_000, at as f64)).collect();
    append(&store, "a", &all);
    append(&store, "b", &all);
    for _ in 0..3 {
        store.flush().unwrap();
        assert_eq!(samples(&store), 600);
        assert_eq!(read(&store, "a", 0, NOW), all);
    }
    // What comes then is written, also late, or alone, or in the place of the newest.
    append(&store, "a", &[(NOW - 500_000, 1.0)]);
    append(&store, "b", &[(NOW - 950_500, 1.0)]);
    store.flush().unwrap();
    assert_eq!((samples(&store), read(&store, "a", 0, NOW).len(), read(&store, "b", 0, NOW).len()), (602, 301, 301));
    append(&store, "a", &[(NOW - 499_500, 2.0)]);
    store.flush().unwrap();
    assert_eq!((samples(&store), read(&store, "a", 0, NOW).last()), (603, Some(&(NOW - 499_500, 2.0))));
}

/// An import of a day had to wait for twenty seconds, and then a second for each job: a dashboard over the week read most
/// of it from memory for a minute and more.
#[test]
fn an_import_that_is_over_is_in_blocks_and_rolled_up_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock) = open_at(folder.path(), START + 72 * 3_600_000);
    let second = || {
        clock.advance(Duration::from_secs(1));
        store.maintain();
    };
    // The first flush of a life comes at once: this is one of the later ones.
    append(&store, "old", &samples(START, 10));
    (0..40).for_each(|_| second());
    let rng = Rng::from_seed(8);
    for job in ["a", "b", "c", "d"] {
        // Values of which nothing can be saved.
        let noise: Vec<_> = (0..50_000).map(|at| (START + at * 2_000, rng.next_u64() as f64)).collect();
        append(&store, job, &noise);
    }
    let in_memory = store.stats(1).samples;
    assert!(in_memory > 190_000);
    (0..4).for_each(|_| second());
    assert!(store.stats(1).samples < in_memory / 20, "{} samples are still in memory", store.stats(1).samples);
    let version = store.blocks().unwrap().version();
    let of = |resolution: i64| version.blocks().iter().filter(move |block| block.meta().resolution == resolution);
    let rolled: u64 = of(60_000).map(|block| block.meta().samples).sum();
    let [raw, tiers] = [0, 60_000].map(|resolution| of(resolution).count());
    assert!(raw <= 12 && tiers + 1 >= raw && rolled > 6_000, "{raw} blocks of samples, {tiers} of {rolled} windows");
}
