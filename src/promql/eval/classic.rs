//! `histogram_quantile` and `histogram_fraction` over classic buckets and native histograms.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::model::float_text::open_metrics;
use crate::model::histogram::quantile::NanObservations;
use crate::model::labels::Labels;
use crate::promql::ast::Span;

use super::cells::{Bits, Cells, Series};
use super::error::EvalError;
use super::notes::{Monotonicity, Notes};
use super::query::{Frame, Query};
use super::vector::{Ready, Vector};

/// Differences between counts of neighbours that are relatively smaller than this come from rounding.
const TOLERANCE: f64 = 1e-12;

/// The label of a classic bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// A vector sorted into histograms.
pub(super) struct Histograms {
    frame: Frame,
    span: Span,
    classic: Vec<Classic>,
    native: Vec<Series>,
}

/// The buckets of one classic histogram.
struct Classic {
    labels: Labels,
    /// Ascending.
    buckets: Vec<(f64, Cells)>,
    /// Steps at which a native histogram has the same labels: nothing is computed there.
    conflicts: Bits,
}

impl Histograms {
    pub(super) fn new(
        query: &Query<'_>,
        vector: Vector<'_>,
        (frame, span): (Frame, Span),
        notes: &mut Notes,
    ) -> Result<Self, EvalError> {
        let ready = vector.ready(query, frame.steps, notes)?;
        let mut classic: IndexMap<Labels, Vec<(f64, Cells)>> = IndexMap::new();
        let mut native = Vec::new();
        for mut series in ready.series {
            if series.cells.has_histograms() {
                let mut histograms = series.clone();
                histograms.cells.floats = Bits::none(frame.steps);
                native.push(histograms);
                series.cells.only_floats();
            }
            if series.cells.floats.is_empty() {
                continue;
            }
            let bound = series.labels.get(BUCKET_LABEL).unwrap_or("");
            match bound.parse::<f64>() {
                Ok(bound) => {
                    let labels = series.labels.filter(|name| name != BUCKET_LABEL);
                    classic.entry(labels).or_default().push((bound, series.cells));
                }
                Err(_) => notes.bad_bucket_label(series.labels.metric_name(), bound, span),
            }
        }
        let mut histograms = Self { frame, span, classic: Vec::new(), native };
        histograms.classic = classic
            .into_iter()
            .map(|(labels, mut buckets)| {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                Classic { labels, buckets, conflicts: Bits::none(frame.steps) }
            })
            .collect();
        histograms.find_conflicts(notes);
        Ok(histograms)
    }

    fn find_conflicts(&mut self, notes: &mut Notes) {
        if self.classic.is_empty() {
            return;
        }
        let known: hashbrown::HashMap<Labels, usize> =
            self.classic.iter().enumerate().map(|(index, classic)| (classic.labels.clone(), index)).collect();
        for native in &mut self.native {
            let Some(classic) = known.get(&native.labels).and_then(|index| self.classic.get_mut(*index)) else {
                continue;
            };
            let mut both = Bits::none(self.frame.steps);
            classic.buckets.iter().for_each(|(_, cells)| both.or(&cells.floats));
            both.and(&native.cells.present());
            if !both.is_empty() {
                notes.mixed_classic_and_native(native.labels.metric_name(), self.span);
                let mut rest = native.cells.present();
                rest.and_not(&both);
                native.cells.mask(&rest);
                classic.conflicts.or(&both);
            }
        }
    }

    /// Adds the quantile at each step; `label` adds the quantile under that name.
    pub(super) fn quantiles(
        &self,
        quantiles: &[f64],
        (label, is_first): (Option<&Arc<str>>, bool),
        results: &mut IndexMap<Labels, Cells>,
        notes: &mut Notes,
    ) -> Result<(), EvalError> {
        let labelled = |labels: &Labels, q: f64| match label {
            Some(label) => labels.to_builder().set(label, &open_metrics(q)).build(),
            None => labels.clone(),
        };
        let steps = self.frame.steps;
        for series in &self.native {
            let metric = series.labels.metric_name();
            for step in series.cells.present().ones() {
                let Some(histogram) = series.cells.histogram(step) else { continue };
                let estimate = histogram.quantile(quantiles[step]);
                match estimate.nan {
                    NanObservations::None => {}
                    NanObservations::Reached => notes.quantile_is_nan(metric, self.span),
                    NanObservations::Skewed => notes.quantile_is_skewed(metric, self.span),
                }
                let labels = labelled(&series.labels, quantiles[step]);
                let cells = results.entry(labels).or_insert_with(|| Cells::empty(steps));
                set_once(cells, step, estimate.value)?;
            }
        }
        let mut buckets = Vec::new();
        for classic in &self.classic {
            let mut target: Option<(f64, usize)> = None;
            for (step, q) in quantiles.iter().copied().enumerate() {
                if !classic.gather(step, &mut buckets) {
                    continue;
                }
                let (value, fix) = bucket_quantile(q, &mut buckets);
                // Buckets are made monotonic once, however many quantiles are asked for.
                if let Some((range, difference)) = fix.filter(|_| is_first) {
                    let time = self.frame.time(step);
                    let fix = Monotonicity { time, buckets: range, difference };
                    notes.forced_monotonicity(classic.labels.metric_name(), fix, self.span);
                }
                // The labels depend on the quantile only, which rarely changes.
                let index = match target {
                    Some((known, index)) if known.to_bits() == q.to_bits() || label.is_none() => index,
                    _ => {
                        let entry = results.entry(labelled(&classic.labels, q));
                        let index = entry.index();
                        entry.or_insert_with(|| Cells::empty(steps));
                        target = Some((q, index));
                        index
                    }
                };
                set_once(&mut results[index], step, value)?;
            }
        }
        Ok(())
    }

    /// The share of observations between two values at each step.
    pub(super) fn fractions(&self, lower: &[f64], upper: &[f64], notes: &mut Notes) -> Vec<Series> {
        let mut results: IndexMap<Labels, Cells> = IndexMap::new();
        let steps = self.frame.steps;
        for series in &self.native {
            for step in series.cells.present().ones() {
                let Some(histogram) = series.cells.histogram(step) else { continue };
                let estimate = histogram.fraction(lower[step], upper[step]);
                if estimate.nan != NanObservations::None {
                    notes.fraction_without_nan(series.labels.metric_name(), self.span);
                }
                let cells = results.entry(series.labels.clone()).or_insert_with(|| Cells::empty(steps));
                cells.set_float(step, estimate.value);
            }
        }
        let mut buckets = Vec::new();
        for classic in &self.classic {
            for step in 0..steps {
                if classic.gather(step, &mut buckets) {
                    let value = bucket_fraction((lower[step], upper[step]), &mut buckets);
                    let cells = results.entry(classic.labels.clone()).or_insert_with(|| Cells::empty(steps));
                    cells.set_float(step, value);
                }
            }
        }
        as_series(results)
    }
}

/// The label of the quantile may have made two series one.
fn set_once(cells: &mut Cells, step: usize, value: f64) -> Result<(), EvalError> {
    if cells.floats.get(step) {
        return Err(EvalError::same_labels());
    }
    cells.set_float(step, value);
    Ok(())
}

/// Results lose the name of the metric.
pub(super) fn as_series(results: IndexMap<Labels, Cells>) -> Vec<Series> {
    results.into_iter().map(|(labels, cells)| Series { labels, drop_name: true, cells }).collect()
}

/// Takes the series of a function's result into a vector.
pub(super) fn vector<'a>(query: &Query<'_>, series: Vec<Series>) -> Result<Vector<'a>, EvalError> {
    Ok(Vector::Ready(Ready::new(query, series)?))
}

impl Classic {
    /// The buckets (upper bound, cumulative count) that are there at a step, joined where bounds are equal. False where
    /// there is none, or a conflict.
    fn gather(&self, step: usize, buckets: &mut Vec<(f64, f64)>) -> bool {
        buckets.clear();
        if self.conflicts.get(step) {
            return false;
        }
        for (bound, cells) in &self.buckets {
            if !cells.floats.get(step) {
                continue;
            }
            match buckets.last_mut() {
                Some(last) if last.0 == *bound => last.1 += cells.values[step],
                _ => buckets.push((*bound, cells.values[step])),
            }
        }
        !buckets.is_empty()
    }
}

/// Where counts had to be raised: range of bounds, and by how much at most.
type Fix = ((f64, f64), f64);

/// The quantile of cumulative buckets, interpolated linearly; also tells whether the counts had to be made monotonic.
fn bucket_quantile(q: f64, buckets: &mut [(f64, f64)]) -> (f64, Option<Fix>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        return (f64::NAN, None);
    }
    let fix = make_monotonic(buckets);
    let highest = buckets.len() - 1;
    let observations = buckets[highest].1;
    if highest == 0 || observations == 0.0 {
        return (f64::NAN, fix);
    }
    let mut rank = q * observations;
    // A NaN count is never reached, as with a search for the first count that is not below the rank.
    let at = buckets[..highest].partition_point(|bucket| bucket.1.is_nan() || bucket.1 < rank);
    if at == highest {
        return (buckets[highest - 1].0, fix);
    }
    let (end, mut count) = buckets[at];
    if at == 0 {
        let value = if end <= 0.0 { end } else { end * (rank / count) };
        return (value, fix);
    }
    let (start, below) = buckets[at - 1];
    count -= below;
    rank -= below;
    (start + (end - start) * (rank / count), fix)
}

/// Raises counts that are lower than one before them. Differences within rounding are levelled silently.
fn make_monotonic(buckets: &mut [(f64, f64)]) -> Option<Fix> {
    let mut fix: Option<Fix> = None;
    let mut before = buckets[0].1;
    for (bound, count) in &mut buckets[1..] {
        if *count == before {
            continue;
        }
        if nearly_equal(before, *count) {
            *count = before;
        } else if *count < before {
            let ((low, high), difference) = fix.unwrap_or(((f64::INFINITY, f64::NEG_INFINITY), 0.0));
            fix = Some(((low.min(*bound), high.max(*bound)), difference.max(before - *count)));
            *count = before;
        } else {
            before = *count;
        }
    }
    fix
}

fn nearly_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The share of observations between two values, from cumulative buckets.
fn bucket_fraction((lower, upper): (f64, f64), buckets: &mut [(f64, f64)]) -> f64 {
    let Some((_, count)) = buckets.last().copied().filter(|last| last.0 == f64::INFINITY) else { return f64::NAN };
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut start = if buckets[0].0 <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut below = 0.0;
    let mut ranks = [None; 2];
    for (end, cumulative) in buckets.iter().copied() {
        for (rank, value) in ranks.iter_mut().zip([lower, upper]) {
            if rank.is_some() {
                continue;
            }
            if start >= value {
                *rank = Some(below);
            } else if end > value {
                *rank = Some(if start == f64::NEG_INFINITY {
                    cumulative
                } else {
                    below + (cumulative - below) * (value - start) / (end - start)
                });
            }
        }
        below = cumulative;
        start = end;
    }
    let [low, high] = ranks.map(|rank| rank.filter(|rank| *rank <= count).unwrap_or(count));
    (high - low) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_fall_are_raised_and_told_of() {
        let mut buckets = [(1.0, 10.0), (2.0, 8.0), (4.0, 20.0), (f64::INFINITY, 20.0)];
        let (value, fix) = bucket_quantile(0.75, &mut buckets);
        assert_eq!(value, 3.0);
        assert_eq!(fix, Some(((2.0, 2.0), 2.0)));
        assert_eq!(bucket_quantile(0.5, &mut [(1.0, 1.0)]).0.to_bits(), f64::NAN.to_bits());
    }

    #[test]
    fn fractions_interpolate_inside_buckets() {
        let mut buckets = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)];
        assert_eq!(bucket_fraction((0.5, 1.5), &mut buckets), 0.25);
        assert_eq!(bucket_fraction((f64::NEG_INFINITY, 5.0), &mut buckets), 0.5);
    }
}
