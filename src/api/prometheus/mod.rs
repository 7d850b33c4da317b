//! Prometheus' HTTP API, version 1, as Grafana, promtool and Prometheus' own pages speak it.
//!
//! Promises: parameters, status codes, error texts and JSON as Prometheus 3.14; unknown paths are 404; every result
//! list can be limited; what reads the store waits for its turn in `query` and stops when the client leaves. Times far
//! from now are legal everywhere. Own endpoints live beside under `/api/v1/status/`.

pub mod admin;
pub mod alertmanagers;
pub mod answer;
pub mod asked;
pub mod cardinality;
pub mod exemplars;
pub mod form;
pub mod json;
pub mod language;
pub mod metadata;
pub mod number;
pub mod query;
pub mod read;
pub mod report;
pub mod result;
pub mod rules;
pub mod running;
pub mod status;
pub mod targets;
pub mod time;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, get, post};

use crate::api::instance::Instance;
use crate::metrics::Store;
use crate::query::Queries;
use crate::rules::engine::Rules;
use crate::server::origin;

/// What the handlers answer from.
#[derive(Clone, Debug)]
pub struct Prometheus {
    pub store: Arc<Store>,
    pub queries: Queries,
    pub instance: Arc<Instance>,
    pub rules: Rules,
}

/// Everything under `/api/v1`, with paths as under a server's root.
pub fn routes(api: Prometheus) -> Router {
    fn both<H, T>(handler: H) -> MethodRouter<Arc<Prometheus>>
    where
        H: axum::handler::Handler<T, Arc<Prometheus>>,
        T: 'static,
    {
        get(handler.clone()).post(handler)
    }
    Router::new()
        .route("/api/v1/query", both(query::instant))
        .route("/api/v1/query_range", both(query::range))
        .route("/api/v1/query_exemplars", both(exemplars::query_exemplars))
        .route("/api/v1/format_query", both(language::format_query))
        .route("/api/v1/parse_query", both(language::parse_query))
        .route("/api/v1/series", both(metadata::series))
        .route("/api/v1/labels", both(metadata::label_names))
        .route("/api/v1/label/{name}/values", get(metadata::label_values))
        .route("/api/v1/metadata", get(metadata::metadata))
        .route("/api/v1/read", post(read::read))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/version", get(status::version))
        .route("/api/v1/status/buildinfo", get(status::buildinfo))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/runtimeinfo", get(status::runtimeinfo))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/api/v1/status/cardinality", both(cardinality::cardinality))
        .route("/api/v1/status/metric_names_stats", both(cardinality::metric_names_stats))
        .route("/api/v1/status/walreplay", get(status::walreplay))
        .route("/api/v1/notifications", get(status::notifications))
        .route("/api/v1/status/active_queries", get(running::active))
        .route("/api/v1/status/active_queries/kill", post(running::kill).layer(from_fn(origin::guard_writes)))
        .route("/api/v1/status/top_queries", get(running::top))
        .with_state(Arc::new(api))
}
