//! The label index of one block in memory: symbols, rows of series, postings, page directory.
//!
//! It is decoded as a whole (its sections are checksummed) and kept in the cache, so that opening a block costs only
//! its footer. Rows and postings stay as varints and are read in place.

use roaring::RoaringBitmap;
use smallvec::SmallVec;

use crate::codec::CodecError;
use crate::codec::bytes::Reader;
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};

use super::format::HEAD_LEN;

/// Series, symbols or pages of one block.
const COUNT_MAX: usize = 1 << 28;

/// About how many labels a series has.
const PAIRS_TYPICAL: u64 = 16;

/// Where a page stands, and the times in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub offset: u64,
    pub len: u32,
    pub checksum: u32,
    pub min_time: i64,
    pub max_time: i64,
}

/// Where a chunk stands, and the times in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkRef {
    pub page: u32,
    pub offset: u32,
    pub len: u32,
    pub min_time: i64,
    pub max_time: i64,
}

/// Those of a series: mostly one.
pub(super) type ChunkRefs = SmallVec<[ChunkRef; 2]>;

/// A label pair, and where the list of its series is.
#[derive(Clone, Copy, Debug)]
struct Pair {
    name: u32,
    value: u32,
    count: u32,
    start: u64,
    len: u32,
}

/// The index of a block.
#[derive(Debug)]
pub(super) struct Index {
    min_time: i64,
    symbols: String,
    symbol_ends: Vec<u32>,
    rows: Vec<u8>,
    row_ends: Vec<u32>,
    pairs: Vec<Pair>,
    lists: Vec<u8>,
    pages: Vec<Page>,
}

const DAMAGED: CodecError = CodecError("an index refers to what it does not have");

impl Index {
    /// From the plain bytes of the four sections, in the order of the file.
    pub(super) fn parse(min_time: i64, sections: [&[u8]; 4]) -> Result<Self, CodecError> {
        let [pages, symbols, series, postings] = sections;
        let (symbols, symbol_ends) = parse_symbols(symbols)?;
        let (rows, row_ends) = parse_rows(series)?;
        let (pairs, lists) = parse_pairs(postings)?;
        let pages = parse_pages(pages, min_time)?;
        Ok(Self { min_time, symbols, symbol_ends, rows, row_ends, pairs, lists, pages })
    }

    /// Series in the block.
    pub(super) fn len(&self) -> usize {
        self.row_ends.len()
    }

    pub(super) fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Bytes in memory.
    pub(super) fn weight(&self) -> usize {
        self.symbols.len()
            + self.symbol_ends.len() * 4
            + self.rows.len()
            + self.row_ends.len() * 4
            + self.pairs.len() * size_of::<Pair>()
            + self.lists.len()
            + self.pages.len() * size_of::<Page>()
    }

    fn symbol(&self, number: u32) -> Option<&str> {
        let at = number as usize;
        let end = *self.symbol_ends.get(at)? as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.symbol_ends[before] as usize);
        self.symbols.get(start..end)
    }

    fn find_symbol(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0u32, self.symbol_ends.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.symbol(middle)?.cmp(text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn row(&self, series: u32) -> Result<Reader<'_>, CodecError> {
        let at = series as usize;
        let end = *self.row_ends.get(at).ok_or(DAMAGED)? as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.row_ends[before] as usize);
        self.rows.get(start..end).map(Reader::new).ok_or(DAMAGED)
    }

    /// The labels of a series.
    pub(super) fn labels(&self, series: u32) -> Result<Labels, CodecError> {
        self.labels_by(series, &mut Vec::with_capacity(256))
    }

    /// As [`Self::labels`], by way of a buffer that may be used again.
    pub(super) fn labels_by(&self, series: u32, buffer: &mut Vec<u8>) -> Result<Labels, CodecError> {
        let mut pairs: SmallVec<[(&str, &str); PAIRS_TYPICAL as usize]> = SmallVec::new();
        let mut row = self.row(series)?;
        for _ in 0..row.count(COUNT_MAX)? {
            let (name, value) = (row.count(COUNT_MAX)? as u32, row.count(COUNT_MAX)? as u32);
            pairs.push((self.symbol(name).ok_or(DAMAGED)?, self.symbol(value).ok_or(DAMAGED)?));
        }
        Labels::from_ordered(pairs, buffer).map_err(|_| CodecError("a series has impossible labels"))
    }

    /// The chunks of a series that touch the range.
    pub(super) fn chunks(&self, series: u32, mint: i64, maxt: i64) -> Result<ChunkRefs, CodecError> {
        let mut row = self.row(series)?;
        for _ in 0..row.count(COUNT_MAX)? {
            row.varint()?;
            row.varint()?;
        }
        let mut chunks = ChunkRefs::new();
        let mut page = 0usize;
        for _ in 0..row.count(COUNT_MAX)? {
            page = page.saturating_add(row.count(COUNT_MAX)?);
            let (offset, len) = (row.count(u32::MAX as usize)?, row.count(u32::MAX as usize)?);
            let min_time = self.min_time.wrapping_add(row.signed()?);
            let max_time = min_time.wrapping_add(row.varint()? as i64);
            if min_time <= maxt && max_time >= mint {
                chunks.push(ChunkRef { page: page as u32, offset: offset as u32, len: len as u32, min_time, max_time });
            }
        }
        Ok(chunks)
    }

    fn list(&self, pair: &Pair, set: &mut RoaringBitmap) -> Result<(), CodecError> {
        let start = usize::try_from(pair.start).map_err(|_| DAMAGED)?;
        let bytes = self.lists.get(start..start + pair.len as usize).ok_or(DAMAGED)?;
        let mut reader = Reader::new(bytes);
        let mut series = 0usize;
        for _ in 0..pair.count {
            series = series.saturating_add(reader.count(COUNT_MAX)?);
            if series >= self.len() {
                return Err(DAMAGED);
            }
            set.insert(series as u32);
        }
        Ok(())
    }

    fn pairs_of(&self, name: &str) -> &[Pair] {
        let Some(name) = self.find_symbol(name) else { return &[] };
        let from = self.pairs.partition_point(|pair| pair.name < name);
        let to = self.pairs.partition_point(|pair| pair.name <= name);
        self.pairs.get(from..to).unwrap_or(&[])
    }

    /// Series that have the label with a value for which `accepts` holds.
    fn with_value(&self, name: &str, accepts: impl Fn(&str) -> bool) -> Result<RoaringBitmap, CodecError> {
        let mut set = RoaringBitmap::new();
        for pair in self.pairs_of(name) {
            if accepts(self.symbol(pair.value).ok_or(DAMAGED)?) {
                self.list(pair, &mut set)?;
            }
        }
        Ok(set)
    }

    /// A label pair; `None` where no series has it.
    fn pair(&self, name: &str, value: &str) -> Option<&Pair> {
        let (pairs, value) = (self.pairs_of(name), self.find_symbol(value)?);
        pairs.binary_search_by_key(&value, |pair| pair.value).ok().map(|at| &pairs[at])
    }

    /// Series that have exactly this pair.
    fn with_pair(&self, name: &str, value: &str) -> Result<RoaringBitmap, CodecError> {
        let mut set = RoaringBitmap::new();
        self.pair(name, value).map_or(Ok(()), |pair| self.list(pair, &mut set))?;
        Ok(set)
    }

    /// The series that fulfil all matchers; without matchers all.
    pub(super) fn find(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, CodecError> {
        // Conditions that an absent label does not fulfil narrow the set by the index alone: they come first, and of
        // them pairs, the rarest ahead; one that nobody has ends the search before any list is read.
        let (absent, present): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| matcher.matches(""));
        let (exact, other): (Vec<&Matcher>, Vec<&Matcher>) =
            present.into_iter().partition(|matcher| matcher.op == MatchOp::Equal);
        let pairs: Option<Vec<&Pair>> = exact.iter().map(|matcher| self.pair(&matcher.name, &matcher.value)).collect();
        let Some(mut pairs) = pairs else { return Ok(RoaringBitmap::new()) };
        pairs.sort_unstable_by_key(|pair| pair.count);
        let exact = pairs.into_iter().map(|pair| {
            let mut set = RoaringBitmap::new();
            self.list(pair, &mut set).map(|()| set)
        });
        let other = other.iter().map(|matcher| self.with_value(&matcher.name, |value| matcher.matches(value)));
        let mut found: Option<RoaringBitmap> = None;
        for set in exact.chain(other) {
            let set = set?;
            let cut = match found {
                Some(found) => found & set,
                None => set,
            };
            if cut.is_empty() {
                return Ok(cut);
            }
            found = Some(cut);
        }
        let mut found = found.unwrap_or_else(|| (0..self.len() as u32).collect());
        for matcher in absent {
            found -= match matcher.op {
                MatchOp::NotEqual => self.with_pair(&matcher.name, &matcher.value)?,
                _ => self.with_value(&matcher.name, |value| !matcher.matches(value))?,
            };
        }
        Ok(found)
    }

    /// The pairs of a series, as numbers of symbols.
    fn pairs_in(&self, series: u32, mut visit: impl FnMut(u32, u32)) -> Result<(), CodecError> {
        let mut row = self.row(series)?;
        for _ in 0..row.count(COUNT_MAX)? {
            visit(row.count(COUNT_MAX)? as u32, row.count(COUNT_MAX)? as u32);
        }
        Ok(())
    }

    /// Calls `visit` with the symbols whose numbers are given, each once.
    fn visit_symbols(&self, mut numbers: Vec<u32>, mut visit: impl FnMut(&str)) -> Result<(), CodecError> {
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().try_for_each(|number| self.symbol(number).map(&mut visit).ok_or(DAMAGED))
    }

    /// Calls `visit` with each label name of some series, ascending.
    pub(super) fn names_among(&self, series: &RoaringBitmap, visit: impl FnMut(&str)) -> Result<(), CodecError> {
        let (mut names, mut last) = (RoaringBitmap::new(), Vec::new());
        for number in series {
            let mut own = Vec::with_capacity(last.len());
            self.pairs_in(number, |name, _| own.push(name))?;
            // Neighbours mostly have the same names.
            if own != last {
                names.extend(own.iter().copied());
                last = own;
            }
        }
        self.visit_symbols(names.iter().collect(), visit)
    }

    /// Calls `visit` with each value that a label has among some series, ascending.
    pub(super) fn values_among(
        &self,
        name: &str,
        series: &RoaringBitmap,
        visit: impl FnMut(&str),
    ) -> Result<(), CodecError> {
        let Some(wanted) = self.find_symbol(name) else { return Ok(()) };
        let pairs = self.pairs_of(name);
        let listed: u64 = pairs.iter().map(|pair| u64::from(pair.count)).sum();
        let mut values = Vec::new();
        // Walking the rows of few series is cheaper than walking the lists of all values.
        if series.len().saturating_mul(PAIRS_TYPICAL) < listed {
            for number in series {
                self.pairs_in(number, |name, value| values.extend((name == wanted).then_some(value)))?;
            }
        } else {
            for pair in pairs {
                let mut set = RoaringBitmap::new();
                self.list(pair, &mut set)?;
                values.extend((!set.is_disjoint(series)).then_some(pair.value));
            }
        }
        self.visit_symbols(values, visit)
    }

    /// How many label names there are, or values of one label.
    pub(super) fn count_names(&self, name: Option<&str>) -> usize {
        match name {
            Some(name) => self.pairs_of(name).len(),
            None => self.pairs.chunk_by(|a, b| a.name == b.name).count(),
        }
    }

    /// Calls `visit` with each label name, ascending.
    pub(super) fn names(&self, mut visit: impl FnMut(&str)) -> Result<(), CodecError> {
        for group in self.pairs.chunk_by(|a, b| a.name == b.name) {
            let name = group.first().and_then(|pair| self.symbol(pair.name));
            visit(name.ok_or(DAMAGED)?);
        }
        Ok(())
    }

    /// Calls `visit` with each value of a label, ascending.
    pub(super) fn values(&self, name: &str, mut visit: impl FnMut(&str)) -> Result<(), CodecError> {
        for pair in self.pairs_of(name) {
            visit(self.symbol(pair.value).ok_or(DAMAGED)?);
        }
        Ok(())
    }
}

fn parse_symbols(bytes: &[u8]) -> Result<(String, Vec<u32>), CodecError> {
    let mut reader = Reader::new(bytes);
    let count = reader.count(bytes.len())?;
    let (mut ends, mut end) = (Vec::with_capacity(count), 0usize);
    for _ in 0..count {
        end = end.saturating_add(reader.count(bytes.len())?);
        ends.push(u32::try_from(end).map_err(|_| DAMAGED)?);
    }
    let text = reader.take(end)?;
    let text = std::str::from_utf8(text).map_err(|_| CodecError("symbols are not UTF-8"))?;
    Ok((text.to_owned(), ends))
}

fn parse_rows(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u32>), CodecError> {
    let mut reader = Reader::new(bytes);
    let count = reader.count(bytes.len())?;
    let (mut rows, mut ends) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(count));
    for _ in 0..count {
        let len = reader.count(bytes.len())?;
        rows.extend_from_slice(reader.take(len)?);
        ends.push(u32::try_from(rows.len()).map_err(|_| DAMAGED)?);
    }
    Ok((rows, ends))
}

fn parse_pairs(bytes: &[u8]) -> Result<(Vec<Pair>, Vec<u8>), CodecError> {
    let mut reader = Reader::new(bytes);
    let count = reader.count(bytes.len())?;
    let (mut pairs, mut start) = (Vec::with_capacity(count), 0u64);
    for _ in 0..count {
        let (name, value) = (reader.count(COUNT_MAX)? as u32, reader.count(COUNT_MAX)? as u32);
        let (count, len) = (reader.count(COUNT_MAX)? as u32, reader.count(bytes.len())? as u32);
        pairs.push(Pair { name, value, count, start, len });
        start += u64::from(len);
    }
    let lists = reader.rest();
    if lists.len() as u64 != start || !pairs.is_sorted_by_key(|pair| (pair.name, pair.value)) {
        return Err(CodecError("postings are out of order"));
    }
    Ok((pairs, lists.to_vec()))
}

fn parse_pages(bytes: &[u8], block_min: i64) -> Result<Vec<Page>, CodecError> {
    let mut reader = Reader::new(bytes);
    let count = reader.count(bytes.len())?;
    let (mut pages, mut offset) = (Vec::with_capacity(count), HEAD_LEN);
    for _ in 0..count {
        let len = reader.count(u32::MAX as usize)? as u32;
        let checksum = reader.u32()?;
        let min_time = block_min.wrapping_add(reader.signed()?);
        let max_time = min_time.wrapping_add(reader.varint()? as i64);
        pages.push(Page { offset, len, checksum, min_time, max_time });
        offset += u64::from(len);
    }
    Ok(pages)
}
