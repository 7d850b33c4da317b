//! Remote write 1.0: `prometheus.WriteRequest`, walked in place.
//!
//! Labels come with every sample, so the hot path is: find where the labels end, hash their raw bytes, look up the
//! series, append. Only a series that is not in [`Recent`] has its labels decoded. Nothing is allocated for a known one.

use xxhash_rust::xxh3::xxh3_128;

use super::append::{Sink, Waiting};
use super::histogram;
use crate::ingest::labels;
use crate::metrics::Float;
use crate::model::exemplar::Exemplar;
use crate::model::labels::Labels;
use crate::model::metadata::{Metadata, MetricType};
use crate::proto::wire::{Reader, WireError};

/// Tags of `TimeSeries`' fields, all length-delimited.
const LABELS: u8 = 0x0a;
const SAMPLES: u8 = 0x12;

/// Walks a request and appends what is in it.
///
/// # Errors
/// Where the bytes are no write request. What came before is appended.
pub(super) fn take<'b>(body: &'b [u8], sink: &mut Sink<'_>, waiting: &mut Waiting<'b>) -> Result<(), WireError> {
    let walked = walk(body, sink, waiting);
    sink.flush(waiting, decode_labels);
    walked
}

fn walk<'b>(body: &'b [u8], sink: &mut Sink<'_>, waiting: &mut Waiting<'b>) -> Result<(), WireError> {
    let mut reader = Reader::new(body);
    while !reader.is_empty() {
        if reader.take_tag(LABELS) {
            series(reader.delimited()?, sink, waiting)?;
            continue;
        }
        let Some(field) = reader.next_field()? else { break };
        if field.number == 3 {
            metadata(field.bytes()?, sink)?;
        }
    }
    Ok(())
}

fn series<'b>(message: &'b [u8], sink: &mut Sink<'_>, waiting: &mut Waiting<'b>) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while reader.take_tag(LABELS) {
        reader.delimited()?;
    }
    let raw = message.get(..message.len() - reader.rest().len()).unwrap_or_default();
    // Floats behind the labels and nothing else: what senders send.
    let (mut rest, mut fits) = (reader, true);
    while fits && rest.take_tag(SAMPLES) {
        let (value, time) = sample(rest.delimited()?)?;
        fits = waiting.push(Float { time, start: 0, value });
    }
    if rest.is_empty() && waiting.is_open() {
        if waiting.close(xxh3_128(raw), raw) {
            sink.flush(waiting, decode_labels);
        }
        return Ok(());
    }
    waiting.take_back();
    // Samples of one series keep the order of the request.
    sink.flush(waiting, decode_labels);
    let mut late_labels = Vec::new();
    let mut raw = raw;
    if has_labels(reader)? {
        // Labels after samples are legal protobuf, though nobody sends them.
        gather_labels(message, &mut late_labels)?;
        raw = &late_labels;
    }
    let mut series = sink.series(xxh3_128(raw), |loose| decode_labels(raw, loose));
    while let Some(field) = reader.next_field()? {
        match field.number {
            2 => {
                let (value, time) = sample(field.bytes()?)?;
                series.float(time, 0, value);
            }
            3 => {
                let exemplar = exemplar(field.bytes()?)?;
                series.exemplar(exemplar);
            }
            4 => series.histogram(histogram::decode(field.bytes()?))?,
            _ => {}
        }
    }
    Ok(())
}

fn has_labels(mut reader: Reader<'_>) -> Result<bool, WireError> {
    while let Some(field) = reader.next_field()? {
        if field.number == 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn gather_labels(message: &[u8], into: &mut Vec<u8>) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        if field.number == 1 {
            crate::proto::wire::put_bytes(into, 1, field.bytes()?);
        }
    }
    Ok(())
}

/// From `Label` messages to loose pairs.
fn decode_labels(raw: &[u8], loose: &mut Vec<u8>) -> Result<(), WireError> {
    let mut reader = Reader::new(raw);
    while let Some(field) = reader.next_field()? {
        let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
        let mut label = Reader::new(field.bytes()?);
        while let Some(field) = label.next_field()? {
            match field.number {
                1 => name = field.bytes()?,
                2 => value = field.bytes()?,
                _ => {}
            }
        }
        labels::put(loose, name);
        labels::put(loose, value);
    }
    Ok(())
}

/// Value and time of a `Sample`; a field that is left out is zero.
#[inline]
fn sample(message: &[u8]) -> Result<(f64, i64), WireError> {
    let (mut value, mut time) = (0.0, 0);
    let mut reader = Reader::new(message);
    // The order that every encoder uses.
    if reader.take_tag(0x09) {
        value = f64::from_bits(reader.fixed64()?);
    }
    if reader.take_tag(0x10) {
        time = reader.last_varint(message)?.cast_signed();
    }
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => value = field.double()?,
            2 => time = field.int()?,
            _ => {}
        }
    }
    Ok((value, time))
}

/// `None` where its labels are none.
fn exemplar(message: &[u8]) -> Result<Option<Exemplar>, WireError> {
    let (mut value, mut time) = (0.0, 0);
    let mut raw = Vec::new();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => crate::proto::wire::put_bytes(&mut raw, 1, field.bytes()?),
            2 => value = field.double()?,
            3 => time = field.int()?,
            _ => {}
        }
    }
    let mut loose = Vec::new();
    decode_labels(&raw, &mut loose)?;
    let mut encoded = Vec::new();
    if labels::canonical_nameless(&loose, &mut encoded).is_err() {
        return Ok(None);
    }
    Ok(Labels::from_encoded(&encoded).ok().map(|labels| Exemplar { labels, value, time }))
}

fn metadata(message: &[u8], sink: &mut Sink<'_>) -> Result<(), WireError> {
    let mut family = "";
    let mut metadata = Metadata::default();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => metadata.kind = metric_type(field.uint()?),
            2 => family = field.string()?,
            4 => field.string()?.clone_into(&mut metadata.help),
            5 => field.string()?.clone_into(&mut metadata.unit),
            _ => {}
        }
    }
    if !family.is_empty() {
        sink.metadata(family, &metadata);
    }
    Ok(())
}

/// Both versions number the types alike.
pub(super) fn metric_type(number: u64) -> MetricType {
    match number {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}
