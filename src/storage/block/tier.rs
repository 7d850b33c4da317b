//! Answers from rolled-up points: which questions they answer exactly, and the few samples that stand for a point.
//!
//! Points cover windows of a minute that are closed to the right, as range selectors are. Where every evaluation time
//! and the range are whole minutes, a selector covers whole windows, and a function sees the same least, most, sum,
//! last value or increase in one to four samples of a window as in all of them. Everything else reads raw samples.

use crate::codec::rollup::Point;
use crate::promql::source::{Column, Select};

/// Width of the windows that are kept, in milliseconds.
pub const TIER_MS: i64 = 60_000;

/// What has to stay true of a window's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Last,
    Min,
    Max,
    Sum,
    /// The mean of exactly one window.
    Mean,
    /// First, last and the increase between them.
    Increase,
}

/// The shape that answers a selector exactly; `None` where raw samples are needed.
pub fn shape_of(select: &Select) -> Option<Shape> {
    let hints = &select.hints;
    let aligned = |ms: i64| ms.rem_euclid(TIER_MS) == 0;
    let start = select.mint.checked_sub(1)?;
    if hints.labels_only || ![start, select.maxt, hints.step, hints.range].into_iter().all(aligned) {
        return None;
    }
    match (hints.range, hints.function) {
        (0, "info") => None,
        (0, _) | (_, "last_over_time" | "present_over_time") => Some(Shape::Last),
        (_, "min_over_time") => Some(Shape::Min),
        (_, "max_over_time") => Some(Shape::Max),
        (_, "sum_over_time") => Some(Shape::Sum),
        (TIER_MS, "avg_over_time") => Some(Shape::Mean),
        (_, "rate" | "increase") => Some(Shape::Increase),
        _ => None,
    }
}

/// Appends the samples that stand for points. False where some point has none that would give exactly the same: then
/// the column holds a part, and the caller reads raw samples in its place.
pub(super) fn emit(points: &[Point], shape: Shape, column: &mut Column) -> bool {
    points.iter().all(|point| {
        let at_end = |column: &mut Column, value| column.push_float(point.last_time, 0, value);
        match shape {
            Shape::Last => at_end(column, point.last),
            Shape::Min => at_end(column, point.min),
            Shape::Max => at_end(column, point.max),
            Shape::Sum => at_end(column, point.sum),
            Shape::Mean => at_end(column, point.sum / point.count),
            Shape::Increase => return emit_increase(point, column),
        }
        true
    })
}

/// The samples of an increase. A function extrapolates to the edges of its range when samples come near enough to
/// them, by their mean distance: a window whose samples do not would be extrapolated otherwise than raw.
fn emit_increase(point: &Point, column: &mut Column) -> bool {
    let span = point.last_time - point.first_time;
    let distance = span as f64 / (point.count - 1.0);
    let before = (point.first_time - 1).rem_euclid(TIER_MS) + 1;
    let after = (-point.last_time).rem_euclid(TIER_MS);
    let near = |gap: i64| gap as f64 <= distance * 1.05;
    if point.count < 2.0 || !near(before) || !near(after) || point.carry < 0.0 {
        return false;
    }
    column.push_float(point.first_time, 0, point.first);
    if point.carry > 0.0 {
        // A counter that rises to the sum of all peaks and falls to 0 once increases as much as one that fell often.
        if span <= 2 || point.first < 0.0 || point.last < 0.0 {
            return false;
        }
        column.push_float(point.first_time + 1, 0, point.carry);
        column.push_float(point.first_time + 2, 0, 0.0);
    }
    column.push_float(point.last_time, 0, point.last);
    true
}

/// The mean distance of samples in the window where they are closest.
pub(super) fn distance(points: &[Point]) -> f64 {
    let distances = points.iter().filter(|point| point.count > 1.0);
    distances
        .map(|point| (point.last_time - point.first_time) as f64 / (point.count - 1.0))
        .fold(f64::INFINITY, f64::min)
}

/// Whether samples come near to both sides of every edge of a window in the range, by the distance that raw samples
/// have. Elsewhere the mean distance decides how far an increase is extrapolated, and points do not keep that.
pub fn is_dense(times: &[i64], mint: i64, maxt: i64, distance: f64) -> bool {
    let mut at = 0;
    let mut edge = mint.saturating_sub(1);
    while edge <= maxt {
        while times.get(at).is_some_and(|time| *time <= edge) {
            at += 1;
        }
        let near = |time: Option<&i64>| time.is_some_and(|time| time.abs_diff(edge) as f64 <= distance * 1.05);
        let before = edge < mint || near(at.checked_sub(1).and_then(|at| times.get(at)));
        let after = edge == maxt || near(times.get(at));
        if !before || !after {
            return false;
        }
        edge = edge.saturating_add(TIER_MS);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rollup::roll;
    use crate::promql::source::Hints;

    fn select(function: &'static str, range: i64, step: i64, mint: i64, maxt: i64) -> Select {
        Select { matchers: vec![], mint, maxt, hints: Hints { step, range, function, labels_only: false } }
    }

    #[test]
    fn only_whole_windows_are_answered() {
        let ok = |function, range, step, mint, maxt| shape_of(&select(function, range, step, mint, maxt));
        assert_eq!(ok("max_over_time", 300_000, 60_000, 1, 600_000), Some(Shape::Max));
        assert_eq!(ok("max_over_time", 300_000, 15_000, 1, 600_000), None);
        assert_eq!(ok("max_over_time", 90_000, 60_000, 1, 600_000), None);
        assert_eq!(ok("max_over_time", 300_000, 60_000, 2, 600_000), None);
        assert_eq!(ok("max_over_time", 300_000, 60_000, 1, 600_001), None);
        assert_eq!(ok("quantile_over_time", 300_000, 60_000, 1, 600_000), None);
        assert_eq!(ok("avg_over_time", 300_000, 60_000, 1, 600_000), None);
        assert_eq!(ok("avg_over_time", 60_000, 60_000, 1, 600_000), Some(Shape::Mean));
        assert_eq!(ok("sum", 0, 60_000, 1, 600_000), Some(Shape::Last));
    }

    #[test]
    fn an_increase_over_resets_keeps_its_amount() {
        let times: Vec<i64> = (1..=60).map(|i| i * 1_000).collect();
        let values: Vec<f64> = (1..=60u32)
            .map(|i| {
                f64::from(if i < 20 {
                    100 + i
                } else if i < 40 {
                    i
                } else {
                    i * 10 - 390
                })
            })
            .collect();
        let increase = |times: &[i64], values: &[f64]| {
            assert!(times.is_sorted_by(|a, b| a < b));
            let resets: f64 = values.windows(2).filter(|w| w[1] < w[0]).map(|w| w[0]).sum();
            values.last().unwrap() - values[0] + resets
        };
        let points = roll(&times, &values, TIER_MS).unwrap();
        let mut column = Column::default();
        assert!(emit(&points, Shape::Increase, &mut column));
        assert_eq!(column.len(), 4);
        assert_eq!(increase(&column.times, &column.values), increase(&times, &values));
        assert!(is_dense(&column.times, 1, 60_000, distance(&points)));
        assert!(!is_dense(&column.times, 1, 120_000, distance(&points)));
        // A window that begins with a gap would be extrapolated otherwise.
        let points = roll(&times[5..], &values[5..], TIER_MS).unwrap();
        assert!(!emit(&points, Shape::Increase, &mut Column::default()));
    }
}
