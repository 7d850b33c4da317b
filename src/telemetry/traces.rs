//! Spans about our own work, for an OTLP receiver that the operator names.
//!
//! Code marks work with `tracing` spans of the target [`TARGET`]; the log never shows them. While nobody asked for traces
//! ([`turn_off`], the state at the start), such a span costs one load of a cached flag. Otherwise finished spans that
//! were sampled wait in a bounded list, which the exporter empties ([`take`]); spans that find it full are counted and
//! gone. Sampling follows the caller's decision where a request carries one, else the fraction that was asked for.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use opentelemetry::trace::{Link, SpanKind, TraceId, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample, Span, SpanData, SpanProcessor,
};
use parking_lot::Mutex;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::Counters;

/// The target of spans that are about our own work.
pub const TARGET: &str = "novascope::trace";

/// Finished spans that may wait: some 4 MiB, and seconds of a busy server that samples one request in a hundred.
const WAITING_MAX: usize = 8192;

static SPANS: Counters<1> = Counters::new(
    "novascope_own_spans_total",
    "Spans of our own work: exported, failed, or dropped while too many waited.",
    ["result"],
);

static ON: AtomicBool = AtomicBool::new(false);
static SAMPLER: LazyLock<ArcSwap<Sampler>> = LazyLock::new(|| ArcSwap::from_pointee(Sampler::AlwaysOff));
static WAITING: Mutex<Vec<SpanData>> = Mutex::new(Vec::new());

/// Who sends the spans.
pub fn resource() -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "novascope"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build()
}

/// Makes spans from now on; `fraction` of those whose caller did not decide are sampled.
pub fn turn_on(fraction: f64) {
    let ratio = Sampler::TraceIdRatioBased(fraction);
    SAMPLER.store(std::sync::Arc::new(Sampler::ParentBased(Box::new(ratio))));
    ON.store(true, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// Makes no spans from now on. Those that wait may still be taken.
pub fn turn_off() {
    ON.store(false, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// Up to `limit` finished spans, the oldest first.
pub fn take(limit: usize) -> Vec<SpanData> {
    let mut waiting = WAITING.lock();
    let count = waiting.len().min(limit);
    waiting.drain(..count).collect()
}

/// Counts what became of spans that were taken.
pub fn count(spans: usize, exported: bool) {
    SPANS.with([if exported { "exported" } else { "failed" }]).add(spans as u64);
}

/// The part of the subscriber that makes spans.
pub(super) fn layer<S>() -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(Adjustable)
        .with_span_processor(Waiting)
        .build();
    let tracer: SdkTracer = provider.tracer("novascope");
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_filter(filter_fn(|meta| meta.target() == TARGET && ON.load(Ordering::Relaxed)))
}

/// Decides as [`SAMPLER`] says at the moment.
#[derive(Clone, Debug)]
struct Adjustable;

impl ShouldSample for Adjustable {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        SAMPLER.load().should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// Puts finished spans where the exporter finds them.
#[derive(Debug)]
struct Waiting;

impl SpanProcessor for Waiting {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let mut waiting = WAITING.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push(span);
        } else {
            drop(waiting);
            SPANS.with(["dropped"]).add(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
