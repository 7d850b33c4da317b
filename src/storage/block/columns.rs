//! Columns of samples, cut into chunks and merged from overlapping sources.

use std::sync::Arc;

use crate::codec::chunk::{encode_floats, encode_histograms};
use crate::codec::{Effort, histograms};
use crate::promql::source::Column;

/// Samples in a chunk at rest: two hours at 1 s fit in one.
pub(super) const CHUNK_SAMPLES: usize = 8_192;

/// Appends `newer` to `column`. Both ascend; where they share a time, `newer` wins.
pub(super) fn merge(column: &mut Column, newer: &mut Column) {
    if column.is_empty() {
        std::mem::swap(column, newer);
        return;
    }
    if newer.is_empty() {
        return;
    }
    if column.times.last() < newer.times.first() {
        column.append(newer);
        return;
    }
    // Mostly only the edges of both overlap.
    let first = newer.times.first().copied().unwrap_or(i64::MAX);
    let old = column.split_off(column.times.partition_point(|time| *time < first));
    let last = old.times.last().copied().unwrap_or(i64::MIN);
    let mut rest = newer.split_off(newer.times.partition_point(|time| *time <= last));
    let (mut a, mut b) = (0, 0);
    while let (Some(before), Some(after)) = (old.times.get(a), newer.times.get(b)) {
        if before < after {
            push(column, &old, a);
            a += 1;
        } else {
            a += usize::from(before == after);
            push(column, newer, b);
            b += 1;
        }
    }
    (a..old.len()).for_each(|at| push(column, &old, at));
    (b..newer.len()).for_each(|at| push(column, newer, at));
    newer.clear();
    column.append(&mut rest);
}

/// Brings a column in order whose samples from place `at` on were appended as they came from a newer source.
pub fn settle(column: &mut Column, at: usize) {
    if at > 0 && column.times.get(at).is_some_and(|time| *time <= column.times[at - 1]) {
        let mut newer = column.split_off(at);
        merge(column, &mut newer);
    }
}

/// Appends one sample of a column to another.
pub(super) fn push(to: &mut Column, from: &Column, at: usize) {
    let (time, start) = (from.times[at], from.starts.get(at).copied().unwrap_or(0));
    match from.histograms.get(at).and_then(Option::as_ref) {
        Some(histogram) => to.push_histogram(time, start, Arc::clone(histogram)),
        None => to.push_float(time, start, from.values[at]),
    }
    if let Some(weight) = from.weights.get(at) {
        to.weigh_last(*weight);
    }
}

/// Seals the samples `from..to` of a column into chunks: runs of floats and of histograms apart.
pub(super) fn seal(column: &Column, from: usize, to: usize, chunks: &mut Vec<Vec<u8>>) {
    let is_histogram = |at: usize| column.histograms.get(at).is_some_and(Option::is_some);
    let mut start = from;
    while start < to {
        let kind = is_histogram(start);
        let mut end = start + 1;
        let mut buckets = bucket_count(column, start);
        while end < to && end - start < CHUNK_SAMPLES && is_histogram(end) == kind {
            buckets = buckets.max(bucket_count(column, end));
            if kind && !histograms::fits(end + 1 - start, buckets) {
                break;
            }
            end += 1;
        }
        let times = &column.times[start..end];
        let starts = column.starts.get(start..end).unwrap_or(&[]);
        let mut bytes = Vec::new();
        if kind {
            let values: Vec<_> = column.histograms[start..end].iter().flatten().map(Arc::clone).collect();
            encode_histograms(times, &values, starts, Effort::Small, &mut bytes);
        } else {
            encode_floats(times, &column.values[start..end], starts, Effort::Small, &mut bytes);
        }
        chunks.push(bytes);
        start = end;
    }
}

fn bucket_count(column: &Column, at: usize) -> usize {
    let histogram = column.histograms.get(at).and_then(Option::as_ref);
    histogram.map_or(0, |histogram| histogram.positive_buckets.len() + histogram.negative_buckets.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::Histogram;
    use crate::storage::block::reader::decode;

    fn column(samples: &[(i64, f64)]) -> Column {
        let mut column = Column::default();
        samples.iter().for_each(|(time, value)| column.push_float(*time, 0, *value));
        column
    }

    #[test]
    fn the_newer_source_wins_and_order_holds() {
        let mut a = column(&[(1, 1.0), (3, 3.0), (5, 5.0)]);
        merge(&mut a, &mut column(&[(0, 10.0), (3, 30.0), (9, 90.0)]));
        assert_eq!(a.times, [0, 1, 3, 5, 9]);
        assert_eq!(a.values, [10.0, 1.0, 30.0, 5.0, 90.0]);
        merge(&mut a, &mut column(&[(10, 0.0)]));
        assert_eq!(a.times.last(), Some(&10));
    }

    #[test]
    fn mixed_columns_are_sealed_in_runs_and_come_back() {
        let mut mixed = Column::default();
        for at in 0..20_000i64 {
            if (9_000..9_500).contains(&at) {
                mixed.push_histogram(at, 5, Arc::new(Histogram { count: at as f64, ..Histogram::default() }));
            } else {
                mixed.push_float(at, 0, at as f64 / 4.0);
            }
        }
        let mut chunks = Vec::new();
        seal(&mixed, 0, mixed.len(), &mut chunks);
        assert_eq!(chunks.len(), 5);
        let mut back = Column::default();
        chunks.iter().for_each(|bytes| decode(bytes, i64::MIN, i64::MAX, &mut back).unwrap());
        assert_eq!((&back.times, &back.starts), (&mixed.times, &mixed.starts));
        assert_eq!((&back.values, &back.histograms), (&mixed.values, &mixed.histograms));
    }
}
