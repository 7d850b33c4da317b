//! Strings of the language: how they are written and read, as Go writes and reads them.

use std::fmt::Write;

/// `text` between double quotes, with Go's escapes (`strconv.Quote`).
pub fn quote_str(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        escape_into(&mut out, c, '"');
    }
    out.push('"');
    out
}

/// `c` between single quotes (Go's `%q` of a rune).
pub(crate) fn quote_char(c: char) -> String {
    let mut out = String::from("'");
    escape_into(&mut out, c, '\'');
    out.push('\'');
    out
}

fn escape_into(out: &mut String, c: char, quote: char) {
    match c {
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        '\\' => out.push_str("\\\\"),
        _ if c == quote => {
            out.push('\\');
            out.push(c);
        }
        ' '..='~' => out.push(c),
        _ if is_printable(c) => out.push(c),
        // Writing to a string cannot fail.
        _ if c.is_ascii() => _ = write!(out, "\\x{:02x}", u32::from(c)),
        _ if u32::from(c) < 0x1_0000 => _ = write!(out, "\\u{:04x}", u32::from(c)),
        _ => _ = write!(out, "\\U{:08x}", u32::from(c)),
    }
}

/// Go's `unicode.IsPrint` beyond ASCII. The standard library knows it only through `escape_debug`, which escapes a
/// combining mark at the start of a string, so another character stands before it.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    let mut text = String::from("a");
    text.push(c);
    !text.escape_debug().any(|c| c == '\\')
}

/// The value of a literal, quotes included. `None` where it is not one; the lexer lets only good ones pass. Byte escapes
/// may spell what is not UTF-8: label values are always UTF-8, so such bytes become replacement characters.
pub fn unquote(literal: &str) -> Option<String> {
    let quote = literal.chars().next()?;
    let inner = literal.strip_prefix(quote)?.strip_suffix(quote)?;
    match quote {
        '`' => return (!inner.contains('`')).then(|| inner.to_owned()),
        '"' | '\'' if inner.contains('\n') => return None,
        '"' | '\'' if !inner.contains(['\\', quote]) => return Some(inner.to_owned()),
        '"' | '\'' => {}
        _ => return None,
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let decoded = if c == '\\' { unescape(&mut chars, quote, &mut bytes)? } else { Some(c) };
        if let Some(c) = decoded {
            if c == quote && !inner.contains('\\') {
                return None;
            }
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Reads one escape sequence behind its backslash: a character, or a byte that was pushed.
fn unescape(chars: &mut std::str::Chars<'_>, quote: char, bytes: &mut Vec<u8>) -> Option<Option<char>> {
    let number = |chars: &mut std::str::Chars<'_>, digits: u32, base: u32, first: u32| {
        (0..digits).try_fold(first, |value, _| value.checked_mul(base)?.checked_add(chars.next()?.to_digit(base)?))
    };
    Some(Some(match chars.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        'x' => {
            bytes.push(u8::try_from(number(chars, 2, 16, 0)?).ok()?);
            return Some(None);
        }
        c @ '0'..='7' => {
            bytes.push(u8::try_from(number(chars, 2, 8, c.to_digit(8)?)?).ok()?);
            return Some(None);
        }
        'u' => char::from_u32(number(chars, 4, 16, 0)?)?,
        'U' => char::from_u32(number(chars, 8, 16, 0)?)?,
        c if c == quote => c,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(
            quote_str("a\"b\\\n\u{1}é\u{301}\u{a0}\u{e0001}"),
            "\"a\\\"b\\\\\\n\\x01é\u{301}\\u00a0\\U000e0001\""
        );
        assert_eq!(quote_char('\''), "'\\\\''".replace("\\\\", "\\"));
    }

    #[test]
    fn unquotes_every_escape() {
        assert_eq!(unquote(r#""\a\x41\101\u00e9\U0001F600\"'""#).as_deref(), Some("\u{7}AAé😀\"'"));
        assert_eq!(unquote(r"'\'\xc3\xa9'").as_deref(), Some("'é"));
        assert_eq!(unquote("`a\\n`").as_deref(), Some("a\\n"));
        for bad in ["\"", "\"a", "\"\\q\"", "\"\\400\"", "'\n'", "\"\\'\"", "abc"] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }
}
