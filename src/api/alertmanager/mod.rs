//! Alertmanager's API, version 2, at the root, so that amtool and Grafana's Alertmanager datasource work; and our own
//! paths beside it for what Alertmanager does not have: acknowledgement and the history of notifications.

mod alerts;
mod groups;
mod own;
mod silences;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::instance::Instance;
use crate::notify::notifier::{NotKept, Notifier};
use crate::server::body::{self, BodyLimits};
use crate::server::error::{Failure, Kind};
use crate::server::origin;

/// What the handlers answer from.
#[derive(Clone)]
pub struct Alertmanager {
    pub notifier: Notifier,
    pub instance: Arc<Instance>,
}

/// Every path of Alertmanager's API and ours beside it.
pub fn routes(api: Alertmanager) -> Router {
    Router::new()
        .route("/api/v2/status", get(status::status))
        .route("/api/v2/receivers", get(status::receivers))
        .route("/api/v2/alerts", get(alerts::list).post(alerts::take))
        .route("/api/v2/alerts/groups", get(groups::list))
        .route("/api/v2/silences", get(silences::list).post(silences::set))
        .route("/api/v2/silence/{id}", get(silences::get).delete(silences::expire))
        .merge(own::routes())
        .layer(from_fn(origin::guard_writes))
        .with_state(Arc::new(api))
}

/// An answer of JSON.
fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => Refusal(Failure::new(Kind::Internal, error.to_string())).into_response(),
    }
}

/// Rows that are written before they are sent; memory holds no more of an answer's text.
const ROWS_AT_ONCE: usize = 256;

/// An answer of a JSON list that may be long, written while it is sent.
fn json_list<R: Send + 'static>(
    rows: Vec<R>,
    write: impl Fn(&R, &mut Vec<u8>) -> serde_json::Result<()> + Send + 'static,
) -> Response {
    let total = rows.len();
    let is_short = total <= ROWS_AT_ONCE;
    let mut rows = rows.into_iter().enumerate().peekable();
    let mut is_begun = false;
    let mut next = move || -> Option<serde_json::Result<Bytes>> {
        let mut text = Vec::new();
        if !std::mem::replace(&mut is_begun, true) {
            text.push(b'[');
        } else if rows.peek().is_none() {
            return None;
        }
        for (number, row) in rows.by_ref().take(ROWS_AT_ONCE) {
            if number > 0 {
                text.push(b',');
            }
            if let Err(error) = write(&row, &mut text) {
                return Some(Err(error));
            }
        }
        if rows.peek().is_none() {
            text.push(b']');
        }
        Some(Ok(Bytes::from(text)))
    };
    let body = if is_short {
        match next() {
            Some(Ok(text)) => Body::from(text),
            Some(Err(error)) => return Refusal(Failure::new(Kind::Internal, error.to_string())).into_response(),
            None => Body::empty(),
        }
    } else {
        Body::from_stream(stream::iter(std::iter::from_fn(next)))
    };
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// A failure in Alertmanager's form: the message as a JSON string.
struct Refusal(Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<NotKept> for Refusal {
    fn from(error: NotKept) -> Self {
        Self(Failure::new(Kind::Unavailable, error.to_string()))
    }
}

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self(Failure::bad_data(message))
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self(Failure::new(Kind::NotFound, message))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::Value::String(self.0.message.clone()).to_string();
        self.0.respond("application/json", body)
    }
}

/// A posted body of JSON.
async fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Refusal> {
    let bytes = body::read(headers, body, &BodyLimits::FORM).await?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::bad(format!("parsing the body failed: {error}")))
}

/// Nothing to say but that it worked.
fn done() -> Response {
    StatusCode::OK.into_response()
}
