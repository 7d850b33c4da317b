//! A disk that cannot read some places, and one that is full when the start finds damage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::base::disk::{Crash, Faults};

const FOLDER: &str = "/data/store";

fn opened(disk: &Disk, clock: &Clock) -> Arc<Store> {
    let seams = Seams { clock: clock.clone(), disk: disk.clone(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let config = Config { retention_ms: None, ..Config::default() };
    Store::open(config, Path::new(FOLDER), seams).unwrap()
}

fn files(disk: &Disk, folder: &str, suffix: &str) -> Vec<PathBuf> {
    let folder = Path::new(FOLDER).join(folder);
    let names = disk.list(&folder).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.ends_with(suffix)).map(|name| folder.join(name)).collect()
}

/// Samples of three runs, each in a segment of its own.
fn three_segments(disk: &Disk, clock: &Clock) {
    for run in 0..3 {
        let store = opened(disk, clock);
        for at in 0..100 {
            append(&store, "a", &[(NOW - 1_000_000 + run * 100_000 + at * 1_000, at as f64)]);
        }
    }
}

#[test]
fn a_segment_that_cannot_be_read_costs_itself_and_is_set_aside() {
    let (disk, hand) = Disk::simulated(Rng::from_seed(1));
    let (clock, _) = Clock::simulated(NOW);
    three_segments(&disk, &clock);
    let middle = files(&disk, "wal", ".wal").remove(1);
    assert!(disk.open(&middle).unwrap().len().unwrap() > 4_096, "it has a second piece");
    hand.spoil(|path| path == middle).unwrap();
    let store = opened(&disk, &clock);
    let recovery = store.recovery();
    assert!(recovery.damages > 0 && recovery.unreadable_bytes > 0, "{recovery:?}");
    let left = read(&store, "a", i64::MIN, i64::MAX);
    assert!((200..300).contains(&left.len()), "{} samples are left", left.len());
    append(&store, "a", &[(NOW, 1.0)]);
    store.snapshot().unwrap();
    let aside = files(&disk, "wal", ".damaged");
    assert_eq!(aside, [middle.with_extension("wal.damaged")]);
    drop(store);
    let store = opened(&disk, &clock);
    assert_eq!((store.recovery().damages, read(&store, "a", i64::MIN, i64::MAX).len()), (0, left.len() + 1));
}

#[test]
fn files_of_the_log_that_cannot_be_opened_are_counted_and_the_store_starts() {
    let (disk, hand) = Disk::simulated(Rng::from_seed(1));
    let (clock, _) = Clock::simulated(NOW);
    three_segments(&disk, &clock);
    hand.set_faults(Faults { read_error: 1.0, ..Faults::default() });
    let store = opened(&disk, &clock);
    assert_eq!(store.recovery().damages, 3);
    assert!(store.recovery().unreadable_bytes > 0);
    drop(store);
    hand.set_faults(Faults::default());
    assert_eq!(read(&opened(&disk, &clock), "a", i64::MIN, i64::MAX).len(), 300, "it was the cable");
}

#[test]
fn of_damaged_files_a_few_are_kept() {
    let (disk, hand) = Disk::simulated(Rng::from_seed(1));
    let (clock, _) = Clock::simulated(NOW);
    for run in 0..12 {
        let store = opened(&disk, &clock);
        append(&store, "a", &[(NOW - 1_000_000 + run * 1_000, 1.0)]);
        drop(store);
        hand.spoil(|path| path.extension().is_some_and(|suffix| suffix == "wal")).unwrap();
        opened(&disk, &clock).snapshot().unwrap();
    }
    assert_eq!(files(&disk, "wal", ".damaged").len(), 8);
}

#[test]
fn a_damaged_manifest_on_a_full_disk_is_rebuilt_in_memory() {
    let (disk, hand) = Disk::simulated(Rng::from_seed(1));
    let (clock, _) = Clock::simulated(NOW);
    let store = opened(&disk, &clock);
    let samples: Vec<(i64, f64)> = (0..500).map(|at| (NOW - 40_000_000 + at * 60_000, at as f64)).collect();
    append(&store, "a", &samples);
    store.flush().unwrap();
    assert!(store.blocks().unwrap().version().blocks().len() > 1);
    drop(store);
    hand.restart(Crash::Process);
    for harm in ["flip", "spoil"] {
        let manifest = |path: &Path| path.ends_with("MANIFEST");
        let hit = if harm == "flip" { hand.flip_bit(manifest) } else { hand.spoil(manifest) };
        hit.unwrap();
        hand.set_faults(Faults { capacity: Some(hand.used()), ..Faults::default() });
        let store = opened(&disk, &clock);
        assert!(store.read_only().is_some(), "no room for samples");
        assert_eq!(read(&store, "a", i64::MIN, i64::MAX), samples, "{harm}");
        drop(store);
        hand.restart(Crash::Power);
        assert_eq!(read(&opened(&disk, &clock), "a", i64::MIN, i64::MAX), samples, "{harm}, with room again");
    }
}

#[test]
fn segments_end_by_time_too() {
    let (disk, _) = Disk::simulated(Rng::from_seed(1));
    let (clock, hand) = Clock::simulated(NOW);
    let store = opened(&disk, &clock);
    for at in 0..600 {
        append(&store, "a", &[(NOW + at * 1_000, 1.0)]);
        store.maintain();
        hand.advance(Duration::from_secs(1));
    }
    let segments = files(&disk, "wal", ".wal").len();
    assert!((5..=6).contains(&segments), "{segments} segments of two minutes in ten");
    for _ in 0..600 {
        store.maintain();
        hand.advance(Duration::from_secs(1));
    }
    assert_eq!(files(&disk, "wal", ".wal").len(), segments, "none without samples");
}
