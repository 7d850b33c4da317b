//! What follows an expression: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use crate::promql::ast::{
    At, BinaryOp, DurationExpr, Edges, Expr, ExprKind, MatrixSelector, SubqueryExpr, UnaryOp, VectorSelector,
};
use crate::promql::parse::{ParseError, Parser, Place, signed, span_of};
use crate::promql::token::{Keyword, Preprocessor, TokenKind};

const AT: Place = Place { context: "@", expected: "timestamp" };

impl Parser<'_> {
    pub(super) fn postfix(&mut self) -> Result<Expr, ParseError> {
        let depth = self.depth;
        let mut expr = self.primary()?;
        loop {
            match self.token.kind {
                TokenKind::LeftBracket => {
                    self.deeper()?;
                    expr = self.brackets(expr)?;
                }
                TokenKind::Keyword(Keyword::Offset) => {
                    self.advance();
                    let offset = self.offset_duration()?;
                    self.set_offset(&mut expr, offset)?;
                }
                TokenKind::At => {
                    self.advance();
                    self.set_at(&mut expr)?;
                }
                TokenKind::Keyword(Keyword::Anchored) => {
                    self.advance();
                    self.set_edges(&mut expr, Edges::Anchored)?;
                }
                TokenKind::Keyword(Keyword::Smoothed) => {
                    self.advance();
                    self.set_edges(&mut expr, Edges::Smoothed)?;
                }
                _ => break,
            }
        }
        self.depth = depth;
        Ok(expr)
    }

    /// `[range]` or `[range:step]`.
    fn brackets(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        const SUBQUERY: &str = "subquery selector";
        let open = span_of(self.advance());
        let range = self.positive_duration(Place {
            context: "subquery or range selector",
            expected: "number, duration, step(), or range()",
        })?;
        let start = expr.span.start;
        let kind = match self.token.kind {
            TokenKind::RightBracket => {
                let span = open.to(span_of(self.advance()));
                let fault = |message: &str| Err(self.error(span, message));
                let ExprKind::Selector(selector) = expr.kind else {
                    return fault("ranges only allowed for vector selectors");
                };
                if selector.offset.is_some() {
                    return fault("no offset modifiers allowed before range");
                }
                if selector.at.is_some() {
                    return fault("no @ modifiers allowed before range");
                }
                ExprKind::Matrix(Box::new(MatrixSelector { selector, selector_span: expr.span, range }))
            }
            TokenKind::Colon => {
                self.advance();
                let step = if self.token.kind == TokenKind::RightBracket {
                    None
                } else {
                    let expected = "number, duration, step(), range(), or \"]\"";
                    Some(self.positive_duration(Place { context: SUBQUERY, expected })?)
                };
                if !self.accept(TokenKind::RightBracket) {
                    return Err(self.unexpected(Place { context: SUBQUERY, expected: "\"]\"" }));
                }
                ExprKind::Subquery(Box::new(SubqueryExpr { expr, range, step, at: None, offset: None }))
            }
            _ => return Err(self.unexpected(Place { context: "subquery or range", expected: "\":\" or \"]\"" })),
        };
        Ok(Expr { kind, span: self.span_from(start) })
    }

    fn set_offset(&self, expr: &mut Expr, offset: DurationExpr) -> Result<(), ParseError> {
        let Some((slot, _)) = slots(expr) else {
            let message =
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(self.error(expr.span, message));
        };
        if slot.is_some() {
            return Err(self.error(expr.span, "offset may not be set multiple times"));
        }
        // An offset of nothing counts as none, so that it may be given again.
        *slot = Some(offset).filter(|offset| !matches!(offset, DurationExpr::Literal(0)));
        expr.span.end = self.last_end;
        Ok(())
    }

    /// Behind the `@`.
    fn set_at(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let at = self.timestamp(expr)?;
        let Some((_, slot)) = slots(expr) else {
            let message =
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(self.error(expr.span, message));
        };
        if slot.is_some() {
            return Err(self.error(expr.span, "@ <timestamp> may not be set multiple times"));
        }
        *slot = Some(at);
        expr.span.end = self.last_end;
        Ok(())
    }

    fn timestamp(&mut self, expr: &Expr) -> Result<At, ParseError> {
        if let TokenKind::Preprocessor(word @ (Preprocessor::Start | Preprocessor::End)) = self.token.kind {
            self.advance();
            if !self.accept(TokenKind::LeftParen) || !self.accept(TokenKind::RightParen) {
                return Err(self.unexpected(AT));
            }
            return Ok(if word == Preprocessor::Start { At::Start } else { At::End });
        }
        let op = match self.token.kind {
            TokenKind::Operator(BinaryOp::Sub) => UnaryOp::Minus,
            _ => UnaryOp::Plus,
        };
        if let TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub) = self.token.kind {
            self.advance();
        }
        let number = self.number_literal()?.ok_or_else(|| self.unexpected(AT))?;
        let secs = signed(op, number).value;
        /// 2^63.
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        if !secs.is_finite() || secs.abs() >= LIMIT {
            let message = format!("timestamp out of bounds for @ modifier: {}", go_float(secs));
            return Err(self.error(expr.span, message));
        }
        #[expect(clippy::cast_possible_truncation, reason = "saturates, which is as far as time goes")]
        Ok(At::Time((secs * 1000.0).round() as i64))
    }

    fn set_edges(&self, expr: &mut Expr, edges: Edges) -> Result<(), ParseError> {
        let word = if edges == Edges::Anchored { "anchored" } else { "smoothed" };
        let selector: &mut VectorSelector = match &mut expr.kind {
            ExprKind::Selector(selector) => selector,
            ExprKind::Matrix(matrix) => &mut matrix.selector,
            ExprKind::Subquery(_) => {
                return Err(self.error(expr.span, format!("{word} modifier is not supported for subqueries")));
            }
            _ => return Err(self.error(expr.span, format!("{word} modifier not implemented"))),
        };
        if selector.edges != Edges::Plain && selector.edges != edges {
            return Err(self.error(expr.span, "anchored and smoothed modifiers cannot be used together"));
        }
        selector.edges = edges;
        Ok(())
    }
}

/// Where offset and `@` of an expression go.
fn slots(expr: &mut Expr) -> Option<(&mut Option<DurationExpr>, &mut Option<At>)> {
    match &mut expr.kind {
        ExprKind::Selector(selector) => Some((&mut selector.offset, &mut selector.at)),
        ExprKind::Matrix(matrix) => Some((&mut matrix.selector.offset, &mut matrix.selector.at)),
        ExprKind::Subquery(subquery) => Some((&mut subquery.offset, &mut subquery.at)),
        _ => None,
    }
}

/// As Go's `%f` writes a number.
fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value:.6}")
}
