//! `/api/v1/export`: series with all their samples, streamed, as JSON lines or as OpenMetrics.
//!
//! Paths and parameters of the first are VictoriaMetrics': `match[]` (several are joined), `start`, `end`,
//! `max_rows_per_line`. What leaves here comes back through `/api/v1/import` and `/api/v1/import/prometheus`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::api::prometheus::Prometheus;
use crate::api::prometheus::asked::Asked;
use crate::api::prometheus::form::{Form, parse_int};
use crate::api::prometheus::read::whole;
use crate::export::open_metrics::{self, Families, Tally};
use crate::export::{Window, each_series, json_lines};
use crate::metrics::{Selection, Store};
use crate::model::labels::METRIC_NAME;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::source::SourceError;
use crate::query::active::Question;
use crate::query::error::QueryError;
use crate::query::stream::Sink;
use crate::query::{Job, Lane, QueryKind, Run};
use crate::server::error::Failure;

/// The paths, over the same state as the query API.
pub fn routes(api: Prometheus) -> Router {
    Router::new()
        .route("/api/v1/export", get(json).post(json))
        .route("/api/v1/export/openmetrics", get(text).post(text))
        .with_state(Arc::new(api))
}

/// What a request asks for.
struct Wanted {
    sets: Vec<Vec<Matcher>>,
    start: i64,
    end: i64,
}

impl Wanted {
    fn read(form: &Form) -> Result<Self, Failure> {
        let sets = form.matchers().map_err(|error| Failure::parameter("match[]", error))?;
        if sets.is_empty() {
            return Err(Failure::bad_data("no match[] parameter provided"));
        }
        let (start, end) = form.window()?;
        Ok(Self { sets, start, end })
    }

    fn job(&self, asked: Asked) -> Job {
        let query = asked.form.all("match[]").collect::<Vec<_>>().join(" or ");
        let question = Question { query, start: self.start, end: self.end, step: 0 };
        Job { kind: QueryKind::Export, question, asker: asked.asker, timeout: None, lane: Lane::Seat }
    }

    /// Walks the windows of every series once, though several sets may match it.
    fn walk(
        &self,
        store: &Store,
        extra: Option<&Matcher>,
        visit: &mut dyn FnMut(&Window<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        for (number, set) in self.sets.iter().enumerate() {
            let matchers: Vec<Matcher> = set.iter().chain(extra).cloned().collect();
            let selection = store.select(&matchers, self.start, self.end);
            let seen = &self.sets[..number];
            walk(&selection, seen, visit)?;
        }
        Ok(())
    }
}

fn walk(
    selection: &Selection,
    seen: &[Vec<Matcher>],
    visit: &mut dyn FnMut(&Window<'_>) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let walked = each_series(selection, |window| {
        let matches = |set: &Vec<Matcher>| {
            set.iter().all(|matcher| matcher.matches(window.labels.get(&matcher.name).unwrap_or("")))
        };
        if seen.iter().any(matches) {
            return ControlFlow::Continue(());
        }
        match visit(&window) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    });
    match walked {
        Err(SourceError::Cancelled) => Err(QueryError::Canceled("export")),
        Err(error) => Err(QueryError::Storage(error.to_string())),
        Ok(ControlFlow::Break(error)) => Err(error),
        Ok(ControlFlow::Continue(())) => Ok(()),
    }
}

fn check(run: &Run, window: &Window<'_>) -> Result<(), QueryError> {
    run.add_samples(window.column.len() as u64);
    if run.is_cancelled() { Err(QueryError::Canceled("export")) } else { Ok(()) }
}

async fn json(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    whole(&api)?;
    let wanted = Wanted::read(&asked.form)?;
    let rows = match asked.form.get("max_rows_per_line") {
        "" => json_lines::ROWS_DEFAULT,
        text => parse_int(text)
            .ok()
            .and_then(|rows| usize::try_from(rows).ok())
            .filter(|rows| *rows > 0)
            .ok_or_else(|| Failure::parameter("max_rows_per_line", "must be a positive number"))?,
    };
    let store = Arc::clone(&api.store);
    let job = wanted.job(asked);
    let pieces = api.queries.stream(job, move |run, sink| {
        wanted.walk(&store, None, &mut |window| {
            check(run, window)?;
            json_lines::push(&mut sink.buffer, window, rows);
            sink.pace()
        })
    });
    Ok(streamed(pieces.await?, "application/stream+json"))
}

async fn text(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    whole(&api)?;
    let wanted = Wanted::read(&asked.form)?;
    let store = Arc::clone(&api.store);
    let job = wanted.job(asked);
    let pieces = api.queries.stream(job, move |run, sink| open_metrics(&store, &wanted, run, sink));
    Ok(streamed(pieces.await?, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
}

/// Metric by metric, because a family may not be interrupted.
fn open_metrics(store: &Store, wanted: &Wanted, run: &Run, sink: &mut Sink) -> Result<(), QueryError> {
    let names = store.label_values(METRIC_NAME, &wanted.sets, (wanted.start, wanted.end), 0).items;
    let names: BTreeSet<String> = names.into_iter().collect();
    let families = Families::new(&names, |name| store.metadata_of(name));
    let mut tally = Tally::default();
    for name in &names {
        let matcher =
            Matcher::new(MatchOp::Equal, METRIC_NAME, name).map_err(|error| QueryError::Internal(error.to_string()))?;
        let mut is_announced = false;
        wanted.walk(store, Some(&matcher), &mut |window| {
            check(run, window)?;
            if !is_announced {
                families.push(&mut sink.buffer, name);
                is_announced = true;
            }
            open_metrics::push(&mut sink.buffer, window, &mut tally);
            sink.pace()
        })?;
    }
    if tally.stale_markers + tally.histograms > 0 {
        let Tally { stale_markers, histograms, .. } = tally;
        tracing::info!(stale_markers, histograms, "left out of an export: OpenMetrics has no form for them");
    }
    sink.buffer.extend_from_slice(open_metrics::EOF);
    Ok(())
}

fn streamed(pieces: crate::query::stream::Pieces, media: &'static str) -> Response {
    let mut response = Response::new(Body::from_stream(pieces.into_stream()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
