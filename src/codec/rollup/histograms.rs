//! Rolled-up native histograms: first and last of a run for functions of counters, the sum for those of gauges.
//!
//! A run ends with its window, and where samples change their schema, their custom bounds or whether they are gauges:
//! what is combined inside a point always fits together.

use std::sync::Arc;

use crate::codec::bytes::Reader;
use crate::codec::chunk::{self, Target};
use crate::codec::{CodecError, Effort, SAMPLES_MAX, histograms};
use crate::model::histogram::sum::HistogramSum;
use crate::model::histogram::{Histogram, ResetHint};
use crate::model::sample::start_means_reset;

use super::{Columns, STARTS, put_part, put_starts, put_values, window_end};

/// The native histograms of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    pub first_time: i64,
    pub last_time: i64,
    pub first_start: i64,
    pub last_start: i64,
    pub count: f64,
    pub first: Arc<Histogram>,
    pub last: Arc<Histogram>,
    /// Of gauges only.
    pub sum: Option<Arc<Histogram>>,
    /// The sum of the histograms after which a counter began anew, if it did: the increase is last - first + carry.
    pub carry: Option<Arc<Histogram>>,
}

/// Sums follow.
const SUMS: u8 = 1;
/// Carries follow.
const CARRIES: u8 = 2;

/// Points of one chunk at most.
const CHUNK_POINTS: usize = 4_096;

/// A column of histograms on its way into points. Staleness markers are not among them.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    pub times: &'a [i64],
    pub values: &'a [Arc<Histogram>],
    /// Empty where none is known.
    pub starts: &'a [i64],
}

/// Rolls histograms up. Times ascend.
pub fn roll(samples: Samples<'_>, width: i64) -> Vec<HistogramPoint> {
    let Samples { times, values, .. } = samples;
    let mut points = Vec::new();
    let mut from = 0;
    while let (Some(time), Some(first)) = (times.get(from), values.get(from)) {
        let end = window_end(*time, width.max(1));
        let rest = times.iter().zip(values).skip(from + 1);
        let to = from + 1 + rest.take_while(|(time, value)| **time <= end && is_alike(first, value)).count();
        points.extend(run(samples, from, to));
        from = to;
    }
    points
}

fn is_gauge(histogram: &Histogram) -> bool {
    histogram.reset_hint == ResetHint::Gauge
}

fn is_alike(a: &Histogram, b: &Histogram) -> bool {
    a.schema == b.schema && is_gauge(a) == is_gauge(b) && a.custom_values == b.custom_values
}

fn run(samples: Samples<'_>, from: usize, to: usize) -> Option<HistogramPoint> {
    let values = samples.values.get(from..to)?;
    let (first, last) = (values.first()?, values.last()?);
    let time = |at: usize| samples.times.get(at).copied().unwrap_or_default();
    let start = |at: usize| samples.starts.get(at).copied().unwrap_or_default();
    let (mut sum, mut carry): (Option<HistogramSum>, Option<HistogramSum>) = (None, None);
    let add = |total: &mut Option<HistogramSum>, value: &Histogram| match total {
        // Alike histograms always fit.
        Some(total) => drop(total.add(value)),
        None => *total = Some(HistogramSum::new(value)),
    };
    if is_gauge(first) {
        values.iter().for_each(|value| add(&mut sum, value));
    } else {
        for (at, pair) in values.windows(2).enumerate() {
            let at = from + at;
            let anew = start_means_reset((time(at), start(at)), (time(at + 1), start(at + 1)));
            if anew || pair[1].detect_reset(&pair[0]) {
                add(&mut carry, &pair[0]);
            }
        }
    }
    let total = |sum: Option<HistogramSum>| sum.map(|sum| Arc::new(sum.total()));
    Some(HistogramPoint {
        first_time: time(from),
        last_time: time(to - 1),
        first_start: start(from),
        last_start: start(to - 1),
        count: values.len() as f64,
        first: Arc::clone(first),
        last: Arc::clone(last),
        sum: total(sum),
        carry: total(carry),
    })
}

/// Joins two points of one window, of which the first begins no later; `None` where they do not fit together. See
/// `super::join` for what is exact.
pub fn join(a: &HistogramPoint, b: &HistogramPoint) -> Option<HistogramPoint> {
    if (a.first_time, a.last_time) == (b.first_time, b.last_time) {
        // The one with more samples has all of the other; of equal ones the second is right.
        return Some(if b.count >= a.count { b.clone() } else { a.clone() });
    }
    if !is_alike(&a.first, &b.first) || a.last_time >= b.first_time {
        return None;
    }
    let plus = |a: &Option<Arc<Histogram>>, b: Option<&Arc<Histogram>>| match (a, b) {
        (Some(a), Some(b)) => {
            let mut sum = Histogram::clone(a);
            sum.add(b).ok().map(|_| Arc::new(sum))
        }
        (a, b) => a.clone().or(b.cloned()),
    };
    let anew = start_means_reset((a.last_time, a.last_start), (b.first_time, b.first_start));
    let fell = !is_gauge(&a.first) && (anew || b.first.detect_reset(&a.last));
    let carry = plus(&a.carry, b.carry.as_ref());
    Some(HistogramPoint {
        last_time: b.last_time,
        last_start: b.last_start,
        count: a.count + b.count,
        last: Arc::clone(&b.last),
        sum: plus(&a.sum, b.sum.as_ref()),
        carry: if fell { plus(&carry, Some(&a.last)) } else { carry },
        ..a.clone()
    })
}

fn buckets_of(histogram: &Histogram) -> usize {
    histogram.positive_buckets.len() + histogram.negative_buckets.len()
}

/// How many of the points, from the first on, fit in one chunk.
pub fn fitting(points: &[HistogramPoint]) -> usize {
    let mut buckets = 0;
    let fits = |(at, point): &(usize, &HistogramPoint)| {
        let all = [Some(&point.first), Some(&point.last), point.sum.as_ref(), point.carry.as_ref()];
        buckets = all.into_iter().flatten().map(|histogram| buckets_of(histogram)).fold(buckets, usize::max);
        *at < CHUNK_POINTS.min(SAMPLES_MAX) && histograms::fits(at + 1, buckets)
    };
    points.iter().enumerate().take_while(fits).count().max(1)
}

/// Appends a chunk of points, ascending; the caller has asked [`fitting`].
pub fn encode(points: &[HistogramPoint], out: &mut Vec<u8>) {
    let started = points.iter().any(|point| point.first_start != 0 || point.last_start != 0);
    let sums = points.iter().any(|point| point.sum.is_some());
    let carries = points.iter().any(|point| point.carry.is_some());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let mut column = vec![flag(sums, SUMS) | flag(carries, CARRIES) | flag(started, STARTS)];
    let counts: Vec<f64> = points.iter().map(|point| point.count).collect();
    put_values(&counts, &mut column);
    let nothing = Arc::new(Histogram::default());
    let mut put = |get: &dyn Fn(&HistogramPoint) -> Arc<Histogram>| {
        let series: Vec<Arc<Histogram>> = points.iter().map(get).collect();
        let mut part = Vec::new();
        histograms::encode(&series, Effort::Small, &mut part);
        put_part(&part, &mut column);
    };
    put(&|point| Arc::clone(&point.first));
    put(&|point| Arc::clone(&point.last));
    if sums {
        put(&|point| point.sum.clone().unwrap_or_else(|| Arc::clone(&nothing)));
    }
    if carries {
        put(&|point| point.carry.clone().unwrap_or_else(|| Arc::clone(&nothing)));
    }
    let times: Vec<i64> = points.iter().map(|point| point.last_time).collect();
    if started {
        put_starts(&times, points.iter().map(|point| (point.first_start, point.last_start)), &mut column);
    }
    let firsts: Vec<i64> = points.iter().map(|point| point.first_time).collect();
    chunk::write(&times, &firsts, &column, chunk::HISTOGRAM_POINTS, out);
}

/// Appends the points that end in `mint..=maxt`. After an error some of them may be there.
pub fn decode(bytes: &[u8], mint: i64, maxt: i64, out: &mut Vec<HistogramPoint>) -> Result<(), CodecError> {
    let parts = chunk::parse(bytes)?;
    if parts.kind | parts.version != chunk::HISTOGRAM_POINTS {
        return Err(CodecError("a chunk holds no points of histograms"));
    }
    let (mut times, mut firsts) = (Vec::new(), Vec::new());
    let mut target = Target { times: &mut times, starts: &mut firsts };
    let (from, count) = chunk::decode_times(&parts, mint, maxt, &mut target)?;
    firsts.resize(times.len(), 0);
    let mut reader = Reader::new(parts.column);
    let flags = reader.u8()?;
    let mut columns = Columns { reader, from, count };
    let counts = columns.floats(true)?;
    let first = column_of(&mut columns)?;
    let last = column_of(&mut columns)?;
    let sums = if flags & SUMS != 0 { column_of(&mut columns)? } else { Vec::new() };
    let carries = if flags & CARRIES != 0 { column_of(&mut columns)? } else { Vec::new() };
    let starts = match flags & STARTS {
        0 => Default::default(),
        _ => (columns.starts(&parts)?, columns.starts(&parts)?),
    };
    let start = |column: &[i64], at: usize| column.get(at).copied().unwrap_or_default();
    for (at, ((first, last), (first_time, last_time))) in
        first.into_iter().zip(last).zip(firsts.into_iter().zip(times)).enumerate()
    {
        let gauge = is_gauge(&first);
        let carry = carries.get(at).filter(|carry| !gauge && **carry != Arc::new(Histogram::default())).cloned();
        out.push(HistogramPoint {
            first_time,
            last_time,
            first_start: start(&starts.0, at),
            last_start: start(&starts.1, at),
            count: counts.get(at).copied().unwrap_or_default(),
            first,
            last,
            sum: sums.get(at).filter(|_| gauge).cloned(),
            carry,
        });
    }
    Ok(())
}

fn column_of(columns: &mut Columns<'_>) -> Result<Vec<Arc<Histogram>>, CodecError> {
    let bytes = columns.part()?;
    let mut out = Vec::new();
    histograms::decode_range(bytes, columns.from, columns.from + columns.count, &mut out)?;
    if out.len() == columns.count { Ok(out) } else { Err(CodecError("a chunk's columns differ in length")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::model::histogram::Span;

    fn histogram(n: f64, hint: ResetHint) -> Arc<Histogram> {
        Arc::new(Histogram {
            reset_hint: hint,
            schema: 2,
            count: n * 3.0,
            sum: n * 5.5,
            positive_spans: vec![Span { offset: 1, length: 2 }],
            positive_buckets: vec![n, n * 2.0],
            ..Histogram::default()
        })
    }

    fn points() -> Vec<HistogramPoint> {
        let times: Vec<i64> = (1..=300).map(|i| i * 1_000).collect();
        let values: Vec<_> = (1..=300)
            .map(|i| match i {
                ..150 => histogram(f64::from(i % 70), ResetHint::Unknown),
                _ => histogram(f64::from(i), ResetHint::Gauge),
            })
            .collect();
        roll(Samples { times: &times, values: &values, starts: &[] }, 60_000)
    }

    #[test]
    fn counters_keep_their_increase_and_gauges_their_sum() {
        let points = points();
        assert_eq!(points.len(), 6, "the window in which gauges begin has two");
        assert_eq!((points[1].first.count, points[1].last.count), (61.0 * 3.0, 50.0 * 3.0));
        assert_eq!(points[1].carry.as_ref().map(|carry| carry.count), Some(69.0 * 3.0));
        assert_eq!((points[1].sum.as_ref(), points[5].carry.as_ref()), (None, None));
        let sum: f64 = (241..=300).map(f64::from).sum();
        assert_eq!(points[5].sum.as_ref().map(|sum| sum.positive_buckets[0]), Some(sum));
    }

    #[test]
    fn points_come_back_and_damage_gives_an_error_or_others() {
        let points = points();
        assert_eq!(fitting(&points), points.len());
        let mut bytes = Vec::new();
        encode(&points, &mut bytes);
        let mut back = Vec::new();
        decode(&bytes, i64::MIN, i64::MAX, &mut back).unwrap();
        assert_eq!(back, points);
        back.clear();
        decode(&bytes, 60_001, 120_000, &mut back).unwrap();
        assert_eq!(back, points[1..2]);
        let rng = Rng::from_seed(5);
        for _ in 0..3_000 {
            let mut bad = bytes.clone();
            let at = rng.below(bad.len() as u64) as usize;
            bad[at] = rng.next_u64() as u8;
            bad.truncate(1 + rng.below(bytes.len() as u64 * 3) as usize);
            let _ = decode(&bad, i64::MIN, i64::MAX, &mut Vec::new());
        }
    }
}
