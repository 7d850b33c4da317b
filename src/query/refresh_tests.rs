//! Dashboards that refresh while data is written, comes late, is deleted and moves to disk: what the cache gives is what
//! an evaluation from scratch gives, and takes less.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::metrics::config::{Config as StoreConfig, Durability};
use crate::metrics::{Origin, Seams, Store};
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::eval::{Outcome, Window};
use crate::promql::parse::parse;
use crate::query::active::{Asker, Question};
use crate::query::config::Config;
use crate::query::evaluate::Request;
use crate::query::{Job, Lane, Queries, QueryKind};

const NOW: i64 = 1_700_000_000_000;

const QUERIES: [&str; 16] = [
    "x",
    "sum(rate(x[1m]))",
    "sum by (s) (increase(x[2m]))",
    "count_over_time(x[30s])",
    "absent(x{s=\"5\"})",
    "x offset 20s",
    "x offset -20s",
    "x - x offset -15s",
    "sum(x @ end())",
    "sum(x @ start()) + sum(x)",
    "max_over_time(sum(x)[1m:10s])",
    "rate(x[1m]) / avg_over_time(x[2m])",
    "topk(2, x)",
    "histogram_quantile(0.9, x)",
    "resets(x[5m]) + changes(x[1m])",
    "sum(x) + time() - end()",
];

fn store(folder: &std::path::Path) -> (Arc<Store>, Arc<crate::base::clock::SimClock>) {
    let (clock, hand) = Clock::simulated(NOW);
    let seams = Seams { clock, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let config = StoreConfig { durability: Durability::Memory, dedup_interval_ms: 0, ..StoreConfig::default() };
    (Store::open(config, folder, seams).unwrap(), hand)
}

fn append(store: &Store, series: u64, samples: &[(i64, f64)]) {
    let labels = Labels::from_pairs([("__name__", "x"), ("s", &series.to_string()), ("le", "odd")]);
    let mut appender = store.appender(Origin::new("test"));
    for (time, value) in samples {
        // A repeated time with another value is refused; that is as good a case as any.
        let _ = appender.sample(labels.as_encoded(), *time, 0, *value);
    }
    appender.commit().wait().unwrap();
}

struct Asked<'a> {
    query: &'a str,
    window: Window,
    lookback: Option<i64>,
    nocache: bool,
}

async fn ask(queries: &Queries, store: &Arc<Store>, asked: Asked<'_>) -> Outcome {
    let Asked { query, window, lookback, nocache } = asked;
    let question = Question { query: query.to_owned(), ..Question::default() };
    let job = Job { kind: QueryKind::Range, question, asker: Asker::default(), timeout: None, lane: Lane::Seat };
    let expr = parse(query).unwrap();
    let (query, count_steps, explain) = (query.to_owned(), false, false);
    let request = Request { query, expr, window, lookback, nocache, count_steps, explain };
    queries.evaluate(Arc::clone(store), job, request).await.unwrap().outcome
}

/// What happens between two refreshes.
fn live(store: &Store, rng: &Rng, now: i64) {
    for _ in 0..rng.below(8) {
        let series = rng.below(6);
        let late = match rng.below(60) {
            0 => rng.below(900_000) as i64,
            1 => rng.below(7_200_000) as i64,
            2..6 => rng.below(60_000) as i64,
            _ => rng.below(5_000) as i64,
        };
        // Whatever comes next is lower at times: a counter that began anew.
        let value = if rng.chance(0.1) { 0.0 } else { rng.below(1_000) as f64 };
        append(store, series, &[(now - late, value)]);
    }
    if rng.chance(0.02) {
        let run: Vec<_> = (0..200).map(|at| (now - 4_000_000 + at * 1_000, at as f64)).collect();
        append(store, rng.below(9), &run);
    }
    if rng.chance(0.05) {
        let matcher = Matcher::new(MatchOp::Equal, "s", &rng.below(6).to_string()).unwrap();
        let from = now - rng.below(700_000) as i64;
        store.delete(&[vec![matcher]], from, from + rng.below(100_000) as i64).unwrap();
    }
    if rng.chance(0.05) {
        store.flush().unwrap();
    }
}

#[tokio::test]
async fn refreshes_give_what_evaluations_from_scratch_give() {
    let seed = std::env::var("NOVASCOPE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(19);
    let rng = Rng::from_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let (store, hand) = store(folder.path());
    let queries = Queries::new(Clock::real(), Tasks::default(), Config::default());
    for series in 0..4 {
        let run: Vec<_> = (0..1_200).map(|at| (NOW - 1_200_000 + at * 1_000, at as f64)).collect();
        append(&store, series, &run);
    }
    let mut read = (0, 0);
    for round in 0..120_i64 {
        let now = NOW + round * 4_000;
        hand.advance(Duration::from_secs(4));
        live(&store, &rng, now);
        for at in 0..4 {
            let number = (round + at * 5) % 16;
            let query = QUERIES[number as usize];
            // A dashboard mostly asks as it did before.
            let chance = |count: u64, usual: i64| if rng.chance(0.2) { rng.below(count) as i64 } else { usual };
            // Steps on whole multiples, and steps that stand elsewhere; now and then beyond what there is.
            let (step, phase) = [(10_000, 0), (10_000, 3_700), (15_000, 1)][chance(3, number % 3) as usize];
            let end = (now + rng.below(2) as i64 * 20_000).div_euclid(step) * step + phase;
            let back = [600_000, 600_000, 300_000, 900_000][chance(4, 0) as usize];
            let window = Window { start: end - back / step * step, end: end + rng.below(2) as i64 * 999, step };
            let lookback = [None, None, Some(20_000)][chance(3, 0) as usize];
            let cached = ask(&queries, &store, Asked { query, window, lookback, nocache: false }).await;
            let scratch = ask(&queries, &store, Asked { query, window, lookback, nocache: true }).await;
            let context = format!("seed {seed}, round {round}, {query}, {window:?}, {lookback:?}");
            assert_eq!(format!("{:?}", cached.value), format!("{:?}", scratch.value), "{context}");
            // What was remarked on steps that have left the window may still be told.
            assert!(scratch.infos.iter().all(|info| cached.infos.contains(info)), "{context}");
            assert!(scratch.warnings.iter().all(|warning| cached.warnings.contains(warning)), "{context}");
            read = (read.0 + cached.stats.samples, read.1 + scratch.stats.samples);
        }
    }
    assert!(read.0 < read.1, "seed {seed}: the cache saved nothing: {read:?}");
}

#[tokio::test]
async fn a_refresh_reads_the_tail_and_late_data_takes_back_only_what_it_touches() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _hand) = store(folder.path());
    let queries = Queries::new(Clock::real(), Tasks::default(), Config::default());
    let rising = |from: i64, to: i64| (from..to).map(|at| (NOW + at * 1_000, at as f64)).collect::<Vec<_>>();
    append(&store, 1, &rising(-3_600, 0));
    let read = async |end: i64, nocache: bool| {
        let window = Window { start: NOW + end - 3_000_000, end: NOW + end, step: 10_000 };
        let asked = Asked { query: "rate(x[1m])", window, lookback: None, nocache };
        ask(&queries, &store, asked).await.stats.samples
    };
    let whole = read(0, false).await;
    assert_eq!(whole, read(0, true).await);
    assert_eq!(read(0, false).await, 0, "nothing was written since");
    append(&store, 1, &rising(0, 10));
    let tail = read(10_000, false).await;
    assert!((1..=400).contains(&tail), "{tail} samples for one new step");
    // A sample between two others, 500 s ago.
    append(&store, 2, &[(NOW - 500_500, 1.0)]);
    let again = read(10_000, false).await;
    assert!((400..=1_200).contains(&again), "{again} samples for the last 51 steps");
    let matcher = Matcher::new(MatchOp::Equal, "s", "1").unwrap();
    store.delete(&[vec![matcher]], NOW - 200_000, NOW - 190_000).unwrap();
    let again = read(10_000, false).await;
    assert!((100..=800).contains(&again), "{again} samples behind a deletion");
    assert!(read(10_000, true).await > 2_900, "who does not want the cache does not get it");
}

/// Two panels of one query, one of them longer, and someone who scrolls back: what lies before the kept window had taken
/// the whole evaluation anew.
#[tokio::test]
async fn an_earlier_begin_reads_only_what_lies_before() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _hand) = store(folder.path());
    let queries = Queries::new(Clock::real(), Tasks::default(), Config::default());
    let rising = |from: i64, to: i64| (from..to).map(|at| (NOW + at * 1_000, at as f64)).collect::<Vec<_>>();
    append(&store, 1, &rising(-7_200, 0));
    let read = async |from: i64, to: i64| {
        let window = Window { start: NOW + from * 1_000, end: NOW + to * 1_000, step: 10_000 };
        let [cached, scratch] = [false, true]
            .map(|nocache| ask(&queries, &store, Asked { query: "rate(x[1m])", window, lookback: None, nocache }));
        let (cached, scratch) = (cached.await, scratch.await);
        assert_eq!(format!("{:?}", cached.value), format!("{:?}", scratch.value), "{window:?}");
        cached.stats.samples
    };
    assert!(read(-3_000, 0).await > 3_000);
    let head = read(-6_000, 0).await;
    assert!((3_000..3_200).contains(&head), "{head} samples for the first half");
    // The short panel took nothing away, and neither did the long one.
    assert_eq!((read(-3_000, 0).await, read(-6_000, 0).await), (0, 0));
    append(&store, 1, &rising(0, 20));
    let tail = read(-2_980, 20).await;
    assert!((1..=400).contains(&tail), "{tail} samples for two new steps");
    assert_eq!(read(-5_980, 20).await, 0, "the tail is known to the long panel too");
    // Back in time, in the middle, and beyond both ends.
    assert!((500..700).contains(&read(-6_500, -1_000).await), "only what lies before");
    assert!((600..900).contains(&read(-6_600, 20).await), "what was asked for last is what is kept");
    let both = read(-6_800, 20).await;
    assert!((200..400).contains(&both), "{both} samples");
    append(&store, 2, &[(NOW - 3_000_500, 1.0)]);
    let behind = read(-6_800, 20).await;
    assert!((3_000..3_300).contains(&behind), "{behind} samples behind a late one");
}

#[tokio::test]
async fn kept_results_stay_within_their_budget() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _hand) = store(folder.path());
    let queries = Queries::new(Clock::real(), Tasks::default(), Config::default());
    let cache = crate::query::cache::Cache::new(200_000);
    let queries = queries.with_cache(cache.clone());
    for series in 0..4 {
        append(&store, series, &(0..3_000).map(|at| (NOW - 3_000_000 + at * 1_000, 1.0)).collect::<Vec<_>>());
    }
    for round in 0..60 {
        let window = Window { start: NOW - 2_000_000 + round, end: NOW, step: 10_000 };
        ask(&queries, &store, Asked { query: "x", window, lookback: None, nocache: false }).await;
        assert!(cache.bytes() <= 200_000, "{} bytes", cache.bytes());
    }
    assert!(cache.bytes() > 50_000, "something is kept");
}
