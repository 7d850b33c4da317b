//! Labels that still lie in a body: offsets, unescaped and sorted only on demand.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::number::{format_bound, parse_float};
use crate::model::labels::{Labels, METRIC_NAME, push_pair};
use crate::model::metadata::MetricType;

/// Name and labels of one series, in the order of the body.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    text: &'a [u8],
    name: Option<(u32, u32)>,
    /// Start and end of name and value.
    pairs: &'a [[u32; 4]],
    /// The type decides whether `le` or `quantile` is a number to be written in one way.
    kind: MetricType,
    /// Backslashes in the text stand for themselves.
    literal: bool,
}

/// A label set that no series can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error("label name {0:?} is not unique")]
    Duplicate(String),
}

impl<'a> Pairs<'a> {
    /// Names and values are offsets into `text` and may hold escapes.
    pub(super) fn new(text: &'a [u8], name: Option<(u32, u32)>, pairs: &'a [[u32; 4]], kind: MetricType) -> Self {
        Self { text, name, pairs, kind, literal: false }
    }

    /// Of text without escapes, in which bounds are already written as they should be.
    pub(super) fn literal(text: &'a [u8], name: Option<(u32, u32)>, pairs: &'a [[u32; 4]]) -> Self {
        Self { text, name, pairs, kind: MetricType::Unknown, literal: true }
    }

    /// Other labels in another text, with escapes as here.
    pub(super) fn sibling(&self, text: &'a [u8], pairs: &'a [[u32; 4]]) -> Self {
        Self { text, name: None, pairs, kind: MetricType::Unknown, literal: self.literal }
    }

    /// The metric name; empty where there is none.
    pub fn metric_name(&self) -> Cow<'a, str> {
        self.name.map_or(Cow::Borrowed(""), |(start, end)| self.piece(start, end))
    }

    /// Labels without the metric name, unescaped; bounds of buckets and quantiles as OpenMetrics writes them.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + '_ {
        self.pairs.iter().map(|&[name_start, name_end, start, end]| {
            let name = self.piece(name_start, name_end);
            let value = self.piece(start, end);
            let is_bound = match self.kind {
                MetricType::Histogram => name == "le",
                MetricType::Summary => name == "quantile",
                _ => false,
            };
            match parse_float(value.as_bytes()) {
                Some(bound) if is_bound => (name, Cow::Owned(format_bound(bound))),
                _ => (name, value),
            }
        })
    }

    /// How many labels the body gives, the metric name not counted.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Clears `out` and writes the canonical encoding, metric name included.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), LabelError> {
        out.clear();
        let mut sorted: SmallVec<[(Cow<'_, str>, Cow<'_, str>); 16]> = SmallVec::new();
        if self.name.is_some() {
            sorted.push((Cow::Borrowed(METRIC_NAME), self.metric_name()));
        }
        sorted.extend(self.iter());
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        for (index, (name, value)) in sorted.iter().enumerate() {
            if sorted.get(index + 1).is_some_and(|(next, _)| next == name) {
                return Err(LabelError::Duplicate(name.to_string()));
            }
            if !value.is_empty() && !name.is_empty() {
                push_pair(out, name, value);
            }
        }
        Ok(())
    }

    /// As a label set of its own; of equal names the last wins.
    pub fn to_labels(&self) -> Labels {
        let name = self.name.map(|_| (Cow::Borrowed(METRIC_NAME), self.metric_name()));
        Labels::from_pairs(name.into_iter().chain(self.iter()))
    }

    fn piece(&self, start: u32, end: u32) -> Cow<'a, str> {
        let bytes = self.text.get(start as usize..end as usize).unwrap_or_default();
        if self.literal { std::str::from_utf8(bytes).unwrap_or_default().into() } else { unescape(bytes) }
    }
}

/// Resolves `\\`, `\"` and `\n`; any other backslash stays. The lexer checked that the bytes are UTF-8.
pub(super) fn unescape(bytes: &[u8]) -> Cow<'_, str> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if memchr::memchr(b'\\', bytes).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let resolved = match (c, chars.peek()) {
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('"')) => Some('"'),
            ('\\', Some('n')) => Some('\n'),
            _ => None,
        };
        if resolved.is_some() {
            chars.next();
        }
        out.push(resolved.unwrap_or(c));
    }
    Cow::Owned(out)
}
