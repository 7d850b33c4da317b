//! gRPC `novascope.v1.AlertService`: List, Acknowledge, Silence, Watch. Calls are framed by hand, as those of OTLP are.

mod watch;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use prost::Message;

use super::acknowledge::Request;
use super::alerts::select;
use super::{PAGE_DEFAULT, PAGE_MAX};
use crate::api::alertmanager::alerts::Filter;
use crate::api::alertmanager::silences::refuse;
use crate::api::alertmanager::{Alertmanager, Refusal};
use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::model::labels::Labels;
use crate::notify::alert::Fingerprint;
use crate::notify::matchers;
use crate::notify::notifier::State as Notifications;
use crate::notify::silence::Silence;
use crate::proto::novascope::v1 as wire;
use crate::server::body::{BodyLimits, read_raw};
use crate::server::error::{Failure, Kind};

/// A message is preceded by one byte that says whether it is compressed, and four bytes of length.
const FRAME_BYTES: usize = 5;

pub(super) fn routes() -> Router<Arc<Alertmanager>> {
    let list = |State(api): State<Arc<Alertmanager>>, headers: HeaderMap, body: Body| async move {
        let asked = match read(&headers, body).await {
            Ok(asked) => asked,
            Err(failure) => return failure.into_status().into_http::<Body>(),
        };
        answer(list(&api, &asked))
    };
    let acknowledge = |State(api): State<Arc<Alertmanager>>, headers: HeaderMap, body: Body| async move {
        let asked = match read(&headers, body).await {
            Ok(asked) => asked,
            Err(failure) => return failure.into_status().into_http::<Body>(),
        };
        answer(acknowledge(&api, asked).await)
    };
    let silence = |State(api): State<Arc<Alertmanager>>, headers: HeaderMap, body: Body| async move {
        let asked = match read(&headers, body).await {
            Ok(asked) => asked,
            Err(failure) => return failure.into_status().into_http::<Body>(),
        };
        answer(silence(&api, asked).await)
    };
    let watch = |State(api): State<Arc<Alertmanager>>, headers: HeaderMap, body: Body| async move {
        let asked: wire::WatchRequest = match read(&headers, body).await {
            Ok(asked) => asked,
            Err(failure) => return failure.into_status().into_http::<Body>(),
        };
        match Filter::of(&asked.filter) {
            Ok(filter) => watch::answer(api, filter),
            Err(refusal) => refusal.0.into_status().into_http::<Body>(),
        }
    };
    Router::new()
        .route("/novascope.v1.AlertService/List", post(list))
        .route("/novascope.v1.AlertService/Silence", post(silence))
        .route("/novascope.v1.AlertService/Watch", post(watch))
        .route("/novascope.v1.AlertService/Acknowledge", post(acknowledge))
}

/// The one message of a unary request.
async fn read<M: Message + Default>(headers: &HeaderMap, body: Body) -> Result<M, Failure> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/grpc") {
        return Err(Failure::new(Kind::UnsupportedMedia, "Content-Type must be application/grpc"));
    }
    let raw = read_raw(headers, body, &BodyLimits::FORM).await?;
    let broken = |what: &str| Failure::bad_data(format!("gRPC framing: {what}"));
    let Some(([flag, length @ ..], message)) = raw.split_first_chunk::<FRAME_BYTES>() else {
        return Err(broken("the request has no message"));
    };
    if u32::from_be_bytes(*length) as usize != message.len() {
        return Err(broken("the length of the message is not that of the body"));
    }
    if *flag != 0 {
        return Err(broken("requests to this service are not compressed"));
    }
    M::decode(message).map_err(|error| Failure::bad_data(error.to_string()))
}

fn answer<M: Message>(result: Result<M, Refusal>) -> Response {
    let message = match result {
        Ok(message) => message.encode_to_vec(),
        Err(refusal) => return refusal.0.into_status().into_http::<Body>(),
    };
    let Some(framed) = frame(&message) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let body = Full::new(framed).with_trailers(std::future::ready(Some(Ok(success()))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A message on the wire; none that is longer than the framing can say.
fn frame(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut framed = Vec::with_capacity(FRAME_BYTES + message.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Some(Bytes::from(framed))
}

/// What follows the messages of a call that went well.
fn success() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

fn list(api: &Alertmanager, asked: &wire::ListAlertsRequest) -> Result<wire::ListAlertsResponse, Refusal> {
    let filter = Filter::of(&asked.filter)?;
    let limit = match asked.limit as usize {
        0 => PAGE_DEFAULT,
        limit => limit.min(PAGE_MAX),
    };
    let now = api.notifier.now();
    let (total, alerts) = api.notifier.read(|state| {
        let (total, found) = select(state, (&filter, asked.acknowledged), (asked.offset as usize, limit), now);
        (total, found.into_iter().filter_map(|one| show(state, one, now)).collect())
    });
    Ok(wire::ListAlertsResponse { alerts, total: total as u64 })
}

fn show(state: &Notifications, fingerprint: Fingerprint, now: Millis) -> Option<wire::Alert> {
    let alert = state.dispatcher.alert(fingerprint)?;
    let map = |labels: &Labels| labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let muting = state.dispatcher.muting(&alert.labels, now);
    let seen = state.dispatcher.acknowledgements.get(fingerprint, now);
    Some(wire::Alert {
        fingerprint: fingerprint.to_string(),
        labels: map(&alert.labels),
        annotations: map(&alert.annotations),
        starts_at_unix_ms: alert.starts_at,
        ends_at_unix_ms: alert.ends_at,
        generator_url: alert.generator_url.clone(),
        silenced_by: muting.silenced_by,
        inhibited_by: muting.inhibited_by.iter().map(ToString::to_string).collect(),
        muted_by: muting.muted_by,
        acknowledgement: seen.map(|one| wire::Acknowledgement {
            by: one.by.clone(),
            comment: one.comment.clone(),
            time_unix_ms: one.time,
            until_unix_ms: one.until,
        }),
        flapping: state.dispatcher.flapping(fingerprint, now).1,
        incident: state.incidents.of(fingerprint).map_or(0, |incident| incident.id),
    })
}

async fn acknowledge(
    api: &Alertmanager,
    asked: wire::AcknowledgeRequest,
) -> Result<wire::AcknowledgeResponse, Refusal> {
    let holds = i64::try_from(asked.for_seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
    let request = Request {
        fingerprints: asked.fingerprints,
        matchers: asked.matchers,
        by: asked.by,
        comment: asked.comment,
        until: None,
        r#for: (holds > 0).then(|| Period::from_millis(holds)),
    };
    let (found, until) = request.acknowledge(api).await?;
    let fingerprints = found.iter().map(ToString::to_string).collect();
    Ok(wire::AcknowledgeResponse { fingerprints, until_unix_ms: until })
}

async fn silence(api: &Alertmanager, asked: wire::SilenceRequest) -> Result<wire::SilenceResponse, Refusal> {
    if asked.by.is_empty() {
        return Err(Refusal::bad("by is required: who silences"));
    }
    let now = api.notifier.now();
    let holds = i64::try_from(asked.for_seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
    let starts_at = if asked.starts_at_unix_ms > 0 { asked.starts_at_unix_ms } else { now };
    let ends_at = match (asked.ends_at_unix_ms, holds) {
        (0, 0) => return Err(Refusal::bad("ends_at_unix_ms or for_seconds is required")),
        (0, holds) => starts_at.saturating_add(holds),
        (ends_at, _) => ends_at,
    };
    let mut all = Vec::new();
    for text in &asked.matchers {
        all.extend(matchers::parse(text).map_err(|error| Refusal::bad(error.to_string()))?);
    }
    let silence = Silence {
        id: String::new(),
        matchers: all,
        starts_at,
        ends_at,
        updated_at: 0,
        created_by: asked.by,
        comment: asked.comment,
    };
    let result = api.notifier.change(move |dispatcher, now, rng| dispatcher.silences.set(silence, now, rng)).await?;
    result.map(|id| wire::SilenceResponse { id, ends_at_unix_ms: ends_at }).map_err(|error| refuse(&error))
}
