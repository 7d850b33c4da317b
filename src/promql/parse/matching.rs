//! What stands between a binary operator and its right side.

use std::sync::Arc;

use crate::promql::ast::{BinaryOp, Cardinality, UnaryOp, VectorMatching};
use crate::promql::parse::{ParseError, Parser, Place, signed, span_of};
use crate::promql::quote::{quote_str, unquote};
use crate::promql::token::{Keyword, TokenKind};

pub(super) struct BinaryModifiers {
    pub(super) return_bool: bool,
    pub(super) matching: VectorMatching,
}

impl Parser<'_> {
    pub(super) fn binary_modifiers(&mut self) -> Result<BinaryModifiers, ParseError> {
        let return_bool = self.accept(TokenKind::Keyword(Keyword::Bool));
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.token.kind {
            self.advance();
            matching.on = keyword == Keyword::On;
            matching.labels = self.grouping_labels()?;
            if let TokenKind::Keyword(keyword @ (Keyword::GroupLeft | Keyword::GroupRight)) = self.token.kind {
                self.advance();
                matching.cardinality = match keyword {
                    Keyword::GroupLeft => Cardinality::ManyToOne,
                    _ => Cardinality::OneToMany,
                };
                if self.token.kind == TokenKind::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        match self.token.kind {
            TokenKind::Keyword(Keyword::Fill) => {
                matching.fill_left = Some(self.fill_value()?);
                matching.fill_right = matching.fill_left;
            }
            TokenKind::Keyword(Keyword::FillLeft) => {
                matching.fill_left = Some(self.fill_value()?);
                if self.token.kind == TokenKind::Keyword(Keyword::FillRight) {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            TokenKind::Keyword(Keyword::FillRight) => {
                matching.fill_right = Some(self.fill_value()?);
                if self.token.kind == TokenKind::Keyword(Keyword::FillLeft) {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok(BinaryModifiers { return_bool, matching })
    }

    /// `fill(-1)`; the keyword is next.
    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.advance();
        if !self.accept(TokenKind::LeftParen) {
            return Err(self.syntax_error());
        }
        let op = match self.token.kind {
            TokenKind::Operator(BinaryOp::Sub) => UnaryOp::Minus,
            _ => UnaryOp::Plus,
        };
        if let TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub) = self.token.kind {
            self.advance();
        }
        let number = self.number_literal()?.ok_or_else(|| self.syntax_error())?;
        if !self.accept(TokenKind::RightParen) {
            return Err(self.syntax_error());
        }
        Ok(signed(op, number).value)
    }

    /// Labels between parentheses, of `by`, `without`, `on`, `ignoring`, `group_left`, `group_right`.
    pub(super) fn grouping_labels(&mut self) -> Result<Vec<Arc<str>>, ParseError> {
        const CONTEXT: &str = "grouping opts";
        if !self.accept(TokenKind::LeftParen) {
            return Err(self.unexpected(Place { context: CONTEXT, expected: "\"(\"" }));
        }
        let mut labels = Vec::new();
        while !self.accept(TokenKind::RightParen) {
            labels.push(self.grouping_label()?);
            if !self.accept(TokenKind::Comma) && self.token.kind != TokenKind::RightParen {
                return Err(self.unexpected(Place { context: CONTEXT, expected: "\",\" or \")\"" }));
            }
        }
        Ok(labels)
    }

    fn grouping_label(&mut self) -> Result<Arc<str>, ParseError> {
        let token = self.token;
        let label = match token.kind {
            TokenKind::String => {
                let word = self.word(token);
                let label = unquote(word)
                    .ok_or_else(|| self.error(span_of(token), format!("error unquoting string {}", quote_str(word))))?;
                if label.is_empty() {
                    return Err(self.error(span_of(token), "invalid label name for grouping: \"\""));
                }
                Arc::from(label)
            }
            // Words that are keywords elsewhere are labels here, but for `without`.
            TokenKind::Keyword(Keyword::Without) => return Err(self.not_a_label()),
            TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::Aggregate(_)
            | TokenKind::Keyword(_)
            | TokenKind::Preprocessor(_)
            | TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2) => {
                Arc::from(self.word(token))
            }
            _ => return Err(self.not_a_label()),
        };
        self.advance();
        Ok(label)
    }

    fn not_a_label(&self) -> ParseError {
        self.unexpected(Place { context: "grouping opts", expected: "label" })
    }
}
