//! What Prometheus' own tests of its templates expect, each with what it gives there.

use std::sync::Arc;

use crate::base::clock::Millis;
use crate::model::histogram::Histogram;
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::promql::ast::Expr;
use crate::rules::expansion::{Expander, Surroundings};
use crate::rules::seam::{Backend, RuleSample};

/// Answers by the name of the metric.
struct Answers;

impl Backend for Answers {
    fn query(&self, text: &str, _expr: &Expr, time: Millis) -> Result<Vec<RuleSample>, String> {
        let sample = |labels: &[(&str, &str)], value| RuleSample {
            labels: Labels::from_pairs([("__name__", "metric")].iter().chain(labels).copied()),
            time,
            value,
        };
        let float = |labels: &[(&str, &str)], value| sample(labels, Value::Float(value));
        Ok(match text {
            "1.5" => vec![float(&[], 1.5)],
            "two" => vec![float(&[("instance", "b")], 21.0), float(&[("instance", "a")], 11.0)],
            "histogram" => {
                let histogram = Histogram { count: 3.0, sum: 10.0, ..Histogram::default() };
                vec![sample(&[], Value::Histogram(Arc::new(histogram)))]
            }
            "missing" => vec![],
            _ => vec![float(&[("instance", "a"), ("__value__", "a")], 11.0)],
        })
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        vec![Ok(()); batches.len()]
    }
}

/// Template and result, at 2012-11-24 11:14:12 UTC.
const GOOD: &[(&str, &str)] = &[
    ("plain text", "plain text"),
    ("{{ 1 }}", "1"),
    ("{{ \"<b>\" }}", "<b>"),
    ("{{ \"<b>\" | safeHtml }}", "<b>"),
    ("{{define \"x\"}}{{.arg0}} {{.arg1}}{{end}}{{template \"x\" (args 1 \"2\")}}", "1 2"),
    ("{{ query \"1.5\" | first | value }}", "1.5"),
    ("{{ query \"one\" | first | value }}", "11"),
    ("{{ query \"histogram\" | first | value }}", "{count:3, sum:10}"),
    ("{{ query \"one\" | first | label \"instance\" }}", "a"),
    ("{{ query \"one\" | first | strvalue }}", "a"),
    ("{{ query \"one\" | first | label \"foo\" }}", ""),
    ("{{ range query \"two\" | sortByLabel \"instance\" }}{{.Labels.instance}}:{{.Value}}: {{end}}", "a:11: b:21: "),
    ("{{ \"foo.example.com\" | stripPort }}", "foo.example.com"),
    ("{{ \"foo.example.com:12345\" | stripPort }}", "foo.example.com"),
    ("{{ \"192.0.2.1\" | stripPort }} {{ \"192.0.2.1:12345\" | stripPort }}", "192.0.2.1 192.0.2.1"),
    ("{{ \"2001:0DB8::1\" | stripPort }} {{ \"[2001:0DB8::1]:12345\" | stripPort }}", "2001:0DB8::1 2001:0DB8::1"),
    ("{{ \"[2001:0DB8::1]::12345\" | stripPort }}", "[2001:0DB8::1]::12345"),
    ("{{ \"foo.example.com\" | stripDomain }} {{ \"foo.example.com:12345\" | stripDomain }}", "foo foo:12345"),
    ("{{ \"192.0.2.1\" | stripDomain }} {{ \"192.0.2.1:12345\" | stripDomain }}", "192.0.2.1 192.0.2.1:12345"),
    (
        "{{ \"2001:0DB8::1\" | stripDomain }} {{ \"[2001:0DB8::1]:12345\" | stripDomain }}",
        "2001:0DB8::1 [2001:0DB8::1]:12345",
    ),
    ("{{ \"[2001:0DB8::1]::12345\" | stripDomain }}", "[2001:0DB8::1]::12345"),
    ("{{ reReplaceAll \"(a)b\" \"x$1\" \"ab\" }}", "xa"),
    ("{{ humanize 0.0 }}:{{ humanize 1.0 }}:{{ humanize 1234567.0 }}:{{ humanize .12 }}", "0:1:1.235M:120m"),
    ("{{ humanize \"0.0\" }}:{{ humanize \"1234567.0\" }}:{{ humanize \".12\" }}", "0:1.235M:120m"),
    ("{{ humanize 0 }}:{{ humanize -1 }}:{{ humanize 9223372036854775807 }}", "0:-1:9.223E"),
    ("{{ humanize1024 0.0 }}:{{ humanize1024 1048576.0 }}:{{ humanize1024 .12 }}", "0:1Mi:0.12"),
    ("{{ humanize1024 -1 }}:{{ humanize1024 1234567 }}:{{ humanize1024 9223372036854775807 }}", "-1:1.177Mi:8Ei"),
    ("{{ humanizeDuration 0 }}:{{ humanizeDuration 60 }}:{{ humanizeDuration 3600 }}", "0s:1m 0s:1h 0m 0s"),
    ("{{ humanizeDuration 90000 }}:{{ humanizeDuration -183845.0 }}", "1d 1h 0m 0s:-2d 3h 4m 5s"),
    ("{{ humanizeDuration 899.99 }}:{{ humanizeDuration \"86400\" }}", "14m 59s:1d 0h 0m 0s"),
    (
        "{{ humanizeDuration .1 }}:{{ humanizeDuration .0001 }}:{{ humanizeDuration .12345 }}:{{ humanizeDuration 60.5 }}",
        "100ms:100us:123.5ms:1m 0s",
    ),
    (
        "{{ humanizeDuration 1.2345 }}:{{ humanizeDuration 12.345 }}:{{ humanizeDuration 1234567 }}",
        "1.234s:12.35s:14d 6h 56m 7s",
    ),
    ("{{ humanize \"+Inf\" }}:{{ humanize1024 \"-Inf\" }}:{{ humanizeDuration \"NaN\" }}", "+Inf:-Inf:NaN"),
    ("{{ humanizeTimestamp \"+Inf\" }}:{{ humanizeTimestamp \"NaN\" }}", "+Inf:NaN"),
    (
        "{{ -0.22222 | humanizePercentage }}:{{ 0.0 | humanizePercentage }}:{{ 0.1234567 | humanizePercentage }}:{{ 1.23456 | humanizePercentage }}",
        "-22.22%:0%:12.35%:123.5%",
    ),
    ("{{ humanizePercentage 1234567 }}:{{ \"0.1234567\" | humanizePercentage }}", "1.235e+08%:12.35%"),
    (
        "{{ humanizeTimestamp 0 }}:{{ humanizeTimestamp -1 }}:{{ humanizeTimestamp 9223372036 }}",
        "1970-01-01 00:00:00 +0000 UTC:1969-12-31 23:59:59 +0000 UTC:2262-04-11 23:47:16 +0000 UTC",
    ),
    ("{{ 1435065584.128 | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC"),
    ("{{ \"1435065584.128\" | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC"),
    ("{{ (1435065584.128 | toTime).Format \"2006\" }}", "2015"),
    ("{{ (\"1435065584.128\" | toTime).Format \"2006\" }}", "2015"),
    ("{{ (1800 | toDuration).String }} {{ (\"1800\" | toDuration).String }}", "30m0s 30m0s"),
    ("{{ now }}", "1.353755652e+09"),
    ("{{ (now | toTime).Format \"Mon Jan 2 15:04:05 2006\" }}", "Sat Nov 24 11:14:12 2012"),
    ("{{ (\"-30m\" | parseDuration | toDuration | (now | toTime).Add).UnixMilli }}", "1353753852000"),
    ("{{ \"aa bb CC\" | title }}", "Aa Bb CC"),
    ("{{ \"aa bb CC\" | toUpper }} {{ \"aA bB CC\" | toLower }}", "AA BB CC aa bb cc"),
    ("{{ match \"a+\" \"aa\" }} {{ match \"a+\" \"b\" }}", "true false"),
    ("{{ graphLink \"up\" }} {{ tableLink \"up\" }}", "/graph?g0.expr=up&g0.tab=0 /graph?g0.expr=up&g0.tab=1"),
    ("{{ define \"a\" }}x{{ end }}{{ $name := \"a\"}}{{ tmpl $name . }}", "x"),
    ("{{ pathPrefix }} {{ externalURL }}", "/path/prefix http://testhost:9090/path/prefix"),
    ("{{ printf \"%0.2f\" (parseDuration \"1h2m10ms\") }}", "3720.01"),
    ("{{ printf \"%0.2f\" (parseDuration \"-1h2m10ms\") }}", "-3720.01"),
    ("{{ urlQueryEscape \"a b&c\" }}", "a+b%26c"),
    // Floats are printed as Go prints them.
    ("{{ 1234567.0 }} {{ 100000.0 }} {{ 0.00001 }}", "1.234567e+06 100000 1e-05"),
];

/// Template and a part of the error that stands in its place.
const BAD: &[(&str, &str)] = &[
    ("{{", "unclosed action"),
    ("{{ query \"missing\" | first }}", "first() called on vector with no elements"),
    ("{{ (query \"missing\").banana }}", "can't evaluate field banana"),
    ("{{ humanize \"one\" }}", "strconv.ParseFloat: parsing \"one\": invalid syntax"),
    ("{{ humanize1024 \"one\" }}", "strconv.ParseFloat: parsing \"one\": invalid syntax"),
    ("{{ humanizeDuration \"one\" }}", "strconv.ParseFloat: parsing \"one\": invalid syntax"),
    ("{{ \"one\" | humanizePercentage }}", "strconv.ParseFloat: parsing \"one\": invalid syntax"),
    (
        "{{ humanizeTimestamp 9223372036854775807 }}",
        "9.223372036854776e+18 cannot be represented as a nanoseconds timestamp since it overflows int64",
    ),
];

#[test]
fn the_cases_of_prometheus() {
    let backend: Arc<dyn Backend> = Arc::new(Answers);
    let surroundings =
        Surroundings { external_labels: [].into(), external_url: "http://testhost:9090/path/prefix".to_owned() };
    let expander = Expander::new("test", &backend, &surroundings, 1_353_755_652_000);
    let element = expander.element(&Labels::empty(), &Value::Float(1.0));
    let mut wrong = Vec::new();
    for (text, expected) in GOOD {
        let got = element.expand(text);
        if got != *expected {
            wrong.push(format!("{text}\n  expected {expected}\n  got      {got}"));
        }
    }
    for (text, expected) in BAD {
        let got = element.expand(text);
        if !got.starts_with("<error expanding template: ") || !got.contains(expected) {
            wrong.push(format!("{text}\n  expected {expected}\n  got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
