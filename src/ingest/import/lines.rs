//! The walk over a body: line by line, on past those that are broken.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::ingest::exposition::{Entry, Format, Options, ParseError, Parser, Series, Value};
use crate::ingest::recent::Recent;
use crate::ingest::report::Report;
use crate::metrics::{Appender, Refusal, SeriesRef};
use crate::model::labels::Labels;
use crate::model::metadata::Metadata;

/// After this many broken lines the body is not what it claims to be.
const BROKEN_MAX: usize = 1_000;

/// What samples get that do not bring it.
pub(super) struct Defaults<'a> {
    /// `None` refuses samples without a time.
    pub time: Option<i64>,
    pub extra: &'a [(String, String)],
}

/// Where the samples of one body go.
pub(super) struct Lines<'a> {
    appender: Appender<'a>,
    known: &'a Recent<SeriesRef>,
    now_secs: u64,
    defaults: Defaults<'a>,
    /// The same text may mean another series in another format.
    format: Format,
    report: Report,
    encoded: Vec<u8>,
    family: String,
    metadata: Metadata,
}

impl<'a> Lines<'a> {
    pub(super) fn new(
        appender: Appender<'a>,
        known: &'a Recent<SeriesRef>,
        now_secs: u64,
        defaults: Defaults<'a>,
    ) -> Self {
        Self {
            appender,
            known,
            now_secs,
            defaults,
            format: Format::Text,
            report: Report::default(),
            encoded: Vec::new(),
            family: String::new(),
            metadata: Metadata::default(),
        }
    }

    /// What became of the body, and the appender to commit.
    pub(super) fn finish(mut self) -> (Report, Appender<'a>) {
        self.describe();
        (self.report, self.appender)
    }

    pub(super) fn take(&mut self, body: &[u8], format: Format) {
        self.take_part(body, format, 0);
    }

    /// Takes a part of a body that stands behind so many lines of it.
    pub(super) fn take_part(&mut self, body: &[u8], format: Format, lines_before: usize) {
        self.format = format;
        // A last line without its end is a line too.
        let mut whole = Vec::new();
        let mut rest = body;
        let is_text = matches!(format, Format::Text | Format::Text1);
        if is_text && !body.is_empty() && !body.ends_with(b"\n") {
            whole.extend_from_slice(body);
            whole.push(b'\n');
            rest = &whole;
        }
        let mut lines_before = lines_before;
        for _ in 0..BROKEN_MAX {
            let Err(error) = self.walk(rest, format, lines_before) else { return };
            let ParseError::Text { line, column, message } = error else {
                self.report.reject("parse_error", 1, || error.to_string());
                return;
            };
            let at = lines_before + line;
            self.report.reject("parse_error", 1, || format!("line {at}, column {column}: {message}"));
            let Some(after) = skip_lines(rest, line) else { return };
            (rest, lines_before) = (after, at);
        }
        self.report.reject("parse_error", 1, || format!("given up after {BROKEN_MAX} broken lines"));
    }

    fn walk(&mut self, body: &[u8], format: Format, lines_before: usize) -> Result<(), ParseError> {
        let mut parser = Parser::new(body, format, Options::default())?;
        while let Some(entry) = parser.next()? {
            match entry {
                Entry::Type { family, kind } => self.of(&family).kind = kind,
                Entry::Help { family, help } => self.of(&family).help = help.into_owned(),
                Entry::Unit { family, unit } => self.of(&family).unit = unit.into_owned(),
                Entry::Series(series) => {
                    if let Err((reason, why)) = self.sample(&series) {
                        let text = String::from_utf8_lossy(series.raw);
                        self.report.reject(reason, 1, || {
                            format!("line {}: {why} for {text}", lines_before + line_of(body, series.raw))
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The metadata of the family that the body is at.
    fn of(&mut self, family: &str) -> &mut Metadata {
        if self.family != family {
            self.describe();
            family.clone_into(&mut self.family);
        }
        &mut self.metadata
    }

    fn describe(&mut self) {
        if self.metadata != Metadata::default() {
            self.appender.metadata(&self.family, &self.metadata);
            self.metadata = Metadata::default();
        }
    }

    fn sample(&mut self, series: &Series<'_>) -> Result<(), (&'static str, String)> {
        if series.time.or(self.defaults.time).is_none() {
            return Err(("no_timestamp", "a sample without a time".to_owned()));
        }
        // With labels of its own a request is rare: it does without the shortcut.
        let key = self.defaults.extra.is_empty().then(|| xxh3_128_with_seed(series.raw, self.format as u64));
        let known = key.and_then(|key| self.known.get(key, self.now_secs));
        if let Some(reference) = known {
            match self.append(reference, series) {
                Err(Refusal::UnknownSeries) => {}
                done => return done.map_err(|refusal| self.refused(&refusal)),
            }
        }
        series.encode(&mut self.encoded).map_err(|error| ("invalid_labels", error.to_string()))?;
        if !self.defaults.extra.is_empty() {
            let labels = Labels::from_encoded(&self.encoded).map_err(|error| ("invalid_labels", error.to_string()))?;
            let mut builder = labels.to_builder();
            for (name, value) in self.defaults.extra {
                builder.set(name, value);
            }
            self.encoded.clear();
            self.encoded.extend_from_slice(builder.build().as_encoded());
        }
        let found = self.appender.series(&self.encoded);
        let reference = found.map_err(|refusal| self.refused(&refusal))?;
        if let Some(key) = key {
            self.known.insert(key, reference, self.now_secs);
        }
        self.append(reference, series).map_err(|refusal| self.refused(&refusal))
    }

    fn append(&mut self, reference: SeriesRef, series: &Series<'_>) -> Result<(), Refusal> {
        let time = series.time.or(self.defaults.time).unwrap_or(0);
        match series.value {
            Value::Float(value) => {
                self.appender.float(reference, time, series.start, value)?;
                self.report.samples += 1;
            }
            Value::Histogram(histogram) => {
                self.appender.histogram(reference, time, series.start, histogram)?;
                self.report.histograms += 1;
            }
        }
        for mut exemplar in series.exemplars() {
            if exemplar.time == 0 {
                exemplar.time = time;
            }
            // Refused exemplars are dropped: their samples count.
            if self.appender.exemplar(reference, &exemplar).is_ok() {
                self.report.exemplars += 1;
            }
        }
        Ok(())
    }

    fn refused(&mut self, refusal: &Refusal) -> (&'static str, String) {
        self.report.note(refusal);
        (refusal.reason(), refusal.to_string())
    }
}

/// The line of a piece of the body, from 1. Only called for refusals that are told.
fn line_of(body: &[u8], piece: &[u8]) -> usize {
    let offset = (piece.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
    let before = body.get(..offset).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// What comes after the first `count` lines.
fn skip_lines(body: &[u8], count: usize) -> Option<&[u8]> {
    let end = body.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(count.checked_sub(1)?)?.0;
    body.get(end + 1..).filter(|rest| !rest.is_empty())
}
