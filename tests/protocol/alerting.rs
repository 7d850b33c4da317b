//! From a sample to the webhook, in one process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use novascope::base::clock::Clock;
use serde_json::{Value, json};

use crate::daemon::{Daemon, WAIT_MAX};

/// Takes posted bodies on a port of its own until nobody listens to it any more.
fn webhook() -> (u16, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, received) = channel();
    std::thread::Builder::new()
        .spawn(move || {
            for stream in listener.incoming() {
                if sender.send(take(stream.unwrap())).is_err() {
                    break;
                }
            }
        })
        .unwrap();
    (port, received)
}

fn take(mut stream: TcpStream) -> Value {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn a_bad_sample_reaches_the_webhook_and_its_end_too() {
    let folder = tempfile::tempdir().unwrap();
    let (port, received) = webhook();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("prometheus.yml", "global: {external_labels: {site: lab}}\nrule_files: [rules.yml]\n");
    write(
        "rules.yml",
        "groups: [{name: g, interval: 200ms, rules: [{alert: Hot, expr: temperature > 30, labels: {severity: page}, \
         annotations: {summary: '{{ $labels.room }} has {{ $value }} degrees'}}]}]\n",
    );
    write(
        "alertmanager.yml",
        &format!(
            "route: {{receiver: hook, group_wait: 0s, group_interval: 1s}}\n\
             receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:{port}/'}}]}}]\n"
        ),
    );
    let path = |name: &str| folder.path().join(name).display().to_string();
    let daemon = Daemon::start(
        &folder.path().join("data"),
        &[
            "--self",
            "off",
            "--dedup-interval",
            "0",
            "--config.file",
            &path("prometheus.yml"),
            "--alertmanager.config-file",
            &path("alertmanager.yml"),
        ],
    );
    let send = |value: &str| {
        let body = format!("temperature{{room=\"kitchen\"}} {value}\n");
        let answer = daemon.post("/api/v1/import/prometheus", &[("content-type", "text/plain")], body.as_bytes());
        assert!(answer.status < 300, "{}", answer.text());
    };
    send("35");
    let firing = received.recv_timeout(WAIT_MAX).unwrap();
    assert_eq!(firing["status"], "firing");
    let alert = &firing["alerts"][0];
    assert_eq!(alert["labels"], json!({"alertname": "Hot", "room": "kitchen", "severity": "page", "site": "lab"}));
    assert_eq!(alert["annotations"]["summary"], "kitchen has 35 degrees");

    let listed = daemon.get("/api/v2/alerts?filter=alertname%3DHot").json();
    assert_eq!(listed[0]["labels"]["room"], "kitchen");

    send("20");
    let resolved = received.recv_timeout(WAIT_MAX).unwrap();
    assert_eq!(resolved["status"], "resolved");
    // The history is written when the receiver has answered, a moment after it took the body.
    let clock = Clock::real();
    let sent = loop {
        let sent = daemon.get("/alerts/notifications").json()["notifications"].clone();
        if sent.as_array().unwrap().len() == 2 {
            break sent;
        }
        assert!(clock.monotonic() < WAIT_MAX, "{sent}");
        std::thread::park_timeout(Duration::from_millis(20));
    };
    assert!(sent.as_array().unwrap().iter().all(|one| one["error"].is_null()), "{sent}");
}
