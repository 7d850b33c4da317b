//! The native histograms of a series in memory: the newest as they came, those before them in sealed chunks.
//!
//! A histogram as it came takes some hundred bytes and one allocation for each list of buckets; in a chunk with others
//! of its layout it takes about as many bytes as buckets that have moved. Readers take chunks and decode them without
//! the lock of the series.

use std::sync::Arc;

use crate::codec::chunk::{self, Target};
use crate::codec::{CodecError, Effort};
use crate::model::histogram::Histogram;

/// Histograms that are held as they came before they are sealed.
const OPEN_MAX: usize = 128;

/// Histograms in a chunk that late ones were put into before it is cut in two.
const CHUNK_MAX: usize = OPEN_MAX + OPEN_MAX / 2;

/// One native histogram sample.
#[derive(Clone, Debug)]
pub(super) struct HistogramSample {
    pub time: i64,
    pub start: i64,
    pub value: Arc<Histogram>,
}

impl HistogramSample {
    /// Bytes that it takes with what hangs on it.
    fn heap_bytes(&self) -> usize {
        let lists = &self.value;
        let doubles = lists.positive_buckets.len() + lists.negative_buckets.len() + lists.custom_values.len();
        let spans = lists.positive_spans.len() + lists.negative_spans.len();
        size_of::<Self>() + size_of::<Histogram>() + 16 + 8 * (doubles + spans)
    }
}

/// A sealed run of histograms. Clones share the bytes.
#[derive(Clone, Debug)]
pub(super) struct HistogramChunk {
    pub first: i64,
    pub last: i64,
    pub count: u32,
    /// As of a chunk of floats.
    pub flushed: bool,
    bytes: Arc<[u8]>,
}

impl HistogramChunk {
    /// Seals samples, whose times ascend strictly; `None` without samples.
    fn seal(samples: &[HistogramSample]) -> Option<Self> {
        let (first, last) = (samples.first()?.time, samples.last()?.time);
        let count = u32::try_from(samples.len()).ok()?;
        Some(Self { first, last, count, flushed: false, bytes: Arc::from(seal_histograms(samples)) })
    }

    /// Takes the bytes of a chunk of histograms, after a look at its header.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let header = chunk::header(bytes)?;
        if !header.histograms {
            return Err(CodecError("a chunk holds no histograms"));
        }
        let count = u32::try_from(header.count).unwrap_or(u32::MAX);
        Ok(Self { first: header.min_time, last: header.max_time, count, flushed: false, bytes: Arc::from(bytes) })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends the samples in `mint..=maxt`; nothing after an error.
    pub(super) fn read(&self, mint: i64, maxt: i64, out: &mut Vec<HistogramSample>) -> Result<(), CodecError> {
        out.extend(read_histograms(&self.bytes, mint, maxt)?);
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.bytes.len() + 2 * size_of::<usize>() + size_of::<Self>()
    }
}

/// The histograms of one series, ascending by time.
#[derive(Clone, Debug, Default)]
pub(super) struct Histograms {
    /// Before everything that is open, and apart.
    pub sealed: Vec<HistogramChunk>,
    pub open: Vec<HistogramSample>,
}

/// What is near a time.
pub(super) struct Near {
    /// The sample before it, the one at it, and the one after it.
    pub before: Option<HistogramSample>,
    pub same: Option<HistogramSample>,
    pub after: Option<HistogramSample>,
}

impl Histograms {
    pub(super) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.open.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.sealed.iter().map(|chunk| chunk.count as usize).sum::<usize>() + self.open.len()
    }

    pub(super) fn first(&self) -> Option<i64> {
        self.sealed.first().map(|chunk| chunk.first).or_else(|| self.open.first().map(|sample| sample.time))
    }

    pub(super) fn last(&self) -> Option<i64> {
        self.open.last().map(|sample| sample.time).or_else(|| self.sealed.last().map(|chunk| chunk.last))
    }

    /// What a reader of this range needs.
    pub(super) fn range(&self, mint: i64, maxt: i64) -> Self {
        let from = self.sealed.partition_point(|chunk| chunk.last < mint);
        let to = self.sealed.partition_point(|chunk| chunk.first <= maxt);
        let sealed = self.sealed.get(from..to).unwrap_or(&[]).to_vec();
        let from = self.open.partition_point(|sample| sample.time < mint);
        let to = self.open.partition_point(|sample| sample.time <= maxt);
        Self { sealed, open: self.open.get(from..to).unwrap_or(&[]).to_vec() }
    }

    /// The samples in `mint..=maxt`.
    pub(super) fn read(&self, mint: i64, maxt: i64) -> Result<Vec<HistogramSample>, CodecError> {
        let mut samples = Vec::new();
        for chunk in self.sealed.iter().filter(|chunk| chunk.first <= maxt && chunk.last >= mint) {
            chunk.read(mint, maxt, &mut samples)?;
        }
        samples.extend(self.open.iter().filter(|sample| (mint..=maxt).contains(&sample.time)).cloned());
        Ok(samples)
    }

    /// The chunk that holds a time, or the next one.
    fn place(&self, time: i64) -> usize {
        self.sealed.partition_point(|chunk| chunk.last < time)
    }

    /// Whether there is a sample at this time.
    pub(super) fn has(&self, time: i64) -> bool {
        if self.is_empty() || self.last().is_some_and(|last| last < time) {
            return false;
        }
        self.near(time).same.is_some()
    }

    /// What lies around a time.
    pub(super) fn near(&self, time: i64) -> Near {
        let at = self.open.partition_point(|sample| sample.time < time);
        let mut near = Near {
            before: at.checked_sub(1).and_then(|before| self.open.get(before)).cloned(),
            same: self.open.get(at).filter(|sample| sample.time == time).cloned(),
            after: self.open.iter().skip(at).find(|sample| sample.time > time).cloned(),
        };
        if near.before.is_some() || self.sealed.is_empty() {
            return near;
        }
        // A chunk that cannot be read is reported to those who query it.
        let place = self.place(time);
        let mut samples = Vec::new();
        for chunk in self.sealed.iter().skip(place.saturating_sub(1)).take(3) {
            let _ = chunk.read(i64::MIN, i64::MAX, &mut samples);
        }
        let at = samples.partition_point(|sample| sample.time < time);
        near.before = at.checked_sub(1).and_then(|before| samples.get(before)).cloned();
        near.same = samples.get(at).filter(|sample| sample.time == time).cloned().or(near.same);
        near.after = samples.into_iter().find(|sample| sample.time > time).or(near.after);
        near
    }

    /// Adds a sample at a time that has none; answers whether it came late.
    pub(super) fn insert(&mut self, sample: HistogramSample) -> bool {
        let place = self.place(sample.time);
        if place < self.sealed.len() {
            let put = |samples: &mut Vec<HistogramSample>| {
                let at = samples.partition_point(|other| other.time < sample.time);
                samples.insert(at, sample.clone());
            };
            if !self.change(place, put) {
                // Beside a chunk that cannot be read, which is said to those who query it.
                self.sealed.splice(place..place, HistogramChunk::seal(std::slice::from_ref(&sample)));
            }
            return true;
        }
        let at = self.open.partition_point(|other| other.time < sample.time);
        let late = at < self.open.len();
        self.open.insert(at, sample);
        if self.open.len() > OPEN_MAX {
            self.seal(1);
        }
        late
    }

    /// Takes the sample at a time away.
    pub(super) fn remove(&mut self, time: i64) {
        self.retain(|other| other != time, (time, time));
    }

    /// Seals all but the newest few.
    pub(super) fn seal(&mut self, left: usize) {
        let rest = self.open.split_off(self.open.len().saturating_sub(left));
        self.sealed.extend(HistogramChunk::seal(&self.open));
        self.open = rest;
    }

    /// Changes the samples of a chunk; false where it cannot be read.
    fn change(&mut self, place: usize, change: impl FnOnce(&mut Vec<HistogramSample>)) -> bool {
        let Some(chunk) = self.sealed.get(place) else { return false };
        let mut samples = Vec::new();
        if chunk.read(i64::MIN, i64::MAX, &mut samples).is_err() {
            return false;
        }
        change(&mut samples);
        let half = if samples.len() > CHUNK_MAX { samples.len() / 2 } else { samples.len() };
        let (first, second) = samples.split_at(half);
        let pieces = [first, second].into_iter().filter_map(HistogramChunk::seal);
        self.sealed.splice(place..=place, pieces);
        true
    }

    /// Keeps what `keep` says of the samples in a range. What is left of a chunk is in a block as much as the whole was.
    pub(super) fn retain(&mut self, keep: impl Fn(i64) -> bool, (mint, maxt): (i64, i64)) {
        self.open.retain(|sample| keep(sample.time));
        let mut place = self.place(mint);
        while self.sealed.get(place).is_some_and(|chunk| chunk.first <= maxt) {
            let (before, flushed) = (self.sealed.len(), self.sealed[place].flushed);
            self.change(place, |samples| samples.retain(|sample| keep(sample.time)));
            if self.sealed.len() == before {
                self.sealed[place].flushed = flushed;
                place += 1;
            }
        }
    }

    /// Seals everything before a cut, apart from what is after it, and marks it as being flushed.
    pub(super) fn mark_before(&mut self, before: i64) {
        let at = self.open.partition_point(|sample| sample.time < before);
        self.seal(self.open.len() - at);
        let place = self.place(before);
        if let Some(chunk) = self.sealed.get(place).filter(|chunk| chunk.first < before) {
            let mut samples = Vec::new();
            if chunk.read(i64::MIN, i64::MAX, &mut samples).is_ok() {
                let (old, new) = samples.split_at(samples.partition_point(|sample| sample.time < before));
                self.sealed.splice(place..=place, [old, new].into_iter().filter_map(HistogramChunk::seal));
            }
        }
        for chunk in &mut self.sealed {
            chunk.flushed = chunk.last < before;
        }
    }

    /// Drops what was flushed. A chunk that late samples have changed since has lost its mark, and stays.
    pub(super) fn drop_flushed(&mut self) {
        self.sealed.retain(|chunk| !chunk.flushed);
        self.sealed.shrink_to_fit();
    }

    /// Drops samples before a time, whole chunks at a time.
    pub(super) fn drop_before(&mut self, oldest: i64) {
        let gone = self.sealed.partition_point(|chunk| chunk.last < oldest);
        self.sealed.drain(..gone);
        if self.sealed.is_empty() {
            let gone = self.open.partition_point(|sample| sample.time < oldest);
            self.open.drain(..gone);
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(HistogramChunk::heap_bytes).sum();
        sealed + self.open.iter().map(HistogramSample::heap_bytes).sum::<usize>()
    }

    /// Bytes of what is before a cut.
    pub(super) fn bytes_before(&self, before: i64) -> usize {
        let sealed = self.sealed.iter().take_while(|chunk| chunk.last < before).map(HistogramChunk::heap_bytes);
        let open = self.open.iter().take_while(|sample| sample.time < before).map(HistogramSample::heap_bytes);
        sealed.sum::<usize>() + open.sum::<usize>()
    }
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

/// The samples of a chunk of native histograms in a range.
pub(super) fn read_histograms(bytes: &[u8], mint: i64, maxt: i64) -> Result<Vec<HistogramSample>, CodecError> {
    let (mut times, mut starts, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut target = Target { times: &mut times, starts: &mut starts };
    chunk::decode_histograms(bytes, mint, maxt, &mut target, &mut values)?;
    starts.resize(times.len(), 0);
    let samples = times.into_iter().zip(starts).zip(values);
    Ok(samples.map(|((time, start), value)| HistogramSample { time, start, value }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::model::histogram::Span;

    fn sample(time: i64, value: f64) -> HistogramSample {
        let value = Histogram {
            schema: 3,
            count: value * 10.0,
            sum: value * 1.5,
            positive_spans: vec![Span { offset: 2, length: 10 }],
            positive_buckets: (0..10).map(|bucket| value + f64::from(bucket)).collect(),
            ..Histogram::default()
        };
        HistogramSample { time, start: 0, value: Arc::new(value) }
    }

    fn same(column: &Histograms, plain: &[(i64, f64)], (mint, maxt): (i64, i64), what: &str) {
        let read = column.range(mint, maxt).read(mint, maxt).unwrap();
        let read: Vec<(i64, f64)> = read.iter().map(|sample| (sample.time, sample.value.sum / 1.5)).collect();
        let expect: Vec<(i64, f64)> = plain.iter().filter(|(time, _)| (mint..=maxt).contains(time)).copied().collect();
        assert_eq!(read, expect, "{what}");
    }

    #[test]
    fn a_column_is_what_a_plain_list_would_be() {
        for seed in 0..40 {
            let rng = Rng::from_seed(seed);
            let (mut column, mut plain) = (Histograms::default(), Vec::<(i64, f64)>::new());
            let mut flushed_before = None;
            for step in 0..1_500_u32 {
                let newest = plain.last().map_or(0, |(time, _)| *time);
                let time = if rng.chance(0.9) { newest + 1 + rng.below(9) as i64 } else { rng.below(9_000) as i64 };
                let at = plain.partition_point(|(other, _)| *other < time);
                let near = column.near(time);
                let times = |sample: Option<HistogramSample>| sample.map(|sample| sample.time);
                let is_known = plain.get(at).is_some_and(|(other, _)| *other == time);
                assert_eq!((times(near.same).is_some(), column.has(time)), (is_known, is_known), "seed {seed}");
                assert_eq!(times(near.before), at.checked_sub(1).map(|at| plain[at].0), "seed {seed}, step {step}");
                let after = plain.get(at + usize::from(is_known)).map(|(time, _)| *time);
                assert_eq!(times(near.after), after, "seed {seed}, step {step}");
                if !is_known {
                    assert_eq!(column.insert(sample(time, f64::from(step))), at < plain.len());
                    plain.insert(at, (time, f64::from(step)));
                }
                if rng.chance(0.01) {
                    let (mint, maxt) = (time - 200, time - 100);
                    column.retain(|time| !(mint..=maxt).contains(&time), (mint, maxt));
                    plain.retain(|(time, _)| !(mint..=maxt).contains(time));
                }
                if rng.chance(0.01) {
                    column.seal(rng.below(2) as usize);
                }
                if rng.chance(0.005) && flushed_before.is_none() {
                    let before = time - rng.below(400) as i64;
                    column.mark_before(before);
                    flushed_before = Some((before, plain.clone()));
                }
                if rng.chance(0.01)
                    && let Some((before, copied)) = flushed_before.take()
                {
                    column.drop_flushed();
                    let left = column.read(i64::MIN, i64::MAX).unwrap();
                    plain.retain(|entry| {
                        let stays = left.iter().any(|sample| sample.time == entry.0);
                        assert!(stays || entry.0 < before && copied.contains(entry), "seed {seed}: {entry:?} is lost");
                        stays
                    });
                }
                assert_eq!((column.len(), column.first()), (plain.len(), plain.first().map(|(time, _)| *time)));
            }
            same(&column, &plain, (i64::MIN, i64::MAX), &format!("seed {seed}"));
            same(&column, &plain, (2_000, 3_333), &format!("seed {seed}, a part"));
            column.drop_before(2_000);
            assert!(column.first().is_some_and(|first| first >= plain[0].0));
        }
    }

    #[test]
    fn sealed_histograms_take_a_part_of_what_open_ones_take() {
        let (mut sealed, mut open) = (Histograms::default(), Histograms::default());
        for i in 0..3_600 {
            sealed.insert(sample(i * 1_000, (i * 3 + i % 7) as f64));
            open.open.push(sample(i * 1_000, (i * 3 + i % 7) as f64));
        }
        let (sealed, open) = (sealed.heap_bytes() / 3_600, open.heap_bytes() / 3_600);
        println!("{sealed} bytes a histogram, {open} as they came");
        assert!(sealed * 4 < open, "{sealed} of {open}");
    }
}
