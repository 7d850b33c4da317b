//! Compares results with what scripts expect.

use std::collections::BTreeMap;
use std::sync::Arc;

use novascope::model::histogram::Histogram;
use novascope::model::labels::Labels;
use novascope::model::sample::{Value, is_stale};
use novascope::promql::eval::{MatrixSeries, VectorSample};

use crate::series::{Item, SeriesLine};

type Outcome = Result<(), String>;

/// Floats agree when they differ by less than a millionth of their sum.
fn agree(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < 1e-6 * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < 1e-6
}

fn histograms_agree(expected: &Histogram, actual: &Histogram, with_hint: bool) -> bool {
    let (mut a, mut b) = (expected.clone(), actual.clone());
    a.compact();
    b.compact();
    let all = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(*a, *b));
    a.schema == b.schema
        && agree(a.count, b.count)
        && agree(a.sum, b.sum)
        && agree(a.zero_count, b.zero_count)
        && a.zero_threshold == b.zero_threshold
        && all(&a.custom_values, &b.custom_values)
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && all(&a.positive_buckets, &b.positive_buckets)
        && all(&a.negative_buckets, &b.negative_buckets)
        && (!with_hint || a.reset_hint == b.reset_hint)
}

pub(crate) fn scalar(expected: Option<f64>, actual: f64) -> Outcome {
    match expected {
        Some(expected) if agree(expected, actual) => Ok(()),
        expected => Err(format!("expected scalar {expected:?}, got {actual}")),
    }
}

pub(crate) fn vector(expected: &[SeriesLine], actual: &[VectorSample], ordered: bool) -> Outcome {
    let mut wanted: BTreeMap<&Labels, (usize, &Item)> = BTreeMap::new();
    for (position, line) in expected.iter().enumerate() {
        let item = line.items.first().ok_or("a series without a value")?;
        wanted.insert(&line.labels, (position, item));
    }
    for (position, sample) in actual.iter().enumerate() {
        let labels = &sample.labels;
        let (wanted_position, item) =
            wanted.remove(labels).ok_or_else(|| format!("unexpected {labels} {:?}", sample.value))?;
        if ordered && wanted_position != position {
            return Err(format!("{labels} at position {position}, expected at {wanted_position}"));
        }
        let fits = match (item, &sample.value) {
            (Item::Float(expected), Value::Float(actual)) => agree(*expected, *actual),
            (Item::Histogram(expected, hint), Value::Histogram(actual)) => histograms_agree(expected, actual, *hint),
            _ => false,
        };
        if !fits {
            return Err(format!("{labels}: expected {item:?}, got {:?}", sample.value));
        }
    }
    match wanted.keys().next() {
        Some(labels) => Err(format!("missing {labels}")),
        None => Ok(()),
    }
}

/// `times` are first and last time and the step of the expected values.
pub(crate) fn matrix(expected: &[SeriesLine], actual: &[MatrixSeries], times: (i64, i64, i64)) -> Outcome {
    if let Some(pair) = actual.windows(2).find(|pair| pair[0].labels > pair[1].labels) {
        return Err(format!("{} stands before {}", pair[0].labels, pair[1].labels));
    }
    let mut wanted: BTreeMap<&Labels, &SeriesLine> = expected.iter().map(|line| (&line.labels, line)).collect();
    for series in actual {
        let labels = &series.labels;
        let line = wanted.remove(labels).ok_or_else(|| format!("unexpected {labels} {:?}", series.floats))?;
        let (mut floats, mut histograms) = (Vec::new(), Vec::<(i64, &Arc<Histogram>, bool)>::new());
        for (at, item) in line.items.iter().enumerate() {
            let time = times.0 + at as i64 * times.2;
            if time > times.1 {
                return Err(format!("{labels}: more values are expected than there are steps"));
            }
            match item {
                Item::Nothing => {}
                Item::Float(value) => floats.push((time, *value)),
                Item::Histogram(histogram, hint) => histograms.push((time, histogram, *hint)),
            }
        }
        let floats_fit = floats.len() == series.floats.len()
            && floats.iter().zip(&series.floats).all(|(a, b)| a.0 == b.0 && agree(a.1, b.1));
        if !floats_fit {
            return Err(format!("{labels}: expected {floats:?}, got {:?}", series.floats));
        }
        let histograms_fit = histograms.len() == series.histograms.len()
            && histograms.iter().zip(&series.histograms).all(|(a, b)| a.0 == b.0 && histograms_agree(a.1, &b.1, a.2));
        if !histograms_fit {
            return Err(format!("{labels}: expected {histograms:?}, got {:?}", series.histograms));
        }
    }
    match wanted.keys().next() {
        Some(labels) => Err(format!("missing {labels}")),
        None => Ok(()),
    }
}
