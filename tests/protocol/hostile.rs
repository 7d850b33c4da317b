//! Bodies that mean harm: each gets a typed answer soon, costs bounded memory, and leaves everyone else served.

use std::io::Write as _;
use std::time::Duration;

use novascope::base::clock::Clock;
use novascope::proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use novascope::proto::opentelemetry::proto::common::v1::KeyValue;
use novascope::proto::opentelemetry::proto::metrics::v1::metric::Data;
use novascope::proto::opentelemetry::proto::metrics::v1::number_data_point::Value;
use novascope::proto::opentelemetry::proto::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use novascope::proto::prometheus::{Label, Sample, TimeSeries, WriteRequest};
use novascope::proto::wire::put_bytes;
use prost::Message as _;

use crate::daemon::{Daemon, data_folder};
use crate::http;

const WRITE: &str = "/api/v1/write";
const OTLP: &str = "/v1/metrics";
const IMPORT: &str = "/api/v1/import/prometheus";
const GRPC: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// What a body may have, as sent and inflated.
const LIMIT: usize = 64 << 20;

type Headers = &'static [(&'static str, &'static str)];

const SNAPPY: Headers = &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
const V2: Headers =
    &[("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"), ("Content-Encoding", "snappy")];
const GZIP: Headers = &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")];
const ZSTD: Headers = &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "zstd")];
const PLAIN: Headers = &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "identity")];
const JSON: Headers = &[("Content-Type", "application/json")];
const FRAMED: Headers = &[("Content-Type", "application/grpc"), ("grpc-encoding", "gzip")];

fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body).unwrap();
    gzip.finish().unwrap()
}

/// Twice the limit of zeroes. Members and frames may follow each other, so that making it costs the test nothing.
fn bomb(pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    pack(&vec![0; 1 << 20]).repeat((2 * LIMIT) >> 20)
}

fn label(name: &str, value: &str) -> Label {
    Label { name: name.to_owned(), value: value.to_owned() }
}

/// A write request with one sample.
fn written(labels: Vec<Label>, timestamp: i64) -> Vec<u8> {
    let samples = vec![Sample { value: 1.0, timestamp }];
    let series = TimeSeries { labels, samples, ..TimeSeries::default() };
    WriteRequest { timeseries: vec![series], ..WriteRequest::default() }.encode_to_vec()
}

/// An OTLP request with one point.
fn exported(attributes: Vec<KeyValue>, now: i64) -> Vec<u8> {
    let point = NumberDataPoint {
        attributes,
        time_unix_nano: now.unsigned_abs() * 1_000_000,
        value: Some(Value::AsInt(1)),
        ..NumberDataPoint::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    let metrics = vec![Metric { name: "m".to_owned(), data, ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// A request whose resource has an attribute of arrays in arrays.
fn deep(levels: usize) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 0..levels {
        let (mut array, mut any) = (Vec::new(), Vec::new());
        put_bytes(&mut array, 1, &value);
        put_bytes(&mut any, 5, &array);
        value = any;
    }
    for field in [2, 1, 1, 1] {
        let mut outer = Vec::new();
        put_bytes(&mut outer, field, &value);
        value = outer;
    }
    value
}

fn many_symbols() -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..3_000_000 {
        put_bytes(&mut body, 4, b"");
    }
    body
}

fn many_lines(now: i64) -> Vec<u8> {
    format!("!{now}\n").repeat(1_000_000).into_bytes()
}

/// Bytes in memory, now at most.
fn peak_bytes(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Name, path, headers, body, status.
type Case = (&'static str, &'static str, Headers, Vec<u8>, u16);

fn write_cases(now: i64) -> Vec<Case> {
    let named = |name: &str, value: &str| snappy(&written(vec![label("__name__", "m"), label(name, value)], now));
    let mut not_utf8 = written(vec![label("__name__", "m"), label("xx", "y")], now);
    let at = not_utf8.windows(2).position(|pair| pair == b"xx").unwrap();
    not_utf8[at] = 0xff;
    let million = (0..1_000_000).map(|n| label(&format!("l{n}"), "v")).chain([label("__name__", "m")]).collect();
    let good = written(vec![label("__name__", "m")], now);
    vec![
        ("snappy that declares 4 GiB", WRITE, SNAPPY, b"\xff\xff\xff\xff\x0f".repeat(10), 400),
        ("snappy cut off", WRITE, SNAPPY, snappy(&good)[..8].to_vec(), 400),
        ("gzip called snappy", WRITE, SNAPPY, gzip(&good), 400),
        ("no protobuf", WRITE, PLAIN, b"GET / HTTP/1.1".to_vec(), 400),
        ("protobuf cut off", WRITE, PLAIN, good[..good.len() - 1].to_vec(), 400),
        ("gzip bomb", WRITE, GZIP, bomb(gzip), 413),
        ("zstd bomb", WRITE, ZSTD, bomb(|body| zstd::encode_all(body, 1).unwrap()), 413),
        ("more than the limit", WRITE, PLAIN, vec![0; LIMIT + 1], 413),
        ("a million labels", WRITE, SNAPPY, snappy(&written(million, now)), 400),
        ("a label value of 10 MB", WRITE, SNAPPY, named("x", &"v".repeat(10 << 20)), 400),
        ("a label name of 10 MB", WRITE, SNAPPY, named(&"n".repeat(10 << 20), "v"), 400),
        ("a label name that is no text", WRITE, SNAPPY, snappy(&not_utf8), 400),
        ("an empty label name", WRITE, SNAPPY, named("", "v"), 400),
        ("the same label twice", WRITE, SNAPPY, named("__name__", "n"), 400),
        ("no labels", WRITE, SNAPPY, snappy(&written(Vec::new(), now)), 400),
        ("a time before 1970", WRITE, SNAPPY, snappy(&written(vec![label("__name__", "m")], -1)), 400),
        ("the last time there is", WRITE, SNAPPY, snappy(&written(vec![label("__name__", "m")], i64::MAX)), 400),
        ("three million symbols", WRITE, V2, snappy(&many_symbols()), 400),
        ("version 1 called version 2", WRITE, V2, snappy(b"\x2a\x04\x0a\x02\x01\x02"), 400),
        ("an unknown encoding", WRITE, &[("Content-Encoding", "br")], good, 415),
        ("lines that are none", IMPORT, &[], many_lines(now), 400),
    ]
}

fn otlp_cases(now: i64) -> Vec<Case> {
    let million = (0..1_000_000).map(|n| KeyValue { key: format!("k{n}"), value: None }).collect();
    let deep_json = format!(r#"{{"resourceMetrics":{}"#, r#"[{"resource":"#.repeat(100_000));
    let framed = |flag: u8, message: &[u8]| [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat();
    vec![
        ("ten thousand levels", OTLP, PLAIN, deep(10_000), 400),
        ("a million attributes", OTLP, PLAIN, exported(million, now), 400),
        ("gzip bomb", OTLP, GZIP, bomb(gzip), 413),
        ("protobuf called JSON", OTLP, JSON, exported(Vec::new(), now), 400),
        ("deep JSON", OTLP, JSON, deep_json.into_bytes(), 400),
        ("JSON of numbers only", OTLP, JSON, b"1,".repeat(1 << 20), 400),
        ("not gzip", OTLP, GZIP, exported(Vec::new(), now), 400),
        ("neither protobuf nor JSON", OTLP, &[("Content-Type", "text/html")], b"<p>".to_vec(), 415),
        // gRPC says what it has to say in headers.
        ("gRPC: a bomb", GRPC, FRAMED, framed(1, &bomb(gzip)), 200),
        ("gRPC: a length of 4 GiB", GRPC, FRAMED, b"\x00\xff\xff\xff\xffx".to_vec(), 200),
    ]
}

#[test]
fn hostile_bodies_harm_nobody() {
    // Debug builds inflate and hash some ten times slower.
    let answer_max = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let now = Clock::real().now();
    let before = peak_bytes(daemon.pid());
    let cases = write_cases(now).into_iter().chain(otlp_cases(now));
    for (sent, (name, path, headers, body, status)) in cases.enumerate() {
        let clock = Clock::real();
        let answer = daemon.post(path, headers, &body);
        let took = clock.monotonic();
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(took < answer_max, "{name} took {took:?}");
        assert!(answer.body.len() < 8 << 10, "{name}: an answer of {} bytes", answer.body.len());
        match answer.header("grpc-status") {
            None => assert!(status != 200 && !answer.body.is_empty(), "{name}: no reason"),
            Some(code) => assert!(["3", "8"].contains(&code), "{name}: grpc-status {code}"),
        }
        let good = snappy(&written(vec![label("__name__", "good")], now - 100_000 + sent as i64 * 1_000));
        assert_eq!(daemon.post(WRITE, SNAPPY, &good).status, 204, "after {name}");
    }
    let found = daemon.query("count_over_time(good[1h])");
    assert_eq!(found[0]["value"][1], "31");
    assert_eq!(daemon.query("count({__name__!=\"good\",__name__=~\".+\"})"), Vec::<serde_json::Value>::new());
    let grown = peak_bytes(daemon.pid()).saturating_sub(before);
    // A body costs at most twice the limit; as much again, because the allocator keeps what the body before it freed.
    assert!(grown < 4 * LIMIT, "{} MiB for bodies of at most 64 MiB", grown >> 20);
}

#[test]
fn a_body_that_never_comes_holds_nobody_up() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut stream = std::net::TcpStream::connect(daemon.main).unwrap();
        let head = format!("POST {WRITE} HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        idle.push(stream);
    }
    let good = snappy(&written(vec![label("__name__", "good")], Clock::real().now()));
    assert_eq!(daemon.post(WRITE, SNAPPY, &good).status, 204);
    let refused = http::request(daemon.main, &format!("POST {WRITE} HTTP/1.1\r\nExpect: 100-continue\r\n"), b"");
    assert_eq!(refused.status, 400, "an empty body is no snappy block");
    assert!(peak_bytes(daemon.pid()) < 200 << 20);
}
