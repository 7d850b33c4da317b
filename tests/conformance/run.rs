//! Runs the commands of a script.

use novascope::model::sample::Value;
use novascope::promql::ast::Expr;
use novascope::promql::eval::{self, Outcome, QueryOptions, QueryValue, VectorSample, Window};
use novascope::promql::parse::parse;

use crate::compare;
use crate::pin::pin;
use crate::script::{self, Command, Eval, Text, Times};
use crate::store::Store;

type Checked = Result<(), String>;

/// The outcome of each case of a script, by its line.
pub(crate) fn file(text: &str) -> Vec<(usize, Checked)> {
    let mut store = Store::default();
    let mut outcomes = Vec::new();
    for command in script::parse(text) {
        match command {
            Command::Clear => store.clear(),
            Command::Load { with_nhcb, step, series } => store.load(step, &series, with_nhcb),
            Command::Eval(eval) => {
                let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&eval, &store)));
                let checked = checked.unwrap_or_else(|_| Err("panicked".to_owned()));
                outcomes.push((eval.line, checked.map_err(|error| format!("{}\n    {error}", eval.expr))));
            }
        }
    }
    outcomes
}

fn ask(store: &Store, case: &Eval, expr: &Expr, times: Times) -> Result<Outcome, String> {
    let options = QueryOptions { threads: 2, ..QueryOptions::default() };
    match times {
        Times::Instant(time) => eval::instant(store, &case.expr, expr, time, &options),
        Times::Range { start, end, step } => {
            eval::range(store, &case.expr, expr, Window { start, end, step }, &options)
        }
    }
    .map_err(|error| error.to_string())
}

fn check(case: &Eval, store: &Store) -> Checked {
    let expr = match parse(&case.expr) {
        Ok(expr) => expr,
        Err(error) => return failed(case, &error.to_string()),
    };
    let times = match (case.times, case.range_vector) {
        (Times::Instant(_), Some((_, end, _))) => Times::Instant(end),
        (times, _) => times,
    };
    let outcome = match ask(store, case, &expr, times) {
        Ok(outcome) => outcome,
        Err(error) => return failed(case, &error),
    };
    if case.fail.is_some() {
        return Err("succeeded, but was expected to fail".to_owned());
    }
    notes("warning", &case.warnings, case.no_warnings, &outcome.warnings)?;
    notes("info", &case.infos, case.no_infos, &outcome.infos)?;
    value(case, &outcome.value)?;
    if let (Times::Instant(time), None, None) = (times, case.range_vector, &case.string) {
        as_range(case, store, &expr, time)?;
        pinned(case, store, &expr, time)?;
    }
    Ok(())
}

fn failed(case: &Eval, error: &str) -> Checked {
    match &case.fail {
        Some(text) if text.matches(error) => Ok(()),
        Some(Text::Equal(text)) => Err(format!("expected the error {text:?}, got {error:?}")),
        Some(_) => Err(format!("got another error: {error:?}")),
        None => Err(format!("failed: {error}")),
    }
}

fn notes(kind: &str, expected: &[Text], none: bool, actual: &[String]) -> Checked {
    if none && !actual.is_empty() {
        return Err(format!("unexpected {kind}: {actual:?}"));
    }
    for text in expected {
        if !actual.iter().any(|note| text.matches(note)) {
            return Err(format!("a {kind} is missing among {actual:?}"));
        }
    }
    match actual.iter().find(|note| !expected.iter().any(|text| text.matches(note))) {
        Some(note) if !expected.is_empty() => Err(format!("unexpected {kind}: {note:?}")),
        _ => Ok(()),
    }
}

fn value(case: &Eval, value: &QueryValue) -> Checked {
    match value {
        QueryValue::Scalar { value, .. } => compare::scalar(case.scalar, *value),
        QueryValue::String { value, .. } => match &case.string {
            Some(expected) if expected == value => Ok(()),
            expected => Err(format!("expected {expected:?}, got the string {value:?}")),
        },
        QueryValue::Vector(_) | QueryValue::Matrix(_) if case.scalar.is_some() => {
            Err("expected a scalar, got a vector".to_owned())
        }
        QueryValue::Vector(samples) => compare::vector(&case.series, samples, case.ordered),
        QueryValue::Matrix(series) => {
            let times = match (case.times, case.range_vector) {
                (_, Some(times)) => times,
                (Times::Range { start, end, step }, None) => (start, end, step),
                (Times::Instant(_), None) => return Err("got a range vector".to_owned()),
            };
            compare::matrix(&case.series, series, times)
        }
    }
}

/// Whether the query asks for its own times.
fn asks_for_times(case: &Eval) -> bool {
    ["start()", "end()", "range()", "step()"].iter().any(|call| case.expr.to_lowercase().contains(call))
}

/// The same query in the middle of a range.
fn as_range(case: &Eval, store: &Store, expr: &Expr, time: i64) -> Checked {
    if asks_for_times(case) {
        return Ok(());
    }
    let minute = 60_000;
    let times = Times::Range { start: time - minute, end: time + minute, step: minute };
    let outcome = ask(store, case, expr, times).map_err(|error| format!("as a range: {error}"))?;
    if case.ordered {
        return Ok(());
    }
    let QueryValue::Matrix(matrix) = outcome.value else { return Err("a range query without a matrix".to_owned()) };
    let mut samples = Vec::new();
    for series in matrix {
        let floats = series.floats.iter().map(|(at, value)| (*at, Value::Float(*value)));
        let histograms = series.histograms.iter().map(|(at, value)| (*at, Value::Histogram(value.clone())));
        for (_, value) in floats.chain(histograms).filter(|(at, _)| *at == time) {
            samples.push(VectorSample { labels: series.labels.clone(), time, value });
        }
    }
    let compared = match (case.scalar, samples.first().map(|sample| &sample.value)) {
        (Some(_), Some(Value::Float(value))) => compare::scalar(case.scalar, *value),
        _ => compare::vector(&case.series, &samples, false),
    };
    compared.map_err(|error| format!("in the middle of a range: {error}"))
}

/// The same query at other times, with its selectors pinned.
fn pinned(case: &Eval, store: &Store, expr: &Expr, time: i64) -> Checked {
    let mut expr = expr.clone();
    if !pin(&mut expr, time) {
        return Ok(());
    }
    let others = if time == 0 { vec![-1000, 0, 1000] } else { vec![-10 * time, 0, time / 5, time, 10 * time] };
    for other in others {
        let outcome = ask(store, case, &expr, Times::Instant(other))
            .map_err(|error| format!("pinned, asked at {other}: {error}"))?;
        value(case, &outcome.value).map_err(|error| format!("pinned, asked at {other}: {error}"))?;
    }
    Ok(())
}
