//! Messages beside those that the newest Alertmanager sent for the same configuration and alerts; see
//! tests/corpora/alertmanager.

use std::collections::BTreeMap;

use super::*;
use crate::base::yaml;
use crate::model::labels::Labels;
use crate::notify::alert::Alert;
use crate::notify::config::Config;
use crate::notify::dispatch::Dispatcher;
use crate::notify::log::Reason;
use crate::notify::template::tests::set;

const FOLDER: &str = "tests/corpora/alertmanager";

type Requests = BTreeMap<String, Vec<Value>>;

fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn alert(recorded: &Value) -> Alert {
    let instance = recorded["instance"].as_str().unwrap();
    Alert {
        labels: Labels::from_pairs([
            ("alertname", "Down"),
            ("cluster", "eu"),
            ("instance", instance),
            ("job", "vm"),
            ("severity", "critical"),
        ]),
        annotations: Labels::from_pairs([
            ("description", "ünïcode *bold* _x_ \"q\""),
            ("summary", "It's <down> & out"),
        ]),
        generator_url: "http://prom/graph?g0.expr=up+%3D%3D+0&g0.tab=1".to_owned(),
        starts_at: at("2026-01-01T00:00:00Z"),
        ends_at: recorded["endsAt"].as_str().map_or(i64::MAX, at),
        updated_at: 0,
        is_timeout: false,
    }
}

/// The requests of a message; an issue of Jira is made in the first round and known in the others.
fn requests(message: Message, is_first: bool) -> Vec<Request> {
    match message {
        Message::Http(requests) => requests,
        Message::Wechat { send, .. } => vec![Request { url: send.url.replace("{token}", "t"), ..send }],
        Message::Jira(jira) if is_first => vec![jira.search, jira.create],
        Message::Jira(jira) => {
            let url = jira.update.url.replace("{issue}", "P-1");
            vec![jira.search, Request { url, ..jira.update }]
        }
        Message::Mail(_) => Vec::new(),
    }
}

#[test]
fn messages_are_those_of_the_newest_alertmanager() {
    let read = |name: &str| std::fs::read_to_string(format!("{FOLDER}/{name}")).unwrap();
    let config: Config = yaml::read_plain("alertmanager.yml", &read("alertmanager.yml")).unwrap();
    config.check().unwrap();
    let recorded: Value = serde_json::from_str(&read("messages.json")).unwrap();
    let set = set();
    for (round, phase) in recorded["phases"].as_array().unwrap().iter().enumerate() {
        let mut expected: Requests = serde_json::from_value(phase["requests"].clone()).unwrap();
        expected.retain(|path, _| !path.ends_with("/transitions"));
        let alerts = phase["alerts"].as_array().unwrap().iter().map(alert).collect();
        let mut notification = Dispatcher::example(alerts);
        notification.receiver = "all".to_owned();
        notification.reason = Reason::from_name(phase["reason"].as_str().unwrap()).unwrap();
        let no_file = |_: &Path| Err("no file".to_owned());
        let compose = Compose::new(&set, &config.global, &notification, at("2026-01-01T01:00:00Z"), &no_file);
        let is_over = phase["alerts"].as_array().unwrap().iter().all(|one| !one["endsAt"].is_null());
        let mut made = Requests::new();
        for place in config.receivers[0].integrations() {
            if is_over && !place.send_resolved() {
                continue;
            }
            for request in requests(compose.message(place).unwrap(), round == 0) {
                let path = request.url.strip_prefix("http://RECEIVER").unwrap_or(&request.url);
                let body = serde_json::from_slice(&request.body).unwrap();
                made.entry(format!("{} {path}", request.method)).or_default().push(body);
            }
        }
        for (path, body) in &made {
            assert_eq!(Some(body), expected.get(path), "round {round}: {path}");
        }
        assert_eq!(made.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "round {round}");
    }
}
