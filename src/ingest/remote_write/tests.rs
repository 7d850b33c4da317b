//! Remote write through its endpoint.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use expect_test::expect;
use prost::Message as _;

use super::{Receiver, routes};
use crate::ingest::fixture::{Fixture, NOW, read, send};
use crate::model::sample::STALE_NAN;
use crate::proto::{prometheus as v1, write_v2 as v2};
use crate::server::body::BodyLimits;

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn fixture() -> (Fixture, Router) {
    let fixture = Fixture::new();
    let limits = BodyLimits { bytes_max: 1 << 20, ..BodyLimits::WRITE };
    let router = routes(Arc::new(Receiver::new(Arc::clone(&fixture.store), fixture.clock.clone(), limits)));
    (fixture, router)
}

fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

async fn post(router: &Router, content_type: &str, message: &impl prost::Message) -> Response {
    let headers = [("content-type", content_type), ("content-encoding", "snappy")];
    send(router, "/api/v1/write", &headers, snappy(&message.encode_to_vec())).await
}

fn label(name: &str, value: &str) -> v1::Label {
    v1::Label { name: name.to_owned(), value: value.to_owned() }
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> v1::TimeSeries {
    v1::TimeSeries {
        labels: labels.iter().map(|(name, value)| label(name, value)).collect(),
        samples: samples.iter().map(|(time, value)| v1::Sample { value: *value, timestamp: NOW + time }).collect(),
        ..v1::TimeSeries::default()
    }
}

fn written(response: &Response) -> [String; 3] {
    ["samples", "histograms", "exemplars"].map(|what| {
        let value = response.headers().get(format!("x-prometheus-remote-write-{what}-written"));
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    })
}

#[tokio::test]
async fn version_1_stores_what_a_prometheus_sends() {
    let (fixture, router) = fixture();
    let mut full = series(&[("__name__", "latency"), ("job", "a")], &[]);
    full.histograms = vec![v1::Histogram {
        count: Some(v1::histogram::Count::CountInt(5)),
        sum: 7.5,
        schema: 2,
        positive_spans: vec![v1::BucketSpan { offset: 1, length: 2 }],
        positive_deltas: vec![2, 1],
        timestamp: NOW,
        ..v1::Histogram::default()
    }];
    full.exemplars = vec![v1::Exemplar { labels: vec![label("trace_id", "abc")], value: 0.5, timestamp: NOW }];
    let request = v1::WriteRequest {
        timeseries: vec![
            series(&[("__name__", "up"), ("job", "a")], &[(0, 1.0), (1000, 0.0)]),
            // Not sorted, with an empty value: the same series as the one above.
            series(&[("job", "a"), ("gone", ""), ("__name__", "up")], &[(2000, STALE_NAN)]),
            full,
        ],
        metadata: vec![v1::MetricMetadata {
            r#type: 2,
            metric_family_name: "up".to_owned(),
            help: "Whether it is up.".to_owned(),
            unit: String::new(),
        }],
    };
    for _ in 0..2 {
        // The second time everything is known already, and nothing changes.
        let response = post(&router, "application/x-protobuf", &request).await;
        assert_eq!((response.status().as_u16(), written(&response)), (204, ["3", "1", "1"].map(String::from)));
    }
    expect![[r#"
        latency{job="a"} h{schema=2 count=5 sum=7.5 zero=0 +[(1, 2)][2.0, 3.0] -[][]}@0
        up{job="a"} 1@0 0@1000 stale@2000
    "#]]
    .assert_eq(&fixture.dump());
}

#[tokio::test]
async fn good_samples_stay_where_others_are_refused() {
    let (fixture, router) = fixture();
    let request = v1::WriteRequest {
        timeseries: vec![
            series(&[("__name__", "a")], &[(0, 1.0), (0, 2.0), (3_600_000, 3.0)]),
            series(&[("job", "nameless")], &[(0, 1.0)]),
            series(&[("__name__", "b"), ("x", "1"), ("x", "2")], &[(0, 1.0), (1, 1.0)]),
            series(&[("__name__", "c")], &[(0, f64::NAN)]),
        ],
        metadata: Vec::new(),
    };
    let response = post(&router, "application/x-protobuf", &request).await;
    assert_eq!(written(&response), ["2", "0", "0"]);
    let (status, text) = read(response).await;
    assert_eq!(status, 400);
    assert!(
        text.starts_with("5 of 7 samples refused (duplicate_timestamp: 1, too_far_in_future: 1, invalid_labels: 3); "),
        "{text}"
    );
    assert!(text.contains("series has no metric name for series {job=\"nameless\"}"), "{text}");
    expect![[r#"
        a 1@0
        c NaN@0
    "#]]
    .assert_eq(&fixture.dump());
}

#[tokio::test]
async fn entries_of_any_length_and_mix_are_stored_whole_by_both_versions() {
    // One, some, more than wait together, and more than may wait before it is known whose they are.
    let counts = [1_usize, 15, 2_000, 5_000, 3];
    let samples = |count: usize| (0..count as i64).map(|at| (at - 10_000, at as f64)).collect::<Vec<_>>();
    let mut one = v1::WriteRequest::default();
    let mut symbols = vec![String::new(), "__name__".to_owned(), "trace_id".to_owned(), "x".to_owned()];
    let mut two = v2::Request::default();
    for (at, count) in counts.into_iter().enumerate() {
        // The last series has an exemplar, which goes another way.
        let with_exemplar = at + 1 == counts.len();
        let mut entry = series(&[("__name__", &format!("one_{at}"))], &samples(count));
        entry.exemplars = vec![v1::Exemplar { labels: vec![label("trace_id", "x")], value: 1.0, timestamp: NOW }];
        entry.exemplars.truncate(usize::from(with_exemplar));
        one.timeseries.push(entry);
        symbols.push(format!("two_{at}"));
        let exemplar = v2::Exemplar { labels_refs: vec![2, 3], value: 1.0, timestamp: NOW };
        two.timeseries.push(v2::TimeSeries {
            labels_refs: vec![1, at as u32 + 4],
            samples: samples(count)
                .into_iter()
                .map(|(time, value)| v2::Sample { value, timestamp: NOW + time, start_timestamp: 0 })
                .collect(),
            exemplars: vec![exemplar; usize::from(with_exemplar)],
            ..v2::TimeSeries::default()
        });
    }
    two.symbols = symbols;
    let (fixture, router) = fixture();
    for _ in 0..2 {
        // The second time every series is known.
        let all = ["7019", "0", "1"].map(String::from);
        assert_eq!(written(&post(&router, "application/x-protobuf", &one).await), all);
        assert_eq!(written(&post(&router, V2, &two).await), all);
    }
    let dump = fixture.dump();
    for name in ["one", "two"] {
        for (at, count) in counts.into_iter().enumerate() {
            let prefix = format!("{name}_{at} ");
            let line = dump.lines().find(|line| line.starts_with(&prefix)).unwrap();
            let expected: Vec<String> = samples(count).iter().map(|(time, value)| format!("{value}@{time}")).collect();
            assert_eq!(line[prefix.len()..].trim(), expected.join(" "), "{prefix}");
        }
    }
}

fn v2_request(refs: Vec<u32>) -> v2::Request {
    let symbols = ["", "__name__", "http_seconds_sum", "job", "a", "help text", "seconds", "trace_id", "abc"];
    v2::Request {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![v2::TimeSeries {
            labels_refs: refs,
            samples: vec![v2::Sample { value: 2.5, timestamp: NOW, start_timestamp: NOW - 500 }],
            histograms: Vec::new(),
            exemplars: vec![v2::Exemplar { labels_refs: vec![7, 8], value: 1.0, timestamp: NOW }],
            metadata: Some(v2::Metadata { r#type: 5, help_ref: 5, unit_ref: 6 }),
        }],
    }
}

#[tokio::test]
async fn version_2_keeps_start_times_metadata_and_exemplars() {
    let (fixture, router) = fixture();
    let mut request = v2_request(vec![1, 2, 3, 4]);
    let mut histogram = request.timeseries[0].clone();
    histogram.samples.clear();
    histogram.exemplars.clear();
    histogram.labels_refs = vec![1, 6];
    histogram.histograms = vec![v2::Histogram {
        count: Some(v2::histogram::Count::CountFloat(1.5)),
        schema: -53,
        positive_spans: vec![v2::BucketSpan { offset: 0, length: 1 }],
        positive_counts: vec![1.5],
        custom_values: vec![0.5],
        timestamp: NOW,
        start_timestamp: NOW - 9,
        ..v2::Histogram::default()
    }];
    request.timeseries.push(histogram);
    let response = post(&router, V2, &request).await;
    assert_eq!((response.status().as_u16(), written(&response)), (204, ["1", "1", "1"].map(String::from)));
    expect![[r#"
        http_seconds_sum{job="a"} 2.5@0(-500)
        seconds h{schema=-53 count=1.5 sum=0 zero=0 +[(0, 1)][1.5] -[][] [0.5]}@0(-9)
    "#]]
    .assert_eq(&fixture.dump());
    let metadata = fixture.store.metadata(Some("http_seconds"), 0, 0);
    expect![[r#"[MetadataRow { family: "http_seconds", metadata: [Metadata { kind: Summary, unit: "seconds", help: "help text" }] }]"#]]
        .assert_eq(&format!("{metadata:?}"));
}

#[tokio::test]
async fn version_2_says_which_references_are_wrong() {
    let (fixture, router) = fixture();
    for (refs, why) in [
        (vec![1, 2, 3, 99], "symbol 99 of 9 does not exist"),
        (vec![1, 2, 3], "labels_refs has 3 entries"),
        (vec![3, 4], "no metric name"),
    ] {
        let response = post(&router, V2, &v2_request(refs)).await;
        assert_eq!(written(&response), ["0", "0", "0"]);
        let (status, text) = read(response).await;
        assert!(status == 400 && text.contains(why), "{status} {text}");
    }
    let mut empty = v2_request(vec![1, 2]);
    empty.timeseries[0].samples.clear();
    assert_eq!(post(&router, V2, &empty).await.status(), 400);
    assert_eq!(fixture.dump(), "");
}

#[tokio::test]
async fn message_and_compression_are_negotiated() {
    let (_fixture, router) = fixture();
    let body = v1::WriteRequest { timeseries: vec![series(&[("__name__", "up")], &[(0, 1.0)])], metadata: Vec::new() }
        .encode_to_vec();
    let zstd = zstd::encode_all(&body[..], 1).unwrap();
    type Case = (&'static [(&'static str, &'static str)], Vec<u8>, u16);
    let cases: [Case; 8] = [
        (&[], snappy(&body), 204),
        (&[("content-type", "application/x-protobuf; proto=\"prometheus.WriteRequest\"")], snappy(&body), 204),
        (&[("content-encoding", "zstd")], zstd, 204),
        (&[("content-encoding", "identity")], body.clone(), 204),
        (&[("content-encoding", "br")], body.clone(), 415),
        (&[("content-type", "application/json")], snappy(&body), 415),
        (&[("content-type", "application/x-protobuf;proto=prometheus.WriteRequestV9")], snappy(&body), 415),
        (&[("content-type", V2)], body, 400),
    ];
    for (headers, body, status) in cases {
        let (answer, text) = read(send(&router, "/api/v1/write", headers, body).await).await;
        assert_eq!(answer, status, "{headers:?}: {text}");
    }
}

#[tokio::test]
async fn broken_bodies_are_refused_without_harm() {
    let (fixture, router) = fixture();
    let good = v1::WriteRequest { timeseries: vec![series(&[("__name__", "up")], &[(0, 1.0)])], metadata: Vec::new() };
    let mut cut = good.encode_to_vec();
    cut.pop();
    let headers = [("content-encoding", "snappy")];
    let bodies: [(Vec<u8>, u16); 5] = [
        (snappy(&cut), 400),
        (b"\xff\xff\xff\xff\x0f".to_vec(), 400),
        (b"not snappy".to_vec(), 400),
        (Vec::new(), 400),
        (snappy(&vec![0; (1 << 20) + 1]), 413),
    ];
    for (body, status) in bodies {
        let (answer, text) = read(send(&router, "/api/v1/write", &headers, body).await).await;
        assert_eq!(answer, status, "{text}");
    }
    assert_eq!(fixture.dump(), "");
    assert_eq!(post(&router, "application/x-protobuf", &good).await.status(), 204);
}
