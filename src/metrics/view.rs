//! What a reader sees of a series in memory.

use crate::codec::CodecError;
use crate::promql::source::Column;

use super::column::{Chunks, Points};
use super::histograms::Histograms;
use super::late::{LateSample, merged};

/// What a reader takes out of a series under the lock; decoding comes after.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub chunks: Chunks,
    pub open: Points,
    pub late: Vec<LateSample>,
    pub histograms: Histograms,
}

/// Samples that are closer than this are one span: about what windows of a tier are wide.
const SPAN_GAP_MS: i64 = 60_000;

impl Snapshot {
    /// The times that it has samples at, as spans, ascending and apart.
    pub(super) fn spans(&self) -> Vec<(i64, i64)> {
        let mut spans: Vec<(i64, i64)> = self.chunks.iter().map(|chunk| (chunk.first, chunk.last)).collect();
        spans.extend(self.open.times.first().copied().zip(self.open.times.last().copied()));
        spans.extend(self.late.iter().map(|sample| (sample.time, sample.time)));
        spans.extend(self.histograms.sealed.iter().map(|chunk| (chunk.first, chunk.last)));
        spans.extend(self.histograms.open.iter().map(|sample| (sample.time, sample.time)));
        spans.sort_unstable();
        spans.dedup_by(|span, before| {
            let near = span.0 <= before.1.saturating_add(SPAN_GAP_MS);
            if near {
                before.1 = before.1.max(span.1);
            }
            near
        });
        spans
    }

    /// Appends the floats in `mint..=maxt`, ascending.
    pub(super) fn floats(&self, mint: i64, maxt: i64, points: &mut Points) -> Result<(), CodecError> {
        if self.late.is_empty() {
            return self.in_order(mint, maxt, points);
        }
        let mut own = Points::default();
        let result = self.in_order(mint, maxt, &mut own);
        points.extend(&merged(&own, &self.late));
        result
    }

    /// As `floats`, but for those that came late.
    fn in_order(&self, mint: i64, maxt: i64, points: &mut Points) -> Result<(), CodecError> {
        let mut result = Ok(());
        let most = self.chunks.iter().map(|chunk| chunk.count as usize).sum::<usize>() + self.open.len();
        points.times.reserve(most);
        points.values.reserve(most);
        for chunk in &self.chunks {
            result = result.and(chunk.read(mint, maxt, points));
        }
        points.extend(&self.open);
        result
    }

    /// Appends everything in `mint..=maxt`, ascending, to a column. What the column has before is not looked at: it may
    /// be later.
    pub(super) fn read(&self, mint: i64, maxt: i64, column: &mut Column) -> Result<(), CodecError> {
        if self.histograms.is_empty() && column.histograms.is_empty() && column.weights.is_empty() {
            let mut points = Points {
                times: std::mem::take(&mut column.times),
                values: std::mem::take(&mut column.values),
                starts: std::mem::take(&mut column.starts),
            };
            let result = self.floats(mint, maxt, &mut points);
            (column.times, column.values, column.starts) = (points.times, points.values, points.starts);
            return result;
        }
        let (mut points, mut own, mut at) = (Points::default(), Column::default(), 0);
        self.floats(mint, maxt, &mut points)?;
        if self.histograms.is_empty() {
            (own.times, own.values, own.starts) = (points.times, points.values, points.starts);
            column.append(&mut own);
            return Ok(());
        }
        for sample in self.histograms.read(mint, maxt)? {
            while at < points.len() && points.times[at] < sample.time {
                own.push_float(points.times[at], points.start(at), points.values[at]);
                at += 1;
            }
            own.push_histogram(sample.time, sample.start, sample.value);
        }
        while at < points.len() {
            own.push_float(points.times[at], points.start(at), points.values[at]);
            at += 1;
        }
        column.append(&mut own);
        Ok(())
    }
}
