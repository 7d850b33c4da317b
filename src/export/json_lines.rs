//! JSON lines: a series and a run of its samples on each line, as VictoriaMetrics exports and imports them.
//!
//! `{"metric":{"__name__":"up","job":"a"},"values":[1,null],"timestamps":[1700000000000,1700000001000]}`
//!
//! JSON has no words for NaN and infinities. As there, a NaN is `null` and infinities are the strings `Infinity` and
//! `-Infinity`. What others do not know stands in fields of its own, which they pass over: `nan_bits` has place and bits
//! of every NaN that is not the ordinary one (staleness markers), `starts` the start times, and native histograms are
//! lines with `histograms` instead of `values`.

use super::Window;
use crate::model::histogram::{Histogram, ResetHint, Span};
use crate::model::json_text::push_labels;

/// The NaN that `null` stands for: Prometheus' own.
pub const NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Samples of a line unless the client says otherwise: some 300 KB of text.
pub const ROWS_DEFAULT: usize = 10_000;

/// Appends the samples of a window, `rows` on a line at most.
pub fn push(out: &mut Vec<u8>, window: &Window<'_>, rows: usize) {
    let column = window.column;
    let kind = |place: usize| column.histograms.get(place).is_some_and(Option::is_some);
    let mut at = 0;
    while at < column.len() {
        let is_histogram = kind(at);
        let limit = column.len().min(at.saturating_add(rows.max(1)));
        let end = (at + 1..limit).find(|place| kind(*place) != is_histogram).unwrap_or(limit);
        out.extend_from_slice(b"{\"metric\":");
        push_labels(out, window.labels);
        if is_histogram {
            let histograms = column.histograms[at..end].iter().flatten();
            push_list(out, "histograms", histograms, |out, histogram| push_histogram(out, histogram));
        } else {
            push_values(out, &column.values[at..end]);
        }
        push_list(out, "timestamps", &column.times[at..end], |out, time| push_int(out, *time));
        let starts = column.starts.get(at..end).unwrap_or_default();
        if starts.iter().any(|start| *start != 0) {
            push_list(out, "starts", starts, |out, start| push_int(out, *start));
        }
        out.extend_from_slice(b"}\n");
        at = end;
    }
}

fn push_values(out: &mut Vec<u8>, values: &[f64]) {
    push_list(out, "values", values, |out, value| push_value(out, *value));
    let odd = |value: &f64| value.is_nan() && value.to_bits() != NAN_BITS;
    if values.iter().any(odd) {
        let odd = values.iter().enumerate().filter(|(_, value)| odd(value));
        push_list(out, "nan_bits", odd, |out, (place, value)| {
            out.extend_from_slice(format!("[{place},\"{:016x}\"]", value.to_bits()).as_bytes());
        });
    }
}

/// `,"name":[…]`.
fn push_list<T>(
    out: &mut Vec<u8>,
    name: &str,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":[");
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

fn push_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn push_value(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"null");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    } else if value.abs() < 9e15 && value.fract() == 0.0 {
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        push_int(out, value as i64);
    } else {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
}

/// A float of a histogram: what is no number is its bits, which only we read.
fn push_exact(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        push_value(out, value);
    } else {
        out.extend_from_slice(format!("\"{:016x}\"", value.to_bits()).as_bytes());
    }
}

fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(b"{\"schema\":");
    push_int(out, i64::from(histogram.schema));
    for (name, value) in [
        ("count", histogram.count),
        ("sum", histogram.sum),
        ("zero_threshold", histogram.zero_threshold),
        ("zero_count", histogram.zero_count),
    ] {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        push_exact(out, value);
    }
    for (name, spans, buckets) in [
        ("positive", &histogram.positive_spans, &histogram.positive_buckets),
        ("negative", &histogram.negative_spans, &histogram.negative_buckets),
    ] {
        if spans.is_empty() {
            continue;
        }
        push_list(out, &format!("{name}_spans"), spans, |out, Span { offset, length }| {
            out.extend_from_slice(format!("[{offset},{length}]").as_bytes());
        });
        push_list(out, &format!("{name}_buckets"), buckets, |out, count| push_exact(out, *count));
    }
    if !histogram.custom_values.is_empty() {
        push_list(out, "custom_values", histogram.custom_values.iter(), |out, bound| push_exact(out, *bound));
    }
    let hint: &[u8] = match histogram.reset_hint {
        ResetHint::Unknown => b"",
        ResetHint::Reset => b",\"reset_hint\":\"reset\"",
        ResetHint::NotReset => b",\"reset_hint\":\"not_reset\"",
        ResetHint::Gauge => b",\"reset_hint\":\"gauge\"",
    };
    out.extend_from_slice(hint);
    out.push(b'}');
}
