//! Rolled-up samples: for each window of time what its samples were, in a few numbers, from which the functions of a
//! query language can be answered without the samples.
//!
//! Windows are open to the left and closed to the right, as range selectors are: (k·w, (k+1)·w]. Columns that samples
//! imply are left out: the least of a counter is its first. Table: docs/format/chunk.md.

use crate::codec::bytes::{Reader, put_varint};
use crate::codec::chunk::{self, Target};
use crate::codec::{CodecError, Effort, decimal, values};

/// The samples of one window, of which there is at least one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub first_time: i64,
    pub last_time: i64,
    pub count: f64,
    pub first: f64,
    pub last: f64,
    pub min: f64,
    pub max: f64,
    pub sum: f64,
    /// Sum of the values before which a counter fell: its increase is last - first + carry.
    pub carry: f64,
}

/// How such chunks are called.
pub const NAME: &str = "rolled-up points";

/// The least is the first in every window.
const MIN_IS_FIRST: u8 = 1;
/// The most is the last in every window.
const MAX_IS_LAST: u8 = 2;

/// Rolls samples up; times ascend. `None` where a point could not stand for them: with NaN (and so staleness markers)
/// or infinities among the values.
pub fn roll(times: &[i64], values: &[f64], width: i64) -> Option<Vec<Point>> {
    if values.iter().any(|value| !value.is_finite()) || times.len() != values.len() || width <= 0 {
        return None;
    }
    let mut points = Vec::new();
    let mut from = 0;
    while let Some(first) = times.get(from) {
        let window = first.saturating_sub(1).div_euclid(width);
        let end = window.checked_add(1)?.checked_mul(width)?;
        let to = from + times.get(from..)?.partition_point(|time| *time <= end);
        points.push(point(times.get(from..to)?, values.get(from..to)?)?);
        from = to;
    }
    Some(points)
}

fn point(times: &[i64], values: &[f64]) -> Option<Point> {
    let (&first, &last) = (values.first()?, values.last()?);
    let (mut min, mut max, mut carry) = (first, first, 0.0);
    for &value in values {
        min = if value < min { value } else { min };
        max = if value > max { value } else { max };
    }
    for pair in values.windows(2) {
        carry += if pair[1] < pair[0] { pair[0] } else { 0.0 };
    }
    let (first_time, last_time) = (*times.first()?, *times.last()?);
    Some(Point { first_time, last_time, count: values.len() as f64, first, last, min, max, sum: sum(values), carry })
}

/// The sum, of decimals exactly rounded: it is then a short decimal itself.
fn sum(values: &[f64]) -> f64 {
    if let Some(exponent) = decimal::probe(values) {
        let mut integers = vec![0i64; values.len()];
        if decimal::to_integers(values, exponent, &mut integers) == 0 {
            let sum: i128 = integers.iter().map(|integer| i128::from(*integer)).sum();
            return sum as f64 / decimal::POWERS.get(usize::from(exponent)).copied().unwrap_or(1.0);
        }
    }
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for &value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    sum + lost
}

/// Appends a chunk of points, ascending, from 1 to `codec::SAMPLES_MAX`.
pub fn encode(points: &[Point], out: &mut Vec<u8>) {
    let same = |a: fn(&Point) -> f64, b: fn(&Point) -> f64| points.iter().all(|p| a(p).to_bits() == b(p).to_bits());
    let (min_is_first, max_is_last) = (same(|p| p.min, |p| p.first), same(|p| p.max, |p| p.last));
    let mut column = vec![(u8::from(min_is_first) * MIN_IS_FIRST) | (u8::from(max_is_last) * MAX_IS_LAST)];
    let mut put = |get: fn(&Point) -> f64| {
        let series: Vec<f64> = points.iter().map(get).collect();
        let mut part = Vec::new();
        values::encode_with(&series, Effort::Small, &mut part);
        put_varint(&mut column, part.len() as u64);
        column.extend_from_slice(&part);
    };
    put(|p| p.count);
    put(|p| p.first);
    put(|p| p.last);
    put(|p| p.sum);
    put(|p| p.carry);
    if !min_is_first {
        put(|p| p.min);
    }
    if !max_is_last {
        put(|p| p.max);
    }
    let times: Vec<i64> = points.iter().map(|point| point.last_time).collect();
    let firsts: Vec<i64> = points.iter().map(|point| point.first_time).collect();
    chunk::write(&times, &firsts, &column, chunk::ROLLUP, out);
}

/// Appends the points whose last sample is in `mint..=maxt`. After an error some of them may be there.
pub fn decode(bytes: &[u8], mint: i64, maxt: i64, out: &mut Vec<Point>) -> Result<(), CodecError> {
    let parts = chunk::parse(bytes)?;
    if parts.kind != chunk::ROLLUP {
        return Err(CodecError("a chunk holds no points"));
    }
    let (mut times, mut firsts) = (Vec::new(), Vec::new());
    let mut target = Target { times: &mut times, starts: &mut firsts };
    let (from, count) = chunk::decode_times(&parts, mint, maxt, &mut target)?;
    firsts.resize(times.len(), 0);
    let mut reader = Reader::new(parts.column);
    let flags = reader.u8()?;
    let mut next = || -> Result<Vec<f64>, CodecError> {
        let len = reader.count(parts.column.len())?;
        let column = values::Column::parse(reader.take(len)?)?;
        let mut series = Vec::new();
        column.decode_range(from, from + count, &mut series)?;
        if series.len() == count { Ok(series) } else { Err(CodecError("a chunk's columns differ in length")) }
    };
    let (counts, first, last, sums, carries) = (next()?, next()?, next()?, next()?, next()?);
    let min = if flags & MIN_IS_FIRST != 0 { first.clone() } else { next()? };
    let max = if flags & MAX_IS_LAST != 0 { last.clone() } else { next()? };
    let get = |column: &[f64], at: usize| column.get(at).copied().unwrap_or_default();
    for (at, (first_time, last_time)) in firsts.into_iter().zip(times).enumerate() {
        out.push(Point {
            first_time,
            last_time,
            count: get(&counts, at),
            first: get(&first, at),
            last: get(&last, at),
            min: get(&min, at),
            max: get(&max, at),
            sum: get(&sums, at),
            carry: get(&carries, at),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn windows_are_closed_to_the_right() {
        let points = roll(&[0, 1, 30, 60, 61, 200], &[5.0, 1.0, 9.0, 2.0, 7.5, 3.0], 60).unwrap();
        let short: Vec<_> = points.iter().map(|p| (p.first_time, p.last_time, p.count, p.sum, p.carry)).collect();
        assert_eq!(
            short,
            [(0, 0, 1.0, 5.0, 0.0), (1, 60, 3.0, 12.0, 9.0), (61, 61, 1.0, 7.5, 0.0), (200, 200, 1.0, 3.0, 0.0)]
        );
        assert_eq!((points[1].min, points[1].max, points[1].first, points[1].last), (1.0, 9.0, 1.0, 2.0));
        assert_eq!(roll(&[1], &[f64::NAN], 60), None);
    }

    #[test]
    fn points_come_back_to_the_bit_and_a_counter_takes_few_bytes() {
        let rng = Rng::from_seed(1);
        let times: Vec<i64> = (1..=28_800).map(|i| i * 1_000).collect();
        let counter: Vec<f64> = (1..=28_800).map(|i| f64::from(i * 3 + i % 7) / 100.0).collect();
        let noise: Vec<f64> =
            times.iter().map(|_| f64::from_bits(rng.next_u64() >> 12 | 0x3ff0_0000_0000_0000)).collect();
        for (values, at_most) in [(&counter, 9.5), (&noise, 52.0)] {
            let points = roll(&times, values, 60_000).unwrap();
            assert_eq!(points.len(), 480);
            let mut bytes = Vec::new();
            encode(&points, &mut bytes);
            assert!(bytes.len() as f64 / 480.0 <= at_most, "{} bytes", bytes.len());
            let mut back = Vec::new();
            decode(&bytes, i64::MIN, i64::MAX, &mut back).unwrap();
            assert_eq!(back, points);
            back.clear();
            decode(&bytes, 60_001, 180_000, &mut back).unwrap();
            assert_eq!(back, points[1..3]);
            for _ in 0..500 {
                let mut bad = bytes.clone();
                let at = rng.below(bad.len() as u64) as usize;
                bad[at] = rng.next_u64() as u8;
                bad.truncate(1 + rng.below(bytes.len() as u64 * 3) as usize);
                let _ = decode(&bad, i64::MIN, i64::MAX, &mut Vec::new());
            }
        }
    }
}
