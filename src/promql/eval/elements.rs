//! Binary operators on two samples, and on two columns of them.

use std::sync::Arc;

use crate::model::histogram::trim::Keep;
use crate::model::histogram::{Histogram, ResetHint};
use crate::promql::ast::BinaryOp;

use super::cells::{Bits, Cells};
use super::notes::Operation;

/// The operator in PromQL.
pub(super) fn symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::Mod => "%",
        BinaryOp::Pow => "^",
        BinaryOp::Atan2 => "atan2",
        BinaryOp::Equal => "==",
        BinaryOp::NotEqual => "!=",
        BinaryOp::Greater => ">",
        BinaryOp::Less => "<",
        BinaryOp::GreaterEqual => ">=",
        BinaryOp::LessEqual => "<=",
        BinaryOp::TrimUpper => "</",
        BinaryOp::TrimLower => ">/",
        BinaryOp::And => "and",
        BinaryOp::Or => "or",
        BinaryOp::Unless => "unless",
    }
}

pub(super) fn is_comparison(op: BinaryOp) -> bool {
    use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
    matches!(op, Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual)
}

/// Whether the result is another quantity than the operands, so that it cannot keep their name.
pub(super) fn changes_quantity(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
    matches!(op, Add | Sub | Mul | Div | Mod | Pow | Atan2)
}

/// Calls `run` with the arithmetic function of an operator, so that its loop is compiled for it alone.
macro_rules! with_arithmetic {
    ($op:expr, $run:expr, $other:expr) => {
        match $op {
            BinaryOp::Add => $run(|a: f64, b: f64| a + b),
            BinaryOp::Sub => $run(|a: f64, b: f64| a - b),
            BinaryOp::Mul => $run(|a: f64, b: f64| a * b),
            BinaryOp::Div => $run(|a: f64, b: f64| a / b),
            BinaryOp::Mod => $run(|a: f64, b: f64| a % b),
            BinaryOp::Pow => $run(f64::powf),
            BinaryOp::Atan2 => $run(f64::atan2),
            _ => $other,
        }
    };
}

fn compares(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Greater => left > right,
        BinaryOp::Less => left < right,
        BinaryOp::GreaterEqual => left >= right,
        _ => left <= right,
    }
}

/// An operator between scalars; comparisons give 0 or 1.
pub(super) fn scalars(op: BinaryOp, left: &[f64], right: &[f64]) -> Vec<f64> {
    let run = |operation: fn(f64, f64) -> f64| left.iter().zip(right).map(|(a, b)| operation(*a, *b)).collect();
    with_arithmetic!(op, run, left.iter().zip(right).map(|(a, b)| f64::from(u8::from(compares(op, *a, *b)))).collect())
}

/// Why an operator gave nothing, or what is to be told about what it gave.
#[derive(Clone, Copy, Debug)]
pub(super) enum Remark {
    /// Kinds of samples for which the operator is not defined.
    Types(&'static str, &'static str),
    /// Exponential and custom buckets.
    Buckets,
    Collision(Operation),
    /// The operator gave a result nevertheless.
    Reconciled(Operation),
}

/// One of the two sides of an operator at a step.
#[derive(Clone, Copy)]
enum Operand<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

impl Operand<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Float(_) => "float",
            Self::Histogram(_) => "histogram",
        }
    }
}

fn operand(cells: &Cells, step: usize) -> Option<Operand<'_>> {
    match cells.histogram(step) {
        Some(histogram) => Some(Operand::Histogram(histogram)),
        None => cells.floats.get(step).then(|| Operand::Float(cells.values[step])),
    }
}

/// What an operator did with two columns.
pub(super) struct Combination {
    /// The results; of comparisons those that hold, with the value of the left side, or 0 and 1 if asked for.
    pub(super) cells: Cells,
    /// The steps at which both sides were there and fit each other.
    pub(super) matched: Bits,
    pub(super) remarks: Vec<(usize, Remark)>,
}

/// Applies an operator, step by step, at the steps that are in both columns.
pub(super) fn columns(op: BinaryOp, return_bool: bool, left: &Cells, right: &Cells) -> Combination {
    let mut matched = left.floats.clone();
    matched.and(&right.floats);
    let mut cells = floats(op, return_bool, left, right, &matched);
    let mut remarks = Vec::new();
    if matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
        remarks.extend(matched.ones().map(|step| (step, Remark::Types("float", "float"))));
        matched = Bits::none(left.steps());
        cells.floats = matched.clone();
    }
    if left.has_histograms() || right.has_histograms() {
        for step in 0..left.steps() {
            let (Some(a), Some(b)) = (operand(left, step), operand(right, step)) else { continue };
            if matches!((a, b), (Operand::Float(_), Operand::Float(_))) {
                continue;
            }
            let (result, remark) = histograms(op, a, b);
            remarks.extend(remark.map(|remark| (step, remark)));
            match result {
                Some(Outcome::Value(histogram)) => {
                    matched.set(step);
                    if return_bool {
                        cells.set_float(step, 1.0);
                    } else {
                        cells.set_histogram(step, histogram);
                    }
                }
                Some(Outcome::Fails) => {
                    matched.set(step);
                    if return_bool {
                        cells.set_float(step, 0.0);
                    }
                }
                None => {}
            }
        }
    }
    Combination { cells, matched, remarks }
}

fn floats(op: BinaryOp, return_bool: bool, left: &Cells, right: &Cells, both: &Bits) -> Cells {
    let run = |operation: fn(f64, f64) -> f64| apply(&left.values, &right.values, operation);
    if !is_comparison(op) {
        let values = with_fast_arithmetic(op, &left.values, &right.values)
            .unwrap_or_else(|| with_arithmetic!(op, run, left.values.clone()));
        return Cells { values, floats: both.clone(), histograms: Vec::new() };
    }
    let holds = |step: usize| compares(op, left.values[step], right.values[step]);
    if return_bool {
        let values = (0..left.steps()).map(|step| f64::from(u8::from(holds(step)))).collect();
        return Cells { values, floats: both.clone(), histograms: Vec::new() };
    }
    let mut floats = both.clone();
    floats.retain(holds);
    Cells { values: left.values.clone(), floats, histograms: Vec::new() }
}

fn apply(left: &[f64], right: &[f64], operation: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    left.iter().zip(right).map(|(a, b)| operation(*a, *b)).collect()
}

/// The four operations that compile to wide instructions when they are not called through a pointer.
fn with_fast_arithmetic(op: BinaryOp, left: &[f64], right: &[f64]) -> Option<Vec<f64>> {
    Some(match op {
        BinaryOp::Add => apply(left, right, |a, b| a + b),
        BinaryOp::Sub => apply(left, right, |a, b| a - b),
        BinaryOp::Mul => apply(left, right, |a, b| a * b),
        BinaryOp::Div => apply(left, right, |a, b| a / b),
        _ => return None,
    })
}

enum Outcome {
    Value(Arc<Histogram>),
    /// A comparison that does not hold.
    Fails,
}

fn histograms(op: BinaryOp, left: Operand<'_>, right: Operand<'_>) -> (Option<Outcome>, Option<Remark>) {
    let changed = |histogram: &Arc<Histogram>, change: &dyn Fn(&mut Histogram)| {
        let mut histogram = Histogram::clone(histogram);
        change(&mut histogram);
        (Some(Outcome::Value(Arc::new(histogram))), None)
    };
    let scaled = |histogram: &Arc<Histogram>, factor: f64| {
        changed(histogram, &|histogram| {
            histogram.scale(factor);
            histogram.compact();
        })
    };
    match (op, left, right) {
        (BinaryOp::Mul, Operand::Histogram(histogram), Operand::Float(factor))
        | (BinaryOp::Mul, Operand::Float(factor), Operand::Histogram(histogram)) => scaled(histogram, factor),
        (BinaryOp::Div, Operand::Histogram(histogram), Operand::Float(divisor)) => changed(histogram, &|histogram| {
            histogram.divide(divisor);
            histogram.compact();
        }),
        (BinaryOp::TrimUpper, Operand::Histogram(histogram), Operand::Float(value)) => {
            changed(histogram, &|histogram| histogram.trim(value, Keep::Below))
        }
        (BinaryOp::TrimLower, Operand::Histogram(histogram), Operand::Float(value)) => {
            changed(histogram, &|histogram| histogram.trim(value, Keep::Above))
        }
        (BinaryOp::Add | BinaryOp::Sub, Operand::Histogram(left), Operand::Histogram(right)) => {
            sum(op == BinaryOp::Sub, left, right)
        }
        (BinaryOp::Equal | BinaryOp::NotEqual, Operand::Histogram(left), Operand::Histogram(right)) => {
            let holds = left.same_data(right) == (op == BinaryOp::Equal);
            (Some(if holds { Outcome::Value(left.clone()) } else { Outcome::Fails }), None)
        }
        _ => (None, Some(Remark::Types(left.kind(), right.kind()))),
    }
}

fn sum(negative: bool, left: &Arc<Histogram>, right: &Histogram) -> (Option<Outcome>, Option<Remark>) {
    let mut result = Histogram::clone(left);
    let (combined, operation) =
        if negative { (result.sub(right), Operation::Subtraction) } else { (result.add(right), Operation::Addition) };
    let Ok(combined) = combined else { return (None, Some(Remark::Buckets)) };
    if combined.hint_collision {
        return (None, Some(Remark::Collision(operation)));
    }
    if negative {
        result.reset_hint = ResetHint::Gauge;
    }
    result.compact();
    let remark = combined.bounds_reconciled.then_some(Remark::Reconciled(operation));
    (Some(Outcome::Value(Arc::new(result))), remark)
}
