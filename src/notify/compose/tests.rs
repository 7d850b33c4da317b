//! Whole messages, compared with what Alertmanager sends for the same alerts.

use expect_test::expect;

use super::*;
use crate::base::yaml;
use crate::notify::config::receivers::Receiver;
use crate::notify::dispatch::Dispatcher;
use crate::notify::template::tests::{alert, set};

/// The message for the only place of a receiver, as pretty JSON after its request line.
fn compose(receiver: &str, ends_at: i64) -> Result<String, ComposeError> {
    let receiver: Receiver = yaml::read_plain("test.yml", receiver).unwrap();
    let mut notification = Dispatcher::example(vec![alert("a", i64::MAX), alert("b", ends_at)]);
    notification.receiver.clone_from(&receiver.name);
    let global = Global { smtp_smarthost: "mail:25".to_owned(), smtp_from: "a@b.c".to_owned(), ..Global::default() };
    let read = |path: &Path| Ok(format!("secret of {}\n", path.display()));
    let set = set();
    let compose = Compose::new(&set, &global, &notification, 1_700_000_000_000, &read);
    let message = compose.message(receiver.integrations()[0])?;
    Ok(match message {
        Message::Http(requests) => requests.iter().map(show).collect::<Vec<_>>().join("\n"),
        Message::Wechat { token, send } => format!("{} {}\n{}", token.method, token.url, show(&send)),
        Message::Jira(jira) => format!("{}\n{}", show(&jira.search), show(&jira.create)),
        Message::Mail(mail) => {
            format!("{} {} {} {:?} {}", mail.smarthost, mail.from, mail.to, mail.headers, mail.require_tls)
        }
    })
}

fn show(request: &Request) -> String {
    let body = match serde_json::from_slice::<Value>(&request.body) {
        Ok(body) => serde_json::to_string_pretty(&body).unwrap(),
        Err(_) => String::from_utf8(request.body.clone()).unwrap(),
    };
    format!("{} {}\n{body}", request.method, request.url)
}

#[test]
fn the_webhook_is_that_of_version_4() {
    let seen =
        compose("{name: team-x, webhook_configs: [{url: 'http://hook/{{ .Status }}', max_alerts: 1}]}", 0).unwrap();
    expect![[r#"
        POST http://hook/firing
        {
          "receiver": "team-x",
          "status": "firing",
          "alerts": [
            {
              "status": "firing",
              "labels": {
                "alertname": "Down",
                "instance": "a",
                "job": "vm"
              },
              "annotations": {
                "summary": "It is down"
              },
              "startsAt": "2020-09-13T12:26:40Z",
              "endsAt": "0001-01-01T00:00:00Z",
              "generatorURL": "http://nova:9090/graph",
              "fingerprint": "c70c778701b8704e"
            }
          ],
          "notification_reason": "first notification",
          "groupLabels": {
            "alertname": "Down"
          },
          "commonLabels": {
            "alertname": "Down",
            "instance": "a",
            "job": "vm"
          },
          "commonAnnotations": {
            "summary": "It is down"
          },
          "routeLabels": {},
          "externalURL": "http://nova:9090",
          "version": "4",
          "groupKey": "{}:{alertname=\"Down\"}",
          "truncatedAlerts": 1
        }"#]]
    .assert_eq(&seen);
}

#[test]
fn slack_gets_an_attachment() {
    let seen = compose(
        "{name: s, slack_configs: [{api_url_file: /run/url, channel: '#ops', fields: [{title: t, value: '{{ .Status }}'}]}]}",
        0,
    );
    expect![[r##"
        POST secret of /run/url
        {
          "channel": "#ops",
          "username": "Alertmanager",
          "attachments": [
            {
              "title": "[FIRING:1] Down (vm)",
              "title_link": "http://nova:9090/#/alerts?receiver=s",
              "fields": [
                {
                  "title": "t",
                  "value": "firing",
                  "short": false
                }
              ],
              "color": "danger",
              "mrkdwn_in": [
                "fallback",
                "pretext",
                "text"
              ],
              "text": "",
              "fallback": "[FIRING:1] Down (vm) | http://nova:9090/#/alerts?receiver=s",
              "callback_id": "",
              "footer": ""
            }
          ]
        }"##]]
    .assert_eq(&seen.unwrap());
}

#[test]
fn every_receiver_makes_a_message() {
    for receiver in [
        "discord_configs: [{webhook_url: 'http://d/'}]",
        "msteams_configs: [{webhook_url: 'http://t/'}]",
        "msteamsv2_configs: [{webhook_url: 'http://t/'}]",
        "mattermost_configs: [{webhook_url: 'http://m/'}]",
        "telegram_configs: [{bot_token: t, chat_id: -5}]",
        "webex_configs: [{room_id: r}]",
        "pushover_configs: [{user_key: u, token: t}]",
        "victorops_configs: [{api_key: k, routing_key: r}]",
        "opsgenie_configs: [{api_key: k, update_alerts: true, responders: [{name: 'a,b', type: teams}]}]",
        "sns_configs: [{topic_arn: 'arn:t', sigv4: {region: r, access_key: a, secret_key: s}}]",
        "wechat_configs: [{api_secret: s, corp_id: c}]",
        "jira_configs: [{api_url: 'http://j/', project: P, issue_type: Bug}]",
        "rocketchat_configs: [{token: t, token_id: i}]",
        "incidentio_configs: [{url: 'http://i/', alert_source_token: t}]",
        "pagerduty_configs: [{service_key: k}]",
        "email_configs: [{to: x@y.z}]",
    ] {
        let seen = compose(&format!("{{name: n, {receiver}}}"), 0).unwrap();
        assert!(seen.contains("Down"), "{receiver}: {seen}");
    }
}

#[test]
fn pagerduty_resolves_what_is_over() {
    let set = set();
    let notification = Dispatcher::example(vec![alert("a", 1_650_000_000_000)]);
    let receiver: Receiver = yaml::read_plain(
        "t",
        "{name: p, pagerduty_configs: [{routing_key: key, severity: critical, details: {extra: '{{ .Status }}'}}]}",
    )
    .unwrap();
    let global = Global::default();
    let read = |_: &Path| Err("no file".to_owned());
    let message =
        Compose::new(&set, &global, &notification, 1_700_000_000_000, &read).message(receiver.integrations()[0]);
    let Ok(Message::Http(requests)) = message else { panic!("{message:?}") };
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(requests[0].url, "https://events.pagerduty.com/v2/enqueue");
    assert_eq!((&body["event_action"], &body["routing_key"]), (&json!("resolve"), &json!("key")));
    assert_eq!(body["payload"]["custom_details"]["extra"], json!("resolved"));
    assert_eq!(body["payload"]["custom_details"]["num_resolved"], json!("1"));
    assert_eq!(body["dedup_key"].as_str().map(str::len), Some(64));
}

/// The texts are those that Alertmanager 0.25 sent for this alert.
#[test]
fn opsgenie_gets_the_words_and_the_identity_of_alertmanager() {
    let set = set();
    let notification = Dispatcher::example(vec![alert("a", i64::MAX)]);
    let receiver: Receiver = yaml::read_plain("t", "{name: o, opsgenie_configs: [{api_key: k}]}").unwrap();
    let (global, read) = (Global::default(), |_: &Path| Err("no file".to_owned()));
    let message =
        Compose::new(&set, &global, &notification, 1_700_000_000_000, &read).message(receiver.integrations()[0]);
    let Ok(Message::Http(requests)) = message else { panic!("{message:?}") };
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(body["alias"], json!("af94c9e8f6a3043625e36c6f472fe6be85ac23a9117184ee4cb7b4ad7401a47e"));
    assert_eq!(body["message"], json!("[FIRING:1] Down (a vm)"));
    assert_eq!(
        body["description"],
        json!(
            "It is down\nAlerts Firing:\nLabels:\n - alertname = Down\n - instance = a\n - job = vm\nAnnotations:\n - summary = It is down\nSource: http://nova:9090/graph\n\n"
        )
    );
    assert_eq!(body["details"], json!({"alertname": "Down", "instance": "a", "job": "vm"}));
}

#[test]
fn what_cannot_be_sent_says_why() {
    let missing = "{name: n, webhook_configs: [{url: '{{ .CommonLabels.nothing }}'}]}";
    assert_eq!(compose(missing, 0), Err(ComposeError::Empty("webhook URL")));
    let bad = compose("{name: n, webhook_configs: [{url: '{{ nosuch }}'}]}", 0);
    assert!(matches!(bad, Err(ComposeError::Template(_))), "{bad:?}");
}

#[test]
fn pushover_gets_html_only_where_it_is_asked_for() {
    let seen = |more: &str| {
        let message = r#"{{ "<b> & +" }}"#;
        compose(&format!("{{name: n, pushover_configs: [{{user_key: u, token: t, message: '{message}', {more}}}]}}"), 0)
            .unwrap()
    };
    assert!(seen("monospace: true").contains("message=%3Cb%3E+%26+%2B&"), "{}", seen("monospace: true"));
    assert!(seen("html: true").contains("message=%26lt%3Bb%26gt%3B+%26amp%3B+%26%2343%3B&"), "{}", seen("html: true"));
}
