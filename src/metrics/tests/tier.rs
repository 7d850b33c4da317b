//! Answers from tiers are those of raw samples, over random data: gaps, resets, staleness markers, NaN, start times,
//! native histograms, late samples.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::metrics::config::Tier;
use crate::model::histogram::ResetHint;
use crate::promql::eval::{self, QueryOptions, QueryValue, Window};
use crate::promql::parse::parse;
use crate::promql::source::{Hints, Select, SeriesSet, Source, SourceError};

/// A store that is never asked for whole windows.
pub(super) struct Raw<'a>(pub(super) &'a Store);

impl Source for Raw<'_> {
    fn select(&self, select: &Select) -> Result<Box<dyn SeriesSet>, SourceError> {
        let mut select = select.clone();
        select.hints.raw = true;
        Source::select(self.0, &select)
    }
}

pub(super) const HOURS: i64 = 5;
pub(super) const MINUTE: i64 = 60_000;
pub(super) const FIRST: i64 = NOW - NOW % 86_400_000 - 86_400_000;

const JOBS: [&str; 9] = ["counter", "gauge", "phase", "gaps", "ends", "odd", "created", "histogram", "gauge_histogram"];

fn histogram(n: f64, hint: ResetHint) -> Histogram {
    Histogram {
        reset_hint: hint,
        schema: 1,
        zero_threshold: 1e-3,
        zero_count: n,
        count: n * 4.0,
        sum: n * 7.25,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets: vec![n * 2.0, n],
        ..Histogram::default()
    }
}

/// Appends a random walk of one kind.
pub(super) fn fill(store: &Store, job: &str, rng: &Rng, seconds: std::ops::Range<i64>) {
    let mut appender = store.appender(Origin::new("test"));
    let series = appender.series(up(job).as_encoded()).unwrap();
    let (mut value, mut start) = (0.0, FIRST);
    let mut skip_to = 0;
    for i in seconds {
        let time = FIRST + i * 1_000;
        value += rng.below(9) as f64;
        let resets = rng.chance(0.002);
        if i < skip_to {
            continue;
        }
        match job {
            "gaps" | "odd" if rng.chance(0.003) => skip_to = i + rng.below(400) as i64,
            "counter" | "created" | "histogram" if resets => {
                value = rng.below(3) as f64;
                start = time - 400;
            }
            _ => {}
        }
        let sample = match job {
            "gauge" => (rng.below(4_000) as f64 - 2_000.0) / 100.0,
            "odd" if rng.chance(0.01) => f64::NAN,
            "odd" if rng.chance(0.02) => STALE_NAN,
            "odd" if rng.chance(0.01) => f64::INFINITY,
            "ends" if i > HOURS * 2_000 => continue,
            _ => value,
        };
        let taken = match job {
            "histogram" | "gauge_histogram" if i % 4 != 0 => Ok(()),
            "histogram" => appender.histogram(series, time, 0, &histogram(value, ResetHint::Unknown)),
            "gauge_histogram" => {
                appender.histogram(series, time, 0, &histogram(rng.below(50) as f64, ResetHint::Gauge))
            }
            "phase" => appender.float(series, time + 437, 0, sample),
            "created" => appender.float(series, time, start, sample),
            _ => appender.float(series, time, 0, sample),
        };
        taken.unwrap();
    }
    appender.commit().wait().unwrap();
}

type Cells = Vec<(Labels, Vec<(i64, Vec<f64>)>)>;

fn evaluate(source: &dyn Source, query: &str, step: i64) -> Cells {
    evaluate_over(source, query, Window { start: FIRST + 600_000, end: FIRST + HOURS * 3_600_000, step })
}

fn evaluate_over(source: &dyn Source, query: &str, window: Window) -> Cells {
    let expr = parse(query).unwrap();
    let outcome = eval::range(source, query, &expr, window, &QueryOptions::default()).unwrap();
    let QueryValue::Matrix(matrix) = outcome.value else { panic!("a range query gives a matrix") };
    let numbers = |h: &Histogram| {
        let mut numbers = vec![h.count, h.sum, h.zero_count];
        numbers.extend(h.positive().map(|bucket| bucket.count));
        numbers
    };
    matrix
        .into_iter()
        .map(|series| {
            let floats = series.floats.into_iter().map(|(time, value)| (time, vec![value]));
            let histograms = series.histograms.iter().map(|(time, h)| (*time, numbers(h)));
            (series.labels, floats.chain(histograms).collect())
        })
        .collect()
}

/// Compares all answers; gives how many there were.
#[track_caller]
pub(super) fn check(context: &str, tier: &Cells, raw: &Cells) -> usize {
    assert_eq!(tier.len(), raw.len(), "{context}");
    let close = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= b.abs().max(1e-6) * 1e-9;
    let mut compared = 0;
    for ((labels, tier), (other, raw)) in tier.iter().zip(raw) {
        let times = |cells: &[(i64, Vec<f64>)]| cells.iter().map(|cell| cell.0).collect::<Vec<_>>();
        assert_eq!((labels, times(tier)), (other, times(raw)), "{context}");
        for ((time, a), (_, b)) in tier.iter().zip(raw) {
            let same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(*a, *b));
            assert!(same, "{context} {labels} at {time}: {a:?}, raw {b:?}");
            compared += 1;
        }
    }
    compared
}

/// Queries that windows answer exactly, given a range that they divide.
pub(super) const EXACT: [&str; 18] = [
    "up",
    "timestamp(up)",
    "sum(up{job!~\"odd|.*histogram\"})",
    "up offset 7m",
    "rate(up[RANGE])",
    "sum by (job) (increase(up[RANGE]))",
    "delta(up[RANGE])",
    "max_over_time(up[RANGE])",
    "min_over_time(up[RANGE])",
    "sum_over_time(up{job!=\"histogram\"}[RANGE])",
    "avg_over_time(up{job!=\"histogram\"}[RANGE])",
    "count_over_time(up[RANGE])",
    "present_over_time(up[RANGE])",
    "first_over_time(up[RANGE])",
    "last_over_time(up[RANGE])",
    "ts_of_last_over_time(up[RANGE])",
    "histogram_quantile(0.9, rate(up{job=\"histogram\"}[RANGE]))",
    "histogram_quantile(0.5, up{job=~\".*histogram\"})",
];

/// Queries that need raw samples.
const RAW: [&str; 6] = [
    "quantile_over_time(0.5, up{job!~\".*histogram\"}[5m])",
    "rate(up[90s])",
    "changes(up[5m])",
    "max_over_time(rate(up[5m])[30m:1m])",
    "increase(up{job=\"counter\"}[5m] anchored)",
    "sum_over_time(up{job=\"histogram\"}[1m])",
];

/// As `evaluate`, for other modules.
pub(super) fn answers(source: &dyn Source, query: &str, step: i64) -> Cells {
    evaluate(source, query, step)
}

pub(super) fn tiers() -> Vec<Tier> {
    [30_000, 60_000, 300_000].map(|resolution_ms| Tier { resolution_ms, retention_ms: None }).to_vec()
}

pub(super) fn open(folder: &Path, config: Config, now: i64) -> (Arc<Store>, Arc<SimClock>) {
    let (clock, hand) = Clock::simulated(now);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    (Store::open(Config { dedup_interval_ms: 0, ..config }, folder, seams).unwrap(), hand)
}

pub(super) fn work(store: &Store, hand: &SimClock, rounds: usize) {
    for _ in 0..rounds {
        hand.advance(Duration::from_secs(20));
        store.maintain();
    }
}

#[test]
fn every_tier_answers_as_raw_samples_do() {
    let seed = std::env::var("NOVASCOPE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let rng = Rng::from_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let config = Config { retention_ms: None, tiers: tiers(), ..Config::default() };
    let (store, hand) = open(folder.path(), config, FIRST + HOURS * 3_600_000);
    for job in JOBS {
        // Part of the second hour comes late, after the others.
        fill(&store, job, &rng, 0..4_000);
        fill(&store, job, &rng, 4_300..HOURS * 3_600);
    }
    work(&store, &hand, 30);
    let count = |resolution: i64| {
        let version = store.blocks().unwrap().version();
        version.blocks().iter().filter(|block| block.meta().resolution == resolution).count()
    };
    assert!(count(60_000) > 0 && count(300_000) > 0, "tiers are made as samples are flushed");
    let hints = Hints { step: MINUTE, range: MINUTE, function: "max_over_time", ..Hints::default() };
    let select = Select { matchers: vec![], mint: FIRST + 1, maxt: FIRST + 3_600_000, hints };
    let found = Source::select(&*store, &select).unwrap();
    found.read(0, &mut Column::default()).unwrap();
    assert_eq!(found.tier(), "1m");
    // The only range of a query lies where it wants.
    let hints = Hints { range: 3_600_000, function: "max_over_time", ..Hints::default() };
    let select = Select { matchers: vec![], mint: FIRST + 7_777, maxt: FIRST + 3_607_776, hints };
    let found = Source::select(&*store, &select).unwrap();
    found.read(0, &mut Column::default()).unwrap();
    assert_eq!(found.tier(), "1m");
    let (mut compared, mut alone) = (0, 0);
    let grids = [("1m", MINUTE), ("5m", 5 * MINUTE), ("30s", 90_000), ("1h", 10 * MINUTE), ("2m", MINUTE)];
    for round in 0..3 {
        for (range, step) in grids.into_iter().skip(round).step_by(2) {
            for query in EXACT {
                let query = query.replace("RANGE", range);
                let (tier, raw) = (evaluate(&*store, &query, step), evaluate(&Raw(&store), &query, step));
                compared += check(&format!("seed {seed}, round {round}, {query} by {step}"), &tier, &raw);
            }
        }
        for query in RAW {
            let (tier, raw) = (evaluate(&*store, query, 5 * MINUTE), evaluate(&Raw(&store), query, 5 * MINUTE));
            compared += check(&format!("seed {seed}, round {round}, {query}"), &tier, &raw);
        }
        for query in EXACT.into_iter().filter(|query| query.contains("RANGE")) {
            // A single long range, wherever its edges lie.
            let range = ["31m", "1h7s", "2h433ms", "50m"][rng.below(4) as usize];
            let time = FIRST + 1_800_000 + rng.below((HOURS * 3_600_000 - 1_800_000) as u64) as i64;
            let (query, at) = (query.replace("RANGE", range), Window { start: time, end: time, step: MINUTE });
            let (tier, raw) = (evaluate_over(&*store, &query, at), evaluate_over(&Raw(&store), &query, at));
            alone += check(&format!("seed {seed}, round {round}, {query} at {time}"), &tier, &raw);
        }
        // Late samples: in memory at first, beside the windows of blocks; then in blocks as well.
        match round {
            0 => JOBS.iter().for_each(|job| fill(&store, job, &rng, 4_050..4_250)),
            1 => {
                store.flush().unwrap();
                work(&store, &hand, 20);
            }
            _ => {}
        }
    }
    assert!(compared > 10_000 && alone > 100, "{compared}, {alone}");
}

#[test]
fn windows_answer_exactly_after_their_samples_are_gone() {
    let (kept_folder, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let now = FIRST + HOURS * 3_600_000;
    let (kept, _) = open(kept_folder.path(), Config { retention_ms: None, ..Config::default() }, now);
    let config = Config { retention_ms: Some(86_400_000), tiers: tiers(), ..Config::default() };
    let (store, hand) = open(folder.path(), config, now);
    for job in JOBS {
        for store in [&kept, &store] {
            fill(store, job, &Rng::from_seed(3), 0..HOURS * 3_600);
        }
    }
    store.flush().unwrap();
    hand.advance(Duration::from_secs(3 * 86_400));
    work(&store, &hand, 40);
    let version = store.blocks().unwrap().version();
    assert!(version.blocks().iter().all(|block| block.meta().resolution > 0), "raw samples are gone");
    for (range, step) in [("1m", MINUTE), ("10m", 5 * MINUTE)] {
        for query in EXACT {
            // Starts that change inside a window are what its numbers cannot tell.
            let query = query.replace("RANGE", range).replace("up[", "up{job!=\"created\"}[");
            let query = query.replace("{job!=\"histogram\"}[", "{job!~\"histogram|created\"}[");
            // Nor do they tell of counters that fall below 0, or of the rate of a gauge.
            let query = match query.contains("rate(") || query.contains("increase(") {
                true => query.replace("{job!=\"created\"}[", "{job!~\"created|gauge.*\"}["),
                false => query,
            };
            let (left, raw) = (evaluate(&*store, &query, step), evaluate(&*kept, &query, step));
            check(&format!("{query} by {step}"), &left, &raw);
        }
    }
    let select = Select { matchers: vec![], mint: FIRST, maxt: now, hints: Hints::default() };
    let found = Source::select(&*store, &select).unwrap();
    found.read(0, &mut Column::default()).unwrap();
    let infos = found.notes().infos;
    assert!(infos.iter().any(|info| info.contains("answered from windows of")), "{infos:?}");
    let jobs = store.label_values("job", &[], (i64::MIN, i64::MAX), 0).items;
    assert_eq!(jobs.len(), JOBS.len(), "series of which only windows are left are listed");
}

#[test]
fn a_clock_that_jumps_ahead_makes_nothing_go() {
    let folder = tempfile::tempdir().unwrap();
    let now = FIRST + 2 * 3_600_000;
    let (store, hand) = open(folder.path(), Config::default(), now);
    fill(&store, "counter", &Rng::from_seed(3), 0..7_200);
    store.flush().unwrap();
    hand.jump_to(now + 400 * 86_400_000);
    work(&store, &hand, 10);
    let column = |store: &Store| {
        let mut column = Column::default();
        let found = store.select(&[], i64::MIN, i64::MAX);
        if found.len() > 0 {
            found.read(0, &mut column).unwrap();
        }
        column.len()
    };
    assert_eq!(column(&store), 7_200);
    // What really gets old goes.
    hand.jump_to(now);
    hand.advance(Duration::from_secs(400 * 86_400));
    work(&store, &hand, 20);
    assert_eq!(column(&store), 0);
}
