//! `/-/healthy`, `/-/ready`, `/-/reload`, `/-/quit`: what supervisors ask.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;

use crate::api::instance::{Instance, Phase};

/// The paths under `/-/`.
pub fn routes(instance: Arc<Instance>) -> Router {
    Router::new()
        .route("/-/healthy", get(|| async { "novascope is Healthy.\n" }))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).put(reload).get(only_post))
        .with_state(instance)
}

async fn ready(State(instance): State<Arc<Instance>>) -> Response {
    let stopping = match instance.phase() {
        Phase::Ready => return "novascope is Ready.\n".into_response(),
        Phase::Starting => "false",
        Phase::Stopping => "true",
    };
    (StatusCode::SERVICE_UNAVAILABLE, [("X-Prometheus-Stopping", stopping)], "Service Unavailable").into_response()
}

async fn reload(State(instance): State<Arc<Instance>>) -> Response {
    match (instance.reload)().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n")).into_response()
        }
    }
}

async fn only_post() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed").into_response()
}
