//! Writes one block of Prometheus' format: index version 2, chunk segments, empty tombstones, meta.json.
//!
//! Series go to the files as they come; what grows in memory is the table of symbols and the lists of postings. The
//! folder has a name that Prometheus takes for an unfinished block until [`BlockWriter::finish`] renames it, so a block
//! that is there is whole. Layout: prometheus/tsdb/docs/format/{index,chunks,tombstones}.md.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::block::{CHUNKS_MAGIC, INDEX_MAGIC, TOMBSTONES_MAGIC};
use crate::base::disk::{Disk, File};
use crate::codec::prometheus::Encoding;
use crate::codec::prometheus::cut::Chunk;
use crate::model::labels::Labels;

/// As long as Prometheus lets a segment grow; offsets in it must fit 32 bits.
const SEGMENT_BYTES_MAX: u64 = 512 << 20;
/// Prometheus ignores and removes folders of this ending.
const UNFINISHED: &str = ".tmp-for-creation";
/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// What a block holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub series: u64,
    pub chunks: u64,
    pub floats: u64,
    pub histograms: u64,
}

/// A block that is being written.
#[derive(Debug)]
pub struct BlockWriter {
    disk: Disk,
    folder: PathBuf,
    name: String,
    index: Output,
    chunks: Output,
    /// 0 is the file `000001`.
    segment: u64,
    /// Symbols in order; their places are their numbers.
    symbols: Vec<Box<str>>,
    /// Series by numbers of label name and value.
    postings: HashMap<(u32, u32), Vec<u32>>,
    all: Vec<u32>,
    series_at: u64,
    written: Written,
}

/// A file that only grows.
#[derive(Debug)]
struct Output {
    file: File,
    buffer: Vec<u8>,
    /// Bytes that are written already.
    flushed: u64,
}

impl Output {
    fn create(disk: &Disk, path: &Path) -> io::Result<Self> {
        Ok(Self { file: disk.create_new(path)?, buffer: Vec::with_capacity(BUFFER_BYTES), flushed: 0 })
    }

    fn at(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn align(&mut self, to: u64) -> io::Result<()> {
        let padding = self.at().next_multiple_of(to) - self.at();
        self.put(&vec![0; usize::try_from(padding).unwrap_or(0)])
    }

    /// Length, content, checksum; answers where it begins.
    fn section(&mut self, content: &[u8]) -> io::Result<u64> {
        let at = self.at();
        let length = u32::try_from(content.len())
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a section of the index exceeds 4 GiB"))?;
        self.put(&length.to_be_bytes())?;
        self.put(content)?;
        self.put(&crc32c::crc32c(content).to_be_bytes())?;
        Ok(at)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.flushed)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync()
    }
}

impl BlockWriter {
    /// Begins a block of this name (a ULID) in `folder`. `symbols` are all names and values of labels that its series
    /// will have, ascending and without repeats; more do no harm.
    pub fn create(disk: &Disk, folder: &Path, name: &str, symbols: Vec<Box<str>>) -> io::Result<Self> {
        let inside = folder.join(format!("{name}{UNFINISHED}"));
        disk.create_dir_all(&inside.join("chunks"))?;
        let mut index = Output::create(disk, &inside.join("index"))?;
        index.put(&INDEX_MAGIC.to_be_bytes())?;
        index.put(&[2])?;
        let mut table = u32::try_from(symbols.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        for symbol in &symbols {
            put_string(&mut table, symbol);
        }
        index.section(&table)?;
        let series_at = index.at().next_multiple_of(16);
        let chunks = segment(disk, &inside, 0)?;
        Ok(Self {
            disk: disk.clone(),
            folder: folder.to_owned(),
            name: name.to_owned(),
            index,
            chunks,
            segment: 0,
            symbols,
            postings: HashMap::new(),
            all: Vec::new(),
            series_at,
            written: Written::default(),
        })
    }

    /// Adds a series with its chunks, which ascend in time. Series ascend by labels.
    pub fn series(&mut self, labels: &Labels, chunks: &[Chunk]) -> io::Result<()> {
        self.index.align(16)?;
        let reference = u32::try_from(self.index.at() / 16)
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "the index exceeds 64 GiB"))?;
        let mut entry = Vec::with_capacity(64 + 12 * chunks.len());
        put_uvarint(&mut entry, labels.len() as u64);
        for (name, value) in labels.iter() {
            let pair = (self.symbol(name)?, self.symbol(value)?);
            put_uvarint(&mut entry, u64::from(pair.0));
            put_uvarint(&mut entry, u64::from(pair.1));
            self.postings.entry(pair).or_default().push(reference);
        }
        self.all.push(reference);
        put_uvarint(&mut entry, chunks.len() as u64);
        let mut before: Option<(i64, u64)> = None;
        for chunk in chunks {
            let place = self.chunk(chunk)?;
            match before {
                None => {
                    put_varint(&mut entry, chunk.mint);
                    put_uvarint(&mut entry, chunk.maxt.wrapping_sub(chunk.mint).cast_unsigned());
                    put_uvarint(&mut entry, place);
                }
                Some((maxt, last)) => {
                    put_uvarint(&mut entry, chunk.mint.wrapping_sub(maxt).cast_unsigned());
                    put_uvarint(&mut entry, chunk.maxt.wrapping_sub(chunk.mint).cast_unsigned());
                    put_varint(&mut entry, place.wrapping_sub(last).cast_signed());
                }
            }
            before = Some((chunk.maxt, place));
        }
        let mut head = Vec::new();
        put_uvarint(&mut head, entry.len() as u64);
        self.index.put(&head)?;
        self.index.put(&entry)?;
        self.index.put(&crc32c::crc32c(&entry).to_be_bytes())?;
        self.written.series += 1;
        Ok(())
    }

    fn symbol(&self, text: &str) -> io::Result<u32> {
        let found = self.symbols.binary_search_by(|symbol| (**symbol).cmp(text));
        found.map(|number| number as u32).map_err(|_| io::Error::other(format!("{text:?} was not among the symbols")))
    }

    /// Writes a chunk and answers its reference: segment and offset.
    fn chunk(&mut self, chunk: &Chunk) -> io::Result<u64> {
        let mut content = Vec::with_capacity(chunk.data.len() + 1);
        content.push(chunk.encoding as u8);
        content.extend_from_slice(&chunk.data);
        if self.chunks.at() + content.len() as u64 + 16 > SEGMENT_BYTES_MAX {
            self.segment += 1;
            let next = segment(&self.disk, &self.unfinished(), self.segment)?;
            std::mem::replace(&mut self.chunks, next).finish()?;
        }
        let place = self.segment << 32 | self.chunks.at();
        let mut head = Vec::new();
        put_uvarint(&mut head, chunk.data.len() as u64);
        self.chunks.put(&head)?;
        self.chunks.put(&content)?;
        self.chunks.put(&crc32c::crc32c(&content).to_be_bytes())?;
        self.written.chunks += 1;
        match chunk.encoding {
            Encoding::Xor => self.written.floats += chunk.samples as u64,
            Encoding::Histogram | Encoding::FloatHistogram => self.written.histograms += chunk.samples as u64,
        }
        Ok(place)
    }

    fn unfinished(&self) -> PathBuf {
        self.folder.join(format!("{}{UNFINISHED}", self.name))
    }

    /// Removes what was written.
    pub fn discard(self) -> io::Result<()> {
        self.disk.remove_dir_all(&self.unfinished())
    }

    /// Completes the block of the samples in `mint..maxt`, and publishes it under its name.
    pub fn finish(mut self, (mint, maxt): (i64, i64)) -> io::Result<Written> {
        let tables = self.postings()?;
        let toc = [5, self.series_at, 0, 0, tables.0, tables.1];
        let toc: Vec<u8> = toc.iter().flat_map(|at: &u64| at.to_be_bytes()).collect();
        self.index.put(&toc)?;
        self.index.put(&crc32c::crc32c(&toc).to_be_bytes())?;
        let inside = self.unfinished();
        let Self { disk, folder, name, index, chunks, written, .. } = self;
        index.finish()?;
        chunks.finish()?;
        let mut stones = TOMBSTONES_MAGIC.to_be_bytes().to_vec();
        stones.push(1);
        stones.extend(crc32c::crc32c(b"").to_be_bytes());
        disk.publish(&inside.join("tombstones"), &stones)?;
        let mut stats = serde_json::json!({
            "numSamples": written.floats + written.histograms,
            "numSeries": written.series,
            "numChunks": written.chunks,
        });
        if written.histograms > 0 {
            stats["numFloatSamples"] = written.floats.into();
            stats["numHistogramSamples"] = written.histograms.into();
        }
        let meta = serde_json::json!({
            "ulid": name,
            "minTime": mint,
            "maxTime": maxt,
            "stats": stats,
            "compaction": {"level": 1, "sources": [name]},
            "version": 1,
        });
        let text = serde_json::to_vec_pretty(&meta).map_err(io::Error::other)?;
        disk.publish(&inside.join("meta.json"), &text)?;
        disk.sync_dir(&inside.join("chunks"))?;
        disk.sync_dir(&inside)?;
        disk.rename(&inside, &folder.join(&name))?;
        disk.sync_dir(&folder)?;
        Ok(written)
    }

    /// Writes every list and the table of where they are; answers where lists and table begin.
    fn postings(&mut self) -> io::Result<(u64, u64)> {
        let mut pairs: Vec<_> = std::mem::take(&mut self.postings).into_iter().collect();
        // Symbols ascend, so their numbers ascend as names and values do.
        pairs.sort_unstable_by_key(|(pair, _)| *pair);
        self.index.align(4)?;
        let begin = self.index.at();
        let all = std::mem::take(&mut self.all);
        let mut table = u32::try_from(pairs.len() + 1).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        let everything = std::iter::once((("", ""), &all));
        let symbol = |number: u32| self.symbols.get(number as usize).map_or("", |symbol| &**symbol);
        let named = pairs.iter().map(|((name, value), list)| ((symbol(*name), symbol(*value)), list));
        for ((name, value), list) in everything.chain(named) {
            self.index.align(4)?;
            let mut content = u32::try_from(list.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
            content.extend(list.iter().flat_map(|reference| reference.to_be_bytes()));
            let at = self.index.section(&content)?;
            table.push(2);
            put_string(&mut table, name);
            put_string(&mut table, value);
            put_uvarint(&mut table, at);
        }
        let table_at = self.index.section(&table)?;
        Ok((begin, table_at))
    }
}

fn segment(disk: &Disk, folder: &Path, number: u64) -> io::Result<Output> {
    let mut file = Output::create(disk, &folder.join("chunks").join(format!("{:06}", number + 1)))?;
    file.put(&CHUNKS_MAGIC.to_be_bytes())?;
    file.put(&[1, 0, 0, 0])?;
    Ok(file)
}

fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, (value << 1 ^ value >> 63).cast_unsigned());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::prometheus::cut::cut;
    use crate::storage::tsdb::block::{Index, Samples, Segment, Tombstones};

    #[test]
    fn what_is_written_is_read() {
        // A real disk: the simulated one renames files, not folders.
        let (disk, folder) = (Disk::real(), tempfile::tempdir().unwrap());
        let folder = folder.path();
        let symbols = ["__name__", "a", "b", "job", "x"].map(Box::from).to_vec();
        let mut writer = BlockWriter::create(&disk, folder, "01ABC", symbols).unwrap();
        let times: Vec<i64> = (0..250).map(|second| second * 1_000).collect();
        let values: Vec<f64> = times.iter().map(|time| *time as f64 / 7.0).collect();
        let mut chunks = Vec::new();
        cut(&times, &values, &[], &mut chunks);
        let sets = [vec![("__name__", "a")], vec![("__name__", "b"), ("job", "x")]].map(Labels::from_pairs);
        for labels in &sets {
            writer.series(labels, &chunks).unwrap();
        }
        let written = writer.finish((0, 7_200_000)).unwrap();
        assert_eq!(written, Written { series: 2, chunks: 6, floats: 500, histograms: 0 });
        let read = |name: &str| disk.read(&folder.join("01ABC").join(name), 1 << 20).unwrap();
        let index = Index::parse(read("index")).unwrap();
        let segment = Segment::parse(read("chunks/000001")).unwrap();
        assert_eq!(Tombstones::parse(&read("tombstones")).unwrap(), Tombstones::default());
        for (series, labels) in index.series().map(Result::unwrap).zip(&sets) {
            assert_eq!(&series.labels, labels);
            let mut samples = Samples::default();
            for chunk in &series.chunks {
                segment.read(chunk.offset, &mut samples).unwrap();
            }
            assert_eq!((&samples.times, &samples.values), (&times, &values));
        }
        let meta: serde_json::Value = serde_json::from_slice(&read("meta.json")).unwrap();
        assert_eq!(meta["stats"], serde_json::json!({"numSamples": 500, "numSeries": 2, "numChunks": 6}));
    }
}
