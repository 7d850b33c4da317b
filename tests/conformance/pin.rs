//! Pins every selector of a query to one time.

use novascope::promql::ast::{At, Expr, ExprKind, VectorSelector};

/// Functions whose result depends on the evaluation time even if their arguments do not.
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

/// Adds `@ time` to selectors and subqueries that have none, outermost first: what is inside a pinned subquery stays.
/// False if the result may depend on the evaluation time nevertheless.
pub(crate) fn pin(expr: &mut Expr, time: i64) -> bool {
    let fix = |selector: &mut VectorSelector| {
        selector.at.get_or_insert(At::Time(time));
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => pin(inner, time),
        ExprKind::Binary(binary) => {
            let left = pin(&mut binary.left, time);
            pin(&mut binary.right, time) && left
        }
        ExprKind::Aggregate(aggregate) => {
            let param = aggregate.param.as_mut().is_none_or(|param| pin(param, time));
            pin(&mut aggregate.expr, time) && param
        }
        ExprKind::Call(call) => {
            let mut fixed = !TIME_DEPENDENT.contains(&&*call.function);
            for arg in &mut call.args {
                fixed &= pin(arg, time);
            }
            fixed
        }
        ExprKind::Selector(selector) => {
            fix(selector);
            true
        }
        ExprKind::Matrix(matrix) => {
            fix(&mut matrix.selector);
            true
        }
        ExprKind::Subquery(subquery) => {
            subquery.at.get_or_insert(At::Time(time));
            fixed_inside(&subquery.expr)
        }
    }
}

/// Whether nothing inside a pinned subquery depends on the evaluation time.
fn fixed_inside(expr: &Expr) -> bool {
    let mut copy = expr.clone();
    pin(&mut copy, 0)
}
