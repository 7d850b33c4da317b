//! Matcher lists as Alertmanager writes them: `severity=~"critical|page"`, with or without quotes and braces.
//!
//! Both syntaxes are read: the UTF-8 one (names may be quoted, unquoted text has no reserved characters), and the
//! classic one, which takes almost anything for a value.

use crate::model::labels::{Labels, is_classic_label_name};
use crate::model::matcher::{MatchOp, Matcher};

/// A list that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    #[error("bad matcher format: {0}")]
    Format(String),
    #[error("matcher value contains unescaped double quote: {0}")]
    Quote(String),
    #[error("invalid matcher {0}: {1}")]
    Regex(String, String),
}

/// Reads a comma-separated list, with or without braces around it.
pub fn parse(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let text = text.trim();
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    split(text).into_iter().map(parse_one).collect()
}

/// Whether an alert with these labels fulfils all matchers.
pub fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
}

/// A matcher as Alertmanager prints it, in group keys and in the API.
pub fn print(matcher: &Matcher) -> String {
    let value = go_quote(&matcher.value);
    if is_classic_label_name(&matcher.name) {
        format!("{}{}{value}", matcher.name, matcher.op.symbol())
    } else {
        format!("{}{}{value}", go_quote(&matcher.name), matcher.op.symbol())
    }
}

/// A list as Alertmanager prints it: `{a="b",c=~"d"}`.
pub fn print_all(matchers: &[Matcher]) -> String {
    format!("{{{}}}", matchers.iter().map(print).collect::<Vec<_>>().join(","))
}

/// Escapes `\`, `"` and line feeds, as OpenMetrics does.
fn go_quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Splits at commas outside of quotes. A trailing comma is no matcher.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut in_quotes, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            ',' if !in_quotes => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            '"' if !is_escaped => in_quotes = !in_quotes,
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    if !text[start..].trim().is_empty() {
        parts.push(&text[start..]);
    }
    parts
}

fn parse_one(text: &str) -> Result<Matcher, MatcherError> {
    let bad = || MatcherError::Format(text.trim().to_owned());
    let (name, rest) = take_name(text.trim()).ok_or_else(bad)?;
    let rest = rest.trim_start();
    let operators =
        [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
    let (op, rest) = operators
        .into_iter()
        .find_map(|(symbol, op)| rest.strip_prefix(symbol).map(|rest| (op, rest)))
        .ok_or_else(bad)?;
    let value = unquote(rest.trim()).ok_or_else(|| MatcherError::Quote(rest.trim().to_owned()))?;
    Matcher::new(op, &name, &value).map_err(|error| MatcherError::Regex(text.trim().to_owned(), error.to_string()))
}

/// A name, quoted or classic (which allows colons), and what follows it.
fn take_name(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut is_escaped = false;
        let end = quoted.char_indices().find_map(|(at, c)| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends.then_some(at)
        })?;
        let name = unquote(&text[..end + 2])?;
        return (!name.is_empty()).then(|| (name, &quoted[end + 1..]));
    }
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '=' | '!' | '~' | ',' | '{' | '}' | '"'))?;
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

/// Removes quotes and escapes. A quote in the middle is an error; an escape that means nothing stays.
fn unquote(text: &str) -> Option<String> {
    let inner = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\')) => value.push(c),
                Some(other) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(parse(text).map(|list| print_all(&list)), Ok(expected.to_owned()), "{text}");
    }

    #[test]
    fn both_syntaxes_are_read() {
        check(r#"{foo = "bar", dings != "bums", }"#, r#"{foo="bar",dings!="bums"}"#);
        check("foo=bar,dings!=bums", r#"{foo="bar",dings!="bums"}"#);
        check(r#"{quote="She said: \"Hi, ladies!\""}"#, r#"{quote="She said: \"Hi, ladies!\""}"#);
        check(r#"statuscode=~"5..""#, r#"{statuscode=~"5.."}"#);
        check(r#""service.name"!~"a|b""#, r#"{"service.name"!~"a|b"}"#);
        check("foo=", r#"{foo=""}"#);
        check("", "{}");
    }

    #[test]
    fn what_is_no_matcher_is_an_error() {
        assert_eq!(parse("foo"), Err(MatcherError::Format("foo".to_owned())));
        assert_eq!(parse(r#"foo="bar""baz""#), Err(MatcherError::Quote(r#""bar""baz""#.to_owned())));
        assert!(matches!(parse("foo=~\"(\""), Err(MatcherError::Regex(..))));
    }
}
