//! Series with their values, as scripts write them.

use std::sync::Arc;

use novascope::model::histogram::{Histogram, ResetHint, Span};
use novascope::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use novascope::model::sample::STALE_NAN;
use novascope::promql::quote::unquote;

use crate::script::millis;

/// A value at one step.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Nothing,
    Float(f64),
    /// Whether the line names the reset hint.
    Histogram(Arc<Histogram>, bool),
}

pub(crate) struct SeriesLine {
    pub(crate) labels: Labels,
    pub(crate) items: Vec<Item>,
    /// Start timestamps relative to the samples, one for each item; `None` where unknown.
    pub(crate) starts: Vec<Option<i64>>,
}

/// The series of a load command.
pub(crate) fn load(lines: &[&str]) -> Vec<SeriesLine> {
    let mut loaded = Vec::new();
    let mut starts = Vec::new();
    for text in lines {
        let (labels, rest) = metric(text);
        if let Some(rest) = rest.strip_prefix("@st") {
            starts = rest.split_whitespace().flat_map(start_items).collect();
            continue;
        }
        loaded.push(SeriesLine { labels, items: items(rest), starts: std::mem::take(&mut starts) });
    }
    loaded
}

/// One series with values.
pub(crate) fn line(text: &str) -> SeriesLine {
    let (labels, rest) = metric(text);
    SeriesLine { labels, items: items(rest), starts: Vec::new() }
}

/// A number, with the spellings of infinity and NaN.
pub(crate) fn number(text: &str) -> Option<f64> {
    match text {
        "Inf" | "+Inf" | "inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => {
            if let Some(hex) = text.strip_prefix("0x") {
                return i64::from_str_radix(hex, 16).ok().map(|value| value as f64);
            }
            text.parse().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)))
        }
    }
}

/// Cuts off the metric.
fn metric(text: &str) -> (Labels, &str) {
    let name_end = text.find(|c: char| c == '{' || c.is_whitespace() || c == '@').unwrap_or(text.len());
    let mut builder = LabelsBuilder::default();
    builder.set(METRIC_NAME, &text[..name_end]);
    let mut rest = &text[name_end..];
    if !rest.starts_with('{') {
        return (builder.build(), rest);
    }
    rest = rest[1..].trim_start();
    while !rest.starts_with('}') {
        let (name, after) = name_or_string(rest);
        rest = after.trim_start();
        if let Some(after) = rest.strip_prefix('=') {
            let (value, after) = name_or_string(after.trim_start());
            builder.set(&name, &value);
            rest = after.trim_start();
        } else {
            builder.set(METRIC_NAME, &name);
        }
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    (builder.build(), &rest[1..])
}

fn name_or_string(text: &str) -> (String, &str) {
    let quote = text.chars().next().unwrap_or(' ');
    if !"\"'`".contains(quote) {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    }
    let mut escaped = false;
    let end = text
        .char_indices()
        .skip(1)
        .find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped && quote != '`';
            ends
        })
        .map_or(text.len(), |(at, _)| at + 1);
    (unquote(&text[..end]).unwrap_or_else(|| panic!("string {text:?}")), &text[end..])
}

/// Splits `base+deltaxN` after its base and before its `x`.
struct Sequence<'a> {
    base: &'a str,
    delta: Option<&'a str>,
    repeats: Option<usize>,
}

fn sequence(text: &str) -> Sequence<'_> {
    let (values, repeats) = match text.rsplit_once('x') {
        Some((values, count)) if !values.is_empty() => match count.parse() {
            Ok(count) => (values, Some(count)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    };
    let bytes = values.as_bytes();
    let sign = (1..bytes.len()).find(|at| {
        b"+-".contains(&bytes[*at])
            && !(b"eE".contains(&bytes[at - 1]) && bytes[0].is_ascii_digit() || bytes[at - 1] == b'e')
    });
    match sign.filter(|_| repeats.is_some()) {
        Some(at) => Sequence { base: &values[..at], delta: Some(&values[at..]), repeats },
        None => Sequence { base: values, delta: None, repeats },
    }
}

fn start_items(text: &str) -> Vec<Option<i64>> {
    let sequence = sequence(text);
    if sequence.base == "_" {
        return vec![None; sequence.repeats.unwrap_or(1)];
    }
    let base = millis(sequence.base);
    let delta = sequence.delta.map_or(0, millis);
    (0..=sequence.repeats.unwrap_or(0) as i64).map(|at| Some(base + at * delta)).collect()
}

fn items(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if rest.starts_with("{{") {
            rest = histogram_items(rest, &mut items);
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            float_items(&rest[..end], &mut items);
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    items
}

fn float_items(text: &str, items: &mut Vec<Item>) {
    let sequence = sequence(text);
    if sequence.base == "_" {
        items.extend(std::iter::repeat_n(Item::Nothing, sequence.repeats.unwrap_or(1)));
        return;
    }
    if text == "stale" {
        items.push(Item::Float(STALE_NAN));
        return;
    }
    let parse = |text: &str| number(text).unwrap_or_else(|| panic!("value {text:?}"));
    let mut value = parse(sequence.base);
    let delta = sequence.delta.map_or(0.0, parse);
    for _ in 0..=sequence.repeats.unwrap_or(0) {
        items.push(Item::Float(value));
        if sequence.delta.is_some() {
            value += delta;
        }
    }
}

fn histogram_items<'a>(text: &'a str, items: &mut Vec<Item>) -> &'a str {
    let (mut value, mut named, mut rest) = histogram(text);
    let sign = rest.chars().next().filter(|c| "+-".contains(*c));
    let mut delta = None;
    if sign.is_some() {
        let (other, other_named, after) = histogram(&rest[1..]);
        delta = Some(other);
        named |= other_named;
        rest = after;
    }
    let mut repeats = 0;
    if let Some(after) = rest.strip_prefix('x') {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        repeats = after[..end].parse().expect("a count");
        rest = &after[end..];
    }
    for _ in 0..=repeats {
        items.push(Item::Histogram(Arc::new(value.clone()), named));
        if let Some(delta) = &delta {
            let combined = if sign == Some('-') { value.sub(delta) } else { value.add(delta) };
            combined.expect("histograms of one kind");
        }
    }
    rest
}

/// Cuts off `{{…}}`; tells whether the reset hint is named.
fn histogram(text: &str) -> (Histogram, bool, &str) {
    let end = text.find("}}").expect("the end of a histogram");
    let mut body = text[2..end].trim();
    let mut histogram = Histogram::default();
    let (mut offset, mut negative_offset, mut named) = (0, 0, false);
    while !body.is_empty() {
        let (key, rest) = body.split_once(':').expect("key:value");
        let rest = rest.trim_start();
        let (value, after) = if let Some(list) = rest.strip_prefix('[') {
            list.split_once(']').expect("the end of a list")
        } else {
            rest.split_once(char::is_whitespace).unwrap_or((rest, ""))
        };
        let list = || value.split_whitespace().map(|value| number(value).expect("a number")).collect::<Vec<f64>>();
        let float = || number(value).expect("a number");
        match key.trim() {
            "schema" => histogram.schema = value.parse().expect("a schema"),
            "sum" => histogram.sum = float(),
            "count" => histogram.count = float(),
            "z_bucket" => histogram.zero_count = float(),
            "z_bucket_w" => histogram.zero_threshold = float(),
            "buckets" => histogram.positive_buckets = list(),
            "n_buckets" => histogram.negative_buckets = list(),
            "offset" => offset = value.parse().expect("an offset"),
            "n_offset" => negative_offset = value.parse().expect("an offset"),
            "custom_values" => histogram.custom_values = list().into(),
            "counter_reset_hint" => {
                named = true;
                histogram.reset_hint = match value {
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                };
            }
            other => panic!("unknown key {other:?} in a histogram"),
        }
        body = after.trim_start();
    }
    let spans = |offset: i32, buckets: &[f64]| match buckets.len() {
        0 => Vec::new(),
        length => vec![Span { offset, length: length as u32 }],
    };
    histogram.positive_spans = spans(offset, &histogram.positive_buckets);
    histogram.negative_spans = spans(negative_offset, &histogram.negative_buckets);
    (histogram, named, &text[end + 2..])
}
