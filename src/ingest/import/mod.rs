//! Import by POST: exposition text at `/api/v1/import/prometheus`, JSON lines at `/api/v1/import`.
//!
//! The first takes text 0.0.4, OpenMetrics and delimited protobuf with or without times; what has no time is from now. Good lines
//! are stored even where others are not: the answer is then 400 and names lines and reasons. 204 says that everything
//! is as durable as the store's settings ask. Does not mark anything stale: an import is no scrape. JSON lines are what
//! `/api/v1/export` and VictoriaMetrics write; their body is taken line by line while it comes and may be of any length.

pub mod file;
mod json;
mod lines;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use crate::base::clock::Clock;
use crate::ingest::counters::ProtocolCounters;
use crate::ingest::exposition::Format;
use crate::ingest::recent::Recent;
use crate::metrics::{Origin, SeriesRef, Store};
use crate::server::body::{BodyLimits, read};
use crate::server::error::{Failure, Kind};

const PROTOCOL: &str = "import";

/// Takes exposition text into a store.
#[derive(Debug)]
pub struct Receiver {
    store: Arc<Store>,
    clock: Clock,
    limits: BodyLimits,
    known: Recent<SeriesRef>,
    counters: ProtocolCounters,
}

/// What the URL asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parameters {
    /// The time of samples that have none.
    time: Option<i64>,
    /// Labels that every series gets.
    extra: Vec<(String, String)>,
}

impl Receiver {
    pub fn new(store: Arc<Store>, clock: Clock, limits: BodyLimits) -> Self {
        let counters = ProtocolCounters::new(PROTOCOL);
        Self { store, clock, limits, known: Recent::new(1 << 18), counters }
    }

    async fn receive(&self, query: Option<String>, headers: &HeaderMap, body: Body) -> Result<Response, Failure> {
        let parameters = parameters(query.as_deref().unwrap_or_default())?;
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // curl calls a file x-www-form-urlencoded where nobody says otherwise.
        let format = Format::from_content_type(content_type, Some(Format::Text))
            .map_err(|error| Failure::new(Kind::UnsupportedMedia, error.to_string()))?;
        let body = read(headers, body, &self.limits).await?;
        self.counters.received(body.len());
        let (report, commit) = {
            let mut lines = lines::Lines::new(
                // What is imported was chosen by somebody: all of it is kept, whatever the dedup window.
                self.store.appender(Origin::new(PROTOCOL).without_dedup()),
                &self.known,
                self.clock.monotonic().as_secs(),
                lines::Defaults {
                    time: Some(parameters.time.unwrap_or_else(|| self.clock.now())),
                    extra: &parameters.extra,
                },
            );
            lines.take(&body, format);
            let (report, appender) = lines.finish();
            (report, appender.commit())
        };
        commit.await.map_err(|error| Failure::new(Kind::Unavailable, error.to_string()))?;
        self.counters.stored(&report);
        if report.is_clean() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let message = report.message("lines", report.samples + report.histograms);
        Err(Failure::new(report.again().unwrap_or(Kind::BadData), message))
    }
}

/// `POST /api/v1/import/prometheus` and `POST /api/v1/import`.
pub fn routes(receiver: Arc<Receiver>) -> Router {
    let import = |State(receiver): State<Arc<Receiver>>, RawQuery(query): RawQuery, headers: HeaderMap, body: Body| async move {
        receiver.receive(query, &headers, body).await.unwrap_or_else(|failure| {
            receiver.counters.failed(failure.kind);
            failure.into_text()
        })
    };
    let json = |State(receiver): State<Arc<Receiver>>, RawQuery(query): RawQuery, headers: HeaderMap, body: Body| async move {
        json::receive(&receiver, query, &headers, body).await.unwrap_or_else(|failure| {
            receiver.counters.failed(failure.kind);
            failure.into_text()
        })
    };
    Router::new()
        .route("/api/v1/import/prometheus", post(import))
        .route("/api/v1/import", post(json))
        .with_state(receiver)
}

fn parameters(query: &str) -> Result<Parameters, Failure> {
    let mut parameters = Parameters::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = unescape(value).ok_or_else(|| Failure::parameter(name, "not valid UTF-8"))?;
        match name {
            "timestamp" => {
                let time = value.parse().map_err(|_| Failure::parameter(name, "not a time in milliseconds"))?;
                parameters.time = Some(time);
            }
            "extra_label" => {
                let (label, value) = value
                    .split_once('=')
                    .filter(|(label, _)| !label.is_empty())
                    .ok_or_else(|| Failure::parameter(name, "not of the form name=value"))?;
                parameters.extra.push((label.to_owned(), value.to_owned()));
            }
            _ => return Err(Failure::parameter(name, "unknown; timestamp and extra_label are known")),
        }
    }
    Ok(parameters)
}

/// Undoes the escaping of a query string.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                bytes.push((high << 4 | low) as u8);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}
