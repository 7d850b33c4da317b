//! What is recorded under Sloth's names, and its alerts, beside the rules that Sloth itself makes of the same file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::rules::file as rules;
use crate::rules::unit_test::memory::Memory as Written;

/// A name and its labels, without those that name the program.
fn told<'a>(name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let program = ["__name__", "sloth_mode", "sloth_version"];
    let labels: BTreeSet<String> =
        labels.filter(|(name, _)| !program.contains(name)).map(|(name, value)| format!("{name}={value}")).collect();
    format!("{name} {labels:?}")
}

#[test]
fn series_and_alerts_have_the_names_and_labels_that_sloth_gives() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/slo/sloth-golden");
    let golden = std::fs::read_to_string(corpus.join("out-base.yaml.tpl")).unwrap();
    // A template of Sloth's own tests: its version, and templates that are to stay.
    let golden = golden.replace("{{ .version }}", "v").replace("{{\"", "").replace("\"}}", "");
    let groups = rules::read("out.yml", &golden, 30_000).unwrap_or_else(|faults| panic!("{}", faults[0]));
    let all = || groups.iter().flat_map(|group| &group.rules);
    let pairs = |rule: &crate::rules::rule::Rule| -> Vec<(String, String)> {
        rule.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let expect: BTreeSet<String> = all()
        .filter(|rule| rule.alerting().is_none())
        .map(|rule| told(&rule.name, pairs(rule).iter().map(|(n, v)| (n.as_str(), v.as_str()))))
        .collect();

    let mut memory = Memory::default();
    for code in ["200", "500"] {
        let labels = [("job", "myservice"), ("code", code)];
        let samples = (0..40 * 24).map(|hour| (hour * 3_600_000, hour as f64));
        memory.add("http_request_duration_seconds_count", &labels, samples);
    }
    let memory = Arc::new(memory);
    let text = std::fs::read_to_string(corpus.join("in-base.yaml")).unwrap();
    let now = 39 * DAY;
    let (engine, _hand) = engine(&memory, now, &text);
    let written = Written::new(QueryOptions::default());
    Recorder::default().record(&engine, &written, &[Names::Sloth], now).unwrap();
    written.set_now(now);
    let every = parse("{__name__!=\"\"}");
    let found: BTreeSet<String> = written
        .query("{__name__!=\"\"}", &every, now)
        .unwrap()
        .iter()
        .map(|sample| told(sample.labels.get("__name__").unwrap(), sample.labels.iter()))
        .collect();
    // Over fewer samples than the shortest windows need, their ratios are unknown and not written.
    let missing: Vec<&String> = expect.difference(&found).collect();
    let more: Vec<&String> = found.difference(&expect).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:#?}, more {more:#?}");

    let texts = |alert: &crate::rules::rule::Rule| {
        let annotations = alert.alerting().unwrap().annotations.iter();
        let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace(' ', "");
        annotations.map(|(name, text)| format!("{name}: {}", spaced(text))).collect::<Vec<_>>()
    };
    let alerts = |specs: &[crate::rules::rule::GroupSpec]| -> BTreeSet<String> {
        let rules = specs.iter().flat_map(|group| &group.rules).filter(|rule| rule.alerting().is_some());
        rules.map(|rule| format!("{} {:?} {:?}", rule.name, pairs(rule), texts(rule))).collect()
    };
    assert_eq!(alerts(&alerting::groups(&set(&text).objectives, 1_000)), alerts(&groups));
}

fn parse(query: &str) -> Expr {
    crate::promql::parse::parse(query).unwrap()
}
