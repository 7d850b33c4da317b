//! Results of queries as JSON, encoded piece by piece so that a large matrix is never held twice.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;

use crate::api::prometheus::answer::{self, Notes, PIECE_BYTES};
use crate::api::prometheus::json::{push_histogram_point, push_sample};
use crate::api::prometheus::number::{Times, push_time, push_value};
use crate::base::tasks::{TaskKind, Tasks};
use crate::model::histogram::Histogram;
use crate::model::json_text::{push_labels, push_string};
use crate::model::sample::Value;
use crate::promql::eval::{MatrixSeries, QueryValue, VectorSample};
use crate::query::evaluate::Held;

/// A result with its envelope, to be encoded as `{"resultType":…,"result":…}` in pieces that do not need each other.
#[derive(Debug)]
pub struct Encoder {
    value: QueryValue,
    /// `,"stats":{…},"explain":{…}`, each only where asked for; stands behind the result.
    more: Vec<u8>,
    notes: Notes,
    /// Where each piece ends, as a number of elements of the vector or matrix, and about how many bytes it takes.
    ends: Vec<(usize, usize)>,
    /// Counts the value as in memory until the last byte is encoded or the client is gone.
    _held: Held,
}

/// Pieces that are encoded at once, by threads that have nothing else to do.
const PIECES_AT_ONCE: usize = 3;

/// Bytes of the labels of a series and of a point, where these are neither short nor long, and of a histogram for each
/// sample that it is as large as: two buckets.
const SERIES_BYTES: usize = 384;
const POINT_BYTES: usize = 34;
const SAMPLE_BYTES: usize = 128;

impl Encoder {
    pub fn new(value: QueryValue, held: Held, more: Vec<u8>, notes: Notes) -> Self {
        let of_histogram = |histogram: &Histogram| histogram.size_in_samples() as usize * SAMPLE_BYTES;
        let of_series = |series: &MatrixSeries| {
            let histograms = series.histograms.iter().map(|(_, histogram)| of_histogram(histogram));
            SERIES_BYTES + series.floats.len() * POINT_BYTES + histograms.sum::<usize>()
        };
        let of_sample = |sample: &VectorSample| match &sample.value {
            Value::Float(_) => SERIES_BYTES,
            Value::Histogram(histogram) => SERIES_BYTES + of_histogram(histogram),
        };
        let ends = match &value {
            QueryValue::Vector(samples) => ends(samples.iter().map(of_sample)),
            QueryValue::Matrix(series) => ends(series.iter().map(of_series)),
            QueryValue::Scalar { .. } | QueryValue::String { .. } => ends(std::iter::empty()),
        };
        Self { value, more, notes, ends, _held: held }
    }

    /// An answer whose pieces are encoded while those before are sent. One of a single piece is sent with its length.
    pub fn respond(self, tasks: &Tasks) -> Response {
        if self.ends.len() == 1 {
            return answer::json(StatusCode::OK, Body::from(self.piece(0)));
        }
        let (tasks, encoder) = (tasks.clone(), Arc::new(self));
        let pieces = (0..encoder.ends.len()).map(move |place| {
            let encoder = Arc::clone(&encoder);
            tasks.spawn(TaskKind::Query, async move { Bytes::from(encoder.piece(place)) })
        });
        answer::json(StatusCode::OK, Body::from_stream(stream::iter(pieces).buffered(PIECES_AT_ONCE)))
    }

    /// One piece of the answer; all of them, one after the other, are the answer.
    fn piece(&self, place: usize) -> Vec<u8> {
        let Some(&(end, bytes)) = self.ends.get(place) else { return Vec::new() };
        let mut out = Vec::with_capacity(bytes + SERIES_BYTES);
        let begin = match place.checked_sub(1) {
            Some(before) => self.ends[before].0,
            None => {
                self.head(&mut out);
                0
            }
        };
        for element in begin..end {
            if element > 0 {
                out.push(b',');
            }
            match &self.value {
                QueryValue::Vector(samples) => {
                    let sample = &samples[element];
                    push_sample(&mut out, &sample.labels, sample.time, &sample.value);
                }
                QueryValue::Matrix(series) => push_series(&mut out, &series[element]),
                QueryValue::Scalar { .. } | QueryValue::String { .. } => {}
            }
        }
        if place + 1 == self.ends.len() {
            out.push(b']');
            out.extend_from_slice(&self.more);
            out.push(b'}');
            answer::close(&mut out, &self.notes);
        }
        out
    }

    fn head(&self, out: &mut Vec<u8>) {
        answer::open(out);
        let name = match &self.value {
            QueryValue::Scalar { .. } => "scalar",
            QueryValue::String { .. } => "string",
            QueryValue::Vector(_) => "vector",
            QueryValue::Matrix(_) => "matrix",
        };
        out.extend_from_slice(b"{\"resultType\":\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\",\"result\":[");
        match &self.value {
            QueryValue::Scalar { time, value } => {
                push_time(out, *time);
                out.push(b',');
                push_value(out, *value);
            }
            QueryValue::String { time, value } => {
                push_time(out, *time);
                out.push(b',');
                push_string(out, value);
            }
            QueryValue::Vector(_) | QueryValue::Matrix(_) => {}
        }
    }
}

/// Cuts elements of about so many bytes into pieces.
fn ends(elements: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut ends = vec![(0, 0)];
    for (place, element) in elements.enumerate() {
        match ends.last_mut() {
            Some((end, bytes)) if *bytes < PIECE_BYTES => (*end, *bytes) = (place + 1, *bytes + element),
            _ => ends.push((place + 1, element)),
        }
    }
    ends
}

fn push_series(out: &mut Vec<u8>, series: &MatrixSeries) {
    out.extend_from_slice(b"{\"metric\":");
    push_labels(out, &series.labels);
    if !series.floats.is_empty() {
        out.extend_from_slice(b",\"values\":");
        let (mut times, mut separator) = (Times::default(), b'[');
        for point in &series.floats {
            times.push_point(out, separator, *point);
            separator = b',';
        }
        out.push(b']');
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(b",\"histograms\":");
        let mut separator = b'[';
        for (time, histogram) in &series.histograms {
            out.push(separator);
            push_histogram_point(out, *time, histogram);
            separator = b',';
        }
        out.push(b']');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_each_other_and_none_is_much_too_long() {
        assert_eq!(ends(std::iter::empty()), [(0, 0)]);
        assert_eq!(ends([PIECE_BYTES / 2; 3].into_iter()), [(2, PIECE_BYTES), (3, PIECE_BYTES / 2)]);
        assert_eq!(ends([10, 5 * PIECE_BYTES, 10].into_iter()), [(2, 5 * PIECE_BYTES + 10), (3, 10)]);
    }
}
