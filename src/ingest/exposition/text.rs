//! The Prometheus text format 0.0.4 (and 1.0.0, which has the same grammar).
//!
//! Laxer than the specification where Prometheus is: blanks anywhere between tokens, commas between labels optional.
//! Beyond Prometheus it takes CR LF as a line end, which hand-written exporters on Windows send.

use super::labels::unescape;
use super::lexer::{Cursor, Dialect, Fault, fault, is_name_byte, offset};
use super::{Entry, Pairs, Series, Value, number};
use crate::model::metadata::MetricType;

#[derive(Debug)]
pub(super) struct TextParser<'a> {
    cursor: Cursor<'a>,
    pairs: Vec<[u32; 4]>,
    kind: MetricType,
}

impl<'a> TextParser<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(body), pairs: Vec::new(), kind: MetricType::Unknown }
    }

    pub(super) fn next(&mut self, expected: &[u8]) -> Result<Option<Entry<'_>>, Fault> {
        loop {
            self.cursor.skip_blanks();
            match self.cursor.peek() {
                None => return Ok(None),
                Some(b'\n') => self.cursor.at += 1,
                Some(b'\r') if self.cursor.rest().get(1) == Some(&b'\n') => self.cursor.at += 2,
                Some(b'#') => {
                    if let Some(keyword) = self.keyword() {
                        return self.metadata(keyword).map(Some);
                    }
                    self.cursor.line();
                }
                Some(_) => return self.series(expected).map(Some),
            }
        }
    }

    /// Reads `# HELP ` or `# TYPE `; any other comment stays where it is.
    fn keyword(&mut self) -> Option<Keyword> {
        let mut cursor = self.cursor.clone();
        cursor.at += 1;
        let hash = cursor.at;
        cursor.skip_blanks();
        if cursor.at == hash {
            return None;
        }
        let keyword = if cursor.eat_word(b"HELP") {
            Keyword::Help
        } else if cursor.eat_word(b"TYPE") {
            Keyword::Type
        } else {
            return None;
        };
        let word = cursor.at;
        cursor.skip_blanks();
        if cursor.at == word {
            return None;
        }
        self.cursor.at = cursor.at;
        Some(keyword)
    }

    fn metadata(&mut self, keyword: Keyword) -> Result<Entry<'_>, Fault> {
        let start = self.cursor.at;
        let family = if self.cursor.peek() == Some(b'"') {
            let (start, end) = self.cursor.quoted(false)?;
            self.cursor.body.get(start as usize..end as usize).unwrap_or_default()
        } else if self.cursor.name(true) {
            self.cursor.since(start)
        } else {
            return fault(start, "expected a metric name after HELP or TYPE");
        };
        let at = self.cursor.at;
        let line = trim_return(self.cursor.line());
        let text = match line.split_first() {
            Some((b' ' | b'\t', rest)) => rest,
            Some(_) => return fault(at, "expected a blank after the metric name"),
            None => line,
        };
        self.cursor.check_utf8(text, at)?;
        let family = unescape(family);
        match keyword {
            Keyword::Help => Ok(Entry::Help { family, help: unescape_help(text) }),
            Keyword::Type => {
                self.kind = match text.trim_ascii() {
                    b"counter" => MetricType::Counter,
                    b"gauge" => MetricType::Gauge,
                    b"histogram" => MetricType::Histogram,
                    b"summary" => MetricType::Summary,
                    b"untyped" => MetricType::Unknown,
                    other => {
                        let name = String::from_utf8_lossy(other).into_owned();
                        return fault(at + 1, format!("invalid metric type {name:?}"));
                    }
                };
                Ok(Entry::Type { family, kind: self.kind })
            }
        }
    }

    fn series(&mut self, expected: &[u8]) -> Result<Entry<'_>, Fault> {
        let start = self.cursor.at;
        self.pairs.clear();
        let mut name = None;
        let expected = self.matches_expected(expected);
        if !expected {
            if self.cursor.name(true) {
                name = Some((offset(start), offset(self.cursor.at)));
            }
            let behind_name = self.cursor.at;
            self.cursor.skip_blanks();
            if self.cursor.eat(b'{') {
                self.cursor.label_list(&mut name, &mut self.pairs, Dialect::Text)?;
            } else {
                self.cursor.at = behind_name;
            }
            if name.is_none() {
                return fault(start, "expected a metric name");
            }
        }
        let raw = self.cursor.since(start);
        let (value, time) = self.value_and_time()?;
        Ok(Entry::Series(Series {
            raw,
            expected,
            pairs: Pairs::new(self.cursor.body, name, &self.pairs, self.kind),
            value: Value::Float(value),
            time,
            start: 0,
            exemplars: &[],
            exemplar_text: &[],
        }))
    }

    /// Skips the announced series if it stands here whole: followed by what cannot continue it.
    #[inline]
    fn matches_expected(&mut self, expected: &[u8]) -> bool {
        if expected.is_empty() || !self.cursor.rest().starts_with(expected) {
            return false;
        }
        let closed = expected.last() == Some(&b'}');
        let mut after = self.cursor.clone();
        after.at += expected.len();
        let continues = !closed && after.peek().is_none_or(|byte| is_name_byte(byte, true));
        let end = after.at;
        after.skip_blanks();
        if continues || (!closed && after.peek() == Some(b'{')) {
            return false;
        }
        self.cursor.at = end;
        true
    }

    #[inline]
    fn value_and_time(&mut self) -> Result<(f64, Option<i64>), Fault> {
        self.cursor.skip_blanks();
        let at = self.cursor.at;
        let word = trim_return(self.cursor.word());
        if word.is_empty() {
            return fault(at, "expected a value after the series");
        }
        let Some(value) = number::parse_float(word) else {
            return fault(at, format!("{:?} is not a number", String::from_utf8_lossy(word)));
        };
        self.cursor.skip_blanks();
        let at = self.cursor.at;
        let word = trim_return(self.cursor.word());
        let mut time = None;
        if !word.is_empty() {
            time = std::str::from_utf8(word).ok().and_then(|text| text.parse::<i64>().ok());
            if time.is_none() {
                return fault(at, format!("{:?} is not a timestamp", String::from_utf8_lossy(word)));
            }
        }
        self.cursor.skip_blanks();
        self.cursor.eat(b'\r');
        if self.cursor.peek().is_some() && !self.cursor.eat(b'\n') {
            return fault(self.cursor.at, "expected the end of the line");
        }
        Ok((value, time))
    }
}

#[derive(Clone, Copy)]
enum Keyword {
    Help,
    Type,
}

fn trim_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Help texts escape backslash and line break only, so a quote keeps its backslash.
fn unescape_help(text: &[u8]) -> std::borrow::Cow<'_, str> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    if !text.contains('\\') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out.into()
}
