//! The samples of a store as remote write requests.

use novascope::model::histogram::{Histogram, ResetHint, Span};
use novascope::model::labels::Labels;
use novascope::proto::{prometheus as v1, write_v2 as v2};
use prost::Message as _;

use crate::store::{Store, Value};

/// A request body and its headers.
pub(crate) struct Load {
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) bodies: Vec<Vec<u8>>,
}

const HEADERS_1: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

const HEADERS_2: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "2.0.0"),
];

/// Requests of `width` milliseconds each, in order of time: a server may refuse what lies far behind its newest sample.
/// Version 1 knows no histograms with custom buckets, version 2 everything.
pub(crate) fn load(store: &Store, width: i64, newest: bool) -> Load {
    let mut bodies = Vec::new();
    let mut start = 0;
    while start <= store.last_time() {
        let window = start..start + width;
        let bytes = if newest { request_2(store, window).encode_to_vec() } else { request_1(store, window) };
        bodies.push(snap::raw::Encoder::new().compress_vec(&bytes).unwrap());
        start += width;
    }
    Load { headers: if newest { &HEADERS_2 } else { &HEADERS_1 }, bodies }
}

fn request_1(store: &Store, window: std::ops::Range<i64>) -> Vec<u8> {
    let mut request = v1::WriteRequest::default();
    for (labels, samples) in store.within(window) {
        let label = |(name, value): (&str, &str)| v1::Label { name: name.to_owned(), value: value.to_owned() };
        let mut series = v1::TimeSeries { labels: labels.iter().map(label).collect(), ..v1::TimeSeries::default() };
        for (time, value) in samples {
            if let Value::Float(value) = value {
                series.samples.push(v1::Sample { value: *value, timestamp: time });
            }
        }
        request.timeseries.push(series);
    }
    request.encode_to_vec()
}

fn request_2(store: &Store, window: std::ops::Range<i64>) -> v2::Request {
    let mut request = v2::Request { symbols: vec![String::new()], ..v2::Request::default() };
    for (labels, samples) in store.within(window) {
        let mut series = v2::TimeSeries { labels_refs: symbols(&mut request.symbols, labels), ..Default::default() };
        for (time, value) in samples {
            match value {
                Value::Float(value) => {
                    series.samples.push(v2::Sample { value: *value, timestamp: time, start_timestamp: 0 });
                }
                Value::Histogram(histogram) => series.histograms.push(message(histogram, time)),
            }
        }
        request.timeseries.push(series);
    }
    request
}

fn symbols(table: &mut Vec<String>, labels: &Labels) -> Vec<u32> {
    let mut references = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        let at = table.iter().position(|known| known == text).unwrap_or_else(|| {
            table.push(text.to_owned());
            table.len() - 1
        });
        references.push(at as u32);
    }
    references
}

fn message(histogram: &Histogram, time: i64) -> v2::Histogram {
    let spans = |spans: &[Span]| {
        spans.iter().map(|span| v2::BucketSpan { offset: span.offset, length: span.length }).collect::<Vec<_>>()
    };
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => v2::histogram::ResetHint::Unspecified,
        ResetHint::Reset => v2::histogram::ResetHint::Yes,
        ResetHint::NotReset => v2::histogram::ResetHint::No,
        ResetHint::Gauge => v2::histogram::ResetHint::Gauge,
    };
    v2::Histogram {
        sum: histogram.sum,
        schema: i32::from(histogram.schema),
        zero_threshold: histogram.zero_threshold,
        negative_spans: spans(&histogram.negative_spans),
        negative_counts: histogram.negative_buckets.clone(),
        positive_spans: spans(&histogram.positive_spans),
        positive_counts: histogram.positive_buckets.clone(),
        reset_hint: hint.into(),
        timestamp: time,
        custom_values: histogram.custom_values.to_vec(),
        count: Some(v2::histogram::Count::CountFloat(histogram.count)),
        zero_count: Some(v2::histogram::ZeroCount::ZeroCountFloat(histogram.zero_count)),
        ..v2::Histogram::default()
    }
}
