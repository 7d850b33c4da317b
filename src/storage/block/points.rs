//! The rolled-up points of one series: made from a column, to chunks and back, joined.

use std::sync::Arc;

use crate::codec::CodecError;
use crate::codec::rollup::histograms::{self, HistogramPoint, Samples};
use crate::codec::rollup::{self, Need, Point, window_end};
use crate::model::histogram::Histogram;
use crate::model::sample::STALE_NAN;
use crate::promql::source::Column;

use super::tombstones::Mask;

/// Points in a chunk: five days of minutes.
const CHUNK_POINTS: usize = 7_200;

/// Points of floats and of histograms, each ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Points {
    pub floats: Vec<Point>,
    pub histograms: Vec<HistogramPoint>,
}

impl Points {
    /// Rolls a column of samples up.
    pub(super) fn roll(column: &Column, width: i64) -> Self {
        if column.histograms.iter().all(Option::is_none) {
            let floats = rollup::roll(&column.times, &column.values, &column.starts, width);
            return Self { floats, histograms: Vec::new() };
        }
        let (mut times, mut values, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut others: (Vec<i64>, Vec<Arc<Histogram>>, Vec<i64>) = Default::default();
        for (at, (time, value)) in column.times.iter().zip(&column.values).enumerate() {
            let start = column.starts.get(at).copied().unwrap_or(0);
            match column.histograms.get(at).and_then(Option::as_ref) {
                Some(histogram) if !histogram.is_stale() => {
                    others.0.push(*time);
                    others.1.push(Arc::clone(histogram));
                    others.2.push(start);
                }
                // A series ends in the same way whatever it was of.
                other => {
                    times.push(*time);
                    values.push(if other.is_some() { STALE_NAN } else { *value });
                    starts.push(start);
                }
            }
        }
        let samples = Samples { times: &others.0, values: &others.1, starts: &others.2 };
        Self { floats: rollup::roll(&times, &values, &starts, width), histograms: histograms::roll(samples, width) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// The chunks that hold them.
    pub(super) fn encode(&self) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        for points in self.floats.chunks(CHUNK_POINTS) {
            let mut bytes = Vec::new();
            rollup::encode(points, &mut bytes);
            chunks.push(bytes);
        }
        let mut rest = self.histograms.as_slice();
        while !rest.is_empty() {
            let (points, after) = rest.split_at(histograms::fitting(rest).min(rest.len()));
            let mut bytes = Vec::new();
            histograms::encode(points, &mut bytes);
            chunks.push(bytes);
            rest = after;
        }
        chunks
    }

    /// Appends those of a chunk that end in the range.
    pub(super) fn decode(&mut self, bytes: &[u8], (mint, maxt): (i64, i64), need: Need) -> Result<(), CodecError> {
        if rollup::is_floats(bytes)? {
            rollup::decode(bytes, mint, maxt, need, &mut self.floats)
        } else {
            histograms::decode(bytes, mint, maxt, &mut self.histograms)
        }
    }

    /// Takes the points out of which any sample may be hidden: a point does not say which ones it was made from.
    pub(super) fn hide(&mut self, mask: &Mask) {
        if !mask.is_empty() {
            self.floats.retain(|point| !mask.touches(point.first_time, point.end_time));
            self.histograms.retain(|point| !mask.touches(point.first_time, point.last_time));
        }
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.floats.append(&mut other.floats);
        self.histograms.append(&mut other.histograms);
    }

    /// Brings points in the order of chunks; a window may have several.
    pub(super) fn arrange(&mut self) {
        self.floats.sort_by_key(|point| point.end_time);
        self.floats.dedup_by_key(|point| point.end_time);
        self.histograms.sort_by_key(|point| point.last_time);
        self.histograms.dedup_by_key(|point| point.last_time);
    }

    /// Brings points from several blocks in order, and makes one of those that share a window.
    pub(super) fn settle(&mut self, width: i64) {
        // First those of the same samples, of which one may have more: what lies between must not part them.
        self.floats.sort_by_key(|point| (point.first_time, point.last_time));
        self.floats.dedup_by(|point, before| {
            let same = rollup::is_same_run(before, point);
            if same {
                *before = rollup::join(before, point);
            }
            same
        });
        self.floats.dedup_by(|point, before| {
            let same = window_end(point.first_time, width) == window_end(before.first_time, width);
            if same {
                *before = rollup::join(before, point);
            }
            same
        });
        self.histograms.sort_by_key(|point| point.first_time);
        self.histograms.dedup_by(|point, before| {
            let same = window_end(point.first_time, width) == window_end(before.first_time, width);
            match histograms::join(before, point).filter(|_| same) {
                Some(joined) => {
                    *before = joined;
                    true
                }
                None => false,
            }
        });
        // Of points that could not be joined the ends may be out of order, which chunks cannot hold.
        self.arrange();
    }
}
