//! OTLP over gRPC. The one unary call is framed by hand, so that the message reaches the walker as bytes, without a
//! decode into owned structures.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::receiver::{Carrier, PartialSuccess, Receiver};
use crate::server::body::{BodyLimits, read_raw};
use crate::server::error::{Failure, Kind};
use crate::server::inflate::{Encoding, inflate};

const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// A message is preceded by one byte that says whether it is compressed, and four bytes of length.
const FRAME_BYTES: usize = 5;

const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");

/// `MetricsService.Export`.
pub(super) fn routes(receiver: Arc<Receiver>) -> Router {
    let export = |State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body| async move {
        answer(&receiver, &headers, body).await
    };
    Router::new().route(EXPORT, post(export)).with_state(receiver)
}

async fn answer(receiver: &Receiver, headers: &HeaderMap, body: Body) -> Response {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !matches!(content_type, "application/grpc" | "application/grpc+proto") {
        // No gRPC client, so it gets an HTTP answer.
        let failure = Failure::new(Kind::UnsupportedMedia, "Content-Type must be application/grpc");
        receiver.counters(Carrier::Grpc).failed(failure.kind);
        return failure.into_text();
    }
    match export(receiver, headers, body).await {
        Ok(partial) => success(&PartialSuccess::response(partial.as_ref())),
        Err(failure) => {
            receiver.counters(Carrier::Grpc).failed(failure.kind);
            let unknown_encoding = failure.kind == Kind::UnsupportedMedia;
            let mut status = failure.into_status();
            if unknown_encoding {
                // gRPC has a code of its own for this, and a header that says what would have worked.
                status = tonic::Status::unimplemented(status.message());
            }
            let mut response = status.into_http::<Body>();
            response.headers_mut().insert("grpc-accept-encoding", ACCEPTED);
            response
        }
    }
}

async fn export(receiver: &Receiver, headers: &HeaderMap, body: Body) -> Result<Option<PartialSuccess>, Failure> {
    let bytes_max = receiver.limits.bytes_max;
    let limits = BodyLimits { bytes_max: bytes_max.saturating_add(FRAME_BYTES), ..receiver.limits.clone() };
    let raw = read_raw(headers, body, &limits).await?;
    receiver.counters(Carrier::Grpc).received(raw.len());
    let (compressed, message) = unframe(&raw)?;
    if !compressed {
        return receiver.export(Carrier::Grpc, message).await;
    }
    let body = inflate(message_encoding(headers)?, message, bytes_max)?;
    receiver.export(Carrier::Grpc, &body).await
}

/// The one message of a unary request.
fn unframe(raw: &[u8]) -> Result<(bool, &[u8]), Failure> {
    let broken = |what: &str| Err(Failure::bad_data(format!("gRPC framing: {what}")));
    let Some(([flag, length @ ..], message)) = raw.split_first_chunk::<FRAME_BYTES>() else {
        return broken("the request has no message");
    };
    if u32::from_be_bytes(*length) as usize != message.len() {
        return broken("the length of the message is not that of the body");
    }
    match flag {
        0 => Ok((false, message)),
        1 => Ok((true, message)),
        _ => broken("unknown flags"),
    }
}

fn message_encoding(headers: &HeaderMap) -> Result<Encoding, Failure> {
    let name = headers.get("grpc-encoding").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match Encoding::from_name(name) {
        Some(encoding @ (Encoding::Gzip | Encoding::Zstd | Encoding::Deflate | Encoding::Identity)) => Ok(encoding),
        Some(Encoding::Snappy) | None => Err(Failure::new(
            Kind::UnsupportedMedia,
            format!("grpc-encoding {name:?} is not supported; send gzip, zstd or identity"),
        )),
    }
}

fn success(message: &[u8]) -> Response {
    let mut framed = Vec::with_capacity(FRAME_BYTES + message.len());
    framed.push(0);
    // A report to a sender is short.
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(framed)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-accept-encoding", ACCEPTED);
    response
}
