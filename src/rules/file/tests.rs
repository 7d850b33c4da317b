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
              hint: by (…) belongs to an aggregation and stands beside its operator: sum by (job) (…), or sum(…) by (job)
            r.yml:9:12: group "g", rule 2, "B": could not parse expression: 2:6: parse error: expected type range vector in call to function "rate", got instant vector
                    rate(up)
                         ^
              hint: add a range: the function looks at a span of time, as in rate(x[5m])
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
              hint: the other one stands in line 2; give one of them another name
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
            r.yml:6:38: group "g", rule 1, "A": annotation "a": template: __alert_A:1: function "nope" not defined
                  annotations: {a: '{{ $labels.x | nope }}', b: '{{ if }}'}
                                                   ^
            r.yml:6:60: group "g", rule 1, "A": annotation "b": template: __alert_A:1:9: empty command
                  annotations: {a: '{{ $labels.x | nope }}', b: '{{ if }}'}
                                                                         ^
            r.yml:4:12: group "g", rule 1, "A": invalid label name: __name__
                - alert: A
                         ^
        "#]],
    );
}
