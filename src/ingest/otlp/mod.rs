//! OTLP metrics in: gRPC, HTTP/protobuf and HTTP/JSON.
//!
//! Owns: the transports, the translation of names and attributes, running totals of deltas. Promises: points that can
//! be stored are, and the sender is told how many could not and why (`partial_success`; an error only where nothing
//! could); an answer means that everything is as durable as the store's settings ask; a request sent again counts
//! once, also with deltas. Memory is bounded by the limit of a body and by the sizes of the caches.
//! Does not do: traces, logs, sending.
//!
//! Data passes: [`routes`] → `http` or `grpc` (inflate, unframe) → `json` (to protobuf, where it is JSON) →
//! `translate` (walk) → `context` (what surrounds a point, cached) → `points` (numbers) → store. Deltas wait until the
//! whole request was walked and go through `delta` in the order of their times.

pub mod config;
pub mod json;
pub mod names;
pub mod schema;
pub mod value;

mod context;
mod delta;
mod grpc;
mod histograms;
mod http;
mod native;
mod points;
mod receiver;
mod translate;
mod waiting;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;

pub use receiver::Receiver;

/// Everything that a port for OTLP answers: gRPC and HTTP.
pub fn routes(receiver: Arc<Receiver>) -> Router {
    http::routes(Arc::clone(&receiver)).merge(grpc::routes(receiver))
}
