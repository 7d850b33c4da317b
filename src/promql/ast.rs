//! The syntax tree. Every node knows the bytes of the query it came from.

use std::sync::Arc;

use crate::model::matcher::Matcher;

/// A half-open range of bytes in the query text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
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
