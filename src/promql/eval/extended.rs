//! `anchored` and `smoothed` selectors: windows whose edges have values of their own.
//!
//! Anchored windows begin with the last sample before them, smoothed ones are interpolated at both edges. So differences
//! need no extrapolation, and adjacent windows add up.

use std::ops::Range;
use std::sync::Arc;

use crate::model::histogram::{Histogram, ResetHint};
use crate::promql::ast::{Edges, Span};
use crate::promql::source::Column;

use super::cells::Cells;
use super::notes::{Notes, Operation};
use super::query::Work;
use super::rates::Difference;
use super::scan::{Cursor, Scan};
use super::vector::Lazy as _;
use super::windows::{HistogramSamples, Windows, split};

/// Where notes point to, and about which metric.
#[derive(Clone, Copy)]
struct About<'a> {
    metric: &'a str,
    span: Span,
}

/// The positions of the samples that decide about a window.
struct Deciding {
    first: usize,
    last: usize,
    begin: i64,
    end: i64,
    smoothed: bool,
}

impl Deciding {
    /// None where no sample lies inside the window. Positions count from the start of `times`.
    fn of(times: &[i64], begin: i64, end: i64, smoothed: bool) -> Option<Self> {
        let mut last = times.len().checked_sub(1)?;
        let first = times[..last].partition_point(|time| *time <= begin).saturating_sub(1);
        if smoothed {
            last = times[..last].partition_point(|time| *time < end);
        }
        let outside = times[last] <= begin || (smoothed && times[first] > end);
        (!outside).then_some(Self { first, last, begin, end, smoothed })
    }
}

pub(super) fn difference(windows: &Windows<'_>, kind: Difference, cells: &mut Cells, notes: &mut Notes) {
    for step in 0..windows.frame.steps {
        let (floats, histograms) = (windows.floats_at(step), windows.histograms_at(step));
        match (floats.is_empty(), histograms.is_empty()) {
            (true, true) => {}
            (false, false) => notes.mixed_types(windows.metric, windows.span),
            (false, true) => {
                if let Some(value) = float_difference(windows, step, floats, kind) {
                    cells.set_float(step, value);
                }
            }
            (true, false) => {
                if let Some(value) = histogram_difference(windows, step, histograms, kind, notes) {
                    cells.set_histogram(step, Arc::new(value));
                }
            }
        }
    }
}

fn float_difference(windows: &Windows<'_>, step: usize, window: Range<usize>, kind: Difference) -> Option<f64> {
    let times = &windows.floats.times[window.clone()];
    let values = &windows.floats.values[window];
    let end = windows.end(step);
    let deciding = Deciding::of(times, end - windows.range, end, windows.edges == Edges::Smoothed)?;
    let (left, right) = float_edges(&deciding, times, values, kind.counter);
    let mut result = right - left;
    if kind.counter {
        let first = deciding.first + usize::from(times[deciding.first] <= deciding.begin);
        let last = if times[deciding.last] >= deciding.end { deciding.last } else { deciding.last + 1 };
        let mut before = left;
        for value in values.get(first..last).unwrap_or(&[]).iter().chain(std::iter::once(&right)) {
            if *value < before {
                result += before;
            }
            before = *value;
        }
    }
    Some(if kind.per_second { result / (windows.range as f64 / 1000.0) } else { result })
}

fn float_edges(deciding: &Deciding, times: &[i64], values: &[f64], counter: bool) -> (f64, f64) {
    let between = |left: usize, time: i64| interpolate((times, values), left, time, counter);
    let Deciding { first, last, begin, end, smoothed } = *deciding;
    let left = if smoothed && times[first] < begin { between(first, begin) } else { values[first] };
    let right = if smoothed && last > 0 && times[last] > end { between(last - 1, end) } else { values[last] };
    (left, right)
}

/// The value at `time` on the line from sample `left` to the next. A counter that was reset in between rises from 0.
fn interpolate((times, values): (&[i64], &[f64]), left: usize, time: i64, counter: bool) -> f64 {
    let Some(end) = values.get(left + 1) else { return values[left] };
    let start = if counter && *end < values[left] { 0.0 } else { values[left] };
    start + (end - start) * (time - times[left]) as f64 / (times[left + 1] - times[left]) as f64
}

fn histogram_difference(
    windows: &Windows<'_>,
    step: usize,
    window: Range<usize>,
    kind: Difference,
    notes: &mut Notes,
) -> Option<Histogram> {
    let about = About { metric: windows.metric, span: windows.span };
    let times = &windows.histograms.times[window.clone()];
    let values = &windows.histograms.values[window];
    let end = windows.end(step);
    let deciding = Deciding::of(times, end - windows.range, end, windows.edges == Edges::Smoothed)?;
    let Deciding { first, last, begin, end, smoothed } = deciding;
    let custom = values[first].uses_custom_buckets();
    for value in values.get(first..=last).unwrap_or(&[]) {
        if value.uses_custom_buckets() != custom {
            notes.mixed_schemas(about.metric, about.span);
            return None;
        }
        if kind.counter && value.reset_hint == ResetHint::Gauge {
            notes.not_counter(about.metric, about.span);
        }
    }
    let mut between =
        |left: usize, time: i64| interpolate_histogram((times, values), left, time, kind.counter, (about, &mut *notes));
    let left = if smoothed && times[first] < begin { between(first, begin)? } else { Histogram::clone(&values[first]) };
    let right = if smoothed && last > 0 && times[last] > end {
        between(last - 1, end)?
    } else {
        Histogram::clone(&values[last])
    };
    let gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    let gauges = gauge(&left) && gauge(&right);
    if !kind.counter && !gauges {
        notes.not_gauge(about.metric, about.span);
    }
    let mut result = right.clone();
    combine(&mut result, &left, Operation::Subtraction, about, notes)?;
    if kind.counter {
        for lost in lost_to_resets(&deciding, times, values, (&left, &right)) {
            combine(&mut result, lost, Operation::Addition, about, notes)?;
        }
    }
    if kind.per_second {
        result.divide(windows.range as f64 / 1000.0);
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact();
    Some(result)
}

/// The histograms after which the counter was reset inside the window.
fn lost_to_resets<'a>(
    deciding: &Deciding,
    times: &[i64],
    values: &'a [Arc<Histogram>],
    (left, right): (&'a Histogram, &'a Histogram),
) -> Vec<&'a Histogram> {
    let mut first = deciding.first + 1;
    let mut before = left;
    if let Some(second) = values.get(first).filter(|_| deciding.smoothed && times[deciding.first] < deciding.begin) {
        // The interpolation at the left edge has accounted for a reset before the second sample.
        if second.detect_reset(&values[deciding.first]) {
            before = second;
            first += 1;
        }
    }
    // The last sample is represented by the right edge, which has its hint: looking at both would see a reset twice.
    if first > deciding.last {
        return Vec::new();
    }
    let inner = values[first..deciding.last].iter().map(|value| &**value);
    let mut lost = Vec::new();
    for value in inner.chain(std::iter::once(right)) {
        if value.detect_reset(before) {
            lost.push(before);
        }
        before = value;
    }
    lost
}

fn combine(
    base: &mut Histogram,
    other: &Histogram,
    operation: Operation,
    about: About<'_>,
    notes: &mut Notes,
) -> Option<()> {
    let combined = match operation {
        Operation::Subtraction => base.sub(other),
        _ => base.add(other),
    };
    match combined {
        Ok(combined) => {
            if combined.bounds_reconciled {
                notes.bounds_reconciled(operation, about.span);
            }
            Some(())
        }
        Err(_) => {
            notes.mixed_schemas(about.metric, about.span);
            None
        }
    }
}

fn interpolate_histogram(
    (times, values): (&[i64], &[Arc<Histogram>]),
    left: usize,
    time: i64,
    counter: bool,
    (about, notes): (About<'_>, &mut Notes),
) -> Option<Histogram> {
    let start = &values[left];
    let Some(end) = values.get(left + 1) else { return Some(Histogram::clone(start)) };
    if time == times[left] {
        return Some(Histogram::clone(start));
    }
    let share = (time - times[left]) as f64 / (times[left + 1] - times[left]) as f64;
    let mut result = Histogram::clone(end);
    if counter && end.detect_reset(start) {
        result.scale(share);
        return Some(result);
    }
    combine(&mut result, start, Operation::Subtraction, about, notes)?;
    result.scale(share);
    combine(&mut result, start, Operation::Addition, about, notes)?;
    Some(result)
}

/// A smoothed instant selector: interpolates between the samples around each step.
pub(super) fn smooth(scan: &Scan, column: &Column, index: usize, work: &mut Work<'_>, cells: &mut Cells) {
    let mut column = column.clone();
    let mut scratch = std::mem::take(&mut work.scratch);
    split(&mut column, &mut scratch.floats, &mut scratch.histograms);
    let about = About { metric: scan.labels(index).metric_name(), span: scan.span };
    let (floats, histograms) = (&scratch.floats, &scratch.histograms);
    let mut cursors = [Cursor::default(); 4];
    for step in 0..scan.frame.steps {
        let time = scan.reference.of(scan.frame.time(step));
        let mut window = |which: usize, times: &[i64]| {
            let first = cursors[which].after(times, time.saturating_sub(scan.lookback));
            first..cursors[which + 1].after(times, time.saturating_add(scan.lookback)).max(first)
        };
        let float_window = window(0, &floats.times);
        let histogram_window = window(2, &histograms.times);
        match (float_window.is_empty(), histogram_window.is_empty()) {
            (true, true) => {}
            (false, false) => work.notes.mixed_types(about.metric, about.span),
            (false, true) => {
                let (times, values) = (&floats.times[float_window.clone()], &floats.values[float_window]);
                if let Some(value) = smooth_float(times, values, time) {
                    cells.set_float(step, value);
                }
            }
            (true, false) => {
                if let Some(value) = smooth_histogram(histograms, histogram_window, time, (about, &mut work.notes)) {
                    cells.set_histogram(step, Arc::new(value));
                }
            }
        }
    }
    work.scratch = scratch;
}

fn smooth_float(times: &[i64], values: &[f64], time: i64) -> Option<f64> {
    let next = times.partition_point(|candidate| *candidate < time);
    if times.get(next) == Some(&time) {
        return Some(values[next]);
    }
    let before = next.checked_sub(1)?;
    Some(if next < times.len() { interpolate((times, values), before, time, false) } else { values[before] })
}

fn smooth_histogram(
    samples: &HistogramSamples,
    window: Range<usize>,
    time: i64,
    (about, notes): (About<'_>, &mut Notes),
) -> Option<Histogram> {
    let (times, values) = (&samples.times[window.clone()], &samples.values[window]);
    let next = times.partition_point(|candidate| *candidate < time);
    if times.get(next) == Some(&time) {
        return Some(Histogram::clone(&values[next]));
    }
    let before = next.checked_sub(1)?;
    let Some(end) = values.get(next) else {
        let carried = Histogram::clone(&values[before]);
        return Some(Histogram { reset_hint: ResetHint::Unknown, ..carried });
    };
    let start = &values[before];
    if start.uses_custom_buckets() != end.uses_custom_buckets() {
        notes.mixed_schemas(about.metric, about.span);
        return None;
    }
    let counter = start.reset_hint != ResetHint::Gauge || end.reset_hint != ResetHint::Gauge;
    interpolate_histogram((times, values), before, time, counter, (about, notes))
}

/// The floats of an anchored or smoothed range selector as a query shows them: the edges are samples of their own.
pub(super) fn extend(samples: &[(i64, f64)], begin: i64, end: i64, smoothed: bool) -> Vec<(i64, f64)> {
    let (times, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
    let Some(deciding) = Deciding::of(&times, begin, end, smoothed) else { return Vec::new() };
    let (left, right) = float_edges(&deciding, &times, &values, false);
    let inner = samples[deciding.first..=deciding.last.max(deciding.first)]
        .iter()
        .filter(|(time, _)| *time > begin && *time < end);
    std::iter::once((begin, left)).chain(inner.copied()).chain(std::iter::once((end, right))).collect()
}
