//! Every HTTP and gRPC interface that is compatible with something, and our own.
//!
//! Handlers read parameters, ask `query` or a store, and encode. They hold no state of their own beyond counters, and
//! they never block: what reads the store runs through [`crate::query::Queries`].

pub mod alertmanager;
pub mod export;
pub mod federate;
pub mod health;
pub mod instance;
pub mod page;
pub mod prometheus;
pub mod ruler;
pub mod slo;

use std::sync::Arc;

use axum::Router;

use crate::api::prometheus::Prometheus;

/// Every path of this module. `app` merges the receivers of `ingest` into it and wraps the whole in
/// [`crate::server::layers`].
pub fn router(prometheus: Prometheus) -> Router {
    health::routes(Arc::clone(&prometheus.instance), Arc::clone(&prometheus.store))
        .merge(federate::routes(prometheus.clone()))
        .merge(export::routes(prometheus.clone()))
        .merge(page::routes(prometheus.clone()))
        .merge(ruler::routes(prometheus.rules.clone()))
        .merge(prometheus::routes(prometheus))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

/// Unknown paths are 404 and nothing else: Grafana takes only that as "not available".
async fn not_found() -> (http::StatusCode, &'static str) {
    (http::StatusCode::NOT_FOUND, "404 page not found\n")
}

async fn method_not_allowed() -> (http::StatusCode, &'static str) {
    (http::StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}
