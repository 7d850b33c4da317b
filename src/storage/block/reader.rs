//! An open block: finds series by matchers and reads their chunks, page by page, through the cache.
//!
//! Every byte that is used was checked: the footer when opening, the index and each page when they are read from disk.
//! A damaged page costs only itself; a damaged index makes the block unreadable, but not its neighbours.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::base::disk::{Disk, File};
use crate::codec::chunk::{self, Target};
use crate::codec::rollup::Need;
use crate::codec::{CodecError, bytes};
use crate::promql::source::Column;

use super::cache::{Cache, Cached, Unit};
use super::format::{FOOTER_MAX, Footer, HEAD_LEN, MAGIC, Meta, Part, TAIL_LEN, VERSION, unwrap_section};
use super::index::{ChunkRef, ChunkRefs, Index};
use super::points::Points;

/// Why a block, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    #[error("cannot read {path}: {error}")]
    Io { path: String, error: io::Error },
    #[error("{path} is damaged at byte {offset}: {what}")]
    Damaged { path: String, offset: u64, what: String },
}

/// An open block file. Shared by readers; the file stays readable for them after it was removed.
#[derive(Debug)]
pub struct Block {
    meta: Meta,
    footer: Footer,
    path: PathBuf,
    file: File,
    len: u64,
    cache: Arc<Cache>,
    /// The index while any reader holds it, though the cache may have had no room.
    held: Mutex<Weak<Index>>,
    /// Pages that failed their checksum.
    damaged: Mutex<BTreeSet<u32>>,
    /// A merge with it failed: it is left alone until the next opening.
    unmergeable: AtomicBool,
    /// Classes of retention, by bit, of which it is known to have no series that should be gone.
    trimmed: AtomicU64,
    /// Rolling it up gave nothing that any rule keeps.
    barren: AtomicBool,
}

impl Block {
    /// Opens a block file and checks its head, tail and footer.
    pub fn open(disk: &Disk, path: &Path, cache: &Arc<Cache>) -> Result<Self, BlockError> {
        let io = |error| BlockError::Io { path: path.display().to_string(), error };
        let damaged = |offset, what: &str| BlockError::Damaged {
            path: path.display().to_string(),
            offset,
            what: what.to_owned(),
        };
        let file = disk.open(path).map_err(io)?;
        let len = file.len().map_err(io)?;
        if len < HEAD_LEN + TAIL_LEN {
            return Err(damaged(0, "it is too short"));
        }
        let mut head = [0; HEAD_LEN as usize];
        file.read_at(&mut head, 0).map_err(io)?;
        if head.get(..8) != Some(&MAGIC) || head.get(8..12) != Some(&VERSION.to_le_bytes()) {
            return Err(damaged(0, "it does not begin as a block of a known version"));
        }
        let mut tail = [0; TAIL_LEN as usize];
        file.read_at(&mut tail, len - TAIL_LEN).map_err(io)?;
        let mut reader = bytes::Reader::new(&tail);
        let (size, checksum) = reader.u32().and_then(|size| Ok((size, reader.u32()?))).unwrap_or_default();
        if reader.rest() != MAGIC || size > FOOTER_MAX || u64::from(size) > len - HEAD_LEN - TAIL_LEN {
            return Err(damaged(len - TAIL_LEN, "it does not end as a block"));
        }
        let start = len - TAIL_LEN - u64::from(size);
        let mut body = vec![0; size as usize];
        file.read_at(&mut body, start).map_err(io)?;
        if crc32c::crc32c(&body) != checksum {
            return Err(damaged(start, "the footer fails its checksum"));
        }
        let footer = Footer::decode(&body).map_err(|error| damaged(start, error.0))?;
        let (meta, path, cache) = (footer.meta.clone(), path.to_owned(), Arc::clone(cache));
        let (held, damaged) = (Mutex::default(), Mutex::default());
        let (unmergeable, barren, trimmed) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
        Ok(Self { meta, footer, path, file, len, cache, held, damaged, unmergeable, trimmed, barren })
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.meta.samples == 0
    }

    /// What the bytes of the file are spent on.
    pub fn sizes(&self) -> [(&'static str, u64); 5] {
        let len = |part: Part| self.footer.sections[part as usize].len;
        let pages = self.footer.sections[Part::Pages as usize].offset.saturating_sub(HEAD_LEN);
        [
            ("pages", pages),
            ("page directory", len(Part::Pages)),
            ("symbols", len(Part::Symbols)),
            ("series", len(Part::Series)),
            ("postings", len(Part::Postings)),
        ]
    }

    pub(super) fn is_mergeable(&self) -> bool {
        !self.unmergeable.load(Ordering::Relaxed) && self.damaged.lock().is_empty()
    }

    pub(super) fn set_unmergeable(&self) {
        self.unmergeable.store(true, Ordering::Relaxed);
    }

    pub(super) fn trimmed(&self) -> u64 {
        self.trimmed.load(Ordering::Relaxed)
    }

    pub(super) fn set_trimmed(&self, classes: u64) {
        self.trimmed.fetch_or(classes, Ordering::Relaxed);
    }

    pub(super) fn is_barren(&self) -> bool {
        self.barren.load(Ordering::Relaxed)
    }

    pub(super) fn set_barren(&self) {
        self.barren.store(true, Ordering::Relaxed);
    }

    /// Whether any sample may lie in the range.
    pub fn overlaps(&self, mint: i64, maxt: i64) -> bool {
        self.meta.min_time <= maxt && self.meta.max_time >= mint
    }

    fn io(&self, error: io::Error) -> BlockError {
        BlockError::Io { path: self.path.display().to_string(), error }
    }

    fn broken(&self, offset: u64, what: impl Into<String>) -> BlockError {
        BlockError::Damaged { path: self.path.display().to_string(), offset, what: what.into() }
    }

    fn section(&self, part: Part) -> Result<Vec<u8>, BlockError> {
        let section = self.footer.sections[part as usize];
        if section.offset.checked_add(section.len).is_none_or(|end| end > self.len) {
            return Err(self.broken(section.offset, format!("{} lie beyond its end", part.name())));
        }
        let mut bytes = vec![0; section.len as usize];
        self.file.read_at(&mut bytes, section.offset).map_err(|error| self.io(error))?;
        if crc32c::crc32c(&bytes) != section.checksum {
            return Err(self.broken(section.offset, format!("{} fail their checksum", part.name())));
        }
        unwrap_section(&bytes).map_err(|error| self.broken(section.offset, error.0))
    }

    pub(super) fn index(&self) -> Result<Arc<Index>, BlockError> {
        let key = (self.meta.id, Unit::Index);
        if let Some(Cached::Index(index)) = self.cache.get(key) {
            return Ok(index);
        }
        // The lock is held while reading: others who want the same index wait for it instead of reading it too.
        let mut held = self.held.lock();
        if let Some(index) = held.upgrade() {
            return Ok(index);
        }
        let mut plain: [Vec<u8>; 4] = Default::default();
        for (slot, part) in plain.iter_mut().zip(Part::ALL) {
            *slot = self.section(part)?;
        }
        let [a, b, c, d] = &plain;
        let index = Index::parse(self.meta.min_time, [a, b, c, d]);
        let index = Arc::new(index.map_err(|error| self.broken(self.footer.sections[0].offset, error.0))?);
        *held = Arc::downgrade(&index);
        self.cache.put(key, Cached::Index(Arc::clone(&index)));
        Ok(index)
    }

    /// The index, if it is in memory already.
    pub(super) fn index_at_hand(&self) -> Option<Arc<Index>> {
        match self.cache.peek((self.meta.id, Unit::Index)) {
            Some(Cached::Index(index)) => Some(index),
            _ => self.held.try_lock()?.upgrade(),
        }
    }

    /// Whether a page is in memory already.
    pub(super) fn has_page(&self, number: u32) -> bool {
        self.cache.peek((self.meta.id, Unit::Page(number))).is_some()
    }

    /// A page, checked. A page that failed once is not read again.
    pub(super) fn page(&self, index: &Index, number: u32) -> Result<Arc<[u8]>, BlockError> {
        let key = (self.meta.id, Unit::Page(number));
        if let Some(Cached::Page(page)) = self.cache.get(key) {
            return Ok(page);
        }
        let bytes = self.page_uncached(index, number)?;
        let page: Arc<[u8]> = bytes.into();
        self.cache.put(key, Cached::Page(Arc::clone(&page)));
        Ok(page)
    }

    /// A page, checked, for a walk over the whole block that should not drive others out of the cache.
    pub(super) fn page_uncached(&self, index: &Index, number: u32) -> Result<Vec<u8>, BlockError> {
        let Some(page) = index.pages().get(number as usize) else {
            return Err(self.broken(self.footer.sections[2].offset, "a chunk is on a page that is not there"));
        };
        let failed = || self.broken(page.offset, format!("page {number} fails its checksum"));
        if self.damaged.lock().contains(&number) {
            return Err(failed());
        }
        if page.offset + u64::from(page.len) > self.len {
            return Err(self.broken(page.offset, "a page lies beyond its end"));
        }
        let mut bytes = vec![0; page.len as usize];
        self.file.read_at(&mut bytes, page.offset).map_err(|error| self.io(error))?;
        if crc32c::crc32c(&bytes) != page.checksum {
            self.damaged.lock().insert(number);
            return Err(failed());
        }
        Ok(bytes)
    }

    /// How many pages failed their checksum.
    pub fn pages_damaged(&self) -> usize {
        self.damaged.lock().len()
    }

    /// Pages that failed their checksum, with the times that they hold.
    pub fn damaged_pages(&self) -> Vec<(u32, i64, i64)> {
        let Ok(index) = self.index() else { return Vec::new() };
        let times =
            |number: &u32| index.pages().get(*number as usize).map(|page| (*number, page.min_time, page.max_time));
        self.damaged.lock().iter().filter_map(times).collect()
    }

    pub(super) fn index_broken(&self, error: CodecError) -> BlockError {
        self.broken(self.footer.sections[2].offset, error.0)
    }

    pub(super) fn chunks(&self, index: &Index, series: u32, range: (i64, i64)) -> Result<ChunkRefs, BlockError> {
        index.chunks(series, range.0, range.1).map_err(|error| self.index_broken(error))
    }

    /// Appends the samples of a series in `mint..=maxt` to a column. Chunks on damaged pages are left out and named in
    /// `failures`.
    pub fn read(
        &self,
        series: u32,
        (mint, maxt): (i64, i64),
        column: &mut Column,
        failures: &mut Vec<BlockError>,
    ) -> Result<(), BlockError> {
        let index = self.index()?;
        for at in self.chunks(&index, series, (mint, maxt))? {
            let before = column.len();
            let decoded = self.page(&index, at.page).and_then(|page| {
                let bytes = self.chunk_bytes(&page, at)?;
                decode(bytes, mint, maxt, column).map_err(|error| self.broken(0, error.0))
            });
            if let Err(error) = decoded {
                truncate(column, before);
                failures.push(error);
            }
        }
        Ok(())
    }

    /// The rolled-up points of a series of a tier block that end in the range, with the numbers that are needed.
    pub(super) fn points(&self, series: u32, (mint, maxt): (i64, i64), need: Need) -> Result<Points, BlockError> {
        let index = self.index()?;
        let mut points = Points::default();
        for at in self.chunks(&index, series, (mint, maxt))? {
            let page = self.page(&index, at.page)?;
            let bytes = self.chunk_bytes(&page, at)?;
            points.decode(bytes, (mint, maxt), need).map_err(|error| self.broken(0, error.0))?;
        }
        Ok(points)
    }

    pub(super) fn chunk_bytes<'a>(&self, page: &'a [u8], at: ChunkRef) -> Result<&'a [u8], BlockError> {
        let from = at.offset as usize;
        page.get(from..from.saturating_add(at.len as usize))
            .ok_or_else(|| self.broken(self.footer.sections[2].offset, "a chunk lies beyond its page"))
    }
}

/// Appends the samples of a chunk to a column of floats and histograms.
pub(super) fn decode(bytes: &[u8], mint: i64, maxt: i64, column: &mut Column) -> Result<(), CodecError> {
    let before = column.times.len();
    let mut target = Target { times: &mut column.times, starts: &mut column.starts };
    if chunk::header(bytes)?.histograms {
        let mut histograms = Vec::new();
        chunk::decode_histograms(bytes, mint, maxt, &mut target, &mut histograms)?;
        column.histograms.resize(before, None);
        column.histograms.extend(histograms.into_iter().map(Some));
        column.values.resize(column.times.len(), 0.0);
    } else {
        chunk::decode_floats(bytes, mint, maxt, &mut target, &mut column.values)?;
        if !column.histograms.is_empty() {
            column.histograms.resize(column.times.len(), None);
        }
    }
    if !column.weights.is_empty() {
        // Windows of a tier may stand before them.
        column.weights.resize(column.times.len(), 1);
    }
    Ok(())
}

/// Takes away what a failed decode left.
pub(super) fn truncate(column: &mut Column, len: usize) {
    column.times.truncate(len);
    column.values.truncate(len);
    column.histograms.truncate(len);
    column.starts.truncate(len);
    column.weights.truncate(len);
}
