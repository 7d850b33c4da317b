//! Selectors: a name, matchers between braces, or both.

use std::sync::Arc;

use crate::model::labels::METRIC_NAME;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::ast::{BinaryOp, Edges, Span, VectorSelector};
use crate::promql::parse::{ParseError, Parser, Place, span_of};
use crate::promql::quote::{quote_str, unquote};
use crate::promql::token::{Keyword, Token, TokenKind};

const CONTEXT: &str = "label matching";

impl Parser<'_> {
    /// A selector alone.
    pub(super) fn bare_selector(&mut self) -> Result<VectorSelector, ParseError> {
        if self.token.kind == TokenKind::LeftBrace {
            return self.selector_after("");
        }
        if !can_be_metric_name(self.token.kind) {
            return Err(self.syntax_error());
        }
        let name = self.advance();
        self.selector_after(self.word(name))
    }

    /// The rest of a selector behind its name, which is empty where there was none.
    pub(super) fn selector_after(&mut self, name: &str) -> Result<VectorSelector, ParseError> {
        let mut matchers = Vec::new();
        if self.token.kind == TokenKind::LeftBrace {
            self.matchers(&mut matchers)?;
        }
        if !name.is_empty() {
            matchers.push(self.matcher(MatchOp::Equal, METRIC_NAME, name, Span::default())?);
        }
        Ok(VectorSelector { name: Arc::from(name), matchers, at: None, offset: None, edges: Edges::Plain })
    }

    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
        self.advance();
        while !self.accept(TokenKind::RightBrace) {
            matchers.push(self.label_matcher()?);
            if !self.accept(TokenKind::Comma) && self.token.kind != TokenKind::RightBrace {
                return Err(self.unexpected(Place { context: CONTEXT, expected: "\",\" or \"}\"" }));
            }
        }
        Ok(())
    }

    fn label_matcher(&mut self) -> Result<Matcher, ParseError> {
        let token = self.token;
        let name = match token.kind {
            TokenKind::Identifier => self.word(token).to_owned(),
            TokenKind::String => self.unquoted(token)?,
            _ => return Err(self.unexpected(Place { context: CONTEXT, expected: "identifier or \"}\"" })),
        };
        self.advance();
        let op = match self.token.kind {
            TokenKind::Equal => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotEqualRegex => MatchOp::NotRegex,
            // A string alone is a metric name.
            _ if token.kind == TokenKind::String => {
                return self.matcher(MatchOp::Equal, METRIC_NAME, &name, span_of(token));
            }
            _ => return Err(self.unexpected(Place { context: CONTEXT, expected: "label matching operator" })),
        };
        self.advance();
        let value = self.token;
        if value.kind != TokenKind::String {
            return Err(self.unexpected(Place { context: CONTEXT, expected: "string" }));
        }
        let text = self.unquoted(value)?;
        self.advance();
        self.matcher(op, &name, &text, span_of(token).to(span_of(value)))
    }

    fn matcher(&self, op: MatchOp, name: &str, value: &str, span: Span) -> Result<Matcher, ParseError> {
        Matcher::new(op, name, value).map_err(|error| self.error(span, error.to_string()))
    }

    /// The value of a string token.
    pub(super) fn unquoted(&self, token: Token) -> Result<String, ParseError> {
        let word = self.word(token);
        unquote(word).ok_or_else(|| {
            self.error(span_of(token), format!("error unquoting string {}: invalid syntax", quote_str(word)))
        })
    }
}

/// Whether a word may name a metric: all may but `bool`, `on`, `ignoring`, `group_left`, `group_right` and `atan2`.
pub(super) fn can_be_metric_name(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier
        | TokenKind::MetricIdentifier
        | TokenKind::Aggregate(_)
        | TokenKind::Preprocessor(_)
        | TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => true,
        TokenKind::Keyword(keyword) => !matches!(
            keyword,
            Keyword::Bool | Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight
        ),
        _ => false,
    }
}
