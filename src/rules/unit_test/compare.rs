//! What was expected against what came, in promtool's words.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::promql::duration;
use crate::promql::quote::quote_str;
use crate::rules::seam::RuleSample;
use crate::rules::unit_test::{AlertTest, ExprTest, notation};

/// Labels and annotations of an alert.
pub(super) type AlertText = (Labels, Labels);

/// Compares the firing alerts of a name.
pub(super) fn alerts(test_name: &str, test: &AlertTest, mut got: Vec<AlertText>, diff: bool) -> Result<(), String> {
    let pairs = |map: &Option<BTreeMap<String, String>>| Labels::from_pairs(map.iter().flatten());
    let mut expected: Vec<AlertText> = test
        .exp_alerts
        .iter()
        .flatten()
        .map(|alert| {
            let labels = pairs(&alert.exp_labels).to_builder().set("alertname", &test.alertname).build();
            (labels, pairs(&alert.exp_annotations))
        })
        .collect();
    got.sort();
    expected.sort();
    if got == expected {
        return Ok(());
    }
    let name = if test_name.is_empty() { String::new() } else { format!("    name: {test_name},\n") };
    let time = duration::format(test.eval_time.as_millis());
    if diff {
        let told = differing(&list(&expected), &list(&got));
        return Err(format!("{name}    alertname: {}, time: {time}, \n        diff: {told}", test.alertname));
    }
    Err(format!(
        "{name}    alertname: {}, time: {time}, \n        exp:{}, \n        got:{}",
        test.alertname,
        list(&expected),
        list(&got)
    ))
}

fn list(alerts: &[AlertText]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let mut text = String::from("[");
    for (index, (labels, annotations)) in alerts.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{comma}\n            {index}:\n              Labels:{labels}\n              Annotations:{annotations}"
        );
    }
    text + "\n            ]"
}

/// Both texts line by line: `-` before what was expected and is missing, `+` before what came instead.
fn differing(expected: &str, got: &str) -> String {
    let (left, right): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    // The longest common part of what is left of both, from each pair of places on.
    let mut common = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for (i, a) in left.iter().enumerate().rev() {
        for (j, b) in right.iter().enumerate().rev() {
            common[i][j] = if a == b { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < left.len() || j < right.len() {
        let (sign, line) = match (left.get(i), right.get(j)) {
            (Some(a), Some(b)) if a == b => {
                (i, j) = (i + 1, j + 1);
                (' ', *a)
            }
            (Some(a), b) if b.is_none() || common[i + 1][j] >= common[i][j + 1] => {
                i += 1;
                ('-', *a)
            }
            (_, b) => {
                j += 1;
                ('+', b.copied().unwrap_or_default())
            }
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{sign}{line}");
    }
    text
}

/// Compares the result of an expression.
pub(super) fn samples(test: &ExprTest, mut got: Vec<RuleSample>, fuzzy: bool) -> Result<(), String> {
    let head =
        || format!("    expr: {}, time: {},", quote_str(&test.expr), duration::format(test.eval_time.as_millis()));
    let mut expected = Vec::new();
    for sample in test.exp_samples.iter().flatten() {
        let read = || -> Result<RuleSample, String> {
            let labels = notation::metric(&sample.labels)?;
            let value =
                if sample.histogram.is_empty() { Value::Float(sample.value.0) } else { histogram(&sample.histogram)? };
            Ok(RuleSample { labels, time: 0, value })
        };
        let read = read().map_err(|error| format!("{} err: labels {}: {error}", head(), quote_str(&sample.labels)))?;
        expected.push(read);
    }
    got.sort_by(|left, right| left.labels.cmp(&right.labels));
    expected.sort_by(|left, right| left.labels.cmp(&right.labels));
    let same = got.len() == expected.len()
        && got
            .iter()
            .zip(&expected)
            .all(|(got, expected)| got.labels == expected.labels && equal(&got.value, &expected.value, fuzzy));
    if same {
        return Ok(());
    }
    Err(format!("{}\n        exp: {}\n        got: {}", head(), sample_list(&expected), sample_list(&got)))
}

fn histogram(text: &str) -> Result<Value, String> {
    match notation::values(text)?.as_slice() {
        [Some(Value::Histogram(histogram))] => Ok(Value::Histogram(histogram.clone())),
        [_] => Err(format!("expected histogram, got {text}")),
        values => Err(format!("expected 1 value, got {}", values.len())),
    }
}

fn equal(left: &Value, right: &Value, fuzzy: bool) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => {
            left == right || fuzzy && (left.next_down() == *right || left.next_up() == *right)
        }
        (Value::Histogram(left), Value::Histogram(right)) => {
            let (mut left, mut right) = ((**left).clone(), (**right).clone());
            left.compact();
            right.compact();
            left.same_data(&right) && left.reset_hint == right.reset_hint
        }
        _ => false,
    }
}

fn sample_list(samples: &[RuleSample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let texts: Vec<String> = samples
        .iter()
        .map(|sample| match &sample.value {
            Value::Float(value) => format!("{} {}", braces(&sample.labels), exponential(*value)),
            Value::Histogram(histogram) => format!("{} {histogram}", braces(&sample.labels)),
        })
        .collect();
    texts.join(", ")
}

/// Labels with the name among them, as Go writes them.
fn braces(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", quote_str(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// As Go writes a float with `'E'`: `1.5E+00`.
fn exponential(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:E}");
    let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}E{sign}{digits:0>2}")
}

/// A time since the start of the test, as Go writes a duration: `1h0m5s`.
pub(super) fn elapsed(millis: Millis) -> String {
    let (secs, rest) = (millis / 1000, millis % 1000);
    let fraction = if rest == 0 { String::new() } else { format!(".{rest:03}").trim_end_matches('0').to_owned() };
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    if hours > 0 {
        format!("{hours}h{minutes}m{secs}{fraction}s")
    } else if minutes > 0 {
        format!("{minutes}m{secs}{fraction}s")
    } else {
        format!("{secs}{fraction}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_what_is_missing_and_what_came() {
        assert_eq!(differing("a\nb\nc", "a\nx\nc\nd"), "\n a\n-b\n+x\n c\n+d");
        assert_eq!(differing("[]", "[\n 0\n]"), "\n-[]\n+[\n+ 0\n+]");
    }
}
