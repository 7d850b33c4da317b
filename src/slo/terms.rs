//! Queries as sums of event counts.
//!
//! An objective asks how many events happened over its whole window, minus maintenance. `rate` and `increase` answer for
//! the range that is written in them, and guess at its edges. So a query is not evaluated: it is taken apart into terms,
//! each a selector and what of its samples counts, which are then added up exactly over any span of time. What cannot be
//! taken apart (quantiles, comparisons) becomes a term that evaluates the query at fixed steps and counts its answers.

use std::sync::Arc;

use crate::base::clock::Millis;
use crate::model::labels::METRIC_NAME;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::ast::{
    AggregateOp, BinaryExpr, BinaryOp, CallExpr, DurationExpr, Expr, ExprKind, MatrixSelector, UnaryOp, VectorSelector,
};
use crate::promql::parse::parse;
use crate::promql::print::format;

/// Distance of the evaluations of a query that has to be evaluated.
pub const STEP: Millis = 60_000;

/// A condition on values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    pub op: Comparison,
    pub value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
}

impl Comparison {
    /// The operator as PromQL writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    /// From a symbol or from OpenSLO's word.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "<" | "lt" => Self::Less,
            "<=" | "lte" => Self::LessEqual,
            ">" | "gt" => Self::Greater,
            ">=" | "gte" => Self::GreaterEqual,
            "==" | "eq" => Self::Equal,
            "!=" | "ne" => Self::NotEqual,
            _ => return None,
        })
    }
}

impl Condition {
    pub fn holds(self, value: f64) -> bool {
        match self.op {
            Comparison::Less => value < self.value,
            Comparison::LessEqual => value <= self.value,
            Comparison::Greater => value > self.value,
            Comparison::GreaterEqual => value >= self.value,
            Comparison::Equal => value == self.value,
            Comparison::NotEqual => value != self.value,
        }
    }
}

/// What of the samples of a series counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// How far a counter rose, resets corrected; of a native histogram, its count.
    Increase,
    /// As [`Measure::Increase`] of the bucket with the greatest bound that is not above this one.
    Bucket(f64),
    /// By how much the observations of a native histogram at or below a bound rose.
    Below(f64),
    /// How many samples there are.
    Samples,
    /// The sum of samples.
    Sum,
    /// How many samples a condition holds for.
    Holding(Condition),
}

/// What a term reads.
#[derive(Clone, Debug)]
pub enum Reading {
    Series {
        matchers: Vec<Matcher>,
        measure: Measure,
        offset: Millis,
    },
    /// The answers of a query at whole multiples of `step`.
    Query {
        text: Arc<str>,
        expr: Arc<Expr>,
        step: Millis,
        measure: Measure,
    },
}

/// Labels that an aggregation leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    By(Vec<Arc<str>>),
    Without(Vec<Arc<str>>),
}

/// One summand.
#[derive(Clone, Debug)]
pub struct Term {
    pub factor: f64,
    pub reading: Reading,
    /// From the innermost aggregation.
    pub keep: Vec<Keep>,
    /// Read only where the term before found no series.
    pub is_fallback: bool,
}

impl Term {
    /// A term that counts something of every series that matches.
    pub fn series(matchers: Vec<Matcher>, measure: Measure) -> Self {
        let reading = Reading::Series { matchers, measure, offset: 0 };
        Self { factor: 1.0, reading, keep: Vec::new(), is_fallback: false }
    }

    /// A term that evaluates a query.
    pub fn query(expr: &Expr, step: Millis, measure: Measure) -> Self {
        let text = format(expr);
        // Spans of the expression point into the text that it was parsed from, so it is parsed from the text kept.
        let expr = parse(&text).unwrap_or_else(|_| expr.clone());
        let reading = Reading::Query { text: Arc::from(text), expr: Arc::new(expr), step, measure };
        Self { factor: 1.0, reading, keep: Vec::new(), is_fallback: false }
    }

    /// Whether a label of the series is still there after all aggregations.
    pub fn keeps(&self, label: &str) -> bool {
        self.keep.iter().all(|keep| match keep {
            Keep::By(labels) => labels.iter().any(|kept| **kept == *label),
            Keep::Without(labels) => labels.iter().all(|dropped| **dropped != *label),
        })
    }
}

/// A numerator and a denominator.
#[derive(Clone, Debug)]
pub struct Ratio {
    pub numerator: Vec<Term>,
    pub denominator: Vec<Term>,
    /// The ratio is one minus their quotient.
    pub is_complement: bool,
}

/// The terms of a query that counts events; `None` where it is no sum of counters.
pub fn sum(expr: &Expr) -> Option<Vec<Term>> {
    match &expr.kind {
        ExprKind::Paren(inner) => sum(inner),
        ExprKind::Unary(UnaryOp::Plus, inner) => sum(inner),
        ExprKind::Unary(UnaryOp::Minus, inner) => Some(scaled(sum(inner)?, -1.0)),
        ExprKind::Selector(selector) => Some(vec![selected(selector, Measure::Increase)?]),
        ExprKind::Aggregate(aggregate) if aggregate.op == AggregateOp::Sum => {
            let keep = if aggregate.without {
                Keep::Without(aggregate.grouping.clone())
            } else {
                Keep::By(aggregate.grouping.clone())
            };
            let mut terms = sum(&aggregate.expr)?;
            terms.iter_mut().for_each(|term| term.keep.push(keep.clone()));
            Some(terms)
        }
        ExprKind::Call(call) => called(call),
        ExprKind::Binary(binary) => combined(binary),
        _ => None,
    }
}

fn called(call: &CallExpr) -> Option<Vec<Term>> {
    let first = call.args.first()?;
    let over = |measure| match &first.kind {
        ExprKind::Matrix(matrix) => Some(vec![ranged(matrix, measure)?]),
        ExprKind::Subquery(subquery) if subquery.at.is_none() && subquery.offset.is_none() => {
            let step = match &subquery.step {
                None => STEP,
                Some(DurationExpr::Literal(step)) if *step > 0 => *step,
                Some(_) => return None,
            };
            Some(vec![Term::query(&subquery.expr, step, measure)])
        }
        _ => None,
    };
    match &*call.function {
        "rate" | "increase" | "irate" => match &first.kind {
            ExprKind::Matrix(matrix) => Some(vec![ranged(matrix, Measure::Increase)?]),
            _ => None,
        },
        "sum_over_time" => over(Measure::Sum),
        "count_over_time" => over(Measure::Samples),
        // What is left of a native histogram is its count in any case.
        "histogram_count" | "round" | "ceil" | "floor" => sum(first),
        "clamp_min" if call.args.get(1).and_then(number) == Some(0.0) => sum(first),
        "vector" if number(first) == Some(0.0) => Some(Vec::new()),
        _ => None,
    }
}

fn combined(binary: &BinaryExpr) -> Option<Vec<Term>> {
    let (left, right) = (&binary.left, &binary.right);
    match binary.op {
        BinaryOp::Add | BinaryOp::Sub => {
            let mut terms = sum(left)?;
            terms.extend(scaled(sum(right)?, if binary.op == BinaryOp::Sub { -1.0 } else { 1.0 }));
            Some(terms)
        }
        BinaryOp::Mul => match (number(left), number(right)) {
            (Some(factor), None) => Some(scaled(sum(right)?, factor)),
            (None, Some(factor)) => Some(scaled(sum(left)?, factor)),
            _ => None,
        },
        BinaryOp::Div => {
            number(right).filter(|divisor| *divisor != 0.0).and_then(|d| Some(scaled(sum(left)?, 1.0 / d)))
        }
        // Nothing counts as 0 here anyway; another counter stands in where the first has no series.
        BinaryOp::Or => {
            let mut terms = sum(left)?;
            let mut others = sum(right)?;
            if terms.len() > 1 && !others.is_empty() {
                return None;
            }
            others.iter_mut().for_each(|term| term.is_fallback = true);
            terms.extend(others);
            Some(terms)
        }
        _ => None,
    }
}

fn scaled(mut terms: Vec<Term>, factor: f64) -> Vec<Term> {
    terms.iter_mut().for_each(|term| term.factor *= factor);
    terms
}

fn selected(selector: &VectorSelector, measure: Measure) -> Option<Term> {
    let offset = match &selector.offset {
        None => 0,
        Some(DurationExpr::Literal(offset)) => *offset,
        Some(DurationExpr::Computed(_)) => return None,
    };
    if selector.at.is_some() {
        return None;
    }
    let reading = Reading::Series { matchers: selector.matchers.clone(), measure, offset };
    Some(Term { factor: 1.0, reading, keep: Vec::new(), is_fallback: false })
}

fn ranged(matrix: &MatrixSelector, measure: Measure) -> Option<Term> {
    selected(&matrix.selector, measure)
}

/// The value of an expression of numbers.
pub fn number(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number(number) => Some(number.value),
        ExprKind::Paren(inner) | ExprKind::Unary(UnaryOp::Plus, inner) => number(inner),
        ExprKind::Unary(UnaryOp::Minus, inner) => Some(-number(inner)?),
        ExprKind::Binary(binary) => {
            let (left, right) = (number(&binary.left)?, number(&binary.right)?);
            Some(match binary.op {
                BinaryOp::Add => left + right,
                BinaryOp::Sub => left - right,
                BinaryOp::Mul => left * right,
                BinaryOp::Div => left / right,
                _ => return None,
            })
        }
        _ => None,
    }
}

/// A query that divides counts of events; `None` where it is something else.
pub fn ratio(expr: &Expr) -> Option<Ratio> {
    match &expr.kind {
        ExprKind::Paren(inner) => ratio(inner),
        ExprKind::Binary(binary) => match binary.op {
            BinaryOp::Div if number(&binary.right).is_none() => {
                Some(Ratio { numerator: sum(&binary.left)?, denominator: sum(&binary.right)?, is_complement: false })
            }
            BinaryOp::Sub if number(&binary.left) == Some(1.0) => {
                let inner = ratio(&binary.right)?;
                Some(Ratio { is_complement: !inner.is_complement, ..inner })
            }
            BinaryOp::Mul if number(&binary.left) == Some(1.0) => ratio(&binary.right),
            BinaryOp::Mul if number(&binary.right) == Some(1.0) => ratio(&binary.left),
            BinaryOp::Or if matches!(&binary.right.kind, ExprKind::Call(call) if &*call.function == "vector") => {
                ratio(&binary.left)
            }
            _ => None,
        },
        ExprKind::Call(call) => match (&*call.function, &*call.args) {
            ("clamp_max" | "clamp_min" | "clamp", [inner, ..]) => ratio(inner),
            ("avg_over_time", [Expr { kind: ExprKind::Matrix(matrix), .. }]) => Some(Ratio {
                numerator: vec![ranged(matrix, Measure::Sum)?],
                denominator: vec![ranged(matrix, Measure::Samples)?],
                is_complement: false,
            }),
            ("histogram_fraction", [lower, upper, inner]) if number(lower).is_some_and(|lower| lower <= 0.0) => {
                let (bound, denominator) = (number(upper)?, sum(inner)?);
                let below = |mut term: Term| {
                    if let Reading::Series { measure, .. } = &mut term.reading {
                        *measure = Measure::Below(bound);
                    }
                    term
                };
                let numerator = denominator.iter().cloned().map(below).collect();
                Some(Ratio { numerator, denominator, is_complement: false })
            }
            _ => None,
        },
        _ => None,
    }
}

/// A quantile of a classic or native histogram: how large it is, and the selector of the histogram.
pub fn quantile(expr: &Expr) -> Option<(f64, Vec<Matcher>)> {
    match &expr.kind {
        ExprKind::Paren(inner) => quantile(inner),
        ExprKind::Call(call) if &*call.function == "histogram_quantile" => {
            let [quantile, inner] = &*call.args else { return None };
            let terms = sum(inner)?;
            let [Term { reading: Reading::Series { matchers, offset: 0, .. }, .. }] = &*terms else { return None };
            Some((number(quantile)?, matchers.clone()))
        }
        _ => None,
    }
}

/// The labels that the last aggregation of a query groups by.
pub fn grouping(terms: &[Term]) -> Vec<Arc<str>> {
    match terms.first().and_then(|term| term.keep.last()) {
        Some(Keep::By(labels)) => labels.iter().filter(|label| ***label != *"le").cloned().collect(),
        _ => Vec::new(),
    }
}

/// The same selector on another metric.
pub fn renamed(matchers: &[Matcher], name: &str) -> Vec<Matcher> {
    let others = matchers.iter().filter(|matcher| &*matcher.name != METRIC_NAME && &*matcher.name != "le").cloned();
    let own = Matcher::new(MatchOp::Equal, METRIC_NAME, name).ok();
    own.into_iter().chain(others).collect()
}

/// The metric that a selector names, if it names one.
pub fn metric_name(matchers: &[Matcher]) -> Option<&str> {
    let named = |matcher: &&Matcher| &*matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
    matchers.iter().find(named).map(|matcher| &*matcher.value)
}

/// Observations of a histogram at or below a bound, and all of them, whether the histogram is classic or native.
pub fn latency(matchers: &[Matcher], bound: f64) -> Option<Ratio> {
    let name = metric_name(matchers)?;
    let base = name.strip_suffix("_bucket").or_else(|| name.strip_suffix("_count")).unwrap_or(name);
    let classic = |suffix: &str, measure| Term::series(renamed(matchers, &format!("{base}{suffix}")), measure);
    let native = |measure| Term { is_fallback: true, ..Term::series(renamed(matchers, base), measure) };
    Some(Ratio {
        numerator: vec![classic("_bucket", Measure::Bucket(bound)), native(Measure::Below(bound))],
        denominator: vec![classic("_bucket", Measure::Bucket(f64::INFINITY)), native(Measure::Increase)],
        is_complement: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(term: &Term) -> String {
        let what = match &term.reading {
            Reading::Series { matchers, measure, offset } => {
                let matchers: Vec<String> =
                    matchers.iter().map(|m| format!("{}{}{:?}", m.name, m.op.symbol(), m.value)).collect();
                format!("{measure:?} {{{}}} -{offset}", matchers.join(","))
            }
            Reading::Query { text, step, measure, .. } => format!("{measure:?} {text} /{step}"),
        };
        format!("{}*{what}{}", term.factor, if term.is_fallback { " else" } else { "" })
    }

    #[track_caller]
    fn check(query: &str, expect: Option<&[&str]>) {
        let terms = sum(&parse(query).unwrap());
        let got: Option<Vec<String>> = terms.map(|terms| terms.iter().map(text).collect());
        let expect = expect.map(|expect| expect.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(got, expect, "{query}");
    }

    #[test]
    fn sums_of_counters_are_taken_apart() {
        check("a", Some(&[r#"1*Increase {__name__="a"} -0"#]));
        check("sum by (b) (rate(a[5m] offset 1m)) * 2", Some(&[r#"2*Increase {__name__="a"} -60000"#]));
        check(
            "sum(increase(a[5m])) - (sum(b) or vector(0))",
            Some(&[r#"1*Increase {__name__="a"} -0"#, r#"-1*Increase {__name__="b"} -0"#]),
        );
        check("a or b", Some(&[r#"1*Increase {__name__="a"} -0"#, r#"1*Increase {__name__="b"} -0 else"#]));
        check("sum_over_time(a[1h])", Some(&[r#"1*Sum {__name__="a"} -0"#]));
        check("sum_over_time((count(a < 1))[1h:])", Some(&["1*Sum (count(a < 1)) /60000"]));
        check("max(rate(a[5m]))", None);
        check("a / b", None);
        check("a > 1", None);
    }

    #[test]
    fn ratios_are_split() {
        let split = |query: &str| {
            let ratio = ratio(&parse(query).unwrap())?;
            let texts = |terms: &[Term]| terms.iter().map(text).collect::<Vec<_>>().join(" + ");
            Some((texts(&ratio.numerator), texts(&ratio.denominator), ratio.is_complement))
        };
        let series = |name: &str| format!("1*Increase {{__name__=\"{name}\"}} -0");
        assert_eq!(split("sum(rate(a[5m])) / sum(rate(b[5m]))"), Some((series("a"), series("b"), false)));
        assert_eq!(split("1 - (sum(a) / sum(b))"), Some((series("a"), series("b"), true)));
        let native = split("histogram_fraction(0, 0.1, sum(rate(h[5m])))").unwrap();
        assert_eq!(native.0, "1*Below(0.1) {__name__=\"h\"} -0");
        assert_eq!(split("avg_over_time(up[5m])").unwrap().0, "1*Sum {__name__=\"up\"} -0");
        assert_eq!(split("histogram_quantile(0.9, a)"), None);
        assert_eq!(split("sum(a) / 100"), None);
        let (q, matchers) =
            quantile(&parse("histogram_quantile(0.95, sum by (le) (rate(h_bucket{a='b'}[5m])))").unwrap()).unwrap();
        assert_eq!((q, metric_name(&matchers)), (0.95, Some("h_bucket")));
    }
}
