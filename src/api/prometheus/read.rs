//! `POST /api/v1/read`: Prometheus' remote read, as samples or as streamed chunks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use prost::Message as _;

use crate::api::prometheus::Prometheus;
use crate::export::remote_read::{self, Asked, QUERIES_MAX, ReadError, Samples};
use crate::proto::prometheus::read_request::ResponseType;
use crate::proto::prometheus::{ReadRequest, label_matcher::Type};
use crate::query::active::{Asker, Question};
use crate::query::error::QueryError;
use crate::query::{Job, Lane, QueryKind};
use crate::server::body::{BodyLimits, read_raw};
use crate::server::error::{Failure, Kind};
use crate::server::inflate::snappy_block;
use crate::telemetry::Counters;

/// As Prometheus limits it. Requests are hundreds of bytes.
const LIMITS: BodyLimits = BodyLimits { bytes_max: 32 << 20, silence_max: Duration::from_secs(30), in_flight: None };

static READS: Counters<1> = Counters::new(
    "novascope_remote_read_requests_total",
    "Remote read requests, by the form of their answer.",
    ["form"],
);

impl From<ReadError> for QueryError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Matcher(_) | ReadError::Samples(_) | ReadError::Bytes => Self::BadData(error.to_string()),
            ReadError::Source(crate::promql::source::SourceError::Cancelled) => Self::Canceled("remote read"),
            ReadError::Source(error) => Self::Storage(error.to_string()),
        }
    }
}

/// Answers in the first form of those that the client takes.
pub async fn read(State(api): State<Arc<Prometheus>>, request: Request) -> Result<Response, Response> {
    answer(&api, request).await.map_err(Failure::into_text)
}

async fn answer(api: &Prometheus, request: Request) -> Result<Response, Failure> {
    whole(api)?;
    let (parts, body) = request.into_parts();
    let client = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let client = client.map_or_else(|| "unknown".to_owned(), |ConnectInfo(address)| address.ip().to_string());
    let raw = read_raw(&parts.headers, body, &LIMITS).await?;
    let message = snappy_block(&raw, LIMITS.bytes_max)?;
    let request = ReadRequest::decode(message.as_slice()).map_err(|error| Failure::bad_data(error.to_string()))?;
    if request.queries.len() > QUERIES_MAX {
        return Err(Failure::bad_data(format!("a request may have {QUERIES_MAX} queries at most")));
    }
    let external = api.instance.external_labels.load_full();
    let asked = request.queries.iter().map(|query| Asked::new(query, &external)).collect::<Result<Vec<_>, _>>();
    let asked = asked.map_err(|error| Failure::bad_data(error.to_string()))?;
    let job = job(&request, Asker { client, origin: Vec::new() });
    // Who names no form is older than the choice.
    let form = match request.accepted_response_types.as_slice() {
        [] => Some(ResponseType::Samples),
        accepted => accepted.iter().find_map(|form| ResponseType::try_from(*form).ok()),
    };
    match form {
        Some(ResponseType::Samples) => samples(api, job, asked, external).await,
        Some(ResponseType::StreamedXorChunks) => chunks(api, job, asked, external).await,
        None => Err(Failure::bad_data(format!(
            "server does not support any of the requested response types: {:?}; supported: SAMPLES, STREAMED_XOR_CHUNKS",
            request.accepted_response_types
        ))),
    }
}

/// Whoever copies data out must not take a part for all of it.
pub(crate) fn whole(api: &Prometheus) -> Result<(), Failure> {
    if api.store.is_replaying() {
        return Err(Failure::new(Kind::Unavailable, "the log is still being read: the answer would not be whole"));
    }
    Ok(())
}

/// What the list of queries shows of it.
fn job(request: &ReadRequest, asker: Asker) -> Job {
    let selector = |query: &crate::proto::prometheus::Query| {
        let matchers = query.matchers.iter().map(|matcher| {
            let op = match matcher.r#type() {
                Type::Eq => "=",
                Type::Neq => "!=",
                Type::Re => "=~",
                Type::Nre => "!~",
            };
            format!("{}{op}{:?}", matcher.name, matcher.value)
        });
        format!("{{{}}}", matchers.collect::<Vec<_>>().join(","))
    };
    let query = request.queries.iter().map(selector).collect::<Vec<_>>().join(" or ");
    let start = request.queries.iter().map(|query| query.start_timestamp_ms).min().unwrap_or(0);
    let end = request.queries.iter().map(|query| query.end_timestamp_ms).max().unwrap_or(0);
    let question = Question { query, start, end, step: 0 };
    Job { kind: QueryKind::RemoteRead, question, asker, timeout: None, lane: Lane::Seat }
}

async fn samples(
    api: &Prometheus,
    job: Job,
    asked: Vec<Asked>,
    external: Arc<BTreeMap<String, String>>,
) -> Result<Response, Failure> {
    READS.with(["samples"]).inc();
    let store = Arc::clone(&api.store);
    let limit = api.queries.config().samples_max;
    let body = api.queries.run(job, move |run| {
        let mut answer = Samples::default();
        let stop = || run.cancel.load(Ordering::Relaxed);
        for asked in &asked {
            answer.query(&store, asked, &external, (limit, &stop))?;
        }
        run.add_samples(answer.samples);
        answer.finish().map_err(|error| QueryError::Internal(error.to_string()))
    });
    let mut response = Response::new(Body::from(body.await?));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    Ok(response)
}

async fn chunks(
    api: &Prometheus,
    job: Job,
    asked: Vec<Asked>,
    external: Arc<BTreeMap<String, String>>,
) -> Result<Response, Failure> {
    READS.with(["streamed_xor_chunks"]).inc();
    let store = Arc::clone(&api.store);
    let pieces = api.queries.stream(job, move |run, sink| {
        for (number, asked) in asked.iter().enumerate() {
            remote_read::stream::<QueryError>(&store, (number, asked), &external, &mut |frame, samples| {
                if run.is_cancelled() {
                    return Err(QueryError::Canceled("remote read"));
                }
                run.add_samples(samples);
                sink.buffer.extend_from_slice(frame);
                sink.pace()
            })?;
        }
        Ok(())
    });
    let mut response = Response::new(Body::from_stream(pieces.await?.into_stream()));
    let media = HeaderValue::from_static("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    response.headers_mut().insert(CONTENT_TYPE, media);
    Ok(response)
}
