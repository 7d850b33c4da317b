//! The tokens that the text formats share: names, quoted strings, label lists, words.

use std::borrow::Cow;

use super::LABELS_MAX;

/// What is wrong, and at which byte.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: Cow<'static, str>,
}

pub(super) fn fault<T>(at: usize, message: impl Into<Cow<'static, str>>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into() })
}

/// How strict a label list is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Blanks between tokens, line breaks inside quotes, commas optional.
    Text,
    OpenMetrics,
    /// OpenMetrics, and no metric name inside the braces.
    Exemplar,
}

/// A position in a body.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) body: &'a [u8],
    pub(super) at: usize,
    /// The whole body is UTF-8, so that no piece needs a check of its own.
    utf8: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0, utf8: std::str::from_utf8(body).is_ok() }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// What is left.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.body.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn eat_word(&mut self, word: &[u8]) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// The bytes from `start` up to here.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.body.get(start..self.at).unwrap_or_default()
    }

    /// Everything up to the end of the line, which is consumed with it.
    pub(super) fn line(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += (end + 1).min(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    /// Bytes up to a blank, a line break or the end; may be empty.
    #[inline]
    pub(super) fn word(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n')).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// A classic name; `colon` says whether it may hold `:`. False, and nowhere moved, where none starts here.
    #[inline]
    pub(super) fn name(&mut self, colon: bool) -> bool {
        let rest = self.rest();
        let end = rest.iter().position(|&byte| !is_name_byte(byte, colon)).unwrap_or(rest.len());
        if end == 0 || rest.first().is_some_and(u8::is_ascii_digit) {
            return false;
        }
        self.at += end;
        true
    }

    /// A string in double quotes; gives the offsets between them. `breaks` says whether it may span lines.
    #[inline]
    pub(super) fn quoted(&mut self, breaks: bool) -> Result<(u32, u32), Fault> {
        let open = self.at;
        if !self.eat(b'"') {
            return fault(open, "expected a quoted string");
        }
        let start = self.at;
        loop {
            let rest = self.rest();
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                return fault(open, "quoted string does not end");
            };
            self.at += found + 1;
            if rest.get(found) == Some(&b'"') {
                break;
            }
            // The byte behind a backslash never ends the string.
            self.at += 1;
        }
        let end = self.at - 1;
        let inside = self.body.get(start..end).unwrap_or_default();
        if !breaks && memchr::memchr(b'\n', inside).is_some() {
            return fault(open, "quoted string does not end on its line");
        }
        self.check_utf8(inside, start)?;
        Ok((offset(start), offset(end)))
    }

    pub(super) fn check_utf8(&self, piece: &[u8], at: usize) -> Result<(), Fault> {
        if !self.utf8 && std::str::from_utf8(piece).is_err() {
            return fault(at, "not valid UTF-8");
        }
        Ok(())
    }

    /// Reads behind `{` up to and with `}`. Appends label offsets to `pairs`; a quoted string that is no label name is
    /// the metric name.
    pub(super) fn label_list(
        &mut self,
        name: &mut Option<(u32, u32)>,
        pairs: &mut Vec<[u32; 4]>,
        dialect: Dialect,
    ) -> Result<(), Fault> {
        let lax = dialect == Dialect::Text;
        loop {
            if lax {
                self.skip_blanks();
            }
            if self.eat(b'}') {
                return Ok(());
            }
            let at = self.at;
            let quoted = self.peek() == Some(b'"');
            let (name_start, name_end) = self.label_name(quoted, lax)?;
            if lax {
                self.skip_blanks();
            }
            if quoted && dialect != Dialect::Exemplar && matches!(self.peek(), Some(b',' | b'}')) {
                if name.replace((name_start, name_end)).is_some() {
                    return fault(at, "metric name is already set");
                }
                self.eat(b',');
                continue;
            }
            if !self.eat(b'=') {
                return fault(self.at, "expected '=' after the label name");
            }
            if lax {
                self.skip_blanks();
            }
            if self.peek() != Some(b'"') {
                return fault(self.at, "expected a label value in double quotes");
            }
            let (start, end) = self.quoted(lax)?;
            if pairs.len() >= LABELS_MAX {
                return fault(at, "too many labels in one series");
            }
            pairs.push([name_start, name_end, start, end]);
            if lax {
                self.skip_blanks();
            }
            if !self.eat(b',') && !lax && self.peek() != Some(b'}') {
                return fault(self.at, "expected ',' or '}' after the label value");
            }
        }
    }

    #[inline]
    fn label_name(&mut self, quoted: bool, lax: bool) -> Result<(u32, u32), Fault> {
        if quoted {
            return self.quoted(lax);
        }
        let start = self.at;
        if self.name(false) {
            return Ok((offset(start), offset(self.at)));
        }
        fault(start, "expected a label name or '}'")
    }
}

/// Bodies are limited to 30 bits when a parser is made.
#[inline]
pub(super) fn offset(at: usize) -> u32 {
    at as u32
}

/// Letters, digits, `_` and, for metric names, `:`.
#[inline]
pub(super) fn is_name_byte(byte: u8, colon: bool) -> bool {
    NAME_BYTES[usize::from(byte)] || (colon && byte == b':')
}

const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};
