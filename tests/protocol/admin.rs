//! Deleting, cleaning, flushing and snapshots over HTTP.

use std::path::Path;

use novascope::base::clock::Clock;
use rustix::process::Signal;
use serde_json::json;

use crate::daemon::{Daemon, data_folder};
use crate::remote_write::{body, send};

const SILENT: [&str; 2] = ["--self", "off"];

fn fill(daemon: &Daemon, seconds: i64) -> i64 {
    // Some seconds ago, so that a test can go on from there and still ask for the past.
    let now = Clock::real().now() / 1_000 * 1_000 - 10_000;
    (0..seconds).rev().for_each(|back| send(daemon, &body(3, now - back * 1_000, (now / 1_000 - back) as f64)));
    now
}

fn count(daemon: &Daemon, selector: &str) -> String {
    let found = daemon.query(&format!("sum(count_over_time({selector}[1h]))"));
    found.first().map_or_else(String::new, |row| row["value"][1].as_str().unwrap().to_owned())
}

#[track_caller]
fn post(daemon: &Daemon, path: &str, status: u16) -> crate::http::Answer {
    let answer = daemon.post(path, &[], b"");
    assert_eq!(answer.status, status, "{path}: {}", answer.text());
    answer
}

#[test]
fn deleted_series_are_gone_at_once_and_after_a_kill() {
    let (_folder, data) = data_folder();
    let mut daemon = Daemon::start(&data, &SILENT);
    let now = fill(&daemon, 60) / 1_000;
    post(&daemon, "/api/v1/admin/tsdb/flush", 200);
    // Ten seconds of all, and everything of one.
    let (start, end) = (now - 29, now - 20);
    post(&daemon, &format!("/api/v1/admin/tsdb/delete_series?match[]=sent&start={start}&end={end}"), 204);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = daemon.post("/api/v1/admin/tsdb/delete_series", &form, b"match[]=sent%7Bn%3D%222%22%7D");
    assert_eq!(answer.status, 204, "{}", answer.text());
    let check = |daemon: &Daemon| {
        assert_eq!(count(daemon, "sent"), "100");
        assert_eq!(daemon.get("/api/v1/label/n/values").json()["data"], json!(["0", "1"]));
        assert_eq!(daemon.get("/api/v1/series?match[]=sent").json()["data"].as_array().unwrap().len(), 2);
    };
    check(&daemon);
    daemon.signal(Signal::KILL);
    daemon.wait();
    let daemon = Daemon::start(&data, &SILENT);
    check(&daemon);
    post(&daemon, "/api/v1/admin/tsdb/clean_tombstones", 204);
    check(&daemon);
    // What comes later is seen, also inside the range.
    send(&daemon, &body(1, (now - 25) * 1_000, 7.0));
    assert_eq!(count(&daemon, "sent"), "101");
}

#[test]
fn a_deletion_says_what_is_wrong_with_it() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &SILENT);
    let path = "/api/v1/admin/tsdb/delete_series";
    assert_eq!(post(&daemon, path, 400).json()["error"], "no match[] parameter provided");
    assert_eq!(post(&daemon, &format!("{path}?match[]=up&start=x"), 400).json()["errorType"], "bad_data");
    assert_eq!(post(&daemon, &format!("{path}?match[]=%7B"), 400).json()["errorType"], "bad_data");
    assert_eq!(post(&daemon, &format!("{path}?match[]=absent"), 204).body, b"");
    assert_eq!(daemon.get(path).status, 405);
    let foreign = daemon.post(&format!("{path}?match[]=up"), &[("Origin", "http://evil.example")], b"");
    assert_eq!(foreign.status, 403);
    assert_eq!(post(&daemon, "/api/v1/admin/tsdb/snapshot?skip_head=maybe", 400).json()["errorType"], "bad_data");
}

#[test]
fn the_admin_api_can_be_closed() {
    let (folder, data) = data_folder();
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, "novascope: {listen: {admin_api: off}}\n").unwrap();
    let arguments = ["--self", "off", "--config.file", file.to_str().unwrap()];
    let daemon = Daemon::start(&data, &arguments);
    let answer = post(&daemon, "/api/v1/admin/tsdb/delete_series?match[]=up", 503);
    assert_eq!(answer.json()["error"], "admin APIs disabled");
}

#[test]
fn a_flush_leaves_one_block_of_a_window_and_next_to_no_log() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &SILENT);
    for _ in 0..2 {
        fill(&daemon, 30);
        let done = post(&daemon, "/api/v1/admin/tsdb/flush", 200).json()["data"].clone();
        assert!(done["blocks"].as_u64().unwrap() <= 2, "{done}");
        assert_eq!(done["walBytes"], 0);
    }
    assert_ne!(count(&daemon, "sent"), "");
    assert_eq!(daemon.get("/internal/force_flush").status, 200);
}

fn start_copy(folder: &Path) -> Daemon {
    Daemon::start(folder, &SILENT)
}

#[test]
fn a_snapshot_is_a_data_folder_of_the_moment() {
    let (folder, data) = data_folder();
    let daemon = Daemon::start(&data, &SILENT);
    let now = fill(&daemon, 20);
    post(&daemon, "/api/v1/admin/tsdb/flush", 200);
    send(&daemon, &body(3, now + 1_000, 5.0));
    let name = |answer: &crate::http::Answer| answer.json()["data"]["name"].as_str().unwrap().to_owned();
    let whole = name(&post(&daemon, "/api/v1/admin/tsdb/snapshot", 200));
    let blocks = name(&post(&daemon, "/api/v1/admin/tsdb/snapshot?skip_head=true", 200));
    send(&daemon, &body(3, now + 2_000, 6.0));
    post(&daemon, "/api/v1/admin/tsdb/delete_series?match[]=sent", 204);
    post(&daemon, "/api/v1/admin/tsdb/clean_tombstones", 204);
    assert_eq!(count(&daemon, "sent"), "");
    let snapshots = data.join("snapshots");
    let restored = folder.path().join("restored");
    let source = snapshots.join(&whole);
    let arguments = ["restore", source.to_str().unwrap(), "--data", restored.to_str().unwrap()];
    let ended = crate::daemon::run_command(&arguments);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let again = crate::daemon::run_command(&arguments);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
    assert_eq!(count(&start_copy(&restored), "sent"), "63");
    assert_eq!(count(&start_copy(&snapshots.join(&blocks)), "sent"), "60");
}
