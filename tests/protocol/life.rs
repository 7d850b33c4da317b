//! Starting, reloading, stopping.

use std::fs;
use std::net::TcpListener;

use novascope::base::clock::Clock;
use rustix::process::Signal;

use crate::daemon::{Daemon, data_folder, run_to_end};

#[test]
fn a_start_without_arguments_says_in_few_lines_where_everything_is() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &[]);
    assert!(daemon.log.len() <= 12, "{:#?}", daemon.log);
    let text = serde_json::to_string(&daemon.log).unwrap();
    for part in [daemon.main, daemon.otlp_grpc.unwrap(), daemon.otlp_http.unwrap()] {
        assert!(text.contains(&format!("http://{part}")), "{part} is not named");
    }
    assert!(text.contains(&data.canonicalize().unwrap().display().to_string()) && text.contains("Grafana"));
    // 100 ms is the promise for the machine it was made for; a debug build beside other tests gets more.
    let ready = daemon.log.last().unwrap()["ms"].as_u64().unwrap();
    assert!(ready <= 2_000, "{ready} ms");
    assert_eq!(daemon.get("/-/ready").status, 200);
    assert_eq!(daemon.get("/no/such/path").status, 404);
}

#[test]
fn a_taken_port_is_said_with_the_flag_that_changes_it() {
    let (_folder, data) = data_folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run_to_end(&data, &["--listen", &address]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains(&format!("--listen: {address} is taken by another process")), "{}", ended.stderr);
    assert!(!data.exists(), "a start that failed leaves nothing behind");
}

#[test]
fn an_address_for_everybody_needs_a_yes() {
    let (_folder, data) = data_folder();
    let ended = run_to_end(&data, &["--listen", "0.0.0.0:0"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("--listen.beyond-loopback"), "{}", ended.stderr);
}

#[test]
fn a_data_folder_has_one_owner() {
    let (_folder, data) = data_folder();
    let _daemon = Daemon::start(&data, &[]);
    let ended = run_to_end(&data, &["--listen", "127.0.0.1:0"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("in use by another process"), "{}", ended.stderr);
}

#[test]
fn an_unknown_key_is_shown_where_it_stands() {
    let (folder, data) = data_folder();
    let file = folder.path().join("prometheus.yml");
    fs::write(&file, "global:\n  scrape_intervall: 1s\n").unwrap();
    let ended = run_to_end(&data, &["--listen", "127.0.0.1:0", "--config.file", file.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(1));
    let expect = format!(
        "{}:2:3: unknown key \"scrape_intervall\": did you mean \"scrape_interval\"?\n    scrape_intervall: 1s\n    ^",
        file.display()
    );
    assert!(ended.stderr.contains(&expect), "{}", ended.stderr);
}

#[test]
fn a_reload_takes_a_good_file_and_leaves_a_bad_one() {
    let (folder, data) = data_folder();
    let file = folder.path().join("prometheus.yml");
    let write = |label: &str| fs::write(&file, format!("global: {{external_labels: {{replica: {label}}}}}\n")).unwrap();
    write("one");
    let mut daemon = Daemon::start(&data, &["--config.file", file.to_str().unwrap()]);
    let config =
        |daemon: &Daemon| daemon.get("/api/v1/status/config").json()["data"]["yaml"].as_str().unwrap().to_owned();
    assert!(config(&daemon).contains("replica: one"));

    write("two");
    assert_eq!(daemon.post("/-/reload", &[], b"").status, 200);
    daemon.wait_for_log("configuration read again");
    assert!(config(&daemon).contains("replica: two"));

    fs::write(&file, "global: {external_labels: {replica: three}}\nscrape_config: []\n").unwrap();
    let answer = daemon.post("/-/reload", &[], b"");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains(":2:1: unknown key \"scrape_config\""), "{}", answer.text());
    assert!(config(&daemon).contains("replica: two"), "the file before stays in force");

    write("four");
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("configuration read again");
    assert!(config(&daemon).contains("replica: four"));
}

#[test]
fn a_signal_ends_it_in_peace_and_in_time() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_folder, data) = data_folder();
        let mut daemon = Daemon::start(&data, &[]);
        // An idle connection must not hold the end up.
        let _idle = std::net::TcpStream::connect(daemon.main).unwrap();
        let clock = Clock::real();
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0));
        assert!(clock.monotonic().as_secs_f64() < 5.0, "{:?}", clock.monotonic());
    }
}
