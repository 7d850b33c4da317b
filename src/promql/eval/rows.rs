//! What an aggregation keeps for a group: one slot for each step, whatever the number of series.

use std::ops::Range;

use crate::promql::ast::Span;

use super::cells::{Bits, Cells};
use super::notes::{Notes, Operation};
use super::order::quantile;
use super::over_time::{HistogramFold, Mean};
use crate::model::histogram::Histogram;

/// The aggregation that rows are made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) steps: usize,
    /// Of the aggregated expression.
    pub(super) span: Span,
    /// The name of the aggregation.
    pub(super) name: &'static str,
    /// Of `quantile`, by step.
    pub(super) param: &'a [f64],
}

/// A group in the making. Rows of parts of the series are merged in the order of the parts.
pub(super) trait Row: Sized + Send {
    /// Whether each series takes memory.
    const GROWS: bool = false;

    fn new(context: &Context<'_>) -> Self;

    /// Takes in one series. `metric` is its name, for notes.
    fn add(&mut self, cells: &Cells, metric: &str, context: &Context<'_>, notes: &mut Notes);

    fn merge(&mut self, other: Self, context: &Context<'_>, notes: &mut Notes);

    fn finish(self, context: &Context<'_>, notes: &mut Notes) -> Cells;
}

/// Tells of histograms in an aggregation of floats.
fn ignore_histograms(cells: &Cells, context: &Context<'_>, notes: &mut Notes) {
    if cells.histograms.iter().any(Option::is_some) {
        notes.ignored_in_aggregation(context.name, context.span);
    }
}

/// Adds `values` with compensation. Branch-free, so that it runs as wide as the machine; the error term is exact
/// whichever number is larger, hence equal to Neumaier's.
#[inline]
fn add_compensated(sums: &mut [f64], carries: &mut [f64], values: &[f64]) {
    for ((sum, carry), value) in sums.iter_mut().zip(carries).zip(values) {
        let total = *sum + value;
        let virtual_value = total - *sum;
        let error = (*sum - (total - virtual_value)) + (value - virtual_value);
        *carry = if total.is_infinite() { 0.0 } else { *carry + error };
        *sum = total;
    }
}

/// Sums of floats, and of histograms where there are any.
pub(super) struct SumRow {
    sums: Vec<f64>,
    carries: Vec<f64>,
    floats: Bits,
    histograms: HistogramCells,
}

impl Row for SumRow {
    fn new(context: &Context<'_>) -> Self {
        // -0 is the neutral element: 0 + -0 would turn a sum of -0 into 0.
        Self {
            sums: vec![-0.0; context.steps],
            carries: vec![0.0; context.steps],
            floats: Bits::none(context.steps),
            histograms: HistogramCells::default(),
        }
    }

    fn add(&mut self, cells: &Cells, metric: &str, context: &Context<'_>, notes: &mut Notes) {
        let (sums, carries, values) = (&mut self.sums, &mut self.carries, &cells.values);
        for run in cells.floats.runs() {
            add_compensated(&mut sums[run.clone()], &mut carries[run.clone()], &values[run]);
        }
        self.floats.or(&cells.floats);
        self.histograms.add(cells, (metric, false), context, notes);
    }

    fn merge(&mut self, other: Self, context: &Context<'_>, notes: &mut Notes) {
        add_compensated(&mut self.sums, &mut self.carries, &other.sums);
        add_compensated(&mut self.sums, &mut self.carries, &other.carries);
        self.floats.or(&other.floats);
        self.histograms.merge(other.histograms, false, context, notes);
    }

    fn finish(self, context: &Context<'_>, notes: &mut Notes) -> Cells {
        let values = self.sums.iter().zip(&self.carries).map(|(sum, carry)| sum + carry).collect();
        let cells = Cells { values, floats: self.floats, histograms: Vec::new() };
        self.histograms.finish(cells, false, context, notes)
    }
}

/// Means of floats, and of histograms where there are any.
pub(super) struct AvgRow {
    sums: Vec<f64>,
    carries: Vec<f64>,
    counts: Vec<f64>,
    floats: Bits,
    /// Takes over as soon as a sum is infinite.
    careful: Option<Vec<Option<Mean>>>,
    histograms: HistogramCells,
}

impl AvgRow {
    /// The means so far, one by one.
    fn careful(&mut self) -> &mut Vec<Option<Mean>> {
        let Self { sums, carries, counts, floats, careful, .. } = self;
        careful.get_or_insert_with(|| {
            (0..sums.len()).map(|at| floats.get(at).then(|| Mean::of_sum(sums[at], carries[at], counts[at]))).collect()
        })
    }
}

impl Row for AvgRow {
    fn new(context: &Context<'_>) -> Self {
        Self {
            sums: vec![-0.0; context.steps],
            carries: vec![0.0; context.steps],
            counts: vec![0.0; context.steps],
            floats: Bits::none(context.steps),
            careful: None,
            histograms: HistogramCells::default(),
        }
    }

    fn add(&mut self, cells: &Cells, metric: &str, context: &Context<'_>, notes: &mut Notes) {
        let overflows = |run: Range<usize>| {
            let totals = self.sums[run.clone()].iter().zip(&cells.values[run]).map(|(sum, value)| sum + value);
            totals.fold(false, |overflows, total| overflows | total.is_infinite())
        };
        let overflows = cells.floats.runs().any(overflows);
        if overflows || self.careful.is_some() {
            let means = self.careful();
            for at in cells.floats.ones() {
                match &mut means[at] {
                    Some(mean) => mean.push(cells.values[at]),
                    empty => *empty = Some(Mean::new(cells.values[at])),
                }
            }
        } else {
            let Self { sums, carries, counts, .. } = self;
            for run in cells.floats.runs() {
                add_compensated(&mut sums[run.clone()], &mut carries[run.clone()], &cells.values[run.clone()]);
                counts[run].iter_mut().for_each(|count| *count += 1.0);
            }
        }
        self.floats.or(&cells.floats);
        self.histograms.add(cells, (metric, true), context, notes);
    }

    fn merge(&mut self, mut other: Self, context: &Context<'_>, notes: &mut Notes) {
        let theirs = std::mem::take(other.careful());
        for (mine, theirs) in self.careful().iter_mut().zip(theirs) {
            match (&mut *mine, theirs) {
                (Some(mine), Some(theirs)) => mine.merge(&theirs),
                (empty, Some(theirs)) => *empty = Some(theirs),
                _ => {}
            }
        }
        self.floats.or(&other.floats);
        self.histograms.merge(other.histograms, true, context, notes);
    }

    fn finish(mut self, context: &Context<'_>, notes: &mut Notes) -> Cells {
        let values = self.careful().iter().map(|mean| mean.map_or(0.0, |mean| mean.value())).collect();
        let cells = Cells { values, floats: self.floats, histograms: Vec::new() };
        self.histograms.finish(cells, true, context, notes)
    }
}

/// Sums or means of histograms, where a group has any.
#[derive(Default)]
struct HistogramCells(Vec<Option<Box<HistogramCell>>>);

struct HistogramCell {
    fold: HistogramFold,
    /// Exponential and custom buckets met: there is no result.
    incompatible: bool,
}

impl HistogramCells {
    fn add(&mut self, cells: &Cells, (metric, mean): (&str, bool), context: &Context<'_>, notes: &mut Notes) {
        if !cells.has_histograms() {
            return;
        }
        self.0.resize_with(context.steps, || None);
        for (slot, histogram) in self.0.iter_mut().zip(&cells.histograms) {
            let Some(histogram) = histogram else { continue };
            match slot {
                None => {
                    let fold = HistogramFold::new(histogram);
                    *slot = Some(Box::new(HistogramCell { fold, incompatible: false }));
                }
                Some(cell) if !cell.incompatible => cell.add(histogram, (metric, mean), context, notes),
                Some(_) => {}
            }
        }
    }

    fn merge(&mut self, other: Self, mean: bool, context: &Context<'_>, notes: &mut Notes) {
        self.0.resize_with(context.steps.min(self.0.len().max(other.0.len())), || None);
        for (slot, theirs) in self.0.iter_mut().zip(other.0) {
            let Some(theirs) = theirs else { continue };
            match slot {
                None => *slot = Some(theirs),
                Some(cell) => {
                    if cell.incompatible || theirs.incompatible || cell.fold.merge(&theirs.fold, mean).is_err() {
                        if !cell.incompatible && !theirs.incompatible {
                            notes.mixed_schemas("", context.span);
                        }
                        cell.incompatible = true;
                    }
                }
            }
        }
    }

    fn finish(self, mut cells: Cells, mean: bool, context: &Context<'_>, notes: &mut Notes) -> Cells {
        for (step, cell) in self.0.into_iter().enumerate() {
            let Some(cell) = cell else { continue };
            if cells.floats.get(step) {
                cells.remove(step);
                notes.mixed_types_in_aggregation(context.span);
                continue;
            }
            if cell.incompatible {
                continue;
            }
            if cell.fold.hints_collide() {
                notes.reset_collision(Operation::Aggregation, context.span);
            }
            let mut histogram = cell.fold.finish(mean);
            histogram.compact();
            cells.set_histogram(step, histogram.into());
        }
        cells
    }
}

impl HistogramCell {
    fn add(&mut self, histogram: &Histogram, (metric, mean): (&str, bool), context: &Context<'_>, notes: &mut Notes) {
        let added = if mean { self.fold.add_to_mean(histogram) } else { self.fold.add(histogram) };
        if added.is_err() {
            notes.mixed_schemas(metric, context.span);
            self.incompatible = true;
        } else if self.fold.bounds_reconciled {
            notes.bounds_reconciled(Operation::Aggregation, context.span);
        }
    }
}

/// The least or the greatest float. `MAX` says which.
pub(super) struct ExtremeRow<const MAX: bool> {
    values: Vec<f64>,
    floats: Bits,
}

impl<const MAX: bool> ExtremeRow<MAX> {
    #[inline]
    fn choose(best: f64, value: f64) -> f64 {
        let better = if MAX { value > best } else { value < best };
        if better || best.is_nan() { value } else { best }
    }
}

impl<const MAX: bool> Row for ExtremeRow<MAX> {
    fn new(context: &Context<'_>) -> Self {
        // NaN gives way to any value, and stays where there are only NaNs.
        Self { values: vec![f64::NAN; context.steps], floats: Bits::none(context.steps) }
    }

    fn add(&mut self, cells: &Cells, _: &str, context: &Context<'_>, notes: &mut Notes) {
        ignore_histograms(cells, context, notes);
        for run in cells.floats.runs() {
            let both = self.values[run.clone()].iter_mut().zip(&cells.values[run]);
            both.for_each(|(best, value)| *best = Self::choose(*best, *value));
        }
        self.floats.or(&cells.floats);
    }

    fn merge(&mut self, other: Self, _: &Context<'_>, _: &mut Notes) {
        for at in other.floats.ones() {
            self.values[at] = Self::choose(self.values[at], other.values[at]);
        }
        self.floats.or(&other.floats);
    }

    fn finish(self, _: &Context<'_>, _: &mut Notes) -> Cells {
        Cells { values: self.values, floats: self.floats, histograms: Vec::new() }
    }
}

/// How many series have a sample of either kind.
pub(super) struct CountRow {
    counts: Vec<f64>,
    present: Bits,
    /// `group`: whether there are any.
    only_one: bool,
}

impl Row for CountRow {
    fn new(context: &Context<'_>) -> Self {
        Self { counts: vec![0.0; context.steps], present: Bits::none(context.steps), only_one: context.name == "group" }
    }

    fn add(&mut self, cells: &Cells, _: &str, _: &Context<'_>, _: &mut Notes) {
        let mut count = |present: &Bits| {
            for run in present.runs() {
                self.counts[run].iter_mut().for_each(|count| *count += 1.0);
            }
            self.present.or(present);
        };
        if cells.has_histograms() { count(&cells.present()) } else { count(&cells.floats) }
    }

    fn merge(&mut self, other: Self, _: &Context<'_>, _: &mut Notes) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.present.or(&other.present);
    }

    fn finish(mut self, _: &Context<'_>, _: &mut Notes) -> Cells {
        if self.only_one {
            self.counts.fill(1.0);
        }
        Cells { values: self.counts, floats: self.present, histograms: Vec::new() }
    }
}

/// Variance by Welford's method, or its root.
pub(super) struct SpreadRow {
    counts: Vec<f64>,
    means: Vec<f64>,
    squares: Vec<f64>,
    floats: Bits,
}

impl Row for SpreadRow {
    fn new(context: &Context<'_>) -> Self {
        let zeros = || vec![0.0; context.steps];
        Self { counts: zeros(), means: zeros(), squares: zeros(), floats: Bits::none(context.steps) }
    }

    fn add(&mut self, cells: &Cells, _: &str, context: &Context<'_>, notes: &mut Notes) {
        ignore_histograms(cells, context, notes);
        for at in cells.floats.ones() {
            let value = cells.values[at];
            self.counts[at] += 1.0;
            if self.counts[at] == 1.0 {
                self.means[at] = value;
                self.squares[at] = if value.is_finite() { 0.0 } else { f64::NAN };
            } else {
                let delta = value - self.means[at];
                self.means[at] += delta / self.counts[at];
                self.squares[at] += delta * (value - self.means[at]);
            }
        }
        self.floats.or(&cells.floats);
    }

    fn merge(&mut self, other: Self, _: &Context<'_>, _: &mut Notes) {
        for at in other.floats.ones() {
            let count = self.counts[at] + other.counts[at];
            let delta = other.means[at] - self.means[at];
            let share = other.counts[at] / count;
            if self.counts[at] == 0.0 {
                (self.means[at], self.squares[at]) = (other.means[at], other.squares[at]);
            } else {
                self.squares[at] += other.squares[at] + delta * delta * self.counts[at] * share;
                self.means[at] += delta * share;
            }
            self.counts[at] = count;
        }
        self.floats.or(&other.floats);
    }

    fn finish(self, context: &Context<'_>, _: &mut Notes) -> Cells {
        let root = context.name == "stddev";
        let values = self.squares.iter().zip(&self.counts).map(|(squares, count)| {
            let variance = squares / count;
            if root { variance.sqrt() } else { variance }
        });
        Cells { values: values.collect(), floats: self.floats, histograms: Vec::new() }
    }
}

/// All floats of a group, for `quantile`.
pub(super) struct QuantileRow(Vec<(Vec<f64>, Bits)>);

impl Row for QuantileRow {
    const GROWS: bool = true;

    fn new(_: &Context<'_>) -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, cells: &Cells, _: &str, context: &Context<'_>, notes: &mut Notes) {
        ignore_histograms(cells, context, notes);
        if !cells.floats.is_empty() {
            self.0.push((cells.values.clone(), cells.floats.clone()));
        }
    }

    fn merge(&mut self, other: Self, _: &Context<'_>, _: &mut Notes) {
        self.0.extend(other.0);
    }

    fn finish(self, context: &Context<'_>, _: &mut Notes) -> Cells {
        let mut result = Cells::empty(context.steps);
        let mut values = Vec::with_capacity(self.0.len());
        for step in 0..context.steps {
            values.clear();
            values.extend(self.0.iter().filter(|(_, floats)| floats.get(step)).map(|(values, _)| values[step]));
            if !values.is_empty() {
                result.set_float(step, quantile(context.param[step], &mut values));
            }
        }
        result
    }
}
