use std::sync::Arc;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::promql::ast::Expr;
use crate::rules::expansion::{self, Expander, Surroundings};
use crate::rules::seam::{Backend, RuleSample};

struct Fixed;

impl Backend for Fixed {
    fn query(&self, text: &str, _expr: &Expr, time: Millis) -> Result<Vec<RuleSample>, String> {
        let sample = |instance: &str, value| RuleSample {
            labels: Labels::from_pairs([("__name__", "up"), ("instance", instance), ("__value__", "v")]),
            time,
            value: Value::Float(value),
        };
        match text {
            "up" => Ok(vec![sample("b", 11.0), sample("a", 21.0)]),
            "none" => Ok(Vec::new()),
            _ => Err("query failed".to_owned()),
        }
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        vec![Ok(()); batches.len()]
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let backend: Arc<dyn Backend> = Arc::new(Fixed);
    let surroundings = Surroundings {
        external_labels: [("cluster".to_owned(), "c1".to_owned())].into(),
        external_url: "http://nova:9090/p".to_owned(),
    };
    let expander = Expander::new("A", &backend, &surroundings, 1_435_065_584_128);
    let labels = Labels::from_pairs([("instance", "web.example.com:9100")]);
    assert_eq!(expander.element(&labels, &Value::Float(0.5)).expand(text), expected, "{text}");
    if !expected.starts_with("<error") {
        assert_eq!(expansion::check("A", text), Ok(()), "{text}");
    }
}

#[test]
fn variables() {
    check(
        "{{ $labels.instance }}|{{ .Labels.instance }}|{{ $labels.none }}",
        "web.example.com:9100|web.example.com:9100|",
    );
    check(
        "{{ $value | humanizePercentage }} {{ $externalLabels.cluster }} {{ $externalURL }}",
        "50% c1 http://nova:9090/p",
    );
    check("{{ printf \"%.1f\" .Value }}", "0.5");
}

#[test]
fn queries() {
    check("{{ query \"up\" | first | value }} {{ with query \"none\" }}x{{ else }}-{{ end }}", "11 -");
    check(
        "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}:{{ .Value }};{{ end }}",
        "a:21;b:11;",
    );
    check("{{ query \"up\" | first | label \"instance\" }} {{ query \"up\" | first | strvalue }}", "b v");
    check(
        "{{ range $i, $e := query \"up\" }}{{ $x := $e.Value }}{{ $i }}{{ $x }}{{ end }}{{ \"$none\" }}",
        "011121$none",
    );
    check("{{ with args 1 \"x\" }}{{ .arg0 }}{{ .arg1 }}{{ end }}", "1x");
}

#[test]
fn hosts_links_and_times() {
    check("{{ stripPort $labels.instance }} {{ stripDomain $labels.instance }}", "web.example.com web:9100");
    check(
        "{{ stripPort \"[::1]:80\" }} {{ stripDomain \"10.0.0.1:80\" }} {{ stripDomain \"a.b\" }}",
        "::1 10.0.0.1:80 a",
    );
    check(
        "{{ graphLink \"up == 0\" }} {{ pathPrefix }}{{ externalURL }}",
        "/graph?g0.expr=up+%3D%3D+0&g0.tab=0 /phttp://nova:9090/p",
    );
    check("{{ humanizeTimestamp 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC");
    check(
        "{{ (toTime 1435065584.128).Year }} {{ toDuration 3723.5 }} {{ (toDuration 90.0).Minutes }} {{ toDuration 0.0015 }}",
        "2015 1h2m3.5s 1.5 1.5ms",
    );
    check("{{ printf \"%.3f\" now }} {{ parseDuration \"-1h30m\" }}", "1435065584.128 -5400");
}

#[test]
fn faults_stand_in_the_text() {
    let backend: Arc<dyn Backend> = Arc::new(Fixed);
    let expander = Expander::new("A", &backend, &Surroundings::default(), 0);
    let element = expander.element(&Labels::empty(), &Value::Float(1.0));
    for text in ["{{ query \"boom\" }}", "{{ query \"none\" | first }}", "{{ query \"sum(\" }}", "{{ .Nope.x.y }}"] {
        let expanded = element.expand(text);
        assert!(expanded.starts_with("<error expanding template: error executing template __alert_A: "), "{expanded}");
    }
    for bad in ["{{ nope }}", "{{ if }}", "{{ $labels.x", "{{ $lables.x }}"] {
        assert!(expansion::check("A", bad).is_err(), "{bad}");
    }
}
