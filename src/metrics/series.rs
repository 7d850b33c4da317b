//! One series: its labels and its columns.

use crate::model::histogram::Histogram;
use crate::model::sample::is_stale;

use super::column::{Chunk, Chunks, Open, Points};
use super::columns::Restored;
use super::histograms::{HistogramSample, Histograms};
use super::late::{LATE_MAX, Late, LateSample, push_pieces};
use super::refusal::Refusal;
use super::symbols::Coded;
use super::view::Snapshot;

/// Where a series lives. Stays valid while the series exists; after that it is refused as `UnknownSeries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesRef {
    pub(super) shard: u32,
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// What became of an accepted sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Appended,
    /// It took the place of an earlier sample of the same dedup window.
    Replaced,
    /// The same sample is stored already.
    Duplicate,
    /// A later sample of the same dedup window is stored already.
    Superseded,
    /// It went behind the open column.
    Late,
}

/// A series of a shard.
#[derive(Debug)]
pub(super) struct Series {
    /// In the symbols of its shard.
    pub labels: Coded,
    pub hash: u64,
    /// Names the series in the log; never used twice in one data folder.
    pub id: u64,
    pub(super) open: Open,
    pub(super) sealed: Chunks,
    pub(super) side: Option<Box<Side>>,
    pub generation: u32,
    /// Seconds of the store's monotonic clock at the last append.
    pub touched: u32,
}

/// Two lines of memory; see docs/decisions/0144.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Option<Series>>() == 128);

/// What only some series have.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub late: Late,
    pub histograms: Histograms,
}

impl Series {
    pub(super) fn new(labels: Coded, hash: u64, id: u64, generation: u32) -> Self {
        Self { labels, hash, id, open: Open::default(), sealed: Chunks::new(), side: None, generation, touched: 0 }
    }

    /// Appends a float. `dedup` is the width of the dedup window, 0 for none.
    #[inline]
    pub(super) fn append_float(&mut self, time: i64, start: i64, value: f64, dedup: i64) -> Result<Placed, Refusal> {
        if self.side.is_none() && !self.open.is_empty() {
            let last = self.open.last();
            // The common case: later than everything, and surely in another window.
            if time.saturating_sub(last) >= dedup.max(1) && self.open.has_room(time) {
                self.open.push(time, start, value);
                return Ok(Placed::Appended);
            }
        }
        self.place_float(time, start, value, dedup)
    }

    fn place_float(&mut self, time: i64, start: i64, value: f64, dedup: i64) -> Result<Placed, Refusal> {
        if self.side.as_ref().is_some_and(|side| side.histograms.has(time)) {
            return Err(Refusal::DuplicateTimestamp { time });
        }
        if self.open.is_empty() {
            // Only a series without floats has an empty open column: sealing leaves the last sample there.
            self.open.push(time, start, value);
            return Ok(Placed::Appended);
        }
        let last = self.open.last();
        if time < last {
            return self.place_late(LateSample { time, start, value }, dedup);
        }
        let last_value = self.open.last_value().unwrap_or(f64::NAN);
        if time == last {
            return if last_value.to_bits() == value.to_bits() {
                Ok(Placed::Duplicate)
            } else {
                Err(Refusal::DuplicateTimestamp { time })
            };
        }
        let mut placed = Placed::Appended;
        if same_window(time, last, dedup) && is_stale(value) == is_stale(last_value) {
            self.open.pop();
            placed = Placed::Replaced;
        }
        if !self.open.has_room(time) {
            self.seal();
        }
        self.open.push(time, start, value);
        Ok(placed)
    }

    fn place_late(&mut self, sample: LateSample, dedup: i64) -> Result<Placed, Refusal> {
        let (from, to) = window(sample.time, dedup);
        let mut near = Points::default();
        self.read_floats(from, to, &mut near);
        let mut earlier = None;
        for (time, value) in near.times.iter().zip(&near.values) {
            if *time == sample.time {
                return if value.to_bits() == sample.value.to_bits() {
                    Ok(Placed::Duplicate)
                } else {
                    Err(Refusal::DuplicateTimestamp { time: *time })
                };
            }
            if is_stale(*value) != is_stale(sample.value) {
                continue;
            }
            if *time > sample.time {
                return Ok(Placed::Superseded);
            }
            earlier = Some(*time);
        }
        if let Some(time) = earlier {
            self.remove_float(time);
        }
        let side = self.side.get_or_insert_default();
        side.late.insert(sample);
        if side.late.len() >= LATE_MAX {
            self.settle();
        }
        Ok(Placed::Late)
    }

    /// Appends a native histogram.
    pub(super) fn append_histogram(&mut self, sample: HistogramSample, dedup: i64) -> Result<Placed, Refusal> {
        let time = sample.time;
        if self.find_float(time).is_some() {
            return Err(Refusal::DuplicateTimestamp { time });
        }
        let histograms = &mut self.side.get_or_insert_default().histograms;
        let near = histograms.near(time);
        if let Some(other) = near.same {
            return if same_histogram(&other.value, &sample.value) {
                Ok(Placed::Duplicate)
            } else {
                Err(Refusal::DuplicateTimestamp { time })
            };
        }
        let stale = is_stale(sample.value.sum);
        let mate =
            |other: &&HistogramSample| same_window(other.time, time, dedup) && is_stale(other.value.sum) == stale;
        if near.after.as_ref().filter(mate).is_some() {
            return Ok(Placed::Superseded);
        }
        let before = near.before.as_ref().filter(mate).map(|before| before.time);
        if let Some(before) = before {
            histograms.remove(before);
        }
        let late = histograms.insert(sample);
        Ok(match (before, late) {
            (Some(_), _) => Placed::Replaced,
            (_, true) => Placed::Late,
            _ => Placed::Appended,
        })
    }

    /// Moves the open column into a chunk, with the late samples that belong before the next one.
    pub(super) fn seal(&mut self) {
        let mut points = Points::default();
        self.open.read(i64::MIN, i64::MAX, &mut points);
        self.open.clear();
        push_pieces(&points, &mut self.sealed);
        Chunk::gather(&mut self.sealed);
        let end = points.times.last().map_or(i64::MIN, |last| last.saturating_add(1));
        if let Some(side) = &mut self.side {
            side.late.settle(end, &mut self.sealed);
        }
        self.drop_empty_side();
    }

    /// Seals all but the last sample, which stays open so that the next can be compared with it.
    pub(super) fn seal_idle(&mut self) {
        if let Some(side) = self.side.as_mut().filter(|side| side.histograms.open.len() > 1) {
            side.histograms.seal(1);
        }
        if self.open.len() < 2 {
            return;
        }
        let (last, Some(value)) = (self.open.last(), self.open.last_value()) else { return };
        let start = self.open.last_start();
        self.open.pop();
        self.seal();
        self.open.push(last, start, value);
        self.open.shrink();
    }

    fn settle(&mut self) {
        let end = self.open.first();
        if let Some(side) = &mut self.side {
            side.late.settle(end, &mut self.sealed);
            if side.late.len() >= LATE_MAX {
                // Everything late lies inside the open column: it has to be sealed to take them.
                let (last, start) = (self.open.last(), self.open.last_start());
                let value = self.open.last_value().unwrap_or(f64::NAN);
                self.seal();
                // `seal` left the column empty; its last sample went into a chunk and is taken back.
                self.remove_float(last);
                self.open.push(last, start, value);
            }
        }
        self.drop_empty_side();
    }

    pub(super) fn drop_empty_side(&mut self) {
        if self.side.as_ref().is_some_and(|side| side.late.is_empty() && side.histograms.is_empty()) {
            self.side = None;
        }
    }

    /// Takes a float away that a later one of its dedup window replaces.
    fn remove_float(&mut self, time: i64) {
        if self.side.as_mut().is_some_and(|side| side.late.remove(time)) {
            return;
        }
        if self.open.find(time).is_some() {
            let mut points = Points::default();
            self.open.read(i64::MIN, i64::MAX, &mut points);
            self.open.clear();
            for at in (0..points.len()).filter(|at| points.times[*at] != time) {
                self.open.push(points.times[at], points.start(at), points.values[at]);
            }
            return;
        }
        let at = self.sealed.partition_point(|chunk| chunk.last < time);
        if let Some(chunk) = self.sealed.get(at) {
            let (mut points, mut kept) = (Points::default(), Points::default());
            if chunk.read(i64::MIN, i64::MAX, &mut points).is_err() {
                return;
            }
            for at in (0..points.len()).filter(|at| points.times[*at] != time) {
                kept.push(points.times[at], points.start(at), points.values[at]);
            }
            match Chunk::seal(&kept) {
                Some(chunk) => self.sealed[at] = chunk,
                None => {
                    self.sealed.remove(at);
                }
            }
        }
    }

    fn find_float(&self, time: i64) -> Option<f64> {
        let mut points = Points::default();
        self.read_floats(time, time, &mut points);
        points.values.first().copied()
    }

    /// Appends the floats in `mint..=maxt`, ascending by time.
    pub(super) fn read_floats(&self, mint: i64, maxt: i64, points: &mut Points) {
        // A chunk that cannot be read is reported to those who query it.
        let _ = self.snapshot(mint, maxt).floats(mint, maxt, points);
    }

    /// Time, start and value of the newest sample in `mint..=maxt`, where it stands in the open column and nothing is
    /// beside that.
    pub(super) fn newest(&self, mint: i64, maxt: i64) -> Option<(i64, i64, f64)> {
        if self.side.is_some() || self.open.is_flushed() { None } else { self.open.newest(mint, maxt) }
    }

    /// What a reader of this range needs.
    pub(super) fn snapshot(&self, mint: i64, maxt: i64) -> Snapshot {
        let from = self.sealed.partition_point(|chunk| chunk.last < mint);
        let to = self.sealed.partition_point(|chunk| chunk.first <= maxt);
        let mut snapshot = Snapshot { chunks: self.sealed.get(from..to).unwrap_or(&[]).into(), ..Snapshot::default() };
        self.open.read(mint, maxt, &mut snapshot.open);
        if let Some(side) = &self.side {
            snapshot.late.extend_from_slice(side.late.range(mint, maxt));
            snapshot.histograms = side.histograms.range(mint, maxt);
        }
        snapshot
    }

    /// A copy of the columns, for a snapshot. Sealed chunks are shared.
    pub(super) fn copy(&self) -> Restored {
        let snapshot = self.snapshot(i64::MIN, i64::MAX);
        let mut late = Points::default();
        for sample in &snapshot.late {
            late.push(sample.time, sample.start, sample.value);
        }
        Restored { sealed: snapshot.chunks, open: snapshot.open, late, histograms: snapshot.histograms }
    }

    /// Takes the columns of a snapshot into a series that has none yet.
    pub(super) fn restore(&mut self, restored: Restored) {
        if self.bounds().is_some() {
            return;
        }
        self.sealed = restored.sealed;
        let open = &restored.open;
        for at in 0..open.len() {
            self.open.push(open.times[at], open.start(at), open.values[at]);
        }
        if restored.late.len() > 0 || !restored.histograms.is_empty() {
            let side = self.side.get_or_insert_default();
            side.histograms = restored.histograms;
            let late = &restored.late;
            for at in 0..late.len() {
                side.late.insert(LateSample { time: late.times[at], start: late.start(at), value: late.values[at] });
            }
        }
    }

    /// Takes the samples of the same series that came while its older ones were read from the log.
    pub(super) fn take_newer(&mut self, newer: Self) {
        self.touched = self.touched.max(newer.touched);
        if self.bounds().is_none() {
            (self.open, self.sealed, self.side) = (newer.open, newer.sealed, newer.side);
            return;
        }
        let mut points = Points::default();
        newer.read_floats(i64::MIN, i64::MAX, &mut points);
        for at in 0..points.len() {
            // What is refused contradicts what was acknowledged earlier.
            let _ = self.append_float(points.times[at], points.start(at), points.values[at], 0);
        }
        let histograms = newer.side.map(|side| side.histograms.read(i64::MIN, i64::MAX).unwrap_or_default());
        for sample in histograms.unwrap_or_default() {
            let _ = self.append_histogram(sample, 0);
        }
    }

    /// Time of the oldest and of the newest sample; `None` without samples.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        let mut bounds: Option<(i64, i64)> = None;
        let mut widen = |first: Option<i64>, last: Option<i64>| {
            if let (Some(first), Some(last)) = (first, last) {
                bounds = Some(bounds.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
            }
        };
        widen(self.sealed.first().map(|chunk| chunk.first), self.sealed.last().map(|chunk| chunk.last));
        if !self.open.is_empty() {
            widen(Some(self.open.first()), Some(self.open.last()));
        }
        if let Some(side) = &self.side {
            widen(side.late.first(), side.late.last());
            widen(side.histograms.first(), side.histograms.last());
        }
        bounds
    }

    /// Drops samples before `oldest`, whole chunks at a time; answers whether anything is left.
    pub(super) fn expire(&mut self, oldest: i64) -> bool {
        let gone = self.sealed.partition_point(|chunk| chunk.last < oldest);
        self.sealed.drain(..gone);
        if !self.open.is_empty() && self.open.last() < oldest {
            self.open.clear();
            self.open.shrink();
        }
        if let Some(side) = &mut self.side {
            side.late.drop_before(oldest);
            side.histograms.drop_before(oldest);
        }
        self.drop_empty_side();
        self.bounds().is_some()
    }

    /// Sealed chunks, samples of all kinds, and bytes on the heap.
    pub(super) fn size(&self) -> SeriesSize {
        let histograms = self.side.as_ref().map(|side| &side.histograms);
        let late = self.side.as_ref().map_or(0, |side| side.late.len());
        SeriesSize {
            chunks: self.sealed.len() + usize::from(!self.open.is_empty()),
            samples: self.sealed.iter().map(|chunk| chunk.count as usize).sum::<usize>()
                + self.open.len()
                + late
                + histograms.map_or(0, Histograms::len),
            bytes: self.sealed.iter().map(|chunk| chunk.heap_bytes()).sum::<usize>()
                + self.open.heap_bytes()
                + self.side.as_ref().map_or(0, |side| size_of::<Side>() + side.late.heap_bytes())
                + histograms.map_or(0, Histograms::heap_bytes)
                + self.labels.heap_bytes()
                + size_of::<Self>(),
        }
    }
}

/// What a series takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeriesSize {
    pub chunks: usize,
    pub samples: usize,
    pub bytes: usize,
}

/// Whether two times lie in the same aligned window of this width.
fn same_window(a: i64, b: i64, width: i64) -> bool {
    width > 0 && a.div_euclid(width) == b.div_euclid(width)
}

/// First and last time of the window around a time; only the time itself without windows.
fn window(time: i64, width: i64) -> (i64, i64) {
    if width <= 0 {
        return (time, time);
    }
    let from = time.saturating_sub(time.rem_euclid(width));
    (from, from.saturating_add(width - 1))
}

/// Equality by bits, so that a NaN sum equals itself.
fn same_histogram(a: &Histogram, b: &Histogram) -> bool {
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    a.reset_hint == b.reset_hint
        && a.schema == b.schema
        && [a.zero_threshold, a.zero_count, a.count, a.sum].map(f64::to_bits)
            == [b.zero_threshold, b.zero_count, b.count, b.sum].map(f64::to_bits)
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && bits(&a.positive_buckets) == bits(&b.positive_buckets)
        && bits(&a.negative_buckets) == bits(&b.negative_buckets)
        && bits(&a.custom_values) == bits(&b.custom_values)
}
