//! Functions of labels: `label_replace`, `label_join`, and the sorting functions.

use std::cmp::Ordering;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::re2::Pattern;

use super::cells::{Bits, Series};
use super::error::EvalError;
use super::query::Query;
use super::vector::Ready;

/// `label_replace(v, destination, replacement, source, regex)`.
pub(super) fn label_replace(query: &Query<'_>, ready: Ready, texts: &[&str]) -> Result<Ready, EvalError> {
    let [destination, replacement, source, pattern] = texts else {
        return Err(EvalError::execution("label_replace() needs four strings"));
    };
    let regex = Pattern::new(pattern)
        .map_err(|_| EvalError::execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    check_label("invalid destination label name in label_replace()", destination)?;
    relabel(query, ready, destination, |labels| regex.expand(labels.get(source).unwrap_or(""), replacement))
}

/// `label_join(v, destination, separator, sources…)`.
pub(super) fn label_join(query: &Query<'_>, ready: Ready, texts: &[&str]) -> Result<Ready, EvalError> {
    let [destination, separator, sources @ ..] = texts else {
        return Err(EvalError::execution("label_join() needs two strings"));
    };
    for source in sources {
        check_label("invalid source label name in label_join()", source)?;
    }
    check_label("invalid destination label name in label_join()", destination)?;
    relabel(query, ready, destination, |labels| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
        Some(values.join(separator))
    })
}

fn check_label(text: &str, name: &str) -> Result<(), EvalError> {
    if is_label_name(name) { Ok(()) } else { Err(EvalError::execution(format!("{text}: {name}"))) }
}

/// Whether a string of a query can name a label. The parser writes the replacement character for bytes that are no
/// UTF-8, which names must be.
pub(super) fn is_label_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::REPLACEMENT_CHARACTER)
}

/// Sets a label where `value` gives one.
fn relabel(
    query: &Query<'_>,
    mut ready: Ready,
    destination: &str,
    value: impl Fn(&Labels) -> Option<String>,
) -> Result<Ready, EvalError> {
    for series in &mut ready.series {
        query.check()?;
        if let Some(value) = value(&series.labels) {
            series.labels = series.labels.to_builder().set(destination, &value).build();
            if destination == METRIC_NAME {
                series.drop_name = false;
            }
        }
    }
    ready.series = merge_equal(std::mem::take(&mut ready.series), Both::Refused)?;
    Ok(ready)
}

/// What becomes of series with the same labels of which one has a float where the other has a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Both {
    Refused,
    /// The histogram stays.
    Histogram,
    /// They stay two series.
    Apart,
}

/// Joins series that have the same labels. They may not have samples of the same kind at the same step.
pub(super) fn merge_equal(series: Vec<Series>, both: Both) -> Result<Vec<Series>, EvalError> {
    let mut known: HashSet<&Labels, foldhash::fast::FixedState> = HashSet::default();
    let distinct = series.iter().all(|series| known.insert(&series.labels));
    drop(known);
    if distinct {
        return Ok(series);
    }
    // Of each label set the series that could not become one: of three or more each meets all of them.
    let mut places: HashMap<Labels, SmallVec<[usize; 2]>, foldhash::fast::FixedState> = HashMap::default();
    let mut merged: Vec<Series> = Vec::with_capacity(series.len());
    for series in series {
        let places = places.entry(series.labels.clone()).or_default();
        let present = series.cells.present();
        let meets = |at: &usize| merged[*at].cells.present().first_common(&present).is_some();
        let refused = |at: &usize| both == Both::Refused || merged[*at].cells.shares_kind(&series.cells);
        if places.iter().any(|at| meets(at) && refused(at)) {
            return Err(EvalError::same_labels());
        }
        let Some(free) = places.iter().copied().find(|at| !meets(at)) else {
            places.push(merged.len());
            merged.push(series);
            continue;
        };
        let target = &mut merged[free];
        // The one that comes first in time says whether the name goes.
        if present.first() < target.cells.present().first() {
            target.drop_name = series.drop_name;
        }
        target.cells.overlay(&series.cells);
    }
    if both == Both::Histogram {
        let mut gone = Bits::none(merged.len());
        for apart in places.values().filter(|places| places.len() > 1) {
            for other in apart.iter().skip(1) {
                let cells = std::mem::take(&mut merged[*other].cells);
                merged[apart[0]].cells.overlay_histograms(&cells);
                gone.set(*other);
            }
        }
        let mut place = 0..;
        merged.retain(|_| place.next().is_some_and(|at| !gone.get(at)));
    }
    Ok(merged)
}

/// `sort` and `sort_desc`: by value, NaN last; histograms go.
pub(super) fn sort(ready: &mut Ready, descending: bool) {
    for series in &mut ready.series {
        series.cells.only_floats();
    }
    ready.series.retain(|series| !series.cells.is_vacant());
    ready.series.sort_by(|a, b| {
        let (a, b) = (a.cells.values[0], b.cells.values[0]);
        let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
        a.is_nan().cmp(&b.is_nan()).then(if descending { order.reverse() } else { order })
    });
}

/// `sort_by_label` and `sort_by_label_desc`: by the values of labels in natural order, then by all labels.
pub(super) fn sort_by_labels(ready: &mut Ready, names: &[&str], descending: bool) {
    ready.series.sort_by(|a, b| {
        let by_names = names.iter().find_map(|name| {
            let (a, b) = (a.labels.get(name).unwrap_or(""), b.labels.get(name).unwrap_or(""));
            (a != b).then(|| if natural_less(a, b) { Ordering::Less } else { Ordering::Greater })
        });
        let order = by_names.unwrap_or_else(|| a.labels.cmp(&b.labels));
        if descending { order.reverse() } else { order }
    });
}

/// Whether `a` comes before `b` where runs of digits compare as numbers.
fn natural_less(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(left), Some(right)) = (a.first(), b.first()) else {
            return a.len() < b.len();
        };
        if left.is_ascii_digit() && right.is_ascii_digit() {
            let (left, rest_of_a) = number(a);
            let (right, rest_of_b) = number(b);
            match left.len().cmp(&right.len()).then_with(|| left.cmp(right)) {
                Ordering::Equal => (a, b) = (rest_of_a, rest_of_b),
                order => return order == Ordering::Less,
            }
        } else if left == right {
            (a, b) = (&a[1..], &b[1..]);
        } else {
            return left < right;
        }
    }
}

/// The digits at the start, without leading zeros, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count().min(digits.len() - 1);
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        assert!(natural_less("cpu2", "cpu10"));
        assert!(!natural_less("cpu10", "cpu2"));
        assert!(natural_less("a01", "a2"));
        assert!(natural_less("a", "a1"));
        assert!(!natural_less("a1", "a1"));
    }
}
