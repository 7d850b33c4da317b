//! Series and values as test files write them: `up{job="a"}` with `1+2x3 _ stale {{schema:0 count:1}}x5`.

use std::sync::Arc;

use crate::model::histogram::{Histogram, ResetHint, Span};
use crate::model::labels::Labels;
use crate::model::matcher::MatchOp;
use crate::model::sample::{STALE_NAN, Value};
use crate::promql::parse::parse_selector;

/// Most values that one series may have: 30 years at 1 minute.
const VALUES_MAX: usize = 16_000_000;

/// A metric, with or without braces.
pub(super) fn metric(text: &str) -> Result<Labels, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Labels::empty());
    }
    let matchers = parse_selector(text).map_err(|error| error.to_string())?;
    if let Some(matcher) = matchers.iter().find(|matcher| matcher.op != MatchOp::Equal) {
        return Err(format!("{:?} is no label: a series has name=\"value\"", matcher));
    }
    Ok(Labels::from_pairs(matchers.iter().map(|matcher| (&*matcher.name, &*matcher.value))))
}

/// A number, with the spellings of infinity and NaN.
pub(super) fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("-", rest)) => (-1.0, rest),
        Some(("+", rest)) => (1.0, rest),
        _ => (1.0, text),
    };
    match digits.to_ascii_lowercase().as_str() {
        "inf" => Some(sign * f64::INFINITY),
        "nan" => Some(f64::NAN),
        digits if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            digits.parse().ok().map(|value: f64| sign * value)
        }
        _ => None,
    }
}

/// Values by step; `None` where there is nothing.
pub(super) fn values(text: &str) -> Result<Vec<Option<Value>>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if rest.starts_with("{{") {
            rest = histograms(rest, &mut values)?;
            if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
                return Err(unexpected(rest));
            }
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (item, after) = rest.split_at(end);
            floats(item, &mut values)?;
            rest = after;
        }
        if values.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values in one series"));
        }
        rest = rest.trim_start();
    }
    Ok(values)
}

fn unexpected(text: &str) -> String {
    let word: String = text.chars().take_while(|c| !c.is_whitespace()).take(40).collect();
    format!("unexpected {word:?} in series values")
}

fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count <= VALUES_MAX)
        .ok_or_else(|| format!("invalid repetition in series values: {text:?}"))
}

fn floats(item: &str, values: &mut Vec<Option<Value>>) -> Result<(), String> {
    if item == "stale" {
        values.push(Some(Value::Float(STALE_NAN)));
        return Ok(());
    }
    if let Some(repeats) = item.strip_prefix('_') {
        let repeats =
            if repeats.is_empty() { 1 } else { count(repeats.strip_prefix('x').ok_or_else(|| unexpected(item))?)? };
        values.extend(std::iter::repeat_n(None, repeats));
        return Ok(());
    }
    let (body, repeats) = match item.rsplit_once('x') {
        Some((body, repeats)) => (body, Some(count(repeats)?)),
        None => (item, None),
    };
    let bytes = body.as_bytes();
    // The sign of the difference, not that of an exponent.
    let sign = (1..bytes.len()).find(|at| {
        let before = bytes.get(at - 1).copied().unwrap_or(0);
        matches!(bytes.get(*at), Some(b'+' | b'-')) && !matches!(before, b'e' | b'E')
    });
    let (base, delta) = match sign.filter(|_| repeats.is_some()) {
        Some(at) => body.split_at(at),
        None => (body, ""),
    };
    let mut value = number(base).ok_or_else(|| unexpected(item))?;
    let delta = if delta.is_empty() { 0.0 } else { number(delta).ok_or_else(|| unexpected(item))? };
    for _ in 0..=repeats.unwrap_or(0) {
        values.push(Some(Value::Float(value)));
        value += delta;
    }
    Ok(())
}

fn histograms<'a>(text: &'a str, values: &mut Vec<Option<Value>>) -> Result<&'a str, String> {
    let (mut value, mut rest) = histogram(text)?;
    let sign = rest.chars().next().filter(|c| matches!(c, '+' | '-'));
    let mut delta = None;
    if sign.is_some() {
        let (other, after) = histogram(rest.get(1..).unwrap_or_default())?;
        delta = Some(other);
        rest = after;
    }
    let mut repeats = 0;
    if let Some(after) = rest.strip_prefix('x') {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (digits, after) = after.split_at(end);
        repeats = count(digits)?;
        rest = after;
    }
    for _ in 0..=repeats {
        values.push(Some(Value::Histogram(Arc::new(value.clone()))));
        if let Some(delta) = &delta {
            let combined = if sign == Some('-') { value.sub(delta) } else { value.add(delta) };
            combined.map_err(|_| "histograms with different kinds of buckets cannot be combined".to_owned())?;
        }
    }
    Ok(rest)
}

/// Cuts off `{{…}}`.
fn histogram(text: &str) -> Result<(Histogram, &str), String> {
    let (mut body, rest) = text
        .strip_prefix("{{")
        .and_then(|text| text.split_once("}}"))
        .ok_or_else(|| "a histogram is written {{…}}".to_owned())?;
    let mut histogram = Histogram::default();
    let (mut offset, mut negative_offset) = (0, 0);
    body = body.trim();
    while !body.is_empty() {
        let (key, after) = body.split_once(':').ok_or_else(|| unexpected(body))?;
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or_else(|| unexpected(after))?,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        let fault = || format!("bad histogram descriptor found: {:?}", key.trim());
        let float = || number(value).ok_or_else(fault);
        let list = || {
            value.split_whitespace().map(|value| number(value).ok_or_else(fault)).collect::<Result<Vec<f64>, String>>()
        };
        match key.trim() {
            "schema" => histogram.schema = value.parse().map_err(|_| fault())?,
            "sum" => histogram.sum = float()?,
            "count" => histogram.count = float()?,
            "z_bucket" => histogram.zero_count = float()?,
            "z_bucket_w" => histogram.zero_threshold = float()?,
            "buckets" => histogram.positive_buckets = list()?,
            "n_buckets" => histogram.negative_buckets = list()?,
            "offset" => offset = value.parse().map_err(|_| fault())?,
            "n_offset" => negative_offset = value.parse().map_err(|_| fault())?,
            "custom_values" => histogram.custom_values = list()?.into(),
            "counter_reset_hint" => {
                histogram.reset_hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return Err(fault()),
                };
            }
            _ => return Err(fault()),
        }
        body = after.trim_start();
    }
    let spans = |offset: i32, buckets: &[f64]| {
        let length = u32::try_from(buckets.len()).unwrap_or(u32::MAX);
        if length == 0 { Vec::new() } else { vec![Span { offset, length }] }
    };
    histogram.positive_spans = spans(offset, &histogram.positive_buckets);
    histogram.negative_spans = spans(negative_offset, &histogram.negative_buckets);
    Ok((histogram, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats_of(text: &str) -> Vec<String> {
        let show = |value: Option<Value>| match value {
            None => "_".to_owned(),
            Some(Value::Float(value)) if crate::model::sample::is_stale(value) => "stale".to_owned(),
            Some(Value::Float(value)) => value.to_string(),
            Some(Value::Histogram(histogram)) => format!("h{}", histogram.count),
        };
        values(text).unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn every_notation() {
        assert_eq!(floats_of("1+2x3 _ 5x1"), ["1", "3", "5", "7", "_", "5", "5"]);
        assert_eq!(floats_of("-1e-1-1x1 _x2 stale Inf -inf"), ["-0.1", "-1.1", "_", "_", "stale", "inf", "-inf"]);
        assert_eq!(
            floats_of("{{schema:0 count:2 buckets:[1 1]}}+{{count:1 buckets:[1]}}x2 7"),
            ["h2", "h3", "h4", "7"]
        );
        for bad in ["1+x3", "a", "1x", "_y", "{{count:1", "{{nope:1}}", "{{count:1}}y"] {
            assert!(values(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metrics() {
        assert_eq!(metric("up {job='a', b=\"\"}").unwrap().to_string(), "up{job=\"a\"}");
        assert_eq!(metric("{\"my metric\", a=\"b\"}").unwrap().len(), 2);
        assert_eq!(metric("{}").unwrap(), Labels::empty());
        assert!(metric("up{a=~\"b\"}").is_err());
    }
}
