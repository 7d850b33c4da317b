//! Long queries: they are listed, killed, and end when their client leaves.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use novascope::base::clock::Clock;
use novascope::proto::prometheus::{Label, Sample, TimeSeries, WriteRequest};
use prost::Message as _;
use serde_json::Value;

use crate::daemon::{Daemon, WAIT_MAX, data_folder};
use crate::http;

const HEADERS: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

/// Takes minutes, and holds little.
const LONG: &str = "sum(max_over_time(quantile_over_time(0.9, long[10m])[20m:1s]))";

fn start(data: &std::path::Path) -> Daemon {
    let daemon = Daemon::start(data, &["--self", "off"]);
    let now = Clock::real().now();
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let timeseries = (0..200)
        .map(|n| TimeSeries {
            labels: vec![label("__name__", "long".to_owned()), label("n", n.to_string())],
            samples: (0..1_800_i64)
                .map(|k| Sample { value: ((k * 7_919 + n) % 1_009) as f64, timestamp: now - (1_800 - k) * 1_000 })
                .collect(),
            ..TimeSeries::default()
        })
        .collect();
    let request = WriteRequest { timeseries, ..WriteRequest::default() };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let answer = daemon.post("/api/v1/write", &HEADERS, &body);
    assert_eq!(answer.status, 204, "{}", answer.text());
    daemon
}

/// Sends a long query and does not wait for its answer.
fn send(daemon: &Daemon) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.main).unwrap();
    let path = format!("/api/v1/query_range?query={}&start={}&end={}&step=1", http::escape(LONG), start_of(), end_of());
    let head = "Host: x\r\nX-Dashboard-Uid: board\r\nX-Panel-Id: 7\r\n\r\n";
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{head}").as_bytes()).unwrap();
    stream
}

fn end_of() -> i64 {
    Clock::real().now() / 1000
}

fn start_of() -> i64 {
    end_of() - 300
}

fn active(daemon: &Daemon) -> Vec<Value> {
    daemon.get("/api/v1/status/active_queries").json()["data"].as_array().unwrap().clone()
}

/// Asks until it holds, and gives how long that took.
fn until(what: &str, holds: impl Fn() -> bool) -> Duration {
    let clock = Clock::real();
    while !holds() {
        assert!(clock.monotonic() < WAIT_MAX, "never: {what}");
        // A pause between questions, not a guess at how long something takes.
        std::thread::park_timeout(Duration::from_millis(2));
    }
    clock.monotonic()
}

/// Threads that evaluate.
fn evaluating(daemon: &Daemon) -> bool {
    let text = daemon.get("/metrics").text();
    let line =
        text.lines().find(|line| line.starts_with("novascope_tasks{kind=\"query\"}")).expect("tasks are counted");
    !line.ends_with(" 0")
}

#[test]
fn a_client_that_leaves_takes_its_query_with_it() {
    let (_folder, data) = data_folder();
    let daemon = start(&data);
    let client = send(&daemon);
    until("a query runs", || active(&daemon).len() == 1 && evaluating(&daemon));
    drop(client);
    let took = until("the query has ended", || active(&daemon).is_empty() && !evaluating(&daemon));
    println!("ended {took:?} after its client left");
    // 0.1 s in a release build on a quiet machine; this one is neither.
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_long_query_is_listed_with_its_panel_and_killed() {
    let (_folder, data) = data_folder();
    let daemon = start(&data);
    let client = send(&daemon);
    until("a query runs", || active(&daemon).len() == 1);
    let listed = &active(&daemon)[0];
    assert_eq!((&listed["query"], &listed["step"]), (&Value::from(LONG), &Value::from(1_000)));
    assert_eq!(listed["origin"], serde_json::json!({"dashboard": "board", "panel": "7"}));
    // What costs nothing is answered meanwhile.
    assert_eq!(daemon.get("/api/v1/query?query=1").status, 200);
    let id = listed["id"].as_u64().unwrap();
    let path = format!("/api/v1/status/active_queries/kill?id={id}");
    assert_eq!(daemon.post(&path, &[], b"").status, 200);
    until("the query has ended", || active(&daemon).is_empty());
    let top = daemon.get("/api/v1/status/top_queries?topN=5").json();
    assert_eq!(top["data"]["topBySumDuration"][0]["query"], LONG);
    assert_eq!(top["data"]["topBySumDuration"][0]["failed"], 1);
    assert_eq!(daemon.post(&path, &[], b"").status, 404);
    drop(client);
}
