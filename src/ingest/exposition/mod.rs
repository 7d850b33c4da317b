//! Exposition formats: Prometheus text 0.0.4, OpenMetrics 1.0 text and delimited protobuf, read in place.
//!
//! Owns: splitting a body into entries, in the order of the body. Promises: an entry borrows from the body (or from
//! the parser's scratch) and costs no allocation; labels are only put into canonical order when [`Series::encode`]
//! is called, so that a caller who knows the series by its text ([`Series::raw`]) never pays for it; an error names
//! line and column (for protobuf: the byte) and no entry follows it. Does not: check names or values against a
//! validation scheme, apply limits of a scrape job, or look at the clock.
//!
//! ```
//! use novascope::ingest::exposition::{Entry, Format, Options, Parser};
//! let mut parser = Parser::new(b"up{job=\"a\"} 1\n", Format::Text, Options::default()).expect("small body");
//! let mut encoded = Vec::new();
//! while let Some(entry) = parser.next().expect("valid text") {
//!     if let Entry::Series(series) = entry {
//!         series.encode(&mut encoded).expect("unique names");
//!     }
//! }
//! assert_eq!(encoded, b"\x08__name__\x02up\x03job\x01a");
//! ```

mod format;
mod labels;
mod lexer;
pub mod lint;
mod metric;
mod number;
mod openmetrics;
mod protobuf;
mod text;

use std::borrow::Cow;

use crate::model::exemplar::Exemplar;
use crate::model::histogram::Histogram;
use crate::model::metadata::MetricType;

pub use format::{ContentTypeError, Format};
pub use labels::{LabelError, Pairs};
pub use number::{format_bound, parse_float};

use lexer::Fault;

/// Offsets inside a body are 32 bits wide; real bodies are limited far below by whoever reads them.
pub const BODY_BYTES_MAX: usize = 1 << 30;

/// Labels of one series. Real series have dozens; the limit bounds the scratch of a hostile body.
pub const LABELS_MAX: usize = 4_096;

/// How a body is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Emits OpenMetrics `_created` samples as series too, as older Prometheus does, besides using them as start times.
    pub created_as_series: bool,
    /// Protobuf: reads only the classic part of histograms.
    pub ignore_native_histograms: bool,
    /// Protobuf: emits classic buckets also where a histogram has native ones; with
    /// `convert_classic_histograms`: keeps the classic series beside the converted histogram.
    pub keep_classic_histograms: bool,
    /// Protobuf: turns classic histograms into native histograms with custom buckets. The text formats show them as
    /// single series; whoever reads those puts them together.
    pub convert_classic_histograms: bool,
}

/// What a body holds, entry by entry.
#[derive(Debug)]
pub enum Entry<'a> {
    Type { family: Cow<'a, str>, kind: MetricType },
    Help { family: Cow<'a, str>, help: Cow<'a, str> },
    Unit { family: Cow<'a, str>, unit: Cow<'a, str> },
    Series(Series<'a>),
}

/// One sample of one series.
#[derive(Debug)]
pub struct Series<'a> {
    /// The series as the body writes it: equal bytes mean the same series within one target.
    pub raw: &'a [u8],
    /// The parser met what [`Parser::next_expecting`] was told and did not look at the labels: `pairs` is empty.
    pub expected: bool,
    /// Name and labels, in the order of the body.
    pub pairs: Pairs<'a>,
    pub value: Value<'a>,
    /// Milliseconds, where the body gives a time.
    pub time: Option<i64>,
    /// When counting began, in milliseconds; 0 means unknown.
    pub start: i64,
    exemplars: &'a [RawExemplar],
    exemplar_text: &'a [u8],
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

/// An exemplar whose labels still lie in the text.
#[derive(Clone, Debug, Default)]
struct RawExemplar {
    pairs: Vec<[u32; 4]>,
    value: f64,
    time: Option<i64>,
}

impl Series<'_> {
    /// Clears `out` and writes the canonical label encoding, the key of the series, metric name included.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), LabelError> {
        self.pairs.encode(out)
    }

    /// The exemplars of this sample; `time` is 0 where the body gives none.
    pub fn exemplars(&self) -> impl Iterator<Item = Exemplar> + '_ {
        self.exemplars.iter().map(|raw| Exemplar {
            labels: self.pairs.sibling(self.exemplar_text, &raw.pairs).to_labels(),
            value: raw.value,
            time: raw.time.unwrap_or(0),
        })
    }
}

/// A body that cannot be read on. Lines and columns count from 1, columns in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("{line}:{column}: {message}")]
    Text { line: usize, column: usize, message: String },
    #[error("byte {at}: {message}")]
    Binary { at: usize, message: String },
    #[error("body of {0} bytes is larger than {BODY_BYTES_MAX}")]
    TooLarge(usize),
}

/// Reads one body. Not an `Iterator`, because an entry borrows from the parser.
#[derive(Debug)]
pub struct Parser<'a> {
    body: &'a [u8],
    inner: Inner<'a>,
}

#[derive(Debug)]
enum Inner<'a> {
    Text(text::TextParser<'a>),
    OpenMetrics(openmetrics::OpenMetricsParser<'a>),
    Protobuf(Box<protobuf::ProtobufParser<'a>>),
}

impl<'a> Parser<'a> {
    /// Refuses bodies larger than [`BODY_BYTES_MAX`].
    pub fn new(body: &'a [u8], format: Format, options: Options) -> Result<Self, ParseError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(ParseError::TooLarge(body.len()));
        }
        let inner = match format {
            Format::Text | Format::Text1 => Inner::Text(text::TextParser::new(body)),
            Format::OpenMetrics0 | Format::OpenMetrics1 => {
                Inner::OpenMetrics(openmetrics::OpenMetricsParser::new(body, options))
            }
            Format::Protobuf => Inner::Protobuf(Box::new(protobuf::ProtobufParser::new(body, options))),
        };
        Ok(Self { body, inner })
    }

    /// The next entry; `None` at the end.
    #[allow(clippy::should_implement_trait, reason = "an entry borrows from the parser, which Iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        self.next_expecting(&[])
    }

    /// As [`Parser::next`], with the `raw` text of the series that probably comes next: where it does, the parser
    /// compares instead of parsing. A wrong guess costs the comparison. Protobuf bodies do not use it.
    pub fn next_expecting(&mut self, raw: &[u8]) -> Result<Option<Entry<'_>>, ParseError> {
        let body = self.body;
        match &mut self.inner {
            Inner::Text(parser) => parser.next(raw).map_err(|fault| located(body, fault)),
            Inner::OpenMetrics(parser) => parser.next(raw).map_err(|fault| located(body, fault)),
            Inner::Protobuf(parser) => {
                parser.next().map_err(|fault| ParseError::Binary { at: fault.at, message: fault.message.into_owned() })
            }
        }
    }
}

/// Reads the labels of a series again from what [`Series::raw`] gave; `kind` is the type of its family.
pub fn encode_raw(raw: &[u8], kind: MetricType, out: &mut Vec<u8>) -> Result<(), LabelError> {
    let type_line = format!("# TYPE family {}\n", if kind == MetricType::Unknown { "untyped" } else { kind.name() });
    let body = [type_line.as_bytes(), raw, b" 1\n"].concat();
    if let Ok(mut parser) = Parser::new(&body, Format::Text, Options::default()) {
        // The first entry is the type.
        drop(parser.next());
        if let Ok(Some(Entry::Series(series))) = parser.next() {
            return series.encode(out);
        }
    }
    protobuf::encode_raw(raw, out)
}

/// Counts lines only now: bodies are nearly always good.
fn located(body: &[u8], fault: Fault) -> ParseError {
    let before = body.get(..fault.at).unwrap_or(body);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    ParseError::Text { line, column, message: fault.message.into_owned() }
}

#[cfg(test)]
mod tests;
