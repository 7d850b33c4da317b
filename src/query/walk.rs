//! What a query reads, seen from its syntax tree.

use crate::promql::ast::{Expr, ExprKind, VectorSelector};

/// Every selector of a query, in the order of the text.
pub fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    let mut found = Vec::new();
    // A stack instead of recursion: the depth of a query is the sender's choice.
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => open.push(inner),
            ExprKind::Binary(binary) => open.extend([&binary.right, &binary.left]),
            ExprKind::Aggregate(aggregate) => {
                open.push(&aggregate.expr);
                open.extend(&aggregate.param);
            }
            ExprKind::Call(call) => open.extend(call.args.iter().rev()),
            ExprKind::Selector(selector) => found.push(selector),
            ExprKind::Matrix(matrix) => found.push(&matrix.selector),
            ExprKind::Subquery(subquery) => open.push(&subquery.expr),
        }
    }
    found
}

/// Whether a query reads any series.
pub fn has_selector(expr: &Expr) -> bool {
    !selectors(expr).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse::parse;

    #[test]
    fn selectors_are_found_wherever_they_stand() {
        let names = |query: &str| {
            let expr = parse(query).unwrap();
            selectors(&expr).iter().map(|selector| selector.name.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("topk(scalar(k), a) / rate(b[5m]) + -(max_over_time(c[1h:1m]))"), "k a b c");
        assert_eq!(names("1 + vector(time())"), "");
    }
}
