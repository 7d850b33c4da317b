//! The endpoint: which message, which compression, which answer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::append::{Caches, Sink};
use super::{v1, v2};
use crate::base::clock::Clock;
use crate::base::scratch;
use crate::ingest::counters::ProtocolCounters;
use crate::ingest::report::Report;
use crate::metrics::{Commit, Origin, Store};
use crate::server::body::{BodyLimits, encoding, read_raw};
use crate::server::error::{Failure, Kind};
use crate::server::inflate::{Encoding, inflate, snappy_block_into};

/// Which message a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    V1,
    V2,
}

/// Takes remote write requests into a store.
#[derive(Debug)]
pub struct Receiver {
    store: Arc<Store>,
    clock: Clock,
    limits: BodyLimits,
    caches: Caches,
    counters: [ProtocolCounters; 2],
}

impl Receiver {
    pub fn new(store: Arc<Store>, clock: Clock, limits: BodyLimits) -> Self {
        let counters = [ProtocolCounters::new("remote_write_1"), ProtocolCounters::new("remote_write_2")];
        Self { store, clock, limits, caches: Caches::default(), counters }
    }

    async fn answer(&self, headers: &HeaderMap, body: Body) -> Response {
        let message = match message(headers) {
            Ok(message) => message,
            Err(failure) => {
                self.counters[0].failed(failure.kind);
                return failure.into_text();
            }
        };
        match self.receive(message, headers, body).await {
            Ok(response) => response,
            Err(failure) => {
                self.counters[message as usize].failed(failure.kind);
                failure.into_text()
            }
        }
    }

    async fn receive(&self, message: Message, headers: &HeaderMap, body: Body) -> Result<Response, Failure> {
        // The specification asks for snappy whether the header says so or not.
        let encoding = if headers.contains_key(CONTENT_ENCODING) { encoding(headers)? } else { Encoding::Snappy };
        let raw = read_raw(headers, body, &self.limits).await?;
        let counters = &self.counters[message as usize];
        counters.received(raw.len());
        let (report, broken, commit) = self.take(message, encoding, &raw)?;
        // What was appended before the bytes broke off is visible, so it is made durable too.
        let committed = commit.await;
        committed.map_err(|error| Failure::new(Kind::Unavailable, error.to_string()))?;
        counters.stored(&report);
        if let Some(error) = broken {
            return Ok(with_counts(
                Failure::bad_data(format!("cannot decode the request: {error}")).into_text(),
                &report,
            ));
        }
        if let Some(kind) = report.again() {
            return Err(Failure::new(kind, refusals(&report)));
        }
        if !report.is_clean() {
            return Ok(with_counts(Failure::bad_data(refusals(&report)).into_text(), &report));
        }
        Ok(with_counts(StatusCode::NO_CONTENT.into_response(), &report))
    }

    /// Everything between two awaits: inflate, walk, append.
    fn take(
        &self,
        message: Message,
        encoding: Encoding,
        raw: &Bytes,
    ) -> Result<(Report, Option<String>, Commit), Failure> {
        match encoding {
            Encoding::Identity => Ok(self.append(message, raw)),
            // A framed stream is not what the specification asks for, but it is easily told apart.
            Encoding::Snappy if !raw.starts_with(b"\xff\x06\x00\x00sNaPpY") => scratch::with(|inflated| {
                Ok(self.append(message, snappy_block_into(raw, self.limits.bytes_max, inflated)?))
            }),
            _ => Ok(self.append(message, &inflate(encoding, raw, self.limits.bytes_max)?)),
        }
    }

    fn append(&self, message: Message, body: &[u8]) -> (Report, Option<String>, Commit) {
        let protocol = if message == Message::V1 { "remote_write_1" } else { "remote_write_2" };
        let now_secs = self.clock.monotonic().as_secs();
        let mut sink = Sink::new(self.store.appender(Origin::new(protocol)), &self.caches, now_secs);
        let broken = self.caches.waiting(|waiting| match message {
            Message::V1 => v1::take(body, &mut sink, waiting).err().map(|error| error.to_string()),
            Message::V2 => v2::take(body, &mut sink, waiting).err().map(|error| error.to_string()),
        });
        let (report, appender) = sink.finish();
        (report, broken, appender.commit())
    }
}

/// `POST /api/v1/write`.
pub fn routes(receiver: Arc<Receiver>) -> Router {
    let write = |State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body| async move {
        receiver.answer(&headers, body).await
    };
    Router::new().route("/api/v1/write", post(write)).with_state(receiver)
}

/// Which message the sender says it sends. A sender that says nothing speaks 1.0.
fn message(headers: &HeaderMap) -> Result<Message, Failure> {
    let unsupported = |what: &str| Err(Failure::new(Kind::UnsupportedMedia, what));
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Message::V1) };
    let Ok(value) = value.to_str() else { return unsupported("Content-Type is not readable") };
    let mut parts = value.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.eq_ignore_ascii_case("application/x-protobuf") {
        return unsupported(&format!("Content-Type {media:?} is not supported; send application/x-protobuf"));
    }
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if name.trim().eq_ignore_ascii_case("proto") {
            return match value.trim().trim_matches('"') {
                "prometheus.WriteRequest" => Ok(Message::V1),
                "io.prometheus.write.v2.Request" => Ok(Message::V2),
                other => unsupported(&format!(
                    "message {other:?} is not supported; send prometheus.WriteRequest or io.prometheus.write.v2.Request"
                )),
            };
        }
    }
    Ok(Message::V1)
}

fn refusals(report: &Report) -> String {
    report.message("samples", report.samples + report.histograms)
}

/// 2.0 senders take a missing count for "nothing was written".
fn with_counts(mut response: Response, report: &Report) -> Response {
    let headers = response.headers_mut();
    headers.insert("x-prometheus-remote-write-samples-written", HeaderValue::from(report.samples));
    headers.insert("x-prometheus-remote-write-histograms-written", HeaderValue::from(report.histograms));
    headers.insert("x-prometheus-remote-write-exemplars-written", HeaderValue::from(report.exemplars));
    response
}
