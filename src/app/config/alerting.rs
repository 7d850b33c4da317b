//! An alertmanager.yml and the template files that it names.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::app::config::read;
use crate::base::clock::Clock;
use crate::base::glob;
use crate::base::yaml::nearest::nearest;
use crate::base::yaml::{self, YamlError};
use crate::notify::config::{Config, SectionError};
use crate::notify::dispatch::Routing;
use crate::notify::notifier::Loaded;
use crate::notify::settings::Settings;
use crate::notify::template::TemplateSet;

/// Reads and checks an alertmanager.yml. Relative template files are relative to it.
pub fn load(path: &Path, settings: &Settings) -> Result<Loaded, YamlError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&path.display().to_string(), &read(path)?, (folder, settings))
}

fn parse(name: &str, text: &str, (folder, settings): (&Path, &Settings)) -> Result<Loaded, YamlError> {
    let config: Config = yaml::read(name, text).map_err(|error| {
        let is_subject = error.message.starts_with("unknown key \"subject\"");
        error.with_hint(is_subject.then(|| "the subject is a header: headers: {Subject: …}".to_owned()))
    })?;
    Routing::build(config.clone(), settings).map_err(|error| section_fault(name, text, &config, &error))?;
    let mut templates = Vec::new();
    let mut paths = Vec::new();
    for pattern in &config.templates {
        for path in glob::expand(&folder.join(pattern)) {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            templates.push((file, read(&path)?));
            paths.push(path);
        }
    }
    check_templates(&templates, &paths).and_then(|set| check_texts(name, text, &set))?;
    Ok(Loaded { config, templates, settings: settings.clone() })
}

/// A fault between sections, with the place of the name that it is about.
fn section_fault(name: &str, text: &str, config: &Config, error: &SectionError) -> YamlError {
    let message = error.to_string();
    let about = message.split('"').nth(1).unwrap_or("");
    let receivers: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
    let (place, hint) = if message.starts_with("undefined receiver") {
        let near = nearest(about, &receivers).map(|near| format!("did you mean \"{near}\"?"));
        let known = || format!("the receivers are {}", receivers.join(", "));
        (place_of(text, "receiver:", about), Some(near.unwrap_or_else(known)))
    } else if message.starts_with("undefined time interval") {
        let known: Vec<&str> = config.intervals().map(|interval| interval.name.as_str()).collect();
        let near = nearest(about, &known).map(|near| format!("did you mean \"{near}\"?"));
        let all = || format!("the time intervals are {}", known.join(", "));
        (place_of(text, "", about), Some(near.unwrap_or_else(all)))
    } else if message.contains("is not unique") {
        (last_place_of(text, "name:", about), Some("give one of them another name".to_owned()))
    } else if let Some(key) = message.strip_suffix(" cannot be zero") {
        (place_of(text, &format!("{key}:"), "0"), Some(format!("leave {key} out for the default")))
    } else {
        (None, None)
    };
    match place {
        Some(at) => YamlError::at(name, text, at, message).with_hint(hint),
        None => YamlError::whole_file(name, message).with_hint(hint),
    }
}

/// Line and column of a word that stands behind a key (or anywhere, without a key), where it stands first.
fn place_of(text: &str, key: &str, word: &str) -> Option<(u64, u64)> {
    places_of(text, key, word).next()
}

fn last_place_of(text: &str, key: &str, word: &str) -> Option<(u64, u64)> {
    places_of(text, key, word).last()
}

/// As [`place_of`], wherever it stands.
pub(super) fn places_of<'a>(text: &'a str, key: &'a str, word: &'a str) -> impl Iterator<Item = (u64, u64)> + 'a {
    let is_edge = |c: Option<char>| c.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')));
    text.lines().enumerate().filter_map(move |(number, line)| {
        let from = line.find(key)? + key.len();
        let rest = line.get(from..)?;
        let (at, _) = rest.match_indices(word).find(|(at, _)| {
            // A duration such as 0s begins with its word.
            let ends = word == "0" || is_edge(rest.get(at + word.len()..).and_then(|rest| rest.chars().next()));
            is_edge(rest.get(..*at).and_then(|before| before.chars().next_back())) && ends
        })?;
        Some((number as u64 + 1, (from + at) as u64 + 1))
    })
}

/// The default templates and those of the files, each of which must parse.
fn check_templates(files: &[(String, String)], paths: &[PathBuf]) -> Result<TemplateSet, YamlError> {
    let clock = Clock::real();
    for ((name, text), path) in files.iter().zip(paths) {
        let one = std::slice::from_ref(&(name.clone(), text.clone())).to_vec();
        let faults = TemplateSet::build(&one, "", &clock).and_then(|set| set.check(name, text));
        faults.map_err(|error| template_fault(&path.display().to_string(), text, (1, 1), &error.to_string()))?;
    }
    TemplateSet::build(files, "", &clock).map_err(|error| YamlError::whole_file("templates", error.to_string()))
}

/// Every text of the file that is a template must parse, and use only functions and templates that exist.
fn check_texts(name: &str, text: &str, set: &TemplateSet) -> Result<(), YamlError> {
    let tree: Value = yaml::read(name, text)?;
    let mut texts = Vec::new();
    collect_templates(tree.get("receivers").unwrap_or(&Value::Null), &mut texts);
    collect_templates(tree.get("route").unwrap_or(&Value::Null), &mut texts);
    for template in texts {
        let first = template.lines().find(|line| line.contains("{{")).unwrap_or(template);
        let faults = set.check("", template).map_err(|error| error.to_string());
        let unknown = set.unknown_template(template).map(|unknown| format!("template \"{unknown}\" not defined"));
        if let Some(message) = faults.err().or(unknown) {
            let at = text
                .lines()
                .enumerate()
                .find_map(|(number, line)| Some((number as u64 + 1, line.find(first.trim())? as u64 + 1)));
            return Err(template_fault(name, text, at.unwrap_or((1, 1)), &message));
        }
    }
    Ok(())
}

fn collect_templates<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) if text.contains("{{") => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_templates(item, texts)),
        Value::Object(map) => map.values().for_each(|item| collect_templates(item, texts)),
        _ => {}
    }
}

/// A template's fault at the line and column that its error names, counted from where the template begins.
fn template_fault(name: &str, text: &str, begin: (u64, u64), message: &str) -> YamlError {
    let place =
        message.strip_prefix("template: ").and_then(|rest| rest.split_once(": ")).map_or("", |(place, _)| place);
    let mut numbers = place.split(':').skip(1).map(|number| number.parse::<u64>().unwrap_or(1).max(1));
    let line = numbers.next().unwrap_or(1);
    let column = numbers.next();
    let column = if line == 1 { begin.1 + column.map_or(0, |column| column - 1) } else { column.unwrap_or(1) };
    let hint = message.contains("not defined").then(|| message.split('"').nth(1)).flatten().and_then(|unknown| {
        nearest(unknown, &TemplateSet::function_names()).map(|near| format!("did you mean {near}?"))
    });
    YamlError::at(name, text, (begin.0 + line - 1, column), message.to_owned()).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn without_a_file_alerts_are_kept_and_nobody_is_told() {
        assert_eq!(Loaded::default().config.receivers[0].integrations().len(), 0);
    }

    #[test]
    fn a_mistake_is_found_before_anything_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alertmanager.yml");
        std::fs::write(&path, "route: {receiver: a}\nreceivers: [{name: b}]\ntemplates: ['*.tmpl']\n").unwrap();
        assert!(load(&path, &Settings::default()).unwrap_err().to_string().contains("undefined receiver"));
        std::fs::write(&path, "route: {receiver: b}\nreceivers: [{name: b}]\ntemplates: ['*.tmpl']\n").unwrap();
        std::fs::write(folder.path().join("x.tmpl"), "{{ define \"x\" }}hi{{ end }}").unwrap();
        assert_eq!(load(&path, &Settings::default()).unwrap().templates.len(), 1);
        std::fs::write(folder.path().join("x.tmpl"), "\n{{ define \"x\" }}{{ toUper . }}{{ end }}").unwrap();
        let error = load(&path, &Settings::default()).unwrap_err();
        assert!(error.file.ends_with("x.tmpl") && error.at.unwrap().0 == 2, "{error}");
        assert_eq!(error.hint.as_deref(), Some("did you mean toUpper?"));
    }

    #[test]
    fn the_example_is_read() {
        let path = Path::new("config/alertmanager.example.yml");
        let loaded = load(path, &Settings::default()).unwrap();
        let kinds: usize = loaded.config.receivers.iter().map(|receiver| receiver.integrations().len()).sum();
        assert_eq!((loaded.config.receivers.len(), kinds, loaded.config.intervals().count()), (4, 5, 1));
    }

    /// The keys, matchers of the old form and texts of templates that NovaCron's files have, under other names.
    const OPERATORS_FILE: &str = r##"
global:
  resolve_timeout: 5m
  http_config: {follow_redirects: true}
  smtp_from: alerts@example.org
  smtp_smarthost: "mail.example.org:587"
  smtp_auth_password: "${NOVASCOPE_TEST_UNSET:-none}"
  smtp_require_tls: true
  slack_api_url: "${NOVASCOPE_TEST_UNSET:-http://127.0.0.1:9/hook}"
  pagerduty_url: https://events.pagerduty.com/v2/enqueue
templates: ["/etc/nowhere/templates/*.tmpl"]
route:
  receiver: default
  group_by: [alertname, cluster, service]
  group_wait: 10s
  group_interval: 10s
  repeat_interval: 12h
  routes:
  - match: {severity: critical}
    receiver: pager
    group_wait: 0s
    repeat_interval: 5m
    continue: true
    routes:
    - match: {auto_rollback: "true"}
      receiver: rollback
    - match_re: {component: sla}
      receiver: pager
      continue: true
  - matchers: ['component =~ "vm.*"', 'severity = "warning"']
    receiver: mail
    group_by: [alertname, node_id, vm_id]
  - match_re: {component: amst|hde|pba}
    receiver: mail
inhibit_rules:
- source_match: {severity: critical}
  target_match: {severity: warning}
  equal: [alertname, cluster, node]
- source_match_re: {alertname: ComponentDown}
  target_match_re: {alertname: ComponentDegraded}
  equal: [cluster]
time_intervals:
- name: off-hours
  time_intervals:
  - {times: [{start_time: "17:00", end_time: "24:00"}], weekdays: ["monday:friday"], location: America/New_York}
  - weekdays: [saturday, sunday]
receivers:
- name: default
  webhook_configs: [{url: "http://127.0.0.1:9/webhook", send_resolved: true, http_config: {follow_redirects: true}}]
- name: pager
  pagerduty_configs:
  - routing_key: key
    description: '{{ template "pagerduty.default.description" . }}'
    details: {firing: '{{ template "pagerduty.default.instances" .Alerts.Firing }}'}
  slack_configs:
  - channel: "#critical"
    title: "CRITICAL: {{ .GroupLabels.SortedPairs.Values | join \" \" }}"
    text: '{{ range .Alerts }}{{ .Annotations.description }} {{ .StartsAt.Format "2006-01-02 15:04:05 UTC" }}{{ end }}'
    actions:
    - {type: button, text: Runbook, url: "{{ (index .Alerts 0).Annotations.runbook_url }}"}
    - {type: button, text: Silence, url: '{{ template "__alertmanagerURL" . }}'}
- name: rollback
  webhook_configs: [{url: "http://127.0.0.1:9/rollback", send_resolved: false, http_config: {bearer_token: token}}]
- name: mail
  email_configs:
  - to: one@example.org, two@example.org
    headers: {Subject: "[{{ .GroupLabels.component | toUpper }}] {{ .GroupLabels.alertname | title }}", Priority: urgent}
    html: '{{ range .Alerts }}<b>{{ .Labels.alertname }}</b>{{ if .Labels.runbook_url }} {{ .Labels.runbook_url }}{{ end }}{{ end }}'
"##;

    #[test]
    fn a_file_of_operators_is_read_and_routes() {
        let loaded = parse("alertmanager.yml", OPERATORS_FILE, (Path::new(""), &Settings::default())).unwrap();
        let routing = Routing::build(loaded.config, &Settings::default()).unwrap();
        let receivers = |pairs: &[(&str, &str)]| {
            let labels = crate::model::labels::Labels::from_pairs(pairs.iter().copied());
            let found = routing.root.matching(&labels);
            found.iter().map(|route| route.receiver.clone()).collect::<Vec<_>>()
        };
        assert_eq!(receivers(&[("severity", "critical"), ("component", "hde")]), ["pager", "mail"]);
        assert_eq!(receivers(&[("severity", "critical"), ("auto_rollback", "true")]), ["rollback"]);
        assert_eq!(receivers(&[("severity", "warning"), ("component", "vm_cpu")]), ["mail"]);
        assert_eq!(receivers(&[("severity", "info")]), ["default"]);
    }

    /// What stands in such files and Alertmanager refuses too; each with its place.
    #[test]
    fn what_operators_files_have_wrong_is_named() {
        let broken = OPERATORS_FILE.replace("group_interval: 10s", "group_interval: 0s");
        let at = |text: &str| {
            let error = parse("am.yml", text, (Path::new(""), &Settings::default())).unwrap_err().to_string();
            error.lines().next().unwrap_or("").to_owned()
        };
        assert_eq!(at(&broken), "am.yml:16:19: group_interval cannot be zero");
        let night = OPERATORS_FILE.replace("end_time: \"24:00\"", "end_time: \"09:00\"");
        assert!(at(&night).contains("start time cannot be equal or greater than end time"), "{}", at(&night));
    }

    #[track_caller]
    fn check(text: &str, expect: &Expect) {
        expect.assert_eq(&parse("a.yml", text, (Path::new(""), &Settings::default())).unwrap_err().to_string());
    }

    #[test]
    fn every_mistake_has_its_place_and_a_hint() {
        check(
            "route:\n  receiver: team-y\nreceivers:\n- name: team-x\n",
            &expect![[r#"
                a.yml:2:13: undefined receiver "team-y" used in route
                    receiver: team-y
                              ^
                  hint: did you mean "team-x"?"#]],
        );
        check(
            "route:\n  receiver: a\n  group_interval: 0s\nreceivers: [{name: a}]\n",
            &expect![[r#"
                a.yml:3:19: group_interval cannot be zero
                    group_interval: 0s
                                    ^
                  hint: leave group_interval out for the default"#]],
        );
        check(
            "route: {receiver: a}\nreceivers:\n- name: a\n  slack_configs:\n  - api_url: http://127.0.0.1/\n    channel: c\n    title: 'x {{ .Status | toUper }}'\n",
            &expect![[r#"
                a.yml:7:13: template: :1: function "toUper" not defined
                      title: 'x {{ .Status | toUper }}'
                              ^
                  hint: did you mean toUpper?"#]],
        );
        check(
            "route: {receiver: a}\nreceivers:\n- name: a\n  email_configs:\n  - to: a@b.c\n    subject: x\n",
            &expect![[r#"
                a.yml:6:5: unknown key "subject"; the known keys are send_resolved, to, from, hello, smarthost, auth_username, auth_password, auth_password_file, auth_secret, auth_secret_file, auth_identity, headers, html, text, require_tls, tls_config, force_implicit_tls, threading
                      subject: x
                      ^
                  hint: the subject is a header: headers: {Subject: …}"#]],
        );
        check(
            "route: {receiver: a}\nreceivers:\n- name: ${NOBODY_SET_THIS}\n",
            &expect![[r#"
            a.yml:3:9: environment variable NOBODY_SET_THIS is not set; set it or write ${NOBODY_SET_THIS:-default}
              - name: ${NOBODY_SET_THIS}
                      ^"#]],
        );
    }
}
