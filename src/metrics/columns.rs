//! How a series goes into a snapshot and comes back.

use std::sync::Arc;

use crate::codec::CodecError;
use crate::codec::bytes::{Reader, put_varint};
use crate::codec::{Effort, chunk, histograms};
use crate::model::histogram::Histogram;

use super::column::{Chunk, Points};
use super::record::{put_bytes, take_bytes};
use super::replay::read_histograms;
use super::series::HistogramSample;

/// The columns of one series outside of the store.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub sealed: Vec<Chunk>,
    pub open: Points,
    pub late: Points,
    pub histograms: Vec<HistogramSample>,
}

impl Restored {
    /// Appends the columns, without the name of the series.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_varint(out, self.sealed.len() as u64);
        for chunk in &self.sealed {
            put_bytes(out, chunk.bytes());
        }
        for points in [&self.open, &self.late] {
            match Chunk::seal(points) {
                Some(chunk) => put_bytes(out, chunk.bytes()),
                None => put_bytes(out, &[]),
            }
        }
        let mut chunks = Vec::new();
        let mut rest = self.histograms.as_slice();
        while let Some((first, _)) = rest.split_first() {
            let buckets = buckets_of(&first.value);
            // Runs of one size go together; a run ends where the decoder's limit would.
            let run = rest.iter().take(4_096).take_while(|sample| buckets_of(&sample.value) <= buckets).count();
            let run = (1..=run).rev().find(|run| histograms::fits(*run, buckets)).unwrap_or(1);
            let (piece, after) = rest.split_at(run);
            chunks.push(seal_histograms(piece));
            rest = after;
        }
        put_varint(out, chunks.len() as u64);
        for chunk in &chunks {
            put_bytes(out, chunk);
        }
    }

    /// Samples, and first and last time, of each part.
    pub(super) fn spans(&self) -> impl Iterator<Item = (u64, i64, i64)> {
        let chunks = self.sealed.iter().map(|chunk| (u64::from(chunk.count), chunk.first, chunk.last));
        let points = [&self.open, &self.late]
            .into_iter()
            .filter_map(|points| Some((points.len() as u64, *points.times.first()?, *points.times.last()?)));
        chunks.chain(points).chain(self.histograms.iter().map(|sample| (1, sample.time, sample.time)))
    }

    /// Steps over what `write` wrote.
    pub(super) fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..reader.count(reader.rest().len())? {
            take_bytes(reader)?;
        }
        for _ in 0..2 {
            take_bytes(reader)?;
        }
        for _ in 0..reader.count(reader.rest().len())? {
            take_bytes(reader)?;
        }
        Ok(())
    }

    /// Reads what `write` wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut restored = Self::default();
        for _ in 0..reader.count(reader.rest().len())? {
            restored.sealed.push(Chunk::from_bytes(take_bytes(reader)?)?);
        }
        for points in [&mut restored.open, &mut restored.late] {
            let bytes = take_bytes(reader)?;
            if !bytes.is_empty() {
                Chunk::from_bytes(bytes)?.read(i64::MIN, i64::MAX, points)?;
            }
        }
        for _ in 0..reader.count(reader.rest().len())? {
            restored.histograms.extend(read_histograms(take_bytes(reader)?)?);
        }
        Ok(restored)
    }
}

/// Buckets that the codec has to hold for a histogram.
pub(super) fn buckets_of(histogram: &Histogram) -> usize {
    histogram.positive_buckets.len()
        + histogram.negative_buckets.len()
        + histogram.positive_spans.len()
        + histogram.negative_spans.len()
        + histogram.custom_values.len()
}

/// A chunk of histograms.
pub(super) fn seal_histograms(samples: &[HistogramSample]) -> Vec<u8> {
    let times: Vec<i64> = samples.iter().map(|sample| sample.time).collect();
    let starts: Vec<i64> = samples.iter().map(|sample| sample.start).collect();
    let values: Vec<Arc<Histogram>> = samples.iter().map(|sample| Arc::clone(&sample.value)).collect();
    let mut bytes = Vec::new();
    chunk::encode_histograms(&times, &values, &starts, Effort::Fast, &mut bytes);
    bytes
}
