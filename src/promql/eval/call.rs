//! Function calls.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::model::histogram::Histogram;
use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::ast::{Edges, Span};

use super::cells::{Bits, Cells, Series};
use super::classic::{self, Histograms};
use super::elementwise;
use super::error::EvalError;
use super::evaluate::{Evaluator, Value};
use super::info::{self, Info};
use super::joint::Part;
use super::notes::Notes;
use super::plan::{CallPlan, Plan, PlanKind, Reference};
use super::query::Frame;
use super::relabel;
use super::scan::Pick;
use super::tally::Carry;
use super::vector::{Lazy, Ready, Vector};
use super::windows::{Input, WindowFunction, Windowed};
use super::{changes, instants, order, over_time, rates, trend};

/// A function of range vectors.
pub(super) struct OverWindows {
    function: WindowFunction,
    /// Gives samples as they are, so that the name stays.
    keeps_name: bool,
    uses_starts: bool,
    wants_counter: bool,
    /// Which edges of windows it can deal with besides plain ones.
    anchored: bool,
    smoothed: bool,
}

pub(super) fn over_windows(name: &str) -> Option<OverWindows> {
    let function: WindowFunction = match name {
        "rate" => rates::rate,
        "increase" => rates::increase,
        "delta" => rates::delta,
        "irate" => instants::irate,
        "idelta" => instants::idelta,
        "changes" => changes::changes,
        "resets" => changes::resets,
        "deriv" => trend::deriv,
        "predict_linear" => trend::predict_linear,
        "double_exponential_smoothing" => trend::double_exponential,
        "stddev_over_time" => trend::stddev,
        "stdvar_over_time" => trend::stdvar,
        "quantile_over_time" => order::quantile_over_time,
        "mad_over_time" => order::mad_over_time,
        "sum_over_time" => over_time::sum,
        "avg_over_time" => over_time::avg,
        "min_over_time" => over_time::min,
        "max_over_time" => over_time::max,
        "count_over_time" => over_time::count,
        "present_over_time" | "absent_over_time" => over_time::present,
        "first_over_time" => over_time::first,
        "last_over_time" => over_time::last,
        "ts_of_first_over_time" => over_time::time_of_first,
        "ts_of_last_over_time" => over_time::time_of_last,
        "ts_of_max_over_time" => over_time::time_of_max,
        "ts_of_min_over_time" => over_time::time_of_min,
        _ => return None,
    };
    let smoothed = matches!(name, "rate" | "increase" | "delta");
    Some(OverWindows {
        function,
        keeps_name: matches!(name, "first_over_time" | "last_over_time"),
        uses_starts: matches!(name, "rate" | "irate" | "increase" | "resets"),
        wants_counter: matches!(name, "rate" | "increase"),
        anchored: smoothed || matches!(name, "changes" | "resets"),
        smoothed,
    })
}

fn wrong_args(call: &CallPlan) -> EvalError {
    EvalError::execution(format!("wrong arguments in call to function \"{}\"", call.function))
}

/// The strings among the arguments.
fn texts(call: &CallPlan) -> Vec<&str> {
    call.args
        .iter()
        .filter_map(|arg| match &arg.kind {
            PlanKind::Text(text) => Some(&**text),
            _ => None,
        })
        .collect()
}

impl<'q> Evaluator<'q> {
    pub(super) fn call(
        self,
        plan: &'q Plan,
        call: &'q CallPlan,
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Value<'q>, EvalError> {
        let scalar = |position: usize, notes: &mut Notes| match call.args.get(position) {
            Some(arg) => self.scalar(arg, frame, notes),
            None => Err(wrong_args(call)),
        };
        let both = |operation: fn(f64, f64) -> f64, notes: &mut Notes| -> Result<Value<'q>, EvalError> {
            let (left, right) = (scalar(0, notes)?, scalar(1, notes)?);
            Ok(Value::Scalar(left.iter().zip(&right).map(|(a, b)| operation(*a, *b)).collect()))
        };
        match call.function {
            "time" => Ok(Value::Scalar((0..frame.steps).map(|step| frame.time(step) as f64 / 1000.0).collect())),
            "pi" => Ok(Value::Scalar(vec![std::f64::consts::PI; frame.steps])),
            "max_of" => both(elementwise::max, notes),
            "min_of" => both(elementwise::min, notes),
            "scalar" => Ok(Value::Scalar(self.as_scalar(call, frame, notes)?)),
            "vector" => {
                let values = scalar(0, notes)?;
                self.unlabelled(values).map(Value::Vector)
            }
            _ => self.vector_call(plan, call, frame, notes).map(Value::Vector),
        }
    }

    fn unlabelled(self, values: Vec<f64>) -> Result<Vector<'q>, EvalError> {
        let series = Series { labels: Labels::empty(), drop_name: false, cells: Cells::full(values) };
        classic::vector(self.query, vec![series])
    }

    fn first_vector(self, call: &'q CallPlan, frame: Frame, notes: &mut Notes) -> Result<Vector<'q>, EvalError> {
        let arg = call.args.first().ok_or_else(|| wrong_args(call))?;
        self.vector(arg, frame, notes)
    }

    fn as_scalar(self, call: &'q CallPlan, frame: Frame, notes: &mut Notes) -> Result<Vec<f64>, EvalError> {
        let mut values = vec![f64::NAN; frame.steps];
        let (mut seen, mut twice) = (Bits::none(frame.steps), Bits::none(frame.steps));
        let vector = self.first_vector(call, frame, notes)?;
        vector.for_each(self.query, frame.steps, notes, |series, _| {
            for step in series.cells.floats.ones() {
                if seen.get(step) {
                    twice.set(step);
                }
                seen.set(step);
                values[step] = series.cells.values[step];
            }
            Ok(())
        })?;
        twice.ones().for_each(|step| values[step] = f64::NAN);
        Ok(values)
    }

    fn vector_call(
        self,
        plan: &'q Plan,
        call: &'q CallPlan,
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Vector<'q>, EvalError> {
        let name = call.function;
        if let Some(function) = over_windows(name) {
            let vector = self.windowed(call, &function, frame, notes)?;
            return if name == "absent_over_time" {
                self.absent(call, (vector, true), frame, notes)
            } else {
                Ok(vector)
            };
        }
        if call.args.is_empty() {
            let function = elementwise::date_function(name).ok_or_else(|| wrong_args(call))?;
            return self.unlabelled((0..frame.steps).map(|step| function((frame.time(step) / 1000) as f64)).collect());
        }
        if let Some(function) = elementwise::float_function(name) {
            return self.map_floats(call, frame, notes, move |_, value| Some(function(value)));
        }
        if let Some(function) = elementwise::histogram_function(name) {
            return self.map_histograms(call, frame, notes, function);
        }
        match name {
            "absent" => {
                let vector = self.first_vector(call, frame, notes)?;
                self.absent(call, (vector, false), frame, notes)
            }
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(call, frame, notes),
            "round" => {
                let nearest = match call.args.get(1) {
                    Some(arg) => self.scalar(arg, frame, notes)?,
                    None => vec![1.0; frame.steps],
                };
                self.map_floats(call, frame, notes, move |step, value| Some(elementwise::round(value, nearest[step])))
            }
            "timestamp" | "start_timestamp" => self.timestamp(call, frame, notes),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                self.histogram_call(call, frame, notes)
            }
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(plan, call, frame, notes),
            "label_replace" => {
                let ready = self.first_vector(call, frame, notes)?.ready(self.query, frame.steps, notes)?;
                relabel::label_replace(self.query, ready, &texts(call)).map(Vector::Ready)
            }
            "label_join" => {
                let ready = self.first_vector(call, frame, notes)?.ready(self.query, frame.steps, notes)?;
                relabel::label_join(self.query, ready, &texts(call)).map(Vector::Ready)
            }
            "info" => self.info(plan, call, frame, notes),
            _ => Err(EvalError::execution(format!("unexpected call of function \"{name}\""))),
        }
    }

    fn windowed(
        self,
        call: &'q CallPlan,
        over: &OverWindows,
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Vector<'q>, EvalError> {
        if let Some(vector) = self.joint_call(call, frame, notes)? {
            return Ok(vector);
        }
        let position = position_of_windows(call)?;
        let over_what = match &call.args[position].kind {
            PlanKind::Range(range) => {
                let selector = &range.selector;
                check_edges(selector.edges, over, call.function)?;
                let set = self.query.select(selector, frame, range.range, notes)?;
                let set = self.query.watched(&call.args[position], set);
                let input = Input::Set { set, stats_only: selector.stats_only, part: None };
                (input, selector.reference, range.range, selector.edges)
            }
            PlanKind::Subquery(subquery) => {
                let inner = self.subquery_frame(subquery, frame)?;
                let carry = Carry::Windows { range: subquery.range, offset: subquery.reference.offset };
                let vector = self.under(inner, carry).eval_inner(&subquery.expr, inner, notes)?.into_lazy();
                (Input::Inner { vector, frame: inner }, subquery.reference, subquery.range, Edges::Plain)
            }
            _ => return Err(wrong_args(call)),
        };
        self.windowed_over((call, over), over_what, frame, notes).map(|windowed| Vector::Lazy(Box::new(windowed)))
    }

    /// A function of a range, over samples that others read too.
    pub(super) fn windowed_over_part(
        self,
        call: &'q CallPlan,
        part: Part,
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Box<dyn Lazy + 'q>, EvalError> {
        let over = over_windows(call.function).ok_or_else(|| wrong_args(call))?;
        let PlanKind::Range(range) = &call.args[position_of_windows(call)?].kind else { return Err(wrong_args(call)) };
        let input = Input::Set { set: part.set, stats_only: false, part: Some((part.mint, part.maxt)) };
        let over_what = (input, range.selector.reference, range.range, range.selector.edges);
        Ok(Box::new(self.windowed_over((call, &over), over_what, frame, notes)?))
    }

    fn windowed_over(
        self,
        (call, over): (&'q CallPlan, &OverWindows),
        (input, reference, range, edges): (Input<'q>, Reference, i64, Edges),
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Windowed<'q>, EvalError> {
        let position = position_of_windows(call)?;
        let mut args = Vec::new();
        for (index, arg) in call.args.iter().enumerate() {
            if index != position {
                args.push(self.scalar(arg, frame, notes)?);
            }
        }
        Ok(Windowed {
            query: self.query,
            input,
            function: over.function,
            frame,
            reference,
            range,
            edges,
            lookback: self.query.options.lookback,
            args,
            span: span_of_window(&call.args[0]),
            keeps_name: over.keeps_name,
            uses_starts: over.uses_starts,
            wants_counter: over.wants_counter,
            tally: self.tally(),
        })
    }

    /// 1 at the steps at which a vector is empty, with the labels that its selector asks for.
    fn absent(
        self,
        call: &CallPlan,
        (vector, drop_name): (Vector<'q>, bool),
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Vector<'q>, EvalError> {
        let present = vector.presence(self.query, frame.steps, notes)?;
        let mut cells = Cells::full(vec![1.0; frame.steps]);
        cells.floats.and_not(&present);
        let labels = match call.args.first().map(|arg| &arg.kind) {
            Some(PlanKind::Select(selector)) => absent_labels(&selector.matchers),
            Some(PlanKind::Range(range)) => absent_labels(&range.selector.matchers),
            _ => Labels::empty(),
        };
        classic::vector(self.query, vec![Series { labels, drop_name, cells }])
    }

    /// Maps floats; histograms go. `function` gets the step.
    fn map_floats(
        self,
        call: &'q CallPlan,
        frame: Frame,
        notes: &mut Notes,
        function: impl Fn(usize, f64) -> Option<f64> + Send + Sync + 'q,
    ) -> Result<Vector<'q>, EvalError> {
        let vector = self.first_vector(call, frame, notes)?;
        vector.map_values(self.query, notes, true, move |_, cells, _| {
            cells.only_floats();
            let Cells { values, floats, .. } = cells;
            floats.retain(|step| match function(step, values[step]) {
                Some(value) => {
                    values[step] = value;
                    true
                }
                None => false,
            });
        })
    }

    fn map_histograms(
        self,
        call: &'q CallPlan,
        frame: Frame,
        notes: &mut Notes,
        function: fn(&Histogram) -> f64,
    ) -> Result<Vector<'q>, EvalError> {
        let vector = self.first_vector(call, frame, notes)?;
        vector.map_values(self.query, notes, true, move |_, cells, _| {
            let histograms = std::mem::take(&mut cells.histograms);
            cells.floats.reset(frame.steps, false);
            for (step, histogram) in histograms.iter().enumerate() {
                if let Some(histogram) = histogram {
                    cells.set_float(step, function(histogram));
                }
            }
        })
    }

    fn clamp(self, call: &'q CallPlan, frame: Frame, notes: &mut Notes) -> Result<Vector<'q>, EvalError> {
        let bound = |position: usize, notes: &mut Notes| match call.args.get(position) {
            Some(arg) => self.scalar(arg, frame, notes),
            None => Err(wrong_args(call)),
        };
        let (least, most) = match call.function {
            "clamp" => (bound(1, notes)?, bound(2, notes)?),
            "clamp_min" => (bound(1, notes)?, vec![f64::INFINITY; frame.steps]),
            _ => (vec![f64::NEG_INFINITY; frame.steps], bound(1, notes)?),
        };
        self.map_floats(call, frame, notes, move |step, value| {
            let (least, most) = (least[step], most[step]);
            let empty = most < least;
            (!empty).then(|| elementwise::max(least, elementwise::min(most, value)))
        })
    }

    fn timestamp(self, call: &'q CallPlan, frame: Frame, notes: &mut Notes) -> Result<Vector<'q>, EvalError> {
        let arg = call.args.first().ok_or_else(|| wrong_args(call))?;
        let start = call.function == "start_timestamp";
        if let PlanKind::Select(selector) = &arg.kind {
            let pick = if start { Pick::StartTime } else { Pick::Time };
            return self.select((arg, selector), frame, pick, notes);
        }
        let vector = self.vector(arg, frame, notes)?;
        vector.map_values(self.query, notes, true, move |_, cells, _| {
            cells.floats = if start { Bits::none(frame.steps) } else { cells.present() };
            cells.only_floats();
            for step in 0..frame.steps {
                cells.values[step] = frame.time(step) as f64 / 1000.0;
            }
        })
    }

    fn histogram_call(self, call: &'q CallPlan, frame: Frame, notes: &mut Notes) -> Result<Vector<'q>, EvalError> {
        let position = match call.function {
            "histogram_quantile" => 1,
            "histogram_fraction" => 2,
            _ => 0,
        };
        let arg = call.args.get(position).ok_or_else(|| wrong_args(call))?;
        let mut scalars = Vec::new();
        for (index, other) in call.args.iter().enumerate() {
            if index == position || matches!(other.kind, PlanKind::Text(_)) {
                continue;
            }
            let values = self.scalar(other, frame, notes)?;
            if call.function != "histogram_fraction" {
                for q in values.iter().filter(|q| q.is_nan() || !(0.0..=1.0).contains(*q)) {
                    notes.invalid_quantile(*q, other.span);
                }
            }
            scalars.push(values);
        }
        let vector = self.vector(arg, frame, notes)?;
        let histograms = Histograms::new(self.query, vector, (frame, arg.span), notes)?;
        let series = match (call.function, &scalars[..]) {
            ("histogram_fraction", [lower, upper]) => histograms.fractions(lower, upper, notes),
            (function, many) => {
                let label: Arc<str> = texts(call).first().copied().unwrap_or("quantile").into();
                let label = Some(&label).filter(|_| function == "histogram_quantiles");
                let (mut series, mut results) = (Vec::new(), IndexMap::new());
                for (at, quantiles) in many.iter().enumerate() {
                    histograms.quantiles(quantiles, (label, at == 0), &mut results, notes)?;
                    if frame.is_instant() {
                        // One quantile twice is one series twice. Prometheus looks for that at every step of a range, and
                        // of a single evaluation at its end.
                        series.extend(classic::as_series(std::mem::take(&mut results)));
                    }
                }
                series.extend(classic::as_series(results));
                series
            }
        };
        classic::vector(self.query, series)
    }

    fn sort(self, plan: &Plan, call: &'q CallPlan, frame: Frame, notes: &mut Notes) -> Result<Vector<'q>, EvalError> {
        let vector = self.first_vector(call, frame, notes)?;
        let by_label = call.function.starts_with("sort_by_label");
        if !frame.is_instant() {
            notes.sort_in_range(plan.span);
            return if by_label {
                Ok(vector)
            } else {
                vector.map_values(self.query, notes, false, |_, cells, _| cells.only_floats())
            };
        }
        let mut ready: Ready = vector.ready(self.query, frame.steps, notes)?;
        let descending = call.function.ends_with("_desc");
        if by_label {
            relabel::sort_by_labels(&mut ready, &texts(call), descending);
        } else {
            relabel::sort(&mut ready, descending);
        }
        Ok(Vector::Ready(ready))
    }

    fn info(self, plan: &Plan, call: &'q CallPlan, frame: Frame, notes: &mut Notes) -> Result<Vector<'q>, EvalError> {
        let arg = call.args.first().ok_or_else(|| wrong_args(call))?;
        let matchers = match call.args.get(1).map(|arg| &arg.kind) {
            Some(PlanKind::Select(selector)) => Some(&selector.matchers[..]),
            _ => None,
        };
        let base = self.vector(arg, frame, notes)?.ready(self.query, frame.steps, notes)?;
        let reference = info::reference_of(arg);
        let info = Info { query: self.query, frame, reference, matchers, span: plan.span };
        info.join(&base, notes).map(Vector::Ready)
    }
}

/// Which of the arguments are windows.
fn position_of_windows(call: &CallPlan) -> Result<usize, EvalError> {
    let windows = |arg: &Plan| matches!(arg.kind, PlanKind::Range(_) | PlanKind::Subquery(_));
    call.args.iter().position(windows).ok_or_else(|| wrong_args(call))
}

/// Where annotations about windows point to. Prometheus replaces a subquery by its results, which stand nowhere in the
/// text: it says that they begin where the query does, and users compare.
fn span_of_window(arg: &Plan) -> Span {
    let start = if matches!(arg.kind, PlanKind::Subquery(_)) { 0 } else { arg.span.start };
    Span { start, ..arg.span }
}

fn check_edges(edges: Edges, over: &OverWindows, name: &str) -> Result<(), EvalError> {
    let (fits, modifier, names) = match edges {
        Edges::Plain => return Ok(()),
        Edges::Anchored => (over.anchored, "anchored", "changes, delta, increase, rate, resets"),
        Edges::Smoothed => (over.smoothed, "smoothed", "delta, increase, rate"),
    };
    if fits {
        return Ok(());
    }
    Err(EvalError::execution(format!("{modifier} modifier can only be used with: {names} - not with {name}")))
}

/// The labels that equality matchers ask for. A label that is asked for twice, or otherwise, is left out.
fn absent_labels(matchers: &[Matcher]) -> Labels {
    let mut builder = Labels::empty().to_builder();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| *matcher.name != *METRIC_NAME) {
        if matcher.op == MatchOp::Equal && !seen.contains(&&*matcher.name) {
            builder.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            builder.remove(&matcher.name);
        }
    }
    builder.build()
}
