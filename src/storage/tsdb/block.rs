//! One block: index, chunk segments, tombstones.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::cursor::{Cursor, TsdbError};
use crate::codec::prometheus::{ChunkError, Encoding, histogram, xor};
use crate::model::histogram::Histogram;
use crate::model::labels::{Labels, LabelsBuilder};

pub(super) const INDEX_MAGIC: u32 = 0xBAAA_D700;
pub(super) const CHUNKS_MAGIC: u32 = 0x85BD_40DD;
pub(super) const TOMBSTONES_MAGIC: u32 = 0x0130_BA30;
/// Six references of eight bytes and a checksum.
const TOC_LEN: usize = 52;
/// Labels and chunks of one series are sane below this; a damaged count ends here.
const ENTRIES_MAX: usize = 1 << 20;

/// The parsed head of an index file.
pub struct Index {
    bytes: Vec<u8>,
    symbols: Vec<Range<usize>>,
    /// Offsets of all series, ascending by labels.
    series: Vec<usize>,
}

/// One series of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What tombstones call it.
    pub reference: u64,
    pub labels: Labels,
    pub chunks: Vec<ChunkRef>,
}

/// Where a chunk is, and the times of its first and last sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    pub mint: i64,
    pub maxt: i64,
    /// 0 is the file `000001`.
    pub segment: u32,
    pub offset: u32,
}

impl Index {
    /// Checks the header and reads the tables that series need.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, TsdbError> {
        let mut head = Cursor::new(&bytes, 0);
        if head.be32()? != INDEX_MAGIC {
            return Err(TsdbError::Malformed { what: "no index of a Prometheus block", at: 0 });
        }
        let version = head.byte()?;
        if version != 2 {
            return Err(TsdbError::Version(version));
        }
        let toc_at = bytes.len().checked_sub(TOC_LEN).ok_or(TsdbError::Truncated(bytes.len()))?;
        let mut toc = Cursor::new(&bytes, toc_at).checked(TOC_LEN - 4)?;
        let mut references = [0_usize; 6];
        for reference in &mut references {
            *reference = usize::try_from(toc.be64()?).unwrap_or(usize::MAX);
        }
        let symbols = read_symbols(&bytes, references[0])?;
        let series = read_all_postings(&bytes, references[5])?;
        Ok(Self { symbols, series, bytes })
    }

    pub fn len(&self) -> usize {
        self.series.len()
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The series with their chunks; a damaged entry is an error of its own and does not end the walk.
    pub fn series(&self) -> impl Iterator<Item = Result<Series, TsdbError>> + '_ {
        self.series.iter().map(|&offset| self.read_series(offset))
    }

    fn read_series(&self, offset: usize) -> Result<Series, TsdbError> {
        let mut cursor = Cursor::new(&self.bytes, offset);
        let length = cursor.count()?;
        let mut entry = cursor.checked(length)?;
        let mut builder = LabelsBuilder::default();
        for _ in 0..bounded(&mut entry)? {
            let name = self.symbol(&mut entry)?;
            let value = self.symbol(&mut entry)?;
            builder.set(name, value);
        }
        let mut chunks: Vec<ChunkRef> = Vec::new();
        let mut reference = 0_u64;
        for _ in 0..bounded(&mut entry)? {
            let mint = match chunks.last() {
                None => entry.varint()?,
                Some(last) => last.maxt.wrapping_add_unsigned(entry.uvarint()?),
            };
            let maxt = mint.wrapping_add_unsigned(entry.uvarint()?);
            reference = match chunks.last() {
                None => entry.uvarint()?,
                Some(_) => reference.wrapping_add_signed(entry.varint()?),
            };
            chunks.push(ChunkRef { mint, maxt, segment: (reference >> 32) as u32, offset: reference as u32 });
        }
        Ok(Series { reference: (offset / 16) as u64, labels: builder.build(), chunks })
    }

    fn symbol(&self, cursor: &mut Cursor<'_>) -> Result<&str, TsdbError> {
        let number = usize::try_from(cursor.uvarint()?).unwrap_or(usize::MAX);
        let range = self.symbols.get(number).ok_or_else(|| cursor.malformed("a symbol that is not in the table"))?;
        std::str::from_utf8(&self.bytes[range.clone()]).map_err(|_| cursor.malformed("a symbol that is not UTF-8"))
    }
}

fn bounded(cursor: &mut Cursor<'_>) -> Result<usize, TsdbError> {
    let count = cursor.count()?;
    if count > ENTRIES_MAX { Err(cursor.malformed("a series with too many entries")) } else { Ok(count) }
}

fn read_symbols(bytes: &[u8], at: usize) -> Result<Vec<Range<usize>>, TsdbError> {
    let mut table = Cursor::new(bytes, at).section()?;
    let count = table.be32()?;
    let mut symbols = Vec::new();
    for _ in 0..count {
        let length = table.count()?;
        let start = table.at();
        table.take(length)?;
        symbols.push(start..start + length);
    }
    Ok(symbols)
}

/// The list under the empty name and value has every series.
fn read_all_postings(bytes: &[u8], table_at: usize) -> Result<Vec<usize>, TsdbError> {
    let mut table = Cursor::new(bytes, table_at).section()?;
    for _ in 0..table.be32()? {
        let strings = table.uvarint()?;
        let mut is_all = true;
        for _ in 0..strings.min(2) {
            is_all &= table.string()?.is_empty();
        }
        let offset = usize::try_from(table.uvarint()?).unwrap_or(usize::MAX);
        if is_all {
            let mut list = Cursor::new(bytes, offset).section()?;
            let count = list.be32()?;
            return (0..count).map(|_| list.be32().map(|reference| reference as usize * 16)).collect();
        }
    }
    Err(table.malformed("no list of all series"))
}

/// A chunk segment file, whole.
pub struct Segment(Vec<u8>);

/// What a chunk held.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

impl Samples {
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
    }
}

/// Why a chunk cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("chunk file {0}")]
    File(#[from] TsdbError),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

impl Segment {
    /// Checks the header of a file from the folder `chunks`.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, TsdbError> {
        let mut head = Cursor::new(&bytes, 0);
        if head.be32()? != CHUNKS_MAGIC {
            return Err(TsdbError::Malformed { what: "no chunk file of a Prometheus block", at: 0 });
        }
        match head.byte()? {
            1 => Ok(Self(bytes)),
            version => Err(TsdbError::Version(version)),
        }
    }

    /// Appends the samples of the chunk at `offset`, after verifying its checksum.
    pub fn read(&self, offset: u32, samples: &mut Samples) -> Result<(), ReadError> {
        let mut cursor = Cursor::new(&self.0, offset as usize);
        let length = cursor.count()?;
        let mut chunk = cursor.checked(length.saturating_add(1))?;
        let encoding = Encoding::from_byte(chunk.byte()?)?;
        let data = chunk.take(length)?;
        match encoding {
            Encoding::Xor => xor::decode(data, &mut samples.times, &mut samples.values)?,
            Encoding::Histogram | Encoding::FloatHistogram => {
                histogram::decode(encoding, data, &mut samples.histograms)?;
            }
        }
        Ok(())
    }
}

/// Deleted ranges by series reference, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(HashMap<u64, Vec<(i64, i64)>>);

impl Tombstones {
    /// Reads a file `tombstones`.
    pub fn parse(bytes: &[u8]) -> Result<Self, TsdbError> {
        let mut head = Cursor::new(bytes, 0);
        if head.be32()? != TOMBSTONES_MAGIC {
            return Err(TsdbError::Malformed { what: "no tombstones of a Prometheus block", at: 0 });
        }
        match head.byte()? {
            1 => {}
            version => return Err(TsdbError::Version(version)),
        }
        let length = bytes.len().checked_sub(head.at() + 4).ok_or(TsdbError::Truncated(bytes.len()))?;
        let mut stones = head.checked(length)?;
        let mut ranges: HashMap<u64, Vec<(i64, i64)>> = HashMap::new();
        while !stones.is_at_end() {
            let reference = stones.uvarint()?;
            ranges.entry(reference).or_default().push((stones.varint()?, stones.varint()?));
        }
        Ok(Self(ranges))
    }

    /// Whether the sample of this series at this time was deleted.
    pub fn covers(&self, reference: u64, time: i64) -> bool {
        self.0.get(&reference).is_some_and(|ranges| ranges.iter().any(|&(from, to)| (from..=to).contains(&time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_section(file: &mut Vec<u8>, content: &[u8]) -> u64 {
        let at = file.len() as u64;
        file.extend((content.len() as u32).to_be_bytes());
        file.extend(content);
        file.extend(crc32c::crc32c(content).to_be_bytes());
        at
    }

    /// One series `{a="b"}` with two chunks, laid out by hand after docs/format/index.md.
    fn index() -> Vec<u8> {
        let mut file = INDEX_MAGIC.to_be_bytes().to_vec();
        file.push(2);
        let symbols = push_section(&mut file, b"\x00\x00\x00\x03\x00\x01a\x01b");
        file.resize(file.len().next_multiple_of(16), 0);
        let series = file.len() as u64;
        // One label (symbols 1, 2); two chunks: 1000..=1200 at offset 8, 1300..=1350 at offset 40.
        let entry = [1, 1, 2, 2, 0xd0, 0x0f, 0xc8, 0x01, 8, 100, 50, 64];
        file.push(entry.len() as u8);
        file.extend(entry);
        file.extend(crc32c::crc32c(&entry).to_be_bytes());
        let list = [1_u32.to_be_bytes(), ((series / 16) as u32).to_be_bytes()].concat();
        let postings = push_section(&mut file, &list);
        let mut table = 1_u32.to_be_bytes().to_vec();
        table.extend([2, 0, 0, postings as u8]);
        let offsets = push_section(&mut file, &table);
        let toc: Vec<u8> = [symbols, series, 0, 0, postings, offsets].iter().flat_map(|at| at.to_be_bytes()).collect();
        file.extend(&toc);
        file.extend(crc32c::crc32c(&toc).to_be_bytes());
        file
    }

    #[test]
    fn an_index_gives_labels_and_chunks() {
        let index = Index::parse(index()).unwrap();
        let series = index.series().next().unwrap().unwrap();
        assert_eq!(series.labels.to_string(), r#"{a="b"}"#);
        assert_eq!(
            series.chunks,
            [
                ChunkRef { mint: 1_000, maxt: 1_200, segment: 0, offset: 8 },
                ChunkRef { mint: 1_300, maxt: 1_350, segment: 0, offset: 40 }
            ]
        );
    }

    #[test]
    fn every_flipped_bit_of_an_index_is_found_or_harmless() {
        let good = index();
        let whole = Index::parse(good.clone()).unwrap().series().next().unwrap().unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(index) = Index::parse(bad) {
                for series in index.series().flatten() {
                    assert_eq!(series, whole, "bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_segment_verifies_what_it_reads() {
        let chunk = xor::encode(&[1_000, 2_000], &[1.5, 2.5]);
        let mut content = vec![1];
        content.extend(&chunk);
        let mut file = CHUNKS_MAGIC.to_be_bytes().to_vec();
        file.extend([1, 0, 0, 0, chunk.len() as u8]);
        file.extend(&content);
        file.extend(crc32c::crc32c(&content).to_be_bytes());
        let mut samples = Samples::default();
        Segment::parse(file.clone()).unwrap().read(8, &mut samples).unwrap();
        assert_eq!((samples.times, samples.values), (vec![1_000, 2_000], vec![1.5, 2.5]));
        file[12] ^= 1;
        let damaged = Segment::parse(file).unwrap().read(8, &mut Samples::default());
        assert_eq!(damaged, Err(ReadError::File(TsdbError::Checksum(9))));
    }
}
