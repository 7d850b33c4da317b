//! Bodies in, entries out, written as text: one door for both text formats.

use std::fmt::Write as _;

use super::*;
use crate::model::labels::Labels;

/// Renders every entry, and the error that ends a body.
fn render(body: &[u8], format: Format) -> String {
    let mut parser = Parser::new(body, format, Options::default()).unwrap();
    let mut out = String::new();
    let mut encoded = Vec::new();
    loop {
        match parser.next() {
            Ok(None) => return out,
            Ok(Some(entry)) => render_entry(&mut out, &entry, &mut encoded),
            Err(error) => {
                writeln!(out, "error {error}").unwrap();
                return out;
            }
        }
    }
}

fn render_entry(out: &mut String, entry: &Entry<'_>, encoded: &mut Vec<u8>) {
    match entry {
        Entry::Type { family, kind } => writeln!(out, "type {family} {}", kind.name()),
        Entry::Help { family, help } => writeln!(out, "help {family} {help:?}"),
        Entry::Unit { family, unit } => writeln!(out, "unit {family} {unit:?}"),
        Entry::Series(series) => {
            if let Err(error) = series.encode(encoded) {
                return writeln!(out, "bad labels: {error}").unwrap();
            }
            let labels = Labels::from_encoded(encoded).unwrap();
            write!(out, "{labels} ").unwrap();
            match series.value {
                Value::Float(value) => write!(out, "{value}"),
                Value::Histogram(histogram) => write!(out, "{histogram:?}"),
            }
            .unwrap();
            if let Some(time) = series.time {
                write!(out, " @{time}").unwrap();
            }
            if series.start != 0 {
                write!(out, " start {}", series.start).unwrap();
            }
            for exemplar in series.exemplars() {
                write!(out, " exemplar {} {} @{}", exemplar.labels, exemplar.value, exemplar.time).unwrap();
            }
            writeln!(out)
        }
    }
    .unwrap();
}

#[track_caller]
fn check(body: &str, format: Format, expect: &expect_test::Expect) {
    expect.assert_eq(&render(body.as_bytes(), format));
}

#[test]
fn text_with_all_its_liberties() {
    let body = concat!(
        "# HELP a_total A \\\"quoted\\\" help\\nwith \\\\ breaks\n",
        "# TYPE a_total counter\n",
        "a_total{b=\"c\", d = \"e\\\"\\\\\\n\" , } 1.5 1520879607789\n",
        "\n",
        "  # a comment\n",
        "#HELP also a comment\n",
        "a_total 2\t-3  \r\n",
        "{\"a.b\",\"c.d\"=\"x\"} +Inf\n",
        "without_end NaN",
    );
    check(
        body,
        Format::Text,
        &expect_test::expect![[r#"
            help a_total "A \\\"quoted\\\" help\nwith \\ breaks"
            type a_total counter
            a_total{b="c", d="e\"\\\n"} 1.5 @1520879607789
            a_total 2 @-3
            {"a.b", "c.d"="x"} inf
            without_end NaN
        "#]],
    );
}

#[test]
fn bounds_are_normalised_and_empty_values_left_out() {
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\",x=\"\"} 1\n# TYPE s summary\ns{quantile=\"0.50\",le=\"1\"} 1\n",
        Format::Text,
        &expect_test::expect![[r#"
            type h histogram
            h_bucket{le="1.0"} 1
            type s summary
            s{le="1", quantile="0.5"} 1
        "#]],
    );
}

#[test]
fn text_errors_name_line_and_column() {
    for (body, error) in [
        ("a 1\nb{c=\"d\" 1\n", "2:9: expected a label name or '}'"),
        ("a{b=\"c} 1\n", "1:5: quoted string does not end"),
        ("a{b='c'} 1", "1:5: expected a label value in double quotes"),
        ("a x", "1:3: \"x\" is not a number"),
        ("a", "1:2: expected a value after the series"),
        ("a 1 1.5\n", "1:5: \"1.5\" is not a timestamp"),
        ("a 1 2 3\n", "1:7: expected the end of the line"),
        ("{b=\"c\"} 1\n", "1:1: expected a metric name"),
        ("a{\"b\"} 1\n", "1:3: metric name is already set"),
        ("9a 1\n", "1:1: expected a metric name"),
        ("# TYPE a foo\n", "1:10: invalid metric type \"foo\""),
        ("# HELP\t 1 x\n", "1:9: expected a metric name after HELP or TYPE"),
    ] {
        let rendered = render(body.as_bytes(), Format::Text);
        assert_eq!(rendered.lines().last(), Some(format!("error {error}").as_str()), "{body:?}");
    }
    assert_eq!(render(b"a{b=\"\xff\"} 1", Format::Text), "error 1:6: not valid UTF-8\n");
    assert_eq!(render(b"# HELP a \xff\n", Format::Text), "error 1:9: not valid UTF-8\n");
    assert_eq!(render(b"# \xff\na 1", Format::Text), "a 1\n");
    assert_eq!(render(b"a{b=\"1\",b=\"2\"} 1", Format::Text), "bad labels: label name \"b\" is not unique\n");
}

#[test]
fn openmetrics_with_exemplars_units_and_creation_times() {
    let body = concat!(
        "# TYPE a counter\n",
        "# HELP a help \\\"text\\\"\n",
        "a_total{x=\"1\"} 17.0 1520879607.789 # {id=\"counter-test\"} 5 1520879608.1\n",
        "a_created{x=\"1\"} 1520872607.123\n",
        "a_total{x=\"2\"} 18\n",
        "# TYPE b_seconds histogram\n",
        "# UNIT b_seconds seconds\n",
        "b_seconds_bucket{le=\"1\",y=\"z\"} 2 # {} 0.5\n",
        "b_seconds_count{y=\"z\"} 2\n",
        "b_seconds_created{y=\"z\"} 3\n",
        "# TYPE c gauge\n",
        "c_created 7\n",
        "# TYPE \"d.e\" counter\n",
        "{\"d.e_total\",f=\"g\"} 1\n",
        "# EOF\n",
    );
    check(
        body,
        Format::OpenMetrics1,
        &expect_test::expect![[r#"
            type a counter
            help a "help \"text\""
            a_total{x="1"} 17 @1520879607789 start 1520872607123 exemplar {id="counter-test"} 5 @1520879608100
            a_total{x="2"} 18
            type b_seconds histogram
            unit b_seconds "seconds"
            b_seconds_bucket{le="1.0", y="z"} 2 start 3000 exemplar {} 0.5 @0
            b_seconds_count{y="z"} 2 start 3000
            type c gauge
            c_created 7
            type d.e counter
            {"d.e_total", f="g"} 1
        "#]],
    );
}

#[test]
fn openmetrics_errors() {
    for (body, error) in [
        ("", "1:1: data does not end with # EOF"),
        ("a 1", "1:4: data does not end with # EOF"),
        ("# EOF\na 1\n", "2:1: unexpected data after # EOF"),
        ("\n# EOF\n", "1:1: expected a metric name"),
        ("# comment\n# EOF\n", "1:1: expected HELP, TYPE, UNIT or EOF after '#'"),
        ("a  1\n# EOF\n", "1:2: expected a value after the series"),
        ("a{b=\"c\" ,d=\"e\"} 1\n# EOF\n", "1:8: expected ',' or '}' after the label value"),
        ("a 1 x\n# EOF\n", "1:5: \"x\" is not a timestamp"),
        ("a 1 # {\"b\"} 1\n# EOF\n", "1:11: expected '=' after the label name"),
        ("# UNIT a_s seconds\n# EOF\n", "1:12: unit \"seconds\" is not a suffix of metric \"a_s\""),
        ("# TYPE a untyped\n# EOF\n", "1:10: invalid metric type \"untyped\""),
    ] {
        assert_eq!(render(body.as_bytes(), Format::OpenMetrics1), format!("error {error}\n"), "{body:?}");
    }
}

#[test]
fn an_announced_series_is_compared_and_not_read() {
    for format in [Format::Text, Format::OpenMetrics1] {
        for (announced, body, met) in [
            (&b"a{b=\"c\"}"[..], "a{b=\"c\"} 1\n# EOF\n", true),
            (b"a", "a 1\n# EOF\n", true),
            (b"a", "ab 1\n# EOF\n", false),
            (b"a", "a{b=\"c\"} 1\n# EOF\n", false),
            (b"a{b=\"d\"}", "a{b=\"c\"} 1\n# EOF\n", false),
        ] {
            let mut parser = Parser::new(body.as_bytes(), format, Options::default()).unwrap();
            parser.expect(announced);
            let Ok(Some(Entry::Series(series))) = parser.next() else { panic!("{body:?} has a series") };
            assert_eq!(series.expected, met, "{body:?}");
            assert_eq!(series.raw, body.split(' ').next().unwrap().as_bytes());
            assert!(matches!(series.value, Value::Float(1.0)));
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(
        proptest::sample::select(b"a_{}=\",\\# \t\nHELPTYUNIOF19.e+-\xff\xc3".to_vec()), 0..200,
    )) {
        render(&body, Format::Text);
        render(&body, Format::OpenMetrics1);
    }
}
