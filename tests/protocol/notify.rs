//! What goes beyond Alertmanager, from outside: silences that come again, incidents by the service graph, gRPC, and what
//! pages of other sites may not do.

use novascope::base::clock::Clock;
use novascope::proto::novascope::v1 as wire;
use rustix::process::Signal;
use serde_json::{Value, json};
use tonic::client::Grpc;
use tonic::transport::Channel;

use crate::daemon::{Daemon, WAIT_MAX, data_folder};
use crate::http;

const JSON: (&str, &str) = ("content-type", "application/json");

fn post(daemon: &Daemon, path: &str, body: &Value) -> http::Answer {
    daemon.post(path, &[JSON], body.to_string().as_bytes())
}

fn fire(daemon: &Daemon, alerts: &Value) {
    let answer = post(daemon, "/api/v2/alerts", alerts);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Asks until the answer is as wanted.
fn until(what: &str, mut ask: impl FnMut() -> Option<Value>) -> Value {
    let clock = Clock::real();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(clock.monotonic() < WAIT_MAX, "not in time: {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_silence_comes_again_and_survives_a_restart() {
    let (_folder, data) = data_folder();
    let mut daemon = Daemon::start(&data, &["--self", "off"]);
    let all_day = json!([{"times": [{"start_time": "00:00", "end_time": "24:00"}], "location": "Europe/Berlin"}]);
    let mut asked = json!({"matchers": ["job=vm"], "createdBy": "ada", "comment": "backup", "time_intervals": all_day});
    let answer = post(&daemon, "/alerts/silences/recurring", &asked);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    fire(&daemon, &json!([{"labels": {"alertname": "Down", "job": "vm"}}]));
    let silenced = |daemon: &Daemon| daemon.get("/api/v2/alerts").json()[0]["status"]["silencedBy"][0].clone();
    let silence = silenced(&daemon);
    let active = daemon.get("/api/v2/silences?expired=false").json();
    assert_eq!((&active[0]["id"], &active[0]["status"]["state"]), (&silence, &json!("active")));
    assert_eq!(active[0]["createdBy"], "ada");
    daemon.signal(Signal::KILL);
    daemon.wait();

    let mut daemon = Daemon::start(&data, &["--self", "off"]);
    let known = daemon.get(&format!("/alerts/silences/recurring/{id}")).json();
    assert_eq!((&known["active"], &known["silenceID"], &known["comment"]), (&json!(true), &silence, &json!("backup")));
    assert_eq!(silenced(&daemon), silence);
    assert_eq!(daemon.get("/api/v2/silences").json().as_array().unwrap().len(), 1);
    // Changed to a window that does not hold, its silence is over.
    asked["id"] = json!(id);
    asked["time_intervals"] = json!([{"years": ["1999"]}]);
    assert_eq!(post(&daemon, "/alerts/silences/recurring", &asked).status, 200);
    assert_eq!(silenced(&daemon), Value::Null);
    let listed = daemon.get("/alerts/silences/recurring").json();
    assert_eq!((&listed["total"], &listed["silences"][0]["active"]), (&json!(1), &json!(false)));
    let gone = http::request(daemon.main, &format!("DELETE /alerts/silences/recurring/{id} HTTP/1.1\r\n"), b"");
    assert_eq!(gone.status, 200, "{}", gone.text());
    daemon.signal(Signal::TERM);
    daemon.wait();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    assert_eq!(daemon.get("/alerts/silences/recurring").json()["total"], 0);
    let wrong =
        post(&daemon, "/alerts/silences/recurring", &json!({"matchers": ["a=b"], "createdBy": "x", "weekday": 1}));
    assert!(wrong.status == 400 && wrong.text().contains("weekday"), "{}", wrong.text());
}

#[test]
fn services_that_call_each_other_share_an_incident() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let graph = "traces_service_graph_request_total{client=\"web\",server=\"db\"} 5\n";
    let sent = daemon.post("/api/v1/import/prometheus", &[("content-type", "text/plain")], graph.as_bytes());
    assert!(sent.status < 300, "{}", sent.text());
    // The graph is read every few seconds; until then each service is an incident of its own.
    let mut round = 0;
    let shared = until("one incident", || {
        round += 1;
        let name = format!("R{round}");
        fire(
            &daemon,
            &json!([{"labels": {"alertname": name, "service": "web", "round": round.to_string()}},
                    {"labels": {"alertname": name, "service": "db", "round": round.to_string()}}]),
        );
        let incidents = daemon.get("/alerts/incidents").json();
        let found = incidents["incidents"].as_array()?.iter().find(|one| {
            let title = one["title"].as_str().unwrap_or("");
            title.contains(&format!("{name} ×2"))
        });
        found.cloned()
    });
    assert!(shared["firing"].as_u64().unwrap() >= 2, "{shared}");
}

#[test]
fn pages_of_other_sites_read_alerts_and_change_nothing() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let evil = [JSON, ("origin", "http://evil.example")];
    let alerts = json!([{"labels": {"alertname": "A"}}]).to_string();
    let paths = [
        "/api/v2/alerts",
        "/api/v2/silences",
        "/alerts/acknowledge",
        "/alerts/silences/recurring",
        "/config/v1/rules/a",
        "/-/reload",
        "/api/v1/status/active_queries/kill?id=1",
    ];
    for path in paths {
        let answer = daemon.post(path, &evil, alerts.as_bytes());
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
    let deleted = "DELETE /config/v1/rules/a HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(http::request(daemon.main, deleted, b"").status, 403);
    assert_eq!(daemon.post("/api/v2/alerts", &[JSON], alerts.as_bytes()).status, 200);
    // No query has this id, and no file is configured: both were asked.
    assert_eq!(daemon.post("/api/v1/status/active_queries/kill?id=1", &[], b"").status, 404);
    assert_eq!(daemon.post("/-/reload", &[], b"").status, 200);
    let reading = "GET /api/v2/alerts HTTP/1.1\r\nOrigin: http://evil.example\r\n";
    let answer = http::request(daemon.main, reading, b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    let query = "POST /api/v1/query?query=1 HTTP/1.1\r\nOrigin: http://grafana.example\r\n";
    assert_eq!(http::request(daemon.main, query, b"").status, 200);
}

/// One unary call by tonic's client.
async fn call<Q, A>(channel: &Channel, method: &str, asked: Q) -> Result<A, tonic::Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = format!("/novascope.v1.AlertService/{method}").parse().unwrap();
    let answer = client.unary(tonic::Request::new(asked), path, tonic_prost::ProstCodec::default()).await;
    answer.map(tonic::Response::into_inner)
}

#[test]
fn a_grpc_client_lists_and_acknowledges() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let named = |name: &str| json!({"labels": {"alertname": name, "team": "db"}, "annotations": {"summary": "s"}});
    fire(&daemon, &json!([named("A"), named("B")]));
    let silence = json!({"matchers": [{"name": "alertname", "value": "B"}], "createdBy": "x", "comment": "c",
                         "endsAt": "2099-01-01T00:00:00Z"});
    assert_eq!(post(&daemon, "/api/v2/silences", &silence).status, 200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Channel::from_shared(format!("http://{}", daemon.main)).unwrap().connect().await.unwrap();
        let list = |filter: &str, acknowledged| wire::ListAlertsRequest {
            filter: vec![filter.to_owned()],
            acknowledged,
            ..wire::ListAlertsRequest::default()
        };
        let all: wire::ListAlertsResponse = call(&channel, "List", list("team=db", None)).await.unwrap();
        assert_eq!((all.total, all.alerts.len()), (2, 2));
        let silenced = all.alerts.iter().filter(|one| !one.silenced_by.is_empty()).collect::<Vec<_>>();
        assert_eq!((silenced.len(), silenced[0].labels["alertname"].as_str()), (1, "B"));
        let asked = wire::AcknowledgeRequest {
            matchers: vec!["alertname=A".to_owned()],
            by: "ada".to_owned(),
            comment: "on it".to_owned(),
            for_seconds: 600,
            ..wire::AcknowledgeRequest::default()
        };
        let done: wire::AcknowledgeResponse = call(&channel, "Acknowledge", asked.clone()).await.unwrap();
        assert_eq!(done.fingerprints.len(), 1);
        let seen: wire::ListAlertsResponse = call(&channel, "List", list("team=db", Some(true))).await.unwrap();
        let acknowledgement = seen.alerts[0].acknowledgement.clone().unwrap();
        assert_eq!(
            (seen.total, acknowledgement.by.as_str(), acknowledgement.until_unix_ms),
            (1, "ada", done.until_unix_ms)
        );
        let nobody = wire::AcknowledgeRequest { by: String::new(), ..asked };
        let refused = call::<_, wire::AcknowledgeResponse>(&channel, "Acknowledge", nobody).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
        let wrong = call::<_, wire::ListAlertsResponse>(&channel, "List", list("a=~(", None)).await.unwrap_err();
        assert_eq!(wrong.code(), tonic::Code::InvalidArgument, "{wrong}");
    });
}

#[test]
fn a_grpc_client_watches_and_silences() {
    let (_folder, data) = data_folder();
    let daemon = Daemon::start(&data, &["--self", "off"]);
    let named = |name: &str| json!([{"labels": {"alertname": name, "team": "db"}}]);
    fire(&daemon, &named("Old"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Channel::from_shared(format!("http://{}", daemon.main)).unwrap().connect().await.unwrap();
        let mut client = Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let asked = wire::WatchRequest { filter: vec!["team=db".to_owned()] };
        let path = "/novascope.v1.AlertService/Watch".parse().unwrap();
        let codec = tonic_prost::ProstCodec::<wire::WatchRequest, wire::WatchResponse>::default();
        let mut seen = client.server_streaming(tonic::Request::new(asked), path, codec).await.unwrap().into_inner();
        let mut next = async || {
            let message = tokio::time::timeout(WAIT_MAX, seen.message()).await;
            message.expect("a message in time").unwrap().expect("the stream goes on")
        };
        let first = next().await;
        assert_eq!((first.total, first.alerts[0].labels["alertname"].as_str()), (1, "Old"));
        let asked = wire::SilenceRequest {
            matchers: vec!["alertname=New".to_owned()],
            by: "ada".to_owned(),
            comment: "known".to_owned(),
            for_seconds: 600,
            ..wire::SilenceRequest::default()
        };
        let silence: wire::SilenceResponse = call(&channel, "Silence", asked.clone()).await.unwrap();
        fire(&daemon, &json!([{"labels": {"alertname": "Other", "team": "web"}}]));
        fire(&daemon, &named("New"));
        let second = next().await;
        let event = second.event.unwrap();
        assert_eq!((event.kind.as_str(), event.labels["alertname"].as_str()), ("fired", "New"));
        assert_eq!(second.alert.unwrap().silenced_by, [silence.id]);
        let endless = wire::SilenceRequest { for_seconds: 0, ..asked };
        let refused = call::<_, wire::SilenceResponse>(&channel, "Silence", endless).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    });
}
