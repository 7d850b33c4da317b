//! Values of numbers and durations.

use crate::promql::ast::NumberLiteral;
use crate::promql::duration;
use crate::promql::parse::{ParseError, Parser, span_of};
use crate::promql::quote::quote_str;
use crate::promql::token::TokenKind;

impl Parser<'_> {
    /// A number or duration, if one is next.
    pub(super) fn number_literal(&mut self) -> Result<Option<NumberLiteral>, ParseError> {
        let token = self.token;
        let is_duration = match token.kind {
            TokenKind::Number => false,
            TokenKind::Duration => true,
            _ => return Ok(None),
        };
        self.advance();
        let word = self.word(token);
        let value = if is_duration {
            #[expect(clippy::cast_precision_loss, reason = "Prometheus counts literals in floating-point seconds too")]
            duration::parse(word).map(|millis| millis as f64 / 1000.0)
        } else {
            parse_number(word)
        };
        let value = value.map_err(|message| self.error(span_of(token), message))?;
        Ok(Some(NumberLiteral { value, is_duration }))
    }
}

/// Reads what the lexer takes for a number: decimal, hexadecimal, octal (leading zero), with underscores, `Inf`, `NaN`.
fn parse_number(word: &str) -> Result<f64, String> {
    let fault =
        |reason: &str| format!("error parsing number: strconv.ParseFloat: parsing {}: {reason}", quote_str(word));
    let digits: String = word.chars().filter(|c| *c != '_').collect();
    if digits.len() != word.len() && !underscores_separate_digits(word) {
        return Err(fault("invalid syntax"));
    }
    #[expect(clippy::cast_precision_loss, reason = "integers become floats, as everywhere in the language")]
    let integer = |text: &str, base| i64::from_str_radix(text, base).map(|value| value as f64);
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return integer(hex, 16).map_err(|_| fault("invalid syntax"));
    }
    if digits.len() > 1
        && digits.starts_with('0')
        && let Ok(value) = integer(&digits, 8)
    {
        return Ok(value);
    }
    let value: f64 = digits.parse().map_err(|_| fault("invalid syntax"))?;
    let written_infinity = digits.starts_with(['i', 'I']);
    if value.is_infinite() && !written_infinity { Err(fault("value out of range")) } else { Ok(value) }
}

/// An underscore stands between digits, or between the prefix of a base and a digit.
fn underscores_separate_digits(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_').all(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let after = bytes.get(at + 1);
        before.is_some_and(u8::is_ascii_alphanumeric) && after.is_some_and(u8::is_ascii_hexdigit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation() {
        for (word, value) in [
            ("1_000", 1000.0),
            ("0x_1F", 31.0),
            ("0755", 493.0),
            ("08", 8.0),
            ("5.", 5.0),
            (".5e-1", 0.05),
            ("1_0.2_5", 10.25),
            ("Inf", f64::INFINITY),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ] {
            assert_eq!(parse_number(word), Ok(value), "{word}");
        }
        assert!(parse_number("nAN").unwrap().is_nan());
        assert!(parse_number("1e309").unwrap_err().ends_with("parsing \"1e309\": value out of range"));
        assert!(parse_number("0x").is_err());
    }
}
