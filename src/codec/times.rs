//! Columns of timestamps: ascending milliseconds, without repeats.
//!
//! On a regular grid they are a start, a step and runs of consecutive slots, a few bytes for hours. Jitter around the
//! grid is kept to the millisecond in blocks of residuals. What has no grid is kept as distances.

use crate::codec::bytes::{Reader, put_signed, put_varint};
use crate::codec::ints::Plan;
use crate::codec::unpacker::Unpacker;
use crate::codec::{BLOCK, CodecError, SAMPLES_MAX};

/// Start, step, runs.
const GRID: u8 = 0;
/// A grid, and how far each sample is off it.
const JITTER: u8 = 1;
/// Distances to the sample before.
const FREE: u8 = 2;

/// Columns that are longer have no grid: slots are counted.
const SPAN_MAX: i64 = 1 << 52;

/// Appends a column; at most [`SAMPLES_MAX`] ascending times. More are a bug of the caller.
pub fn encode(times: &[i64], out: &mut Vec<u8>) {
    assert!(times.len() <= SAMPLES_MAX, "a column has at most {SAMPLES_MAX} samples");
    put_varint(out, times.len() as u64);
    let Some(&first) = times.first() else { return };
    put_signed(out, first);
    if times.len() == 1 {
        return;
    }
    if let Some(step) = even_step(times) {
        // As below, without a look at medians and slots: nearly all columns are such.
        out.push(GRID);
        put_varint(out, step as u64);
        put_varint(out, 0);
        return;
    }
    let start = out.len();
    let (step, regular) = step(times);
    if encode_grid(times, step, regular, out) {
        return;
    }
    let mut free = Vec::new();
    free.push(FREE);
    for block in times.chunks(BLOCK) {
        Plan::new(block).write(first, &mut free);
    }
    if out.len() - start > free.len() {
        out.truncate(start);
    }
    if out.len() == start {
        out.extend_from_slice(&free);
    }
}

/// The distance of neighbours, where all are the same.
fn even_step(times: &[i64]) -> Option<i64> {
    let (first, second) = (times.first()?, times.get(1)?);
    let step = second.checked_sub(*first)?;
    let is_narrow = times.last()?.checked_sub(*first)? <= SPAN_MAX;
    (step > 0 && is_narrow && times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step)).then_some(step)
}

/// The most common distance, or one near it that is a usual interval; and whether it is exact for most.
fn step(times: &[i64]) -> (i64, bool) {
    let mut deltas: Vec<i64> = times.windows(2).map(|w| w[1].saturating_sub(w[0])).collect();
    let middle = deltas.len() / 2;
    let (_, &mut median, _) = deltas.select_nth_unstable(middle);
    let exact = deltas.iter().filter(|d| **d == median).count();
    if exact * 2 >= deltas.len() {
        return (median, true);
    }
    const USUAL: [i64; 10] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000];
    let usual = USUAL.into_iter().find(|u| median.abs_diff(*u) < *u as u64 / 20);
    (usual.unwrap_or(median), false)
}

/// Writes runs of slots, and residuals unless all are 0. False where there is no grid, or where residuals were needed,
/// so that the caller compares; without a grid nothing is written.
fn encode_grid(times: &[i64], step: i64, regular: bool, out: &mut Vec<u8>) -> bool {
    let Some(&first) = times.first() else { return false };
    if step <= 0 || times.last().and_then(|last| last.checked_sub(first)).is_none_or(|span| span > SPAN_MAX) {
        return false;
    }
    let slot = |time: i64| {
        let slot = (time - first + if regular { 0 } else { step / 2 }).div_euclid(step);
        (slot, time - first - slot * step)
    };
    // Runs of (samples - 1, slots skipped before the next run).
    let (mut runs, mut run, mut last) = (Vec::new(), 0u64, 0i64);
    let mut jitter = false;
    for &time in &times[1..] {
        let (at, residual) = slot(time);
        jitter |= residual != 0;
        if at <= last {
            return false;
        }
        if at == last + 1 {
            run += 1;
        } else {
            runs.push((run, (at - last - 2) as u64));
            run = 0;
        }
        last = at;
    }
    if runs.len() > times.len() / 2 {
        return false;
    }
    out.push(if jitter { JITTER } else { GRID });
    put_varint(out, step as u64);
    put_varint(out, runs.len() as u64);
    for (run, skipped) in runs {
        put_varint(out, run);
        put_varint(out, skipped);
    }
    if jitter {
        for block in times.chunks(BLOCK) {
            let mut residuals = [0; BLOCK];
            for (r, &time) in residuals.iter_mut().zip(block) {
                *r = slot(time).1;
            }
            Plan::new(&residuals[..block.len()]).write(0, out);
        }
    }
    !jitter
}

/// A column that has been looked at, not yet decoded.
#[derive(Clone, Debug)]
pub struct Column<'a> {
    len: usize,
    first: i64,
    body: Body<'a>,
}

#[derive(Clone, Debug)]
enum Body<'a> {
    One,
    Grid { step: i64, runs: usize, reader: Reader<'a>, jitter: bool },
    Free(Reader<'a>),
}

impl<'a> Column<'a> {
    /// Reads the head of a column, which must be all of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let len = reader.count(SAMPLES_MAX)?;
        if len == 0 {
            return Ok(Self { len, first: 0, body: Body::One });
        }
        let first = reader.signed()?;
        if len == 1 {
            return Ok(Self { len, first, body: Body::One });
        }
        let body = match reader.u8()? {
            kind @ (GRID | JITTER) => {
                let step = i64::try_from(reader.varint()?).map_err(|_| CodecError("a step is too large"))?;
                let runs = reader.count(len)?;
                Body::Grid { step, runs, reader, jitter: kind == JITTER }
            }
            FREE => Body::Free(reader),
            _ => return Err(CodecError("a time column has an unknown kind")),
        };
        Ok(Self { len, first, body })
    }

    /// How many times it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends the times inside `mint..=maxt` to `out`; returns the place of the first in the column and how many they
    /// are. On a pure grid nothing else is touched.
    pub fn decode_between(&self, mint: i64, maxt: i64, out: &mut Vec<i64>) -> Result<(usize, usize), CodecError> {
        let before = out.len();
        if self.len == 0 || mint > maxt {
            return Ok((0, 0));
        }
        let from = match &self.body {
            Body::One => {
                if (mint..=maxt).contains(&self.first) {
                    out.push(self.first);
                }
                return Ok((0, out.len() - before));
            }
            Body::Grid { jitter: false, .. } => self.decode_grid(mint, maxt, out)?,
            Body::Grid { reader, jitter: true, .. } => {
                let mut residuals = self.decode_grid(i64::MIN, i64::MAX, out).and(self.skip_runs(*reader))?;
                let grid = out.get_mut(before..).unwrap_or_default();
                Unpacker::with(|unpacker| {
                    grid.chunks_mut(BLOCK).try_for_each(|block| {
                        let integers = unpacker.block(&mut residuals, block.len(), 0)?;
                        block.iter_mut().zip(integers).for_each(|(time, r)| *time = time.wrapping_add(*r));
                        Ok(())
                    })
                })?;
                cut(before, mint, maxt, out)?
            }
            Body::Free(reader) => {
                let mut reader = *reader;
                Unpacker::with(|unpacker| {
                    (0..self.len).step_by(BLOCK).try_for_each(|start| {
                        let count = (self.len - start).min(BLOCK);
                        let integers = unpacker.block(&mut reader, count, self.first)?;
                        out.extend_from_slice(integers.get(..count).unwrap_or_default());
                        Ok(())
                    })
                })?;
                cut(before, mint, maxt, out)?
            }
        };
        Ok((from, out.len() - before))
    }

    fn skip_runs(&self, mut reader: Reader<'a>) -> Result<Reader<'a>, CodecError> {
        let Body::Grid { runs, .. } = self.body else { return Ok(reader) };
        for _ in 0..runs * 2 {
            reader.varint()?;
        }
        Ok(reader)
    }

    /// Appends grid points inside the range; returns the place of the first.
    fn decode_grid(&self, mint: i64, maxt: i64, out: &mut Vec<i64>) -> Result<usize, CodecError> {
        const BEYOND: CodecError = CodecError("times leave the calendar");
        let Body::Grid { step, runs, reader, .. } = &self.body else { return Ok(0) };
        let (mut reader, step) = (*reader, *step);
        if step == 0 {
            return Err(CodecError("a grid has no step"));
        }
        let (mut place, mut at, mut found) = (0usize, self.first, None);
        for k in 0..=*runs {
            let left = self.len - place;
            let (count, skipped) = if k < *runs {
                let count = reader.count(SAMPLES_MAX)? + 1;
                (count, reader.varint()?)
            } else {
                (left, 0)
            };
            if count == 0 || count > left {
                return Err(CodecError("runs hold more samples than the column"));
            }
            // `last` bounds every point of the run: none of the additions below can overflow.
            let last = (count as i64 - 1).checked_mul(step).and_then(|span| at.checked_add(span)).ok_or(BEYOND)?;
            let head = (mint.saturating_sub(at).max(0) as u64).div_ceil(step as u64).min(count as u64) as usize;
            let tail = if maxt < at { 0 } else { (maxt.abs_diff(at) / step as u64 + 1).min(count as u64) as usize };
            if head < tail {
                found.get_or_insert(place + head);
                append_grid(at + head as i64 * step, step, tail - head, out);
            }
            place += count;
            if k < *runs {
                let gap =
                    i64::try_from(skipped).ok().and_then(|s| s.checked_add(2)?.checked_mul(step)).ok_or(BEYOND)?;
                at = last.checked_add(gap).ok_or(BEYOND)?;
            }
        }
        Ok(found.unwrap_or(0))
    }
}

/// Appends `count` times from `first` on. By sums, since there is no wide multiplication of 64 bits.
pub fn append_grid(first: i64, step: i64, count: usize, out: &mut Vec<i64>) {
    let mut next = first;
    out.extend((0..count).map(|_| {
        let time = next;
        next = next.wrapping_add(step);
        time
    }));
}

/// Leaves only times inside the range behind `before`; returns the place of the first. Damage can make times descend;
/// then some place is found, and the container's check has to speak.
fn cut(before: usize, mint: i64, maxt: i64, out: &mut Vec<i64>) -> Result<usize, CodecError> {
    let times = out.get(before..).unwrap_or_default();
    let from = times.partition_point(|t| *t < mint);
    let to = times.partition_point(|t| *t <= maxt);
    if !times.is_sorted() || from > to {
        return Err(CodecError("times do not ascend"));
    }
    out.truncate(before + to);
    out.drain(before..before + from);
    Ok(from)
}

/// Appends all times of a column, which must be all of `bytes`.
pub fn decode(bytes: &[u8], out: &mut Vec<i64>) -> Result<(), CodecError> {
    Column::parse(bytes)?.decode_between(i64::MIN, i64::MAX, out).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[track_caller]
    fn check(times: &[i64], at_most: usize) {
        let mut bytes = Vec::new();
        encode(times, &mut bytes);
        assert!(bytes.len() <= at_most, "{} bytes for {} times", bytes.len(), times.len());
        let mut back = vec![-1];
        decode(&bytes, &mut back).unwrap();
        assert_eq!(&back[1..], times);
        let column = Column::parse(&bytes).unwrap();
        assert_eq!(column.len(), times.len());
        let at = |i: usize| times.get(i).copied().unwrap_or(7);
        let n = times.len();
        for (mint, maxt) in [
            (at(n / 3), at(n / 2)),
            (at(n / 2) + 1, i64::MAX),
            (i64::MIN, at(0)),
            (at(n / 4).saturating_sub(1), at(n / 4) + 1),
            (9, 3),
        ] {
            let mut part = Vec::new();
            let (from, count) = column.decode_between(mint, maxt, &mut part).unwrap();
            let expect: Vec<i64> = times.iter().copied().filter(|t| (mint..=maxt).contains(t)).collect();
            assert_eq!(part, expect, "{mint}..={maxt}");
            assert_eq!(count, expect.len());
            if count > 0 {
                assert_eq!(times[from], expect[0]);
            }
        }
    }

    #[test]
    fn a_grid_takes_a_few_bytes() {
        const T: i64 = 1_790_000_000_123;
        check(&[], 1);
        check(&[T], 9);
        check(&(0..7200).map(|i| T + i * 1000).collect::<Vec<_>>(), 14);
        check(&(0..7200).filter(|i| i % 1000 > 20).map(|i| T + i * 1000).collect::<Vec<_>>(), 44);
        check(&(0..100).map(|i| -5_000 + i * 100).collect::<Vec<_>>(), 10);
        check(&[i64::MIN, 0, i64::MAX], 60);
    }

    #[test]
    fn jitter_is_exact_and_costs_its_bits() {
        let rng = Rng::from_seed(8);
        let jittered = |gap: u64| -> Vec<i64> {
            (0..3600i64).filter(|_| rng.below(100) >= gap).map(|i| i * 1000 + rng.below(16) as i64).collect()
        };
        check(&jittered(0), 2_100);
        check(&jittered(2), 2_400);
        let drift: Vec<i64> = (0..3600).map(|i| i * 1001 + i % 2).collect();
        check(&drift, 900);
    }

    #[test]
    fn any_ascending_times_come_back() {
        let rng = Rng::from_seed(9);
        for _ in 0..500 {
            let (mut t, spread) = (rng.next_u64() as i64 >> 20, 1 + rng.below(100_000));
            let n = [2, 3, 50, 256, 257, 700][rng.below(6) as usize];
            let grid = rng.below(3) > 0;
            let times: Vec<i64> = (0..n)
                .map(|_| {
                    t += if grid && rng.below(20) > 0 { 15_000 } else { 1 + rng.below(spread) as i64 };
                    t
                })
                .collect();
            check(&times, n * 6 + 40);
        }
    }

    #[test]
    fn damage_gives_an_error_or_other_times_but_no_panic() {
        let rng = Rng::from_seed(10);
        let grid: Vec<i64> = (0..900).filter(|i| i % 100 != 5).map(|i| i * 1000).collect();
        let jitter: Vec<i64> = (0..900).map(|i| i * 1000 + (i * i) % 31).collect();
        for times in [grid, jitter, vec![1, 5, 900, 901, 1_000_000]] {
            let mut good = Vec::new();
            encode(&times, &mut good);
            for _ in 0..5_000 {
                let mut bytes = good.clone();
                for _ in 0..=rng.below(3) {
                    let at = rng.below(bytes.len().min(40) as u64) as usize;
                    bytes[at] = rng.next_u64() as u8;
                }
                bytes.truncate(rng.below(bytes.len() as u64 * 4) as usize + 1);
                let mut out = Vec::new();
                let (mint, maxt) = (rng.next_u64() as i64 >> 30, rng.next_u64() as i64);
                if let Ok(column) = Column::parse(&bytes) {
                    let _ = column.decode_between(mint, maxt, &mut out);
                }
                assert!(out.capacity() <= SAMPLES_MAX * 2);
            }
        }
    }
}
