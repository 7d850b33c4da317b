//! The float column of a series: open at its end, sealed in chunks behind.
//!
//! Times are implied by first + step while they are regular, else held as offsets; start times are one number while
//! they do not change. A sealed chunk never changes, so readers share it without a lock.

use std::sync::Arc;

use thin_vec::ThinVec;

use crate::codec::chunk::{self, Target};
use crate::codec::{CodecError, Effort, times};

use super::packed::Packed;

/// Samples in a sealed chunk: one block of the value codec.
pub(super) const CHUNK_SAMPLES: usize = 256;

/// So many neighbours become one.
const JOINED: usize = 4;

/// Samples in a chunk that others were joined to: more than an hour at a second.
const JOINED_SAMPLES_MAX: usize = 4_096;

/// Time that a joined chunk may cover: chunks leave memory as a whole.
const JOINED_SPAN_MS: i64 = 7_200_000;

/// Samples by column, for decoding and merging.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Points {
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    /// Empty where no start is known, else one for each time.
    pub starts: Vec<i64>,
}

impl Points {
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.starts.clear();
    }

    pub(super) fn push(&mut self, time: i64, start: i64, value: f64) {
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
            self.starts.push(start);
        }
        self.times.push(time);
        self.values.push(value);
    }

    /// Appends samples that are all later.
    pub(super) fn extend(&mut self, later: &Self) {
        if !self.starts.is_empty() || !later.starts.is_empty() {
            self.starts.resize(self.len(), 0);
            self.starts.extend_from_slice(&later.starts);
            self.starts.resize(self.len() + later.len(), 0);
        }
        self.times.extend_from_slice(&later.times);
        self.values.extend_from_slice(&later.values);
    }

    pub(super) fn start(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or(0)
    }
}

/// In the place of a step: the only sample is in a block.
const FLUSHED: i64 = i64::MIN;

/// The growing end of a column. Times ascend strictly.
#[derive(Debug, Default)]
pub(super) struct Open {
    first: i64,
    last: i64,
    /// Between samples while they are regular; with fewer than two 0 or `FLUSHED`.
    step: i64,
    values: Packed,
    extra: Option<Box<Extra>>,
}

/// What only some series need.
#[derive(Debug, Default)]
struct Extra {
    /// Milliseconds after `first`, one for each value; empty while the column is regular.
    offsets: Vec<u32>,
    /// The start of every sample while `starts` is empty.
    start: i64,
    starts: Vec<i64>,
}

impl Open {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    /// Has the place fetched from memory where the next value goes.
    #[inline]
    pub(super) fn prefetch_end(&self) {
        self.values.prefetch_end();
    }

    /// See [`Packed::make_room`].
    #[inline]
    pub(super) fn make_room(&mut self, grow: bool) -> bool {
        self.values.make_room(grow)
    }

    /// Says that its only sample is in a block; true of that sample alone.
    pub(super) fn set_flushed(&mut self) {
        if self.len() == 1 {
            self.step = FLUSHED;
        }
    }

    /// Whether its only sample is in a block already.
    pub(super) fn is_flushed(&self) -> bool {
        self.len() == 1 && self.step == FLUSHED
    }

    /// Time of the first sample; meaningless while empty.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// Time of the last sample; meaningless while empty.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    pub(super) fn last_value(&self) -> Option<f64> {
        self.values.last()
    }

    /// Start of the last sample; 0 where unknown or empty.
    pub(super) fn last_start(&self) -> i64 {
        self.len().checked_sub(1).map_or(0, |at| self.start(at))
    }

    /// Whether a later time still has room: chunks are full at `CHUNK_SAMPLES`, and offsets have 32 bits.
    #[inline]
    pub(super) fn has_room(&self, time: i64) -> bool {
        let len = self.values.len();
        len == 0
            || (len < CHUNK_SAMPLES && time.checked_sub(self.first).is_some_and(|offset| offset <= i64::from(u32::MAX)))
    }

    /// Appends a sample that is later than the last and has room.
    #[inline]
    pub(super) fn push(&mut self, time: i64, start: i64, value: f64) {
        if self.step == FLUSHED {
            // It was kept to be compared with this one.
            self.clear();
        }
        let len = self.values.len();
        if self.extra.is_some() || start != 0 {
            self.push_extra(time, start);
        } else if len >= 2 {
            if time != self.last + self.step {
                self.make_explicit();
                self.push_extra(time, start);
            }
        } else if len == 1 {
            self.step = time - self.first;
        } else {
            self.first = time;
        }
        self.last = time;
        self.values.push(value);
    }

    fn push_extra(&mut self, time: i64, start: i64) {
        let len = self.values.len();
        if len == 0 {
            self.first = time;
        } else if len == 1 && self.extra.as_ref().is_none_or(|extra| extra.offsets.is_empty()) {
            self.step = time - self.first;
        } else if time != self.last + self.step && self.extra.as_ref().is_none_or(|extra| extra.offsets.is_empty()) {
            self.make_explicit();
        }
        let first = self.first;
        let extra = self.extra.get_or_insert_default();
        if !extra.offsets.is_empty() {
            extra.offsets.push((time - first) as u32);
        }
        if len == 0 {
            extra.start = start;
            extra.starts.clear();
        } else if !extra.starts.is_empty() {
            extra.starts.push(start);
        } else if start != extra.start {
            extra.starts.resize(len, extra.start);
            extra.starts.push(start);
        }
    }

    fn make_explicit(&mut self) {
        let step = self.step;
        let offsets = (0..self.values.len() as i64).map(|at| (at * step) as u32).collect();
        self.extra.get_or_insert_default().offsets = offsets;
    }

    /// Takes the last sample away.
    pub(super) fn pop(&mut self) {
        self.values.pop();
        let len = self.values.len();
        if let Some(extra) = &mut self.extra {
            extra.offsets.truncate(len);
            extra.starts.truncate(len);
        }
        match len {
            0 => {
                self.step = 0;
                self.extra = None;
            }
            1 => {
                self.step = 0;
                self.last = self.first;
                if let Some(extra) = &mut self.extra {
                    extra.offsets.clear();
                }
            }
            _ => self.last = self.time(len - 1),
        }
    }

    /// Time of sample `index`, which exists.
    pub(super) fn time(&self, index: usize) -> i64 {
        match self.extra.as_ref().and_then(|extra| extra.offsets.get(index)) {
            Some(offset) => self.first + i64::from(*offset),
            None => self.first + self.step * index as i64,
        }
    }

    fn start(&self, index: usize) -> i64 {
        self.extra.as_ref().map_or(0, |extra| extra.starts.get(index).copied().unwrap_or(extra.start))
    }

    /// The value at exactly this time.
    pub(super) fn find(&self, time: i64) -> Option<f64> {
        let at = self.lower_bound(time);
        if at < self.len() && self.time(at) == time { self.values.iter().nth(at) } else { None }
    }

    /// Time, start and value of the newest sample in `mint..=maxt`.
    pub(super) fn newest(&self, mint: i64, maxt: i64) -> Option<(i64, i64, f64)> {
        let end = if maxt >= self.last { self.len() } else { self.lower_bound(maxt + 1) };
        let at = end.checked_sub(1)?;
        let time = self.time(at);
        let value = if end == self.len() { self.values.last() } else { self.values.iter().nth(at) };
        value.filter(|_| time >= mint).map(|value| (time, self.start(at), value))
    }

    /// The first sample at or after a time.
    pub(super) fn lower_bound(&self, time: i64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.time(middle) < time { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Appends the samples in `mint..=maxt`.
    pub(super) fn read(&self, mint: i64, maxt: i64, points: &mut Points) {
        if self.is_empty() || self.last < mint || self.first > maxt {
            return;
        }
        let from = if mint <= self.first { 0 } else { self.lower_bound(mint) };
        let to = if maxt >= self.last { self.len() } else { self.lower_bound(maxt + 1) };
        if self.extra.is_none() && points.starts.is_empty() {
            times::append_grid(self.time(from), self.step, to - from, &mut points.times);
            self.values.read(from, to, &mut points.values);
        } else {
            for (at, value) in self.values.iter().enumerate().take(to).skip(from) {
                points.push(self.time(at), self.start(at), value);
            }
        }
    }

    /// Empties the column; keeps the buffer of values, which the next samples will fill.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.step = 0;
        self.extra = None;
    }

    /// Gives back memory that is not in use.
    pub(super) fn shrink(&mut self) {
        self.values.shrink();
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.values.heap_bytes()
            + self
                .extra
                .as_ref()
                .map_or(0, |extra| size_of::<Extra>() + extra.offsets.capacity() * 4 + extra.starts.capacity() * 8)
    }
}

/// Sealed runs of a series, by time. Its length stands with them: most series have none, and each carries the place.
pub(super) type Chunks = ThinVec<Chunk>;

/// A sealed run of samples. Clones share the bytes.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub first: i64,
    pub last: i64,
    pub count: u32,
    /// It is in a block, or about to be, and leaves memory when the last reader who began before is done.
    pub flushed: bool,
    bytes: Arc<[u8]>,
}

impl Chunk {
    /// Seals samples, whose times ascend strictly; `None` without samples.
    pub(super) fn seal(points: &Points) -> Option<Self> {
        let (first, last) = (*points.times.first()?, *points.times.last()?);
        let mut bytes = Vec::with_capacity(points.len() * 2 + 64);
        chunk::encode_floats(&points.times, &points.values, &points.starts, Effort::Fast, &mut bytes);
        Some(Self { first, last, count: u32::try_from(points.len()).ok()?, flushed: false, bytes: Arc::from(bytes) })
    }

    /// One chunk of several that follow each other; `None` where one of them cannot be read.
    fn joined(chunks: &[Self]) -> Option<Self> {
        let parts: Vec<&[u8]> = chunks.iter().map(Self::bytes).collect();
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        chunk::join_floats(&parts, &mut bytes).ok()?;
        let (first, last) = (chunks.first()?.first, chunks.last()?.last);
        let count = chunks.iter().map(|chunk| chunk.count).sum();
        Some(Self { first, last, count, flushed: false, bytes: Arc::from(bytes) })
    }

    /// Makes one of the last few chunks, while they are about equally long: each has a head, a place in the list and a
    /// place on the heap, which together take as much as the samples of one block. A sample is moved twice at most.
    pub(super) fn gather(chunks: &mut Chunks) {
        while let Some(at) = chunks.len().checked_sub(JOINED)
            && let [first, .., last] = &chunks[at..]
        {
            let counts = || chunks[at..].iter().map(|chunk| chunk.count as usize);
            let total: usize = counts().sum();
            let alike = counts().all(|count| count * JOINED <= total * 2 && count * JOINED * 2 >= total);
            let is_narrow = last.last.checked_sub(first.first).is_some_and(|span| span <= JOINED_SPAN_MS);
            let are_free = chunks[at..].iter().all(|chunk| !chunk.flushed);
            if !(alike && is_narrow && are_free) || total > JOINED_SAMPLES_MAX {
                return;
            }
            let Some(joined) = Self::joined(&chunks[at..]) else { return };
            chunks.truncate(at);
            chunks.push(joined);
        }
    }

    /// Takes the bytes of a chunk of floats, after a look at its header.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let header = chunk::header(bytes)?;
        if header.histograms {
            return Err(CodecError("a chunk holds histograms"));
        }
        let count = u32::try_from(header.count).unwrap_or(u32::MAX);
        Ok(Self { first: header.min_time, last: header.max_time, count, flushed: false, bytes: Arc::from(bytes) })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends the samples in `mint..=maxt`; nothing after an error.
    pub(super) fn read(&self, mint: i64, maxt: i64, points: &mut Points) -> Result<(), CodecError> {
        let before = points.len();
        let mut target = Target { times: &mut points.times, starts: &mut points.starts };
        let result = chunk::decode_floats(&self.bytes, mint, maxt, &mut target, &mut points.values);
        if result.is_err() {
            points.times.truncate(before);
            points.values.truncate(before);
            points.starts.truncate(before);
        }
        result
    }

    /// Bytes on the heap, beside the place in the series' list.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.len() + 2 * size_of::<usize>() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times_of(open: &Open) -> Vec<i64> {
        let mut points = Points::default();
        open.read(i64::MIN, i64::MAX, &mut points);
        points.times
    }

    #[test]
    fn a_gap_makes_times_explicit_and_nothing_moves() {
        let mut open = Open::default();
        let times = [5, 15, 25, 35, 75, 85, 86];
        for time in times {
            open.push(time, 0, time as f64);
        }
        assert_eq!(times_of(&open), times);
        assert_eq!((open.find(75), open.find(45)), (Some(75.0), None));
        let mut points = Points::default();
        open.read(15, 80, &mut points);
        assert_eq!(points.values, [15.0, 25.0, 35.0, 75.0]);
    }

    #[test]
    fn popping_the_second_sample_forgets_the_step() {
        let mut open = Open::default();
        for time in [0, 300] {
            open.push(time, 0, 1.0);
        }
        open.pop();
        for time in [900, 1_800, 2_700] {
            open.push(time, 0, 1.0);
        }
        assert_eq!(times_of(&open), [0, 900, 1_800, 2_700]);
        open.push(2_800, 0, 1.0);
        open.pop();
        open.push(3_600, 0, 1.0);
        assert_eq!(times_of(&open), [0, 900, 1_800, 2_700, 3_600]);
    }

    #[test]
    fn starts_are_kept_by_sample() {
        let mut open = Open::default();
        for (time, start) in [(1, 0), (2, 0), (3, 7), (4, 7), (9, 8)] {
            open.push(time, start, 0.0);
        }
        let mut points = Points::default();
        open.read(2, 9, &mut points);
        assert_eq!((points.times, points.starts), (vec![2, 3, 4, 9], vec![0, 7, 7, 8]));
    }
}
