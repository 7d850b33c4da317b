//! Writes a block file from series in ascending order of labels. Nothing is visible before `finish`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use crate::base::disk::{Disk, File, temporary_name};
use crate::codec::bytes::{put_signed, put_varint};
use crate::codec::chunk;
use crate::model::labels::Labels;

use super::format::{Footer, HEAD_LEN, MAGIC, Meta, PAGE_BYTES, Section, VERSION, wrap_section};
use super::index::{ChunkRef, Page};

/// A block in the making. Dropped without `finish`, it leaves nothing.
#[derive(Debug)]
pub struct BlockWriter {
    disk: Disk,
    file: File,
    path: PathBuf,
    meta: Meta,
    offset: u64,
    page: Vec<u8>,
    page_times: Option<(i64, i64)>,
    pages: Vec<Page>,
    /// Symbols by order of appearance; sorted at the end.
    symbols: HashMap<Box<str>, u32>,
    series: Vec<Row>,
    last: Option<Labels>,
    published: bool,
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if !self.published {
            // Left behind, it is removed at the next opening.
            let _ = self.disk.remove(&temporary_name(&self.path));
        }
    }
}

#[derive(Debug)]
struct Row {
    labels: Box<[(u32, u32)]>,
    chunks: Box<[ChunkRef]>,
}

impl BlockWriter {
    /// Starts the file of a block in a folder. `meta` gives id, level, resolution and sources; the rest is found.
    pub fn create(disk: &Disk, folder: &Path, meta: Meta) -> io::Result<Self> {
        let path = folder.join(format!("{}.block", meta.id));
        let file = disk.create_new(&temporary_name(&path))?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        file.write_at(&head, 0)?;
        Ok(Self {
            disk: disk.clone(),
            file,
            path,
            meta: Meta { min_time: i64::MAX, max_time: i64::MIN, series: 0, samples: 0, ..meta },
            offset: HEAD_LEN,
            page: Vec::with_capacity(PAGE_BYTES * 2),
            page_times: None,
            pages: Vec::new(),
            symbols: HashMap::new(),
            series: Vec::new(),
            last: None,
            published: false,
        })
    }

    /// Adds a series and its chunks (bytes of `codec::chunk`, ascending by time). Labels must come in ascending order.
    pub fn add(&mut self, labels: &Labels, chunks: &[Vec<u8>]) -> io::Result<()> {
        assert!(self.last.as_ref().is_none_or(|last| last < labels), "series are written in order of labels");
        let mut refs = Vec::with_capacity(chunks.len());
        for bytes in chunks {
            let header = chunk::header(bytes).map_err(io::Error::other)?;
            refs.push(ChunkRef {
                page: self.pages.len() as u32,
                offset: self.page.len() as u32,
                len: bytes.len() as u32,
                min_time: header.min_time,
                max_time: header.max_time,
            });
            self.meta.min_time = self.meta.min_time.min(header.min_time);
            self.meta.max_time = self.meta.max_time.max(header.max_time);
            self.meta.samples += header.count as u64;
            let (min, max) = self.page_times.unwrap_or((i64::MAX, i64::MIN));
            self.page_times = Some((min.min(header.min_time), max.max(header.max_time)));
            self.page.extend_from_slice(bytes);
            if self.page.len() >= PAGE_BYTES {
                self.end_page()?;
            }
        }
        let labels_row = labels.iter().map(|(name, value)| (self.symbol(name), self.symbol(value))).collect();
        self.series.push(Row { labels: labels_row, chunks: refs.into_boxed_slice() });
        self.meta.series += 1;
        self.last = Some(labels.clone());
        Ok(())
    }

    fn symbol(&mut self, text: &str) -> u32 {
        if let Some(number) = self.symbols.get(text) {
            return *number;
        }
        let next = self.symbols.len() as u32;
        self.symbols.insert(text.into(), next);
        next
    }

    fn end_page(&mut self) -> io::Result<()> {
        let Some((min_time, max_time)) = self.page_times.take() else { return Ok(()) };
        let (len, checksum) = (self.page.len() as u32, crc32c::crc32c(&self.page));
        self.file.write_at(&self.page, self.offset)?;
        self.pages.push(Page { offset: self.offset, len, checksum, min_time, max_time });
        self.offset += self.page.len() as u64;
        self.page.clear();
        Ok(())
    }

    /// Writes the index and publishes the file under its name; answers what the block says and how long it is.
    /// `None` where no sample was added: then nothing is left.
    pub fn finish(mut self) -> io::Result<Option<(Meta, u64)>> {
        let temporary = temporary_name(&self.path);
        if self.meta.samples == 0 {
            return Ok(None);
        }
        self.end_page()?;
        let (symbols, order) = sorted_symbols(&self.symbols);
        let plain = [self.page_directory(), symbols, self.rows(&order), self.postings(&order)];
        let mut sections = [Section::default(); 4];
        for (section, plain) in sections.iter_mut().zip(&plain) {
            let bytes = wrap_section(plain);
            self.file.write_at(&bytes, self.offset)?;
            *section = Section { offset: self.offset, len: bytes.len() as u64, checksum: crc32c::crc32c(&bytes) };
            self.offset += bytes.len() as u64;
        }
        let footer = Footer { meta: self.meta.clone(), sections };
        let bytes = footer.encode();
        self.file.write_at(&bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.file.sync()?;
        self.disk.rename(&temporary, &self.path)?;
        self.published = true;
        if let Some(folder) = self.path.parent() {
            self.disk.sync_dir(folder)?;
        }
        Ok(Some((footer.meta, self.offset)))
    }

    fn page_directory(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.pages.len() as u64);
        for page in &self.pages {
            put_varint(&mut out, u64::from(page.len));
            out.extend_from_slice(&page.checksum.to_le_bytes());
            put_signed(&mut out, page.min_time.wrapping_sub(self.meta.min_time));
            put_varint(&mut out, page.max_time.wrapping_sub(page.min_time) as u64);
        }
        out
    }

    fn rows(&self, order: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.series.len() as u64);
        let mut row = Vec::new();
        for series in &self.series {
            row.clear();
            put_varint(&mut row, series.labels.len() as u64);
            for (name, value) in &series.labels {
                put_varint(&mut row, u64::from(order[*name as usize]));
                put_varint(&mut row, u64::from(order[*value as usize]));
            }
            put_varint(&mut row, series.chunks.len() as u64);
            let mut page = 0;
            for chunk in &series.chunks {
                put_varint(&mut row, u64::from(chunk.page - page));
                page = chunk.page;
                put_varint(&mut row, u64::from(chunk.offset));
                put_varint(&mut row, u64::from(chunk.len));
                put_signed(&mut row, chunk.min_time.wrapping_sub(self.meta.min_time));
                put_varint(&mut row, chunk.max_time.wrapping_sub(chunk.min_time) as u64);
            }
            put_varint(&mut out, row.len() as u64);
            out.extend_from_slice(&row);
        }
        out
    }

    fn postings(&self, order: &[u32]) -> Vec<u8> {
        // (series so far, last series, list)
        let mut lists: BTreeMap<(u32, u32), (u32, u32, Vec<u8>)> = BTreeMap::new();
        for (number, series) in self.series.iter().enumerate() {
            let number = number as u32;
            for (name, value) in &series.labels {
                let pair = (order[*name as usize], order[*value as usize]);
                let (count, last, list) = lists.entry(pair).or_default();
                put_varint(list, u64::from(number - *last));
                *count += 1;
                *last = number;
            }
        }
        let mut out = Vec::new();
        put_varint(&mut out, lists.len() as u64);
        for ((name, value), (count, _, list)) in &lists {
            for field in [u64::from(*name), u64::from(*value), u64::from(*count), list.len() as u64] {
                put_varint(&mut out, field);
            }
        }
        for (_, _, list) in lists.values() {
            out.extend_from_slice(list);
        }
        out
    }
}

/// The symbol section, and for each symbol by appearance its place in it.
fn sorted_symbols(symbols: &HashMap<Box<str>, u32>) -> (Vec<u8>, Vec<u32>) {
    let mut sorted: Vec<(&str, u32)> = symbols.iter().map(|(text, number)| (&**text, *number)).collect();
    sorted.sort_unstable();
    let mut order = vec![0; sorted.len()];
    let mut out = Vec::new();
    put_varint(&mut out, sorted.len() as u64);
    for (place, (text, number)) in sorted.iter().enumerate() {
        order[*number as usize] = place as u32;
        put_varint(&mut out, text.len() as u64);
    }
    for (text, _) in &sorted {
        out.extend_from_slice(text.as_bytes());
    }
    (out, order)
}
