//! `rate`, `increase`, `delta`, `irate`, `idelta`.

use std::ops::Range;
use std::sync::Arc;

use crate::model::histogram::sum::Compensated;
use crate::model::histogram::{Histogram, ResetHint};
use crate::model::sample::start_means_reset;
use crate::promql::ast::Edges;

use super::cells::Cells;
use super::error::EvalError;
use super::extended;
use super::extrapolate::Shape;
use super::notes::{Notes, Operation};
use super::query::Buffers;
use super::sliding::{fold_windows, is_sparse};
use super::windows::{HistogramSamples, Windows};

/// What the difference is of, and by what it is divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Difference {
    /// Resets count as starts from 0.
    pub(super) counter: bool,
    pub(super) per_second: bool,
}

pub(super) fn rate(
    windows: &Windows<'_>,
    cells: &mut Cells,
    notes: &mut Notes,
    buffers: &mut Buffers,
) -> Result<(), EvalError> {
    difference(windows, Difference { counter: true, per_second: true }, (cells, buffers), notes);
    Ok(())
}

pub(super) fn increase(
    windows: &Windows<'_>,
    cells: &mut Cells,
    notes: &mut Notes,
    buffers: &mut Buffers,
) -> Result<(), EvalError> {
    difference(windows, Difference { counter: true, per_second: false }, (cells, buffers), notes);
    Ok(())
}

pub(super) fn delta(
    windows: &Windows<'_>,
    cells: &mut Cells,
    notes: &mut Notes,
    buffers: &mut Buffers,
) -> Result<(), EvalError> {
    difference(windows, Difference { counter: false, per_second: false }, (cells, buffers), notes);
    Ok(())
}

fn difference(
    windows: &Windows<'_>,
    kind: Difference,
    (cells, buffers): (&mut Cells, &mut Buffers),
    notes: &mut Notes,
) {
    if windows.edges != Edges::Plain {
        extended::difference(windows, kind, cells, notes);
        return;
    }
    if !windows.floats.times.is_empty() {
        float_difference(windows, kind, (cells, buffers), notes);
    }
    if !windows.histograms.times.is_empty() {
        histogram_difference(windows, kind, cells, notes);
    }
}

fn float_difference(
    windows: &Windows<'_>,
    kind: Difference,
    (cells, buffers): (&mut Cells, &mut Buffers),
    notes: &mut Notes,
) {
    let samples = windows.floats;
    let starts: &[i64] = if kind.counter { &samples.starts } else { &[] };
    let resets = if kind.counter { float_resets(&samples.times, &samples.values, starts) } else { Vec::new() };
    let overlaps = overlaps(&samples.times, starts);
    let corrections = Corrections::new(&resets, &samples.values, windows.float_bounds);
    let shapes = shapes(windows, starts, buffers);
    let seconds = if kind.per_second { windows.range as f64 / 1000.0 } else { 1.0 };
    if resets.is_empty() && starts.is_empty() && windows.histograms.times.is_empty() {
        steady_difference(windows, kind, (shapes, seconds), cells);
        return;
    }
    for (step, shape) in shapes.iter().enumerate() {
        let window = windows.floats_at(step);
        if window.is_empty() {
            continue;
        }
        if !windows.histograms_at(step).is_empty() {
            notes.mixed_types(windows.metric, windows.span);
            continue;
        }
        if any_inside(&overlaps, &window) {
            notes.start_overlap(windows.metric, windows.span);
        }
        let first = samples.values[window.start];
        let mut result = corrections.apply(samples.values[window.end - 1] - first, step);
        if shape.starts_inside {
            result += first;
        } else if window.len() == 1 {
            continue;
        }
        let factor = if kind.counter { shape.counter_factor(first, result) } else { shape.factor };
        cells.set_float(step, result * (factor / seconds));
    }
}

/// The usual case: floats only, and no reset among them.
fn steady_difference(windows: &Windows<'_>, kind: Difference, (shapes, seconds): (&[Shape], f64), cells: &mut Cells) {
    let values = &windows.floats.values;
    for (step, (window, shape)) in windows.float_bounds.iter().zip(shapes).enumerate() {
        let (start, end) = (window.start as usize, window.end as usize);
        if end - start < 2 {
            continue;
        }
        let first = values[start];
        let result = values[end - 1] - first;
        let factor = if kind.counter { shape.counter_factor(first, result) } else { shape.factor };
        cells.set_float(step, result * (factor / seconds));
    }
}

/// The shape of each window. Those of the series before hold as long as windows and start timestamps are the same.
fn shapes<'b>(windows: &Windows<'_>, starts: &[i64], buffers: &'b mut Buffers) -> &'b [Shape] {
    let plain = starts.is_empty() && windows.floats.before.is_empty();
    let known = buffers.same_windows && !buffers.shapes.is_empty() && plain && !buffers.shapes_are_own;
    if !known {
        buffers.shapes.clear();
        buffers.shapes.extend((0..windows.frame.steps).map(|step| {
            let window = windows.floats_at(step);
            let times = (&windows.floats.times[..], starts, &windows.floats.before[..]);
            if window.is_empty() { Shape::default() } else { Shape::new(windows, step, &window, times) }
        }));
        buffers.shapes_are_own = !plain;
    }
    &buffers.shapes
}

/// Positions at which a counter went down, or says that it began anew.
fn float_resets(times: &[i64], values: &[f64], starts: &[i64]) -> Vec<u32> {
    let mut resets = Vec::new();
    // Blocks without a reset are the rule: they are passed over without a branch for each sample.
    let mut at = 1;
    while at < values.len() {
        let end = (at + 256).min(values.len());
        if !starts.is_empty() || any_fall(&values[at - 1..end]) {
            resets.extend(
                (at..end)
                    .filter(|at| values[*at] < values[at - 1] || started_anew(times, starts, *at))
                    .map(|at| at as u32),
            );
        }
        at = end;
    }
    resets
}

/// Whether any value is below the one before.
#[multiversion::multiversion(targets("x86_64+avx+avx2"))]
fn any_fall(values: &[f64]) -> bool {
    let later = values.get(1..).unwrap_or_default();
    later.iter().zip(values).fold(false, |any, (now, before)| any | (now < before))
}

/// What the resets of each window add to the difference of its ends.
struct Corrections<'a> {
    resets: &'a [u32],
    values: &'a [f64],
    /// The resets that each step sees.
    bounds: Vec<Range<u32>>,
    /// Sums by step, where windows share so many resets that adding them one by one would be slow.
    sums: Vec<f64>,
}

impl<'a> Corrections<'a> {
    fn new(resets: &'a [u32], values: &'a [f64], windows: &[Range<u32>]) -> Self {
        let mut corrections = Self { resets, values, bounds: Vec::new(), sums: Vec::new() };
        if resets.is_empty() {
            return corrections;
        }
        let (mut from, mut to) = (0, 0);
        corrections.bounds.extend(windows.iter().map(|window| {
            // The first sample of a window has no sample before it.
            while from < resets.len() && resets[from] <= window.start {
                from += 1;
            }
            while to < resets.len() && resets[to] < window.end {
                to += 1;
            }
            from as u32..to.max(from) as u32
        }));
        if !is_sparse(resets.len() + windows.len(), &corrections.bounds) {
            let mut sums = vec![0.0; windows.len()];
            let lift = |at: usize| Compensated::from(values[resets[at] as usize - 1]);
            fold_windows(resets.len(), &corrections.bounds, lift, joined, |step, sum| sums[step] = sum.total());
            corrections.sums = sums;
        }
        corrections
    }

    #[inline]
    fn apply(&self, difference: f64, step: usize) -> f64 {
        let Some(bounds) = self.bounds.get(step) else { return difference };
        if let Some(sum) = self.sums.get(step) {
            return difference + sum;
        }
        self.resets[bounds.start as usize..bounds.end as usize]
            .iter()
            .fold(difference, |difference, at| difference + self.values[*at as usize - 1])
    }
}

/// One compensated sum after the other.
pub(super) fn joined(mut left: Compensated, right: Compensated) -> Compensated {
    left.push(right.sum);
    if right.carry != 0.0 {
        left.push(right.carry);
    }
    left
}

/// Whether the start timestamp of sample `at` says that its counter began after the sample before it.
pub(super) fn started_anew(times: &[i64], starts: &[i64], at: usize) -> bool {
    let (Some(start), Some(before)) = (starts.get(at), starts.get(at.wrapping_sub(1))) else { return false };
    start_means_reset((times[at - 1], *before), (times[at], *start))
}

/// Positions of samples whose start lies before the sample in front of them, though that began at another time.
fn overlaps(times: &[i64], starts: &[i64]) -> Vec<usize> {
    (1..starts.len())
        .filter(|at| starts[*at] != 0 && starts[*at] < times[at - 1] && starts[*at] != starts[at - 1])
        .collect()
}

/// Whether a position is in the window and not its first.
fn any_inside(positions: &[usize], window: &Range<usize>) -> bool {
    !positions.is_empty() && {
        let at = positions.partition_point(|at| *at <= window.start);
        positions.get(at).is_some_and(|at| *at < window.end)
    }
}

/// Which histograms follow on a reset, by their own word or by their counts.
pub(super) fn histogram_resets(samples: &HistogramSamples) -> Vec<bool> {
    (0..samples.values.len())
        .map(|at| {
            at > 0
                && (started_anew(&samples.times, &samples.starts, at)
                    || samples.values[at].detect_reset(&samples.values[at - 1]))
        })
        .collect()
}

fn histogram_difference(windows: &Windows<'_>, kind: Difference, cells: &mut Cells, notes: &mut Notes) {
    let samples = windows.histograms;
    let resets = if kind.counter { histogram_resets(samples) } else { Vec::new() };
    let overlaps = overlaps(&samples.times, &samples.starts);
    for step in 0..windows.frame.steps {
        let window = windows.histograms_at(step);
        if window.is_empty() || !windows.floats_at(step).is_empty() {
            continue;
        }
        let starts: &[i64] = if kind.counter { &samples.starts } else { &[] };
        let shape = Shape::new(windows, step, &window, (&samples.times, starts, &samples.before));
        let mut result = None;
        if window.len() > 1 {
            let Some(difference) = between(windows, &window, kind, &resets, notes) else { continue };
            if kind.counter && any_inside(&overlaps, &window) {
                notes.start_overlap(windows.metric, windows.span);
            }
            result = Some(difference);
        }
        let first = &samples.values[window.start];
        let mut result = match (shape.starts_inside, result) {
            (false, None) => continue,
            (false, Some(result)) => result,
            (true, None) => Histogram::clone(first),
            (true, Some(mut result)) => match result.add(first) {
                Ok(combined) => {
                    if combined.bounds_reconciled {
                        notes.bounds_reconciled(Operation::Addition, windows.span);
                    }
                    result
                }
                Err(_) => {
                    notes.mixed_schemas(windows.metric, windows.span);
                    continue;
                }
            },
        };
        let factor = if kind.counter { shape.counter_factor(first.count, result.count) } else { shape.factor };
        result.scale(if kind.per_second { factor / (windows.range as f64 / 1000.0) } else { factor });
        cells.set_histogram(step, Arc::new(result));
    }
}

/// The last histogram of a window minus the first, plus what resets in between took away.
fn between(
    windows: &Windows<'_>,
    window: &Range<usize>,
    kind: Difference,
    resets: &[bool],
    notes: &mut Notes,
) -> Option<Histogram> {
    let values = &windows.histograms.values[window.clone()];
    let resets = resets.get(window.clone()).unwrap_or(&[]);
    let (first, last) = (&values[0], &values[values.len() - 1]);
    // A first histogram that was reset right away says nothing, not even by its layout: in its place stands an empty one
    // of the layout of the next.
    let ignore_first = resets.get(1).is_some_and(|reset| *reset);
    let empty = |next: &Histogram| {
        let custom_values = next.custom_values.clone();
        Histogram { schema: next.schema, custom_values, ..Histogram::default() }
    };
    let base = if ignore_first { &empty(&values[1]) } else { &**first };
    let is_gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    let custom = base.uses_custom_buckets();
    let inner = if kind.counter { &values[1..values.len() - 1] } else { &[] };
    if last.uses_custom_buckets() != custom || inner.iter().any(|histogram| histogram.uses_custom_buckets() != custom) {
        if kind.counter && last.uses_custom_buckets() != custom && (is_gauge(first) || is_gauge(last)) {
            notes.not_counter(windows.metric, windows.span);
        }
        notes.mixed_schemas(windows.metric, windows.span);
        return None;
    }
    if kind.counter && values.iter().any(|histogram| is_gauge(histogram)) {
        notes.not_counter(windows.metric, windows.span);
    }
    let gauges = is_gauge(first) && is_gauge(last);
    if !kind.counter && !gauges {
        notes.not_gauge(windows.metric, windows.span);
    }
    let schema = inner.iter().map(|histogram| histogram.schema).fold(last.schema.min(base.schema), i8::min);
    let mut result = Histogram::clone(last);
    result.reduce_resolution(schema);
    let mut combine = |result: &mut Histogram, other: &Histogram, operation: Operation| {
        let combined = match operation {
            Operation::Subtraction => result.sub(other),
            _ => result.add(other),
        };
        match combined {
            Ok(combined) if combined.bounds_reconciled => notes.bounds_reconciled(operation, windows.span),
            Ok(_) => {}
            Err(_) => notes.mixed_schemas(windows.metric, windows.span),
        }
        combined.is_ok()
    };
    if !combine(&mut result, base, Operation::Subtraction) {
        return None;
    }
    for (at, reset) in resets.iter().enumerate().skip(if ignore_first { 2 } else { 1 }) {
        if *reset && !combine(&mut result, &values[at - 1], Operation::Addition) {
            return None;
        }
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact();
    Some(result)
}
