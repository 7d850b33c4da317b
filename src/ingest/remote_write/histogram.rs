//! Native histograms on the wire. Both versions of remote write number the fields alike; 2.0 adds the start timestamp.

use std::sync::Arc;

use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span};
use crate::proto::wire::{Field, Reader, WireError, zigzag};

/// A histogram and when it was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub time: i64,
    /// When counting began; 0 where the sender did not say.
    pub start: i64,
    pub histogram: Histogram,
}

/// The finest resolution that is stored.
const SCHEMA_MAX: i64 = 8;

/// The finest resolution that the format reserves; finer ones are merged down to [`SCHEMA_MAX`].
const SCHEMA_RESERVED_MAX: i64 = 52;

/// What is wrong with a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("histogram schema {0} is not supported")]
    Schema(i64),
    #[error("histogram spans cover {spans} buckets, but there are {buckets} counts")]
    Buckets { spans: u64, buckets: usize },
    #[error("histogram has both integer and float counts")]
    Mixed,
    #[error("histogram has a negative or overflowing bucket count")]
    NegativeCount,
    #[error("histogram span leaves the range of buckets")]
    SpanRange,
}

/// The buckets of one side as they lie in the message.
#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<u64>,
    counts: Vec<f64>,
}

impl Side {
    /// Absolute counts. The bytes of the message bound what is allocated: spans only claim.
    fn finish(self) -> Result<(Vec<Span>, Vec<f64>), HistogramError> {
        if !self.deltas.is_empty() && !self.counts.is_empty() {
            return Err(HistogramError::Mixed);
        }
        let mut counts = self.counts;
        let mut count = 0_i64;
        for delta in self.deltas {
            count =
                count.checked_add(zigzag(delta)).filter(|count| *count >= 0).ok_or(HistogramError::NegativeCount)?;
            counts.push(count as f64);
        }
        let covered = self.spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
        if covered != counts.len() as u64 {
            return Err(HistogramError::Buckets { spans: covered, buckets: counts.len() });
        }
        Ok((self.spans, counts))
    }
}

/// Reads a histogram message.
///
/// # Errors
/// `Wire` where the bytes are no message: the request is broken. Else this histogram is.
pub fn decode(message: &[u8]) -> Result<Decoded, HistogramError> {
    let mut histogram = Histogram::default();
    let (mut time, mut start, mut schema) = (0, 0, 0);
    let (mut positive, mut negative) = (Side::default(), Side::default());
    let mut custom_values = Vec::new();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => histogram.count = field.uint()? as f64,
            2 => histogram.count = field.double()?,
            3 => histogram.sum = field.double()?,
            4 => schema = field.sint()?,
            5 => histogram.zero_threshold = field.double()?,
            6 => histogram.zero_count = field.uint()? as f64,
            7 => histogram.zero_count = field.double()?,
            8 => negative.spans.push(span(&field)?),
            9 => field.append_uints(&mut negative.deltas)?,
            10 => field.append_doubles(&mut negative.counts)?,
            11 => positive.spans.push(span(&field)?),
            12 => field.append_uints(&mut positive.deltas)?,
            13 => field.append_doubles(&mut positive.counts)?,
            14 => histogram.reset_hint = reset_hint(field.uint()?),
            15 => time = field.int()?,
            16 => field.append_doubles(&mut custom_values)?,
            17 => start = field.int()?,
            _ => {}
        }
    }
    let scale_down = match schema {
        -53 | -4..=SCHEMA_MAX => 0,
        9..=SCHEMA_RESERVED_MAX => (schema - SCHEMA_MAX) as u32,
        _ => return Err(HistogramError::Schema(schema)),
    };
    (histogram.positive_spans, histogram.positive_buckets) = positive.finish()?;
    (histogram.negative_spans, histogram.negative_buckets) = negative.finish()?;
    if scale_down > 0 {
        schema = SCHEMA_MAX;
        reduce(&mut histogram.positive_spans, &mut histogram.positive_buckets, scale_down)?;
        reduce(&mut histogram.negative_spans, &mut histogram.negative_buckets, scale_down)?;
    }
    histogram.schema = i8::try_from(schema).map_err(|_| HistogramError::Schema(schema))?;
    // Custom values mean something with custom buckets only.
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        histogram.custom_values = Arc::from(custom_values);
    }
    Ok(Decoded { time, start, histogram })
}

fn span(field: &Field<'_>) -> Result<Span, HistogramError> {
    let mut span = Span::default();
    let mut reader = Reader::new(field.bytes()?);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => span.offset = i32::try_from(field.sint()?).map_err(|_| HistogramError::SpanRange)?,
            2 => span.length = u32::try_from(field.uint()?).map_err(|_| HistogramError::SpanRange)?,
            _ => {}
        }
    }
    Ok(span)
}

fn reset_hint(value: u64) -> ResetHint {
    match value {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

/// Merges each 2^`by` buckets into one.
fn reduce(spans: &mut Vec<Span>, buckets: &mut Vec<f64>, by: u32) -> Result<(), HistogramError> {
    let mut merged: Vec<(i64, f64)> = Vec::with_capacity(buckets.len());
    let mut counts = buckets.iter();
    let mut index = 0_i64;
    for span in spans.iter() {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let count = counts.next().copied().unwrap_or_default();
            // Bucket i ends at base^i, so it goes where its upper end goes.
            let target = ((index - 1) >> by) + 1;
            match merged.last_mut() {
                Some((last, sum)) if *last == target => *sum += count,
                _ => merged.push((target, count)),
            }
            index += 1;
        }
    }
    (*spans, *buckets) = from_indices(&merged).ok_or(HistogramError::SpanRange)?;
    Ok(())
}

/// Spans and counts of buckets given by ascending index; `None` where an offset does not fit.
pub fn from_indices(buckets: &[(i64, f64)]) -> Option<(Vec<Span>, Vec<f64>)> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0_i64;
    for (index, _) in buckets {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(Span { offset: i32::try_from(index - next).ok()?, length: 1 }),
        }
        next = index + 1;
    }
    Some((spans, buckets.iter().map(|(_, count)| *count).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::prometheus::{self, BucketSpan, histogram};
    use prost::Message as _;

    fn spans(spans: &[(i32, u32)]) -> Vec<BucketSpan> {
        spans.iter().map(|(offset, length)| BucketSpan { offset: *offset, length: *length }).collect()
    }

    #[test]
    fn integer_deltas_become_absolute_counts() {
        let message = prometheus::Histogram {
            count: Some(histogram::Count::CountInt(9)),
            zero_count: Some(histogram::ZeroCount::ZeroCountInt(1)),
            sum: 2.5,
            schema: -2,
            zero_threshold: 1e-3,
            positive_spans: spans(&[(-3, 2), (4, 1)]),
            positive_deltas: vec![3, -1, 2],
            negative_spans: spans(&[(0, 1)]),
            negative_deltas: vec![1],
            reset_hint: 3,
            timestamp: -5,
            ..prometheus::Histogram::default()
        };
        let decoded = decode(&message.encode_to_vec()).unwrap();
        assert_eq!((decoded.time, decoded.start), (-5, 0));
        let histogram = decoded.histogram;
        assert_eq!((histogram.count, histogram.zero_count, histogram.sum, histogram.schema), (9.0, 1.0, 2.5, -2));
        assert_eq!(histogram.positive_buckets, [3.0, 2.0, 4.0]);
        assert_eq!(histogram.negative_buckets, [1.0]);
        assert_eq!(histogram.reset_hint, ResetHint::Gauge);
    }

    #[test]
    fn custom_buckets_keep_their_bounds() {
        let message = prometheus::Histogram {
            count: Some(histogram::Count::CountFloat(1.5)),
            schema: -53,
            positive_spans: spans(&[(1, 1)]),
            positive_counts: vec![1.5],
            custom_values: vec![0.1, 1.0],
            ..prometheus::Histogram::default()
        };
        let histogram = decode(&message.encode_to_vec()).unwrap().histogram;
        assert_eq!(&histogram.custom_values[..], [0.1, 1.0]);
        assert_eq!(histogram.positive_buckets, [1.5]);
    }

    #[test]
    fn resolution_beyond_eight_is_merged_down() {
        let message = prometheus::Histogram {
            count: Some(histogram::Count::CountInt(10)),
            schema: 9,
            // Buckets 1, 2, 3 and 6 of schema 9 are 1, 1, 2 and 3 of schema 8.
            positive_spans: spans(&[(1, 3), (2, 1)]),
            positive_deltas: vec![1, 1, 1, 1],
            ..prometheus::Histogram::default()
        };
        let histogram = decode(&message.encode_to_vec()).unwrap().histogram;
        assert_eq!((histogram.schema, &histogram.positive_buckets[..]), (8, &[3.0, 3.0, 4.0][..]));
        assert_eq!(histogram.positive_spans, [Span { offset: 1, length: 3 }]);
    }

    #[test]
    fn claims_without_counts_are_refused_before_anything_is_allocated() {
        let message = prometheus::Histogram {
            positive_spans: spans(&[(0, u32::MAX), (0, u32::MAX)]),
            positive_deltas: vec![1],
            ..prometheus::Histogram::default()
        };
        let error = decode(&message.encode_to_vec()).unwrap_err();
        assert_eq!(error, HistogramError::Buckets { spans: 2 * u64::from(u32::MAX), buckets: 1 });
        let mut message = prometheus::Histogram { schema: 53, ..prometheus::Histogram::default() };
        assert_eq!(decode(&message.encode_to_vec()), Err(HistogramError::Schema(53)));
        message =
            prometheus::Histogram { positive_spans: spans(&[(0, 1)]), positive_deltas: vec![-1], ..Default::default() };
        assert_eq!(decode(&message.encode_to_vec()), Err(HistogramError::NegativeCount));
    }
}
