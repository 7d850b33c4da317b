//! `query_exemplars`: observations with their traces, for the series that a query reads.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::prometheus::Prometheus;
use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::asked::Asked;
use crate::api::prometheus::number::{push_time, push_value};
use crate::metrics::ExemplarRow;
use crate::model::json_text::push_labels;
use crate::promql::parse::parse;
use crate::query::active::Question;
use crate::query::{Job, Lane, QueryKind, walk};
use crate::server::error::Failure;

/// Exemplars between `start` and `end` of every selector in `query`.
pub async fn query_exemplars(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    let Asked { form, asker } = asked;
    let (start, end) = form.window()?;
    if end < start {
        return Err(Failure::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = form.get("query").to_owned();
    let expr = parse(&query).map_err(|error| Failure::bad_data(error.to_string()))?;
    let sets: Vec<_> = walk::selectors(&expr).into_iter().map(|selector| selector.matchers.clone()).collect();
    if sets.is_empty() {
        return Ok(answer::no_content());
    }
    let question = Question { query, start, end, step: 0 };
    let job = Job { kind: QueryKind::Exemplars, question, asker, timeout: None, lane: Lane::Seat };
    let store = Arc::clone(&api.store);
    let rows = api.queries.run(job, move |_| Ok(store.exemplars(&sets, start, end))).await?;
    let mut data = vec![b'['];
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            data.push(b',');
        }
        push_row(&mut data, row);
    }
    data.push(b']');
    Ok(answer::raw(&data, &Notes::default()))
}

fn push_row(out: &mut Vec<u8>, row: &ExemplarRow) {
    out.extend_from_slice(b"{\"seriesLabels\":");
    push_labels(out, &row.series);
    out.extend_from_slice(b",\"exemplars\":[");
    for (at, exemplar) in row.exemplars.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"labels\":" } else { b"{\"labels\":" });
        push_labels(out, &exemplar.labels);
        out.extend_from_slice(b",\"value\":");
        push_value(out, exemplar.value);
        out.extend_from_slice(b",\"timestamp\":");
        push_time(out, exemplar.time);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}
