//! The samples of a store as requests of remote write and OTLP.

use novascope::model::histogram::{Histogram, ResetHint, Span};
use novascope::model::labels::Labels;
use novascope::proto::{prometheus as v1, write_v2 as v2};
use prost::Message as _;

use crate::export;
use crate::store::{Store, Value};

/// What is posted, and where.
pub(crate) struct Request {
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: Vec<u8>,
}

const WRITE: &str = "/api/v1/write";

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
/// Version 1 of remote write knows no histograms with custom buckets, version 2 everything; what may have start timestamps
/// comes by OTLP then, since Prometheus 3.14 leaves those of remote write out.
pub(crate) fn load(store: &Store, width: i64, newest: bool) -> Vec<Request> {
    let mut requests = Vec::new();
    let pack = |bytes: Vec<u8>| snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
    let mut start = 0;
    while start <= store.last_time() {
        let window = start..start + width;
        if newest {
            // Series are limited in the order of their making, which so is that of their names.
            requests.push(export::request(store, window.clone()));
            for request in requests_2(store, window) {
                requests.push(Request { path: WRITE, headers: &HEADERS_2, body: pack(request.encode_to_vec()) });
            }
        } else {
            requests.push(Request { path: WRITE, headers: &HEADERS_1, body: pack(request_1(store, window)) });
        }
        start += width;
    }
    requests
}

fn request_1(store: &Store, window: std::ops::Range<i64>) -> Vec<u8> {
    let mut request = v1::WriteRequest::default();
    for (labels, samples) in store.within(window) {
        let label = |(name, value): (&str, &str)| v1::Label { name: name.to_owned(), value: value.to_owned() };
        let mut series = v1::TimeSeries { labels: labels.iter().map(label).collect(), ..v1::TimeSeries::default() };
        for (time, _, value) in samples {
            if let Value::Float(value) = value {
                series.samples.push(v1::Sample { value: *value, timestamp: time });
            }
        }
        request.timeseries.push(series);
    }
    request.encode_to_vec()
}

/// One request for all series at first. Prometheus takes the floats of a series before its histograms: where these
/// follow each other by turns each run gets a request of its own, or most of it would come too late.
fn requests_2(store: &Store, window: std::ops::Range<i64>) -> Vec<v2::Request> {
    let mut requests: Vec<v2::Request> = Vec::new();
    for (labels, samples) in store.within(window).filter(|(labels, _)| !export::takes(labels)) {
        let is_float = |value: &Value| matches!(value, Value::Float(_));
        let runs = samples.chunk_by(|a, b| is_float(a.2) == is_float(b.2));
        for (at, run) in runs.enumerate() {
            if at >= requests.len() {
                requests.push(v2::Request { symbols: vec![String::new()], ..v2::Request::default() });
            }
            let request = &mut requests[at];
            let labels_refs = symbols(&mut request.symbols, labels);
            request.timeseries.push(v2::TimeSeries { labels_refs, ..series_2(run) });
        }
    }
    requests
}

fn series_2(samples: &[(i64, i64, &Value)]) -> v2::TimeSeries {
    let mut series = v2::TimeSeries::default();
    for (timestamp, _, value) in samples {
        match value {
            Value::Float(value) => {
                series.samples.push(v2::Sample { value: *value, timestamp: *timestamp, start_timestamp: 0 });
            }
            Value::Histogram(histogram) => series.histograms.push(message(histogram, *timestamp)),
        }
    }
    series
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
