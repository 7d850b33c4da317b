//! Range selectors and subqueries under a function: one window of samples for each step.

use std::ops::Range;
use std::sync::Arc;

use crate::model::histogram::{Histogram, ResetHint};
use crate::model::labels::Labels;
use crate::model::sample::{any_stale, is_stale};
use crate::promql::ast::{Edges, Span};
use crate::promql::source::Column;

use super::cells::Cells;
use super::error::EvalError;
use super::notes::Notes;
use super::plan::Reference;
use super::query::{Buffers, Frame, KnownBounds, Query, Set, Work};
use super::scan::{Cursor, keep_statistics};
use super::tally::Tally;
use super::vector::Lazy;

/// The floats of a series, without staleness markers.
#[derive(Debug, Default)]
pub(super) struct FloatSamples {
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
    /// Empty where no start timestamp is known or none is asked for.
    pub(super) starts: Vec<i64>,
    /// How many samples stand before each position, where entries stand for several; else empty.
    pub(super) before: Vec<u64>,
}

/// The histograms of a series, without staleness markers.
#[derive(Debug, Default)]
pub(super) struct HistogramSamples {
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<Arc<Histogram>>,
    pub(super) starts: Vec<i64>,
    pub(super) before: Vec<u64>,
}

/// How many samples the entries of a window stand for.
#[inline]
pub(super) fn samples_in(window: &Range<usize>, before: &[u64]) -> usize {
    match (before.get(window.start), before.get(window.end)) {
        (Some(start), Some(end)) => (end - start) as usize,
        _ => window.len(),
    }
}

/// The samples of one series, and which of them each step sees.
pub(super) struct Windows<'a> {
    pub(super) frame: Frame,
    pub(super) reference: Reference,
    pub(super) range: i64,
    pub(super) edges: Edges,
    pub(super) floats: &'a FloatSamples,
    pub(super) histograms: &'a HistogramSamples,
    /// Positions in `floats`, one range for each step; ascending at both ends.
    pub(super) float_bounds: &'a [Range<u32>],
    /// The same for `histograms`; empty where there are none.
    pub(super) histogram_bounds: &'a [Range<u32>],
    /// Values of the other arguments at each step.
    pub(super) args: &'a [Vec<f64>],
    pub(super) metric: &'a str,
    /// Of the first argument.
    pub(super) span: Span,
    pub(super) query: &'a Query<'a>,
}

impl Windows<'_> {
    /// The floats that a step sees.
    #[inline]
    pub(super) fn floats_at(&self, step: usize) -> Range<usize> {
        let bounds = &self.float_bounds[step];
        bounds.start as usize..bounds.end as usize
    }

    /// The histograms that a step sees.
    #[inline]
    pub(super) fn histograms_at(&self, step: usize) -> Range<usize> {
        self.histogram_bounds.get(step).map_or(0..0, |bounds| bounds.start as usize..bounds.end as usize)
    }

    /// How many floats and histograms a step sees, also through entries that stand for several.
    #[inline]
    pub(super) fn samples_at(&self, step: usize) -> (usize, usize) {
        let floats = samples_in(&self.floats_at(step), &self.floats.before);
        (floats, samples_in(&self.histograms_at(step), &self.histograms.before))
    }

    /// For functions whose time grows with the samples of each window: whether the query is to stop.
    #[inline]
    pub(super) fn check(&self) -> Result<(), EvalError> {
        self.query.check()
    }

    /// The end of a step's window; it begins `range` before, exclusive.
    #[inline]
    pub(super) fn end(&self, step: usize) -> i64 {
        self.reference.of(self.frame.time(step))
    }

    /// The latest time at which a sample may lie that a step sees.
    pub(super) fn last_seen(&self, step: usize) -> i64 {
        let ahead = if self.edges == Edges::Smoothed { self.query.options.lookback } else { 0 };
        self.end(step).saturating_add(ahead)
    }

    /// Steps that see floats. Tells where histograms beside them are left out.
    pub(super) fn float_steps(&self, least: usize, notes: &mut Notes) -> Vec<usize> {
        (0..self.frame.steps)
            .filter(|step| {
                let floats = self.floats_at(*step).len();
                if floats > 0 && !self.histograms_at(*step).is_empty() {
                    notes.ignored_in_range(self.metric, self.span);
                }
                floats >= least
            })
            .collect()
    }
}

/// Computes the values of one series from its windows. The last argument is a buffer.
pub(super) type WindowFunction = fn(&Windows<'_>, &mut Cells, &mut Notes, &mut Buffers) -> Result<(), EvalError>;

/// Where the samples come from.
pub(super) enum Input<'a> {
    Set {
        set: Set,
        stats_only: bool,
        /// The times that are wanted of it, where others read it too.
        part: Option<(i64, i64)>,
    },
    /// A subquery, over its own steps.
    Inner { vector: Box<dyn Lazy + 'a>, frame: Frame },
}

/// A function over windows, one series at a time.
pub(super) struct Windowed<'a> {
    pub(super) query: &'a Query<'a>,
    pub(super) input: Input<'a>,
    pub(super) function: WindowFunction,
    pub(super) frame: Frame,
    pub(super) reference: Reference,
    pub(super) range: i64,
    pub(super) edges: Edges,
    pub(super) lookback: i64,
    pub(super) args: Vec<Vec<f64>>,
    pub(super) span: Span,
    pub(super) keeps_name: bool,
    /// Start timestamps mean something to the function.
    pub(super) uses_starts: bool,
    /// Only counters make sense: metrics that are not named like one are told of.
    pub(super) wants_counter: bool,
    pub(super) tally: Option<Arc<Tally>>,
}

impl Lazy for Windowed<'_> {
    fn len(&self) -> usize {
        match &self.input {
            Input::Set { set, .. } => set.len(),
            Input::Inner { vector, .. } => vector.len(),
        }
    }

    fn labels(&self, index: usize) -> &Labels {
        match &self.input {
            Input::Set { set, .. } => set.labels(index),
            Input::Inner { vector, .. } => vector.labels(index),
        }
    }

    fn drop_name(&self, index: usize) -> bool {
        match &self.input {
            Input::Inner { vector, .. } if self.keeps_name => vector.drop_name(index),
            _ => !self.keeps_name,
        }
    }

    fn fill(&self, index: usize, work: &mut Work<'_>, cells: &mut Cells) -> Result<(), EvalError> {
        let mut column = work.column();
        self.read(index, work, &mut column)?;
        let mut scratch = std::mem::take(&mut work.scratch);
        split(&mut column, &mut scratch.floats, &mut scratch.histograms);
        if !self.uses_starts {
            scratch.floats.starts.clear();
            scratch.histograms.starts.clear();
        }
        scratch.buffers.same_windows = self.known_bounds(&scratch.floats.times, &mut scratch.float_bounds);
        scratch.histogram_bounds.clear();
        if !scratch.histograms.times.is_empty() {
            self.bounds(&scratch.histograms.times, &mut scratch.histogram_bounds);
        }
        let metric = self.labels(index).metric_name();
        let windows = Windows {
            frame: self.frame,
            reference: self.reference,
            range: self.range,
            edges: self.edges,
            floats: &scratch.floats,
            histograms: &scratch.histograms,
            float_bounds: &scratch.float_bounds.bounds,
            histogram_bounds: &scratch.histogram_bounds,
            args: &self.args,
            metric,
            span: self.span,
            query: self.query,
        };
        if let Some(tally) = &self.tally {
            tally.add_windows(&windows, matches!(self.input, Input::Inner { .. }));
        }
        (self.function)(&windows, cells, &mut work.notes, &mut scratch.buffers)?;
        if self.wants_counter && !metric.is_empty() && !named_as_counter(metric) && !cells.floats.is_empty() {
            work.notes.possible_non_counter(metric, self.span);
        }
        scratch.floats.give_back(&mut column);
        work.scratch = scratch;
        work.return_column(column);
        Ok(())
    }

    fn cost(&self) -> usize {
        let span = self.frame.last().saturating_sub(self.frame.start).saturating_add(self.range);
        let own = (span / 1000).unsigned_abs() as usize + self.frame.steps;
        match &self.input {
            Input::Set { .. } => own,
            Input::Inner { vector, frame } => vector.cost() + frame.steps + self.frame.steps,
        }
    }
}

impl Windowed<'_> {
    fn read(&self, index: usize, work: &mut Work<'_>, column: &mut Column) -> Result<(), EvalError> {
        match &self.input {
            Input::Set { set, stats_only, part } => {
                work.read((set, index), *part, column)?;
                if *stats_only {
                    keep_statistics(column);
                }
            }
            Input::Inner { vector, frame } => {
                let mut inner = work.cells();
                inner.reset(frame.steps);
                vector.fill(index, work, &mut inner)?;
                as_samples(&inner, *frame, column);
                work.return_cells(inner);
                // Cells and column: each step takes as much as two samples.
                work.reserve(frame.steps as u64 * 2)?;
            }
        }
        Ok(())
    }

    /// As [`Self::bounds`], without work for a series with the times of the one before; tells whether it was one.
    fn known_bounds(&self, times: &[i64], known: &mut KnownBounds) -> bool {
        let owner = std::ptr::from_ref(self).addr();
        if known.owner == owner && known.times == times {
            return true;
        }
        self.bounds(times, &mut known.bounds);
        known.owner = owner;
        known.times.clear();
        known.times.extend_from_slice(times);
        false
    }

    /// Which samples each step sees.
    fn bounds(&self, times: &[i64], bounds: &mut Vec<Range<u32>>) {
        let back = if self.edges == Edges::Plain { self.range } else { self.range.saturating_add(self.lookback) };
        let ahead = if self.edges == Edges::Smoothed { self.lookback } else { 0 };
        let (mut from, mut to) = (Cursor::default(), Cursor::default());
        bounds.clear();
        bounds.extend((0..self.frame.steps).map(|step| {
            let end = self.reference.of(self.frame.time(step));
            let first = from.after(times, end.saturating_sub(back));
            let last = to.after(times, end.saturating_add(ahead));
            first as u32..last.max(first) as u32
        }));
    }
}

impl FloatSamples {
    /// Returns the allocations that [`split`] took from a column.
    fn give_back(&mut self, column: &mut Column) {
        if column.times.is_empty() {
            std::mem::swap(&mut column.times, &mut self.times);
            std::mem::swap(&mut column.values, &mut self.values);
            std::mem::swap(&mut column.starts, &mut self.starts);
        }
    }
}

/// Counts the samples before each position from weights; nothing where there are none.
fn count_before(weights: &[u32], before: &mut Vec<u64>) {
    before.clear();
    if !weights.is_empty() {
        before.push(0);
        let mut total = 0;
        before.extend(weights.iter().map(|weight| {
            total += u64::from(*weight);
            total
        }));
    }
}

/// Whether the name ends as that of a counter does.
fn named_as_counter(metric: &str) -> bool {
    ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix))
}

/// Sorts samples into floats and histograms and leaves out staleness markers. A column of nothing but floats is moved.
pub(super) fn split(column: &mut Column, floats: &mut FloatSamples, histograms: &mut HistogramSamples) {
    histograms.times.clear();
    histograms.values.clear();
    histograms.starts.clear();
    histograms.before.clear();
    if column.histograms.is_empty() && !any_stale(&column.values) {
        std::mem::swap(&mut column.times, &mut floats.times);
        std::mem::swap(&mut column.values, &mut floats.values);
        std::mem::swap(&mut column.starts, &mut floats.starts);
        count_before(&column.weights, &mut floats.before);
        column.clear();
        return;
    }
    floats.times.clear();
    floats.values.clear();
    floats.starts.clear();
    let (mut float_weights, mut histogram_weights) = (Vec::new(), Vec::new());
    for (at, (time, value)) in column.times.iter().zip(&column.values).enumerate() {
        let start = column.starts.get(at).copied();
        let weight = column.weights.get(at).copied();
        match column.histograms.get(at).and_then(Option::as_ref) {
            Some(histogram) if !histogram.is_stale() => {
                histograms.times.push(*time);
                histograms.values.push(histogram.clone());
                histograms.starts.extend(start);
                histogram_weights.extend(weight);
            }
            None if !is_stale(*value) => {
                floats.times.push(*time);
                floats.values.push(*value);
                floats.starts.extend(start);
                float_weights.extend(weight);
            }
            _ => {}
        }
    }
    count_before(&float_weights, &mut floats.before);
    count_before(&histogram_weights, &mut histograms.before);
}

/// The results of a subquery as samples. Explicit reset hints say something about neighbours that a grid of steps may
/// have left out or repeated, so they are forgotten.
pub(super) fn as_samples(cells: &Cells, frame: Frame, column: &mut Column) {
    for step in 0..frame.steps {
        let time = frame.time(step);
        if let Some(histogram) = cells.histogram(step) {
            let explicit = matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset);
            let histogram = if explicit {
                Arc::new(Histogram { reset_hint: ResetHint::Unknown, ..Histogram::clone(histogram) })
            } else {
                histogram.clone()
            };
            column.push_histogram(time, 0, histogram);
        } else if cells.floats.get(step) {
            column.push_float(time, 0, cells.values[step]);
        }
    }
}
