//! The delimited protobuf format: `io.prometheus.client.MetricFamily` messages, each behind its length.
//!
//! One metric at a time is read into reused scratch ([`Metric`]) and given out as the series that the text formats
//! would show: `_count`, `_sum`, `_bucket`, and native histograms as they are.

use std::borrow::Cow;

use super::lexer::Fault;
use super::metric::{Metric, Part, Shape};
use super::number::format_bound;
use super::{Entry, LabelError, Options, Pairs, Series, Value};
use crate::model::metadata::MetricType;
use crate::proto::wire::{Field, Reader, WireError};

#[derive(Debug)]
pub(super) struct ProtobufParser<'a> {
    body: &'a [u8],
    rest: Reader<'a>,
    options: Options,
    family: Family<'a>,
    metric: Metric,
    /// The parts of `metric` that are still to be given out, last first.
    parts: Vec<Part>,
    /// The series as text: name, labels, and the offsets into it.
    text: Vec<u8>,
    pairs: Vec<[u32; 4]>,
}

/// The head of the family that is being read.
#[derive(Debug)]
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    unit: &'a str,
    shape: Shape,
    /// Its metrics lie between its other fields; this walks them.
    metrics: Reader<'a>,
    /// Head entries that are still to be given out.
    heads: u8,
}

impl<'a> ProtobufParser<'a> {
    pub(super) fn new(body: &'a [u8], options: Options) -> Self {
        Self {
            body,
            rest: Reader::new(body),
            options,
            family: Family::new(&[]),
            metric: Metric::default(),
            parts: Vec::new(),
            text: Vec::new(),
            pairs: Vec::new(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry<'_>>, Fault> {
        loop {
            while self.family.heads > 0 {
                self.family.heads -= 1;
                if let Some(entry) = self.family.head() {
                    return Ok(Some(entry));
                }
            }
            if let Some(part) = self.parts.pop() {
                return Ok(Some(self.series(part)));
            }
            let at = self.at(self.family.metrics.rest());
            match self.next_metric() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(message) => return Err(Fault { at, message }),
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let at = self.at(self.rest.rest());
            self.family = self.next_family().map_err(|message| Fault { at, message })?;
        }
    }

    /// Where a slice of the body starts.
    fn at(&self, slice: &[u8]) -> usize {
        (slice.as_ptr() as usize).saturating_sub(self.body.as_ptr() as usize).min(self.body.len())
    }

    fn next_family(&mut self) -> Result<Family<'a>, Cow<'static, str>> {
        let message = self.rest.delimited().map_err(wrong)?;
        let mut family = Family { heads: 3, ..Family::new(message) };
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next_field().map_err(wrong)? {
            match field.number {
                1 => family.name = field.string().map_err(wrong)?,
                2 => family.help = field.string().map_err(wrong)?,
                3 => family.shape = Shape::from_number(field.uint().map_err(wrong)?)?,
                5 => family.unit = field.string().map_err(wrong)?,
                _ => {}
            }
        }
        if family.name.is_empty() {
            return Err("metric family has no name".into());
        }
        Ok(family)
    }

    /// Reads the family's next metric and lists its parts; false where there is none.
    fn next_metric(&mut self) -> Result<bool, Cow<'static, str>> {
        while let Some(field) = self.family.metrics.next_field().map_err(wrong)? {
            if field.number == 4 {
                self.read_metric(&field)?;
                self.metric.parts(self.family.shape, self.options, &mut self.parts)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_metric(&mut self, field: &Field<'a>) -> Result<(), Cow<'static, str>> {
        let body = self.body;
        let offset = |slice: &[u8]| (slice.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
        self.metric.read(field.bytes().map_err(wrong)?, self.family.shape, &offset)
    }

    fn series(&mut self, part: Part) -> Entry<'_> {
        let suffix = part.suffix(self.family.shape);
        self.text.clear();
        self.text.extend_from_slice(self.family.name.as_bytes());
        self.text.extend_from_slice(suffix.as_bytes());
        let name = (0, self.text.len() as u32);
        self.pairs.clear();
        for &[name_start, name_end, start, end] in &self.metric.labels {
            let name = self.body.get(name_start as usize..name_end as usize).unwrap_or_default();
            let value = self.body.get(start as usize..end as usize).unwrap_or_default();
            push_label(&mut self.text, &mut self.pairs, name, value);
        }
        if let Some((label, bound)) = self.metric.bound(part, self.family.shape) {
            push_label(&mut self.text, &mut self.pairs, label.as_bytes(), format_bound(bound).as_bytes());
        }
        Entry::Series(Series {
            raw: &self.text,
            expected: false,
            pairs: Pairs::literal(&self.text, Some(name), &self.pairs),
            value: match part {
                Part::Native => Value::Histogram(&self.metric.native),
                Part::Converted => Value::Histogram(&self.metric.converted),
                _ => Value::Float(self.metric.float(part)),
            },
            time: (self.metric.time != 0).then_some(self.metric.time),
            start: self.metric.start,
            exemplars: self.metric.exemplars(part),
            exemplar_text: self.body,
        })
    }
}

impl<'a> Family<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self { name: "", help: "", unit: "", shape: Shape::default(), metrics: Reader::new(message), heads: 0 }
    }

    fn head(&self) -> Option<Entry<'a>> {
        let family = Cow::Borrowed(self.name);
        match self.heads {
            2 if !self.help.is_empty() => Some(Entry::Help { family, help: self.help.into() }),
            1 => Some(Entry::Type { family, kind: self.shape.kind() }),
            0 if !self.unit.is_empty() => Some(Entry::Unit { family, unit: self.unit.into() }),
            _ => None,
        }
    }
}

/// The labels of a series from its text, in canonical encoding.
pub(super) fn encode_raw(raw: &[u8], out: &mut Vec<u8>) -> Result<(), LabelError> {
    let mut text = Vec::with_capacity(raw.len());
    let mut pairs = Vec::new();
    let mut pieces = raw.split(|&byte| byte == 0xff);
    text.extend_from_slice(pieces.next().unwrap_or_default());
    let name = (0, text.len() as u32);
    while let (Some(label), Some(value)) = (pieces.next(), pieces.next()) {
        push_label(&mut text, &mut pairs, label, value);
    }
    Pairs::literal(&text, Some(name), &pairs).encode(out)
}

/// Bytes 0xff never occur in UTF-8, so that different label sets cannot make the same text.
fn push_label(text: &mut Vec<u8>, pairs: &mut Vec<[u32; 4]>, name: &[u8], value: &[u8]) {
    let mut push = |bytes: &[u8]| {
        text.push(0xff);
        let start = text.len() as u32;
        text.extend_from_slice(bytes);
        (start, text.len() as u32)
    };
    let (name_start, name_end) = push(name);
    let (start, end) = push(value);
    pairs.push([name_start, name_end, start, end]);
}

pub(super) fn wrong(error: WireError) -> Cow<'static, str> {
    error.to_string().into()
}

impl Shape {
    fn from_number(number: u64) -> Result<Self, Cow<'static, str>> {
        Ok(match number {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Summary,
            3 => Self::Untyped,
            4 => Self::Histogram,
            5 => Self::GaugeHistogram,
            other => return Err(format!("unknown metric type {other}").into()),
        })
    }

    fn kind(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Summary => MetricType::Summary,
            Self::Untyped => MetricType::Unknown,
            Self::Histogram => MetricType::Histogram,
            Self::GaugeHistogram => MetricType::GaugeHistogram,
        }
    }
}
