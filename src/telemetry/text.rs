//! Families as OpenMetrics 1.0 and as Prometheus text 0.0.4.

use std::fmt::Write as _;

use crate::telemetry::snapshot::{Family, Kind, each_series};

/// The two text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    Text,
}

impl Format {
    /// Picks by an `Accept` header: OpenMetrics where it is asked for, else text 0.0.4, which everything reads.
    pub fn negotiate(accept: &str) -> Self {
        let wants = |part: &str| {
            part.split(';')
                .next()
                .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/openmetrics-text"))
                && !part.split(';').any(|parameter| matches!(parameter.trim(), "q=0" | "q=0.0"))
        };
        if accept.split(',').any(wants) { Self::OpenMetrics } else { Self::Text }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes families in order; the caller gathers them sorted and without repeats.
pub fn render(families: &[Family], format: Format) -> String {
    let mut out = String::with_capacity(families.len() * 256);
    for family in families {
        // OpenMetrics names a counter's family without the suffix of its samples.
        let name = match (format, family.kind) {
            (Format::OpenMetrics, Kind::Counter) => family.name.strip_suffix("_total").unwrap_or(&family.name),
            _ => &family.name,
        };
        let kind = match (family.kind, format) {
            (Kind::Counter, _) => "counter",
            (Kind::Gauge, _) => "gauge",
            (Kind::Histogram, _) => "histogram",
            (Kind::Untyped, Format::OpenMetrics) => "unknown",
            (Kind::Untyped, Format::Text) => "untyped",
        };
        let _ = writeln!(out, "# HELP {name} {}", escaped(&family.help, format == Format::OpenMetrics));
        let _ = writeln!(out, "# TYPE {name} {kind}");
        each_series(family, |name, labels, extra, value| {
            out.push_str(name);
            let pairs = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).chain(extra);
            let mut separator = '{';
            for (label, value) in pairs {
                let _ = write!(out, "{separator}{label}=\"{}\"", escaped(value, true));
                separator = ',';
            }
            if separator == ',' {
                out.push('}');
            }
            let _ = writeln!(out, " {}", number(value));
        });
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// A float as both formats write it.
pub fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        // Rust's shortest form, which every parser reads back to the same float; NaN is `NaN` there too.
        format!("{value}")
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::telemetry::cell::Histogram;
    use crate::telemetry::snapshot::Sample;

    fn families() -> Vec<Family> {
        let mut counter = Family::new("a_total", "Line\nwith \"quotes\".", Kind::Counter);
        counter.push(&[("path", "C:\\\"x\"\n")], 3.0);
        let histogram = Histogram::new(&[0.5]);
        histogram.observe(0.25);
        let mut timed = Family::new("b_seconds", "Time.", Kind::Histogram);
        timed.samples.push(Sample { labels: vec![("op".into(), "read".into())], point: histogram.point() });
        vec![counter, timed, Family::single("c", "Odd.", Kind::Untyped, f64::NEG_INFINITY)]
    }

    #[test]
    fn open_metrics_drops_the_suffix_from_the_family_and_ends_with_eof() {
        expect![[r##"
            # HELP a Line\nwith \"quotes\".
            # TYPE a counter
            a_total{path="C:\\\"x\"\n"} 3
            # HELP b_seconds Time.
            # TYPE b_seconds histogram
            b_seconds_bucket{op="read",le="0.5"} 1
            b_seconds_bucket{op="read",le="+Inf"} 1
            b_seconds_sum{op="read"} 0.25
            b_seconds_count{op="read"} 1
            # HELP c Odd.
            # TYPE c unknown
            c -Inf
            # EOF
        "##]]
        .assert_eq(&render(&families(), Format::OpenMetrics));
    }

    #[test]
    fn text_keeps_the_suffix_and_leaves_quotes_in_help() {
        let text = render(&families(), Format::Text);
        assert!(text.starts_with("# HELP a_total Line\\nwith \"quotes\".\n# TYPE a_total counter\n"), "{text}");
        assert!(text.contains("# TYPE c untyped\n") && !text.contains("EOF"));
    }

    #[test]
    fn open_metrics_only_when_asked_for() {
        assert_eq!(
            Format::negotiate("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
            Format::OpenMetrics
        );
        assert_eq!(Format::negotiate("application/openmetrics-text;q=0, text/plain"), Format::Text);
        assert_eq!(Format::negotiate("*/*"), Format::Text);
    }
}
