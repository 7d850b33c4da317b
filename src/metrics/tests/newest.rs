//! What is read of a series of which the newest sample is enough.

use std::time::Duration;

use super::*;
use crate::promql::source::{Hints, Select, Source};

/// The last entry that a selection reads, and how many it read.
type Last = (Option<(i64, i64, u64, bool)>, usize);

fn last(store: &Store, (mint, maxt): (i64, i64), newest: bool) -> Last {
    let hints = Hints { newest, ..Hints::default() };
    let found = Source::select(store, &Select { matchers: vec![], mint, maxt, hints }).unwrap();
    let mut column = Column::default();
    if !found.is_empty() {
        found.read(0, &mut column).unwrap();
    }
    let entry = column.len().checked_sub(1).map(|at| {
        let start = column.starts.get(at).copied().unwrap_or(0);
        let is_histogram = column.histograms.get(at).is_some_and(Option::is_some);
        (column.times[at], start, column.values[at].to_bits(), is_histogram)
    });
    (entry, column.len())
}

#[test]
fn the_newest_sample_is_the_same_with_and_without_those_before() {
    let seed = 77;
    println!("seed {seed}");
    let rng = Rng::from_seed(seed);
    let (mut alone, mut compared) = (0, 0);
    for life in 0..12 {
        let f = open(|config| {
            (config.dedup_interval_ms, config.retention_ms, config.durability) = (0, None, Durability::Fast);
        });
        let mut now = NOW - 90_000_000;
        for _ in 0..60 {
            let mut appender = f.store.appender(Origin::new("test"));
            let series = appender.series(up("a").as_encoded()).unwrap();
            for _ in 0..rng.below(200) {
                now += if rng.chance(0.02) { 1 + rng.below(700_000) as i64 } else { 1_000 };
                let start = if life % 3 == 2 && rng.chance(0.1) { now - 5 } else { 0 };
                let value = if rng.chance(0.01) { STALE_NAN } else { rng.below(1_000) as f64 / 8.0 };
                appender.float(series, now, start, value).unwrap();
            }
            if life % 2 == 1 && rng.chance(0.3) {
                // Refused where there is a sample already.
                let _ = appender.float(series, now - 500 - 1_000 * rng.below(400) as i64, 0, 0.5);
            }
            if life == 5 && rng.chance(0.2) {
                now += 1;
                appender.histogram(series, now, 0, &Histogram::default()).unwrap();
            }
            appender.commit().wait().unwrap();
            if rng.chance(0.1) {
                f.store.flush().unwrap();
                f.clock.advance(Duration::from_secs(20));
                f.store.maintain();
            }
            for _ in 0..4 {
                let maxt = now + 500 - if rng.chance(0.4) { rng.below(900_000) as i64 } else { 0 };
                let range = (maxt - 1 - rng.below(400_000) as i64, maxt);
                let ((one, count), (all, _)) = (last(&f.store, range, true), last(&f.store, range, false));
                assert_eq!(one, all, "life {life}, {range:?}");
                compared += usize::from(all.is_some());
                alone += usize::from(count == 1);
            }
        }
    }
    assert!(compared > 2_000 && alone * 2 > compared, "{alone} of {compared} were read alone");
}

#[test]
fn what_a_block_has_may_be_newer_than_what_memory_has() {
    let f = open(|config| config.durability = Durability::Fast);
    append(&f.store, "a", &[(NOW - 10_000, 1.0), (NOW - 5_000, 2.0)]);
    f.clock.advance(Duration::from_secs(10));
    f.store.flush().unwrap();
    assert_eq!(f.store.totals().series, 0, "the series has left memory");
    append(&f.store, "a", &[(NOW - 8_000, 3.0)]);
    let time = |maxt| last(&f.store, (NOW - 60_000, maxt), true).0.map(|(time, ..)| time);
    assert_eq!([NOW, NOW - 6_000, NOW - 9_000].map(time), [5_000, 8_000, 10_000].map(|ago| Some(NOW - ago)));
}
