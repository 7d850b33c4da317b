//! Samples of the past, into ranges that have left memory long ago.

use std::path::Path;

use super::*;

const HOUR: i64 = 3_600_000;

fn open_at(folder: &Path) -> Arc<Store> {
    let (clock, _) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    Store::open(Config { retention_ms: Some(400 * 24 * HOUR), ..Config::default() }, folder, seams).unwrap()
}

fn minutes(from: i64, count: i64, value: f64) -> Vec<(i64, f64)> {
    (0..count).map(|minute| (from + minute * 60_000, value)).collect()
}

#[test]
fn the_past_is_filled_in_and_seen_at_once_and_after_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    let days = [2, 30, 300].map(|days| NOW - NOW % HOUR - days * 24 * HOUR);
    let mut expect = Vec::new();
    for day in days {
        append(&store, "a", &minutes(day, 180, 1.0));
        expect.extend(minutes(day, 180, 1.0));
    }
    store.flush().unwrap();
    // Between samples that are in blocks, before all of them, and of a series that no block knows.
    for day in days {
        let late = minutes(day + 30_000, 180, 2.0);
        assert!(append(&store, "a", &late).iter().all(Result::is_ok));
        assert!(append(&store, "new", &late).iter().all(Result::is_ok));
        expect.extend(late);
    }
    let early = minutes(NOW - 390 * 24 * HOUR, 10, 3.0);
    append(&store, "a", &early);
    expect.extend(early);
    expect.sort_by_key(|(time, _)| *time);
    let check = |store: &Store, when: &str| {
        assert_eq!(read(store, "a", i64::MIN, i64::MAX), expect, "{when}");
        assert_eq!(read(store, "new", i64::MIN, i64::MAX).len(), 540, "{when}");
        let one = read(store, "a", days[1] + 60_000, days[1] + 100_000);
        assert_eq!(one, [(days[1] + 60_000, 1.0), (days[1] + 90_000, 2.0)], "{when}");
    };
    check(&store, "at once");
    store.flush().unwrap();
    check(&store, "after a flush");
    store.maintain();
    check(&store, "after maintenance");
    drop(store);
    check(&open_at(folder.path()), "after a restart");
    // What is older than the retention is refused, and said so.
    let store = open_at(folder.path());
    let refused = append(&store, "a", &[(NOW - 401 * 24 * HOUR, 0.0)]);
    assert!(matches!(refused[0], Err(Refusal::TooOld { .. })), "{refused:?}");
}
