//! Trees back to text: on one line ([`format`]), or broken over lines where long ([`pretty`]).
//!
//! Both write what Prometheus writes, character for character, and what they write parses to the same tree.

mod pretty;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use crate::model::labels::{METRIC_NAME, is_classic_label_name};
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::ast::{
    AggregateExpr, At, BinaryExpr, Cardinality, DurationExpr, DurationKind, DurationNode, Edges, Expr, ExprKind,
    MatrixSelector, NumberLiteral, SubqueryExpr, UnaryOp, VectorMatching, VectorSelector,
};
use crate::promql::duration;
pub use crate::promql::print::pretty::pretty;
use crate::promql::quote::quote_str;

/// The canonical text of an expression, on one line.
pub fn format(expr: &Expr) -> String {
    expr.to_string()
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::String(text) => f.write_str(&quote_str(text)),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Unary(op, inner) => write!(f, "{}{inner}", sign(*op)),
            ExprKind::Binary(binary) => write!(f, "{} {} {}", binary.left, Operator(binary), binary.right),
            ExprKind::Aggregate(aggregate) => {
                write!(f, "{}(", AggregateHead(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function)?;
                for (index, arg) in call.args.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    arg.fmt(f)?;
                }
                f.write_str(")")
            }
            ExprKind::Selector(selector) => selector.fmt(f),
            ExprKind::Matrix(matrix) => matrix.fmt(f),
            ExprKind::Subquery(subquery) => write!(f, "{}{}", subquery.expr, SubquerySuffix(subquery)),
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.is_duration {
            return f.write_str(&plain_number(self.value));
        }
        // Whole nanoseconds first, as Prometheus counts.
        #[expect(clippy::cast_possible_truncation, reason = "literals are below 300 years")]
        let millis = (self.value.abs() * 1e9) as i64 / 1_000_000;
        write!(f, "{}{}", if self.value < 0.0 { "-" } else { "" }, duration::format(millis))
    }
}

/// A number in full, without exponent, in the fewest digits that give it back.
pub(crate) fn plain_number(value: f64) -> String {
    if value == f64::INFINITY {
        return "+Inf".to_owned();
    }
    if value == f64::NEG_INFINITY {
        return "-Inf".to_owned();
    }
    value.to_string()
}

fn sign(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Plus => "+",
        UnaryOp::Minus => "-",
    }
}

/// The aggregation without its arguments: `sum by (a) `.
struct AggregateHead<'a>(&'a AggregateExpr);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.name())?;
        match (self.0.without, self.0.grouping.is_empty()) {
            (true, _) => write!(f, " without ({}) ", Names(&self.0.grouping)),
            (false, false) => write!(f, " by ({}) ", Names(&self.0.grouping)),
            (false, true) => Ok(()),
        }
    }
}

/// Label names in a grouping.
struct Names<'a>(&'a [Arc<str>]);

impl Display for Names<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            if is_classic_label_name(name) {
                f.write_str(name)?;
            } else {
                f.write_str(&quote_str(name))?;
            }
        }
        Ok(())
    }
}

/// A binary operator with its modifiers: `== bool on (a) group_left (b)`.
struct Operator<'a>(&'a BinaryExpr);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.symbol())?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        match &self.0.matching {
            Some(matching) => fmt_matching(matching, f),
            None => Ok(()),
        }
    }
}

fn fmt_matching(matching: &VectorMatching, f: &mut Formatter<'_>) -> fmt::Result {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if !matching.labels.is_empty() || matching.on || group.is_some() {
        write!(f, " {} ({})", if matching.on { "on" } else { "ignoring" }, Names(&matching.labels))?;
    }
    if let Some(group) = group {
        write!(f, " {group} ({})", Names(&matching.include))?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => return write!(f, " fill ({})", short_number(left)),
        (left, right) => {
            if let Some(left) = left {
                write!(f, " fill_left ({})", short_number(left))?;
            }
            if let Some(right) = right {
                write!(f, " fill_right ({})", short_number(right))?;
            }
        }
    }
    Ok(())
}

/// As Go's `%v` writes a float: with an exponent below 1e-4 and from 1e21 on.
fn short_number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() || (1e-4..1e21).contains(&size) {
        return plain_number(value);
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// ` @ 1.000`, or nothing.
struct AtSuffix(Option<At>);

impl Display for AtSuffix {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            #[expect(clippy::cast_precision_loss, reason = "Prometheus prints by way of a float too")]
            Some(At::Time(millis)) => write!(f, " @ {:.3}", millis as f64 / 1000.0),
            Some(At::Start) => f.write_str(" @ start()"),
            Some(At::End) => f.write_str(" @ end()"),
            None => Ok(()),
        }
    }
}

/// ` offset 5m`, or nothing.
struct OffsetSuffix<'a>(Option<&'a DurationExpr>);

impl Display for OffsetSuffix<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " offset {offset}"),
            None => Ok(()),
        }
    }
}

fn edges_suffix(edges: Edges) -> &'static str {
    match edges {
        Edges::Plain => "",
        Edges::Anchored => " anchored",
        Edges::Smoothed => " smoothed",
    }
}

/// Name and matchers of a selector, without modifiers.
struct Bare<'a>(&'a VectorSelector);

impl Display for Bare<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = &*self.0.name;
        f.write_str(name)?;
        let is_name = |matcher: &&Matcher| {
            &*matcher.name == METRIC_NAME
                && matcher.op == MatchOp::Equal
                && &*matcher.value == name
                && !matcher.value.is_empty()
        };
        let mut texts: Vec<String> =
            self.0.matchers.iter().filter(|matcher| !is_name(matcher)).map(matcher_text).collect();
        if texts.is_empty() {
            // Only as the data selector of `info` may a selector be empty.
            return if name.is_empty() { f.write_str("{}") } else { Ok(()) };
        }
        texts.sort();
        write!(f, "{{{}}}", texts.join(","))
    }
}

fn matcher_text(matcher: &Matcher) -> String {
    let value = quote_str(&matcher.value);
    if is_classic_label_name(&matcher.name) {
        format!("{}{}{value}", matcher.name, matcher.op.symbol())
    } else {
        format!("{}{}{value}", quote_str(&matcher.name), matcher.op.symbol())
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (at, offset) = (AtSuffix(self.at), OffsetSuffix(self.offset.as_ref()));
        write!(f, "{}{at}{}{offset}", Bare(self), edges_suffix(self.edges))
    }
}

impl Display for MatrixSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let selector = &self.selector;
        let (at, offset) = (AtSuffix(selector.at), OffsetSuffix(selector.offset.as_ref()));
        write!(f, "{}[{}]{}{at}{offset}", Bare(selector), self.range, edges_suffix(selector.edges))
    }
}

/// `[5m:1m] @ 1.000 offset 1m`.
struct SubquerySuffix<'a>(&'a SubqueryExpr);

impl Display for SubquerySuffix<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:", self.0.range)?;
        if let Some(step) = &self.0.step {
            step.fmt(f)?;
        }
        write!(f, "]{}{}", AtSuffix(self.0.at), OffsetSuffix(self.0.offset.as_ref()))
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(millis) => f.write_str(&duration::format(*millis)),
            Self::Computed(node) => node.fmt(f),
        }
    }
}

impl Display for DurationNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Number(number) => number.fmt(f),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Unary(UnaryOp::Plus, inner) => inner.fmt(f),
            DurationKind::Unary(UnaryOp::Minus, inner) => write!(f, "-{inner}"),
            DurationKind::Binary(op, left, right) => write!(f, "{left} {} {right}", op.symbol()),
            DurationKind::MinOf(left, right) => write!(f, "min_of({left}, {right})"),
            DurationKind::MaxOf(left, right) => write!(f, "max_of({left}, {right})"),
            // Prometheus notes only that there are parentheses, not how many.
            DurationKind::Paren(inner) if matches!(inner.kind, DurationKind::Paren(_)) => inner.fmt(f),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}
