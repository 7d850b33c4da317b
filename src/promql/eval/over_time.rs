//! `sum_over_time` and its kin: folds of windows.

use std::ops::Range;
use std::sync::Arc;

use crate::model::histogram::sum::{Compensated, HistogramSum};
use crate::model::histogram::{Histogram, IncompatibleSchema, ResetHint};

use super::cells::Cells;
use super::error::EvalError;
use super::notes::{Notes, Operation};
use super::query::Buffers;
use super::rates::joined;
use super::sliding::{fold_runs, fold_windows};
use super::windows::{Windows, samples_in};

type Done = Result<(), EvalError>;

pub(super) fn sum(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    floats_or_histograms(windows, cells, notes, false)
}

pub(super) fn avg(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    floats_or_histograms(windows, cells, notes, true)
}

fn floats_or_histograms(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, mean: bool) -> Done {
    let values = &windows.floats.values;
    let lift = |at: usize| Compensated::from(values[at]);
    fold_windows(values.len(), windows.float_bounds, lift, joined, |step, sum| {
        let window = windows.floats_at(step);
        let value = match (mean, sum.sum.is_finite()) {
            (false, true) => sum.total(),
            (false, false) => sum.sum,
            (true, true) => {
                let count = samples_in(&window, &windows.floats.before) as f64;
                sum.sum / count + sum.carry / count
            }
            (true, false) if windows.floats.before.is_empty() => careful_mean(&values[window]),
            (true, false) => sum.sum,
        };
        cells.set_float(step, value);
    });
    if windows.histograms.times.is_empty() {
        return Ok(());
    }
    for step in 0..windows.frame.steps {
        let window = windows.histograms_at(step);
        if window.is_empty() {
            continue;
        }
        windows.check()?;
        if !windows.floats_at(step).is_empty() {
            cells.remove(step);
            notes.mixed_types(windows.metric, windows.span);
            continue;
        }
        if let Some(result) = fold_histograms(windows, window, mean, notes) {
            cells.set_histogram(step, Arc::new(result));
        }
    }
    Ok(())
}

/// A mean that does not overflow where the sum does.
pub(super) fn careful_mean(values: &[f64]) -> f64 {
    let Some((first, rest)) = values.split_first() else { return f64::NAN };
    let mut mean = Mean::new(*first);
    rest.iter().for_each(|value| mean.push(*value));
    mean.value()
}

/// A running mean: of the sum as long as that is finite, then step by step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mean {
    state: Compensated,
    pub(super) count: f64,
    incremental: bool,
}

impl Mean {
    pub(super) fn new(first: f64) -> Self {
        Self { state: first.into(), count: 1.0, incremental: false }
    }

    /// The mean of `count` values with this sum and carry.
    pub(super) fn of_sum(sum: f64, carry: f64, count: f64) -> Self {
        Self { state: Compensated { sum, carry }, count, incremental: false }
    }

    #[inline]
    pub(super) fn push(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.state;
            next.push(value);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            self.incremental = true;
            self.state.sum /= self.count - 1.0;
            self.state.carry /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        self.state.sum *= share;
        self.state.carry *= share;
        self.state.push(value / self.count);
    }

    /// Takes in the mean of other values.
    pub(super) fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        if !self.incremental && !other.incremental {
            let sum = joined(self.state, other.state);
            if !sum.sum.is_infinite() {
                (self.state, self.count) = (sum, count);
                return;
            }
        }
        let value = self.value() * (self.count / count) + other.value() * (other.count / count);
        *self = Self { state: value.into(), count, incremental: true };
    }

    #[inline]
    pub(super) fn value(&self) -> f64 {
        if self.incremental { self.state.total() } else { self.state.sum / self.count + self.state.carry / self.count }
    }
}

fn fold_histograms(windows: &Windows<'_>, window: Range<usize>, mean: bool, notes: &mut Notes) -> Option<Histogram> {
    let samples = samples_in(&window, &windows.histograms.before);
    let values = &windows.histograms.values[window];
    let mut fold = HistogramFold::new(&values[0]);
    for value in &values[1..] {
        let added = if mean { fold.add_to_mean(value) } else { fold.add(value) };
        if added.is_err() {
            notes.mixed_schemas(windows.metric, windows.span);
            return None;
        }
    }
    if fold.hints_collide() {
        notes.reset_collision(Operation::Aggregation, windows.span);
    }
    if fold.bounds_reconciled {
        notes.bounds_reconciled(Operation::Aggregation, windows.span);
    }
    if !fold.incremental {
        fold.count = samples as f64;
    }
    Some(fold.finish(mean))
}

/// A sum or mean of histograms, with what is to be told about it.
#[derive(Clone, Debug)]
pub(super) struct HistogramFold {
    sum: HistogramSum,
    count: f64,
    /// The mean is kept, because the sum went beyond the range of floats.
    incremental: bool,
    saw_reset: bool,
    saw_no_reset: bool,
    pub(super) bounds_reconciled: bool,
}

impl HistogramFold {
    pub(super) fn new(first: &Histogram) -> Self {
        let mut fold = Self {
            sum: HistogramSum::new(first),
            count: 1.0,
            incremental: false,
            saw_reset: false,
            saw_no_reset: false,
            bounds_reconciled: false,
        };
        fold.look_at(first);
        fold
    }

    fn look_at(&mut self, histogram: &Histogram) {
        self.saw_reset |= histogram.reset_hint == ResetHint::Reset;
        self.saw_no_reset |= histogram.reset_hint == ResetHint::NotReset;
    }

    pub(super) fn add(&mut self, histogram: &Histogram) -> Result<(), IncompatibleSchema> {
        self.look_at(histogram);
        self.count += 1.0;
        self.bounds_reconciled |= self.sum.add(histogram)?.bounds_reconciled;
        Ok(())
    }

    pub(super) fn add_to_mean(&mut self, histogram: &Histogram) -> Result<(), IncompatibleSchema> {
        if !self.incremental {
            let before = self.clone();
            self.add(histogram)?;
            if !self.sum.has_overflow() {
                return Ok(());
            }
            *self = before;
            self.incremental = true;
            self.sum.divide(self.count);
        }
        self.look_at(histogram);
        self.count += 1.0;
        self.sum.scale((self.count - 1.0) / self.count);
        let mut share = histogram.clone();
        share.divide(self.count);
        self.bounds_reconciled |= self.sum.add(&share)?.bounds_reconciled;
        Ok(())
    }

    /// Takes in the sum or mean of other histograms.
    pub(super) fn merge(&mut self, other: &Self, mean: bool) -> Result<(), IncompatibleSchema> {
        self.saw_reset |= other.saw_reset;
        self.saw_no_reset |= other.saw_no_reset;
        self.bounds_reconciled |= other.bounds_reconciled;
        let count = self.count + other.count;
        let mut theirs = other.sum.clone();
        if mean && (self.incremental || other.incremental) {
            // Both become means, weighted by how many they are of.
            self.sum.divide(if self.incremental { 1.0 } else { self.count });
            self.sum.scale(self.count / count);
            theirs.divide(if other.incremental { 1.0 } else { other.count });
            theirs.scale(other.count / count);
            self.incremental = true;
        }
        self.bounds_reconciled |= self.sum.merge(&theirs)?.bounds_reconciled;
        self.count = count;
        Ok(())
    }

    pub(super) fn hints_collide(&self) -> bool {
        self.saw_reset && self.saw_no_reset
    }

    pub(super) fn finish(mut self, mean: bool) -> Histogram {
        if mean && !self.incremental {
            self.sum.divide(self.count);
        }
        self.sum.total()
    }
}

pub(super) fn count(windows: &Windows<'_>, cells: &mut Cells, _: &mut Notes, _: &mut Buffers) -> Done {
    for step in 0..windows.frame.steps {
        let (floats, histograms) = windows.samples_at(step);
        if floats + histograms > 0 {
            cells.set_float(step, (floats + histograms) as f64);
        }
    }
    Ok(())
}

pub(super) fn present(windows: &Windows<'_>, cells: &mut Cells, _: &mut Notes, _: &mut Buffers) -> Done {
    for step in 0..windows.frame.steps {
        if !windows.floats_at(step).is_empty() || !windows.histograms_at(step).is_empty() {
            cells.set_float(step, 1.0);
        }
    }
    Ok(())
}

pub(super) fn max(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    extreme(windows, cells, notes, f64::NEG_INFINITY, |best, value| value > best);
    Ok(())
}

pub(super) fn min(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    extreme(windows, cells, notes, f64::INFINITY, |best, value| value < best);
    Ok(())
}

fn extreme(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, worst: f64, better: impl Fn(f64, f64) -> bool) {
    windows.float_steps(1, notes);
    let values = &windows.floats.values;
    let join = |best: f64, value: f64| if better(best, value) || best.is_nan() { value } else { best };
    let fold = |run: Range<usize>| extreme_of(&values[run], worst, &better);
    fold_runs(values.len(), windows.float_bounds, fold, join, |step, best| cells.set_float(step, best));
}

/// Lanes that are compared side by side: enough that none waits for the one before.
const LANES: usize = 16;

/// The best of values of which there is at least one; no number only where there is none. Of equals it is the first.
/// Nothing is better than `worst` is bad.
fn extreme_of(values: &[f64], worst: f64, better: impl Fn(f64, f64) -> bool) -> f64 {
    // What is no number is better than nothing, so it never gets in.
    let pick = |best: f64, value: f64| if better(best, value) { value } else { best };
    let mut lanes = [worst; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = pick(*lane, *value);
        }
    }
    let best = lanes.iter().chain(rest).fold(worst, |best, value| pick(best, *value));
    if best != 0.0 && best != worst {
        return best;
    }
    // Zeros have signs, of which the first counts; and either all are the worst, or none is a number.
    let join = |best: f64, value: &f64| if better(best, *value) || best.is_nan() { *value } else { best };
    values.iter().fold(f64::NAN, join)
}

pub(super) fn time_of_max(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    time_of_extreme(windows, cells, notes, |best, value| value >= best);
    Ok(())
}

pub(super) fn time_of_min(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, _: &mut Buffers) -> Done {
    time_of_extreme(windows, cells, notes, |best, value| value <= best);
    Ok(())
}

fn time_of_extreme(windows: &Windows<'_>, cells: &mut Cells, notes: &mut Notes, better: impl Fn(f64, f64) -> bool) {
    windows.float_steps(1, notes);
    let values = &windows.floats.values;
    let join = |best: usize, at: usize| {
        if better(values[best], values[at]) || values[best].is_nan() { at } else { best }
    };
    fold_windows(
        values.len(),
        windows.float_bounds,
        |at| at,
        join,
        |step, best| {
            cells.set_float(step, windows.floats.times[best] as f64 / 1000.0);
        },
    );
}

pub(super) fn first(windows: &Windows<'_>, cells: &mut Cells, _: &mut Notes, _: &mut Buffers) -> Done {
    one(windows, cells, |window| window.start, |float, histogram| float < histogram);
    Ok(())
}

pub(super) fn last(windows: &Windows<'_>, cells: &mut Cells, _: &mut Notes, _: &mut Buffers) -> Done {
    one(windows, cells, |window| window.end - 1, |float, histogram| float > histogram);
    Ok(())
}

fn one(
    windows: &Windows<'_>,
    cells: &mut Cells,
    pick: impl Fn(&Range<usize>) -> usize,
    prefers_float: impl Fn(i64, i64) -> bool,
) {
    for step in 0..windows.frame.steps {
        let (floats, histograms) = (windows.floats_at(step), windows.histograms_at(step));
        let float = (!floats.is_empty()).then(|| pick(&floats));
        let histogram = (!histograms.is_empty()).then(|| pick(&histograms));
        let take_float = match (float, histogram) {
            (Some(float), Some(histogram)) => {
                prefers_float(windows.floats.times[float], windows.histograms.times[histogram])
            }
            (float, _) => float.is_some(),
        };
        if let Some(at) = float.filter(|_| take_float) {
            cells.set_float(step, windows.floats.values[at]);
        } else if let Some(at) = histogram {
            cells.set_histogram(step, windows.histograms.values[at].clone());
        }
    }
}

pub(super) fn time_of_first(windows: &Windows<'_>, cells: &mut Cells, _: &mut Notes, _: &mut Buffers) -> Done {
    time_of_one(windows, cells, |window| window.start, i64::min);
    Ok(())
}

pub(super) fn time_of_last(windows: &Windows<'_>, cells: &mut Cells, _: &mut Notes, _: &mut Buffers) -> Done {
    time_of_one(windows, cells, |window| window.end - 1, i64::max);
    Ok(())
}

fn time_of_one(
    windows: &Windows<'_>,
    cells: &mut Cells,
    pick: impl Fn(&Range<usize>) -> usize,
    choose: impl Fn(i64, i64) -> i64,
) {
    for step in 0..windows.frame.steps {
        let (floats, histograms) = (windows.floats_at(step), windows.histograms_at(step));
        let float = (!floats.is_empty()).then(|| windows.floats.times[pick(&floats)]);
        let histogram = (!histograms.is_empty()).then(|| windows.histograms.times[pick(&histograms)]);
        let time = match (float, histogram) {
            (Some(float), Some(histogram)) => Some(choose(float, histogram)),
            (float, histogram) => float.or(histogram),
        };
        if let Some(time) = time {
            cells.set_float(step, time as f64 / 1000.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn the_best_of_many_is_that_of_one_after_the_other() {
        let rng = Rng::from_seed(5);
        let odd = [f64::NAN, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1.5, -1.5];
        for round in 0..4_000 {
            let kinds = 1 + rng.below(odd.len() as u64);
            let wide = rng.chance(0.3);
            let value = || match wide {
                true => rng.below(1_000) as f64 - 500.0,
                false => odd[((rng.below(kinds) + round) % odd.len() as u64) as usize],
            };
            let values: Vec<f64> = (0..1 + rng.below(70)).map(|_| value()).collect();
            let naive = |better: fn(f64, f64) -> bool| {
                values
                    .iter()
                    .copied()
                    .reduce(|best, value| if better(best, value) || best.is_nan() { value } else { best })
            };
            let bits = |value: f64| if value.is_nan() { None } else { Some(value.to_bits()) };
            let (greater, less) = (|best, value| value > best, |best, value| value < best);
            let (most, least) = (naive(greater).unwrap(), naive(less).unwrap());
            assert_eq!(bits(extreme_of(&values, f64::NEG_INFINITY, greater)), bits(most), "most of {values:?}");
            assert_eq!(bits(extreme_of(&values, f64::INFINITY, less)), bits(least), "least of {values:?}");
        }
    }
}
