//! Prometheus' remote read: what a query asks for, and the two forms of its answer.
//!
//! Samples are collected into one message, so they have a limit; chunks are streamed in frames of about a mebibyte.
//! External labels are added to what leaves, and matchers on them are taken away, as Prometheus does: no series in the
//! store has them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use prost::Message as _;
use prost::encoding::{self, WireType};

use super::{Window, each_series, frames};
use crate::codec::prometheus::cut::cut;
use crate::metrics::{Selection, Store};
use crate::model::histogram::{Histogram, ResetHint, Span};
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::source::{Column, SeriesSet as _, SourceError};
use crate::proto::prometheus as wire;
use crate::proto::prometheus::label_matcher::Type;

/// Bytes of chunks after which a frame is closed; Prometheus' default.
const FRAME_BYTES: usize = 1 << 20;

/// Bytes of an answer in the form of samples, before compression.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Queries of one request. Prometheus sends one.
pub const QUERIES_MAX: usize = 64;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Matcher(String),
    #[error("exceeded sample limit ({0})")]
    Samples(u64),
    #[error("the answer exceeds {} MiB: ask for STREAMED_XOR_CHUNKS, or for less", ANSWER_BYTES_MAX >> 20)]
    Bytes,
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What one query asks of the store.
#[derive(Clone, Debug)]
pub struct Asked {
    pub matchers: Vec<Matcher>,
    pub mint: i64,
    pub maxt: i64,
    /// Only which series there are (`func` is `series`).
    pub labels_only: bool,
}

impl Asked {
    /// Reads a query. The hints can only narrow the range.
    pub fn new(query: &wire::Query, external: &BTreeMap<String, String>) -> Result<Self, ReadError> {
        let mut matchers = Vec::with_capacity(query.matchers.len());
        for matcher in &query.matchers {
            let op = match matcher.r#type() {
                Type::Eq => MatchOp::Equal,
                Type::Neq => MatchOp::NotEqual,
                Type::Re => MatchOp::Regex,
                Type::Nre => MatchOp::NotRegex,
            };
            let is_external =
                op == MatchOp::Equal && external.get(&matcher.name).is_some_and(|value| *value == matcher.value);
            let value = if is_external { "" } else { matcher.value.as_str() };
            let read = Matcher::new(op, &matcher.name, value);
            matchers.push(read.map_err(|error| ReadError::Matcher(error.to_string()))?);
        }
        let (mut mint, mut maxt) = (query.start_timestamp_ms, query.end_timestamp_ms);
        let hints = query.hints.as_ref();
        if let Some(hints) = hints.filter(|hints| hints.start_ms != 0 || hints.end_ms != 0) {
            (mint, maxt) = (mint.max(hints.start_ms), maxt.min(hints.end_ms));
        }
        Ok(Self { matchers, mint, maxt, labels_only: hints.is_some_and(|hints| hints.func == "series") })
    }

    fn select(&self, store: &Store) -> Selection {
        store.select(&self.matchers, self.mint, self.maxt)
    }
}

/// Labels as they leave: those of the series before external ones.
fn labels(labels: &Labels, external: &BTreeMap<String, String>) -> Vec<wire::Label> {
    let mut all: BTreeMap<&str, &str> = external.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend(labels.iter());
    all.into_iter().map(|(name, value)| wire::Label { name: name.to_owned(), value: value.to_owned() }).collect()
}

/// An answer in the form of samples, as it grows.
#[derive(Debug, Default)]
pub struct Samples {
    message: Vec<u8>,
    /// Samples so far, of all queries; the request fails beyond the limit.
    pub samples: u64,
}

impl Samples {
    /// Appends the result of one query. `stop` is asked between series.
    pub fn query(
        &mut self,
        store: &Store,
        asked: &Asked,
        external: &BTreeMap<String, String>,
        (limit, stop): (u64, &dyn Fn() -> bool),
    ) -> Result<(), ReadError> {
        let selection = asked.select(store);
        let mut result = Vec::new();
        let mut column = Column::default();
        for index in 0..selection.len() {
            if stop() {
                return Err(SourceError::Cancelled.into());
            }
            column.clear();
            if !asked.labels_only {
                selection.read(index, &mut column)?;
            }
            self.samples += column.len() as u64;
            if self.samples > limit {
                return Err(ReadError::Samples(limit));
            }
            if column.is_empty() && !asked.labels_only {
                continue;
            }
            let labels = labels(selection.labels(index), external);
            push_series(&mut result, &labels, &column);
            if self.message.len() + result.len() > ANSWER_BYTES_MAX {
                return Err(ReadError::Bytes);
            }
        }
        push_message(&mut self.message, 1, &result);
        Ok(())
    }

    /// The message, a block of snappy.
    pub fn finish(self) -> Result<Vec<u8>, snap::Error> {
        snap::raw::Encoder::new().compress_vec(&self.message)
    }
}

/// Appends a series as field 1. Samples are written by hand: generated code takes -0 for an absent 0.
fn push_series(out: &mut Vec<u8>, labels: &[wire::Label], column: &Column) {
    let mut series = Vec::with_capacity(labels.len() * 32 + column.len() * 20);
    encoding::message::encode_repeated(1, labels, &mut series);
    for (place, (&time, &value)) in column.times.iter().zip(&column.values).enumerate() {
        match column.histograms.get(place).and_then(Option::as_ref) {
            Some(found) => {
                let mut message = histogram(time, found).encode_to_vec();
                if found.sum == 0.0 {
                    message.push(3 << 3 | 1);
                    message.extend_from_slice(&found.sum.to_le_bytes());
                }
                push_message(&mut series, 4, &message);
            }
            None => {
                encoding::encode_key(2, WireType::LengthDelimited, &mut series);
                // A double with its key, then an integer with its key.
                encoding::encode_varint(9 + 1 + encoding::encoded_len_varint(time.cast_unsigned()) as u64, &mut series);
                series.push(1 << 3 | 1);
                series.extend_from_slice(&value.to_le_bytes());
                series.push(2 << 3);
                encoding::encode_varint(time.cast_unsigned(), &mut series);
            }
        }
    }
    push_message(out, 1, &series);
}

fn push_message(out: &mut Vec<u8>, field: u32, message: &[u8]) {
    encoding::encode_key(field, WireType::LengthDelimited, out);
    encoding::encode_varint(message.len() as u64, out);
    out.extend_from_slice(message);
}

/// A histogram with float counts, which is how the store holds all of them.
fn histogram(timestamp: i64, from: &Arc<Histogram>) -> wire::Histogram {
    let spans = |spans: &[Span]| {
        spans.iter().map(|span| wire::BucketSpan { offset: span.offset, length: span.length }).collect()
    };
    let hint = match from.reset_hint {
        ResetHint::Unknown => wire::histogram::ResetHint::Unknown,
        ResetHint::Reset => wire::histogram::ResetHint::Yes,
        ResetHint::NotReset => wire::histogram::ResetHint::No,
        ResetHint::Gauge => wire::histogram::ResetHint::Gauge,
    };
    wire::Histogram {
        sum: from.sum,
        schema: i32::from(from.schema),
        zero_threshold: from.zero_threshold,
        negative_spans: spans(&from.negative_spans),
        negative_counts: from.negative_buckets.clone(),
        positive_spans: spans(&from.positive_spans),
        positive_counts: from.positive_buckets.clone(),
        reset_hint: hint as i32,
        timestamp,
        custom_values: from.custom_values.to_vec(),
        count: Some(wire::histogram::Count::CountFloat(from.count)),
        zero_count: Some(wire::histogram::ZeroCount::ZeroCountFloat(from.zero_count)),
        ..Default::default()
    }
}

/// Takes a frame and the count of its samples.
type Out<'a, E> = dyn FnMut(&[u8], u64) -> Result<(), E> + 'a;

/// Gives the frames of one query to `out`, each with the count of its samples. An error of `out` ends the walk.
pub fn stream<E: From<ReadError>>(
    store: &Store,
    (number, asked): (usize, &Asked),
    external: &BTreeMap<String, String>,
    out: &mut Out<'_, E>,
) -> Result<(), E> {
    let selection = asked.select(store);
    let mut frame = Vec::new();
    if asked.labels_only {
        for own in selection.iter_labels() {
            frame.clear();
            frames::push(&mut frame, number, &labels(own, external), Vec::new());
            out(&frame, 0)?;
        }
        return Ok(());
    }
    let walked = each_series(&selection, |Window { labels: own, column, .. }| {
        let all = labels(own, external);
        let mut chunks = Vec::new();
        cut(&column.times, &column.values, &column.histograms, &mut chunks);
        let mut chunks = chunks.into_iter().peekable();
        while chunks.peek().is_some() {
            let mut bytes = 0;
            let mut group = Vec::new();
            while let Some(chunk) = chunks.next_if(|_| bytes < FRAME_BYTES) {
                bytes += chunk.data.len();
                group.push(chunk);
            }
            let samples = group.iter().map(|chunk| chunk.samples as u64).sum();
            frame.clear();
            frames::push(&mut frame, number, &all, group);
            if let Err(error) = out(&frame, samples) {
                return ControlFlow::Break(error);
            }
        }
        ControlFlow::Continue(())
    });
    match walked.map_err(ReadError::from)? {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}
