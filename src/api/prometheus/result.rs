//! Results of queries as JSON, encoded piece by piece so that a large matrix is never held twice.

use bytes::Bytes;

use crate::api::prometheus::answer::{self, Notes, PIECE_BYTES};
use crate::api::prometheus::json::{push_histogram_point, push_sample};
use crate::api::prometheus::number::{Times, push_time, push_value};
use crate::model::json_text::{push_labels, push_string};
use crate::promql::eval::{MatrixSeries, QueryValue};
use crate::query::evaluate::Held;

/// Encodes `{"resultType":…,"result":…}` with the envelope around it.
#[derive(Debug)]
pub struct Encoder {
    value: QueryValue,
    /// `,"stats":{…},"explain":{…}`, each only where asked for; stands behind the result.
    more: Vec<u8>,
    notes: Notes,
    /// The next element of a vector or matrix.
    next: usize,
    state: State,
    /// Counts the value as in memory until the last byte is encoded or the client is gone.
    _held: Held,
}

/// Bytes of the labels of a series, and of a point, where these are neither short nor long.
const SERIES_BYTES: usize = 384;
const POINT_BYTES: usize = 34;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Elements,
    Done,
}

impl Encoder {
    pub fn new(value: QueryValue, held: Held, more: Vec<u8>, notes: Notes) -> Self {
        Self { value, more, notes, next: 0, state: State::Head, _held: held }
    }

    fn head(&mut self, out: &mut Vec<u8>) {
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

    /// About as many bytes as the next piece will have.
    fn room(&self) -> usize {
        let mut bytes = SERIES_BYTES;
        match &self.value {
            QueryValue::Vector(samples) => bytes += (samples.len() - self.next) * SERIES_BYTES,
            QueryValue::Matrix(all) => {
                let mut rest = all.iter().skip(self.next);
                while let Some(series) = rest.next().filter(|_| bytes < PIECE_BYTES) {
                    bytes += SERIES_BYTES + series.floats.len() * POINT_BYTES;
                }
            }
            QueryValue::Scalar { .. } | QueryValue::String { .. } => {}
        }
        bytes.min(PIECE_BYTES + POINT_BYTES * 256)
    }

    /// Appends elements until the piece is full; true when there are no more.
    fn elements(&mut self, out: &mut Vec<u8>) -> bool {
        let len = match &self.value {
            QueryValue::Vector(samples) => samples.len(),
            QueryValue::Matrix(series) => series.len(),
            QueryValue::Scalar { .. } | QueryValue::String { .. } => 0,
        };
        while self.next < len && out.len() < PIECE_BYTES {
            if self.next > 0 {
                out.push(b',');
            }
            match &self.value {
                QueryValue::Vector(samples) => {
                    let sample = &samples[self.next];
                    push_sample(out, &sample.labels, sample.time, &sample.value);
                }
                QueryValue::Matrix(series) => push_series(out, &series[self.next]),
                QueryValue::Scalar { .. } | QueryValue::String { .. } => {}
            }
            self.next += 1;
        }
        self.next >= len
    }
}

impl Iterator for Encoder {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.state == State::Done {
            return None;
        }
        let mut out = Vec::with_capacity(self.room());
        if self.state == State::Head {
            self.head(&mut out);
            self.state = State::Elements;
        }
        if self.elements(&mut out) {
            out.push(b']');
            out.append(&mut self.more);
            out.push(b'}');
            answer::close(&mut out, &self.notes);
            self.state = State::Done;
        }
        Some(Bytes::from(out))
    }
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
