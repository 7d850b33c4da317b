//! What must hold for any query over any samples: a range query gives at each step what an instant query gives there,
//! whatever the number of threads.
//!
//! An instant query folds its windows one by one; a range query slides. So this also holds the sliding folds against
//! the plain ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use novascope::model::histogram::Histogram;
use novascope::model::labels::Labels;
use novascope::model::sample::Value;
use novascope::promql::ast::Expr;
use novascope::promql::eval::{QueryOptions, QueryValue, Window, instant, range};
use novascope::promql::parse::parse;

use crate::generate::{Dice, Kinds, samples};
use crate::store::Store;
use crate::writer::Writer;

/// Values of one step.
type Step = BTreeMap<Labels, Value>;

fn options(threads: usize) -> QueryOptions {
    QueryOptions { threads, ..QueryOptions::default() }
}

fn at(store: &Store, query: &str, expr: &Expr, time: i64) -> Result<Step, String> {
    let outcome = instant(store, query, expr, time, &options(1)).map_err(|error| error.to_string())?;
    let QueryValue::Vector(samples) = outcome.value else { panic!("{query} gives no vector") };
    Ok(samples.into_iter().map(|sample| (sample.labels, sample.value)).collect())
}

fn over(
    store: &Store,
    query: &str,
    expr: &Expr,
    window: Window,
    threads: usize,
) -> Result<BTreeMap<i64, Step>, String> {
    let outcome = range(store, query, expr, window, &options(threads)).map_err(|error| error.to_string())?;
    let QueryValue::Matrix(matrix) = outcome.value else { panic!("{query} gives no matrix") };
    let mut steps: BTreeMap<i64, Step> = BTreeMap::new();
    for series in matrix {
        let floats = series.floats.iter().map(|(time, value)| (*time, Value::Float(*value)));
        let histograms = series.histograms.iter().map(|(time, value)| (*time, Value::Histogram(value.clone())));
        for (time, value) in floats.chain(histograms) {
            // Under one label set both kinds may meet at a step; a single evaluation gives the histogram.
            steps.entry(time).or_default().insert(series.labels.clone(), value);
        }
    }
    Ok(steps)
}

/// Rounding differs between orders of addition; values are up to some thousands.
fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-7 * (a.abs() + b.abs()) + 1e-7
}

fn histograms_close(a: &Arc<Histogram>, b: &Arc<Histogram>) -> bool {
    let buckets = |histogram: &Histogram| {
        let mut histogram = histogram.clone();
        histogram.compact();
        histogram.positive().map(|bucket| (bucket.upper, bucket.count)).collect::<Vec<_>>()
    };
    let (left, right) = (buckets(a), buckets(b));
    a.schema == b.schema
        && close(a.count, b.count)
        && close(a.sum, b.sum)
        && left.len() == right.len()
        && left.iter().zip(&right).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
}

fn same(a: &Step, b: &Step) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|((a_labels, a), (b_labels, b))| {
            a_labels == b_labels
                && match (a, b) {
                    (Value::Float(a), Value::Float(b)) => close(*a, *b),
                    (Value::Histogram(a), Value::Histogram(b)) => histograms_close(a, b),
                    _ => false,
                }
        })
}

/// Whether ties decide, or rounding can turn into something large: what compares or counts exact values, or divides by
/// what may be 0.
fn is_brittle(query: &str) -> bool {
    let ties = ["topk", "bottomk"];
    let exact = [
        "%",
        "count_values",
        "==",
        "!=",
        ">",
        "<=",
        "sgn",
        "ceil",
        "round",
        "changes",
        "resets",
        "hour",
        "day_of",
        "/",
        "^",
        "exp",
        "ts_of",
        "atan2",
    ];
    let rounds = ["stddev", "stdvar", "deriv", "predict", "avg", "sum", "rate", "increase"];
    let any = |parts: &[&str]| parts.iter().any(|part| query.contains(part));
    any(&ties) || (any(&exact) && any(&rounds))
}

#[test]
fn a_range_query_is_instant_queries_side_by_side() {
    let seed = std::env::var("NOVASCOPE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121);
    println!("NOVASCOPE_SEED={seed}");
    let mut dice = Dice::new(seed);
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..5 {
        // With long ticks a query is worth more than one thread.
        let tick = [1_000, 15_000, 600_000][dice.below(3) as usize];
        let store = samples(&mut dice, 150, tick, Kinds { exotic: true });
        for _ in 0..40 {
            let query = Writer { dice: &mut dice, tick, newest: true, window: false, phase: 0 }.vector(3);
            let expr = parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
            let step = tick * (1 + dice.below(4) as i64);
            let window = Window { start: 20 * tick, end: 20 * tick + 30 * step, step };
            let answers = over(&store, &query, &expr, window, 1);
            let threaded = over(&store, &query, &expr, window, 3);
            let steps: Vec<_> =
                (0..=30).map(|k| 20 * tick + k * step).map(|time| (time, at(&store, &query, &expr, time))).collect();
            let Ok(answers) = answers else {
                refused += 1;
                assert!(threaded.is_err(), "{query} fails on one thread only");
                assert!(steps.iter().any(|(_, step)| step.is_err()), "{query} fails as a range only: {answers:?}");
                continue;
            };
            answered += 1;
            let threaded = threaded.unwrap_or_else(|error| panic!("{query} fails on threads: {error}"));
            for (time, step) in steps {
                let step = step.unwrap_or_else(|error| panic!("{query} at {time} fails at once only: {error}"));
                let nothing = Step::new();
                let (one, three) = (answers.get(&time).unwrap_or(&nothing), threaded.get(&time).unwrap_or(&nothing));
                if is_brittle(&query) {
                    continue;
                }
                assert!(
                    same(one, &step),
                    "seed {seed}, tick {tick}: {query} at {time}\nrange   {one:?}\ninstant {step:?}"
                );
                assert!(same(one, three), "seed {seed}, tick {tick}: {query} at {time}\n1 {one:?}\n3 {three:?}");
            }
        }
    }
    println!("{answered} queries answered, {refused} refused");
    assert!(answered > refused, "most queries should have an answer");
}
