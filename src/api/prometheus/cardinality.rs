//! `status/cardinality` and `status/metric_names_stats`: which metrics, labels and senders the series come from, what
//! comes and goes, and what nobody asks for. Fields are named as VictoriaMetrics' explorer names them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use crate::api::prometheus::Prometheus;
use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::asked::Asked;
use crate::api::prometheus::form::{Form, parse_int};
use crate::base::clock::Millis;
use crate::base::glob;
use crate::metrics::cardinality::{Cardinality, Wanted};
use crate::metrics::{Churn, Flux, Store, TopEntry};
use crate::model::labels::METRIC_NAME;
use crate::query::active::Question;
use crate::query::error::QueryError;
use crate::query::{Job, Lane, QueryKind};
use crate::server::error::Failure;

/// Entries of each list, and how many may be asked for.
const TOP_DEFAULT: usize = 10;
const TOP_MAX: usize = 10_000;

/// Names that `metric_names_stats` lists unless it is told otherwise.
const NAMES_DEFAULT: usize = 1_000;

const DAY_MS: i64 = 24 * 3_600_000;

/// A positive number of entries.
pub(super) fn limit(form: &Form, default: usize) -> Result<usize, Failure> {
    let text = form.get("limit");
    if text.is_empty() {
        return Ok(default);
    }
    let limit = parse_int(text).ok().and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| Failure::bad_data("limit must be a positive number"))?;
    if limit > TOP_MAX {
        return Err(Failure::bad_data(format!("limit must not exceed {TOP_MAX}")));
    }
    Ok(limit)
}

/// The range of `date` (a day in UTC), or of `start` and `end`; none stands for what is in memory.
fn range(form: &Form, now: Millis) -> Result<Option<(i64, i64)>, Failure> {
    let date = form.get("date");
    if !date.is_empty() {
        let day: jiff::civil::Date =
            date.parse().map_err(|_| Failure::parameter("date", "not a day such as 2026-11-28"))?;
        let start = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| Failure::parameter("date", error))?;
        let start = start.timestamp().as_millisecond();
        return Ok(Some((start, start + DAY_MS - 1)));
    }
    if form.get("start").is_empty() && form.get("end").is_empty() {
        return Ok(None);
    }
    let end = form.time_or("end", now)?;
    Ok(Some((form.time_or("start", end.saturating_sub(DAY_MS))?, end)))
}

/// Counts of series by metric, label, pair, value of `focusLabel` and sender.
pub async fn cardinality(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    let Asked { form, asker } = asked;
    // VictoriaMetrics calls the limit topN.
    let top =
        if form.get("topN").is_empty() { limit(&form, TOP_DEFAULT)? } else { number(&form, "topN", TOP_DEFAULT)? };
    let now = api.queries.clock().now();
    let wanted = Wanted {
        sets: form.matchers().map_err(|error| Failure::parameter("match[]", error))?,
        range: range(&form, now)?,
        focus: Some(form.get("focusLabel").to_owned()).filter(|label| !label.is_empty()),
        top: top.min(TOP_MAX),
    };
    let query = form.all("match[]").collect::<Vec<_>>().join(" or ");
    let (start, end) = wanted.range.unwrap_or((now, now));
    let question = Question { query, start, end, step: 0 };
    let job = Job { kind: QueryKind::Series, question, asker, timeout: None, lane: Lane::Seat };
    let store = Arc::clone(&api.store);
    let top = wanted.top;
    let found = api.queries.run(job, move |run| {
        let found = store.cardinality(&wanted, &|| run.is_cancelled());
        if found.stopped { Err(QueryError::Canceled("counting series")) } else { Ok(found) }
    });
    let found = found.await?;
    let status = shown(&api.store, &found, &api.store.churn(top), api.instance.started);
    Ok(answer::success(&status, &Notes::default()))
}

fn number(form: &Form, name: &'static str, default: usize) -> Result<usize, Failure> {
    match form.get(name) {
        "" => Ok(default),
        text => parse_int(text)
            .ok()
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| Failure::parameter(name, "must be a number, 0 or more")),
    }
}

fn entries(list: &[TopEntry]) -> Vec<Value> {
    list.iter().map(|entry| json!({"name": entry.name, "value": entry.count})).collect()
}

fn shown(store: &Store, found: &Cardinality, churn: &Churn, since: Millis) -> Value {
    let metric = |entry: &TopEntry| {
        let queried = store.queried(&entry.name).unwrap_or_default();
        json!({
            "name": entry.name,
            "value": entry.count,
            "requestsCount": queried.count,
            "lastRequestTimestamp": queried.last / 1000,
        })
    };
    let flux = |flux: Flux| json!({"created": flux.created, "removed": flux.removed});
    let senders = found
        .by_sender
        .iter()
        .map(|sender| json!({"job": sender.job, "instance": sender.instance, "value": sender.series}));
    json!({
        "totalSeries": found.series,
        "totalLabelValuePairs": found.label_pairs,
        "seriesCountByMetricName": found.by_metric.iter().map(metric).collect::<Vec<_>>(),
        "seriesCountByLabelName": entries(&found.by_label),
        "seriesCountByFocusLabelValue": entries(&found.by_focus),
        "seriesCountByLabelValuePair": entries(&found.by_pair),
        "labelValueCountByLabelName": entries(&found.values_by_label),
        "memoryInBytesByLabelName": entries(&found.bytes_by_label),
        "seriesCountBySender": senders.collect::<Vec<_>>(),
        "churn": {
            "lastHour": flux(churn.hour),
            "lastDay": flux(churn.day),
            "createdByMetricName": entries(&churn.makers),
            "createdByOtherMetrics": churn.makers_untold,
        },
        "statsCollectedSince": since / 1000,
    })
}

/// Metrics with how often they were queried, the least first; `le` keeps those that were queried so often at most.
pub async fn metric_names_stats(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    let Asked { form, asker } = asked;
    let limit = number(&form, "limit", NAMES_DEFAULT)?;
    let most = match form.get("le") {
        "" => u64::MAX,
        _ => number(&form, "le", 0)? as u64,
    };
    let pattern = form.get("match_pattern").to_owned();
    let question = Question { query: pattern.clone(), ..Question::default() };
    let job = Job { kind: QueryKind::Labels, question, asker, timeout: None, lane: Lane::Seat };
    let store = Arc::clone(&api.store);
    let records = api.queries.run(job, move |_| {
        let names = store.label_values(METRIC_NAME, &[], (i64::MIN, i64::MAX), 0).items;
        let wanted = |name: &String| pattern.is_empty() || name.contains(&pattern) || glob::matches(&pattern, name);
        let mut records: Vec<_> = names
            .into_iter()
            .filter(wanted)
            .map(|name| (store.queried(&name).unwrap_or_default(), name))
            .filter(|(queried, _)| queried.count <= most)
            .collect();
        records.sort_by(|a, b| (a.0.count, a.0.last, &a.1).cmp(&(b.0.count, b.0.last, &b.1)));
        Ok(records)
    });
    let mut records = records.await?;
    let (remembered, forgotten) = api.store.queried_counts();
    let cut = limit > 0 && records.len() > limit;
    records.truncate(if limit > 0 { limit } else { usize::MAX });
    let shown = records.iter().map(|(queried, name)| {
        json!({"metricName": name, "requestsCount": queried.count, "lastRequestTimestamp": queried.last / 1000})
    });
    let data = json!({
        "statsCollectedSince": api.instance.started / 1000,
        "statsCollectedRecordsTotal": remembered,
        "statsForgottenRecordsTotal": forgotten,
        "records": shown.collect::<Vec<_>>(),
    });
    Ok(answer::success(&data, &Notes::truncated(cut)))
}
