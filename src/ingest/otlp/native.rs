//! OTLP histograms as native histograms.

use std::sync::Arc;

use super::points::{Buckets, Explicit, Exponential};
use crate::ingest::remote_write::histogram::from_indices;
use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram};
use crate::model::sample::STALE_NAN;

/// Where the sender says nothing of the zero bucket's width: what Prometheus assumes.
const ZERO_THRESHOLD: f64 = 1e-128;

/// The resolutions that are stored.
const SCALES: std::ops::RangeInclusive<i64> = -4..=8;

/// What is wrong with a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NativeError {
    #[error("exponential histogram of scale {0}: only -4 and finer can be stored")]
    Scale(i64),
    #[error("histogram bucket index is out of range")]
    IndexRange,
    #[error("histogram has {counts} bucket counts for {bounds} bounds")]
    BucketCount { counts: usize, bounds: usize },
    #[error("histogram bounds are not ascending")]
    Bounds,
}

/// The histogram that says "ended here".
pub(super) fn stale() -> Histogram {
    Histogram { sum: STALE_NAN, ..Histogram::default() }
}

/// An exponential histogram. Finer scales than 8 are merged down.
pub(super) fn from_exponential(point: &Exponential) -> Result<Histogram, NativeError> {
    if point.scale < *SCALES.start() {
        return Err(NativeError::Scale(point.scale));
    }
    let scale = point.scale.min(*SCALES.end());
    // More than 31 halvings put every index into bucket 0 or -1 anyway.
    let by = u32::try_from(point.scale - scale).unwrap_or(u32::MAX).min(31);
    let schema = i8::try_from(scale).map_err(|_| NativeError::Scale(scale))?;
    let (positive_spans, positive_buckets) = side(&point.positive, by)?;
    let (negative_spans, negative_buckets) = side(&point.negative, by)?;
    Ok(Histogram {
        schema,
        zero_threshold: if point.zero_threshold > 0.0 { point.zero_threshold } else { ZERO_THRESHOLD },
        zero_count: point.zero_count as f64,
        count: point.count as f64,
        sum: point.sum.unwrap_or(0.0),
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        ..Histogram::default()
    })
}

type Side = (Vec<crate::model::histogram::Span>, Vec<f64>);

fn side(buckets: &Buckets, by: u32) -> Result<Side, NativeError> {
    let mut merged: Vec<(i64, f64)> = Vec::new();
    for (at, count) in buckets.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // OTLP's bucket i begins at base^i, ours ends there.
        let index = ((buckets.offset + at as i64) >> by) + 1;
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum += *count as f64,
            _ => merged.push((index, *count as f64)),
        }
    }
    if merged.last().is_some_and(|(last, _)| i32::try_from(*last).is_err()) {
        return Err(NativeError::IndexRange);
    }
    from_indices(&merged).ok_or(NativeError::IndexRange)
}

/// Whether bounds and counts of an explicit histogram fit together.
pub(super) fn check_explicit(point: &Explicit) -> Result<(), NativeError> {
    let (counts, bounds) = (point.counts.len(), point.bounds.len());
    if counts != bounds + 1 && (counts, bounds) != (0, 0) {
        return Err(NativeError::BucketCount { counts, bounds });
    }
    // A NaN fails here too.
    if point.bounds.windows(2).all(|pair| pair[0] < pair[1])
        && !point.bounds.first().is_some_and(|first| first.is_nan())
    {
        return Ok(());
    }
    Err(NativeError::Bounds)
}

/// An explicit histogram with custom buckets. It passed [`check_explicit`].
pub(super) fn from_explicit(point: &Explicit) -> Result<Histogram, NativeError> {
    let buckets: Vec<(i64, f64)> = point
        .counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(at, count)| (at as i64, *count as f64))
        .collect();
    let (positive_spans, positive_buckets) = from_indices(&buckets).ok_or(NativeError::IndexRange)?;
    Ok(Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: point.count as f64,
        sum: point.sum.unwrap_or(0.0),
        positive_spans,
        positive_buckets,
        custom_values: Arc::from(point.bounds.as_slice()),
        ..Histogram::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::Span;

    #[test]
    fn an_exponential_index_moves_by_one() {
        let point = Exponential {
            count: 10,
            scale: 0,
            positive: Buckets { offset: -2, counts: vec![1, 0, 0, 3] },
            negative: Buckets { offset: 5, counts: vec![6] },
            ..Exponential::default()
        };
        let histogram = from_exponential(&point).unwrap();
        assert_eq!(histogram.positive_spans, [Span { offset: -1, length: 1 }, Span { offset: 2, length: 1 }]);
        assert_eq!(histogram.positive_buckets, [1.0, 3.0]);
        assert_eq!(histogram.negative_spans, [Span { offset: 6, length: 1 }]);
        assert_eq!((histogram.schema, histogram.zero_threshold), (0, ZERO_THRESHOLD));
    }

    #[test]
    fn finer_scales_are_merged_down_and_coarser_ones_refused() {
        let mut point = Exponential {
            scale: 10,
            positive: Buckets { offset: -1, counts: vec![1, 2, 3, 4, 5, 6] },
            ..Exponential::default()
        };
        let histogram = from_exponential(&point).unwrap();
        // Indices -1 | 0 1 2 3 | 4 of scale 10 are -1 | 0 | 1 of scale 8, one higher here.
        assert_eq!((histogram.schema, &histogram.positive_buckets[..]), (8, &[1.0, 14.0, 6.0][..]));
        assert_eq!(histogram.positive_spans, [Span { offset: 0, length: 3 }]);
        point.scale = -5;
        assert_eq!(from_exponential(&point), Err(NativeError::Scale(-5)));
        point.scale = i64::MAX;
        assert!(from_exponential(&point).is_ok());
        point = Exponential {
            positive: Buckets { offset: i64::from(i32::MAX), counts: vec![1] },
            ..Exponential::default()
        };
        assert_eq!(from_exponential(&point), Err(NativeError::IndexRange));
    }

    #[test]
    fn explicit_bounds_become_custom_values() {
        let point = Explicit { count: 3, sum: Some(4.0), counts: vec![0, 1, 2], bounds: vec![0.5, 1.0] };
        check_explicit(&point).unwrap();
        let histogram = from_explicit(&point).unwrap();
        assert_eq!(histogram.positive_spans, [Span { offset: 1, length: 2 }]);
        assert_eq!(&histogram.custom_values[..], [0.5, 1.0]);
        let wrong = Explicit { counts: vec![1], ..point.clone() };
        assert_eq!(check_explicit(&wrong), Err(NativeError::BucketCount { counts: 1, bounds: 2 }));
        let wrong = Explicit { bounds: vec![1.0, f64::NAN], ..point };
        assert_eq!(check_explicit(&wrong), Err(NativeError::Bounds));
    }
}
