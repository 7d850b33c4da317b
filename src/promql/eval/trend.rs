//! Lines and spreads through windows: `deriv`, `predict_linear`, `stddev_over_time`, `double_exponential_smoothing`.
//!
//! Windows that overlap a lot are folded from moments about the mean. Joining those never subtracts large sums from
//! each other, so the precision does not depend on where a series lies or how long it is.

use crate::model::histogram::sum::Compensated;

use super::cells::Cells;
use super::error::EvalError;
use super::notes::Notes;
use super::query::Buffers;
use super::sliding::{fold_windows, is_sparse};
use super::windows::Windows;

type Done = Result<(), EvalError>;

/// Count, means and moments about them.
#[derive(Clone, Copy, Debug)]
struct Moments {
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
    /// All y are this one, if they are all the same.
    same: Option<f64>,
}

impl Moments {
    fn of(x: f64, y: f64) -> Self {
        Self { count: 1.0, x, y, xx: 0.0, xy: 0.0, yy: 0.0, same: Some(y) }
    }

    fn join(self, other: Self) -> Self {
        let count = self.count + other.count;
        let share = other.count / count;
        let (dx, dy) = (other.x - self.x, other.y - self.y);
        let weight = self.count * share;
        Self {
            count,
            x: self.x + dx * share,
            y: self.y + dy * share,
            xx: self.xx + other.xx + dx * dx * weight,
            xy: self.xy + other.xy + dx * dy * weight,
            yy: self.yy + other.yy + dy * dy * weight,
            same: self.same.filter(|value| other.same == Some(*value)),
        }
    }
}

/// A number near the values, so that deviations from it are exact.
fn level(values: &[f64]) -> Option<f64> {
    values.iter().all(|value| value.is_finite()).then(|| values.first().copied()).flatten()
}

pub(super) fn stddev(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    variance(windows, cells, notes, f64::sqrt);
    Ok(())
}

pub(super) fn stdvar(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    variance(windows, cells, notes, |variance| variance);
    Ok(())
}

fn variance(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, finish: impl Fn(f64) -> f64) {
    let values = &windows.floats.values;
    let steps = windows.float_steps(1, notes);
    let level = level(values).filter(|_| !is_sparse(values.len(), windows.float_bounds));
    if let Some(level) = level {
        let lift = |at: usize| Moments::of(0.0, values[at] - level);
        fold_windows(values.len(), windows.float_bounds, lift, Moments::join, |step, moments| {
            cells.set_float(step, finish(moments.yy / moments.count));
        });
        return;
    }
    for step in steps {
        let mut count = 0.0;
        let mut mean = Compensated::default();
        let mut squares = Compensated::default();
        for value in &values[windows.floats_at(step)] {
            count += 1.0;
            let delta = value - mean.total();
            mean.push(delta / count);
            squares.push(delta * (value - mean.total()));
        }
        cells.set_float(step, finish(squares.total() / count));
    }
}

pub(super) fn deriv(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    // The slope is the same about any time; one near the samples keeps precision.
    let origin = |_: usize, first: i64| first;
    lines(windows, cells, notes, origin, |_, slope, _| slope);
    Ok(())
}

pub(super) fn predict_linear(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    let now = |step: usize, _: i64| windows.frame.time(step);
    lines(windows, cells, notes, now, |step, slope, at_origin| slope * windows.args[0][step] + at_origin);
    Ok(())
}

/// Fits a line through each window; `result` gets its slope and its value at the origin.
fn lines(
    windows: &Windows<'_>,
    cells: &mut Cells,
    notes: &mut Notes,
    origin: impl Fn(usize, i64) -> i64,
    result: impl Fn(usize, f64, f64) -> f64,
) {
    let (times, values) = (&windows.floats.times, &windows.floats.values);
    let steps = windows.float_steps(2, notes);
    let level = level(values).filter(|_| !is_sparse(values.len(), windows.float_bounds));
    let Some(level) = level else {
        for step in steps {
            let window = windows.floats_at(step);
            let origin = origin(step, times[window.start]);
            let (slope, value) = regression(&times[window.clone()], &values[window], origin);
            cells.set_float(step, result(step, slope, value));
        }
        return;
    };
    let base = times.first().copied().unwrap_or(0);
    let seconds = |time: i64| (time - base) as f64 / 1000.0;
    let lift = |at: usize| Moments::of(seconds(times[at]), values[at] - level);
    fold_windows(values.len(), windows.float_bounds, lift, Moments::join, |step, moments| {
        let window = windows.floats_at(step);
        if window.len() < 2 {
            return;
        }
        let (slope, value) = match moments.same {
            Some(_) => (0.0, values[window.start]),
            None => {
                let slope = moments.xy / moments.xx;
                let origin = seconds(origin(step, times[window.start]));
                (slope, level + moments.y + slope * (origin - moments.x))
            }
        };
        cells.set_float(step, result(step, slope, value));
    });
}

/// Least squares, with the sums that Prometheus takes: slope, and value at `origin`.
fn regression(times: &[i64], values: &[f64], origin: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let [mut x_sum, mut y_sum, mut xy_sum, mut xx_sum] = [Compensated::default(); 4];
    for (time, y) in times.iter().zip(values) {
        let x = (time - origin) as f64 / 1000.0;
        x_sum.push(x);
        y_sum.push(*y);
        xy_sum.push(x * y);
        xx_sum.push(x * x);
    }
    let count = values.len() as f64;
    let (x, y) = (x_sum.total(), y_sum.total());
    let covariance = xy_sum.total() - x * y / count;
    let variance = xx_sum.total() - x * x / count;
    let slope = covariance / variance;
    (slope, y / count - slope * x / count)
}

pub(super) fn double_exponential(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    for step in 0..windows.frame.steps {
        let window = windows.floats_at(step);
        if window.is_empty() && windows.histograms_at(step).is_empty() {
            continue;
        }
        windows.check()?;
        let (smoothing, trend) = (windows.args[0][step], windows.args[1][step]);
        for (name, factor, letters) in [("smoothing", smoothing, "sf"), ("trend", trend, "tf")] {
            if factor <= 0.0 || factor >= 1.0 {
                return Err(EvalError::execution(format!(
                    "invalid {name} factor. Expected: 0 < {letters} < 1, got: {factor:.6}"
                )));
            }
        }
        let values = &windows.floats.values[window];
        if !values.is_empty() && !windows.histograms_at(step).is_empty() {
            notes.ignored_in_range(windows.metric, windows.span);
        }
        let [first, second, ..] = values else { continue };
        let (mut before, mut smoothed, mut slope) = (0.0, *first, second - first);
        for (at, value) in values.iter().enumerate().skip(1) {
            if at > 1 {
                slope = trend * (smoothed - before) + (1.0 - trend) * slope;
            }
            let next = smoothing * value + (1.0 - smoothing) * (smoothed + slope);
            (before, smoothed) = (smoothed, next);
        }
        cells.set_float(step, smoothed);
    }
    Ok(())
}
