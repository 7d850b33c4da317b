//! Durations in ranges, offsets and steps: literals, or arithmetic over them.

use crate::promql::ast::{BinaryOp, DurationExpr, DurationKind, DurationNode, NumberLiteral, Span, UnaryOp};
use crate::promql::parse::{ParseError, Parser, Place, precedence, signed, span_of};
use crate::promql::token::{Preprocessor, TokenKind};

/// Seconds beyond which Prometheus' 64-bit nanoseconds overflow.
const MAX_SECS: f64 = 9_223_372_036.854_775;

impl Parser<'_> {
    /// A duration between brackets. `place` is for errors.
    pub(super) fn positive_duration(&mut self, place: Place) -> Result<DurationExpr, ParseError> {
        let node = self.duration(0, place)?;
        if let DurationKind::Number(number) = node.kind
            && number.value <= 0.0
        {
            return Err(self.error(node.span, "duration must be greater than 0"));
        }
        Ok(finish(node))
    }

    /// The duration of an offset. Without parentheses it ends at the first operator: `x offset 5m + 1` adds to `x`.
    pub(super) fn offset_duration(&mut self) -> Result<DurationExpr, ParseError> {
        let place = Place { context: "offset", expected: "number, duration, step(), or range()" };
        if self.token.kind == TokenKind::LeftParen {
            return Ok(finish(self.parenthesised_offset(place)?));
        }
        let Some(op) = self.sign() else {
            return Ok(finish(self.duration_primary(place)?));
        };
        let mut ahead = self.lexer.clone();
        let next = ahead.next().kind;
        if matches!(next, TokenKind::Operator(_)) {
            return Ok(finish(self.duration(0, place)?));
        }
        let start = self.advance().start;
        let inner = self.duration_primary(place)?;
        Ok(finish(self.apply_sign(op, start, inner)?))
    }

    /// In Prometheus an operator behind `offset (5m)` always belongs to the duration, so that `x offset (5m) + y` is an
    /// error. Here it belongs to the duration where that can be read, else to the expression.
    fn parenthesised_offset(&mut self, place: Place) -> Result<DurationNode, ParseError> {
        let before = (self.lexer.clone(), self.token, self.last_end, self.depth, self.nesting);
        if let Ok(node) = self.duration(0, place) {
            return Ok(node);
        }
        (self.lexer, self.token, self.last_end, self.depth, self.nesting) = before;
        self.duration_primary(place)
    }

    fn sign(&self) -> Option<UnaryOp> {
        match self.token.kind {
            TokenKind::Operator(BinaryOp::Add) => Some(UnaryOp::Plus),
            TokenKind::Operator(BinaryOp::Sub) => Some(UnaryOp::Minus),
            _ => None,
        }
    }

    fn duration(&mut self, min: u8, place: Place) -> Result<DurationNode, ParseError> {
        let (depth, nesting) = (self.depth, self.nesting);
        self.nest()?;
        let mut left = match self.sign() {
            Some(op) => {
                let start = self.advance().start;
                let inner = self.duration(precedence(BinaryOp::Pow), place)?;
                self.apply_sign(op, start, inner)?
            }
            None => self.duration_primary(place)?,
        };
        while let TokenKind::Operator(op) = self.token.kind {
            let arithmetic = matches!(
                op,
                BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow
            );
            let strength = precedence(op);
            if !arithmetic || strength < min {
                break;
            }
            self.deeper()?;
            let op_span = span_of(self.advance());
            let right = self.duration(if op == BinaryOp::Pow { strength } else { strength + 1 }, place)?;
            if let DurationKind::Number(NumberLiteral { value: 0.0, .. }) = right.kind {
                match op {
                    BinaryOp::Div => return Err(self.error(op_span, "division by zero")),
                    BinaryOp::Mod => return Err(self.error(op_span, "modulo by zero")),
                    _ => {}
                }
            }
            let span = left.span.to(right.span);
            left = DurationNode { kind: DurationKind::Binary(op, Box::new(left), Box::new(right)), span };
        }
        (self.depth, self.nesting) = (depth, nesting);
        Ok(left)
    }

    /// A sign on a number becomes part of it; a plus on anything else says nothing.
    fn apply_sign(&self, op: UnaryOp, start: u32, inner: DurationNode) -> Result<DurationNode, ParseError> {
        let span = Span { start, end: inner.span.end };
        let kind = match (op, inner.kind) {
            (_, DurationKind::Number(number)) => DurationKind::Number(signed(op, number)),
            (UnaryOp::Plus, kind) => return Ok(DurationNode { kind, span: inner.span }),
            (UnaryOp::Minus, kind) => DurationKind::Unary(op, Box::new(DurationNode { kind, span: inner.span })),
        };
        Ok(DurationNode { kind, span })
    }

    fn duration_primary(&mut self, place: Place) -> Result<DurationNode, ParseError> {
        let token = self.token;
        if let Some(number) = self.number_literal()? {
            let span = span_of(token);
            if number.value.abs() > MAX_SECS {
                return Err(self.error(span, "duration out of range"));
            }
            return Ok(DurationNode { kind: DurationKind::Number(number), span });
        }
        let kind = match token.kind {
            TokenKind::LeftParen => {
                self.advance();
                let inner = self.duration(0, place)?;
                DurationKind::Paren(Box::new(inner))
            }
            TokenKind::Preprocessor(Preprocessor::Step) => {
                self.open_call(place)?;
                DurationKind::Step
            }
            TokenKind::Preprocessor(Preprocessor::Range) => {
                self.open_call(place)?;
                DurationKind::Range
            }
            TokenKind::Preprocessor(choice @ (Preprocessor::MinOf | Preprocessor::MaxOf)) => {
                self.open_call(place)?;
                let first = Box::new(self.duration(0, place)?);
                if !self.accept(TokenKind::Comma) {
                    return Err(self.unexpected(place));
                }
                let second = Box::new(self.duration(0, place)?);
                match choice {
                    Preprocessor::MinOf => DurationKind::MinOf(first, second),
                    _ => DurationKind::MaxOf(first, second),
                }
            }
            _ => return Err(self.unexpected(place)),
        };
        if !self.accept(TokenKind::RightParen) {
            return Err(self.unexpected(place));
        }
        Ok(DurationNode { span: told(&kind, self.span_from(token.start)), kind })
    }

    fn open_call(&mut self, place: Place) -> Result<(), ParseError> {
        self.advance();
        if self.accept(TokenKind::LeftParen) { Ok(()) } else { Err(self.unexpected(place)) }
    }
}

/// The part of the text that errors name: of parentheses and of `max_of(…)` Prometheus tells what stands in them.
fn told(kind: &DurationKind, whole: Span) -> Span {
    match kind {
        DurationKind::Paren(inner) if matches!(inner.kind, DurationKind::Number(_)) => {
            Span { end: inner.span.end, ..whole }
        }
        DurationKind::Paren(inner) => inner.span,
        DurationKind::MinOf(first, second) | DurationKind::MaxOf(first, second) => first.span.to(second.span),
        _ => whole,
    }
}

fn finish(node: DurationNode) -> DurationExpr {
    match node.kind {
        DurationKind::Number(number) => DurationExpr::Literal(millis(number.value)),
        _ => DurationExpr::Computed(Box::new(node)),
    }
}

/// Whole milliseconds, by way of whole nanoseconds as in Prometheus.
#[expect(clippy::cast_possible_truncation, reason = "in range by the check of every literal")]
fn millis(secs: f64) -> i64 {
    (secs * 1e9).round() as i64 / 1_000_000
}
