//! Rolled-up samples: for each window of time what its samples were, in a few numbers, from which the functions of a
//! query language can be answered without the samples.
//!
//! Windows are open to the left and closed to the right, as range selectors are: (k·w, (k+1)·w]. A point is a run of
//! samples that follow each other inside one window; a window has one or a few of them. Columns that samples imply are
//! left out: the least of a counter is its first. Native histograms are in [`histograms`]. Table: docs/format/chunk.md.

pub mod histograms;

use crate::codec::bytes::{Reader, put_varint};
use crate::codec::chunk::{self, Parts, Target};
use crate::codec::{CodecError, Effort, decimal, starts, values};
use crate::model::sample::{any_stale, is_stale, start_means_reset};

/// The floats of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Of the first and of the last float. Where there is only a staleness marker both are its time.
    pub first_time: i64,
    pub last_time: i64,
    /// Later than `last_time` where a staleness marker follows on the last float.
    pub end_time: i64,
    /// Start times of the first and of the last float, 0 where unknown.
    pub first_start: i64,
    pub last_start: i64,
    /// Floats; 0 where there is only a staleness marker.
    pub count: f64,
    pub first: f64,
    pub last: f64,
    /// NaN only where all are.
    pub min: f64,
    pub max: f64,
    pub sum: f64,
    /// Sum of the values after which a counter began anew: its increase is last - first + carry.
    pub carry: f64,
}

/// Which numbers of points are wanted; the others are 0 after decoding. Times and starts always come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    All,
    First,
    Last,
    Min,
    Max,
    Sum,
    /// Count, first, last, carry.
    Increase,
}

/// How such chunks are called.
pub const NAME: &str = "rolled-up points";

/// The least is the first in every window.
const MIN_IS_FIRST: u8 = 1;
/// The most is the last in every window.
const MAX_IS_LAST: u8 = 2;
/// Start times of first and last follow.
const STARTS: u8 = 4;
/// How long after the last float its staleness marker came follows.
const TAILS: u8 = 8;

/// The last millisecond of the window that a time is in.
pub(crate) fn window_end(time: i64, width: i64) -> i64 {
    time.saturating_sub(1).div_euclid(width).saturating_add(1).saturating_mul(width)
}

/// Rolls floats and staleness markers up. Times ascend; `starts` is empty where none is known.
pub fn roll(times: &[i64], values: &[f64], starts: &[i64], width: i64) -> Vec<Point> {
    let mut points = Vec::new();
    let mut from = 0;
    while let Some(first) = times.get(from) {
        let end = window_end(*first, width.max(1));
        let to = from + times.get(from..).unwrap_or_default().partition_point(|time| *time <= end).max(1);
        let part = |column: &[i64]| column.get(from..to).unwrap_or_default().to_vec();
        points.extend(run(part(times), values.get(from..to).unwrap_or_default().to_vec(), part(starts)));
        from = to;
    }
    points
}

/// The point of a run of samples.
fn run(mut times: Vec<i64>, mut values: Vec<f64>, mut starts: Vec<i64>) -> Option<Point> {
    let end_time = *times.last()?;
    if any_stale(&values) {
        let live: Vec<bool> = values.iter().map(|value| !is_stale(*value)).collect();
        retain(&mut times, &live);
        retain(&mut values, &live);
        retain(&mut starts, &live);
    }
    let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
        return Some(Point { first_time: end_time, last_time: end_time, end_time, ..Point::default() });
    };
    let (mut min, mut max, mut carry) = (first, first, 0.0);
    for &value in &values {
        min = if value < min || min.is_nan() { value } else { min };
        max = if value > max || max.is_nan() { value } else { max };
    }
    let at = |column: &[i64], at: usize| column.get(at).copied().unwrap_or(0);
    for (place, pair) in values.windows(2).enumerate() {
        let anew = |place: usize| {
            start_means_reset((times[place], at(&starts, place)), (times[place + 1], at(&starts, place + 1)))
        };
        if pair[1] < pair[0] || (!starts.is_empty() && anew(place)) {
            carry += pair[0];
        }
    }
    Some(Point {
        first_time: *times.first()?,
        last_time: *times.last()?,
        end_time,
        first_start: at(&starts, 0),
        last_start: at(&starts, values.len() - 1),
        count: values.len() as f64,
        first,
        last,
        min,
        max,
        sum: sum(&values),
        carry,
    })
}

fn retain<T>(column: &mut Vec<T>, live: &[bool]) {
    let mut places = live.iter();
    column.retain(|_| places.next().copied().unwrap_or(true));
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
    // Infinities and NaN have no rounding error.
    if sum.is_finite() { sum + lost } else { sum }
}

/// Whether two points are of the same samples, of which one may lack some between the first and the last.
pub fn is_same_run(a: &Point, b: &Point) -> bool {
    let live = a.count > 0.0 && b.count > 0.0;
    live && (a.first_time, a.last_time) == (b.first_time, b.last_time)
}

/// Joins two points of one window, of which the first begins no later. Of two runs with the same first and last time the
/// one with more samples has all of the other, and of equal ones the second is right. Other samples that were rolled up
/// twice count twice; an increase is kept exactly where the runs lie one after the other.
pub fn join(a: &Point, b: &Point) -> Point {
    if is_same_run(a, b) {
        let more = if b.count >= a.count { b } else { a };
        return Point { end_time: a.end_time.max(b.end_time), ..*more };
    }
    if a.count == 0.0 || b.count == 0.0 {
        let live = if a.count == 0.0 { b } else { a };
        return Point { end_time: a.end_time.max(b.end_time), ..*live };
    }
    let late = if a.last_time > b.last_time { a } else { b };
    let apart = a.last_time < b.first_time;
    let fell = if apart && b.first < a.last { a.last } else { 0.0 };
    Point {
        first_time: a.first_time,
        first: a.first,
        first_start: a.first_start,
        last_time: late.last_time,
        last: late.last,
        last_start: late.last_start,
        end_time: a.end_time.max(b.end_time),
        count: a.count + b.count,
        min: if b.min < a.min || a.min.is_nan() { b.min } else { a.min },
        max: if b.max > a.max || a.max.is_nan() { b.max } else { a.max },
        sum: a.sum + b.sum,
        carry: if apart { a.carry + b.carry + fell } else { a.carry.max(b.carry) },
    }
}

/// Appends a column of floats, smallest form, with its length before it.
fn put_values(series: &[f64], column: &mut Vec<u8>) {
    let mut part = Vec::new();
    values::encode_with(series, Effort::Small, &mut part);
    put_part(&part, column);
}

fn put_part(part: &[u8], column: &mut Vec<u8>) {
    put_varint(column, part.len() as u64);
    column.extend_from_slice(part);
}

/// Appends a chunk of points, ascending, from 1 to `codec::SAMPLES_MAX`.
pub fn encode(points: &[Point], out: &mut Vec<u8>) {
    let same = |a: fn(&Point) -> f64, b: fn(&Point) -> f64| points.iter().all(|p| a(p).to_bits() == b(p).to_bits());
    let (min_is_first, max_is_last) = (same(|p| p.min, |p| p.first), same(|p| p.max, |p| p.last));
    let started = points.iter().any(|point| point.first_start != 0 || point.last_start != 0);
    let tails = points.iter().any(|point| point.end_time != point.last_time);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let mut column = vec![
        flag(min_is_first, MIN_IS_FIRST) | flag(max_is_last, MAX_IS_LAST) | flag(started, STARTS) | flag(tails, TAILS),
    ];
    let mut put = |get: fn(&Point) -> f64| {
        let series: Vec<f64> = points.iter().map(get).collect();
        put_values(&series, &mut column);
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
    if tails {
        put(|p| (p.end_time - p.last_time) as f64);
    }
    let times: Vec<i64> = points.iter().map(|point| point.end_time).collect();
    if started {
        put_starts(&times, points.iter().map(|point| (point.first_start, point.last_start)), &mut column);
    }
    let firsts: Vec<i64> = points.iter().map(|point| point.first_time).collect();
    chunk::write(&times, &firsts, &column, chunk::POINTS, out);
}

fn put_starts(times: &[i64], pairs: impl Iterator<Item = (i64, i64)>, column: &mut Vec<u8>) {
    let (first, last): (Vec<i64>, Vec<i64>) = pairs.unzip();
    for series in [first, last] {
        let mut part = Vec::new();
        starts::encode(times, &series, &mut part);
        put_part(&part, column);
    }
}

/// The columns of a chunk of points, read one after the other.
struct Columns<'a> {
    reader: Reader<'a>,
    from: usize,
    count: usize,
}

impl<'a> Columns<'a> {
    fn part(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.reader.count(self.reader.rest().len())?;
        self.reader.take(len)
    }

    /// The next column of floats; empty where it is not needed.
    fn floats(&mut self, needed: bool) -> Result<Vec<f64>, CodecError> {
        let bytes = self.part()?;
        let mut series = Vec::new();
        if needed {
            values::Column::parse(bytes)?.decode_range(self.from, self.from + self.count, &mut series)?;
            if series.len() != self.count {
                return Err(CodecError("a chunk's columns differ in length"));
            }
        }
        Ok(series)
    }

    fn starts(&mut self, parts: &Parts<'_>) -> Result<Vec<i64>, CodecError> {
        let mut series = Vec::new();
        chunk::decode_starts(parts, self.part()?, (self.from, self.count), &mut series)?;
        Ok(series)
    }
}

/// Whether a chunk holds rolled-up floats, and not histograms.
pub fn is_floats(bytes: &[u8]) -> Result<bool, CodecError> {
    Ok(!chunk::header(bytes)?.histograms)
}

/// Appends the points that end in `mint..=maxt`. After an error some of them may be there.
pub fn decode(bytes: &[u8], mint: i64, maxt: i64, need: Need, out: &mut Vec<Point>) -> Result<(), CodecError> {
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
    if parts.version < chunk::POINTS_VERSION && flags & (STARTS | TAILS) != 0 {
        return Err(CodecError("a chunk of points has unknown flags"));
    }
    let mut columns = Columns { reader, from, count };
    let any = |of: &[Need]| need == Need::All || of.contains(&need);
    let (min_is_first, max_is_last) = (flags & MIN_IS_FIRST != 0, flags & MAX_IS_LAST != 0);
    // What is not counted is never a mere staleness marker to its reader.
    let counts = columns.floats(true)?;
    let edges = any(&[Need::Increase]);
    let first = columns.floats(edges || any(&[Need::First]) || min_is_first && any(&[Need::Min]))?;
    let last = columns.floats(edges || any(&[Need::Last]) || max_is_last && any(&[Need::Max]))?;
    let sums = columns.floats(any(&[Need::Sum]))?;
    let carries = columns.floats(edges)?;
    let min = if min_is_first { first.clone() } else { columns.floats(any(&[Need::Min]))? };
    let max = if max_is_last { last.clone() } else { columns.floats(any(&[Need::Max]))? };
    let tails = if flags & TAILS != 0 { columns.floats(true)? } else { Vec::new() };
    let starts = match flags & STARTS {
        0 => Default::default(),
        _ => (columns.starts(&parts)?, columns.starts(&parts)?),
    };
    let get = |column: &[f64], at: usize| column.get(at).copied().unwrap_or_default();
    let start = |column: &[i64], at: usize| column.get(at).copied().unwrap_or_default();
    for (at, (first_time, end_time)) in firsts.into_iter().zip(times).enumerate() {
        out.push(Point {
            first_time,
            last_time: end_time.saturating_sub(get(&tails, at) as i64),
            end_time,
            first_start: start(&starts.0, at),
            last_start: start(&starts.1, at),
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
    use crate::model::sample::STALE_NAN;

    #[test]
    fn windows_are_closed_to_the_right() {
        let points = roll(&[0, 1, 30, 60, 61, 200], &[5.0, 1.0, 9.0, 2.0, 7.5, 3.0], &[], 60);
        let short: Vec<_> = points.iter().map(|p| (p.first_time, p.last_time, p.count, p.sum, p.carry)).collect();
        assert_eq!(
            short,
            [(0, 0, 1.0, 5.0, 0.0), (1, 60, 3.0, 12.0, 9.0), (61, 61, 1.0, 7.5, 0.0), (200, 200, 1.0, 3.0, 0.0)]
        );
        assert_eq!((points[1].min, points[1].max, points[1].first, points[1].last), (1.0, 9.0, 1.0, 2.0));
    }

    #[test]
    fn staleness_nan_and_starts_are_kept() {
        let times = [1, 2, 3, 61, 62, 121];
        let values = [4.0, f64::NAN, STALE_NAN, f64::INFINITY, 3.0, STALE_NAN];
        let points = roll(&times, &values, &[1, 1, 0, 1, 61, 0], 60);
        let short: Vec<_> = points.iter().map(|p| (p.first_time, p.last_time, p.end_time, p.count)).collect();
        assert_eq!(short, [(1, 2, 3, 2.0), (61, 62, 62, 2.0), (121, 121, 121, 0.0)]);
        assert_eq!((points[0].min, points[0].max, points[0].first), (4.0, 4.0, 4.0));
        assert!(points[0].last.is_nan() && points[0].sum.is_nan());
        assert_eq!((points[1].sum, points[1].first_start, points[1].last_start), (f64::INFINITY, 1, 61));
        assert_eq!(points[1].carry, f64::INFINITY, "the counter fell");
        let mut bytes = Vec::new();
        encode(&points, &mut bytes);
        let mut back = Vec::new();
        decode(&bytes, i64::MIN, i64::MAX, Need::All, &mut back).unwrap();
        assert_eq!(format!("{back:?}"), format!("{points:?}"));
    }

    #[test]
    fn points_of_one_window_join() {
        let all = roll(&[1, 2, 3, 4], &[5.0, 9.0, 2.0, 3.0], &[], 60);
        let (a, b) = (roll(&[1, 2], &[5.0, 9.0], &[], 60), roll(&[3, 4], &[2.0, 3.0], &[], 60));
        assert_eq!(join(&a[0], &b[0]), all[0]);
        assert_eq!(join(&a[0], &a[0]), a[0]);
    }

    #[test]
    fn points_come_back_to_the_bit_and_a_counter_takes_few_bytes() {
        let rng = Rng::from_seed(1);
        let times: Vec<i64> = (1..=28_800).map(|i| i * 1_000).collect();
        let counter: Vec<f64> = (1..=28_800).map(|i| f64::from(i * 3 + i % 7) / 100.0).collect();
        let noise: Vec<f64> =
            times.iter().map(|_| f64::from_bits(rng.next_u64() >> 12 | 0x3ff0_0000_0000_0000)).collect();
        for (values, at_most) in [(&counter, 9.5), (&noise, 52.0)] {
            let points = roll(&times, values, &[], 60_000);
            assert_eq!(points.len(), 480);
            let mut bytes = Vec::new();
            encode(&points, &mut bytes);
            assert!(bytes.len() as f64 / 480.0 <= at_most, "{} bytes", bytes.len());
            let mut back = Vec::new();
            decode(&bytes, i64::MIN, i64::MAX, Need::All, &mut back).unwrap();
            assert_eq!(back, points);
            back.clear();
            decode(&bytes, 60_001, 180_000, Need::All, &mut back).unwrap();
            assert_eq!(back, points[1..3]);
            for _ in 0..500 {
                let mut bad = bytes.clone();
                let at = rng.below(bad.len() as u64) as usize;
                bad[at] = rng.next_u64() as u8;
                bad.truncate(1 + rng.below(bytes.len() as u64 * 3) as usize);
                let _ = decode(&bad, i64::MIN, i64::MAX, Need::All, &mut Vec::new());
            }
        }
    }
}
