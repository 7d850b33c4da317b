//! OTLP over HTTP: protobuf and JSON, on the paths of OpenTelemetry and of Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::receiver::{Carrier, PartialSuccess, Receiver};
use crate::proto::wire::{put_bytes, put_uint};
use crate::server::body::{encoding, read_raw};
use crate::server::error::{Failure, Kind};
use crate::server::inflate::{Encoding, inflate};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// `POST /v1/metrics` and `POST /api/v1/otlp/v1/metrics`.
pub(super) fn routes(receiver: Arc<Receiver>) -> Router {
    let export = |State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body| async move {
        answer(&receiver, &headers, body).await
    };
    Router::new().route("/v1/metrics", post(export)).route("/api/v1/otlp/v1/metrics", post(export)).with_state(receiver)
}

async fn answer(receiver: &Receiver, headers: &HeaderMap, body: Body) -> Response {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let carrier = if media.eq_ignore_ascii_case(PROTOBUF) || media.eq_ignore_ascii_case("application/protobuf") {
        Carrier::HttpProtobuf
    } else if media.eq_ignore_ascii_case(JSON) {
        Carrier::HttpJson
    } else {
        let message = format!("Content-Type {media:?} is not supported; send {PROTOBUF} or {JSON}");
        let failure = Failure::new(Kind::UnsupportedMedia, message);
        receiver.counters(Carrier::HttpProtobuf).failed(failure.kind);
        return refusal(&failure, Carrier::HttpProtobuf);
    };
    match export(receiver, carrier, headers, body).await {
        Ok(partial) => success(partial.as_ref(), carrier),
        Err(failure) => {
            receiver.counters(carrier).failed(failure.kind);
            refusal(&failure, carrier)
        }
    }
}

async fn export(
    receiver: &Receiver,
    carrier: Carrier,
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<PartialSuccess>, Failure> {
    let encoding = encoding(headers)?;
    let raw = read_raw(headers, body, &receiver.limits).await?;
    receiver.counters(carrier).received(raw.len());
    if encoding == Encoding::Identity {
        return receiver.export(carrier, &raw).await;
    }
    let body = inflate(encoding, &raw, receiver.limits.bytes_max)?;
    receiver.export(carrier, &body).await
}

fn success(partial: Option<&PartialSuccess>, carrier: Carrier) -> Response {
    if carrier != Carrier::HttpJson {
        return with_type(PartialSuccess::response(partial).into(), PROTOBUF);
    }
    let body = match partial {
        None => serde_json::json!({}),
        // A 64-bit integer is a string in proto3's JSON.
        Some(PartialSuccess { rejected, message }) => serde_json::json!({
            "partialSuccess": {"rejectedDataPoints": rejected.to_string(), "errorMessage": message}
        }),
    };
    with_type(body.to_string().into(), JSON)
}

fn with_type(body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A `google.rpc.Status` in the sender's encoding.
fn refusal(failure: &Failure, carrier: Carrier) -> Response {
    let code = failure.kind.grpc_code() as i32;
    if carrier == Carrier::HttpJson {
        let body = serde_json::json!({"code": code, "message": failure.message});
        return failure.respond(JSON, body.to_string());
    }
    let body = match failure.retry_after {
        Some(after) => failure.status_details(after),
        None => {
            let mut status = Vec::new();
            put_uint(&mut status, 1, u64::from(code.unsigned_abs()));
            put_bytes(&mut status, 2, failure.message.as_bytes());
            status
        }
    };
    failure.respond(PROTOBUF, body)
}
