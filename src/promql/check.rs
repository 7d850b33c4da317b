//! Types, arities and rules that syntax alone does not express.
//!
//! Also settles what depends on types: set operators match many to many, and where a side is a scalar there is no
//! matching.

use crate::model::labels::METRIC_NAME;
use crate::promql::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, CallExpr, Cardinality, Expr, ExprKind, Span, ValueType, VectorSelector,
};
use crate::promql::functions::Variadic;
use crate::promql::parse::ParseError;
use crate::promql::quote::quote_str;

/// Checks the tree of `query` and gives the type of the whole, or the first error.
pub(crate) fn check(expr: &mut Expr, query: &str) -> Result<ValueType, ParseError> {
    Checker { query }.expr(expr)
}

struct Checker<'a> {
    query: &'a str,
}

impl Checker<'_> {
    fn fail<T>(&self, span: Span, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.query, span, message))
    }

    fn expr(&self, expr: &mut Expr) -> Result<ValueType, ParseError> {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Paren(inner) => return self.expr(inner),
            ExprKind::Unary(_, inner) => {
                let kind = self.expr(inner)?;
                if kind != ValueType::Scalar && kind != ValueType::Vector {
                    let message = format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got \"{}\"",
                        kind.documented()
                    );
                    return self.fail(span, message);
                }
                return Ok(kind);
            }
            ExprKind::Binary(binary) => return self.binary(binary, span),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate)?,
            ExprKind::Call(call) => return self.call(call, span),
            ExprKind::Selector(selector) => self.selector(selector, span, true)?,
            ExprKind::Matrix(matrix) => self.selector(&matrix.selector, matrix.selector_span, true)?,
            ExprKind::Subquery(subquery) => {
                let kind = self.expr(&mut subquery.expr)?;
                if kind != ValueType::Vector {
                    let got = kind.name();
                    return self.fail(span, format!("subquery is only allowed on instant vector, got {got} instead"));
                }
            }
        }
        Ok(expr.value_type())
    }

    fn expect(&self, expr: &mut Expr, want: ValueType, context: &str) -> Result<(), ParseError> {
        let got = self.expr(expr)?;
        if got == want {
            return Ok(());
        }
        let (want, got) = (want.documented(), got.documented());
        self.fail(expr.span, format!("expected type {want} in {context}, got {got}"))
    }

    fn aggregate(&self, aggregate: &mut AggregateExpr) -> Result<(), ParseError> {
        self.expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression")?;
        let want = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
        match &mut aggregate.param {
            Some(param) => self.expect(param, want, "aggregation parameter"),
            None => Ok(()),
        }
    }

    fn binary(&self, binary: &mut BinaryExpr, span: Span) -> Result<ValueType, ParseError> {
        let left = self.expr(&mut binary.left)?;
        let right = self.expr(&mut binary.right)?;
        let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
        let op = binary.op;
        if binary.return_bool && !op.is_comparison() {
            return self.fail(binary.op_span, "bool modifier can only be used on comparison operators");
        }
        if op.is_comparison() && !binary.return_bool && scalars {
            return self.fail(binary.op_span, "comparisons between scalars must use BOOL modifier");
        }
        self.matching_labels(binary)?;
        for (kind, side) in [(left, &binary.left), (right, &binary.right)] {
            if kind != ValueType::Scalar && kind != ValueType::Vector {
                let message = "binary expression must contain only scalar and instant vector types";
                return self.fail(side.span, message);
            }
        }
        if left == ValueType::Vector && right == ValueType::Vector {
            self.set_operator(binary, span)?;
            return Ok(ValueType::Vector);
        }
        if let Some(matching) = binary.matching.take() {
            if !matching.labels.is_empty() {
                return self.fail(span, "vector matching only allowed between instant vectors");
            }
            if matching.fill_left.is_some() || matching.fill_right.is_some() {
                return self.fail(span, "filling in missing series only allowed between instant vectors");
            }
        }
        if op.is_set() {
            let symbol = op.symbol();
            return self.fail(span, format!("set operator \"{symbol}\" not allowed in binary scalar expression"));
        }
        Ok(if scalars { ValueType::Scalar } else { ValueType::Vector })
    }

    fn matching_labels(&self, binary: &BinaryExpr) -> Result<(), ParseError> {
        let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on) else {
            return Ok(());
        };
        match matching.labels.iter().find(|label| matching.include.contains(label)) {
            Some(label) => {
                let message = format!("label {} must not occur in ON and GROUP clause at once", quote_str(label));
                self.fail(binary.op_span, message)
            }
            None => Ok(()),
        }
    }

    fn set_operator(&self, binary: &mut BinaryExpr, span: Span) -> Result<(), ParseError> {
        let op = binary.op;
        let Some(matching) = binary.matching.as_mut().filter(|_| op.is_set()) else {
            return Ok(());
        };
        if matching.cardinality != Cardinality::OneToOne {
            return self.fail(span, format!("no grouping allowed for \"{}\" operation", op.symbol()));
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return self.fail(span, "filling in missing series not allowed for set operators");
        }
        matching.cardinality = Cardinality::ManyToMany;
        Ok(())
    }

    fn call(&self, call: &mut CallExpr, span: Span) -> Result<ValueType, ParseError> {
        let signature = call.signature;
        let name = signature.name;
        let (wanted, got) = (signature.args.len(), call.args.len());
        let least = wanted.saturating_sub(1);
        let count_fault = match signature.variadic {
            Variadic::Exact if got != wanted => Some(format!("expected {wanted}")),
            Variadic::UpTo(_) | Variadic::Any if got < least => Some(format!("expected at least {least}")),
            Variadic::UpTo(more) if got > least + usize::from(more) => {
                Some(format!("expected at most {}", least + usize::from(more)))
            }
            _ => None,
        };
        if let Some(expected) = count_fault {
            return self.fail(span, format!("{expected} argument(s) in call to \"{name}\", got {got}"));
        }
        if name == "info"
            && let Some(data) = call.args.get(1)
        {
            self.info_selector(data, span)?;
        }
        for (index, arg) in call.args.iter_mut().enumerate() {
            let want = signature.args.get(index).or(signature.args.last()).copied().unwrap_or(ValueType::None);
            if name == "info" && index == 1 && matches!(arg.kind, ExprKind::Selector(_)) {
                continue;
            }
            self.expect(arg, want, &format!("call to function \"{name}\""))?;
        }
        Ok(signature.returns)
    }

    /// The second argument of `info` selects labels, so it needs no name and may match everything.
    fn info_selector(&self, data: &Expr, span: Span) -> Result<(), ParseError> {
        let kind = data.value_type();
        if kind != ValueType::Vector {
            let got = kind.documented();
            return self.fail(span, format!("expected type instant vector in call to function \"info\", got {got}"));
        }
        match &data.kind {
            ExprKind::Selector(selector) if selector.name.is_empty() => self.selector(selector, data.span, false),
            ExprKind::Selector(_) => self.fail(data.span, "expected label selectors only, got vector selector instead"),
            _ => self.fail(data.span, "expected label selectors only"),
        }
    }

    fn selector(&self, selector: &VectorSelector, span: Span, needs_matcher: bool) -> Result<(), ParseError> {
        if !selector.name.is_empty() {
            let others = selector.matchers.split_last().map(|(_, others)| others).unwrap_or_default();
            return match others.iter().find(|matcher| &*matcher.name == METRIC_NAME) {
                Some(matcher) => {
                    let (first, second) = (quote_str(&selector.name), quote_str(&matcher.value));
                    self.fail(span, format!("metric name must not be set twice: {first} or {second}"))
                }
                None => Ok(()),
            };
        }
        // Without this a typo would select all there is.
        if needs_matcher && selector.matchers.iter().all(|matcher| matcher.matches("")) {
            return self.fail(span, "vector selector must contain at least one non-empty matcher");
        }
        Ok(())
    }
}
