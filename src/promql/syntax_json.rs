//! The tree as JSON, as `/api/v1/parse_query` of Prometheus gives it to its own front end and to Grafana.
//!
//! Keys stand in alphabetical order, as Go writes maps.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::matcher::Matcher;
use crate::promql::ast::{
    AggregateExpr, At, BinaryExpr, CallExpr, Cardinality, DurationExpr, DurationKind, DurationNode, Edges, Expr,
    ExprKind, SubqueryExpr, UnaryOp, VectorSelector,
};
use crate::promql::print::plain_number;

/// The tree of an expression.
pub fn to_json(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(number) => json!({ "type": "numberLiteral", "val": plain_number(number.value) }),
        ExprKind::String(text) => json!({ "type": "stringLiteral", "val": text }),
        ExprKind::Paren(inner) => json!({ "expr": to_json(inner), "type": "parenExpr" }),
        ExprKind::Unary(op, inner) => json!({ "expr": to_json(inner), "op": sign(*op), "type": "unaryExpr" }),
        ExprKind::Binary(binary) => binary_json(binary),
        ExprKind::Aggregate(aggregate) => aggregate_json(aggregate),
        ExprKind::Call(call) => call_json(call),
        ExprKind::Selector(selector) => selector_json(selector, None),
        ExprKind::Matrix(matrix) => selector_json(&matrix.selector, Some(&matrix.range)),
        ExprKind::Subquery(subquery) => subquery_json(subquery),
    }
}

fn sign(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Plus => "+",
        UnaryOp::Minus => "-",
    }
}

fn names(names: &[Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

fn aggregate_json(aggregate: &AggregateExpr) -> Value {
    json!({
        "expr": to_json(&aggregate.expr),
        "grouping": names(&aggregate.grouping),
        "op": aggregate.op.name(),
        "param": aggregate.param.as_ref().map(to_json),
        "type": "aggregation",
        "without": aggregate.without,
    })
}

fn binary_json(binary: &BinaryExpr) -> Value {
    let matching = binary.matching.as_ref().map(|matching| {
        let card = match matching.cardinality {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        };
        json!({
            "card": card,
            "fillValues": { "lhs": matching.fill_left, "rhs": matching.fill_right },
            "include": names(&matching.include),
            "labels": names(&matching.labels),
            "on": matching.on,
        })
    });
    json!({
        "bool": binary.return_bool,
        "lhs": to_json(&binary.left),
        "matching": matching,
        "op": binary.op.symbol(),
        "rhs": to_json(&binary.right),
        "type": "binaryExpr",
    })
}

fn call_json(call: &CallExpr) -> Value {
    let signature = call.signature;
    json!({
        "args": call.args.iter().map(to_json).collect::<Vec<_>>(),
        "func": {
            "argTypes": signature.args.iter().map(|arg| arg.name()).collect::<Vec<_>>(),
            "name": signature.name,
            "returnType": signature.returns.name(),
            "variadic": signature.variadic.number(),
        },
        "type": "call",
    })
}

fn selector_json(selector: &VectorSelector, range: Option<&DurationExpr>) -> Value {
    let (start_or_end, timestamp) = at_json(selector.at);
    let (offset, offset_expr) = duration_json(selector.offset.as_ref());
    let mut object = json!({
        "anchored": selector.edges == Edges::Anchored,
        "matchers": selector.matchers.iter().map(matcher_json).collect::<Vec<_>>(),
        "name": selector.name,
        "offset": offset,
        "offsetExpr": offset_expr,
    });
    if range.is_some() {
        let (range, range_expr) = duration_json(range);
        object["range"] = range;
        object["rangeExpr"] = range_expr;
    }
    object["smoothed"] = json!(selector.edges == Edges::Smoothed);
    object["startOrEnd"] = start_or_end;
    object["timestamp"] = timestamp;
    object["type"] = json!(if range.is_some() { "matrixSelector" } else { "vectorSelector" });
    object
}

fn subquery_json(subquery: &SubqueryExpr) -> Value {
    let (start_or_end, timestamp) = at_json(subquery.at);
    let (offset, offset_expr) = duration_json(subquery.offset.as_ref());
    let (range, range_expr) = duration_json(Some(&subquery.range));
    let (step, step_expr) = duration_json(subquery.step.as_ref());
    json!({
        "expr": to_json(&subquery.expr),
        "offset": offset,
        "offsetExpr": offset_expr,
        "range": range,
        "rangeExpr": range_expr,
        "startOrEnd": start_or_end,
        "step": step,
        "stepExpr": step_expr,
        "timestamp": timestamp,
        "type": "subquery",
    })
}

fn matcher_json(matcher: &Matcher) -> Value {
    json!({ "name": matcher.name, "type": matcher.op.symbol(), "value": matcher.value })
}

/// `startOrEnd` and `timestamp`.
fn at_json(at: Option<At>) -> (Value, Value) {
    match at {
        Some(At::Time(millis)) => (Value::Null, json!(millis)),
        Some(At::Start) => (json!("start"), Value::Null),
        Some(At::End) => (json!("end"), Value::Null),
        None => (Value::Null, Value::Null),
    }
}

/// Milliseconds, and the expression where they are not known yet.
fn duration_json(duration: Option<&DurationExpr>) -> (Value, Value) {
    match duration {
        Some(DurationExpr::Literal(millis)) => (json!(millis), Value::Null),
        Some(DurationExpr::Computed(node)) => (json!(0), node_json(node, false)),
        None => (json!(0), Value::Null),
    }
}

fn node_json(node: &DurationNode, wrapped: bool) -> Value {
    let operation = |op: &str, lhs: Value, rhs: Value| json!({ "lhs": lhs, "op": op, "rhs": rhs, "type": "durationExpr", "wrapped": wrapped });
    let inner = |node: &DurationNode| node_json(node, false);
    match &node.kind {
        // Parentheses around a number are told by a plus before it.
        DurationKind::Number(_) if wrapped => operation("+", Value::Null, inner(node)),
        DurationKind::Number(number) => {
            json!({ "duration": number.is_duration, "type": "numberLiteral", "val": plain_number(number.value) })
        }
        DurationKind::Step => operation("step", Value::Null, Value::Null),
        DurationKind::Range => operation("range", Value::Null, Value::Null),
        DurationKind::Unary(op, operand) => operation(sign(*op), Value::Null, inner(operand)),
        DurationKind::Binary(op, left, right) => operation(op.symbol(), inner(left), inner(right)),
        DurationKind::MinOf(left, right) => operation("min_of", inner(left), inner(right)),
        DurationKind::MaxOf(left, right) => operation("max_of", inner(left), inner(right)),
        DurationKind::Paren(operand) => node_json(operand, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse::parse;

    #[track_caller]
    fn check(query: &str, expect: &expect_test::Expect) {
        expect.assert_eq(&to_json(&parse(query).unwrap()).to_string());
    }

    #[test]
    fn selectors() {
        check(
            "a{b!='c'}[(5m)] @ 1.5 offset -1h",
            &expect_test::expect![[
                r#"{"anchored":false,"matchers":[{"name":"b","type":"!=","value":"c"},{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":-3600000,"offsetExpr":null,"range":0,"rangeExpr":{"lhs":null,"op":"+","rhs":{"duration":true,"type":"numberLiteral","val":"300"},"type":"durationExpr","wrapped":true},"smoothed":false,"startOrEnd":null,"timestamp":1500,"type":"matrixSelector"}"#
            ]],
        );
        check(
            "a[5m:-step() + 1] @ end()",
            &expect_test::expect![[
                r#"{"expr":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"offsetExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"offset":0,"offsetExpr":null,"range":300000,"rangeExpr":null,"startOrEnd":"end","step":0,"stepExpr":{"lhs":{"lhs":null,"op":"-","rhs":{"lhs":null,"op":"step","rhs":null,"type":"durationExpr","wrapped":false},"type":"durationExpr","wrapped":false},"op":"+","rhs":{"duration":false,"type":"numberLiteral","val":"1"},"type":"durationExpr","wrapped":false},"timestamp":null,"type":"subquery"}"#
            ]],
        );
    }

    #[test]
    fn operators_and_calls() {
        check(
            "-(1 + time())",
            &expect_test::expect![[
                r#"{"expr":{"expr":{"bool":false,"lhs":{"type":"numberLiteral","val":"1"},"matching":null,"op":"+","rhs":{"args":[],"func":{"argTypes":[],"name":"time","returnType":"scalar","variadic":0},"type":"call"},"type":"binaryExpr"},"type":"parenExpr"},"op":"-","type":"unaryExpr"}"#
            ]],
        );
        let tree = to_json(&parse("topk by (x) (2, a == bool on (y) group_left (z) fill_right(0) round(b))").unwrap());
        assert_eq!(tree["param"]["val"], "2");
        assert_eq!(tree["grouping"], json!(["x"]));
        assert_eq!(
            tree["expr"]["matching"],
            json!({"card": "many-to-one", "fillValues": {"lhs": null, "rhs": 0.0}, "include": ["z"], "labels": ["y"], "on": true})
        );
        assert_eq!(tree["expr"]["rhs"]["func"]["argTypes"], json!(["vector", "scalar"]));
    }
}
