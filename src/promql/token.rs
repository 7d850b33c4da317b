//! Words of the language: kinds of tokens, keywords, and how an error message names them.

use crate::promql::ast::{AggregateOp, BinaryOp};
use crate::promql::quote::quote_str;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Eof,
    Error,
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    String,
    Number,
    Duration,
    LeftBrace,
    RightBrace,
    LeftParen,
    RightParen,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`.
    Equal,
    /// `=~`.
    EqualRegex,
    /// `!~`.
    NotEqualRegex,
    At,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Preprocessor(Preprocessor),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
}

/// Words that are functions, and known before evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// Byte range and kind; the text is in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Token {
    /// The token as an error message names it; `text` is what it was read from.
    pub(crate) fn describe(self, text: &str) -> String {
        let word = text.get(self.start as usize..self.end as usize).unwrap_or_default();
        match self.kind {
            TokenKind::Eof => "end of input".to_owned(),
            TokenKind::Identifier => format!("identifier {}", quote_str(word)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", quote_str(word)),
            TokenKind::String => format!("string {}", quote_start(word)),
            TokenKind::Number => format!("number {}", quote_start(word)),
            TokenKind::Duration => format!("duration {}", quote_start(word)),
            TokenKind::Operator(_) | TokenKind::EqualRegex | TokenKind::NotEqualRegex | TokenKind::At => {
                format!("<op:{word}>")
            }
            TokenKind::Aggregate(_) => format!("<aggr:{word}>"),
            TokenKind::Keyword(_) => format!("<{word}>"),
            _ => quote_start(word),
        }
    }
}

/// Quoted, and cut after ten characters where it has more than ten bytes, as Prometheus does.
fn quote_start(word: &str) -> String {
    if word.len() <= 10 {
        return quote_str(word);
    }
    let end = word.char_indices().nth(10).map_or(word.len(), |(end, _)| end);
    format!("{}...", quote_str(word.get(..end).unwrap_or_default()))
}

/// What a word means where keywords are known.
pub(crate) fn keyword(word: &str) -> Option<TokenKind> {
    /// `count_values`.
    const LONGEST: usize = 12;
    let mut lower = [0_u8; LONGEST];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"and" => TokenKind::Operator(BinaryOp::And),
        b"or" => TokenKind::Operator(BinaryOp::Or),
        b"unless" => TokenKind::Operator(BinaryOp::Unless),
        b"atan2" => TokenKind::Operator(BinaryOp::Atan2),
        b"sum" => TokenKind::Aggregate(AggregateOp::Sum),
        b"avg" => TokenKind::Aggregate(AggregateOp::Avg),
        b"count" => TokenKind::Aggregate(AggregateOp::Count),
        b"min" => TokenKind::Aggregate(AggregateOp::Min),
        b"max" => TokenKind::Aggregate(AggregateOp::Max),
        b"group" => TokenKind::Aggregate(AggregateOp::Group),
        b"stddev" => TokenKind::Aggregate(AggregateOp::Stddev),
        b"stdvar" => TokenKind::Aggregate(AggregateOp::Stdvar),
        b"topk" => TokenKind::Aggregate(AggregateOp::TopK),
        b"bottomk" => TokenKind::Aggregate(AggregateOp::BottomK),
        b"count_values" => TokenKind::Aggregate(AggregateOp::CountValues),
        b"quantile" => TokenKind::Aggregate(AggregateOp::Quantile),
        b"limitk" => TokenKind::Aggregate(AggregateOp::LimitK),
        b"limit_ratio" => TokenKind::Aggregate(AggregateOp::LimitRatio),
        b"offset" => TokenKind::Keyword(Keyword::Offset),
        b"smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        b"anchored" => TokenKind::Keyword(Keyword::Anchored),
        b"by" => TokenKind::Keyword(Keyword::By),
        b"without" => TokenKind::Keyword(Keyword::Without),
        b"on" => TokenKind::Keyword(Keyword::On),
        b"ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        b"group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        b"group_right" => TokenKind::Keyword(Keyword::GroupRight),
        b"fill" => TokenKind::Keyword(Keyword::Fill),
        b"fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        b"fill_right" => TokenKind::Keyword(Keyword::FillRight),
        b"bool" => TokenKind::Keyword(Keyword::Bool),
        b"start" => TokenKind::Preprocessor(Preprocessor::Start),
        b"end" => TokenKind::Preprocessor(Preprocessor::End),
        b"step" => TokenKind::Preprocessor(Preprocessor::Step),
        b"range" => TokenKind::Preprocessor(Preprocessor::Range),
        b"max_of" => TokenKind::Preprocessor(Preprocessor::MaxOf),
        b"min_of" => TokenKind::Preprocessor(Preprocessor::MinOf),
        b"inf" | b"nan" => TokenKind::Number,
        _ => return None,
    })
}
