//! `query` and `query_range`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;

use crate::api::prometheus::Prometheus;
use crate::api::prometheus::answer::{Notes, TRUNCATED};
use crate::api::prometheus::asked::Asked;
use crate::api::prometheus::form::Form;
use crate::api::prometheus::report;
use crate::api::prometheus::result::Encoder;
use crate::api::prometheus::time::parse_duration;
use crate::base::tasks::Tasks;
use crate::promql::ast::{Expr, ValueType};
use crate::promql::eval::{Outcome, QueryValue, Window};
use crate::query::active::Question;
use crate::query::evaluate::{Evaluated, Request};
use crate::query::{Job, Lane, QueryKind};
use crate::server::error::Failure;

/// An instant query.
pub async fn instant(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    let Asked { form, asker } = asked;
    let limit = form.limit()?;
    let time = form.time_or("time", api.queries.clock().now())?;
    let timeout = timeout(&form)?;
    let lookback = lookback(&form)?;
    let query = form.get("query").to_owned();
    let expr = api.queries.parse(&query).await.map_err(|error| Failure::parameter("query", error))?;
    let job = Job {
        kind: QueryKind::Instant,
        question: Question { query: query.clone(), start: time, end: time, step: 0 },
        asker,
        timeout,
        lane: Lane::Seat,
    };
    let window = Window { start: time, end: time, step: 0 };
    let Wished { count_steps, explain } = Wished::of(&form);
    let request = Request { query, expr, window, lookback, nocache: true, count_steps, explain };
    let evaluated = api.queries.evaluate(Arc::clone(&api.store), job, request).await?;
    Ok(respond(api.queries.tasks(), evaluated, limit, &form))
}

/// A range query.
pub async fn range(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    let Asked { form, asker } = asked;
    let limit = form.limit()?;
    let window = window(&form, api.queries.config().points_max)?;
    let timeout = timeout(&form)?;
    let lookback = lookback(&form)?;
    let query = form.get("query").to_owned();
    let expr = api.queries.parse(&query).await.map_err(|error| Failure::parameter("query", error))?;
    check_range_type(&expr)?;
    let job = Job {
        kind: QueryKind::Range,
        question: Question { query: query.clone(), start: window.start, end: window.end, step: window.step },
        asker,
        timeout,
        lane: Lane::Seat,
    };
    let nocache = matches!(form.get("nocache"), "1" | "true");
    let Wished { count_steps, explain } = Wished::of(&form);
    let request = Request { query, expr, window, lookback, nocache, count_steps, explain };
    let evaluated = api.queries.evaluate(Arc::clone(&api.store), job, request).await?;
    Ok(respond(api.queries.tasks(), evaluated, limit, &form))
}

/// What a client wants to know of the evaluation.
struct Wished {
    count_steps: bool,
    explain: bool,
}

impl Wished {
    fn of(form: &Form) -> Self {
        Self { count_steps: !form.get("stats").is_empty(), explain: matches!(form.get("explain"), "1" | "true") }
    }
}

fn window(form: &Form, points_max: u64) -> Result<Window, Failure> {
    let start = form.time("start")?;
    let end = form.time("end")?;
    if end < start {
        return Err(Failure::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parse_duration(form.get("step")).map_err(|error| Failure::parameter("step", error))?;
    if step <= 0 {
        return Err(Failure::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    // Both are within half of the range of i64, so the difference fits.
    if (end - start).unsigned_abs() / step.unsigned_abs() > points_max {
        return Err(Failure::bad_data(format!(
            "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
            thousands(points_max)
        )));
    }
    Ok(Window { start, end, step })
}

/// 11000 as `11,000`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn timeout(form: &Form) -> Result<Option<Duration>, Failure> {
    match form.get("timeout") {
        "" => Ok(None),
        text => parse_duration(text)
            .map(|ms| Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
            .map_err(|error| Failure::parameter("timeout", error)),
    }
}

fn lookback(form: &Form) -> Result<Option<i64>, Failure> {
    match form.get("lookback_delta") {
        "" => Ok(None),
        text => parse_duration(text)
            .map(|ms| (ms > 0).then_some(ms))
            .map_err(|error| Failure::bad_data(format!("error parsing lookback delta duration: {error}"))),
    }
}

fn check_range_type(expr: &Expr) -> Result<(), Failure> {
    match expr.value_type() {
        ValueType::Scalar | ValueType::Vector => Ok(()),
        other => Err(Failure::parameter(
            "query",
            format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                other.documented()
            ),
        )),
    }
}

fn respond(tasks: &Tasks, evaluated: Evaluated, limit: Option<usize>, form: &Form) -> Response {
    let Evaluated { outcome, timings, held } = evaluated;
    let Outcome { mut value, warnings, infos, stats, steps, explained } = outcome;
    let mut notes = Notes { warnings, infos };
    if truncate(&mut value, limit) {
        notes.warnings.push(TRUNCATED.to_owned());
    }
    let asked_stats = form.get("stats");
    if !matches!(asked_stats, "" | "true" | "all") {
        notes.warnings.push(format!(
            "value {asked_stats:?} for parameter \"stats\" is deprecated and will be rejected in the next major \
             release, use \"true\" or \"all\""
        ));
    }
    let mut more = Vec::new();
    if !asked_stats.is_empty() {
        let steps = steps.unwrap_or_default();
        more.extend_from_slice(b",\"stats\":");
        more.extend_from_slice(report::stats(&timings, &stats, (&steps, asked_stats == "all")).to_string().as_bytes());
    }
    if let Some(explained) = explained {
        more.extend_from_slice(b",\"explain\":");
        more.extend_from_slice(report::explained(&explained).to_string().as_bytes());
    }
    Encoder::new(value, held, more, notes).respond(tasks)
}

fn truncate(value: &mut QueryValue, limit: Option<usize>) -> bool {
    let Some(limit) = limit else { return false };
    match value {
        QueryValue::Vector(samples) if samples.len() > limit => samples.truncate(limit),
        QueryValue::Matrix(series) if series.len() > limit => series.truncate(limit),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_limited_as_prometheus_counts_them() {
        let window = |url: &str| window(&Form::parse(b"", Some(url)), 11_000);
        assert!(window("start=0&end=11000&step=1").is_ok());
        let error = window("start=0&end=11001&step=1").unwrap_err();
        assert_eq!(
            error.message,
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
        );
        assert_eq!(
            window("start=2&end=1&step=1").unwrap_err().message,
            "invalid parameter \"end\": end timestamp must not be before start time"
        );
        assert!(window("start=1&end=1&step=0").unwrap_err().message.contains("zero or negative"));
    }
}
