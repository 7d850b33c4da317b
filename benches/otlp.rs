//! OTLP without HTTP: from the body to the store. `cargo bench --bench otlp`

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

use std::hint::black_box;
use std::sync::Arc;

use axum::body::Body;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Request;
use novascope::base::clock::Clock;
use novascope::base::disk::Disk;
use novascope::base::rng::Rng;
use novascope::base::tasks::Tasks;
use novascope::ingest::otlp::config::Config as OtlpConfig;
use novascope::ingest::otlp::json::to_protobuf;
use novascope::ingest::otlp::{Receiver, routes};
use novascope::metrics::config::{Config, Durability};
use novascope::metrics::{Seams, Store};
use novascope::proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use novascope::proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use novascope::proto::opentelemetry::proto::metrics::v1::metric::Data;
use novascope::proto::opentelemetry::proto::metrics::v1::number_data_point::Value;
use novascope::proto::opentelemetry::proto::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use novascope::proto::opentelemetry::proto::resource::v1::Resource;
use novascope::server::body::BodyLimits;
use prost::Message as _;
use tower::ServiceExt as _;

const METRICS: usize = 50;
const POINTS: usize = 40;

fn pair(key: &str, value: String) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }) }
}

fn body(time: i64) -> Vec<u8> {
    let point = |n: usize| NumberDataPoint {
        attributes: vec![pair("cpu", n.to_string()), pair("mode", "idle".into()), pair("http.route", "/a/b".into())],
        start_time_unix_nano: 1_000_000,
        time_unix_nano: time.unsigned_abs() * 1_000_000,
        value: Some(Value::AsDouble(n as f64 + 0.25)),
        ..NumberDataPoint::default()
    };
    let metric = |n: usize| Metric {
        name: format!("system.metric.{n}"),
        unit: "By".into(),
        data: Some(Data::Sum(Sum {
            data_points: (0..POINTS).map(point).collect(),
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        ..Metric::default()
    };
    let attributes = vec![pair("service.name", "node".into()), pair("service.instance.id", "i-1".into())];
    let resource = Some(Resource { attributes, dropped_attributes_count: 0 });
    let scope_metrics = vec![ScopeMetrics { metrics: (0..METRICS).map(metric).collect(), ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, schema_url: String::new() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn known_points(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::real();
    let seams = Seams { clock: clock.clone(), disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let config = Config { durability: Durability::Memory, retention_ms: None, ..Config::default() };
    let store = Store::open(config, folder.path(), seams).unwrap();
    let router = routes(Arc::new(Receiver::new(store, clock, BodyLimits::WRITE, OtlpConfig::default())));
    let bodies: Vec<Vec<u8>> = (0..64).map(|n| body(1_000_000 + n * 1_000)).collect();
    let mut group = c.benchmark_group("otlp");
    group.throughput(Throughput::Elements((METRICS * POINTS) as u64)).sample_size(20);
    let mut at = 0;
    group.bench_function("known_points", |b| {
        b.iter(|| {
            at += 1;
            let request = Request::post("/v1/metrics").header("content-type", "application/x-protobuf");
            let request = request.body(Body::from(bodies[at % bodies.len()].clone())).unwrap();
            let answer = runtime.block_on(router.clone().oneshot(request)).unwrap();
            assert_eq!(black_box(answer).status(), 200);
        });
    });
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":["#.to_owned()
        + &[r#"{"timeUnixNano":"1000000","asDouble":0.25,"attributes":[{"key":"cpu","value":{"stringValue":"1"}}]}"#;
            2_000]
            .join(",")
        + "]}}]}]}]}";
    group.bench_function("json_to_protobuf", |b| {
        b.iter(|| black_box(to_protobuf(black_box(json.as_bytes()), 64 << 20).unwrap()));
    });
    group.finish();
}

criterion_group!(benches, known_points);
criterion_main!(benches);
