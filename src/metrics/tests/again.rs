//! What comes once more, or late, into times of which only windows are left: those are corrected, not added to.

use std::ops::Range;
use std::time::Duration;

use super::tier::{EXACT, FIRST, HOURS, MINUTE, answers as evaluate, check, fill, open, tiers, work};
use super::*;
use crate::metrics::config;

/// Kinds of series whose windows say all that is asked of them.
const JOBS: [&str; 6] = ["counter", "gauge", "phase", "gaps", "ends", "histogram"];

const DAY: Duration = Duration::from_secs(86_400);

/// A store that keeps everything, and one that has only windows of anything older than a day.
struct Pair {
    kept: Arc<Store>,
    store: Arc<Store>,
    hand: Arc<SimClock>,
    _folders: [tempfile::TempDir; 2],
}

impl Pair {
    fn new() -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let now = FIRST + HOURS * 3_600_000;
        let (kept, _) = open(folders[0].path(), Config { retention_ms: None, ..Config::default() }, now);
        let config = Config { retention_ms: Some(86_400_000), tiers: tiers(), ..Config::default() };
        let (store, hand) = open(folders[1].path(), config, now);
        Self { kept, store, hand, _folders: folders }
    }

    /// Sends what the first store has of these seconds to the second.
    fn send(&self, seconds: Range<i64>) {
        let found = self.kept.select(&[], FIRST + seconds.start * 1_000, FIRST + seconds.end * 1_000 - 1);
        let mut appender = self.store.appender(Origin::new("import"));
        for index in 0..found.len() {
            let mut column = Column::default();
            found.read(index, &mut column).unwrap();
            let series = appender.series(found.labels(index).as_encoded()).unwrap();
            for (at, time) in column.times.iter().enumerate() {
                match column.histograms.get(at).and_then(Option::as_ref) {
                    Some(histogram) => appender.histogram(series, *time, 0, histogram).unwrap(),
                    None => appender.float(series, *time, 0, column.values[at]).unwrap(),
                }
            }
        }
        appender.commit().wait().unwrap();
    }

    /// Lets samples become windows, and go.
    fn age(&self) {
        self.store.flush().unwrap();
        self.hand.advance(3 * DAY);
        work(&self.store, &self.hand, 60);
        let version = self.store.blocks().unwrap().version();
        let blocks: Vec<i64> = version.blocks().iter().map(|block| block.meta().resolution).collect();
        assert!(blocks.iter().all(|resolution| *resolution > 0), "raw samples are gone: {blocks:?}");
    }

    #[track_caller]
    fn check(&self, what: &str) {
        for (range, step) in [("1m", MINUTE), ("10m", 5 * MINUTE)] {
            for query in EXACT {
                let query = query.replace("RANGE", range).replace("{job!=\"histogram\"}[", "{job!~\"histogram\"}[");
                // Of gauges windows do not tell a rate.
                let query = match query.contains("rate(") || query.contains("increase(") {
                    true => query.replace("up[", "up{job!~\"gauge.*\"}["),
                    false => query,
                };
                let (left, raw) = (evaluate(&*self.store, &query, step), evaluate(&*self.kept, &query, step));
                check(&format!("{what}: {query} by {step}"), &left, &raw);
            }
        }
    }
}

#[test]
fn what_is_imported_again_counts_once() {
    let seed = std::env::var("NOVASCOPE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    let rng = Rng::from_seed(seed);
    let pair = Pair::new();
    let all = 0..HOURS * 3_600;
    JOBS.iter().for_each(|job| fill(&pair.kept, job, &rng, all.clone()));
    pair.send(all.clone());
    pair.age();
    pair.check("at first");
    pair.send(all.clone());
    pair.age();
    pair.check(&format!("seed {seed}, all of it again"));
    for round in 0..4 {
        let from = rng.below(all.end as u64 - 4_000) as i64;
        let part = from..from + 400 + rng.below(3_000) as i64;
        pair.send(part.clone());
        pair.age();
        pair.check(&format!("seed {seed}, round {round}, {part:?} again"));
    }
}

#[test]
fn what_was_missing_is_added_to_the_windows_that_are_left() {
    let pair = Pair::new();
    let all = 0..HOURS * 3_600;
    ["counter", "phase", "histogram"].iter().for_each(|job| fill(&pair.kept, job, &Rng::from_seed(5), all.clone()));
    pair.send(0..4_990);
    pair.send(7_010..12_000);
    pair.age();
    // The hole, with some of what lies around it; then the end, beside the last window there was.
    pair.send(4_000..8_000);
    pair.age();
    pair.send(12_000..all.end);
    pair.age();
    pair.check("filled in");
    // Samples between those that windows have counted.
    let between: Vec<(i64, f64)> = (3_000..6_000).map(|second| (FIRST + second * 1_000 + 500, 1e4)).collect();
    for store in [&pair.kept, &pair.store] {
        assert!(append(store, "counter", &between).iter().all(Result::is_ok));
    }
    pair.age();
    let query = "count_over_time(up{job=\"counter\"}[1m])";
    check(query, &evaluate(&*pair.store, query, MINUTE), &evaluate(&*pair.kept, query, MINUTE));
    let query = "sum_over_time(up{job=\"counter\"}[1m])";
    check(query, &evaluate(&*pair.store, query, MINUTE), &evaluate(&*pair.kept, query, MINUTE));
}

#[test]
fn windows_of_series_whose_samples_a_rule_took_outlive_late_samples_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let now = FIRST + HOURS * 3_600_000;
    let matchers = vec![Matcher::new(MatchOp::Equal, "job", "counter").unwrap()];
    let rule = config::RetentionRule {
        matchers,
        retention_ms: Some(86_400_000),
        tier_retention_ms: vec![None; tiers().len()],
    };
    let config = Config {
        retention_ms: Some(30 * 86_400_000),
        tiers: tiers(),
        retention_rules: vec![rule],
        ..Config::default()
    };
    let (store, hand) = open(folder.path(), config, now);
    ["counter", "gauge"].iter().for_each(|job| fill(&store, job, &Rng::from_seed(5), 0..7_000));
    store.flush().unwrap();
    hand.advance(3 * DAY);
    work(&store, &hand, 60);
    let count = |job: &str| {
        let query = format!("sum(count_over_time(up{{job=\"{job}\"}}[10m]))");
        let cells = evaluate(&*store, &query, 5 * MINUTE);
        cells.iter().flat_map(|(_, cells)| cells).map(|(_, values)| values[0]).sum::<f64>()
    };
    let before = (count("counter"), count("gauge"));
    assert!(before.0 > 10_000.0 && before.0 == before.1, "{before:?}");
    append(&store, "new", &[(FIRST + 1_000_500, 1.0), (FIRST + 3_000_500, 1.0)]);
    store.flush().unwrap();
    work(&store, &hand, 60);
    assert_eq!((count("counter"), count("gauge")), before);
    append(&store, "counter", &[(FIRST + 3_000_000, 1.0), (FIRST + 3_000_250, 1.0)]);
    store.flush().unwrap();
    work(&store, &hand, 60);
    // The second of these is new; each sample is in two of the ranges that were asked for.
    assert_eq!((count("counter"), count("gauge")), (before.0 + 2.0, before.1));
}
