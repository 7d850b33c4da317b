//! How a series goes into a snapshot and comes back.

use crate::codec::CodecError;
use crate::codec::bytes::{Reader, put_varint};

use super::column::{Chunk, Chunks, Points};
use super::histograms::{HistogramChunk, Histograms};
use super::record::{put_bytes, take_bytes};

/// The columns of one series outside of the store.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub sealed: Chunks,
    pub open: Points,
    pub late: Points,
    pub histograms: Histograms,
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
        let mut histograms = self.histograms.clone();
        histograms.seal(0);
        put_varint(out, histograms.sealed.len() as u64);
        for chunk in &histograms.sealed {
            put_bytes(out, chunk.bytes());
        }
    }

    /// Samples, and first and last time, of each part.
    pub(super) fn spans(&self) -> impl Iterator<Item = (u64, i64, i64)> {
        let chunks = self.sealed.iter().map(|chunk| (u64::from(chunk.count), chunk.first, chunk.last));
        let points = [&self.open, &self.late]
            .into_iter()
            .filter_map(|points| Some((points.len() as u64, *points.times.first()?, *points.times.last()?)));
        let histograms = &self.histograms;
        let open = histograms.open.iter().map(|sample| (1, sample.time, sample.time));
        let sealed = histograms.sealed.iter().map(|chunk| (u64::from(chunk.count), chunk.first, chunk.last));
        chunks.chain(points).chain(sealed).chain(open)
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
            restored.histograms.sealed.push(HistogramChunk::from_bytes(take_bytes(reader)?)?);
        }
        Ok(restored)
    }
}
