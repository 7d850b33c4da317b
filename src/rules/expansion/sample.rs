//! Elements of a query's result, and times, as templates see them.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::model::sample as model;
use crate::rules::expansion::map;
use crate::rules::seam::RuleSample;
use crate::template::{Object, Value};

/// One element of what `query` gives.
#[derive(Debug)]
struct Element {
    labels: Value,
    value: Value,
}

/// A float as a number, a histogram as its text.
pub(super) fn number_or_text(value: &model::Value) -> Value {
    match value {
        model::Value::Float(number) => Value::Float(*number),
        model::Value::Histogram(histogram) => Value::from(histogram.to_string()),
    }
}

/// A result, as a list of elements.
pub(super) fn list(samples: &[RuleSample]) -> Value {
    samples
        .iter()
        .map(|sample| {
            let element = Element { labels: map(sample.labels.iter()), value: number_or_text(&sample.value) };
            Value::Object(Arc::new(element))
        })
        .collect()
}

impl Object for Element {
    fn type_name(&self) -> &'static str {
        "*template.sample"
    }

    fn get(&self, name: &str, _args: &[Value]) -> Option<Result<Value, String>> {
        match name {
            "Labels" => Some(Ok(self.labels.clone())),
            "Value" => Some(Ok(self.value.clone())),
            _ => None,
        }
    }

    fn text(&self) -> String {
        format!("&{{{} {}}}", self.labels.text(), self.value.text())
    }
}

/// A label of an element; empty where it has none.
pub(super) fn label(element: &Value, name: &str) -> Result<Value, String> {
    element.get("Labels", &[])?.get(name, &[])
}

/// The elements in ascending order of a label; equal ones stay in order.
pub(super) fn sorted(list: &Value, name: &str) -> Result<Value, String> {
    let mut keyed = Vec::new();
    for (_, element) in list.items()? {
        keyed.push((label(&element, name)?.text(), element));
    }
    keyed.sort_by(|(left, _), (right, _)| -> Ordering { left.cmp(right) });
    Ok(keyed.into_iter().map(|(_, element)| element).collect())
}

/// A length of time in seconds, as Go's `time.Duration`.
#[derive(Debug)]
pub(super) struct Duration(pub(super) f64);

impl Object for Duration {
    fn type_name(&self) -> &'static str {
        "*time.Duration"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        #[expect(clippy::cast_possible_truncation, reason = "saturates as far as any duration goes")]
        let whole = |per_second: f64| Ok(Value::Int((self.0 * per_second) as i64));
        Some(match (name, args) {
            ("Seconds", []) => Ok(Value::Float(self.0)),
            ("Minutes", []) => Ok(Value::Float(self.0 / 60.0)),
            ("Hours", []) => Ok(Value::Float(self.0 / 3600.0)),
            ("Milliseconds", []) => whole(1e3),
            ("Microseconds", []) => whole(1e6),
            ("Nanoseconds", []) => whole(1e9),
            ("String", []) => Ok(Value::from(self.text())),
            _ => return None,
        })
    }

    /// `1h2m3.5s`, and `1.5ms` below a second.
    fn text(&self) -> String {
        let (sign, secs) = if self.0 < 0.0 { ("-", -self.0) } else { ("", self.0) };
        let nanos = (secs * 1e9).round();
        for (limit, unit, size) in [(1e3, "ns", 1.0), (1e6, "µs", 1e3), (1e9, "ms", 1e6)] {
            if nanos < limit && nanos > 0.0 {
                return format!("{sign}{}{unit}", nanos / size);
            }
        }
        let (hours, minutes) = ((secs / 3600.0).floor(), (secs % 3600.0 / 60.0).floor());
        let rest = (secs % 60.0 * 1e9).round() / 1e9;
        if hours > 0.0 {
            format!("{sign}{hours}h{minutes}m{rest}s")
        } else if minutes > 0.0 {
            format!("{sign}{minutes}m{rest}s")
        } else {
            format!("{sign}{rest}s")
        }
    }

    fn number(&self) -> Option<f64> {
        Some(self.0)
    }
}
