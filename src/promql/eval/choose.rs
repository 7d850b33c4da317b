//! Aggregations that choose series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use xxhash_rust::xxh64::xxh64;

use crate::model::float_text::general;
use crate::model::labels::Labels;
use crate::promql::ast::{AggregateOp, Span};

use super::aggregate::{Grouping, Groups};
use super::cells::{Bits, Series};
use super::error::EvalError;
use super::notes::Notes;
use super::plan::{AggregatePlan, aggregate_name};
use super::query::{Frame, Query};
use super::vector::{Ready, Vector};

/// Evaluates an aggregation that keeps series of its input. `span` is that of the whole aggregation.
pub(super) fn choose<'a>(
    query: &Query<'_>,
    (plan, span): (&AggregatePlan, Span),
    (vector, frame): (Vector<'a>, Frame),
    param: &[f64],
    notes: &mut Notes,
) -> Result<Vector<'a>, EvalError> {
    let nothing = !check_param(plan, param, notes)?;
    let mut ready = vector.ready(query, frame.steps, notes)?;
    if nothing {
        ready.series.clear();
        return Ok(Vector::Ready(ready));
    }
    let grouping = Grouping { labels: &plan.grouping, without: plan.without };
    let groups = Groups::new(ready.series.iter().map(|series| &series.labels), &grouping);
    let chooser = Chooser { op: plan.op, span, series: &ready.series, groups: &groups };
    let mut keep: Vec<Bits> = vec![Bits::none(frame.steps); ready.series.len()];
    let mut order = Vec::new();
    for (step, param) in param.iter().enumerate() {
        query.check()?;
        for index in chooser.step(step, *param, notes) {
            keep[index].set(step);
            if frame.is_instant() {
                order.push(index);
            }
        }
    }
    for (series, keep) in ready.series.iter_mut().zip(&keep) {
        series.cells.mask(keep);
    }
    if frame.is_instant() {
        let mut slots: Vec<Option<Series>> = std::mem::take(&mut ready.series).into_iter().map(Some).collect();
        ready.series = order.into_iter().filter_map(|index| slots[index].take()).collect();
    }
    ready.series.retain(|series| !series.cells.is_vacant());
    Ok(Vector::Ready(Ready { series: ready.series, held: ready.held }))
}

/// Checks the parameter over all steps; false where nothing can be chosen.
fn check_param(plan: &AggregatePlan, param: &[f64], notes: &mut Notes) -> Result<bool, EvalError> {
    let span = plan.param.as_ref().map_or(plan.expr.span, |param| param.span);
    let nan = param.iter().any(|value| value.is_nan());
    let max = param.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = param.iter().copied().fold(f64::INFINITY, f64::min);
    if plan.op == AggregateOp::LimitRatio {
        if nan {
            return Err(EvalError::execution("Ratio value is NaN"));
        }
        if max == 0.0 && min == 0.0 {
            return Ok(false);
        }
        if max > 1.0 {
            notes.invalid_ratio(max, 1.0, span);
        }
        if min < -1.0 {
            notes.invalid_ratio(min, -1.0, span);
        }
        return Ok(true);
    }
    if !nan && max < 1.0 {
        return Ok(false);
    }
    if nan {
        return Err(EvalError::execution("Parameter value is NaN"));
    }
    if min <= i64::MIN as f64 {
        return Err(EvalError::execution(format!("Scalar value {} underflows int64", general(min))));
    }
    if max >= 9_223_372_036_854_774_784.0 {
        return Err(EvalError::execution(format!("Scalar value {} overflows int64", general(max))));
    }
    Ok(true)
}

struct Chooser<'a> {
    op: AggregateOp,
    span: Span,
    series: &'a [Series],
    groups: &'a Groups,
}

impl Chooser<'_> {
    /// The series that stay at a step, by group, in the order of an instant result.
    fn step(&self, step: usize, param: f64, notes: &mut Notes) -> Vec<usize> {
        let count = (param as i64).min(self.series.len() as i64);
        if self.op != AggregateOp::LimitRatio && count < 1 {
            return Vec::new();
        }
        let count = count as usize;
        let mut heaps: Vec<Heap> = (0..self.groups.labels.len()).map(|_| Heap::default()).collect();
        for (index, series) in self.series.iter().enumerate() {
            let histogram = series.cells.histogram(step).is_some();
            if !histogram && !series.cells.floats.get(step) {
                continue;
            }
            let heap = &mut heaps[self.groups.of_series[index] as usize];
            let value = series.cells.values[step];
            match self.op {
                AggregateOp::TopK | AggregateOp::BottomK if histogram => {
                    notes.ignored_in_aggregation(aggregate_name(self.op), self.span);
                }
                AggregateOp::TopK => heap.offer((value, index), count, |a, b| a.is_nan() || a < b),
                AggregateOp::BottomK => heap.offer((value, index), count, |a, b| a.is_nan() || a > b),
                AggregateOp::LimitK => {
                    if heap.0.len() < count {
                        heap.0.push((value, index));
                    }
                }
                _ => {
                    if in_ratio(&series.labels, param.clamp(-1.0, 1.0)) {
                        heap.0.push((value, index));
                    }
                }
            }
        }
        let mut chosen = Vec::new();
        for mut heap in heaps {
            match self.op {
                AggregateOp::TopK => heap.sort(|a, b| b.total_cmp(&a)),
                AggregateOp::BottomK => heap.sort(|a, b| a.total_cmp(&b)),
                _ => {}
            }
            chosen.extend(heap.0.into_iter().map(|(_, index)| index));
        }
        chosen
    }
}

/// A binary heap with the least wanted entry on top. Ties fall as with Go's `container/heap`, so that the same series
/// stay as in Prometheus.
#[derive(Default)]
struct Heap(Vec<(f64, usize)>);

impl Heap {
    /// Takes an entry in if there is room, or if it is better than the one on top.
    fn offer(&mut self, entry: (f64, usize), room: usize, less: impl Fn(f64, f64) -> bool) {
        if self.0.len() < room {
            self.0.push(entry);
            let mut at = self.0.len() - 1;
            while at > 0 {
                let parent = (at - 1) / 2;
                if !less(self.0[at].0, self.0[parent].0) {
                    break;
                }
                self.0.swap(at, parent);
                at = parent;
            }
            return;
        }
        let top = self.0[0].0;
        let better = if top.is_nan() { !entry.0.is_nan() } else { !entry.0.is_nan() && less(top, entry.0) };
        if better {
            self.0[0] = entry;
            self.sink(&less);
        }
    }

    fn sink(&mut self, less: &impl Fn(f64, f64) -> bool) {
        let mut at = 0;
        loop {
            let left = 2 * at + 1;
            if left >= self.0.len() {
                return;
            }
            let right = left + 1;
            let child = if right < self.0.len() && less(self.0[right].0, self.0[left].0) { right } else { left };
            if !less(self.0[child].0, self.0[at].0) {
                return;
            }
            self.0.swap(at, child);
            at = child;
        }
    }

    /// Orders entries, NaN last.
    fn sort(&mut self, compare: impl Fn(f64, f64) -> std::cmp::Ordering) {
        self.0.sort_by(|(a, _), (b, _)| {
            a.is_nan().cmp(&b.is_nan()).then_with(|| if a == b { std::cmp::Ordering::Equal } else { compare(*a, *b) })
        });
    }
}

/// Whether a series is in the share of all series that `limit_ratio` keeps: its hash decides, and a negative ratio keeps
/// just those that the complement leaves out. The hash is the one that Prometheus takes.
fn in_ratio(labels: &Labels, ratio: f64) -> bool {
    let mut bytes = Vec::with_capacity(labels.as_encoded().len());
    for (name, value) in labels.iter() {
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(length) if length < 255 => bytes.push(length),
                _ => {
                    bytes.push(255);
                    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
                }
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    let offset = xxh64(&bytes, 0) as f64 / u64::MAX as f64;
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}
