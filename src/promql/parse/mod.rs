//! Tokens to a checked tree.
//!
//! [`parse`] reads a whole query: syntax by precedence climbing, then types and arities. It knows every feature of
//! Prometheus 3.14, also those that are behind flags there, and it words errors as Prometheus does, so that what people
//! find about a message holds here too. Only the first error is reported. A tree is never deeper than [`MAX_DEPTH`], so
//! that whoever walks it may recurse.

mod duration;
mod error;
mod matching;
mod modifier;
mod number;
mod primary;
mod selector;
#[cfg(test)]
mod tests;

use crate::model::matcher::Matcher;
use crate::promql::ast::{BinaryExpr, BinaryOp, Expr, ExprKind, NumberLiteral, Span, UnaryOp};
use crate::promql::check::check;
use crate::promql::lex::Lexer;
pub use crate::promql::parse::error::ParseError;
use crate::promql::token::{Token, TokenKind};

/// How deep a tree is; a chain of operators counts its length. For those who walk trees by recursion.
pub const MAX_DEPTH: u32 = 250;

/// How deep parentheses, calls, signs and powers nest in the text. Each level costs up to 12 KiB of stack without
/// optimisation, and threads have 2 MiB.
const MAX_NESTING: u32 = 100;

/// Longest query that is looked at. Positions are 32 bit.
const MAX_BYTES: usize = 1 << 20;

/// Parses and checks a query.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text)?;
    if parser.token.kind == TokenKind::Eof {
        return Err(ParseError::new(text, Span::default(), "no expression found in input"));
    }
    let mut expr = parser.expr()?;
    parser.end()?;
    check(&mut expr, text)?;
    Ok(expr)
}

/// Parses a selector without range and modifiers, as `match[]` has it.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text)?;
    let selector = parser.bare_selector()?;
    parser.end()?;
    Ok(selector.matchers)
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// The next token, not yet consumed.
    token: Token,
    /// End of the last consumed token.
    last_end: u32,
    /// How many aggregations are open: an error inside one is said to be in it.
    aggregations: u32,
    depth: u32,
    nesting: u32,
}

/// Where an error is, as messages say it.
#[derive(Clone, Copy)]
struct Place {
    context: &'static str,
    expected: &'static str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > MAX_BYTES {
            let message = format!("query is longer than {MAX_BYTES} bytes");
            return Err(ParseError::new(text, Span::default(), message));
        }
        let mut lexer = Lexer::new(text);
        let token = lexer.next();
        Ok(Self { text, lexer, token, last_end: 0, aggregations: 0, depth: 0, nesting: 0 })
    }

    /// Consumes the next token.
    fn advance(&mut self) -> Token {
        let token = self.token;
        self.last_end = token.end;
        self.token = self.lexer.next();
        token
    }

    /// Consumes the next token if it is of that kind.
    fn accept(&mut self, kind: TokenKind) -> bool {
        let found = self.token.kind == kind;
        if found {
            self.advance();
        }
        found
    }

    fn word(&self, token: Token) -> &'a str {
        self.text.get(token.start as usize..token.end as usize).unwrap_or_default()
    }

    fn span_from(&self, start: u32) -> Span {
        Span { start, end: self.last_end }
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, span, message)
    }

    /// The next token cannot stand here.
    fn unexpected(&self, place: Place) -> ParseError {
        let span = span_of(self.token);
        if self.token.kind == TokenKind::Error {
            return self.error(span, self.lexer.error());
        }
        let mut message = format!("unexpected {}", self.token.describe(self.text));
        for (word, part) in [(" in ", place.context), (", expected ", place.expected)] {
            if !part.is_empty() {
                message.push_str(word);
                message.push_str(part);
            }
        }
        self.error(span, message)
    }

    /// The next token cannot stand here, and there is nothing more to say.
    fn syntax_error(&self) -> ParseError {
        let context = if self.aggregations > 0 { "aggregation" } else { "" };
        self.unexpected(Place { context, expected: "" })
    }

    fn end(&self) -> Result<(), ParseError> {
        if self.token.kind == TokenKind::Eof { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// Counts one level of the tree; the caller restores `depth` when it leaves the level.
    fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.too_deep(MAX_DEPTH)) } else { Ok(()) }
    }

    /// Counts one level of recursion, which is one of the tree too; the caller restores both.
    fn nest(&mut self) -> Result<(), ParseError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING { Err(self.too_deep(MAX_NESTING)) } else { self.deeper() }
    }

    fn too_deep(&self, limit: u32) -> ParseError {
        self.error(span_of(self.token), format!("expression nests deeper than {limit} levels"))
    }

    fn expr(&mut self) -> Result<Expr, ParseError> {
        self.binary(0)
    }

    /// An expression of operators that bind at least as strongly as `min`.
    fn binary(&mut self, min: u8) -> Result<Expr, ParseError> {
        let (depth, nesting) = (self.depth, self.nesting);
        self.nest()?;
        let mut left = self.unary()?;
        while let TokenKind::Operator(op) = self.token.kind {
            let strength = precedence(op);
            if strength < min {
                break;
            }
            self.deeper()?;
            let op_span = span_of(self.advance());
            let modifiers = self.binary_modifiers()?;
            let right = self.binary(if op == BinaryOp::Pow { strength } else { strength + 1 })?;
            let span = left.span.to(right.span);
            let binary = BinaryExpr {
                op,
                op_span,
                left,
                right,
                return_bool: modifiers.return_bool,
                matching: Some(modifiers.matching),
            };
            left = Expr { kind: ExprKind::Binary(Box::new(binary)), span };
        }
        (self.depth, self.nesting) = (depth, nesting);
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        let op = match self.token.kind {
            TokenKind::Operator(BinaryOp::Add) => UnaryOp::Plus,
            TokenKind::Operator(BinaryOp::Sub) => UnaryOp::Minus,
            _ => return self.postfix(),
        };
        let start = self.advance().start;
        // A sign binds as multiplication does, so only powers go before it.
        let inner = self.binary(precedence(BinaryOp::Pow))?;
        let span = Span { start, end: inner.span.end };
        let kind = match inner.kind {
            ExprKind::Number(number) => ExprKind::Number(signed(op, number)),
            _ => ExprKind::Unary(op, Box::new(inner)),
        };
        Ok(Expr { kind, span })
    }
}

fn span_of(token: Token) -> Span {
    Span { start: token.start, end: token.end }
}

fn signed(op: UnaryOp, number: NumberLiteral) -> NumberLiteral {
    let value = if op == UnaryOp::Minus { -number.value } else { number.value };
    NumberLiteral { value, ..number }
}

/// How strongly an operator binds.
fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Greater
        | BinaryOp::Less
        | BinaryOp::GreaterEqual
        | BinaryOp::LessEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => 6,
    }
}
