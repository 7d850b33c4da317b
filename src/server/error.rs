//! The one map from kinds of failure to status codes on the wire.
//!
//! Every error of the crate that can reach a client says what [`Kind`] it is; this file alone knows what HTTP status,
//! Prometheus `errorType` and gRPC status that means, and which answers carry `Retry-After`.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

/// What went wrong, in words that no protocol owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong; sending it again cannot help.
    BadData,
    /// No or wrong credentials.
    Unauthorized,
    /// There is nothing of this name.
    NotFound,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// The client accepts no format that we speak.
    NotAcceptable,
    /// The body is larger than its limit, as sent or inflated.
    TooLarge,
    /// A content type or encoding that we do not speak.
    UnsupportedMedia,
    /// The sender is over its rate or quota.
    RateLimited,
    /// Overload, a full disk, starting or stopping: the same request may work later.
    Unavailable,
    /// The query is well-formed, but cannot be evaluated.
    Execution,
    /// It took longer than was allowed.
    Timeout,
    /// The client went away, or somebody stopped the query.
    Canceled,
    /// Our own fault.
    Internal,
}

/// How long a client should wait where nobody knows better.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

impl Kind {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable | Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            // Nginx's "client closed request", as Prometheus answers since 2.48.
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// `errorType` in Prometheus' JSON. The kinds that Prometheus does not have are named as Mimir names them.
    pub fn error_type(self) -> &'static str {
        match self {
            Self::BadData | Self::UnsupportedMedia | Self::TooLarge | Self::MethodNotAllowed => "bad_data",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::NotAcceptable => "not_acceptable",
            Self::RateLimited => "too_many_requests",
            Self::Unavailable => "unavailable",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
        }
    }

    /// The gRPC status code.
    pub fn grpc_code(self) -> tonic::Code {
        match self {
            Self::BadData | Self::UnsupportedMedia | Self::NotAcceptable => tonic::Code::InvalidArgument,
            Self::Unauthorized => tonic::Code::Unauthenticated,
            Self::NotFound => tonic::Code::NotFound,
            Self::MethodNotAllowed => tonic::Code::Unimplemented,
            Self::TooLarge | Self::RateLimited => tonic::Code::ResourceExhausted,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::Execution => tonic::Code::FailedPrecondition,
            Self::Timeout => tonic::Code::DeadlineExceeded,
            Self::Canceled => tonic::Code::Cancelled,
            Self::Internal => tonic::Code::Internal,
        }
    }

    /// Whether the same request may succeed later, so that a sender should keep it.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable)
    }
}

/// A failure on its way to a client. As a response it is Prometheus' JSON; see [`Failure::into_text`] for the rest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    /// When to come back; only sent with kinds that are retryable.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: kind.is_retryable().then_some(RETRY_DEFAULT) }
    }

    pub fn bad_data(message: impl Into<String>) -> Self {
        Self::new(Kind::BadData, message)
    }

    /// Prometheus' words for a parameter that cannot be read.
    pub fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {why}"))
    }

    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// `{"status":"error","errorType":…,"error":…}`.
    pub fn into_json(self) -> Response {
        let body = serde_json::json!({"status": "error", "errorType": self.kind.error_type(), "error": self.message});
        self.respond("application/json", body.to_string())
    }

    /// The message as plain text, as Prometheus' write endpoints answer.
    pub fn into_text(mut self) -> Response {
        let body = std::mem::take(&mut self.message) + "\n";
        self.respond("text/plain; charset=utf-8", body)
    }

    /// A gRPC status; a retryable one carries `google.rpc.RetryInfo`.
    pub fn into_status(self) -> tonic::Status {
        let code = self.kind.grpc_code();
        match self.retry_after.filter(|_| self.kind.is_retryable()) {
            None => tonic::Status::new(code, self.message),
            Some(after) => {
                let details = self.status_details(after);
                tonic::Status::with_details(code, self.message, details.into())
            }
        }
    }

    /// A `google.rpc.Status` message, for gRPC's `grpc-status-details-bin` and for OTLP/HTTP error bodies.
    pub fn status_details(&self, retry_after: Duration) -> Vec<u8> {
        let mut delay = Vec::new();
        put_varint(&mut delay, 1, retry_after.as_secs());
        put_varint(&mut delay, 2, u64::from(retry_after.subsec_nanos()));
        let mut retry_info = Vec::new();
        put_bytes(&mut retry_info, 1, &delay);
        let mut any = Vec::new();
        put_bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
        put_bytes(&mut any, 2, &retry_info);
        let mut status = Vec::new();
        put_varint(&mut status, 1, u64::from(self.kind.grpc_code() as i32 as u32));
        put_bytes(&mut status, 2, self.message.as_bytes());
        put_bytes(&mut status, 3, &any);
        status
    }

    /// Any body with this failure's status and headers.
    pub fn respond(&self, content_type: &'static str, body: impl Into<axum::body::Body>) -> Response {
        let mut response = Response::new(body.into());
        *response.status_mut() = self.kind.status();
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(after) = self.retry_after.filter(|_| self.kind.is_retryable()) {
            // Whole seconds only; rounding up never lets a client come early.
            let secs = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(secs.max(1)));
        }
        response
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.into_json()
    }
}

fn put_varint(out: &mut Vec<u8>, field: u8, mut value: u64) {
    if value == 0 {
        return;
    }
    out.push(field << 3);
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_says_when_to_come_back_on_every_wire() {
        let failure = Failure::new(Kind::Unavailable, "busy").with_retry_after(Duration::from_millis(1500));
        let response = failure.clone().into_json();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        let status = failure.into_status();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        let details = status.details();
        assert!(details.windows(9).any(|bytes| bytes == b"RetryInfo"));
        // Duration { seconds: 1, nanos: 500_000_000 } closes the message.
        assert!(details.ends_with(&[0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]));
    }

    #[test]
    fn a_wrong_request_must_not_be_sent_again() {
        let response = Failure::bad_data("no").into_text();
        assert_eq!(response.status(), 400);
        assert!(response.headers().get(RETRY_AFTER).is_none());
        assert!(Failure::bad_data("no").into_status().details().is_empty());
    }

    #[test]
    fn cancelled_is_499_as_in_prometheus() {
        assert_eq!(Kind::Canceled.status().as_u16(), 499);
    }
}
