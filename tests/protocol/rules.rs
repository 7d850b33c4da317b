//! Rules over the running binary: broken files, the configuration API, what the API says of rules.

use std::fs;
use std::path::Path;
use std::process::Command;

use novascope::base::clock::Clock;
use serde_json::Value;

use crate::daemon::{Daemon, WAIT_MAX, data_folder};
use crate::http;

fn check(arguments: &[&str], file: &Path) -> (Option<i32>, String, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_novascope")).args(arguments).arg(file).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

/// A rule file with one mistake, where it is, and what must be said of it.
const MISTAKES: [(&str, &str, &str); 8] = [
    ("groups:\n- name: g\n  rules:\n  - alert: A\n    exprr: up\n", ":5:5:", "did you mean \"expr\""),
    (
        "groups:\n- name: g\n  rules:\n  - record: r\n    expr: (sum(rate(a[5m])) / sum(rate(b[5m]))) by (cluster)\n",
        ":5:49:",
        "hint: by (…) belongs to an aggregation",
    ),
    (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up > ${LIMIT}\n",
        ":5:16:",
        "variable ${LIMIT} is not expanded",
    ),
    (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    for: 5 minutes\n",
        ":6:10:",
        "not a valid duration",
    ),
    ("groups:\n- name: g\n- name: g\n", ":3:9:", "\"g\" is repeated in the same file"),
    (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    annotations:\n      a: '{{ $value | humanise }}'\n",
        ":7:23:",
        "hint: did you mean humanize?",
    ),
    (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    labels:\n      a: '{{ $lables.x }}'\n",
        ":7:14:",
        "hint: did you mean $labels?",
    ),
    ("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: raate(up[5m])\n", ":5:11:", "hint: did you mean rate?"),
];

#[test]
fn each_mistake_has_its_message_and_the_running_rules_stay() {
    let (folder, data) = data_folder();
    let rules = folder.path().join("rules.yml");
    let config = folder.path().join("prometheus.yml");
    let alertmanager = folder.path().join("alertmanager.yml");
    fs::write(&config, "rule_files: [rules.yml]\n").unwrap();
    let good = "groups: [{name: good, interval: 1s, rules: [{record: one, expr: vector(1)}]}]\n";
    let receivers = "route: {receiver: team-x}\nreceivers: [{name: team-x}]\n";
    fs::write(&rules, good).unwrap();
    fs::write(&alertmanager, receivers).unwrap();
    let daemon = Daemon::start(
        &data,
        &[
            "--self",
            "off",
            "--config.file",
            config.to_str().unwrap(),
            "--alertmanager.config-file",
            alertmanager.to_str().unwrap(),
        ],
    );
    let running = |daemon: &Daemon| daemon.get("/api/v1/rules").json()["data"]["groups"][0]["name"].clone();
    for (text, place, said) in MISTAKES {
        fs::write(&rules, text).unwrap();
        let (code, _, errors) = check(&["check", "rules"], &rules);
        assert_eq!(code, Some(1), "{text}");
        assert!(errors.contains(place) && errors.contains(said) && errors.contains('^'), "{place} {said}: {errors}");
        let answer = daemon.post("/-/reload", &[], b"");
        assert_eq!(answer.status, 500, "{text}");
        assert!(answer.text().contains(place) && answer.text().contains(said), "{}", answer.text());
        assert_eq!(running(&daemon), "good", "the rules from before stay");
    }
    fs::write(&rules, good).unwrap();
    fs::write(&alertmanager, receivers.replacen("team-x", "team-y", 1)).unwrap();
    let (code, _, errors) = check(&["check", "alertmanager"], &alertmanager);
    assert_eq!(code, Some(1));
    for said in [":1:19: undefined receiver \"team-y\"", "hint: did you mean \"team-x\"?"] {
        assert!(errors.contains(said), "{errors}");
    }
    assert_eq!(daemon.post("/-/reload", &[], b"").status, 500);
    assert!(daemon.get("/api/v2/status").json()["config"]["original"].as_str().unwrap().contains("receiver: team-x"));
}

#[test]
fn a_check_answers_programs_too_and_ends_as_promtool_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.yml");
    fs::write(&file, MISTAKES[0].0).unwrap();
    let (code, said, _) = check(&["check", "rules", "--format", "json"], &file);
    let answer: Value = serde_json::from_str(&said).unwrap();
    let fault = &answer["files"][0]["faults"][0];
    assert_eq!((code, &answer["ok"]), (Some(1), &Value::Bool(false)));
    assert_eq!((fault["line"].as_u64(), fault["column"].as_u64()), (Some(5), Some(5)));
    assert_eq!(fault["source"], "    exprr: up");
    let twice = "groups: [{name: g, rules: [{record: a, expr: '1'}, {record: a, expr: '2'}]}]\n";
    fs::write(&file, twice).unwrap();
    assert_eq!(check(&["check", "rules"], &file).0, Some(0));
    assert_eq!(check(&["check", "rules", "--lint-fatal"], &file).0, Some(3));
    assert_eq!(check(&["check", "rules", "--lint-fatal", "--lint", "none"], &file).0, Some(0));
}

#[test]
fn rules_set_over_http_run_and_survive_a_restart() {
    let (folder, data) = data_folder();
    let config = folder.path().join("prometheus.yml");
    fs::write(&config, "novascope: {rules: {config_api: true}}\n").unwrap();
    let arguments = ["--self", "off", "--config.file", config.to_str().unwrap()];
    let daemon = Daemon::start(&data, &arguments);
    let set =
        |text: &str| daemon.post("/config/v1/rules/team%20a", &[("content-type", "application/yaml")], text.as_bytes());
    let answer = set("name: g\ninterval: 1s\nrules:\n- record: set_over_http\n  expr: vector(7)\n");
    assert_eq!((answer.status, answer.json()["status"].as_str().unwrap()), (202, "success"));
    let bad = set("name: h\nrules:\n- record: x\n  expr: sum(\n");
    assert_eq!(bad.status, 400);
    assert!(bad.text().contains("could not parse expression"), "{}", bad.text());
    assert_eq!(daemon.query_until_found("set_over_http")[0]["value"][1], "7");
    let listed = daemon.get("/api/v1/rules?file[]=team%20a").json();
    assert_eq!(listed["data"]["groups"][0]["file"], "team a");
    assert!(daemon.get("/config/v1/rules").text().contains("team a:"));
    let one = daemon.get("/config/v1/rules/team%20a/g").text();
    assert!(one.contains("interval: 1s") && one.contains("vector(7)"), "{one}");
    assert_eq!(daemon.get("/api/v1/status/buildinfo").json()["data"]["features"]["ruler_config_api"], "true");
    drop(daemon);

    let daemon = Daemon::start(&data, &arguments);
    assert_eq!(daemon.get("/api/v1/rules").json()["data"]["groups"][0]["name"], "g");
    let delete = |path: &str| http::request(daemon.main, &format!("DELETE {path} HTTP/1.1\r\n"), b"").status;
    assert_eq!(delete("/config/v1/rules/team%20a/none"), 404);
    assert_eq!(delete("/config/v1/rules/team%20a"), 202);
    assert_eq!(daemon.get("/config/v1/rules/team%20a").status, 404);
    assert_eq!(daemon.get("/api/v1/rules").json()["data"]["groups"].as_array().unwrap().len(), 0);
}

#[test]
fn a_rule_over_a_metric_that_nobody_sends_is_reported() {
    let (folder, data) = data_folder();
    let config = folder.path().join("prometheus.yml");
    fs::write(&config, "rule_files: [r.yml]\n").unwrap();
    let text = "groups: [{name: g, interval: 1s, rules: [{record: here, expr: vector(1)}, {alert: A, expr: nobody_sends_me > 1 or here > 5}]}]\n";
    fs::write(folder.path().join("r.yml"), text).unwrap();
    let daemon = Daemon::start(&data, &["--self", "off", "--config.file", config.to_str().unwrap()]);
    let clock = Clock::real();
    loop {
        let shown = daemon.get("/api/v1/rules?type=alert").json()["data"]["groups"][0]["rules"][0].clone();
        if !shown["unsentMetrics"].is_null() {
            assert_eq!(shown["unsentMetrics"], serde_json::json!(["nobody_sends_me"]));
            assert_eq!(shown["nearMetrics"], serde_json::json!({}));
            assert_eq!(shown["health"], "ok");
            break;
        }
        assert!(clock.monotonic() < WAIT_MAX, "{shown}");
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    assert!(daemon.get("/metrics").text().contains("novascope_rules_unsent_metrics 1"));
    fs::write(folder.path().join("n.yml"), "groups: [{name: g, rules: [{alert: A, expr: heer > 1 or up == 0}]}]\n")
        .unwrap();
    let server = format!("http://{}", daemon.main);
    let (code, _, errors) =
        check(&["check", "rules", "--lint-fatal", "--metrics-from", &server], &folder.path().join("n.yml"));
    assert_eq!(code, Some(3));
    assert!(errors.contains("nobody sends the metric heer, which A names; did you mean here?"), "{errors}");
}

/// The files of rules that are shipped.
fn shipped(ending: &str) -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rules");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.ends_with(ending) && (ending == ".test.yml" || !name.ends_with(".test.yml"))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn shipped_rules_pass_their_tests_and_each_alert_has_a_test_and_a_runbook() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = shipped(".test.yml");
    assert!(tests.len() >= 4, "{tests:?}");
    for path in &tests {
        let (code, said, errors) = check(&["test", "rules"], path);
        assert_eq!(code, Some(0), "{}: {said}{errors}", path.display());
    }
    let tested: String = tests.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for path in shipped(".yml") {
        assert_eq!(check(&["check", "rules", "--lint-fatal"], &path).0, Some(0), "{}", path.display());
        for group in novascope::rules::file::load(&path, 60_000).unwrap() {
            for rule in group.rules {
                let Some(alerting) = rule.alerting() else { continue };
                let has = |pairs: &[(std::sync::Arc<str>, std::sync::Arc<str>)], name: &str| {
                    pairs.iter().find(|(key, _)| **key == *name).map(|(_, value)| value.to_string())
                };
                assert!(has(&rule.labels, "severity").is_some(), "{}", rule.name);
                let runbook = has(&alerting.annotations, "runbook_url").unwrap();
                let runbook = fs::read_to_string(root.join(&runbook)).unwrap();
                assert!(runbook.starts_with(&format!("# {}\n", rule.name)), "{}", rule.name);
                assert!(tested.contains(&format!("alertname: {}\n", rule.name)), "{} has no test", rule.name);
            }
        }
    }
}

/// Families that a fresh daemon does not show, because they have no sample before the first event.
const SHOWN_LATER: [&str; 3] =
    ["novascope_notifications_total", "novascope_scrapes_missed_total", "novascope_alertmanager_alerts_dropped_total"];

#[test]
fn every_metric_of_our_own_rules_is_in_our_own_metrics() {
    let (folder, data) = data_folder();
    let config = folder.path().join("prometheus.yml");
    fs::write(&config, "rule_files: [r.yml]\n").unwrap();
    fs::write(folder.path().join("r.yml"), "groups: [{name: g, rules: [{record: a, expr: '1'}]}]\n").unwrap();
    let daemon = Daemon::start(&data, &["--config.file", config.to_str().unwrap()]);
    let shown = daemon.get("/metrics").text();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rules/self.yml");
    let mut count = 0;
    for rule in novascope::rules::file::load(&path, 60_000).unwrap().iter().flat_map(|group| &group.rules) {
        for name in novascope::rules::absent::metrics(&rule.expr) {
            count += 1;
            let is_shown = shown.contains(&format!("\n{name}{{")) || shown.contains(&format!("\n{name} "));
            assert!(
                is_shown || SHOWN_LATER.contains(&&*name) || &*name == "up",
                "{name} of {} is not there",
                rule.name
            );
        }
    }
    assert!(count > 10);
}
