//! Bodies in, entries out, written as text: one door for both text formats.

use std::fmt::Write as _;

use super::*;
use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};
use crate::model::labels::Labels;
use crate::proto::exposition as client;

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
            let Ok(Some(Entry::Series(series))) = parser.next_expecting(announced) else {
                panic!("{body:?} has a series")
            };
            assert_eq!(series.expected, met, "{body:?}");
            assert_eq!(series.raw, body.split(' ').next().unwrap().as_bytes());
            assert!(matches!(series.value, Value::Float(1.0)));
        }
    }
}

/// A family in wire form, behind its length.
fn delimited(family: &client::MetricFamily) -> Vec<u8> {
    prost::Message::encode_length_delimited_to_vec(family)
}

fn label(name: &str, value: &str) -> client::LabelPair {
    client::LabelPair { name: Some(name.to_owned()), value: Some(value.to_owned()) }
}

fn classic_histogram() -> client::Histogram {
    let bucket = |upper_bound, cumulative_count, exemplar| client::Bucket {
        upper_bound: Some(upper_bound),
        cumulative_count: Some(cumulative_count),
        exemplar,
        ..client::Bucket::default()
    };
    let exemplar = client::Exemplar { label: vec![label("trace_id", "a\\b")], value: Some(0.7), timestamp: None };
    client::Histogram {
        sample_count: Some(5),
        sample_sum: Some(6.5),
        bucket: vec![bucket(0.5, 2, None), bucket(1.0, 3, Some(exemplar))],
        ..client::Histogram::default()
    }
}

fn family(name: &str, kind: client::MetricType, metric: Vec<client::Metric>) -> client::MetricFamily {
    client::MetricFamily {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        metric,
        ..client::MetricFamily::default()
    }
}

#[test]
fn protobuf_families_show_the_series_of_the_text_formats() {
    let counter =
        client::Counter { value: Some(17.0), exemplar: None, created_timestamp: Some(timestamp(3, 500_000_000)) };
    let counter = client::Metric {
        label: vec![label("x", "a\\n"), label("__b", "c")],
        counter: Some(counter),
        timestamp_ms: Some(7_000),
        ..client::Metric::default()
    };
    let summary = client::Summary {
        sample_count: Some(9),
        sample_sum: Some(4.5),
        quantile: vec![client::Quantile { quantile: Some(0.5), value: Some(0.1) }],
        ..client::Summary::default()
    };
    let summary = client::Metric { summary: Some(summary), ..client::Metric::default() };
    let histogram = client::Metric { histogram: Some(classic_histogram()), ..client::Metric::default() };
    let mut body = delimited(&client::MetricFamily {
        help: Some("help".to_owned()),
        unit: Some("u".to_owned()),
        ..family("a_total", client::MetricType::Counter, vec![counter])
    });
    body.extend(delimited(&family("s", client::MetricType::Summary, vec![summary])));
    body.extend(delimited(&family("h", client::MetricType::Histogram, vec![histogram])));
    expect_test::expect![[r#"
        help a_total "help"
        type a_total counter
        unit a_total "u"
        a_total{__b="c", x="a\\n"} 17 @7000 start 3500
        type s summary
        s_count 9
        s_sum 4.5
        s{quantile="0.5"} 0.1
        type h histogram
        h_count 5
        h_sum 6.5
        h_bucket{le="0.5"} 2
        h_bucket{le="1.0"} 3 exemplar {trace_id="a\\b"} 0.7 @0
        h_bucket{le="+Inf"} 5
    "#]]
    .assert_eq(&render(&body, Format::Protobuf));
}

fn timestamp(seconds: i64, nanos: i32) -> client::Timestamp {
    client::Timestamp { seconds: Some(seconds), nanos: Some(nanos) }
}

/// Reads one family and gives the names and values of its series.
fn read_with(options: Options, histogram: client::Histogram) -> Result<Vec<(String, Option<Histogram>)>, ParseError> {
    let metric = client::Metric { histogram: Some(histogram), ..client::Metric::default() };
    let body = delimited(&family("h", client::MetricType::Histogram, vec![metric]));
    let mut parser = Parser::new(&body, Format::Protobuf, options)?;
    let mut series = Vec::new();
    while let Some(entry) = parser.next()? {
        if let Entry::Series(found) = entry {
            let histogram = match found.value {
                Value::Histogram(histogram) => Some(histogram.clone()),
                Value::Float(_) => None,
            };
            series.push((found.pairs.metric_name().into_owned(), histogram));
        }
    }
    Ok(series)
}

fn native_histogram() -> client::Histogram {
    let span = |offset, length| client::BucketSpan { offset: Some(offset), length: Some(length) };
    client::Histogram {
        schema: Some(3),
        zero_threshold: Some(0.001),
        zero_count: Some(2),
        sample_count: Some(12),
        positive_span: vec![span(1, 2), span(0, 0), span(3, 1)],
        positive_delta: vec![3, -2, 2],
        negative_span: vec![span(-1, 1)],
        negative_delta: vec![3],
        ..classic_histogram()
    }
}

#[test]
fn native_histograms_come_with_absolute_counts() {
    let series = read_with(Options::default(), native_histogram()).unwrap();
    let [(name, Some(histogram))] = series.as_slice() else { panic!("one native histogram: {series:?}") };
    assert_eq!(name, "h");
    assert_eq!(histogram.positive_buckets, [3.0, 1.0, 3.0]);
    assert_eq!(histogram.positive_spans, [Span { offset: 1, length: 2 }, Span { offset: 3, length: 1 }]);
    assert_eq!((histogram.schema, histogram.zero_count, histogram.count), (3, 2.0, 12.0));
    let both = Options { keep_classic_histograms: true, ..Options::default() };
    let names: Vec<_> = read_with(both, native_histogram()).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["h", "h_count", "h_sum", "h_bucket", "h_bucket", "h_bucket"]);
}

#[test]
fn classic_histograms_convert_to_custom_buckets() {
    let convert = Options { convert_classic_histograms: true, ignore_native_histograms: true, ..Options::default() };
    let mut falling = classic_histogram();
    falling.bucket[1].cumulative_count = Some(1);
    let error = read_with(convert, falling).unwrap_err().to_string();
    assert!(error.contains("count is not cumulative: 1 and 2"), "{error}");
    let series = read_with(convert, classic_histogram()).unwrap();
    let [(_, Some(histogram))] = series.as_slice() else { panic!("one histogram: {series:?}") };
    assert_eq!(histogram.schema, CUSTOM_BUCKETS_SCHEMA);
    assert_eq!(histogram.positive_buckets, [2.0, 1.0, 2.0]);
    assert_eq!(histogram.custom_values[..], [0.5, 1.0]);
}

#[test]
fn labels_are_found_again_in_the_text_of_a_series() {
    let again = |raw: &[u8], kind| {
        let mut encoded = Vec::new();
        encode_raw(raw, kind, &mut encoded).unwrap();
        Labels::from_encoded(&encoded).unwrap().to_string()
    };
    assert_eq!(again(b"h_bucket{le=\"1\"}", MetricType::Histogram), "h_bucket{le=\"1.0\"}");
    assert_eq!(again(b"{\"a.b\",c=\"\\n\"}", MetricType::Unknown), "{\"a.b\", c=\"\\n\"}");
    assert_eq!(again(b"a.b\xffc\xff\\n", MetricType::Gauge), "{\"a.b\", c=\"\\\\n\"}");
}

#[test]
fn broken_protobuf_is_refused() {
    let mut histogram = native_histogram();
    histogram.positive_delta.pop();
    let error = read_with(Options::default(), histogram).unwrap_err().to_string();
    assert!(error.contains("spans of a native histogram cover 3 buckets, 2 given"), "{error}");
    let whole = delimited(&family(
        "h",
        client::MetricType::Histogram,
        vec![client::Metric {
            label: vec![label("a", "b")],
            histogram: Some(native_histogram()),
            ..client::Metric::default()
        }],
    ));
    for length in 1..whole.len() {
        let rendered = render(&whole[..length], Format::Protobuf);
        assert!(rendered.ends_with("message is truncated\n"), "{length}: {rendered}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    })]

    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(
        proptest::sample::select(b"a_{}=\",\\# \t\nHELPTYUNIOF19.e+-\xff\xc3".to_vec()), 0..200,
    )) {
        render(&body, Format::Text);
        render(&body, Format::OpenMetrics1);
    }

    #[test]
    fn no_bytes_make_the_protobuf_reader_panic(
        cut in proptest::collection::vec((0_usize..400, proptest::num::u8::ANY), 0..6),
    ) {
        let mut body = delimited(&family("h", client::MetricType::Histogram, vec![client::Metric {
            label: vec![label("a", "b")],
            histogram: Some(native_histogram()),
            ..client::Metric::default()
        }]));
        for (at, byte) in cut {
            let at = at % body.len();
            body[at] = byte;
        }
        render(&body, Format::Protobuf);
    }
}
