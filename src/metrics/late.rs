//! Samples that came behind the open column, and how they get into the sealed chunks.

use super::column::{CHUNK_SAMPLES, Chunk, Chunks, Points};

/// Late samples of one series, ascending by time, none of which is in a chunk or in the open column.
#[derive(Debug, Default)]
pub(super) struct Late(Vec<LateSample>);

#[derive(Clone, Copy, Debug)]
pub(super) struct LateSample {
    pub time: i64,
    pub start: i64,
    pub value: f64,
}

/// Above this many, late samples are merged into chunks, so that inserting and reading stay cheap.
pub(super) const LATE_MAX: usize = 512;

impl Late {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<i64> {
        self.0.first().map(|sample| sample.time)
    }

    pub(super) fn last(&self) -> Option<i64> {
        self.0.last().map(|sample| sample.time)
    }

    /// Adds a sample at a time that is not there yet.
    pub(super) fn insert(&mut self, sample: LateSample) {
        let at = self.0.partition_point(|other| other.time < sample.time);
        self.0.insert(at, sample);
    }

    /// Removes the sample at a time; answers whether there was one.
    pub(super) fn remove(&mut self, time: i64) -> bool {
        match self.0.binary_search_by_key(&time, |sample| sample.time) {
            Ok(at) => {
                self.0.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// Drops the samples in `mint..=maxt`.
    pub(super) fn delete(&mut self, mint: i64, maxt: i64) {
        self.0.retain(|sample| sample.time < mint || sample.time > maxt);
    }

    /// Takes the samples after a time out.
    pub(super) fn take_after(&mut self, time: i64) -> Vec<LateSample> {
        self.0.split_off(self.0.partition_point(|sample| sample.time <= time))
    }

    /// Drops samples before a time; answers how many.
    pub(super) fn drop_before(&mut self, time: i64) -> usize {
        let count = self.0.partition_point(|sample| sample.time < time);
        self.0.drain(..count);
        count
    }

    /// The samples in `mint..=maxt`.
    pub(super) fn range(&self, mint: i64, maxt: i64) -> &[LateSample] {
        let from = self.0.partition_point(|sample| sample.time < mint);
        let to = self.0.partition_point(|sample| sample.time <= maxt);
        self.0.get(from..to).unwrap_or(&[])
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<LateSample>()
    }

    /// Merges the samples before `end` into the chunks, which stay ascending and apart. Each chunk takes what lies
    /// between it and the next; the first also what lies before. Chunks that get nothing are not touched.
    pub(super) fn settle(&mut self, end: i64, chunks: &mut Chunks) {
        let count = self.0.partition_point(|sample| sample.time < end);
        let mut rest: Vec<LateSample> = self.0.drain(..count).collect();
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        if rest.is_empty() {
            return;
        }
        let mut settled = Chunks::with_capacity(chunks.len() + rest.len() / CHUNK_SAMPLES + 1);
        let old = std::mem::take(chunks);
        if old.is_empty() {
            push_pieces(&merged(&Points::default(), &rest), &mut settled);
        }
        for (at, chunk) in old.iter().enumerate() {
            let bound = old.get(at + 1).map_or(i64::MAX, |next| next.first);
            let taken = rest.partition_point(|sample| sample.time < bound);
            if taken == 0 {
                settled.push(chunk.clone());
                continue;
            }
            let mut points = Points::default();
            if chunk.read(i64::MIN, i64::MAX, &mut points).is_err() {
                // Only memory that went bad makes a chunk unreadable. It stays for readers to report; what would have
                // gone into it goes on being late.
                settled.push(chunk.clone());
                self.0.extend(rest.drain(..taken));
                continue;
            }
            let own: Vec<LateSample> = rest.drain(..taken).collect();
            push_pieces(&merged(&points, &own), &mut settled);
        }
        *chunks = settled;
        self.0.sort_unstable_by_key(|sample| sample.time);
    }
}

/// Merges two ascending runs; at the same time the late sample wins.
pub(super) fn merged(points: &Points, late: &[LateSample]) -> Points {
    let mut out = Points::default();
    let mut at = 0;
    for sample in late {
        while at < points.len() && points.times[at] < sample.time {
            out.push(points.times[at], points.start(at), points.values[at]);
            at += 1;
        }
        if at < points.len() && points.times[at] == sample.time {
            at += 1;
        }
        out.push(sample.time, sample.start, sample.value);
    }
    while at < points.len() {
        out.push(points.times[at], points.start(at), points.values[at]);
        at += 1;
    }
    out
}

/// Seals samples as chunks of about equal size, none longer than `CHUNK_SAMPLES` or than 32-bit offsets reach.
pub(super) fn push_pieces(points: &Points, chunks: &mut Chunks) {
    let is_wide = |first: i64, time: i64| time.checked_sub(first).is_none_or(|width| width > i64::from(u32::MAX));
    if let (Some(first), Some(last)) = (points.times.first(), points.times.last())
        && points.len() <= CHUNK_SAMPLES
        && !is_wide(*first, *last)
    {
        // An open column that is full, as nearly always.
        chunks.extend(Chunk::seal(points));
        return;
    }
    let pieces = points.len().div_ceil(CHUNK_SAMPLES).max(1);
    let size = points.len().div_ceil(pieces);
    let mut piece = Points::default();
    let flush = |piece: &mut Points, chunks: &mut Chunks| {
        if let Some(chunk) = Chunk::seal(piece) {
            chunks.push(chunk);
        }
        piece.clear();
    };
    for at in 0..points.len() {
        let time = points.times[at];
        let too_wide = piece.times.first().is_some_and(|first| is_wide(*first, time));
        if piece.len() >= size || too_wide {
            flush(&mut piece, chunks);
        }
        piece.push(time, points.start(at), points.values[at]);
    }
    flush(&mut piece, chunks);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(times: impl Iterator<Item = i64>) -> Chunk {
        let mut points = Points::default();
        for time in times {
            points.push(time, 0, time as f64);
        }
        Chunk::seal(&points).unwrap()
    }

    #[test]
    fn settled_chunks_ascend_and_hold_everything() {
        let mut chunks =
            Chunks::from([chunk((0..100).map(|i| 1_000 + i * 10)), chunk((0..250).map(|i| 5_000 + i * 10))]);
        let untouched = chunks[1].clone();
        let mut late = Late::default();
        for time in [3, 1_005, 4_000, 9_999_999] {
            late.insert(LateSample { time, start: 0, value: time as f64 });
        }
        late.settle(9_000_000, &mut chunks);
        assert_eq!(late.len(), 1);
        let mut points = Points::default();
        for chunk in &chunks {
            chunk.read(i64::MIN, i64::MAX, &mut points).unwrap();
        }
        assert_eq!(points.len(), 353);
        assert!(points.times.is_sorted() && points.times.iter().zip(&points.values).all(|(t, v)| *t as f64 == *v));
        assert!(std::ptr::eq(untouched.bytes(), chunks.last().unwrap().bytes()));
    }

    #[test]
    fn samples_decades_apart_do_not_share_a_chunk() {
        let mut chunks = Chunks::new();
        let mut late = Late::default();
        for time in [0, 1, 1_700_000_000_000] {
            late.insert(LateSample { time, start: 0, value: 1.0 });
        }
        late.settle(i64::MAX, &mut chunks);
        assert_eq!(chunks.iter().map(|c| c.count).collect::<Vec<_>>(), [2, 1]);
    }
}
