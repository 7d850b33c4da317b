//! `changes` and `resets`: how often something happened between neighbours.

use crate::model::histogram::Histogram;
use crate::model::sample::start_means_reset;
use crate::promql::ast::Edges;

use super::cells::Cells;
use super::error::EvalError;
use super::notes::Notes;
use super::query::Buffers;
use super::rates::started_anew;
use super::windows::Windows;

type Done = Result<(), EvalError>;

pub(super) fn changes(windows: &Windows<'_>, cells: &mut Cells, _: &mut Notes, _: &mut Buffers) -> Done {
    // Without branches: whether a gauge changes cannot be foretold.
    let changed = |before: f64, now: f64| (now != before) & !(now.is_nan() & before.is_nan());
    if windows.histograms.times.is_empty() {
        let values = &windows.floats.values;
        let pairs = values.iter().zip(values.iter().skip(1));
        count_floats(windows, cells, pairs.map(|(before, now)| changed(*before, *now)));
    } else {
        count_mixed(windows, cells, |before, now| match (before.value, now.value) {
            (Kind::Float(before), Kind::Float(now)) => changed(before, now),
            (Kind::Histogram(before), Kind::Histogram(now)) => !now.same_data(before),
            _ => true,
        });
    }
    Ok(())
}

pub(super) fn resets(windows: &Windows<'_>, cells: &mut Cells, _: &mut Notes, _: &mut Buffers) -> Done {
    if windows.histograms.times.is_empty() {
        let floats = windows.floats;
        let falls = floats.values.iter().zip(floats.values.iter().skip(1)).map(|(before, now)| now < before);
        if floats.starts.is_empty() {
            count_floats(windows, cells, falls);
        } else {
            let anew = (1..).map(|at| started_anew(&floats.times, &floats.starts, at));
            count_floats(windows, cells, falls.zip(anew).map(|(falls, anew)| falls || anew));
        }
    } else {
        count_mixed(windows, cells, |before, now| {
            let anew = || start_means_reset((before.time, before.start), (now.time, now.start));
            match (before.value, now.value) {
                (Kind::Float(from), Kind::Float(to)) => to < from || anew(),
                (Kind::Histogram(from), Kind::Histogram(to)) => anew() || to.detect_reset(from),
                _ => true,
            }
        });
    }
    Ok(())
}

/// Counts once over the whole series, so that each window is the difference of two counts. `happened` tells of each float
/// but the first.
fn count_floats(windows: &Windows<'_>, cells: &mut Cells, happened: impl Iterator<Item = bool>) {
    let mut count = 0_u32;
    let counts = happened.map(|happened| {
        count += u32::from(happened);
        count
    });
    let counts: Vec<u32> = std::iter::once(0).chain(counts).collect();
    for step in 0..windows.frame.steps {
        let mut window = windows.floats_at(step);
        if windows.edges == Edges::Anchored {
            let begin = windows.end(step) - windows.range;
            let inside = window.start + windows.floats.times[window.clone()].partition_point(|time| *time <= begin);
            if inside >= window.end {
                continue;
            }
            // The last sample before the window is its first.
            window.start = inside.saturating_sub(1).max(window.start);
        }
        if !window.is_empty() {
            cells.set_float(step, f64::from(counts[window.end - 1] - counts[window.start]));
        }
    }
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

#[derive(Clone, Copy)]
struct Sample<'a> {
    time: i64,
    start: i64,
    value: Kind<'a>,
}

/// Walks over floats and histograms in the order of their times.
fn count_mixed<'a>(windows: &Windows<'a>, cells: &mut Cells, happened: impl Fn(&Sample<'a>, &Sample<'a>) -> bool) {
    let all = in_order(windows);
    for step in 0..windows.frame.steps {
        let (floats, histograms) = (windows.floats_at(step), windows.histograms_at(step));
        if floats.is_empty() && histograms.is_empty() {
            continue;
        }
        let first = [
            windows.floats.times.get(floats.start).filter(|_| !floats.is_empty()),
            windows.histograms.times.get(histograms.start).filter(|_| !histograms.is_empty()),
        ];
        let from = first.into_iter().flatten().min().copied().unwrap_or(i64::MAX);
        let mut start = all.partition_point(|sample| sample.time < from);
        let end = start + floats.len() + histograms.len();
        if windows.edges == Edges::Anchored {
            let begin = windows.end(step) - windows.range;
            let inside = start + all[start..end].partition_point(|sample| sample.time <= begin);
            if inside >= end {
                continue;
            }
            start = inside.saturating_sub(1).max(start);
        }
        let count = all[start..end].windows(2).filter(|pair| happened(&pair[0], &pair[1])).count();
        cells.set_float(step, count as f64);
    }
}

fn in_order<'a>(windows: &Windows<'a>) -> Vec<Sample<'a>> {
    let start = |starts: &[i64], at: usize| starts.get(at).copied().unwrap_or(0);
    let (floats, histograms) = (windows.floats, windows.histograms);
    let mut all: Vec<Sample<'a>> = (0..floats.times.len())
        .map(|at| Sample {
            time: floats.times[at],
            start: start(&floats.starts, at),
            value: Kind::Float(floats.values[at]),
        })
        .chain((0..histograms.times.len()).map(|at| Sample {
            time: histograms.times[at],
            start: start(&histograms.starts, at),
            value: Kind::Histogram(&histograms.values[at]),
        }))
        .collect();
    all.sort_by_key(|sample| sample.time);
    all
}
