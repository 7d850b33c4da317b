//! Expressions without operators: literals, parentheses, calls, aggregations, selectors.

use std::sync::Arc;

use crate::promql::ast::{AggregateExpr, AggregateOp, BinaryOp, CallExpr, Expr, ExprKind};
use crate::promql::functions::lookup;
use crate::promql::parse::selector::can_be_metric_name;
use crate::promql::parse::{ParseError, Parser, span_of};
use crate::promql::quote::quote_str;
use crate::promql::token::{Keyword, Token, TokenKind};

#[derive(Default)]
struct Grouping {
    without: bool,
    labels: Vec<Arc<str>>,
}

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Result<Expr, ParseError> {
        let token = self.token;
        let kind = match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number_literal()?.ok_or_else(|| self.syntax_error())?;
                ExprKind::Number(number)
            }
            TokenKind::String => {
                let text = self.unquoted(token)?;
                self.advance();
                ExprKind::String(Arc::from(text))
            }
            TokenKind::LeftParen => {
                self.advance();
                let inner = self.expr()?;
                if !self.accept(TokenKind::RightParen) {
                    return Err(self.syntax_error());
                }
                ExprKind::Paren(Box::new(inner))
            }
            TokenKind::LeftBrace => ExprKind::Selector(self.selector_after("")?),
            kind if can_be_metric_name(kind) => {
                self.advance();
                return self.after_name(token);
            }
            _ => return Err(self.syntax_error()),
        };
        Ok(Expr { kind, span: self.span_from(token.start) })
    }

    /// A word that has been read begins a call, an aggregation or a selector.
    fn after_name(&mut self, name: Token) -> Result<Expr, ParseError> {
        let kind = match (name.kind, self.token.kind) {
            (TokenKind::Aggregate(op), TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without)) => {
                ExprKind::Aggregate(Box::new(self.aggregate(op, name)?))
            }
            (TokenKind::Identifier | TokenKind::Preprocessor(_), TokenKind::LeftParen) => {
                ExprKind::Call(self.call(name)?)
            }
            _ => ExprKind::Selector(self.selector_after(self.word(name))?),
        };
        Ok(Expr { kind, span: self.span_from(name.start) })
    }

    fn call(&mut self, name: Token) -> Result<CallExpr, ParseError> {
        let args = self.args()?;
        let word = self.word(name);
        let signature = lookup(word)
            .ok_or_else(|| self.error(span_of(name), format!("unknown function with name {}", quote_str(word))))?;
        Ok(CallExpr { function: Arc::from(word), signature, name_span: span_of(name), args })
    }

    /// Arguments between parentheses; the left one is next.
    fn args(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.advance();
        let mut args = Vec::new();
        if self.accept(TokenKind::RightParen) {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            let comma = self.token;
            if !self.accept(TokenKind::Comma) {
                break;
            }
            if self.token.kind != TokenKind::Error && !begins_expr(self.token.kind) {
                return Err(self.error(span_of(comma), "trailing commas not allowed in function call args"));
            }
        }
        if !self.accept(TokenKind::RightParen) {
            return Err(self.syntax_error());
        }
        Ok(args)
    }

    fn aggregate(&mut self, op: AggregateOp, name: Token) -> Result<AggregateExpr, ParseError> {
        self.aggregations += 1;
        let mut grouping = self.grouping()?;
        if self.token.kind != TokenKind::LeftParen {
            return Err(self.syntax_error());
        }
        let args = self.args()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        self.aggregations -= 1;
        let Grouping { without, labels: grouping } = grouping.unwrap_or_default();

        let span = self.span_from(name.start);
        let wanted = if op.has_param() { 2 } else { 1 };
        let got = args.len();
        if got == 0 {
            return Err(self.error(span, "no arguments for aggregate expression provided"));
        }
        let mut args = args.into_iter();
        let (param, expr) = match (op.has_param(), args.next(), args.next(), args.next()) {
            (false, Some(expr), None, None) => (None, expr),
            (true, Some(param), Some(expr), None) => (Some(param), expr),
            _ => {
                let message = format!(
                    "wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}"
                );
                return Err(self.error(span, message));
            }
        };
        Ok(AggregateExpr { op, expr, param, grouping, without })
    }

    /// `by (...)` or `without (...)`, if next.
    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = match self.token.kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(Grouping { without, labels: self.grouping_labels()? }))
    }
}

fn begins_expr(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Number
            | TokenKind::Duration
            | TokenKind::String
            | TokenKind::LeftParen
            | TokenKind::LeftBrace
            | TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub)
    ) || can_be_metric_name(kind)
}
