//! `irate` and `idelta`: the last two samples of a window.

use std::sync::Arc;

use crate::model::histogram::{Histogram, ResetHint};
use crate::model::sample::start_means_reset;

use super::cells::Cells;
use super::error::EvalError;
use super::notes::{Notes, Operation};
use super::query::Buffers;
use super::windows::Windows;

/// A sample of a window that may hold both kinds.
#[derive(Clone, Copy)]
struct Pick<'a> {
    time: i64,
    start: i64,
    value: f64,
    histogram: Option<&'a Arc<Histogram>>,
}

pub(super) fn irate(
    windows: &Windows<'_>,
    cells: &mut Cells,
    notes: &mut Notes,
    _: &mut Buffers,
) -> Result<(), EvalError> {
    last_two(windows, true, cells, notes);
    Ok(())
}

pub(super) fn idelta(
    windows: &Windows<'_>,
    cells: &mut Cells,
    notes: &mut Notes,
    _: &mut Buffers,
) -> Result<(), EvalError> {
    last_two(windows, false, cells, notes);
    Ok(())
}

fn last_two(windows: &Windows<'_>, rate: bool, cells: &mut Cells, notes: &mut Notes) {
    for step in 0..windows.frame.steps {
        let Some((before, now)) = pick(windows, step) else { continue };
        let seconds = (now.time - before.time) as f64 / 1000.0;
        if seconds == 0.0 {
            continue;
        }
        let anew = rate && start_means_reset((before.time, before.start), (now.time, now.start));
        match (before.histogram, now.histogram) {
            (None, None) => {
                let reset = rate && (now.value < before.value || anew);
                let value = if reset { now.value } else { now.value - before.value };
                cells.set_float(step, if rate { value / seconds } else { value });
            }
            (Some(before), Some(now)) => {
                if let Some(mut result) = histogram_difference(windows, (before, now), (rate, anew), notes) {
                    if rate {
                        result.divide(seconds);
                    }
                    cells.set_histogram(step, Arc::new(result));
                }
            }
            _ => notes.mixed_types(windows.metric, windows.span),
        }
    }
}

fn histogram_difference(
    windows: &Windows<'_>,
    (before, now): (&Histogram, &Histogram),
    (rate, anew): (bool, bool),
    notes: &mut Notes,
) -> Option<Histogram> {
    let gauges = [before, now].map(|histogram| histogram.reset_hint == ResetHint::Gauge);
    if rate && (gauges[0] || gauges[1]) {
        notes.not_counter(windows.metric, windows.span);
    }
    if !rate && gauges != [true; 2] {
        notes.not_gauge(windows.metric, windows.span);
    }
    let mut result = now.clone();
    if !rate || !(anew || now.detect_reset(before)) {
        match result.sub(before) {
            Ok(combined) if combined.bounds_reconciled => {
                notes.bounds_reconciled(Operation::Subtraction, windows.span);
            }
            Ok(_) => {}
            Err(_) => {
                notes.mixed_schemas(windows.metric, windows.span);
                return None;
            }
        }
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact();
    Some(result)
}

/// The last two samples of a window, older first.
fn pick<'a>(windows: &Windows<'a>, step: usize) -> Option<(Pick<'a>, Pick<'a>)> {
    let (floats, histograms) = (windows.floats_at(step), windows.histograms_at(step));
    let float = |at: usize| Pick {
        time: windows.floats.times[at],
        start: windows.floats.starts.get(at).copied().unwrap_or(0),
        value: windows.floats.values[at],
        histogram: None,
    };
    let histogram = |at: usize| Pick {
        time: windows.histograms.times[at],
        start: windows.histograms.starts.get(at).copied().unwrap_or(0),
        value: 0.0,
        histogram: Some(&windows.histograms.values[at]),
    };
    if floats.len() + histograms.len() < 2 {
        return None;
    }
    if histograms.is_empty() {
        return Some((float(floats.end - 2), float(floats.end - 1)));
    }
    let mut last: Vec<Pick<'a>> = floats.rev().take(2).map(float).collect();
    last.extend(histograms.rev().take(2).map(histogram));
    last.sort_by_key(|pick| std::cmp::Reverse(pick.time));
    Some((last[1], last[0]))
}
