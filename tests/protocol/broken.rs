//! Broken files: each mistake has its own message with file, line, column, a caret and what was probably meant, in
//! `check` and at a reload, and what runs stays as it is. Rule files have their own table in `rules`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::daemon::{Daemon, data_folder};

/// A file with one mistake, where it is, and what must be said of it.
type Mistake = (&'static str, &'static str, &'static [&'static str]);

const PROMETHEUS: [Mistake; 7] = [
    ("global:\n  scrape_intervall: 5s\n", ":2:3:", &["did you mean \"scrape_interval\"?"]),
    ("scrape_configs:\n- job_name: a\n  scrape_interval: 5 seconds\n", ":3:20:", &["not a valid duration"]),
    ("scrape_configs:\n- job_name: ${NOBODY_SET_THIS}\n", ":2:13:", &["variable NOBODY_SET_THIS is not set"]),
    (
        "scrape_configs:\n- job_name: a\n- job_name: b\n- job_name: a\n",
        ":4:13:",
        &["multiple scrape configs with job name \"a\"", "hint: give one of them another name"],
    ),
    ("alerting:\n  alert_relabel_configs:\n  - {action: drop, regex: 'a(b'}\n", ":3:28:", &["missing closing )"]),
    ("rule_files:\n- rules.yml\nscrape_configs: [\n", ":3:17:", &["unclosed bracket"]),
    (
        "scrape_configs:\n- job_name: a\n  scrape_interval: 1s\n  scrape_timeout: 5s\n",
        ":2:13:",
        &["scrape timeout 5s is greater than scrape interval 1s"],
    ),
];

const ALERTMANAGER: [Mistake; 8] = [
    (
        "route: {receiver: a}\nreceivers:\n- name: a\n  webhook_config: []\n",
        ":4:3:",
        &["did you mean \"webhook_configs\"?"],
    ),
    ("route: {receiver: a, group_wait: 5 minutes}\nreceivers: [{name: a}]\n", ":1:34:", &["not a valid duration"]),
    ("route: {receiver: a}\nreceivers:\n- name: ${NOBODY_SET_THIS}\n", ":3:9:", &["NOBODY_SET_THIS is not set"]),
    ("route: {receiver: a}\nreceivers:\n- name: a\n- name: a\n", ":4:9:", &["\"a\" is not unique"]),
    (
        "route:\n  receiver: team-x\n  routes: [{receiver: team-y}]\nreceivers: [{name: team-x}]\n",
        ":3:23:",
        &["undefined receiver \"team-y\"", "hint: did you mean \"team-x\"?"],
    ),
    (
        "route: {receiver: a}\nreceivers:\n- name: a\n  slack_configs:\n  - {api_url: 'http://127.0.0.1/', channel: c, title: '{{ .Status | toUper }}'}\n",
        ":5:56:",
        &["function \"toUper\" not defined", "hint: did you mean toUpper?"],
    ),
    (
        "route:\n  receiver: a\n  routes: [{receiver: a, mute_time_intervals: [night]}]\nreceivers: [{name: a}]\ntime_intervals: [{name: nights, time_intervals: []}]\n",
        ":3:48:",
        &["undefined time interval \"night\"", "hint: did you mean \"nights\"?"],
    ),
    (
        "route: {receiver: a, group_interval: 0s}\nreceivers: [{name: a}]\n",
        ":1:38:",
        &["group_interval cannot be zero"],
    ),
];

const OBJECTIVES: [Mistake; 8] = [
    ("slos:\n- {name: a, objectve: 99, sli: {good: g, total: t}}\n", ":2:13:", &["did you mean \"objective\"?"]),
    (
        "slos:\n- name: a\n  objective: 99\n  sli: {good: '(rate(g[5m]) / rate(h[5m])) by (x)', total: t}\n",
        ":4:44:",
        &["unexpected <by>", "hint: by (…) belongs to an aggregation"],
    ),
    (
        "slos:\n- name: a\n  objective: 99\n  sli: {good: '${GOOD}', total: t}\n",
        ":4:16:",
        &["variable ${GOOD} is not expanded"],
    ),
    ("slos:\n- name: a\n  objective: ${TARGET}\n  sli: {good: g, total: t}\n", ":3:14:", &["write the value"]),
    (
        "slos:\n- name: a\n  objective: 99\n  window: 30 days\n  sli: {good: g, total: t}\n",
        ":4:11:",
        &["not a window: \"30 days\"", "write 30d"],
    ),
    (
        "slos:\n- name: a\n  objective: 99\n  sli: {good: g, total: t}\n- name: a\n  objective: 99\n  sli: {good: g, total: t}\n",
        ":5:9:",
        &["is there twice", "hint: give one of them another name"],
    ),
    (
        "slos:\n- name: a\n  objective: 99\n  sli: {good: g, total: t}\n  alerting: {annotations: {x: '{{ $value | humanise }}'}}\n",
        ":2:9:",
        &["function \"humanise\" not defined", "hint: did you mean humanize?"],
    ),
    (
        "slos:\n- {name: api, objective: 99, sli: {good: g, total: t}}\n- name: all\n  objective: 99\n  composite: [{slo: apu}, {slo: api}]\n",
        ":3:9:",
        &["no objective is called \"apu\"", "did you mean \"api\"?"],
    ),
];

/// What `check` says of a file that is wrong.
fn checked(what: &str, file: &Path) -> String {
    let ended = Command::new(env!("CARGO_BIN_EXE_novascope")).args(["check", what]).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    said
}

#[test]
fn each_mistake_of_each_file_is_named_and_what_runs_stays() {
    let (folder, data) = data_folder();
    let path = |name: &str| folder.path().join(name);
    let good = [
        (
            "prometheus.yml",
            "global: {external_labels: {from: good}}\nnovascope: {slo: {files: [slo.yml]}, alerting: {config_file: alertmanager.yml}}\n",
        ),
        ("alertmanager.yml", "route: {receiver: good}\nreceivers: [{name: good}]\n"),
        ("slo.yml", "slos: [{name: good, objective: 99, sli: {good: g, total: t}}]\n"),
    ];
    good.iter().for_each(|(name, text)| fs::write(path(name), text).unwrap());
    let config = path("prometheus.yml");
    let daemon = Daemon::start(&data, &["--self", "off", "--config.file", config.to_str().unwrap()]);
    let stays = || {
        let config =
            daemon.get("/api/v1/status/config").json()["data"]["yaml"].as_str().unwrap().contains("from: good");
        let receivers = daemon.get("/api/v2/receivers").json()[0]["name"] == "good";
        let objectives = daemon.get("/api/v1/slos").json()["data"][0]["name"] == "good";
        assert!(config && receivers && objectives, "what ran before stays");
    };
    stays();
    let tables: [(&str, &str, &[Mistake]); 3] = [
        ("config", "prometheus.yml", &PROMETHEUS),
        ("alertmanager", "alertmanager.yml", &ALERTMANAGER),
        ("slo", "slo.yml", &OBJECTIVES),
    ];
    for ((what, name, mistakes), (_, text)) in tables.into_iter().zip(good) {
        for (broken, place, said) in mistakes {
            fs::write(path(name), broken).unwrap();
            let answer = checked(what, &path(name));
            let reload = daemon.post("/-/reload", &[], b"");
            assert_eq!(reload.status, 500, "{broken}");
            for message in [answer, reload.text()] {
                let whole = message.contains(&format!("{name}{place}")) && message.contains('^');
                assert!(whole && said.iter().all(|said| message.contains(said)), "{name}{place} {said:?}: {message}");
            }
            stays();
        }
        fs::write(path(name), text).unwrap();
    }
    assert_eq!(daemon.post("/-/reload", &[], b"").status, 200);
}
