//! Queries as an API of their own: what runs, what cost most, and how to stop one. Shapes follow VictoriaMetrics'.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::api::prometheus::Prometheus;
use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::form::{Form, parse_int};
use crate::query::active::{Cost, cut};
use crate::server::error::{Failure, Kind};

/// The queries that run or wait.
pub async fn active(State(api): State<Arc<Prometheus>>) -> Response {
    let now = api.queries.clock().monotonic();
    let list: Vec<Value> = api
        .queries
        .active()
        .list()
        .iter()
        .map(|query| {
            json!({
                "id": query.id,
                "query": cut(&query.question.query),
                "start": query.question.start,
                "end": query.question.end,
                "step": query.question.step,
                "client": query.asker.client,
                "origin": origin(&query.asker.origin),
                "durationSeconds": now.saturating_sub(query.began).as_secs_f64(),
            })
        })
        .collect();
    answer::success(&list, &Notes::default())
}

/// Stops the query with this `id`.
pub async fn kill(State(api): State<Arc<Prometheus>>, form: Form) -> Result<Response, Failure> {
    let id = parse_int(form.get("id")).ok().and_then(|id| u64::try_from(id).ok());
    let id = id.ok_or_else(|| Failure::parameter("id", "the id of an active query is needed"))?;
    if !api.queries.active().kill(id) {
        return Err(Failure::new(Kind::NotFound, format!("no query with id {id} runs")));
    }
    Ok(answer::success(&json!({"killed": id}), &Notes::default()))
}

/// The query texts that cost most: by calls, by time of one call, by time in all, by samples.
pub async fn top(State(api): State<Arc<Prometheus>>, form: Form) -> Result<Response, Failure> {
    let count = match form.get("topN") {
        "" => 20,
        text => parse_int(text)
            .ok()
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| Failure::parameter("topN", "it must be a number"))?,
    };
    let queries = api.queries.active();
    let ranked = |rank: fn(&Cost) -> f64| queries.top(count, rank).iter().map(cost).collect::<Vec<_>>();
    let lists = json!({
        "topByCount": ranked(|cost| cost.count as f64),
        "topByAvgDuration": ranked(|cost| cost.seconds / cost.count.max(1) as f64),
        "topBySumDuration": ranked(|cost| cost.seconds),
        "topBySamples": ranked(|cost| cost.samples as f64),
    });
    Ok(answer::success(&lists, &Notes::default()))
}

fn cost(cost: &Cost) -> Value {
    json!({
        "query": cost.query,
        "timeRangeSeconds": cost.range / 1000,
        "count": cost.count,
        "failed": cost.failed,
        "sumDurationSeconds": cost.seconds,
        "avgDurationSeconds": cost.seconds / cost.count.max(1) as f64,
        "maxDurationSeconds": cost.seconds_max,
        "samples": cost.samples,
        "origin": origin(&cost.origin),
    })
}

fn origin(pairs: &[(&'static str, String)]) -> Map<String, Value> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}
