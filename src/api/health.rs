//! `/-/healthy`, `/-/ready`, `/-/reload`: what supervisors ask.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;

use crate::api::instance::{Instance, Phase};
use crate::metrics::Store;
use crate::server::origin;

/// The paths under `/-/`.
pub fn routes(instance: Arc<Instance>, store: Arc<Store>) -> Router {
    let ready_instance = Arc::clone(&instance);
    Router::new()
        .route("/-/healthy", get(|| async { "novascope is Healthy.\n" }))
        .route("/-/ready", get(move || async move { ready(&ready_instance, &store) }))
        .route("/-/reload", post(reload).put(reload).get(only_post).layer(from_fn(origin::guard_writes)))
        .with_state(instance)
}

/// 200 when everything that is stored can be asked for. Until then the body says how far the start is.
fn ready(instance: &Instance, store: &Store) -> Response {
    let (stopping, text) = match instance.phase() {
        Phase::Ready => return "novascope is Ready.\n".into_response(),
        Phase::Starting => {
            let replay = store.replaying();
            let (done, total) = (replay.bytes_done >> 20, replay.bytes_total >> 20);
            ("false", format!("Service Unavailable: reading the log, {} % ({done} of {total} MiB)\n", replay.percent()))
        }
        Phase::Stopping => ("true", "Service Unavailable: stopping\n".to_owned()),
    };
    (StatusCode::SERVICE_UNAVAILABLE, [("X-Prometheus-Stopping", stopping), ("Retry-After", "1")], text).into_response()
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
