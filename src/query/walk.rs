//! What a query reads, seen from its syntax tree.

use crate::promql::ast::{Expr, ExprKind, VectorSelector};

/// Every node of a query, parents first, in the order of the text.
pub fn nodes(expr: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    // A stack instead of recursion: the depth of a query is the sender's choice.
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        found.push(expr);
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Matrix(_) => {}
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => open.push(inner),
            ExprKind::Binary(binary) => open.extend([&binary.right, &binary.left]),
            ExprKind::Aggregate(aggregate) => {
                open.push(&aggregate.expr);
                open.extend(&aggregate.param);
            }
            ExprKind::Call(call) => open.extend(call.args.iter().rev()),
            ExprKind::Subquery(subquery) => open.push(&subquery.expr),
        }
    }
    found
}

/// Every selector of a query, in the order of the text.
pub fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    nodes(expr)
        .into_iter()
        .filter_map(|node| match &node.kind {
            ExprKind::Selector(selector) => Some(selector),
            ExprKind::Matrix(matrix) => Some(&matrix.selector),
            _ => None,
        })
        .collect()
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
