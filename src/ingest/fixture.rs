//! A store for tests of protocols: what was sent in comes out as text.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::ServiceExt as _;

use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::metrics::config::{Config, Durability};
use crate::metrics::{Seams, Store};
use crate::model::matcher::{MatchOp, Matcher};
use crate::model::sample::is_stale;
use crate::promql::source::{Column, SeriesSet as _};

/// The wall time of every fixture.
pub(super) const NOW: i64 = 1_700_000_000_000;

pub(super) struct Fixture {
    pub store: Arc<Store>,
    pub clock: Clock,
    _folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, _) = Clock::simulated(NOW);
        let seams = Seams { clock: clock.clone(), disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
        let config = Config { durability: Durability::Memory, dedup_interval_ms: 0, ..Config::default() };
        Self { store: Store::open(config, folder.path(), seams).unwrap(), clock, _folder: folder }
    }

    /// Every series with its samples, times relative to [`NOW`] in milliseconds: `up{job="a"} 1@0 2@10(-5)`, where
    /// the start of counting stands in brackets.
    pub(super) fn dump(&self) -> String {
        let everything = Matcher::new(MatchOp::NotEqual, "__name__", "").unwrap();
        let found = self.store.select(&[everything], i64::MIN, i64::MAX);
        let mut text = String::new();
        let mut column = Column::default();
        for at in 0..found.len() {
            column.clear();
            found.read(at, &mut column).unwrap();
            write!(text, "{}", found.labels(at)).unwrap();
            write_column(&mut text, &column);
            text.push('\n');
        }
        text
    }
}

fn write_column(text: &mut String, column: &Column) {
    for (at, time) in column.times.iter().enumerate() {
        match column.histograms.get(at).and_then(Option::as_ref) {
            Some(histogram) if is_stale(histogram.sum) => text.push_str(" stale"),
            Some(histogram) => write!(
                text,
                " h{{schema={} count={} sum={} zero={} +{:?}{:?} -{:?}{:?}{}}}",
                histogram.schema,
                histogram.count,
                histogram.sum,
                histogram.zero_count,
                histogram.positive_spans.iter().map(|span| (span.offset, span.length)).collect::<Vec<_>>(),
                histogram.positive_buckets,
                histogram.negative_spans.iter().map(|span| (span.offset, span.length)).collect::<Vec<_>>(),
                histogram.negative_buckets,
                if histogram.custom_values.is_empty() {
                    String::new()
                } else {
                    format!(" {:?}", histogram.custom_values)
                },
            )
            .unwrap(),
            None if is_stale(column.values[at]) => text.push_str(" stale"),
            None => write!(text, " {}", column.values[at]).unwrap(),
        }
        write!(text, "@{}", time - NOW).unwrap();
        if let Some(start) = column.starts.get(at).filter(|start| **start != 0) {
            write!(text, "({})", start - NOW).unwrap();
        }
    }
}

/// Sends one request through a router.
pub(super) async fn send(router: &Router, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
}

/// Status and body of an answer.
pub(super) async fn read(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}
