use std::path::PathBuf;

use expect_test::{Expect, expect};

use super::*;
use crate::slo::objective::{Budgeting, Dialect};
use crate::slo::terms::{Measure, Reading as Read};
use crate::slo::window::Window;

#[track_caller]
fn faults(text: &str, expect: &Expect) {
    let faults = read("s.yml", text).unwrap_err();
    expect.assert_eq(&faults.iter().map(|fault| fault.to_string() + "\n").collect::<String>());
}

fn one(text: &str) -> Objective {
    let content = read("s.yml", text)
        .unwrap_or_else(|faults| panic!("{}", faults.iter().map(|f| f.to_string() + "\n").collect::<String>()));
    content.objectives.into_iter().next().unwrap()
}

/// Examples that are not read, and what is said of them.
const REFUSED: [(&str, &str); 5] = [
    ("openslo-getting-started.yml", "openslo/v1alpha is another form"),
    ("openslo-kubernetes-apiserver.yml", "openslo/v1alpha is another form"),
    ("plugin-getting-started.yml", "SLI plugins are Go code"),
    ("plugin-k8s-getting-started.yml", "SLI plugins are Go code"),
    ("victoria-metrics.yml", "unknown function with name \"histogram_share\""),
];

#[test]
fn what_sloth_refuses_is_refused_at_its_place() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/slo/sloth-bad");
    let mut files = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let faults = load(&path).expect_err(&path.display().to_string());
        assert!(faults.iter().all(|fault| fault.at.is_some()), "{}", faults[0]);
        files += 1;
    }
    assert_eq!(files, 8);
}

#[test]
fn files_of_others_are_read_as_they_are() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/slo");
    let (mut counts, mut refusals) = (Vec::new(), 0);
    for folder in ["sloth", "pyrra", "openslo"] {
        let (mut files, mut objectives) = (0, 0);
        let mut paths: Vec<_> = fs::read_dir(corpus.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            match load(&path) {
                Ok(content) => {
                    assert!(!content.objectives.is_empty(), "{}", path.display());
                    objectives += content.objectives.len();
                }
                Err(faults) => {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    let refused = REFUSED.iter().find(|(file, _)| *file == name);
                    assert!(refused.is_some_and(|(_, why)| faults[0].message.contains(why)), "{}", faults[0]);
                    assert!(faults[0].at.is_some(), "{}", faults[0]);
                    refusals += 1;
                }
            }
            files += 1;
        }
        counts.push((files, objectives));
    }
    assert_eq!((counts.as_slice(), refusals), ([(18, 19), (27, 28), (4, 5)].as_slice(), REFUSED.len()));
}

#[test]
fn the_short_form_has_defaults() {
    let slo = one("slos: [{name: a, objective: 99.9, sli: {good: 'x_total{ok=\"1\"}', total: x_total}}]");
    assert_eq!((slo.target, slo.windows[0].to_string(), slo.alerts.len()), (0.999, "30d".to_owned(), 4));
    assert_eq!(slo.alerts[0].pairs[0].factor, 14.4);
    let named = one(
        "slos:\n  api:\n    indicator: sum(rate(ok[5m])) / sum(rate(x[5m]))\n    target: '99.9%'\n    window: 7d rolling\n",
    );
    assert_eq!((&*named.name, named.target, named.windows[0].to_string()), ("api", 0.999, "7d".to_owned()));
    let slo =
        one("slos: [{name: a, objective: 0.95, windows: [7d, calendar month], sli: {type: availability, query: up}}]");
    assert_eq!(slo.windows.len(), 2);
    assert!(matches!(slo.windows[1], Window::Calendar { .. }));
    let slo = one(
        "slos: [{name: a, objective: 99, budgeting: timeslices, timeslice: {window: 1m, target: 95}, sli: {good: a, bad: b}}]",
    );
    assert_eq!(slo.budgeting, Budgeting::Timeslices { width: 60_000, target: 0.95 });
    assert_eq!(slo.parts[0].denominator.len(), 2);
}

#[test]
fn latency_counts_requests_below_its_threshold() {
    let measure = |slo: &Objective| match &slo.parts[0].numerator[0].reading {
        Read::Series { measure, .. } | Read::Query { measure, .. } => *measure,
    };
    let slo = one("slos: [{name: a, objective: 95, sli: {type: latency, query: h_seconds_bucket, threshold: 500ms}}]");
    assert_eq!((measure(&slo), slo.target), (Measure::Bucket(0.5), 0.95));
    let slo =
        one("slos: [{name: a, objective: 95, sli: {type: latency, query: 'sum(rate(h_ms[5m]))', threshold: 500ms}}]");
    assert_eq!(measure(&slo), Measure::Bucket(500.0));
    // A number beyond 100 is the threshold, and the quantile says which share is meant.
    let slo = one(
        "slos: [{name: a, objective: 500, window: 7d, sli: {type: latency, query: 'histogram_quantile(0.95, sum(rate(h_seconds_bucket[5m])) by (le))'}}]",
    );
    assert_eq!((measure(&slo), slo.target), (Measure::Bucket(0.5), 0.95));
    assert!(slo.notes[0].contains("taken as a threshold of 500 ms for 95 %"), "{:?}", slo.notes);
    // So much of the time the quantile is below.
    let slo = one(
        "slos: [{name: a, objective: 99.9, sli: {type: latency, query: 'histogram_quantile(0.99, sum(rate(h_bucket[5m])) by (le))', threshold: '< 200ms'}}]",
    );
    assert!(matches!(&slo.parts[0].numerator[0].reading, Read::Query { step: 60_000, .. }));
}

#[test]
fn names_and_labels_of_alerts_are_those_of_the_form() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/slo");
    let sloth = load(&corpus.join("sloth/getting-started.yml")).unwrap().objectives.remove(0);
    let [page, ticket] = &*sloth.alerts else { panic!("{:?}", sloth.alerts) };
    assert_eq!(
        (page.name.as_str(), page.labels["sloth_severity"].as_str(), page.pairs.len()),
        ("MyServiceHighErrorRate", "page", 2)
    );
    assert_eq!((ticket.labels["severity"].as_str(), ticket.hold), ("slack", 0));
    assert_eq!(page.annotations["summary"], "High error rate on 'myservice' requests responses");
    assert_eq!((sloth.id().as_str(), &sloth.dialect), ("myservice-requests-availability", &Dialect::Sloth));
    let pyrra = load(&corpus.join("pyrra/pyrra-connect-latency.yaml")).unwrap().objectives.remove(0);
    assert_eq!((pyrra.alerts.len(), pyrra.alerts[0].hold, pyrra.group_by.len()), (4, 60_000, 2));
    let labels: Vec<_> = pyrra.alerts[0].labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(labels, ["code=ok", "exhaustion=1d", "job=pyrra", "long=30m", "severity=critical", "short=3m"]);
    assert_eq!(pyrra.absent.unwrap().hold, 300_000);
}

#[test]
fn openslo_objects_refer_to_each_other() {
    let text = r#"
apiVersion: openslo/v1
kind: SLO
metadata: {name: a, labels: {team: [x, z]}}
spec:
  service: web
  indicatorRef: ok
  timeWindow: [{duration: 1M, calendar: {startTime: 2022-01-01 12:00:00, timeZone: America/New_York}}]
  budgetingMethod: Timeslices
  objectives:
    - {displayName: Good, target: 0.99, timeSliceTarget: 0.95, timeSliceWindow: 2}
    - {displayName: Very good, targetPercent: 99.9, timeSliceTarget: 1, timeSliceWindow: 1m}
  alertPolicies: [p]
---
- apiVersion: openslo/v1
  kind: SLI
  metadata: {name: ok}
  spec:
    ratioMetric:
      bad: {metricSource: {type: Prometheus, spec: {query: "sum(x{ok=\"no\"})"}}}
      total: {metricSource: {metricSourceRef: prom, spec: {query: sum(x)}}}
- apiVersion: openslo/v1
  kind: DataSource
  metadata: {name: prom}
  spec: {type: Prometheus}
- apiVersion: openslo/v1
  kind: AlertPolicy
  metadata: {name: p}
  spec:
    alertWhenNoData: true
    conditions: [{conditionRef: fast}]
- apiVersion: openslo/v1
  kind: AlertCondition
  metadata: {name: fast}
  spec:
    severity: page
    condition: {kind: burnrate, op: gte, threshold: 2, lookbackWindow: 1h, alertAfter: 5m}
"#;
    let content = read("s.yml", text).unwrap();
    let [good, very_good] = &*content.objectives else { panic!("{content:?}") };
    assert_eq!((&*good.name, &*very_good.name, very_good.target), ("a-good", "a-very-good", 0.999));
    assert_eq!(good.budgeting, Budgeting::Timeslices { width: 120_000, target: 0.95 });
    assert_eq!(good.labels["team"], "x,z");
    assert_eq!(
        (good.alerts[0].hold, good.alerts[0].pairs[0].long, good.alerts[0].labels["severity"].as_str()),
        (300_000, 3_600_000, "page")
    );
    assert!(good.absent.is_some() && !good.parts[0].is_good);
    faults(
        &text.replace("indicatorRef: ok", "indicatorRef: okk").replace("{name: p}", "{name: pp}"),
        &expect![[r#"
            s.yml:13:19: no AlertPolicy is called "p"
                alertPolicies: [p]
                                ^
            s.yml:7:17: no SLI is called "okk": did you mean "ok"?
                indicatorRef: okk
                              ^
            s.yml:7:17: no SLI is called "okk": did you mean "ok"?
                indicatorRef: okk
                              ^
        "#]],
    );
}

#[test]
fn every_mistake_has_its_own_message_and_place() {
    faults(
        "slos:\n- name: a\n  objectiv: 99\n",
        &expect![[r#"
        s.yml:3:3: unknown key "objectiv": did you mean "objective"?
            objectiv: 99
            ^
    "#]],
    );
    faults(
        "slos:\n- name: a\n  objective: 100\n  sli: {good: a, total: b}\n",
        &expect![[r#"
        s.yml:3:14: an objective of 100 % leaves no error budget; write 99.999 or less
            objective: 100
                       ^
    "#]],
    );
    faults(
        "slos:\n- name: a\n  objective: 99\n  window: 30 days\n  sli:\n    good: sum(rate(a[5m])\n    total: b\n",
        &expect![[r#"
            s.yml:4:11: not a window: "30 days" (write 30d, or calendar day, week, month, quarter or year)
                window: 30 days
                        ^
            s.yml:6:26: could not parse the query: 1:16: parse error: unclosed left parenthesis
                  good: sum(rate(a[5m])
                                       ^
              hint: something is not closed or not finished
        "#]],
    );
    faults(
        "slos:\n- {name: a, objective: 99, sli: {query: http_requests_total}}\n- {name: a, objective: 99, sli: {good: a, total: b}}\n- {name: a, objective: 99, sli: {good: a, total: b}}\n",
        &expect![[r#"
            s.yml:2:41: this counts events, and an objective needs a share of them: write good: and total:, or a query that divides
              - {name: a, objective: 99, sli: {query: http_requests_total}}
                                                      ^
            s.yml:4:10: objective "a" of service "" is there twice
              - {name: a, objective: 99, sli: {good: a, total: b}}
                       ^
              hint: give one of them another name
        "#]],
    );
    faults(
        "slos:\n- {name: a, objective: 99, sli: {type: latency, query: h}}\nmaintenance: [{name: m, start: '2026-01-02T00:00:00Z', end: '2026-01-01T00:00:00Z'}]\n",
        &expect![[r#"
            s.yml:3:15: maintenance "m": end must be after start
              maintenance: [{name: m, start: '2026-01-02T00:00:00Z', end: '2026-01-01T00:00:00Z'}]
                            ^
        "#]],
    );
}

#[test]
fn mistakes_in_other_forms_are_named_as_well() {
    faults(
        "version: prometheus/v1\nservice: s\nslos:\n- name: a\n  objective: 99\n  sli: {events: {eror_query: a, total_query: b}}\n",
        &expect![[r#"
            s.yml:6:18: unknown key "eror_query": did you mean "errorQuery"?
                sli: {events: {eror_query: a, total_query: b}}
                               ^
        "#]],
    );
    faults(
        "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: {name: a}\nspec:\n  target: '99'\n  window: 2w\n  indicator: {ratio: {errors: {metric: 'rate(a[5m])'}, total: {metric: b}}}\n",
        &expect![[r#"
            s.yml:7:40: metric is a selector such as http_requests_total{job="a"}, without functions
                indicator: {ratio: {errors: {metric: 'rate(a[5m])'}, total: {metric: b}}}
                                                     ^
        "#]],
    );
    faults(
        "apiVersion: openslo/v2\nkind: SLO\n",
        &expect![[r#"
        s.yml:1:1: unknown apiVersion "openslo/v2": did you mean "openslo/v1"?
          apiVersion: openslo/v2
          ^
    "#]],
    );
    faults(
        "- 1\n",
        &expect![[r#"
        s.yml:1:1: not a file of objectives: it should have slos:, or apiVersion: and kind:
          - 1
          ^
    "#]],
    );
}
