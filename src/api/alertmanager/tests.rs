//! Requests as amtool and Grafana send them.

use axum::body::to_bytes;
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::drain::Drain;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::base::yaml;
use crate::notify::notifier::{Loaded, Parts};

struct Fixture {
    router: Router,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, _) = Clock::simulated(1_700_000_000_000);
        let text = "{route: {receiver: team, group_by: [alertname]}, receivers: [{name: team}]}".to_owned();
        let parts = Parts {
            clock,
            rng: Rng::from_seed(1),
            disk: Disk::real(),
            tasks: Tasks::default(),
            drain: Drain::default(),
            folder: folder.path().to_owned(),
            external_url: "http://nova".to_owned(),
        };
        let config = yaml::read_plain("am.yml", &text).unwrap();
        let notifier = Notifier::open(parts, &Loaded { config, ..Loaded::default() }).unwrap();
        let reload = Box::new(|| -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
            Box::pin(async { Ok(()) })
        });
        let instance = Arc::new(Instance::new(1_700_000_000_000, String::new(), reload));
        Self { router: routes(Alertmanager { notifier, instance }), _folder: folder }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

#[tokio::test]
async fn alerts_are_taken_listed_silenced_and_grouped() {
    let api = Fixture::new();
    let alerts = json!([
        {"labels": {"alertname": "Down", "job": "vm"}, "annotations": {"summary": "s"}, "generatorURL": "http://g"},
        {"labels": {"alertname": "Slow", "job": "web"}, "endsAt": "2099-01-01T00:00:00Z"}
    ]);
    assert_eq!(api.ask("POST", "/api/v2/alerts", alerts).await.0, 200);
    let (_, listed) = api.ask("GET", "/api/v2/alerts?filter=alertname%3D%22Down%22", Value::Null).await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["labels"], json!({"alertname": "Down", "job": "vm"}));
    assert_eq!(listed[0]["status"]["state"], "active");
    assert_eq!(listed[0]["receivers"], json!([{"name": "team"}]));
    assert_eq!(listed[0]["endsAt"], "2023-11-14T22:18:20.000Z");

    let silence = json!({
        "matchers": [{"name": "job", "value": "v.*", "isRegex": true}],
        "startsAt": "2023-11-14T22:13:20Z", "endsAt": "2023-11-15T00:00:00Z", "createdBy": "me", "comment": "c"
    });
    let (status, answer) = api.ask("POST", "/api/v2/silences", silence).await;
    assert_eq!(status, 200);
    let id = answer["silenceID"].as_str().unwrap().to_owned();
    let (_, listed) = api.ask("GET", "/api/v2/alerts?active=false", Value::Null).await;
    assert_eq!(listed[0]["status"]["silencedBy"], json!([id]));
    assert_eq!(listed[0]["status"]["state"], "suppressed");
    let (_, groups) = api.ask("GET", "/api/v2/alerts/groups?silenced=false", Value::Null).await;
    assert_eq!(groups.as_array().unwrap().len(), 1);
    assert_eq!(groups[0]["labels"], json!({"alertname": "Slow"}));

    let (_, silences) = api.ask("GET", "/api/v2/silences?filter=job%3D%22v.*%22", Value::Null).await;
    assert_eq!(silences[0]["matchers"][0], json!({"isEqual": true, "isRegex": true, "name": "job", "value": "v.*"}));
    assert_eq!(api.ask("DELETE", &format!("/api/v2/silence/{id}"), Value::Null).await.0, 200);
    let (_, one) = api.ask("GET", &format!("/api/v2/silence/{id}"), Value::Null).await;
    assert_eq!(one["status"]["state"], "expired");
}

#[tokio::test]
async fn what_is_wrong_is_said_as_a_string() {
    let api = Fixture::new();
    let (status, answer) = api.ask("POST", "/api/v2/alerts", json!([{"labels": {}}])).await;
    assert_eq!((status, answer), (400, json!("at least one label pair required")));
    assert_eq!(api.ask("GET", "/api/v2/silence/nothing", Value::Null).await.0, 404);
    let (status, answer) = api.ask("GET", "/api/v2/alerts?filter=x", Value::Null).await;
    assert_eq!((status, answer), (400, json!("bad matcher format: x")));
    let (status, _) =
        api.ask("POST", "/api/v2/silences", json!({"matchers": [], "endsAt": "2099-01-01T00:00:00Z"})).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn an_alert_is_acknowledged_and_taken_back() {
    let api = Fixture::new();
    api.ask("POST", "/api/v2/alerts", json!([{"labels": {"alertname": "Down"}}])).await;
    let request = json!({"matchers": ["alertname=Down"], "by": "ada", "comment": "on it"});
    let (status, answer) = api.ask("POST", "/alerts/acknowledge", request.clone()).await;
    assert_eq!((status, &answer["acknowledged"]), (200, &json!(1)));
    let (_, listed) = api.ask("GET", "/alerts?acknowledged=true", Value::Null).await;
    assert_eq!((&listed["total"], &listed["alerts"][0]["acknowledgement"]["by"]), (&json!(1), &json!("ada")));
    api.ask("DELETE", "/alerts/acknowledge", request).await;
    let (_, listed) = api.ask("GET", "/alerts?acknowledged=true", Value::Null).await;
    assert_eq!(listed["total"], json!(0));
    assert_eq!(api.ask("POST", "/alerts/acknowledge", json!({"by": "x", "matchers": ["a=b"]})).await.0, 404);
    let (status, sent) = api.ask("GET", "/alerts/notifications", Value::Null).await;
    assert_eq!((status, &sent["notifications"]), (200, &json!([])));
    let (_, status) = api.ask("GET", "/api/v2/status", Value::Null).await;
    assert!(status["config"]["original"].as_str().unwrap().contains("receiver: team"));
    let (_, events) = api.ask("GET", "/alerts/history?kind=acknowledged&alertname=Down", Value::Null).await;
    assert_eq!((&events["total"], &events["events"][0]["by"]), (&json!(1), &json!("ada")));
    let (_, incidents) = api.ask("GET", "/alerts/incidents/1", Value::Null).await;
    assert_eq!(incidents["timeline"].as_array().unwrap().len(), 3, "{incidents}");
    let (_, rules) = api.ask("GET", "/alerts/fatigue", Value::Null).await;
    assert_eq!(rules["rules"][0]["alertname"], "Down");
}

/// Long lists are written in pieces.
#[tokio::test]
async fn a_long_list_is_whole() {
    let api = Fixture::new();
    let total = ROWS_AT_ONCE * 2 + 3;
    let one = |number: usize| json!({"labels": {"alertname": format!("A{}", number % 2), "n": number.to_string()}});
    let alerts: Vec<Value> = (0..total).map(one).collect();
    assert_eq!(api.ask("POST", "/api/v2/alerts", json!(alerts)).await.0, 200);
    let (_, listed) = api.ask("GET", "/api/v2/alerts", Value::Null).await;
    assert_eq!(listed.as_array().unwrap().len(), total);
    let (_, groups) = api.ask("GET", "/api/v2/alerts/groups", Value::Null).await;
    let sizes: Vec<_> = groups.as_array().unwrap().iter().map(|one| one["alerts"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [total - total / 2, total / 2]);
    assert_eq!(groups[1]["labels"], json!({"alertname": "A1"}));
    assert_eq!(groups[0]["receiver"], json!({"name": "team"}));
    let (_, none) = api.ask("GET", "/api/v2/alerts?filter=n%3Dnone", Value::Null).await;
    assert_eq!(none, json!([]));
}
