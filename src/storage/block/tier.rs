//! Answers from rolled-up points: which questions they answer exactly, and the entries that stand for a point.
//!
//! Windows of points are closed to the right, as range selectors are. Where the edges of all ranges of a query lie
//! between windows, each range covers whole windows, and a function sees the same least, most, sum, count, first, last
//! or increase in one to four entries of a point as in all of its samples. A query with one long range, wherever its
//! edges lie, reads samples at these and windows between them. Everything else reads raw samples.

use std::sync::Arc;

use crate::codec::rollup::histograms::HistogramPoint;
use crate::codec::rollup::{Need, Point};
use crate::model::histogram::{Histogram, ResetHint};
use crate::model::sample::STALE_NAN;
use crate::promql::source::{Column, Select};

/// Width of the windows of the coarsest tier that is kept by default, in milliseconds.
pub const TIER_MS: i64 = 60_000;

/// What has to stay true of a window's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    First,
    /// The last sample, or that the series ended after it.
    Last,
    Min,
    Max,
    Sum,
    /// Sum and count, for means.
    Mean,
    /// Only how many there are.
    Count,
    /// First, last and the increase of a counter between them.
    Increase,
    /// First and last.
    Delta,
}

/// What a selector asks of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub shape: Shape,
    /// Every edge of a range is a multiple of this: windows whose width divides it answer exactly. 1 where only raw
    /// samples do; points stand in where those are gone.
    pub grid: i64,
    /// Windows of at most this width answer too where they lie inside of the only range there is; what is left at its
    /// edges is read raw. 0 where there are more ranges.
    pub inner: i64,
}

/// Of a single range that long, windows are worth looking at whatever its edges are.
const LONG_MS: i64 = 1_800_000;

/// Such a range has at least so many windows.
const INNER_MIN: i64 = 16;

impl Asked {
    /// Samples one by one.
    pub const RAW: Self = Self { shape: Shape::Last, grid: 1, inner: 0 };

    /// Whether windows of this width answer exactly.
    pub(super) fn fits(self, width: i64) -> bool {
        width > 0 && (self.is_aligned(width) || width <= self.inner)
    }

    /// Whether every edge of a range lies between windows of this width.
    pub(super) fn is_aligned(self, width: i64) -> bool {
        self.grid != 1 && self.grid % width == 0
    }
}

/// What answers a selector.
pub fn asked_of(select: &Select) -> Asked {
    let hints = &select.hints;
    let shape = match (hints.range, hints.function) {
        (0, _) | (_, "last_over_time" | "ts_of_last_over_time") => Shape::Last,
        (_, "first_over_time" | "ts_of_first_over_time") => Shape::First,
        (_, "min_over_time") => Shape::Min,
        (_, "max_over_time") => Shape::Max,
        (_, "sum_over_time") => Shape::Sum,
        (_, "avg_over_time") => Shape::Mean,
        (_, "count_over_time" | "present_over_time" | "absent_over_time") => Shape::Count,
        (_, "rate" | "increase") => Shape::Increase,
        (_, "delta") => Shape::Delta,
        _ => return Asked::RAW,
    };
    if hints.labels_only || hints.raw {
        return Asked::RAW;
    }
    let edges = match hints.range {
        // The last sample before a time is in the window that ends there, however far back may be looked.
        0 => [select.maxt, hints.step, 0, 0],
        range => [select.maxt, hints.step, range, select.mint.saturating_sub(1)],
    };
    let grid = edges.into_iter().fold(0, |grid, edge| gcd(grid, edge.unsigned_abs()));
    let inner = if hints.step == 0 && hints.range >= LONG_MS { hints.range / INNER_MIN } else { 0 };
    Asked { shape, grid: i64::try_from(grid).unwrap_or(1), inner }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Shape {
    /// The numbers of points that it takes.
    pub(super) fn need(self) -> Need {
        match self {
            Self::First => Need::First,
            Self::Last => Need::Last,
            Self::Min => Need::Min,
            Self::Max => Need::Max,
            Self::Sum | Self::Mean => Need::Sum,
            Self::Count => Need::Last,
            Self::Increase | Self::Delta => Need::Increase,
        }
    }
}

/// Appends the entries that stand for a point. Answers false, and appends nothing, where none would give exactly the
/// same as its samples; with `lossy` those come that are nearest.
pub(super) fn emit(point: &Point, shape: Shape, lossy: bool, column: &mut Column) -> bool {
    if point.count == 0.0 {
        if shape == Shape::Last {
            column.push_float(point.end_time, 0, STALE_NAN);
        }
        return true;
    }
    let mut whole = |value: f64| {
        column.push_float(point.last_time, 0, value);
        column.weigh_last(point.count as u32);
        true
    };
    match shape {
        Shape::Min => whole(point.min),
        Shape::Max => whole(point.max),
        Shape::Sum => whole(point.sum),
        // A mean of numbers whose sum is beyond the range of floats is taken another way.
        Shape::Mean if point.sum.is_infinite() && !lossy => false,
        Shape::Mean => whole(point.sum),
        Shape::Count => whole(0.0),
        Shape::First => {
            column.push_float(point.first_time, point.first_start, point.first);
            true
        }
        Shape::Last => {
            column.push_float(point.last_time, point.last_start, point.last);
            if point.end_time > point.last_time {
                column.push_float(point.end_time, 0, STALE_NAN);
            }
            true
        }
        Shape::Increase | Shape::Delta => emit_edges(point, shape, lossy, column),
    }
}

/// First and last, and between them a counter that rises to the sum of all peaks and falls to 0 once: it increases as
/// much as one that fell often.
fn emit_edges(point: &Point, shape: Shape, lossy: bool, column: &mut Column) -> bool {
    let falls = shape == Shape::Increase && point.carry != 0.0;
    let can_fall = point.last_time - point.first_time > 2 && point.first >= 0.0 && point.last >= 0.0;
    let can_fall = can_fall && point.carry >= point.first;
    // One start for all, from before the first of them: between the entries nothing begins anew.
    let start = if point.first_start == point.last_start { point.first_start } else { -1 };
    let started = start == -1 || start != 0 && start > point.first_time;
    if !lossy && (falls && !can_fall || shape == Shape::Increase && started) {
        return false;
    }
    let start = if started { 0 } else { start };
    column.push_float(point.first_time, start, point.first);
    if point.count < 2.0 {
        return true;
    }
    if falls && can_fall {
        for (after, value) in [(1, point.carry), (2, 0.0)] {
            column.push_float(point.first_time + after, start, value);
            column.weigh_last(0);
        }
    }
    column.push_float(point.last_time, start, point.last);
    column.weigh_last(point.count as u32 - 1);
    true
}

/// As [`emit`], for native histograms.
pub(super) fn emit_histogram(point: &HistogramPoint, shape: Shape, lossy: bool, column: &mut Column) -> bool {
    let mut whole = |histogram: &Arc<Histogram>| {
        column.push_histogram(point.last_time, 0, Arc::clone(histogram));
        column.weigh_last(point.count as u32);
        true
    };
    match (shape, &point.sum) {
        // Functions of floats leave histograms out, and tell so.
        (Shape::Min | Shape::Max | Shape::Count, _) => whole(&point.last),
        (Shape::Sum | Shape::Mean, Some(sum)) => whole(sum),
        (Shape::Sum | Shape::Mean, None) => {
            if lossy {
                column.push_histogram(point.last_time, 0, Arc::clone(&point.last));
            }
            lossy
        }
        (Shape::First, _) => {
            column.push_histogram(point.first_time, point.first_start, Arc::clone(&point.first));
            true
        }
        (Shape::Last, _) => {
            column.push_histogram(point.last_time, point.last_start, Arc::clone(&point.last));
            true
        }
        (Shape::Increase | Shape::Delta, _) => emit_histogram_edges(point, shape, lossy, column),
    }
}

fn emit_histogram_edges(point: &HistogramPoint, shape: Shape, lossy: bool, column: &mut Column) -> bool {
    let carry = point.carry.as_ref().filter(|_| shape == Shape::Increase);
    let start = if point.first_start == point.last_start { point.first_start } else { -1 };
    let started = start == -1 || start != 0 && start > point.first_time;
    let has_room = point.last_time - point.first_time > 1;
    // A gauge has no resets, but who asks for its rate gets what Prometheus makes of them.
    let gauge = shape == Shape::Increase && point.first.reset_hint == ResetHint::Gauge;
    if !lossy && (gauge || shape == Shape::Increase && started || carry.is_some() && !has_room) {
        return false;
    }
    let start = if started { 0 } else { start };
    column.push_histogram(point.first_time, start, Arc::clone(&point.first));
    if point.count < 2.0 {
        return true;
    }
    let hinted = |histogram: &Arc<Histogram>, hint: ResetHint| {
        if histogram.reset_hint == ResetHint::Gauge {
            return Arc::clone(histogram);
        }
        Arc::new(Histogram { reset_hint: hint, ..Histogram::clone(histogram) })
    };
    let carry = carry.filter(|_| has_room);
    if let Some(carry) = carry {
        column.push_histogram(point.first_time + 1, start, hinted(carry, ResetHint::NotReset));
        column.weigh_last(0);
    }
    let hint = if carry.is_some() { ResetHint::Reset } else { ResetHint::NotReset };
    column.push_histogram(point.last_time, start, hinted(&point.last, hint));
    column.weigh_last(point.count as u32 - 1);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rollup::roll;
    use crate::promql::source::Hints;

    fn asked(function: &'static str, range: i64, step: i64, mint: i64, maxt: i64) -> Asked {
        let hints = Hints { step, range, function, ..Hints::default() };
        asked_of(&Select { matchers: vec![], mint, maxt, hints })
    }

    #[test]
    fn only_whole_windows_are_answered() {
        let fits = |asked: Asked| (asked.fits(10_000), asked.fits(60_000));
        assert_eq!(fits(asked("max_over_time", 300_000, 60_000, 1, 600_000)), (true, true));
        assert_eq!(fits(asked("max_over_time", 300_000, 20_000, 1, 600_000)), (true, false));
        assert_eq!(fits(asked("max_over_time", 90_000, 60_000, 1, 600_000)), (true, false));
        assert_eq!(fits(asked("max_over_time", 300_000, 60_000, 2, 600_000)), (false, false));
        assert_eq!(fits(asked("max_over_time", 300_000, 60_000, 1, 600_001)), (false, false));
        assert_eq!(fits(asked("quantile_over_time", 300_000, 60_000, 1, 600_000)), (false, false));
        assert_eq!(fits(asked("avg_over_time", 300_000, 60_000, 1, 600_000)), (true, true));
        // One long range is answered wherever it lies.
        assert_eq!(fits(asked("max_over_time", 3_600_000, 0, 7, 3_600_006)), (true, true));
        assert_eq!(fits(asked("max_over_time", 900_000, 0, 7, 900_006)), (false, false));
        // How far an instant selector looks back does not matter.
        assert_eq!(fits(asked("sum", 0, 60_000, 77, 600_000)), (true, true));
        assert_eq!(fits(asked("sum", 0, 15_000, 1, 600_000)), (false, false));
    }

    #[test]
    fn an_increase_over_resets_keeps_its_amount() {
        let times: Vec<i64> = (1..=60).map(|i| i * 1_000).collect();
        let value = |i: i64| match i {
            ..20 => 100 + i,
            20..40 => i,
            _ => i * 10 - 390,
        };
        let values: Vec<f64> = (1..=60).map(|i| value(i) as f64).collect();
        let increase = |times: &[i64], values: &[f64]| {
            assert!(times.is_sorted_by(|a, b| a < b));
            let resets: f64 = values.windows(2).filter(|w| w[1] < w[0]).map(|w| w[0]).sum();
            values.last().unwrap() - values[0] + resets
        };
        let points = roll(&times, &values, &[], TIER_MS);
        let mut column = Column::default();
        assert!(emit(&points[0], Shape::Increase, false, &mut column));
        assert_eq!((column.len(), column.weights.iter().sum::<u32>()), (4, 60));
        assert_eq!(increase(&column.times, &column.values), increase(&times, &values));
    }
}
