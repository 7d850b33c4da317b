//! Rule files: Prometheus' own, and Kubernetes' PrometheusRule objects around the same groups.
//!
//! A file is checked whole and all its faults are given, each with file, line and column; a fault inside an expression
//! points into the expression where it stands on one line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::base::yaml::{self, YamlError};
use crate::model::labels::METRIC_NAME;
use crate::promql::parse::parse;
use crate::promql::print::format;
use crate::rules::expansion;
use crate::rules::rule::{Alerting, GroupSpec, Rule, RuleKind};

/// Bytes of one rule file. The largest that generators write have a few megabytes.
const FILE_BYTES_MAX: u64 = 32 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileText {
    groups: Option<Vec<GroupText>>,
    // A Kubernetes object.
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    kind: Option<String>,
    #[serde(rename = "metadata")]
    _metadata: Option<serde_json::Value>,
    spec: Option<SpecText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SpecText {
    groups: Option<Vec<GroupText>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupText {
    name: Spanned<String>,
    #[serde(default)]
    interval: Option<Period>,
    #[serde(default)]
    query_offset: Option<Period>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    rules: Option<Vec<Spanned<RuleText>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuleText {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Option<Spanned<String>>,
    #[serde(rename = "for")]
    hold: Option<Period>,
    keep_firing_for: Option<Period>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Reads a file from disk.
pub fn load(path: &Path, default_interval: Millis) -> Result<Vec<GroupSpec>, Vec<YamlError>> {
    let name = path.display().to_string();
    let fault = |why: String| vec![YamlError::whole_file(&name, why)];
    let metadata = fs::metadata(path).map_err(|error| fault(error.to_string()))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(fault(format!("rule file is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    read(&name, &text, default_interval)
}

/// Reads the text of a file. Groups without an interval take the default.
pub fn read(file: &str, text: &str, default_interval: Millis) -> Result<Vec<GroupSpec>, Vec<YamlError>> {
    let text = first_document(text);
    let nothing = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let parsed: FileText =
        if nothing { FileText::default() } else { yaml::read_plain(file, text).map_err(|error| vec![error])? };
    let groups = match (parsed.groups, parsed.spec) {
        (Some(groups), None) => groups,
        (None, Some(spec)) if parsed.kind.as_deref() == Some("PrometheusRule") => spec.groups.unwrap_or_default(),
        (None, None) => Vec::new(),
        _ => {
            let why = "groups stand at the top level, or in the spec of a PrometheusRule";
            return Err(vec![YamlError::whole_file(file, why)]);
        }
    };
    let mut reader = Reader { file, text, faults: Vec::new() };
    let mut names = BTreeSet::new();
    let mut specs = Vec::new();
    for group in groups {
        let at = place(&group.name);
        if group.name.value.is_empty() {
            reader.fault(at, "Groupname must not be empty");
        } else if !names.insert(group.name.value.clone()) {
            reader.fault(at, format!("groupname: \"{}\" is repeated in the same file", group.name.value));
        }
        specs.push(reader.group(&group, default_interval));
    }
    if reader.faults.is_empty() { Ok(specs) } else { Err(reader.faults) }
}

/// The text up to a second YAML document: Prometheus reads only the first, so whole folders have such files.
fn first_document(text: &str) -> &str {
    let mut at = 0;
    let mut begun = false;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        if content == "---" && begun {
            return text.get(..at).unwrap_or(text);
        }
        begun |= content == "---" || !content.is_empty() && !content.starts_with('#');
        at += line.len();
    }
    text
}

fn place<T>(spanned: &Spanned<T>) -> (u64, u64) {
    (spanned.referenced.line(), spanned.referenced.column())
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    faults: Vec<YamlError>,
}

/// Which rule a fault is about.
struct About<'a> {
    group: &'a str,
    number: usize,
    name: &'a str,
}

impl Reader<'_> {
    fn fault(&mut self, at: (u64, u64), message: impl Into<String>) {
        self.faults.push(YamlError::at(self.file, self.text, at, message.into()));
    }

    fn rule_fault(&mut self, at: (u64, u64), about: &About<'_>, message: impl AsRef<str>) {
        let About { group, number, name } = about;
        self.fault(at, format!("group \"{group}\", rule {number}, \"{name}\": {}", message.as_ref()));
    }

    fn group(&mut self, group: &GroupText, default_interval: Millis) -> GroupSpec {
        let name = &group.name.value;
        if let Some(labels) = &group.labels {
            for label in labels.keys().filter(|label| !is_label_name(label)) {
                self.fault(place(&group.name), format!("invalid label name: {label}"));
            }
        }
        let mut rules = Vec::new();
        for (index, rule) in group.rules.iter().flatten().enumerate() {
            rules.extend(self.rule(group, index + 1, rule));
        }
        let interval = group.interval.filter(|interval| !interval.is_zero());
        GroupSpec {
            file: Arc::from(self.file),
            name: Arc::from(name.as_str()),
            interval: interval.map_or(default_interval, Period::as_millis),
            query_offset: group.query_offset.map(Period::as_millis),
            limit: group.limit.unwrap_or(0),
            rules,
        }
    }

    fn rule(&mut self, group: &GroupText, number: usize, spanned: &Spanned<RuleText>) -> Option<Rule> {
        let rule = &spanned.value;
        let faults_before = self.faults.len();
        let set = |field: &Option<Spanned<String>>| field.as_ref().is_some_and(|text| !text.value.is_empty());
        let title = rule.alert.as_ref().filter(|_| set(&rule.alert)).or(rule.record.as_ref());
        let name = title.map_or("", |title| title.value.as_str());
        let about = About { group: &group.name.value, number, name };
        let at = title.map_or(place(spanned), place);
        match (set(&rule.record), set(&rule.alert)) {
            (true, true) => self.rule_fault(at, &about, "only one of 'record' and 'alert' must be set"),
            (false, false) => self.rule_fault(at, &about, "one of 'record' or 'alert' must be set"),
            (true, false) => self.recording(rule, at, &about),
            (false, true) => self.templates(rule, at, &about),
        }
        for label in rule.labels.iter().flat_map(BTreeMap::keys).filter(|label| !is_label_name(label)) {
            self.rule_fault(at, &about, format!("invalid label name: {label}"));
        }
        for name in rule.annotations.iter().flat_map(BTreeMap::keys).filter(|name| name.is_empty()) {
            self.rule_fault(at, &about, format!("invalid annotation name: {name}"));
        }
        let expr = match rule.expr.as_ref().filter(|expr| !expr.value.is_empty()) {
            None => {
                self.rule_fault(at, &about, "field 'expr' must be set in rule");
                return None;
            }
            Some(text) => match parse(&text.value) {
                Ok(expr) => expr,
                Err(error) => {
                    let at = self.inside(text, error.line, error.column);
                    self.rule_fault(at, &about, format!("could not parse expression: {error}"));
                    return None;
                }
            },
        };
        if self.faults.len() > faults_before {
            return None;
        }
        let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in group.labels.iter().chain(&rule.labels).flatten() {
            labels.insert(name, value);
        }
        let pairs = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
        let kind = if set(&rule.record) {
            RuleKind::Recording
        } else {
            RuleKind::Alerting(Alerting {
                hold: rule.hold.map_or(0, Period::as_millis),
                keep_firing: rule.keep_firing_for.map_or(0, Period::as_millis),
                annotations: rule.annotations.iter().flatten().map(|(name, value)| pairs(name, value)).collect(),
            })
        };
        Some(Rule {
            name: Arc::from(name),
            query: Arc::from(format(&expr)),
            expr: Arc::new(expr),
            labels: labels.into_iter().map(|(name, value)| pairs(name, value)).collect(),
            kind,
        })
    }

    fn recording(&mut self, rule: &RuleText, at: (u64, u64), about: &About<'_>) {
        for (field, given) in [
            ("annotations", rule.annotations.as_ref().is_some_and(|annotations| !annotations.is_empty())),
            ("for", rule.hold.is_some_and(|hold| !hold.is_zero())),
            ("keep_firing_for", rule.keep_firing_for.is_some_and(|keep| !keep.is_zero())),
        ] {
            if given {
                self.rule_fault(at, about, format!("invalid field '{field}' in recording rule"));
            }
        }
        if about.name.contains(['{', '}']) {
            let message = format!("braces present in the recording rule name; should it be in expr?: {}", about.name);
            self.rule_fault(at, about, message);
        }
    }

    fn templates(&mut self, rule: &RuleText, at: (u64, u64), about: &About<'_>) {
        for (what, texts) in [("label", &rule.labels), ("annotation", &rule.annotations)] {
            for (name, text) in texts.iter().flatten() {
                if let Err(error) = expansion::check(about.name, text) {
                    self.rule_fault(at, about, format!("{what} \"{name}\": {error}"));
                }
            }
        }
    }

    /// Where in the file a place inside an expression is: exact where that line of the expression stands in the file as it
    /// is, else where the expression begins.
    fn inside(&self, expr: &Spanned<String>, line: usize, column: usize) -> (u64, u64) {
        let (at_line, at_column) = place(expr);
        let below = line.saturating_sub(1);
        let number = usize::try_from(at_line).unwrap_or(usize::MAX).saturating_add(below);
        let shown = number.checked_sub(1).and_then(|index| self.text.lines().nth(index));
        let wanted = expr.value.lines().nth(below);
        match (shown, wanted) {
            (Some(shown), Some(wanted)) if !wanted.is_empty() => match shown.find(wanted) {
                Some(start) => (number as u64, (start + column) as u64),
                None => (at_line, at_column),
            },
            _ => (at_line, at_column),
        }
    }
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty() && name != METRIC_NAME
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &Expect) {
        let faults = read("r.yml", text, 60_000).unwrap_err();
        expect.assert_eq(&faults.iter().map(|fault| fault.to_string() + "\n").collect::<String>());
    }

    #[test]
    fn a_file_with_everything() {
        let text = r#"
groups:
  - name: g
    interval: 100ms
    query_offset: 5s
    limit: 10
    labels: {team: a, severity: low}
    rules:
      - record: job:up:sum
        expr: sum by(job)(up)
      - alert: Down
        expr: up == 0
        for: 5m
        keep_firing_for: 1m
        labels:
          severity: 1
        annotations:
          summary: "{{ $labels.instance }} is down: {{ $value | humanize }}"
  - name: empty
"#;
        let groups = read("r.yml", text, 60_000).unwrap();
        assert_eq!((groups[0].interval, groups[0].query_offset, groups[0].limit), (100, Some(5_000), 10));
        assert_eq!(groups[1].interval, 60_000);
        let [record, alert] = &groups[0].rules[..] else { panic!("{groups:?}") };
        assert_eq!(&*record.query, "sum by (job) (up)");
        assert_eq!(format!("{:?}", alert.labels), r#"[("severity", "1"), ("team", "a")]"#);
        let alerting = alert.alerting().unwrap();
        assert_eq!((alerting.hold, alerting.keep_firing), (300_000, 60_000));
    }

    #[test]
    fn a_kubernetes_object() {
        let text = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: x}\nspec:\n  groups:\n  - name: g\n    rules: [{record: a, expr: '1'}]\n";
        assert_eq!(read("r.yml", text, 1).unwrap()[0].rules.len(), 1);
        assert!(read("r.yml", "# nothing\n", 1).unwrap().is_empty());
        let two = "# first\n---\ngroups: [{name: g}]\n---\ngroups: [{nonsense: 1}]\n";
        assert_eq!(read("r.yml", two, 1).unwrap().len(), 1);
    }

    #[test]
    fn every_mistake_has_its_own_message_and_place() {
        check(
            "groups:\n- name: g\n  rules:\n  - alert: A\n    exprr: up\n",
            &expect![[r#"
                r.yml:5:5: unknown key "exprr": did you mean "expr"?
                      exprr: up
                      ^
            "#]],
        );
        check(
            "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum(up by (job))\n  - alert: B\n    expr: |\n      1 +\n      rate(up)\n",
            &expect![[r#"
                r.yml:5:18: group "g", rule 1, "A": could not parse expression: 1:8: parse error: unexpected <by> in aggregation
                      expr: sum(up by (job))
                                   ^
                r.yml:9:12: group "g", rule 2, "B": could not parse expression: 2:6: parse error: expected type range vector in call to function "rate", got instant vector
                        rate(up)
                             ^
            "#]],
        );
        check(
            "groups:\n- name: g\n  rules:\n  - record: a{b}\n    expr: '1'\n    for: 1m\n  - record: x\n    alert: y\n    expr: '1'\n- name: g\n  rules: [{expr: '1'}, {alert: z}]\n",
            &expect![[r#"
                r.yml:4:13: group "g", rule 1, "a{b}": invalid field 'for' in recording rule
                    - record: a{b}
                              ^
                r.yml:4:13: group "g", rule 1, "a{b}": braces present in the recording rule name; should it be in expr?: a{b}
                    - record: a{b}
                              ^
                r.yml:8:12: group "g", rule 2, "y": only one of 'record' and 'alert' must be set
                      alert: y
                             ^
                r.yml:10:9: groupname: "g" is repeated in the same file
                  - name: g
                          ^
                r.yml:11:11: group "g", rule 1, "": one of 'record' or 'alert' must be set
                    rules: [{expr: '1'}, {alert: z}]
                            ^
                r.yml:11:32: group "g", rule 2, "z": field 'expr' must be set in rule
                    rules: [{expr: '1'}, {alert: z}]
                                                 ^
            "#]],
        );
        check(
            "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    for: 5 minutes\n",
            &expect![[r#"
            r.yml:6:10: not a valid duration string: "5 minutes" (write 15s, 1m30s, 100ms; units y, w, d, h, m, s, ms in this order)
                  for: 5 minutes
                       ^
        "#]],
        );
        check(
            "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    annotations: {a: '{{ $labels.x | nope }}', b: '{{ if }}'}\n    labels: {__name__: x}\n",
            &expect![[r#"
                r.yml:4:12: group "g", rule 1, "A": annotation "a": template: __alert_A:1: function "nope" not defined
                    - alert: A
                             ^
                r.yml:4:12: group "g", rule 1, "A": annotation "b": template: __alert_A:1:9: empty command
                    - alert: A
                             ^
                r.yml:4:12: group "g", rule 1, "A": invalid label name: __name__
                    - alert: A
                             ^
            "#]],
        );
    }
}
