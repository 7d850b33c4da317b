//! The tree that is evaluated: the syntax tree with everything resolved that is fixed once the times of the query are
//! known — durations, `@ start()`, `start()` and its kin — and with the parts marked that do not change over steps.

use std::sync::Arc;

use crate::model::matcher::Matcher;
use crate::promql::ast::{
    AggregateExpr, AggregateOp, At, BinaryExpr, BinaryOp, CallExpr, DurationExpr, DurationKind, DurationNode, Edges,
    Expr, ExprKind, Span, SubqueryExpr, UnaryOp, ValueType, VectorMatching, VectorSelector,
};
use crate::promql::functions;

use super::error::EvalError;

/// A node to evaluate.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: PlanKind,
    pub(super) span: Span,
    pub(super) value: ValueType,
    /// Gives the same at every step: evaluated once.
    pub(super) invariant: bool,
}

impl Plan {
    /// The nodes right below, in the order of the text.
    pub(super) fn parts(&self) -> Vec<&Self> {
        match &self.kind {
            PlanKind::Number(_) | PlanKind::Text(_) | PlanKind::Select(_) | PlanKind::Range(_) => Vec::new(),
            PlanKind::Group(inner) | PlanKind::Negate(inner) => vec![inner],
            PlanKind::Binary(binary) => vec![&binary.left, &binary.right],
            PlanKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
            PlanKind::Call(call) => call.args.iter().collect(),
            PlanKind::Subquery(subquery) => vec![&subquery.expr],
        }
    }
}

#[derive(Debug)]
pub(super) enum PlanKind {
    Number(f64),
    Text(Arc<str>),
    /// Parentheses and unary plus.
    Group(Box<Plan>),
    Negate(Box<Plan>),
    Binary(Box<BinaryPlan>),
    Aggregate(Box<AggregatePlan>),
    Call(CallPlan),
    Select(Selector),
    Range(RangeSelector),
    Subquery(Box<SubqueryPlan>),
}

#[derive(Debug)]
pub(super) struct BinaryPlan {
    pub(super) op: BinaryOp,
    pub(super) left: Plan,
    pub(super) right: Plan,
    pub(super) return_bool: bool,
    pub(super) matching: Option<VectorMatching>,
}

#[derive(Debug)]
pub(super) struct AggregatePlan {
    pub(super) op: AggregateOp,
    pub(super) expr: Plan,
    pub(super) param: Option<Plan>,
    pub(super) grouping: Vec<Arc<str>>,
    pub(super) without: bool,
}

#[derive(Debug)]
pub(super) struct CallPlan {
    pub(super) function: &'static str,
    pub(super) args: Vec<Plan>,
}

/// At which time a selector or subquery looks, seen from an evaluation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) at: Option<i64>,
    pub(super) offset: i64,
}

impl Reference {
    /// The time to look at when evaluating at `time`.
    #[inline]
    pub(super) fn of(self, time: i64) -> i64 {
        self.at.unwrap_or(time).saturating_sub(self.offset)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Selector {
    pub(super) matchers: Vec<Matcher>,
    pub(super) reference: Reference,
    pub(super) edges: Edges,
    /// The function or aggregation around it, for the source.
    pub(super) function: &'static str,
    /// Only count and sum of native histograms are asked for.
    pub(super) stats_only: bool,
}

#[derive(Clone, Debug)]
pub(super) struct RangeSelector {
    pub(super) selector: Selector,
    pub(super) range: i64,
}

#[derive(Debug)]
pub(super) struct SubqueryPlan {
    pub(super) expr: Plan,
    pub(super) range: i64,
    /// 0 where the default applies.
    pub(super) step: i64,
    pub(super) reference: Reference,
}

/// Functions whose result depends on the evaluation time even where their arguments do not.
const TIME_DEPENDENT: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
];

/// Resolves an expression for a query from `start` to `end` by `step` (milliseconds; 0 for an instant query).
#[derive(Clone, Copy, Debug)]
pub(super) struct Planner {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

/// What lies around a node, for hints and for reading only statistics of histograms.
#[derive(Clone, Copy, Default)]
struct Around {
    function: &'static str,
    stats_only: bool,
    /// Something further out needs whole histograms.
    needs_buckets: bool,
}

impl Planner {
    pub(super) fn plan(&self, expr: &Expr) -> Result<Plan, EvalError> {
        self.node(expr, Around::default())
    }

    fn node(&self, expr: &Expr, around: Around) -> Result<Plan, EvalError> {
        let plan = |kind, value, invariant| Plan { kind, span: expr.span, value, invariant };
        Ok(match &expr.kind {
            ExprKind::Number(number) => plan(PlanKind::Number(number.value), ValueType::Scalar, true),
            ExprKind::String(text) => plan(PlanKind::Text(text.clone()), ValueType::String, true),
            ExprKind::Paren(inner) => {
                let inner = self.node(inner, around)?;
                let (value, invariant) = (inner.value, inner.invariant);
                plan(PlanKind::Group(Box::new(inner)), value, invariant)
            }
            ExprKind::Unary(op, inner) => {
                let inner = self.node(inner, around)?;
                let (value, invariant) = (inner.value, inner.invariant);
                let kind = match op {
                    UnaryOp::Plus => PlanKind::Group(Box::new(inner)),
                    UnaryOp::Minus => PlanKind::Negate(Box::new(inner)),
                };
                plan(kind, value, invariant)
            }
            ExprKind::Binary(binary) => {
                let binary = self.binary(binary, around)?;
                let scalar = binary.left.value == ValueType::Scalar && binary.right.value == ValueType::Scalar;
                let invariant = binary.left.invariant && binary.right.invariant;
                let value = if scalar { ValueType::Scalar } else { ValueType::Vector };
                plan(PlanKind::Binary(Box::new(binary)), value, invariant)
            }
            ExprKind::Aggregate(aggregate) => {
                let aggregate = self.aggregate(aggregate, around)?;
                // As in Prometheus the parameter does not count.
                let invariant = aggregate.expr.invariant;
                plan(PlanKind::Aggregate(Box::new(aggregate)), ValueType::Vector, invariant)
            }
            ExprKind::Call(call) => self.call(call, around, expr.span)?,
            ExprKind::Selector(selector) => {
                let selector = self.selector(selector, around)?;
                let invariant = selector.reference.at.is_some();
                plan(PlanKind::Select(selector), ValueType::Vector, invariant)
            }
            ExprKind::Matrix(matrix) => {
                let selector = self.selector(&matrix.selector, around)?;
                let range = self.duration(&matrix.range, false)?;
                let invariant = selector.reference.at.is_some();
                plan(PlanKind::Range(RangeSelector { selector, range }), ValueType::Matrix, invariant)
            }
            ExprKind::Subquery(subquery) => {
                let subquery = self.subquery(subquery)?;
                let invariant = subquery.reference.at.is_some();
                plan(PlanKind::Subquery(Box::new(subquery)), ValueType::Matrix, invariant)
            }
        })
    }

    fn binary(&self, binary: &BinaryExpr, around: Around) -> Result<BinaryPlan, EvalError> {
        let trims = matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        let around =
            Around { function: "", stats_only: around.stats_only, needs_buckets: around.needs_buckets || trims };
        Ok(BinaryPlan {
            op: binary.op,
            left: self.node(&binary.left, around)?,
            right: self.node(&binary.right, around)?,
            return_bool: binary.return_bool,
            matching: binary.matching.clone(),
        })
    }

    fn aggregate(&self, aggregate: &AggregateExpr, around: Around) -> Result<AggregatePlan, EvalError> {
        let mut grouping = aggregate.grouping.clone();
        grouping.sort_unstable();
        let around = Around { function: aggregate_name(aggregate.op), ..around };
        Ok(AggregatePlan {
            op: aggregate.op,
            expr: self.node(unwrap(&aggregate.expr), around)?,
            param: aggregate.param.as_ref().map(|param| self.node(unwrap(param), around)).transpose()?,
            grouping,
            without: aggregate.without,
        })
    }

    fn call(&self, call: &CallExpr, around: Around, span: Span) -> Result<Plan, EvalError> {
        let signature = functions::lookup(&call.function)
            .ok_or_else(|| EvalError::execution(format!("unknown function with name \"{}\"", call.function)))?;
        let name = signature.name;
        let seconds = |millis: i64| millis as f64 / 1000.0;
        let folded = match name {
            "start" => Some(seconds(self.start)),
            "end" => Some(seconds(self.end)),
            "range" => Some(seconds(self.end.saturating_sub(self.start))),
            "step" if self.start == self.end => Some(0.0),
            "step" => Some(seconds(self.step)),
            _ => None,
        };
        if let Some(value) = folded {
            return Ok(Plan { kind: PlanKind::Number(value), span, value: ValueType::Scalar, invariant: true });
        }
        let mut around = Around { function: name, ..around };
        match name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => around.stats_only = true,
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => around.needs_buckets = true,
            _ => {}
        }
        let args = call.args.iter().map(|arg| self.node(unwrap(arg), around)).collect::<Result<Vec<_>, _>>()?;
        let args_invariant = args.iter().all(|arg| arg.invariant);
        let only_selectors = || args.iter().all(|arg| matches!(arg.kind, PlanKind::Select(_)));
        let invariant =
            args_invariant && (!TIME_DEPENDENT.contains(&name) || (name == "timestamp" && only_selectors()));
        let kind = PlanKind::Call(CallPlan { function: name, args });
        Ok(Plan { kind, span, value: signature.returns, invariant })
    }

    fn selector(&self, selector: &VectorSelector, around: Around) -> Result<Selector, EvalError> {
        Ok(Selector {
            matchers: selector.matchers.clone(),
            reference: self.reference(selector.at, selector.offset.as_ref())?,
            edges: selector.edges,
            function: around.function,
            stats_only: around.stats_only && !around.needs_buckets,
        })
    }

    fn subquery(&self, subquery: &SubqueryExpr) -> Result<SubqueryPlan, EvalError> {
        let reference = self.reference(subquery.at, subquery.offset.as_ref())?;
        let step = subquery.step.as_ref().map(|step| self.duration(step, false)).transpose()?.unwrap_or(0);
        let range = self.duration(&subquery.range, false)?;
        // Resets can only be seen in whole histograms where samples are picked from a grid.
        let around = Around { function: "", stats_only: false, needs_buckets: true };
        Ok(SubqueryPlan { expr: self.node(&subquery.expr, around)?, range, step, reference })
    }

    fn reference(&self, at: Option<At>, offset: Option<&DurationExpr>) -> Result<Reference, EvalError> {
        let at = at.map(|at| match at {
            At::Time(time) => time,
            At::Start => self.start,
            At::End => self.end,
        });
        Ok(Reference { at, offset: offset.map_or(Ok(0), |offset| self.duration(offset, true))? })
    }

    /// Milliseconds.
    fn duration(&self, duration: &DurationExpr, may_be_negative: bool) -> Result<i64, EvalError> {
        let node = match duration {
            DurationExpr::Literal(millis) => return Ok(*millis),
            DurationExpr::Computed(node) => node,
        };
        let wrong = |text: &str| EvalError::query(format!("{}:{}: {text}", node.span.start, node.span.end));
        let seconds = self.seconds(node)?;
        if !seconds.is_finite() {
            return Err(wrong("duration is NaN or infinite"));
        }
        if seconds <= 0.0 && !may_be_negative {
            return Err(wrong("duration must be greater than 0"));
        }
        if seconds.abs() > i64::MAX as f64 / 1e9 {
            return Err(wrong("duration is out of range"));
        }
        Ok((seconds * 1000.0) as i64)
    }

    fn seconds(&self, node: &DurationNode) -> Result<f64, EvalError> {
        let wrong = |text: &str| EvalError::query(format!("{}:{}: {text}", node.span.start, node.span.end));
        Ok(match &node.kind {
            DurationKind::Number(number) => number.value,
            DurationKind::Step => self.step as f64 / 1000.0,
            DurationKind::Range => self.end.saturating_sub(self.start) as f64 / 1000.0,
            DurationKind::Paren(inner) => self.seconds(inner)?,
            DurationKind::Unary(UnaryOp::Plus, inner) => self.seconds(inner)?,
            DurationKind::Unary(UnaryOp::Minus, inner) => -self.seconds(inner)?,
            DurationKind::MinOf(left, right) => self.seconds(left)?.min(self.seconds(right)?),
            DurationKind::MaxOf(left, right) => self.seconds(left)?.max(self.seconds(right)?),
            DurationKind::Binary(op, left, right) => {
                let (left, right) = (self.seconds(left)?, self.seconds(right)?);
                match op {
                    BinaryOp::Add => left + right,
                    BinaryOp::Sub => left - right,
                    BinaryOp::Mul => left * right,
                    BinaryOp::Div if right == 0.0 => return Err(wrong("division by zero")),
                    BinaryOp::Div => left / right,
                    BinaryOp::Mod if right == 0.0 => return Err(wrong("modulo by zero")),
                    BinaryOp::Mod => left % right,
                    BinaryOp::Pow => left.powf(right),
                    _ => return Err(wrong("unexpected duration expression operator")),
                }
            }
        })
    }
}

/// Without the parentheses around it.
fn unwrap(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => unwrap(inner),
        _ => expr,
    }
}

/// The name of an aggregation in PromQL.
pub(super) fn aggregate_name(op: AggregateOp) -> &'static str {
    match op {
        AggregateOp::Sum => "sum",
        AggregateOp::Avg => "avg",
        AggregateOp::Count => "count",
        AggregateOp::Min => "min",
        AggregateOp::Max => "max",
        AggregateOp::Group => "group",
        AggregateOp::Stddev => "stddev",
        AggregateOp::Stdvar => "stdvar",
        AggregateOp::TopK => "topk",
        AggregateOp::BottomK => "bottomk",
        AggregateOp::CountValues => "count_values",
        AggregateOp::Quantile => "quantile",
        AggregateOp::LimitK => "limitk",
        AggregateOp::LimitRatio => "limit_ratio",
    }
}
