//! What was acknowledged is there: at once, and after a crash.

use novascope::base::clock::Clock;
use novascope::proto::prometheus::{Label, Sample, TimeSeries, WriteRequest};
use prost::Message as _;
use rustix::process::Signal;

use crate::daemon::{Daemon, data_folder};

const HEADERS: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

pub(crate) fn body(series: u32, time: i64, value: f64) -> Vec<u8> {
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let timeseries = (0..series)
        .map(|n| TimeSeries {
            labels: vec![label("__name__", "sent".to_owned()), label("n", n.to_string())],
            samples: vec![Sample { value: value + f64::from(n), timestamp: time }],
            ..TimeSeries::default()
        })
        .collect();
    let request = WriteRequest { timeseries, ..WriteRequest::default() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

#[track_caller]
pub(crate) fn send(daemon: &Daemon, body: &[u8]) {
    let answer = daemon.post("/api/v1/write", &HEADERS, body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[test]
fn an_acknowledged_sample_is_queryable_at_once() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    send(&daemon, &body(100, Clock::real().now(), 1.0));
    let result = daemon.query("sum(sent)");
    assert_eq!(result[0]["value"][1], "5050");
}

#[test]
fn an_acknowledged_sample_survives_a_kill() {
    let (_folder, data) = data_folder();
    let mut daemon = Daemon::start(&data, &["--self", "off"]);
    let now = Clock::real().now();
    for back in (0..20).rev() {
        send(&daemon, &body(50, now - back * 1_000, back as f64));
    }
    daemon.signal(Signal::KILL);
    daemon.wait();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    assert_eq!(daemon.query("sum(count_over_time(sent[1m]))")[0]["value"][1], "1000");
    assert_eq!(daemon.query("sum(sent)")[0]["value"][1], "1225");
}

#[test]
fn a_start_says_what_it_read_and_how_durable_samples_are() {
    let (_folder, data) = data_folder();
    let mut daemon = Daemon::start(&data, &["--self", "off"]);
    send(&daemon, &body(50, Clock::real().now(), 1.0));
    daemon.signal(Signal::KILL);
    daemon.wait();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    assert_eq!(daemon.get("/-/ready").status, 200);
    let replay = daemon.get("/api/v1/status/walreplay").json()["data"].clone();
    assert_eq!((&replay["state"], &replay["percent"]), (&"done".into(), &100.into()), "{replay}");
    assert_eq!(replay["bytesRead"], replay["bytesTotal"]);
    assert!(replay["bytesTotal"].as_u64().unwrap() > 100 && replay["current"] == replay["max"], "{replay}");
    assert_eq!(daemon.get("/api/v1/status/runtimeinfo").json()["data"]["durability"], "sync");
    let metrics = daemon.get("/metrics").text();
    for line in
        ["novascope_store_durability{mode=\"sync\"} 1", "novascope_replay_done 1", "novascope_store_read_only 0"]
    {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[test]
fn a_sender_over_its_rate_is_told_to_wait() {
    let (folder, data) = data_folder();
    let file = folder.path().join("prometheus.yml");
    let limits = "{sender_samples_per_second: 10, sender_burst: 20}";
    std::fs::write(&file, format!("novascope: {{receive: {limits}, store: {{series_new_per_minute_max: 30}}}}\n"))
        .unwrap();
    let daemon = Daemon::start(&data, &["--self", "off", "--config.file", file.to_str().unwrap()]);
    let answer = daemon.post("/api/v1/write", &HEADERS, &body(40, Clock::real().now(), 1.0));
    assert_eq!((answer.status, answer.header("Retry-After").is_some()), (429, true), "{}", answer.text());
    assert!(answer.text().contains("series_rate_limit: 10"), "{}", answer.text());
    assert_eq!(daemon.query("count(sent)")[0]["value"][1], "30", "what is within the limit is stored");
    let answer = daemon.post("/api/v1/write", &HEADERS, &body(1, Clock::real().now(), 1.0));
    assert_eq!(answer.status, 429, "{}", answer.text());
    let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait) && answer.text().contains("samples a second from this sender"), "{wait}");
    assert_eq!(daemon.post("/api/v1/otlp/v1/metrics", &[], b"").status, 429, "whatever its protocol");
}

#[test]
fn samples_of_1970_are_kept_where_everything_is_kept() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off", "--retention", "off"]);
    send(&daemon, &body(1, 4_000, 7.0));
    let answer = daemon.get("/api/v1/query?query=sent&time=4").json();
    assert_eq!(answer["data"]["result"][0]["value"][1], "7");
}
