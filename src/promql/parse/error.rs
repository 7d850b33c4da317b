//! What is wrong with a query, and where.

use crate::promql::ast::Span;

/// A query that cannot be understood. The text is the one that users of Prometheus know:
/// `1:5: parse error: unexpected end of input`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: parse error: {message}", position(*line, *column))]
pub struct ParseError {
    /// Without position and prefix.
    pub message: String,
    pub span: Span,
    /// From 1; 0 where the query is empty.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
}

impl ParseError {
    pub(crate) fn new(query: &str, span: Span, message: impl Into<String>) -> Self {
        let (line, column) = if query.is_empty() { (0, 0) } else { span.position(query) };
        Self { message: message.into(), span, line, column }
    }
}

fn position(line: usize, column: usize) -> String {
    if line == 0 { "unknown position".to_owned() } else { format!("{line}:{column}") }
}
