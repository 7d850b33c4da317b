//! What is wrapped around every HTTP handler: request log, panic to 500, CORS, compression of answers.

use std::any::Any;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::Method;
use http::header::ORIGIN;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::{CompressionLayer, CompressionLevel};
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::base::clock::Clock;
use crate::server::cors::Cors;
use crate::server::error::{Failure, Kind};
use crate::telemetry::traces;

/// What the layers need to know.
#[derive(Clone, Debug)]
pub struct Layers {
    pub clock: Clock,
    pub cors: Cors,
}

/// Wraps a router. gzip is the only encoding offered: Grafana's resource path fails on zstd, and whoever offers zstd
/// offers gzip too. Level 1, because answers are made once and read once.
pub fn wrap(router: Router, layers: Layers) -> Router {
    router
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest))
        .layer(from_fn_with_state(layers.cors, cors))
        .layer(CatchPanicLayer::custom(|panic| answer_panic(&panic)))
        .layer(from_fn_with_state(layers.clock, log))
}

async fn cors(State(cors): State<Cors>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight {
        let mut empty = Response::default();
        *empty.status_mut() = http::StatusCode::NO_CONTENT;
        empty
    } else {
        next.run(request).await
    };
    cors.apply(origin.as_ref(), response.headers_mut());
    response
}

async fn log(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    let began = clock.monotonic();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let span = span(&request);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    let ms = (clock.monotonic().saturating_sub(began)).as_secs_f64() * 1e3;
    // 503 is how overload is answered and counted elsewhere: at that moment a log line per request would add to it.
    if response.status().is_server_error() && status != 503 {
        tracing::warn!(%method, path, status, ms, "request failed");
    } else {
        tracing::debug!(%method, path, status, ms, "request");
    }
    response
}

/// The span of a request, below the caller's where the request says so (W3C trace context).
fn span(request: &Request) -> Span {
    let method = request.method().as_str();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = tracing::info_span!(
        target: traces::TARGET,
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        url.path = request.uri().path(),
        http.response.status_code = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(request.headers()));
        // Fails only without the layer that makes these spans, and then there is none.
        let _ = span.set_parent(parent);
    }
    span
}

fn answer_panic(panic: &Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panic without a message");
    tracing::error!(panic = text, "a request handler panicked");
    Failure::new(Kind::Internal, "the server failed on this request; its log says more").into_json()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn call(request: http::request::Builder) -> Response {
        let router = Router::new()
            .route("/text", get(|| async { "x".repeat(1000) }))
            .route("/panic", get(|| async { [0][std::hint::black_box(1)].to_string() }));
        let layers = Layers { clock: Clock::simulated(0).0, cors: Cors::Any };
        wrap(router, layers).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn answers_are_gzip_even_if_zstd_is_offered_first() {
        let response = call(Request::get("/text").header("accept-encoding", "zstd, br, gzip;q=0.5")).await;
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let response = call(Request::get("/text").header("accept-encoding", "zstd, br")).await;
        assert!(response.headers().get("content-encoding").is_none());
    }

    #[tokio::test]
    async fn a_panic_is_a_500_in_json() {
        let response = call(Request::get("/panic")).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/json");
    }

    #[tokio::test]
    async fn a_preflight_is_answered_for_every_path() {
        let response = call(Request::options("/api/v1/query").header("origin", "http://grafana")).await;
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(response.headers()["vary"], "origin");
    }
}
