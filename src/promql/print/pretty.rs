//! Long expressions over several lines, as Prometheus' `format_query` breaks them.

use crate::promql::ast::{Expr, ExprKind};
use crate::promql::print::{AggregateHead, Operator, SubquerySuffix, sign};

/// An expression that is longer on one line is broken.
const MAX_LINE: usize = 100;

const INDENT: &str = "  ";

/// The text of an expression, broken and indented where it is longer than 100 characters.
pub fn pretty(expr: &Expr) -> String {
    break_lines(expr, MAX_LINE, 0)
}

/// Breaks what is longer than `width`; `level` is how far a parent that was broken indents this.
pub(super) fn break_lines(expr: &Expr, width: usize, level: usize) -> String {
    let indent = INDENT.repeat(level);
    let line = expr.to_string();
    if let ExprKind::Unary(op, inner) = &expr.kind {
        return format!("{indent}{}{}", sign(*op), break_lines(inner, width, level).trim());
    }
    if line.len() <= width {
        // Prometheus forgets to indent a subquery that fits on one line.
        return if matches!(expr.kind, ExprKind::Subquery(_)) { line } else { indent + &line };
    }
    match &expr.kind {
        ExprKind::Aggregate(aggregate) => {
            let mut text = format!("{indent}{}(\n", AggregateHead(aggregate));
            if let Some(param) = &aggregate.param {
                text.push_str(&break_lines(param, width, level + 1));
                text.push_str(",\n");
            }
            text + &break_lines(&aggregate.expr, width, level + 1) + "\n" + &indent + ")"
        }
        ExprKind::Binary(binary) => {
            let [left, right] = [&binary.left, &binary.right].map(|side| break_lines(side, width, level + 1));
            format!("{left}\n{indent}{}\n{right}", Operator(binary))
        }
        ExprKind::Call(call) => {
            let args: Vec<String> = call.args.iter().map(|arg| break_lines(arg, width, level + 1)).collect();
            format!("{indent}{}(\n{}\n{indent})", call.function, args.join(",\n"))
        }
        ExprKind::Paren(inner) => format!("{indent}(\n{}\n{indent})", break_lines(inner, width, level + 1)),
        ExprKind::Subquery(subquery) => {
            format!("{}{}", break_lines(&subquery.expr, width, level), SubquerySuffix(subquery))
        }
        _ => indent + &line,
    }
}
