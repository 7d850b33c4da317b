//! What it tells of itself and of its host.

use std::fs;
use std::time::Duration;

use novascope::base::clock::Clock;

use crate::daemon::{Daemon, data_folder};

#[test]
fn it_scrapes_itself_and_its_host_from_the_first_second() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &[]);
    let own = daemon.query_until_found("process_resident_memory_bytes{job=\"novascope\"}");
    assert_eq!(own[0]["metric"]["instance"], daemon.main.to_string());
    assert_eq!(daemon.query_until_found("up{job=\"node\"} == 1").len(), 1);
    assert_eq!(daemon.query_until_found("count(node_cpu_seconds_total{mode=\"idle\"})").len(), 1);
    // Two rounds give a rate; samples sit on whole seconds.
    daemon.query_until_found("rate(novascope_store_samples_total{kind=\"float\"}[5s]) > 0");
    let time = daemon.query("timestamp(up{job=\"node\"}) % 1 == 0");
    assert_eq!(time.len(), 1);
}

#[test]
fn it_can_be_told_to_be_silent_about_itself() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    assert_eq!(daemon.get("/api/v1/labels").json()["data"], serde_json::json!([]));
}

#[test]
fn its_metrics_are_text_or_openmetrics_as_asked() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let text = daemon.get("/metrics");
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(text.text().contains("\nnovascope_build_info{version=\"") && text.text().contains("\nprocess_open_fds "));
    let start = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n";
    let open = crate::http::request(daemon.main, start, b"");
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(open.text().ends_with("# EOF\n"));
}

#[test]
fn it_stays_small() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &[]);
    daemon.query_until_found("count_over_time(up{job=\"node\"}[1m]) >= 3");
    // The promise is 25 MB ten seconds after the start of a release build. A debug build's code alone is larger, so there
    // only what it allocates counts, and the crates' own debug checks get some room.
    let (field, limit) = if cfg!(debug_assertions) { ("RssAnon:", 40 << 10) } else { ("VmRSS:", 25 << 10) };
    let resident = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let clock = Clock::real();
    while resident() >= limit {
        assert!(clock.monotonic() < Duration::from_secs(15), "{} kB resident", resident());
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
