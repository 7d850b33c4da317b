//! The syntax tree. Every node knows the bytes of the query it came from.

use std::sync::Arc;

use crate::model::matcher::Matcher;
use crate::promql::functions::Signature;

/// A half-open range of bytes in the query text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// From the start of this to the end of `other`.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }

    /// Where the span starts in `query`, as line and column in bytes, both from 1. Prometheus counts so too.
    pub fn position(self, query: &str) -> (usize, usize) {
        let before = query.as_bytes().get(..self.start as usize).unwrap_or(query.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        (line, column)
    }
}

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum ExprKind {
    Number(NumberLiteral),
    String(Arc<str>),
    Paren(Box<Expr>),
    Unary(UnaryOp, Box<Expr>),
    Binary(Box<BinaryExpr>),
    Aggregate(Box<AggregateExpr>),
    Call(CallExpr),
    Selector(VectorSelector),
    /// `selector[range]`.
    Matrix(Box<MatrixSelector>),
    /// `expr[range:step]`.
    Subquery(Box<SubqueryExpr>),
}

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    None,
    Scalar,
    String,
    Vector,
    Matrix,
}

impl ValueType {
    /// The type as APIs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }

    /// The type as error messages and documentation name it.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            other => other.name(),
        }
    }
}

impl Expr {
    /// The nodes right below, in the order of the text. The selector of a range is no node by itself.
    pub fn parts(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Matrix(_) => Vec::new(),
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => vec![inner],
            ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
            ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
            ExprKind::Call(call) => call.args.iter().collect(),
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
        }
    }

    /// What the expression gives.
    pub fn value_type(&self) -> ValueType {
        let mut expr = self;
        loop {
            return match &expr.kind {
                ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => {
                    expr = inner;
                    continue;
                }
                ExprKind::Number(_) => ValueType::Scalar,
                ExprKind::String(_) => ValueType::String,
                ExprKind::Binary(binary) => {
                    let scalars = [&binary.left, &binary.right].map(|side| side.value_type() == ValueType::Scalar);
                    if scalars == [true, true] { ValueType::Scalar } else { ValueType::Vector }
                }
                ExprKind::Aggregate(_) | ExprKind::Selector(_) => ValueType::Vector,
                ExprKind::Call(call) => call.signature.returns,
                ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            };
        }
    }
}

/// A number. `is_duration` remembers that it was written as `5m`, for the printer.
#[derive(Clone, Copy, Debug)]
pub struct NumberLiteral {
    pub value: f64,
    pub is_duration: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Plus,
    Minus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    /// `</`: keeps the part of a histogram below a bound.
    TrimUpper,
    /// `>/`: keeps the part of a histogram above a bound.
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// `==`, `!=`, `<`, `>`, `<=`, `>=`: those that may have `bool`.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual | Self::Greater | Self::Less | Self::GreaterEqual | Self::LessEqual)
    }

    /// `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

#[derive(Clone, Debug)]
pub struct BinaryExpr {
    pub op: BinaryOp,
    /// Where the operator stands.
    pub op_span: Span,
    pub left: Expr,
    pub right: Expr,
    pub return_bool: bool,
    /// `None` where at least one side is a scalar.
    pub matching: Option<VectorMatching>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    OneToOne,
    /// `group_left`: many on the left side.
    ManyToOne,
    /// `group_right`: many on the right side.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

#[derive(Clone, Debug)]
pub struct VectorMatching {
    pub cardinality: Cardinality,
    /// `on(...)` where true, `ignoring(...)` (or nothing) where false.
    pub on: bool,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<Arc<str>>,
    /// Labels of `group_left` or `group_right`.
    pub include: Vec<Arc<str>>,
    /// `fill_left(x)`: value for series that are missing on the left.
    pub fill_left: Option<f64>,
    pub fill_right: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

impl AggregateOp {
    /// The operator as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::TopK => "topk",
            Self::BottomK => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether a parameter comes before the vector.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::TopK | Self::BottomK | Self::CountValues | Self::Quantile | Self::LimitK | Self::LimitRatio
        )
    }
}

#[derive(Clone, Debug)]
pub struct AggregateExpr {
    pub op: AggregateOp,
    pub expr: Expr,
    /// Of topk, bottomk, quantile, count_values, limitk, limit_ratio.
    pub param: Option<Expr>,
    pub grouping: Vec<Arc<str>>,
    /// `without(...)` instead of `by(...)`.
    pub without: bool,
}

#[derive(Clone, Debug)]
pub struct CallExpr {
    pub function: Arc<str>,
    /// The entry of the function in the table of all functions.
    pub signature: &'static Signature,
    pub name_span: Span,
    pub args: Vec<Expr>,
}

/// `@ ...`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// Milliseconds.
    Time(i64),
    Start,
    End,
}

/// How a range or instant selector treats its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Edges {
    #[default]
    Plain,
    Anchored,
    Smoothed,
}

/// A duration in a range, offset or subquery: literal or computed when the query's step and range are known.
#[derive(Clone, Debug)]
pub enum DurationExpr {
    /// Milliseconds.
    Literal(i64),
    /// Seconds, to be computed before evaluation.
    Computed(Box<DurationNode>),
}

#[derive(Clone, Debug)]
pub struct DurationNode {
    pub kind: DurationKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum DurationKind {
    /// Seconds.
    Number(NumberLiteral),
    /// `step()`.
    Step,
    /// `range()`.
    Range,
    Unary(UnaryOp, Box<DurationNode>),
    Binary(BinaryOp, Box<DurationNode>, Box<DurationNode>),
    /// `min_of(a, b)`.
    MinOf(Box<DurationNode>, Box<DurationNode>),
    /// `max_of(a, b)`.
    MaxOf(Box<DurationNode>, Box<DurationNode>),
    Paren(Box<DurationNode>),
}

#[derive(Clone, Debug)]
pub struct VectorSelector {
    /// The metric name as it was written before the braces; empty where there was none. It is also among `matchers`.
    pub name: Arc<str>,
    pub matchers: Vec<Matcher>,
    pub at: Option<At>,
    pub offset: Option<DurationExpr>,
    pub edges: Edges,
}

#[derive(Clone, Debug)]
pub struct MatrixSelector {
    /// Holds the matchers, `@`, offset and edges of the whole.
    pub selector: VectorSelector,
    pub selector_span: Span,
    pub range: DurationExpr,
}

#[derive(Clone, Debug)]
pub struct SubqueryExpr {
    pub expr: Expr,
    pub range: DurationExpr,
    /// `None`: the default interval.
    pub step: Option<DurationExpr>,
    pub at: Option<At>,
    pub offset: Option<DurationExpr>,
}
