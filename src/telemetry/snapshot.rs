//! Families at one moment: what a gathering gives to the text formats and to the self-scrape.

use std::borrow::Cow;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    Untyped,
}

/// One family with its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// As Prometheus names the series: a counter's name ends in `_total`.
    pub name: Cow<'static, str>,
    pub help: Cow<'static, str>,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

/// One label set of a family and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub point: Point,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    Value(f64),
    /// Buckets are cumulative, ascending, and end with `+Inf`.
    Histogram {
        buckets: Vec<(f64, u64)>,
        sum: f64,
        count: u64,
    },
}

impl Family {
    /// A family without samples yet.
    pub fn new(name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        Self { name: name.into(), help: help.into(), kind, samples: Vec::new() }
    }

    /// A family with one sample and no labels.
    pub fn single(name: &'static str, help: &'static str, kind: Kind, value: f64) -> Self {
        let mut family = Self::new(name, help, kind);
        family.push(&[], value);
        family
    }

    /// Adds a sample.
    pub fn push(&mut self, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Owned((*value).to_owned())));
        self.samples.push(Sample { labels: labels.collect(), point: Point::Value(value) });
    }
}

/// Calls `visit` with each series that a family stands for: name, labels, one more label (`le`), value.
pub fn each_series(
    family: &Family,
    mut visit: impl FnMut(&str, &[(Cow<'static, str>, Cow<'static, str>)], Option<(&str, &str)>, f64),
) {
    for sample in &family.samples {
        match &sample.point {
            Point::Value(value) => visit(&family.name, &sample.labels, None, *value),
            Point::Histogram { buckets, sum, count } => {
                let bucket = format!("{}_bucket", family.name);
                for (bound, below) in buckets {
                    let bound = bound_text(*bound);
                    visit(&bucket, &sample.labels, Some(("le", &bound)), as_float(*below));
                }
                visit(&format!("{}_sum", family.name), &sample.labels, None, *sum);
                visit(&format!("{}_count", family.name), &sample.labels, None, as_float(*count));
            }
        }
    }
}

/// The value of `le`: a float with a point, as Prometheus normalises it, so that `le="1.0"` matches whoever scraped.
fn bound_text(bound: f64) -> String {
    let text = crate::telemetry::text::number(bound);
    if bound.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}

/// A count as a sample's value. Exact below 2^53, which a counter that grows by a billion a second passes after 104
/// days; beyond that the nearest float is what Prometheus would store too.
pub fn as_float(count: u64) -> f64 {
    count as f64
}
