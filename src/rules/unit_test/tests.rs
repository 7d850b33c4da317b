use std::fs;

use expect_test::{Expect, expect};

use crate::rules::unit_test::run;

const RULES: &str = r#"
groups:
- name: g
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: job:up:sum < 2
    for: 2m
    labels: {severity: page, cluster: '{{ $externalLabels.cluster }}'}
    annotations: {summary: '{{ $labels.job }} has {{ $value }} of {{ query "count(up)" | first | value }}'}
"#;

#[track_caller]
fn check(tests: &str, expect: &Expect) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let path = folder.path().join("test.yml");
    fs::write(&path, format!("rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n{tests}")).unwrap();
    let report = run(&path);
    // The first line keeps the indentation of the others.
    let text = format!("faults:\n{}\n", report.faults.join("\n"));
    expect.assert_eq(&text.replace(&folder.path().display().to_string(), "."));
}

const INPUT: &str = r#"
- interval: 1m
  external_labels: {cluster: c1}
  input_series:
  - {series: 'up{job="a", instance="1"}', values: '1x3 0x10'}
  - {series: 'up{job="a", instance="2"}', values: '1 1 1 1+0x10'}
"#;

#[test]
fn what_holds_passes() {
    check(
        &(INPUT.to_owned()
            + r#"
  alert_rule_test:
  - {eval_time: 5m, alertname: Down}
  - eval_time: 6m30s
    alertname: Down
    exp_alerts:
    - exp_labels: {job: a, severity: page, cluster: c1}
      exp_annotations: {summary: 'a has 1 of 2'}
  promql_expr_test:
  - {expr: 'job:up:sum', eval_time: 4m, exp_samples: [{labels: 'job:up:sum{job="a"}', value: 1}]}
  - {expr: 'ALERTS{alertstate="pending"}', eval_time: 5m, exp_samples: [{labels: 'ALERTS{alertname="Down", alertstate="pending", cluster="c1", job="a", severity="page"}', value: 1.0E0}]}
  - {expr: 'sum_over_time(up{instance="1"}[2m:])', eval_time: 4m, exp_samples: [{labels: '{instance="1", job="a"}', value: 1}]}
"#),
        &expect![[r#"
            faults:

        "#]],
    );
}

#[test]
fn histograms_know_of_resets() {
    check(
        r#"
- input_series:
  - {series: h, values: '{{count:2 sum:3 buckets:[2]}}+{{count:1 sum:1 buckets:[1]}}x2 {{count:1 sum:1 buckets:[1]}}'}
  promql_expr_test:
  - {expr: h, eval_time: 0, exp_samples: [{labels: h, histogram: '{{count:2 sum:3 buckets:[2]}}'}]}
  - {expr: h, eval_time: 2m, exp_samples: [{labels: h, histogram: '{{count:4 sum:5 buckets:[4] counter_reset_hint:not_reset}}'}]}
  - {expr: h, eval_time: 3m, exp_samples: [{labels: h, histogram: '{{count:1 sum:1 buckets:[1] counter_reset_hint:reset}}'}]}
"#,
        &expect![[r#"
            faults:

        "#]],
    );
}

#[test]
fn what_does_not_hold_is_shown() {
    check(
        &(INPUT.to_owned()
            + r#"
  name: wrong
  alert_rule_test:
  - {eval_time: 10m, alertname: Down}
  - {eval_time: 0, alertname: Down, exp_alerts: [{exp_labels: {job: b}}]}
  promql_expr_test:
  - {expr: 'up{instance="2"}', eval_time: 1h, exp_samples: [{labels: 'up', value: 0.25}]}
  - {expr: 'sum(', eval_time: 1m}
  - {expr: 'up[5m]', eval_time: 1m}
"#),
        &expect![[r#"
            faults:
                name: wrong,
                alertname: Down, time: 0s, 
                    exp:[
                        0:
                          Labels:{alertname="Down", job="b"}
                          Annotations:{}
                        ], 
                    got:[]
                name: wrong,
                alertname: Down, time: 10m, 
                    exp:[], 
                    got:[
                        0:
                          Labels:{alertname="Down", cluster="c1", job="a", severity="page"}
                          Annotations:{summary="a has 1 of 2"}
                        ]
                expr: "up{instance=\"2\"}", time: 1h,
                    exp: {__name__="up"} 2.5E-01
                    got: nil
                expr: "sum(", time: 1m, err: 1:5: parse error: unclosed left parenthesis
                expr: "up[5m]", time: 1m, err: rule result is not a vector or scalar
        "#]],
    );
    check(
        "- {input_series: [{series: 'a{', values: '1'}]}\n- {input_series: [{series: 'a', values: '1z'}]}\n",
        &expect![[r#"
            faults:
            input_series "a{": 1:3: parse error: unexpected end of input inside braces
            input_series "a": unexpected "1z" in series values
        "#]],
    );
    check(
        "- {alert_rule_test: [{eval_time: 1m}], nope: 1}\n",
        &expect![[r#"
            faults:
            ./test.yml:4:40: unknown key "nope"; the known keys are name, interval, input_series, alert_rule_test, promql_expr_test, external_labels, external_url, start_timestamp
              - {alert_rule_test: [{eval_time: 1m}], nope: 1}
                                                     ^
        "#]],
    );
}
