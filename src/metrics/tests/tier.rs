//! Answers from the tier are those of raw samples.

use std::time::Duration;

use super::*;
use crate::promql::eval::{self, QueryOptions, QueryValue, Window};
use crate::promql::parse::parse;
use crate::promql::source::{Select, SeriesSet, Source, SourceError};

/// A store that is never asked for whole windows.
struct Raw<'a>(&'a Store);

impl Source for Raw<'_> {
    fn select(&self, select: &Select) -> Result<Box<dyn SeriesSet>, SourceError> {
        let mut select = select.clone();
        select.hints.step += 1;
        Source::select(self.0, &select)
    }
}

const HOURS: i64 = 18;
const MINUTE: i64 = 60_000;
const FIRST: i64 = NOW - NOW % 28_800_000 - HOURS * 3_600_000;

/// A counter with resets, a gauge of decimals, a counter of another phase, one with gaps, one that ends.
fn fill(store: &Store) {
    for job in ["counter", "gauge", "phase", "gaps", "ends"] {
        let mut appender = store.appender(Origin::new("test"));
        let series = appender.series(up(job).as_encoded()).unwrap();
        let (mut value, seconds) = (0.0, HOURS * 3_600);
        for i in 0..seconds {
            value += (i % 7) as f64;
            let (shift, sample) = match job {
                "counter" if i % 1_999 == 0 => {
                    value = 0.0;
                    (0, 0.0)
                }
                "gauge" => (0, ((i * 7_919) % 1_000) as f64 / 100.0 - 3.0),
                "phase" => (437, value),
                "gaps" if i % 500 > 400 => continue,
                "ends" if i > seconds / 3 => continue,
                _ => (0, value),
            };
            appender.float(series, FIRST + i * 1_000 + shift, 0, sample).unwrap();
        }
        appender.commit().wait().unwrap();
    }
}

fn evaluate(source: &dyn Source, query: &str) -> Vec<(Labels, Vec<(i64, f64)>)> {
    let expr = parse(query).unwrap();
    let window = Window { start: FIRST + 600_000, end: FIRST + (HOURS - 1) * 3_600_000, step: 10 * MINUTE };
    let outcome = eval::range(source, query, &expr, window, &QueryOptions::default()).unwrap();
    let QueryValue::Matrix(matrix) = outcome.value else { panic!("a range query gives a matrix") };
    matrix.into_iter().map(|series| (series.labels, series.floats)).collect()
}

#[test]
fn a_query_over_whole_minutes_is_answered_from_the_tier_as_from_raw_samples() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let config = Config { dedup_interval_ms: 0, ..Config::default() };
    let store = Store::open(config, folder.path(), seams).unwrap();
    fill(&store);
    for _ in 0..40 {
        hand.advance(Duration::from_secs(20));
        store.maintain();
    }
    let version = store.blocks().unwrap().version();
    assert!(version.blocks().iter().any(|block| block.meta().resolution > 0), "a tier block was made");
    let mut compared = 0;
    for query in [
        "up",
        "sum(up)",
        "up offset 7m",
        "rate(up[5m])",
        "sum(increase(up[10m]))",
        "increase(up[1m])",
        "max_over_time(up[5m])",
        "min_over_time(up[1h])",
        "sum_over_time(up[5m])",
        "avg_over_time(up[1m])",
        "avg_over_time(up[5m])",
        "count_over_time(up[5m])",
        "last_over_time(up[2m])",
        "delta(up[5m])",
        "quantile_over_time(0.5, up[5m])",
        "timestamp(up)",
        "max_over_time(rate(up[5m])[30m:1m])",
    ] {
        let (tier, raw) = (evaluate(&*store, query), evaluate(&Raw(&store), query));
        assert_eq!(tier.len(), raw.len(), "{query}");
        for ((labels, tier), (other, raw)) in tier.iter().zip(&raw) {
            assert_eq!((labels, tier.len()), (other, raw.len()), "{query}");
            for ((time, a), (_, b)) in tier.iter().zip(raw) {
                assert!((a - b).abs() <= b.abs() * 1e-9, "{query} {labels} at {time}: {a}, raw {b}");
                compared += 1;
            }
        }
    }
    assert!(compared > 5_000, "{compared}");
}
