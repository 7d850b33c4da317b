//! What an expression looks at: the metrics that it names, and its data without the conditions put to it.

use std::sync::Arc;

use crate::model::labels::METRIC_NAME;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::ast::{BinaryExpr, BinaryOp, Expr, ExprKind, ValueType};

/// Functions whose result says that something is missing: what they look at may well be.
const ABSENCE: [&str; 2] = ["absent", "absent_over_time"];

/// The metrics that an expression names and expects to find, each once.
pub fn metrics(expr: &Expr) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    collect(expr, &mut names);
    names.sort_unstable();
    names.dedup();
    names
}

fn collect(expr: &Expr, names: &mut Vec<Arc<str>>) {
    let mut add = |matchers: &[Matcher]| {
        let fixed = matchers.iter().find(|matcher| &*matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal);
        names.extend(fixed.map(|matcher| Arc::from(&*matcher.value)));
    };
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Selector(selector) => add(&selector.matchers),
        ExprKind::Matrix(matrix) => add(&matrix.selector.matchers),
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => collect(inner, names),
        ExprKind::Subquery(subquery) => collect(&subquery.expr, names),
        ExprKind::Aggregate(aggregate) => {
            collect(&aggregate.expr, names);
            aggregate.param.iter().for_each(|param| collect(param, names));
        }
        ExprKind::Binary(binary) => {
            collect(&binary.left, names);
            collect(&binary.right, names);
        }
        ExprKind::Call(call) if ABSENCE.contains(&&*call.function) => {}
        ExprKind::Call(call) => call.args.iter().for_each(|arg| collect(arg, names)),
    }
}

/// The data of an expression: what it gives with every condition taken away, so that a label set that is missing in it
/// has no data. `None` where the expression is about something missing, which has no data by itself.
pub fn data(expr: &Expr) -> Option<Expr> {
    let boxed = |inner: &Expr| data(inner).map(Box::new);
    let kind = match &expr.kind {
        ExprKind::Paren(inner) => ExprKind::Paren(boxed(inner)?),
        ExprKind::Unary(op, inner) => ExprKind::Unary(*op, boxed(inner)?),
        ExprKind::Binary(binary) => return binary_data(expr, binary),
        ExprKind::Aggregate(aggregate) => {
            let mut aggregate = aggregate.clone();
            aggregate.expr = data(&aggregate.expr)?;
            ExprKind::Aggregate(aggregate)
        }
        ExprKind::Call(call) if ABSENCE.contains(&&*call.function) => return None,
        ExprKind::Call(call) => {
            let mut call = call.clone();
            call.args = call.args.iter().map(data).collect::<Option<_>>()?;
            ExprKind::Call(call)
        }
        ExprKind::Subquery(subquery) => {
            let mut subquery = subquery.clone();
            subquery.expr = data(&subquery.expr)?;
            ExprKind::Subquery(subquery)
        }
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Matrix(_) => expr.kind.clone(),
    };
    Some(Expr { kind, span: expr.span })
}

fn binary_data(expr: &Expr, binary: &BinaryExpr) -> Option<Expr> {
    let is_scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
    // What stands on the right of `and` and `unless` is a condition; the labels are those of the left.
    if matches!(binary.op, BinaryOp::And | BinaryOp::Unless) {
        return data(&binary.left);
    }
    let is_condition = binary.op.is_comparison() && !binary.return_bool;
    if is_condition && is_scalar(&binary.right) {
        return data(&binary.left);
    }
    if is_condition && is_scalar(&binary.left) {
        return data(&binary.right);
    }
    let mut binary = binary.clone();
    binary.return_bool |= is_condition;
    binary.left = data(&binary.left)?;
    binary.right = data(&binary.right)?;
    Some(Expr { kind: ExprKind::Binary(Box::new(binary)), span: expr.span })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse::parse;
    use crate::promql::print::format;

    #[track_caller]
    fn check(expr: &str, metrics_expected: &[&str], data_expected: &str) {
        let expr = parse(expr).unwrap();
        let names = metrics(&expr);
        assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), metrics_expected);
        assert_eq!(data(&expr).map_or("none".to_owned(), |expr| format(&expr)), data_expected);
    }

    #[test]
    fn data_is_the_expression_without_its_conditions() {
        check("up == 0", &["up"], "up");
        check("5 < (a / b)", &["a", "b"], "(a / b)");
        check("a > b", &["a", "b"], "a > bool b");
        check("a > 1 and on (job) b == 1", &["a", "b"], "a");
        check("a > 1 or b > 1", &["a", "b"], "a or b");
        check("count(up == 0) > 3", &["up"], "count(up)");
        check("sum by (job) (rate(a[5m])) > 2", &["a"], "sum by (job) (rate(a[5m]))");
        check("absent(up)", &[], "none");
        check("{job=\"a\"} > 1", &[], "{job=\"a\"}");
    }
}
