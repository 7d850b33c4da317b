//! Lines and spreads through windows: `deriv`, `predict_linear`, `stddev_over_time`, `double_exponential_smoothing`.
//!
//! Long windows and those that overlap a lot are folded from moments about the mean, taken block by block. Joining
//! those never subtracts large sums from each other, so the precision does not depend on where a series lies or how long
//! it is.

use std::ops::Range;

use crate::model::histogram::sum::Compensated;

use super::cells::Cells;
use super::error::EvalError;
use super::notes::Notes;
use super::query::Buffers;
use super::sliding::{fold_runs, is_sparse};
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

/// Windows of fewer samples, if they overlap little, are folded as Prometheus does it, to the last bit.
const LONG: usize = 256;

/// The squares of smaller numbers are finite, and so are sums of them.
const MODERATE: f64 = 1e150;

/// Samples in a block, so that both of its passes find it in the nearest cache.
const BLOCK: usize = 512;

/// Sums that are added up side by side: as wide as vectors of processors are.
const LANES: usize = 8;

/// The samples of a series, whose moments are taken about numbers near them.
#[derive(Clone, Copy)]
struct Points<'a> {
    times: &'a [i64],
    values: &'a [f64],
    /// The time from which x is counted, in seconds.
    base: i64,
    /// The value from which y is counted.
    level: f64,
}

impl<'a> Points<'a> {
    /// `None` where the windows are better folded one by one, or where values are not finite or their squares would not be.
    fn of(windows: &Windows<'a>) -> Option<Self> {
        let (times, values) = (&windows.floats.times, &windows.floats.values);
        let bounds = windows.float_bounds;
        let is_long = || bounds.iter().any(|window| (window.end - window.start) as usize >= LONG);
        if is_sparse(values.len(), bounds) && !is_long() {
            return None;
        }
        let moderate = values.iter().all(|value| value.abs() < MODERATE);
        let (base, level) = times.first().copied().zip(values.first().copied()).filter(|_| moderate)?;
        Some(Self { times, values, base, level })
    }

    /// The moments of a run of at least one sample.
    fn moments(self, run: Range<usize>) -> Moments {
        let first = self.block(run.start..run.end.min(run.start + BLOCK));
        let starts = (run.start + BLOCK..run.end).step_by(BLOCK);
        starts.fold(first, |all, start| all.join(self.block(start..run.end.min(start + BLOCK))))
    }

    fn block(self, run: Range<usize>) -> Moments {
        let (times, values) = (&self.times[run.clone()], &self.values[run]);
        let (first, count) = (values[0], values.len() as f64);
        let seconds = |ms: f64| ms / 1000.0;
        if values.len() == 1 {
            return Moments::of(seconds((times[0] - self.base) as f64), first - self.level);
        }
        // About the middle and about nearly the mean sums stay small; what they are off is put right at the end.
        let middle = times[times.len() / 2];
        let mut sums = [0.0; LANES];
        let chunks = values.chunks_exact(LANES);
        let rest: f64 = chunks.remainder().iter().map(|value| value - first).sum();
        chunks.for_each(|chunk| sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value - first));
        let near = first + (sums.iter().sum::<f64>() + rest) / count;
        let [x, y, xx, xy, yy] = sums_about(times, values, (middle, near));
        let (mean_x, mean_y) = (x / count, y / count);
        Moments {
            count,
            x: seconds((middle - self.base) as f64 + mean_x),
            y: (near - self.level) + mean_y,
            xx: (xx - x * mean_x) / 1e6,
            xy: (xy - x * mean_y) / 1e3,
            yy: (yy - y * mean_y).max(0.0),
            same: values.iter().all(|value| *value == first).then_some(first - self.level),
        }
    }
}

/// The sums of x, y, xx, xy and yy, counted from a time and a value; x in milliseconds.
fn sums_about(times: &[i64], values: &[f64], (x0, y0): (i64, f64)) -> [f64; 5] {
    let mut sums = [[0.0; LANES]; 5];
    let mut add = |lane: usize, time: i64, value: f64| {
        let (x, y) = ((time - x0) as f64, value - y0);
        for (sum, term) in sums.iter_mut().zip([x, y, x * x, x * y, y * y]) {
            sum[lane] += term;
        }
    };
    let (whole_times, whole_values) = (times.chunks_exact(LANES), values.chunks_exact(LANES));
    let rest = whole_times.remainder().iter().zip(whole_values.remainder());
    rest.for_each(|(time, value)| add(0, *time, *value));
    for (times, values) in whole_times.zip(whole_values) {
        (0..LANES).for_each(|lane| add(lane, times[lane], values[lane]));
    }
    sums.map(|lanes| lanes.iter().sum())
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
    if let Some(points) = Points::of(windows) {
        fold_runs(
            values.len(),
            windows.float_bounds,
            |run| points.moments(run),
            Moments::join,
            |step, moments| cells.set_float(step, finish(moments.yy / moments.count)),
        );
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
    let Some(points) = Points::of(windows) else {
        for step in steps {
            let window = windows.floats_at(step);
            let origin = origin(step, times[window.start]);
            let (slope, value) = regression(&times[window.clone()], &values[window], origin);
            cells.set_float(step, result(step, slope, value));
        }
        return;
    };
    let seconds = |time: i64| (time - points.base) as f64 / 1000.0;
    let emit = |step: usize, moments: Moments| {
        let window = windows.floats_at(step);
        if window.len() < 2 {
            return;
        }
        let (slope, value) = match moments.same {
            Some(_) => (0.0, values[window.start]),
            None => {
                let slope = moments.xy / moments.xx;
                let origin = seconds(origin(step, times[window.start]));
                (slope, points.level + moments.y + slope * (origin - moments.x))
            }
        };
        cells.set_float(step, result(step, slope, value));
    };
    fold_runs(values.len(), windows.float_bounds, |run| points.moments(run), Moments::join, emit);
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
