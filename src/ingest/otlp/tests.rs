//! OTLP through its endpoints.

use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use expect_test::{Expect, expect};
use http_body_util::BodyExt as _;
use prost::Message as _;

use super::config::Config;
use super::{Receiver, routes};
use crate::ingest::fixture::{Fixture, NOW, read, send};
use crate::proto::opentelemetry::proto::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use crate::proto::opentelemetry::proto::metrics::v1::exponential_histogram_data_point::Buckets;
use crate::proto::opentelemetry::proto::metrics::v1::metric::Data;
use crate::proto::opentelemetry::proto::metrics::v1::summary_data_point::ValueAtQuantile;
use crate::proto::opentelemetry::proto::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use crate::proto::opentelemetry::proto::resource::v1::Resource;
use crate::server::body::BodyLimits;

const PROTOBUF: &str = "application/x-protobuf";
const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;

fn fixture(yaml: &str) -> (Fixture, Router) {
    let fixture = Fixture::new();
    let config: Config = serde_saphyr::from_str(yaml).unwrap();
    let limits = BodyLimits { bytes_max: 1 << 20, ..BodyLimits::WRITE };
    let receiver = Receiver::new(Arc::clone(&fixture.store), fixture.clock.clone(), limits, config);
    (fixture, routes(Arc::new(receiver)))
}

fn pair(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value }
}

/// Nanoseconds of a time in milliseconds relative to [`NOW`].
fn nanos(time: i64) -> u64 {
    ((NOW + time) * 1_000_000) as u64
}

fn point(time: i64, value: f64, attributes: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: nanos(time),
        value: Some(number_data_point::Value::AsDouble(value)),
        attributes: attributes.iter().map(|(key, value)| pair(key, value)).collect(),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.into(),
        unit: unit.into(),
        description: "What it is.".into(),
        data: Some(data),
        metadata: vec![],
    }
}

fn gauge(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, "", Data::Gauge(Gauge { data_points }))
}

fn sum(name: &str, temporality: i32, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, "By", Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic: true }))
}

fn request(resource: &[(&str, &str)], metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let attributes = resource.iter().map(|(key, value)| pair(key, value)).collect();
    let scope = InstrumentationScope {
        name: "lib".into(),
        version: "1.2".into(),
        attributes: vec![pair("team", "x")],
        ..InstrumentationScope::default()
    };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: "http://s".into() }];
    let resource = Some(Resource { attributes, dropped_attributes_count: 0 });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, schema_url: String::new() }],
    }
}

async fn post(router: &Router, request: &ExportMetricsServiceRequest) -> (u16, ExportMetricsServiceResponse) {
    let response = send(router, "/v1/metrics", &[("content-type", PROTOBUF)], request.encode_to_vec()).await;
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, ExportMetricsServiceResponse::decode(body).unwrap_or_default())
}

/// Sends a request, again, and once more to other caches; the store must hold what is expected after each.
async fn check(yaml: &str, request: &ExportMetricsServiceRequest, expect: Expect) {
    let (fixture, router) = fixture(yaml);
    for _ in 0..2 {
        let (status, response) = post(&router, request).await;
        assert_eq!((status, response.partial_success), (200, None));
    }
    expect.assert_eq(&fixture.dump());
}

#[tokio::test]
async fn gauges_and_sums_become_series_of_their_resource() {
    let mut counted = point(0, 7.0, &[("http.method", "GET"), ("code", "200")]);
    counted.start_time_unix_nano = nanos(-5000);
    let mut gone = point(10, 0.0, &[]);
    (gone.flags, gone.value) = (1, None);
    let resource =
        [("service.name", "api"), ("service.namespace", "shop"), ("service.instance.id", "i-1"), ("k8s.pod", "p")];
    let metrics = vec![sum("disk.io", CUMULATIVE, vec![counted]), gauge("temp", vec![point(0, 1.5, &[]), gone])];
    check(
        "{}",
        &request(&resource, metrics),
        expect![[r#"
        disk_io_bytes_total{code="200", http_method="GET", instance="i-1", job="shop/api"} 7@0(-5000)
        target_info{instance="i-1", job="shop/api", k8s_pod="p"} 1@0 1@10
        temp{instance="i-1", job="shop/api"} 1.5@0 stale@10
    "#]],
    )
    .await;
}

#[tokio::test]
async fn settings_shape_names_and_labels() {
    let resource = [("service.name", "api"), ("k8s.pod", "p"), ("zone", "eu")];
    let request =
        request(&resource, vec![sum("disk.io", CUMULATIVE, vec![point(0, 1.0, &[("a.b", "1"), ("a/b", "2")])])]);
    check(
        "promote_resource_attributes: [k8s.pod]\nkeep_identifying_resource_attributes: true",
        &request,
        expect![[r#"
        disk_io_bytes_total{a_b="1;2", job="api", k8s_pod="p"} 1@0
        target_info{job="api", k8s_pod="p", service_name="api", zone="eu"} 1@0
    "#]],
    )
    .await;
    let all = "translation_strategy: NoTranslation\npromote_all_resource_attributes: true\nignore_resource_attributes: [zone]\npromote_scope_metadata: true";
    check(all, &request, expect![[r#"
        {"disk.io", "a.b"="1", "a/b"="2", job="api", "k8s.pod"="p", otel_scope_name="lib", otel_scope_schema_url="http://s", otel_scope_team="x", otel_scope_version="1.2", "service.name"="api"} 1@0
        target_info{job="api", "k8s.pod"="p", zone="eu"} 1@0
    "#]])
    .await;
    check(
        "translation_strategy: NoUTF8EscapingWithSuffixes",
        &request,
        expect![[r#"
        {"disk.io_bytes_total", "a.b"="1", "a/b"="2", job="api"} 1@0
        target_info{job="api", "k8s.pod"="p", zone="eu"} 1@0
    "#]],
    )
    .await;
}

fn explicit(time: i64, counts: &[u64]) -> HistogramDataPoint {
    HistogramDataPoint {
        start_time_unix_nano: nanos(time - 10),
        time_unix_nano: nanos(time),
        count: counts.iter().sum(),
        sum: Some(2.5),
        bucket_counts: counts.to_vec(),
        explicit_bounds: vec![0.005, 1.0],
        ..HistogramDataPoint::default()
    }
}

fn histogram(temporality: i32, data_points: Vec<HistogramDataPoint>) -> Metric {
    metric("d", "s", Data::Histogram(Histogram { data_points, aggregation_temporality: temporality }))
}

#[tokio::test]
async fn histograms_become_buckets_or_native_histograms() {
    let mut first = explicit(0, &[1, 2, 3]);
    first.exemplars = vec![Exemplar {
        value: Some(exemplar::Value::AsDouble(0.5)),
        time_unix_nano: nanos(-1),
        trace_id: vec![0xab; 16],
        span_id: vec![1; 8],
        filtered_attributes: vec![pair("user", "u")],
    }];
    let mut last = explicit(10, &[0, 0, 0]);
    last.flags = 1;
    let request = request(&[], vec![histogram(CUMULATIVE, vec![first, last])]);
    check(
        "{}",
        &request,
        expect![[r#"
        d_seconds_bucket{le="+Inf"} 6@0(-10) stale@10
        d_seconds_bucket{le="0.005"} 1@0(-10) stale@10
        d_seconds_bucket{le="1"} 3@0(-10) stale@10
        d_seconds_count 6@0(-10) stale@10
        d_seconds_sum 2.5@0(-10) stale@10
    "#]],
    )
    .await;
    check(
        "convert_histograms_to_nhcb: true",
        &request,
        expect![[r#"
        d_seconds h{schema=-53 count=6 sum=2.5 zero=0 +[(0, 3)][1.0, 2.0, 3.0] -[][] [0.005, 1.0]}@0(-10) stale@10
    "#]],
    )
    .await;
    let (fixture, router) = fixture("{}");
    post(&router, &request).await;
    let rows = fixture.store.exemplars(&[vec![]], i64::MIN, i64::MAX);
    let text: Vec<String> = rows.iter().map(|row| format!("{} {:?}", row.series, row.exemplars)).collect();
    expect![[r#"d_seconds_bucket{le="1"} [Exemplar { labels: {span_id="0101010101010101", trace_id="abababababababababababababababab", user="u"}, value: 0.5, time: 1699999999999 }]"#]]
        .assert_eq(&text.join("\n"));
}

#[tokio::test]
async fn exponential_histograms_and_summaries() {
    let exponential = ExponentialHistogramDataPoint {
        time_unix_nano: nanos(0),
        count: 6,
        sum: Some(3.0),
        scale: 1,
        zero_count: 1,
        positive: Some(Buckets { offset: 2, bucket_counts: vec![2, 3] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let summary = SummaryDataPoint {
        time_unix_nano: nanos(0),
        count: 4,
        sum: 8.0,
        quantile_values: vec![
            ValueAtQuantile { quantile: 0.5, value: 2.0 },
            ValueAtQuantile { quantile: 1.0, value: 3.0 },
        ],
        ..SummaryDataPoint::default()
    };
    let data = ExponentialHistogram { data_points: vec![exponential], aggregation_temporality: CUMULATIVE };
    let metrics = vec![
        metric("e", "1", Data::ExponentialHistogram(data)),
        metric("s", "", Data::Summary(Summary { data_points: vec![summary] })),
    ];
    check(
        "{}",
        &request(&[], metrics),
        expect![[r#"
        e h{schema=1 count=6 sum=3 zero=1 +[(3, 2)][2.0, 3.0] -[][]}@0
        s{quantile="0.5"} 2@0
        s{quantile="1"} 3@0
        s_count 4@0
        s_sum 8@0
    "#]],
    )
    .await;
}

#[tokio::test]
async fn deltas_are_added_up_whatever_their_order() {
    let delta =
        |time: i64, value: f64| NumberDataPoint { start_time_unix_nano: nanos(time - 10), ..point(time, value, &[]) };
    // The batch is out of order, and the same metric comes in two pieces.
    let metrics = vec![
        sum("n", DELTA, vec![delta(30, 4.0), delta(10, 1.0)]),
        sum("n", DELTA, vec![delta(20, 2.0)]),
        histogram(DELTA, vec![explicit(20, &[1, 1, 1]), explicit(10, &[1, 0, 0])]),
    ];
    check(
        "{}",
        &request(&[], metrics),
        expect![[r#"
            d_seconds_bucket{le="+Inf"} 1@10(0) 4@20(0)
            d_seconds_bucket{le="0.005"} 1@10(0) 2@20(0)
            d_seconds_bucket{le="1"} 1@10(0) 3@20(0)
            d_seconds_count 1@10(0) 4@20(0)
            d_seconds_sum 2.5@10(0) 5@20(0)
            n_bytes_total 1@10(0) 3@20(0) 7@30(0)
        "#]],
    )
    .await;
}

#[tokio::test]
async fn what_is_refused_is_counted_and_said() {
    let (fixture, router) = fixture("{}");
    let metrics = vec![
        gauge("ok", vec![point(0, 1.0, &[]), point(3_600_000, 1.0, &[])]),
        gauge("", vec![point(0, 1.0, &[]), point(1, 1.0, &[])]),
        sum("t", 0, vec![point(0, 1.0, &[])]),
        gauge("v", vec![NumberDataPoint { time_unix_nano: nanos(0), ..NumberDataPoint::default() }]),
        gauge("timeless", vec![NumberDataPoint { time_unix_nano: 0, ..point(0, 1.0, &[]) }]),
    ];
    let (status, response) = post(&router, &request(&[], metrics.clone())).await;
    let partial = response.partial_success.unwrap();
    assert_eq!((status, partial.rejected_data_points), (200, 6));
    expect!["6 of 7 data points refused (invalid_name: 2, no_temporality: 1, no_value: 1, too_far_in_future: 1, no_time: 1); metric name is empty; aggregation temporality 0 of t_bytes_total; data point without a value in v; sample is too far in the future: 1700003600000 is more than 600000 ms ahead of the clock in ok; data point without a time in timeless"]
        .assert_eq(&partial.error_message);
    assert_eq!(fixture.dump(), "ok 1@0\n");
    // Nothing could be taken: that is an error.
    let response = send(
        &router,
        "/v1/metrics",
        &[("content-type", PROTOBUF)],
        request(&[], metrics[1..].to_vec()).encode_to_vec(),
    )
    .await;
    let (status, text) = read(response).await;
    assert!(status == 400 && text.contains("5 of 5 data points refused"), "{status} {text}");
}

#[tokio::test]
async fn json_says_the_same_as_protobuf() {
    let (fixture, router) = fixture("{}");
    let json = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"j"}}]},
        "scopeMetrics":[{"metrics":[{"name":"m","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
        {"timeUnixNano":"1700000000000000000","asInt":"3","attributes":[{"key":"a","value":{"intValue":"1"}}]},{"timeUnixNano":"1700000000000000001"}]}}]}]}]}"#;
    let headers = [("content-type", "application/json; charset=utf-8")];
    let (status, text) = read(send(&router, "/api/v1/otlp/v1/metrics", &headers, json).await).await;
    assert_eq!(status, 200);
    expect![[r#"{"partialSuccess":{"rejectedDataPoints":"1","errorMessage":"1 of 2 data points refused (no_value: 1); data point without a value in m_total"}}"#]]
        .assert_eq(&text);
    assert_eq!(fixture.dump(), "m_total{a=\"1\", job=\"j\"} 3@0\n");
    let (status, text) = read(send(&router, "/v1/metrics", &headers, "{\"resourceMetrics\":3}").await).await;
    assert!(
        status == 400 && text.starts_with(r#"{"code":3,"message":"cannot decode the request: invalid type"#),
        "{text}"
    );
    let (status, _) = read(send(&router, "/v1/metrics", &[("content-type", "text/plain")], "x").await).await;
    assert_eq!(status, 415);
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body).unwrap();
    gzip.finish().unwrap()
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

#[tokio::test]
async fn grpc_answers_in_frames_and_trailers() {
    const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let (fixture, router) = fixture("{}");
    let body =
        request(&[], vec![gauge("g", vec![point(0, 1.0, &[]), NumberDataPoint { value: None, ..point(1, 1.0, &[]) }])])
            .encode_to_vec();
    let cases = [
        ("identity", frame(0, &body), "0"),
        ("gzip", frame(1, &gzip(&body)), "0"),
        ("zstd", frame(1, &zstd::encode_all(&body[..], 1).unwrap()), "0"),
        ("snappy", frame(1, &body), "12"),
        ("gzip", frame(1, &body), "3"),
        ("gzip", frame(1, &gzip(&vec![0; 2 << 20])), "8"),
        ("identity", frame(0, &body)[..9].to_vec(), "3"),
        ("identity", frame(0, b"\xff\xff"), "3"),
        ("identity", Vec::new(), "3"),
    ];
    for (encoding, body, status) in cases {
        let headers = [("content-type", "application/grpc"), ("grpc-encoding", encoding), ("te", "trailers")];
        let response = send(&router, EXPORT, &headers, body).await;
        assert_eq!(response.status(), 200);
        let head = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let answer = trailers.get("grpc-status").or(head.get("grpc-status")).unwrap();
        assert_eq!(answer, status, "{encoding} {:?}", head.get("grpc-message"));
        if status == "0" {
            let bytes = body.to_bytes();
            let response = ExportMetricsServiceResponse::decode(&bytes[5..]).unwrap();
            assert_eq!(response.partial_success.unwrap().rejected_data_points, 1);
        }
    }
    assert_eq!(fixture.dump(), "g 1@0\n");
}
