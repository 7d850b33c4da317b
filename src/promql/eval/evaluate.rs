//! Walks the plan.

use std::sync::Arc;

use crate::model::labels::Labels;
use crate::promql::ast::{AggregateOp, BinaryOp, Edges, Expr, ValueType};
use crate::promql::source::{Column, Source};

use super::aggregate::{aggregate, count_values};
use super::cells::{Cells, Series};
use super::choose::choose;
use super::elements;
use super::error::EvalError;
use super::extended;
use super::matching::{self, tell};
use super::notes::Notes;
use super::outcome::{MatrixSeries, Outcome, QueryOptions, QueryValue, Stats, Window};
use super::plan::{AggregatePlan, BinaryPlan, Plan, PlanKind, Planner, RangeSelector, Selector, SubqueryPlan};
use super::query::{Frame, Query, Set};
use super::relabel::is_label_name;
use super::results::{finish, points, sample, tidy};
use super::scan::{Pick, Scan, keep_statistics};
use super::tally::{Carry, Tallies, Tally};
use super::trace::watch;
use super::vector::{Broadcast, Ready, Vector, parallel};
use super::windows::{FloatSamples, HistogramSamples, split};

/// The result of a node over all steps of its frame.
pub(super) enum Value<'a> {
    Scalar(Vec<f64>),
    Text(Arc<str>),
    Vector(Vector<'a>),
}

pub(super) fn instant(
    source: &dyn Source,
    (text, expr): (&str, &Expr),
    time: i64,
    options: &QueryOptions,
) -> Result<Outcome, EvalError> {
    let plan = Planner { start: time, end: time, step: 0 }.plan(expr)?;
    let query = Query::new(source, (text, &plan), options);
    let mut notes = Notes::default();
    let evaluator = Evaluator::new(&query, Frame::instant(time));
    let value = match plan.value {
        ValueType::Matrix => QueryValue::Matrix(evaluator.matrix(&plan, time, &mut notes)?),
        _ => match evaluator.eval(&plan, Frame::instant(time), &mut notes)? {
            Value::Scalar(values) => QueryValue::Scalar { time, value: values.first().copied().unwrap_or(f64::NAN) },
            Value::Text(text) => QueryValue::String { time, value: text.as_ref().to_owned() },
            Value::Vector(vector) => {
                let series = finish(vector.ready(&query, 1, &mut notes)?, true)?;
                QueryValue::Vector(series.into_iter().filter_map(|series| sample(series, time)).collect())
            }
        },
    };
    Ok(outcome(value, &query, &plan, notes))
}

pub(super) fn range(
    source: &dyn Source,
    (text, expr): (&str, &Expr),
    window: Window,
    options: &QueryOptions,
) -> Result<Outcome, EvalError> {
    if window.step <= 0 {
        return Err(EvalError::execution("zero or negative query resolution step widths are not accepted"));
    }
    let frame = Frame::new(window.start, window.end, window.step);
    if frame.steps as u64 > options.max_points {
        return Err(EvalError::too_many_points(options.max_points));
    }
    let plan = Planner { start: window.start, end: window.end, step: window.step }.plan(expr)?;
    if !matches!(plan.value, ValueType::Scalar | ValueType::Vector) {
        let kind = if plan.value == ValueType::String { "string" } else { "range vector" };
        return Err(EvalError::execution(format!(
            "invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector"
        )));
    }
    let query = Query::new(source, (text, &plan), options);
    let mut notes = Notes::default();
    let evaluator = Evaluator::new(&query, frame);
    let series = match evaluator.eval(&plan, frame, &mut notes)? {
        Value::Scalar(values) => {
            vec![Series { labels: Labels::empty(), drop_name: false, cells: Cells::full(values) }]
        }
        Value::Text(_) => Vec::new(),
        Value::Vector(vector) => finish(vector.ready(&query, frame.steps, &mut notes)?, false)?,
    };
    let mut matrix: Vec<MatrixSeries> = series.iter().map(|series| points(series, frame)).collect();
    tidy(&mut matrix);
    Ok(outcome(QueryValue::Matrix(matrix), &query, &plan, notes))
}

fn outcome(value: QueryValue, query: &Query<'_>, plan: &Plan, mut notes: Notes) -> Outcome {
    query.note_sources(&mut notes);
    let (warnings, infos) = notes.texts(query.text);
    let (series, samples, peak_samples) = query.cost();
    let stats = Stats { series, samples, peak_samples };
    let steps = query.tallies.as_ref().and_then(Tallies::finish);
    let explained = query.trace.as_ref().map(|trace| trace.explain(plan, query));
    Outcome { value, warnings, infos, stats, steps, explained }
}

/// Evaluates nodes of one query.
#[derive(Clone, Copy)]
pub(super) struct Evaluator<'q> {
    pub(super) query: &'q Query<'q>,
    /// The tally of the frame, where samples are counted.
    tally: Option<usize>,
}

impl<'q> Evaluator<'q> {
    fn new(query: &'q Query<'q>, frame: Frame) -> Self {
        Self { query, tally: query.tallies.as_ref().map(|tallies| tallies.open(frame, None)) }
    }

    /// For a part that is evaluated over a frame of its own.
    pub(super) fn under(self, frame: Frame, carry: Carry) -> Self {
        let open = |tallies: &Tallies| Some(tallies.open(frame, Some((self.tally?, carry))));
        Self { tally: self.query.tallies.as_ref().and_then(open), ..self }
    }

    /// Where the samples of selectors are counted.
    pub(super) fn tally(self) -> Option<Arc<Tally>> {
        self.query.tallies.as_ref()?.get(self.tally?)
    }

    pub(super) fn eval(self, plan: &'q Plan, frame: Frame, notes: &mut Notes) -> Result<Value<'q>, EvalError> {
        let Some(trace) = &self.query.trace else { return self.eval_node(plan, frame, notes) };
        let node = trace.node(plan);
        let began = trace.now();
        let value = self.eval_node(plan, frame, notes);
        trace.took(&node, began);
        Ok(match value? {
            Value::Vector(vector) => Value::Vector(watch(self.query, node, vector)),
            other => other,
        })
    }

    /// A node that the query has more than once, or has in common with others.
    fn eval_shared(self, plan: &'q Plan, frame: Frame, notes: &mut Notes) -> Result<Value<'q>, EvalError> {
        let (shared, text) = (&self.query.shared, self.query.written(plan.span));
        // Held until the result is kept or known not to be.
        let _claim = match shared.find(text, frame) {
            Ok(again) => return Ok(Value::Vector(Vector::Lazy(Box::new(again)))),
            Err(claim) => claim,
        };
        let mut own = Notes::default();
        let vector = match self.eval_once(plan, frame, &mut own)? {
            Value::Vector(vector) if vector.slots(frame.steps) <= shared.room(text) => vector,
            other => {
                notes.merge(own);
                return Ok(other);
            }
        };
        let ready = vector.ready(self.query, frame.steps, &mut own)?;
        let is_silent = !own.has_annotations();
        notes.merge(own);
        if !is_silent && !shared.is_common(text) {
            return Ok(Value::Vector(Vector::Ready(ready)));
        }
        Ok(Value::Vector(Vector::Lazy(Box::new(shared.keep(text, frame, ready)))))
    }

    fn eval_node(self, plan: &'q Plan, frame: Frame, notes: &mut Notes) -> Result<Value<'q>, EvalError> {
        if self.query.shared.has(self.query.written(plan.span), plan) {
            return self.eval_shared(plan, frame, notes);
        }
        self.eval_once(plan, frame, notes)
    }

    fn eval_once(self, plan: &'q Plan, frame: Frame, notes: &mut Notes) -> Result<Value<'q>, EvalError> {
        self.query.check()?;
        let constant = matches!(plan.kind, PlanKind::Number(_) | PlanKind::Text(_));
        if plan.invariant && !frame.is_instant() && !constant {
            return self.once(plan, frame, notes);
        }
        Ok(match &plan.kind {
            PlanKind::Number(value) => Value::Scalar(vec![*value; frame.steps]),
            PlanKind::Text(text) => Value::Text(text.clone()),
            PlanKind::Group(inner) => self.eval(inner, frame, notes)?,
            PlanKind::Negate(inner) => self.negate(inner, frame, notes)?,
            PlanKind::Binary(binary) => self.binary(plan, binary, frame, notes)?,
            PlanKind::Aggregate(aggregate) => Value::Vector(self.aggregate(plan, aggregate, frame, notes)?),
            PlanKind::Call(call) => self.call(plan, call, frame, notes)?,
            PlanKind::Select(selector) => Value::Vector(match self.joint_select(selector, frame, notes)? {
                Some(vector) => vector,
                None => self.select((plan, selector), frame, Pick::Value, notes)?,
            }),
            PlanKind::Range(_) | PlanKind::Subquery(_) => {
                return Err(EvalError::execution("cannot do range evaluation of matrix selector"));
            }
        })
    }

    /// Evaluates a node that is the same at every step.
    fn once(self, plan: &'q Plan, frame: Frame, notes: &mut Notes) -> Result<Value<'q>, EvalError> {
        let first = Frame { start: frame.start, end: frame.start, step: frame.step, steps: 1 };
        Ok(match self.under(first, Carry::Everywhere).eval_once(plan, first, notes)? {
            Value::Scalar(values) => Value::Scalar(vec![values[0]; frame.steps]),
            Value::Text(text) => Value::Text(text),
            Value::Vector(vector) => {
                let ready = vector.ready(self.query, 1, notes)?;
                Value::Vector(Vector::Lazy(Box::new(Broadcast { ready, steps: frame.steps })))
            }
        })
    }

    pub(super) fn scalar(self, plan: &'q Plan, frame: Frame, notes: &mut Notes) -> Result<Vec<f64>, EvalError> {
        match self.eval(plan, frame, notes)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(EvalError::execution("expected a scalar")),
        }
    }

    pub(super) fn vector(self, plan: &'q Plan, frame: Frame, notes: &mut Notes) -> Result<Vector<'q>, EvalError> {
        match self.eval(plan, frame, notes)? {
            Value::Vector(vector) => Ok(vector),
            _ => Err(EvalError::execution("expected an instant vector")),
        }
    }

    pub(super) fn select(
        self,
        (plan, selector): (&Plan, &Selector),
        frame: Frame,
        pick: Pick,
        notes: &mut Notes,
    ) -> Result<Vector<'q>, EvalError> {
        let set = self.query.watched(plan, self.query.select(selector, frame, 0, notes)?);
        Ok(Vector::Lazy(Box::new(self.scan((plan, selector), set, frame, pick))))
    }

    pub(super) fn scan(self, (plan, selector): (&Plan, &Selector), set: Set, frame: Frame, pick: Pick) -> Scan {
        Scan {
            set,
            part: None,
            frame,
            reference: selector.reference,
            lookback: self.query.options.lookback,
            edges: selector.edges,
            stats_only: selector.stats_only,
            pick,
            span: plan.span,
            tally: self.tally(),
        }
    }

    fn negate(self, inner: &'q Plan, frame: Frame, notes: &mut Notes) -> Result<Value<'q>, EvalError> {
        Ok(match self.eval(inner, frame, notes)? {
            Value::Scalar(mut values) => {
                values.iter_mut().for_each(|value| *value = -*value);
                Value::Scalar(values)
            }
            Value::Vector(vector) => {
                let negate = |_: &Labels, cells: &mut Cells, _: &mut Notes| {
                    cells.values.iter_mut().for_each(|value| *value = -*value);
                    for histogram in cells.histograms.iter_mut().flatten() {
                        Arc::make_mut(histogram).scale(-1.0);
                    }
                };
                Value::Vector(vector.map_values(self.query, notes, true, negate)?)
            }
            text => text,
        })
    }

    fn binary(
        self,
        plan: &'q Plan,
        binary: &'q BinaryPlan,
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Value<'q>, EvalError> {
        let left = self.eval(&binary.left, frame, notes)?;
        let right = self.eval(&binary.right, frame, notes)?;
        let span = plan.span;
        Ok(match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => Value::Scalar(elements::scalars(binary.op, &left, &right)),
            (Value::Vector(vector), Value::Scalar(scalar)) => {
                Value::Vector(self.with_scalar((plan, binary), vector, (scalar, false), notes)?)
            }
            (Value::Scalar(scalar), Value::Vector(vector)) => {
                Value::Vector(self.with_scalar((plan, binary), vector, (scalar, true), notes)?)
            }
            (Value::Vector(left), Value::Vector(right)) => {
                let Some(matching) = &binary.matching else {
                    return Err(EvalError::execution("vectors without matching"));
                };
                let left = left.ready(self.query, frame.steps, notes)?;
                let right = right.ready(self.query, frame.steps, notes)?;
                let ready = match binary.op {
                    BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
                        matching::set_operation(binary.op, matching, (left, right), frame.steps)
                    }
                    _ => matching::arithmetic(self.query, (binary, span), matching, (left, right, frame), notes)?,
                };
                Value::Vector(Vector::Ready(ready))
            }
            _ => {
                return Err(EvalError::execution(
                    "binary expression must contain only scalar and instant vector types",
                ));
            }
        })
    }

    fn with_scalar(
        self,
        (plan, binary): (&Plan, &BinaryPlan),
        vector: Vector<'q>,
        (scalar, swapped): (Vec<f64>, bool),
        notes: &mut Notes,
    ) -> Result<Vector<'q>, EvalError> {
        let (op, return_bool, span) = (binary.op, binary.return_bool, plan.span);
        let scalar = Cells::full(scalar);
        let drop_name = elements::changes_quantity(op) || return_bool;
        vector.map_values(self.query, notes, drop_name, move |_, cells, notes| {
            let (left, right) = if swapped { (&scalar, &*cells) } else { (&*cells, &scalar) };
            let combination = elements::columns(op, return_bool, left, right);
            for (_, remark) in combination.remarks {
                tell(remark, op, span, notes);
            }
            if swapped && !return_bool && elements::is_comparison(op) {
                // The value of a comparison is that of the vector, on whichever side it stands.
                cells.mask(&combination.cells.present());
            } else {
                *cells = combination.cells;
            }
        })
    }

    fn aggregate(
        self,
        plan: &'q Plan,
        aggregation: &'q AggregatePlan,
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Vector<'q>, EvalError> {
        let param = aggregation.param.as_ref();
        if aggregation.op == AggregateOp::CountValues {
            let label = match param.map(|param| &param.kind) {
                Some(PlanKind::Text(label)) => label.clone(),
                _ => return Err(EvalError::execution("count_values needs a string")),
            };
            if !is_label_name(&label) {
                let written = param.map_or("", |param| self.query.written(param.span));
                return Err(EvalError::execution(format!("invalid label name {written}")));
            }
            let vector = self.vector(&aggregation.expr, frame, notes)?;
            return count_values(self.query, aggregation, &label, (vector, frame), notes);
        }
        let values = param.map(|param| self.scalar(param, frame, notes)).transpose()?.unwrap_or_default();
        let vector = self.vector(&aggregation.expr, frame, notes)?;
        match aggregation.op {
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK | AggregateOp::LimitRatio => {
                choose(self.query, (aggregation, plan.span), (vector, frame), &values, notes)
            }
            AggregateOp::Quantile => {
                if let Some(param) = param {
                    check_quantiles(&values, param, notes);
                }
                aggregate(self.query, aggregation, (vector, frame), &values, notes)
            }
            _ => aggregate(self.query, aggregation, (vector, frame), &values, notes),
        }
    }

    /// The times at which a subquery is evaluated: multiples of its step.
    pub(super) fn subquery_frame(self, subquery: &SubqueryPlan, frame: Frame) -> Result<Frame, EvalError> {
        let step = if subquery.step > 0 { subquery.step } else { self.query.options.default_subquery_step.max(1) };
        let end = subquery.reference.of(frame.last());
        let begin = subquery.reference.of(frame.start).saturating_sub(subquery.range);
        let start = begin.div_euclid(step).saturating_mul(step).saturating_add(step);
        let frame = Frame::new(start, end, step);
        // Each step takes memory even where there is no sample.
        self.query.held().add(frame.steps as u64)?;
        Ok(frame)
    }

    /// A query whose result is a range vector: its samples as they are.
    fn matrix(self, plan: &'q Plan, time: i64, notes: &mut Notes) -> Result<Vec<MatrixSeries>, EvalError> {
        let frame = Frame::instant(time);
        let mut matrix = match &plan.kind {
            PlanKind::Group(inner) => return self.matrix(inner, time, notes),
            PlanKind::Range(range) => self.raw_samples((plan, range), frame, notes)?,
            PlanKind::Subquery(subquery) => {
                let frame = self.subquery_frame(subquery, frame)?;
                let vector = self.under(frame, Carry::Whole).eval_inner(&subquery.expr, frame, notes)?;
                let series = finish(vector.ready(self.query, frame.steps, notes)?, false)?;
                series.iter().map(|series| points(series, frame)).collect()
            }
            _ => return Err(EvalError::execution("unexpected expression of type range vector")),
        };
        tidy(&mut matrix);
        Ok(matrix)
    }

    /// The expression of a subquery as a vector; a scalar is one series without labels.
    pub(super) fn eval_inner(self, plan: &'q Plan, frame: Frame, notes: &mut Notes) -> Result<Vector<'q>, EvalError> {
        if frame.steps == 0 {
            return Ok(Vector::Ready(Ready::new(self.query, Vec::new())?));
        }
        Ok(match self.eval(plan, frame, notes)? {
            Value::Vector(vector) => vector,
            Value::Scalar(values) => {
                let series = Series { labels: Labels::empty(), drop_name: false, cells: Cells::full(values) };
                Vector::Ready(Ready::new(self.query, vec![series])?)
            }
            Value::Text(_) => return Err(EvalError::execution("a subquery of a string")),
        })
    }

    fn raw_samples(
        self,
        (plan, range): (&Plan, &RangeSelector),
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Vec<MatrixSeries>, EvalError> {
        let selector = &range.selector;
        let set = self.query.select(selector, frame, range.range, notes)?;
        let set = self.query.watched(plan, set);
        let end = selector.reference.of(frame.start);
        let begin = end.saturating_sub(range.range);
        let cost = (range.range / 1000).unsigned_abs() as usize + 1;
        let parts = parallel(self.query, set.len(), cost, notes, |indices, work| {
            let mut held = self.query.held();
            let mut matrix = Vec::new();
            for index in indices {
                self.query.check()?;
                let mut column = work.column();
                set.read(index, &mut column)?;
                work.count(&column)?;
                held.add(column.len() as u64)?;
                if selector.stats_only {
                    keep_statistics(&mut column);
                }
                let series = raw_series(set.labels(index), &mut column, (begin, end), selector.edges)?;
                work.return_column(column);
                if let Some(tally) = self.tally() {
                    let histograms = series.histograms.iter().map(|(_, histogram)| histogram.size_in_samples());
                    tally.add(0, series.floats.len() as u64 + histograms.sum::<u64>());
                }
                matrix.push(series);
            }
            Ok((matrix, held))
        })?;
        Ok(parts.into_iter().flat_map(|(matrix, _)| matrix).collect())
    }
}

fn raw_series(
    labels: &Labels,
    column: &mut Column,
    (begin, end): (i64, i64),
    edges: Edges,
) -> Result<MatrixSeries, EvalError> {
    let (mut floats, mut histograms) = (FloatSamples::default(), HistogramSamples::default());
    split(column, &mut floats, &mut histograms);
    let inside = |time: &i64| edges != Edges::Plain || (*time > begin && *time <= end);
    let mut series = MatrixSeries {
        labels: labels.clone(),
        floats: floats.times.iter().copied().zip(floats.values).filter(|(time, _)| inside(time)).collect(),
        histograms: histograms.times.iter().copied().zip(histograms.values).filter(|(time, _)| inside(time)).collect(),
    };
    if edges != Edges::Plain {
        let (name, smoothed) = if edges == Edges::Smoothed { ("smoothed", true) } else { ("anchored", false) };
        if !series.histograms.is_empty() {
            return Err(EvalError::execution(format!("{name} modifier is not supported with histograms")));
        }
        series.floats = extended::extend(&series.floats, begin, end, smoothed);
    }
    Ok(series)
}

/// Tells of quantiles beyond 0 and 1.
fn check_quantiles(values: &[f64], param: &Plan, notes: &mut Notes) {
    let has_nan = values.iter().any(|value| value.is_nan());
    if has_nan {
        notes.invalid_quantile(f64::NAN, param.span);
    }
    // Prometheus asks Go for the greatest and the least: beside a NaN only infinity is any.
    let counts = |extreme: f64| !has_nan || extreme.is_infinite();
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    if max > 1.0 && counts(max) {
        notes.invalid_quantile(max, param.span);
    }
    if min < 0.0 && counts(min) {
        notes.invalid_quantile(min, param.span);
    }
}
