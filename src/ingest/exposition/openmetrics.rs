//! OpenMetrics 1.0 (and 0.0.1) text: single spaces, `# EOF` at the end, exemplars, units, `_created` samples.

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3;

use super::labels::unescape;
use super::lexer::{Cursor, Dialect, Fault, fault, is_name_byte, offset};
use super::{Entry, Options, Pairs, RawExemplar, Series, Value, number};
use crate::model::metadata::MetricType;

#[derive(Debug)]
pub(super) struct OpenMetricsParser<'a> {
    cursor: Cursor<'a>,
    options: Options,
    pairs: Vec<[u32; 4]>,
    exemplar: RawExemplar,
    kind: MetricType,
    /// Hash of family and labels → creation time in milliseconds, gathered ahead: the format puts `_created` behind
    /// the samples that it belongs to. Empty for most bodies, which then cost one substring search.
    created: HashMap<u64, i64>,
    done: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keyword {
    Help,
    Type,
    Unit,
}

/// One sample line, read.
struct Line {
    name: (u32, u32),
    /// Where the text of the series ends.
    raw_end: usize,
    value: f64,
    time: Option<i64>,
    has_exemplar: bool,
}

impl<'a> OpenMetricsParser<'a> {
    pub(super) fn new(body: &'a [u8], options: Options) -> Self {
        let mut parser = Self {
            cursor: Cursor::new(body),
            options,
            pairs: Vec::new(),
            exemplar: RawExemplar::default(),
            kind: MetricType::Unknown,
            created: HashMap::new(),
            done: false,
        };
        if memchr::memmem::find(body, b"_created").is_some() {
            parser.gather_created();
        }
        parser
    }

    pub(super) fn next(&mut self, expected: &[u8]) -> Result<Option<Entry<'_>>, Fault> {
        loop {
            if self.done {
                return Ok(None);
            }
            let at = self.cursor.at;
            match self.cursor.peek() {
                None => return fault(at, "data does not end with # EOF"),
                Some(b'#') => {
                    let Some(keyword) = self.keyword()? else { continue };
                    return self.metadata(keyword).map(Some);
                }
                Some(_) => {}
            }
            let expected = self.matches_expected(expected);
            let line = self.sample(at, expected)?;
            if !self.options.created_as_series && self.is_created(line.name) {
                continue;
            }
            return Ok(Some(self.series(at, expected, &line)));
        }
    }

    fn series(&self, at: usize, expected: bool, line: &Line) -> Entry<'_> {
        let start = if self.created.is_empty() || !has_creation_time(self.kind) {
            0
        } else {
            self.created.get(&self.point_hash(line.name)).copied().unwrap_or(0)
        };
        Entry::Series(Series {
            raw: self.cursor.body.get(at..line.raw_end).unwrap_or_default(),
            expected,
            pairs: Pairs::new(self.cursor.body, (!expected).then_some(line.name), &self.pairs, self.kind),
            value: Value::Float(line.value),
            time: line.time,
            start,
            exemplars: if line.has_exemplar { std::slice::from_ref(&self.exemplar) } else { &[] },
            exemplar_text: self.cursor.body,
        })
    }

    /// Reads HELP, TYPE or UNIT up to the blank behind it; `None` at a good end.
    fn keyword(&mut self) -> Result<Option<Keyword>, Fault> {
        let at = self.cursor.at;
        if self.cursor.eat_word(b"# HELP ") {
            return Ok(Some(Keyword::Help));
        }
        if self.cursor.eat_word(b"# TYPE ") {
            return Ok(Some(Keyword::Type));
        }
        if self.cursor.eat_word(b"# UNIT ") {
            return Ok(Some(Keyword::Unit));
        }
        if !self.cursor.eat_word(b"# EOF") {
            return fault(at, "expected HELP, TYPE, UNIT or EOF after '#'");
        }
        self.cursor.eat(b'\n');
        if self.cursor.peek().is_some() {
            return fault(self.cursor.at, "unexpected data after # EOF");
        }
        self.done = true;
        Ok(None)
    }

    fn metadata(&mut self, keyword: Keyword) -> Result<Entry<'_>, Fault> {
        let start = self.cursor.at;
        let family = if self.cursor.peek() == Some(b'"') {
            let (start, end) = self.cursor.quoted(false)?;
            self.cursor.body.get(start as usize..end as usize).unwrap_or_default()
        } else if self.cursor.name(true) {
            self.cursor.since(start)
        } else {
            return fault(start, "expected a metric name after HELP, TYPE or UNIT");
        };
        let at = self.cursor.at;
        if !self.cursor.eat(b' ') {
            return fault(at, "expected a text after the metric name");
        }
        let text = self.line()?;
        self.cursor.check_utf8(text, at + 1)?;
        let family = unescape(family);
        match keyword {
            Keyword::Help => Ok(Entry::Help { family, help: unescape(text) }),
            Keyword::Unit => {
                let unit = unescape(text);
                let before = family.strip_suffix(unit.as_ref());
                if !unit.is_empty() && !before.is_some_and(|rest| rest.ends_with('_')) {
                    return fault(at + 1, format!("unit {unit:?} is not a suffix of metric {family:?}"));
                }
                Ok(Entry::Unit { family, unit })
            }
            Keyword::Type => {
                let name = std::str::from_utf8(text).unwrap_or_default();
                self.kind = match MetricType::from_name(name) {
                    Some(kind) if name != "untyped" => kind,
                    _ => return fault(at + 1, format!("invalid metric type {name:?}")),
                };
                Ok(Entry::Type { family, kind: self.kind })
            }
        }
    }

    /// The rest of the line, which must end.
    fn line(&mut self) -> Result<&'a [u8], Fault> {
        let rest = self.cursor.rest();
        if memchr::memchr(b'\n', rest).is_none() {
            return fault(self.cursor.body.len(), "data does not end with # EOF");
        }
        Ok(self.cursor.line())
    }

    /// Reads one sample line. Names and labels are left out where they were announced.
    fn sample(&mut self, start: usize, expected: bool) -> Result<Line, Fault> {
        self.pairs.clear();
        let mut name = expected.then_some((0, 0));
        if !expected {
            if self.cursor.name(true) {
                name = Some((offset(start), offset(self.cursor.at)));
            }
            if self.cursor.eat(b'{') {
                self.cursor.label_list(&mut name, &mut self.pairs, Dialect::OpenMetrics)?;
            }
        }
        let Some(name) = name else { return fault(start, "expected a metric name") };
        let raw_end = self.cursor.at;
        let value = self.number("expected a value after the series")?;
        let mut time = None;
        if self.cursor.peek() == Some(b' ') && !self.cursor.rest().starts_with(b" # {") {
            time = Some(self.seconds()?);
        }
        let has_exemplar = self.cursor.eat_word(b" # {");
        if has_exemplar {
            self.read_exemplar()?;
        }
        if self.cursor.eat(b'\n') {
            return Ok(Line { name, raw_end, value, time, has_exemplar });
        }
        match self.cursor.peek() {
            None => fault(self.cursor.at, "data does not end with # EOF"),
            Some(_) => fault(self.cursor.at, "expected the end of the line"),
        }
    }

    fn read_exemplar(&mut self) -> Result<(), Fault> {
        self.exemplar.pairs.clear();
        self.cursor.label_list(&mut None, &mut self.exemplar.pairs, Dialect::Exemplar)?;
        self.exemplar.value = self.number("expected a value after the exemplar's labels")?;
        self.exemplar.time = if self.cursor.peek() == Some(b' ') { Some(self.seconds()?) } else { None };
        Ok(())
    }

    fn number(&mut self, missing: &'static str) -> Result<f64, Fault> {
        let at = self.cursor.at;
        if !self.cursor.eat(b' ') {
            return fault(at, missing);
        }
        let word = self.cursor.word();
        match number::parse_float(word) {
            Some(value) => Ok(value),
            None if word.is_empty() => fault(at, missing),
            None => fault(at + 1, format!("{:?} is not a number", String::from_utf8_lossy(word))),
        }
    }

    fn seconds(&mut self) -> Result<i64, Fault> {
        self.cursor.at += 1;
        let at = self.cursor.at;
        let word = self.cursor.word();
        match number::parse_seconds(word) {
            Some(millis) => Ok(millis),
            None => fault(at, format!("{:?} is not a timestamp", String::from_utf8_lossy(word))),
        }
    }

    /// Skips the announced series if it stands here whole. Not used where creation times must be looked up by labels.
    #[inline]
    fn matches_expected(&mut self, expected: &[u8]) -> bool {
        if expected.is_empty() || !self.created.is_empty() || !self.cursor.rest().starts_with(expected) {
            return false;
        }
        let end = self.cursor.at + expected.len();
        let closed = expected.last() == Some(&b'}');
        let next = self.cursor.body.get(end).copied();
        if !closed && next.is_none_or(|byte| is_name_byte(byte, true) || byte == b'{') {
            return false;
        }
        self.cursor.at = end;
        true
    }

    fn is_created(&self, name: (u32, u32)) -> bool {
        has_creation_time(self.kind) && self.name_text(name).ends_with(b"_created")
    }

    fn name_text(&self, name: (u32, u32)) -> &'a [u8] {
        self.cursor.body.get(name.0 as usize..name.1 as usize).unwrap_or_default()
    }

    /// Reads ahead over the whole body. Errors end it: the real pass meets them again and reports them.
    fn gather_created(&mut self) {
        let start = self.cursor.clone();
        let mut created = HashMap::new();
        while let Some(byte) = self.cursor.peek() {
            if byte == b'#' {
                match self.keyword() {
                    Ok(Some(keyword)) if self.metadata(keyword).is_ok() => continue,
                    _ => break,
                }
            }
            let Ok(line) = self.sample(self.cursor.at, false) else { break };
            let millis = (line.value * 1000.0).round();
            if self.is_created(line.name) && (1.0..9.2e18).contains(&millis) {
                created.insert(self.point_hash(line.name), millis as i64);
            }
        }
        self.cursor = start;
        self.created = created;
        self.kind = MetricType::Unknown;
        self.done = false;
    }

    /// The same for all samples of one metric point: family name, and labels without `le` and `quantile`.
    fn point_hash(&self, name: (u32, u32)) -> u64 {
        let mut family = self.name_text(name);
        for suffix in [&b"_created"[..], b"_total", b"_bucket", b"_count", b"_sum"] {
            if let Some(stripped) = family.strip_suffix(suffix) {
                family = stripped;
                break;
            }
        }
        let bound: &[u8] = match self.kind {
            MetricType::Histogram => b"le",
            MetricType::Summary => b"quantile",
            _ => b"",
        };
        let mut hasher = Xxh3::new();
        hasher.update(family);
        let piece = |start: u32, end: u32| self.cursor.body.get(start as usize..end as usize).unwrap_or_default();
        for &[name_start, name_end, start, end] in &self.pairs {
            let label = piece(name_start, name_end);
            if label != bound {
                for part in [&b"\xff"[..], label, b"\xff", piece(start, end)] {
                    hasher.update(part);
                }
            }
        }
        hasher.digest()
    }
}

/// Types whose points may carry a creation time.
fn has_creation_time(kind: MetricType) -> bool {
    matches!(kind, MetricType::Counter | MetricType::Summary | MetricType::Histogram)
}
