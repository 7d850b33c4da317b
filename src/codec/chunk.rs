//! One sealed chunk: the samples of one series over a span of time, as a header and a column for each part.
//!
//! A chunk holds floats or native histograms, never both; its owner keeps at least one sample in it. The header says
//! how many, from when to when, so that a reader can pass over it. Table: docs/format/chunk.md.

use std::sync::Arc;

use crate::codec::bytes::{Reader, put_signed, put_varint};
use crate::codec::{CodecError, Effort, SAMPLES_MAX, histograms, rollup, starts, times, values};
use crate::model::histogram::Histogram;

/// The version in the lowest four bits of the first byte.
const VERSION: u8 = 1;
const VERSION_MASK: u8 = 0x0f;
/// A column of start times follows.
const STARTED: u8 = 0x10;
/// Values are native histograms.
const HISTOGRAMS: u8 = 0x20;
/// Values are rolled-up points: times are those of their last samples, starts those of their first.
pub(super) const ROLLUP: u8 = 0x40;
/// The head of a chunk of points as they are written now, and of points of histograms. Version 1 had neither
/// staleness markers nor start times, and no histograms.
pub(super) const POINTS: u8 = POINTS_VERSION | ROLLUP;
pub(super) const HISTOGRAM_POINTS: u8 = POINTS | HISTOGRAMS;
pub(super) const POINTS_VERSION: u8 = 2;

/// What the first bytes of a chunk say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub count: usize,
    pub min_time: i64,
    pub max_time: i64,
    pub histograms: bool,
}

/// Appends a chunk of floats. `starts` is empty where no start time is known, else has one (or 0) for each sample.
/// Times ascend without repeats; all slices have the same length, from 1 to [`SAMPLES_MAX`].
pub fn encode_floats(times: &[i64], values: &[f64], starts: &[i64], effort: Effort, out: &mut Vec<u8>) {
    assert_eq!(times.len(), values.len(), "a sample has a time and a value");
    let mut column = Vec::new();
    values::encode_with(values, effort, &mut column);
    write(times, starts, &column, VERSION, out);
}

/// Appends one chunk of floats that holds what these do, each of which begins after the end of the one before. Blocks
/// stay as they are where they fit together. After an error some bytes may be there.
///
/// # Errors
/// Where one of them is damaged or does not hold floats, or they are too many.
pub fn join_floats(chunks: &[&[u8]], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let (mut times, mut starts, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    for bytes in chunks {
        let parts = parse(bytes)?;
        if parts.kind != 0 {
            return Err(CodecError("a chunk does not hold floats"));
        }
        let mut target = Target { times: &mut times, starts: &mut starts };
        decode_times(&parts, i64::MIN, i64::MAX, &mut target)?;
        columns.push(parts.column);
    }
    if times.is_empty() || times.len() > SAMPLES_MAX || !times.is_sorted_by(|a, b| a < b) {
        return Err(CodecError("chunks do not follow each other"));
    }
    let mut column = Vec::new();
    if !values::join(&columns, &mut column)? {
        let mut all = Vec::with_capacity(times.len());
        columns.iter().try_for_each(|column| values::decode(column, &mut all))?;
        values::encode(&all, &mut column);
    }
    if values::Column::parse(&column)?.len() != times.len() {
        return Err(CodecError("a chunk's columns differ in length"));
    }
    write(&times, &starts, &column, VERSION, out);
    Ok(())
}

/// Appends a chunk of native histograms, under the same conditions; the caller has asked [`histograms::fits`].
pub fn encode_histograms(times: &[i64], values: &[Arc<Histogram>], starts: &[i64], effort: Effort, out: &mut Vec<u8>) {
    assert_eq!(times.len(), values.len(), "a sample has a time and a value");
    let mut column = Vec::new();
    histograms::encode(values, effort, &mut column);
    write(times, starts, &column, VERSION | HISTOGRAMS, out);
}

/// `head` is the first byte, but for its bit of starts.
pub(super) fn write(times: &[i64], starts: &[i64], column: &[u8], head: u8, out: &mut Vec<u8>) {
    assert!(starts.is_empty() || starts.len() == times.len(), "a sample has a start time, if any has");
    let (Some(&min), Some(&max)) = (times.first(), times.last()) else {
        unreachable!("a chunk has at least one sample");
    };
    let started = starts.iter().any(|start| *start != 0);
    out.push(head | if started { STARTED } else { 0 });
    put_varint(out, times.len() as u64);
    put_signed(out, min);
    put_varint(out, max.wrapping_sub(min) as u64);
    let mut part = Vec::new();
    times::encode(times, &mut part);
    put_varint(out, part.len() as u64);
    out.extend_from_slice(&part);
    if started {
        part.clear();
        starts::encode(times, starts, &mut part);
        put_varint(out, part.len() as u64);
        out.extend_from_slice(&part);
    }
    out.extend_from_slice(column);
}

/// Where the samples of a decoded chunk go. What is there stays; `starts` is padded with zeros as needed.
#[derive(Debug)]
pub struct Target<'a> {
    pub times: &'a mut Vec<i64>,
    pub starts: &'a mut Vec<i64>,
}

pub(super) struct Parts<'a> {
    header: Header,
    /// 0 for floats, or one of the kinds.
    pub(super) kind: u8,
    pub(super) version: u8,
    times: &'a [u8],
    starts: Option<&'a [u8]>,
    pub(super) column: &'a [u8],
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parts<'_>, CodecError> {
    let mut reader = Reader::new(bytes);
    let (header, started) = read_header(&mut reader)?;
    let len = reader.count(bytes.len())?;
    let times = reader.take(len)?;
    let starts = if started {
        let len = reader.count(bytes.len())?;
        Some(reader.take(len)?)
    } else {
        None
    };
    let kind = bytes.first().map_or(0, |head| head & (HISTOGRAMS | ROLLUP));
    let version = bytes.first().map_or(0, |head| head & VERSION_MASK);
    Ok(Parts { header, kind, version, times, starts, column: reader.rest() })
}

fn read_header(reader: &mut Reader<'_>) -> Result<(Header, bool), CodecError> {
    let head = reader.u8()?;
    let known = if head & ROLLUP == 0 { VERSION..=VERSION } else { VERSION..=POINTS_VERSION };
    if !known.contains(&(head & VERSION_MASK)) {
        return Err(CodecError("a chunk has an unknown version"));
    }
    let count = reader.count(SAMPLES_MAX)?;
    let min_time = reader.signed()?;
    let max_time = min_time.checked_add_unsigned(reader.varint()?).ok_or(CodecError("times leave the calendar"))?;
    if count == 0 {
        return Err(CodecError("a chunk is empty"));
    }
    Ok((Header { count, min_time, max_time, histograms: head & HISTOGRAMS != 0 }, head & STARTED != 0))
}

/// Reads only the header.
pub fn header(bytes: &[u8]) -> Result<Header, CodecError> {
    read_header(&mut Reader::new(bytes)).map(|(header, _)| header)
}

/// How the values of a chunk are stored.
pub fn codec_name(bytes: &[u8]) -> Result<&'static str, CodecError> {
    let parts = parse(bytes)?;
    if parts.kind != 0 {
        return Ok(if parts.kind == HISTOGRAMS { "histograms" } else { rollup::NAME });
    }
    Ok(values::Column::parse(parts.column)?.codec_name())
}

/// Decodes times and starts inside the range; returns the place of the first in the chunk and how many they are.
pub(super) fn decode_times(
    parts: &Parts<'_>,
    mint: i64,
    maxt: i64,
    target: &mut Target<'_>,
) -> Result<(usize, usize), CodecError> {
    let before = target.times.len();
    let column = times::Column::parse(parts.times)?;
    if column.len() != parts.header.count {
        return Err(CodecError("a chunk's columns differ in length"));
    }
    let (from, count) = column.decode_between(mint, maxt, target.times)?;
    if parts.starts.is_some() || !target.starts.is_empty() {
        target.starts.resize(before, 0);
        match parts.starts {
            Some(bytes) => starts::decode_range(bytes, &column, from, count, target.starts)?,
            None => target.starts.resize(before + count, 0),
        }
    }
    Ok((from, count))
}

/// Appends start times that stand beside those of the chunk: for samples `from..from + count`.
pub(super) fn decode_starts(
    parts: &Parts<'_>,
    bytes: &[u8],
    (from, count): (usize, usize),
    out: &mut Vec<i64>,
) -> Result<(), CodecError> {
    starts::decode_range(bytes, &times::Column::parse(parts.times)?, from, count, out)
}

/// Appends the floats inside `mint..=maxt`; only the blocks that hold them are decoded. After an error the target holds
/// some of them: the caller truncates.
pub fn decode_floats(
    bytes: &[u8],
    mint: i64,
    maxt: i64,
    target: &mut Target<'_>,
    values: &mut Vec<f64>,
) -> Result<(), CodecError> {
    let parts = parse(bytes)?;
    if parts.kind != 0 {
        return Err(CodecError("a chunk does not hold floats"));
    }
    let (from, count) = decode_times(&parts, mint, maxt, target)?;
    let column = values::Column::parse(parts.column)?;
    if column.len() != parts.header.count {
        return Err(CodecError("a chunk's columns differ in length"));
    }
    column.decode_range(from, from + count, values)
}

/// Appends the histograms inside `mint..=maxt`, as [`decode_floats`] does floats.
pub fn decode_histograms(
    bytes: &[u8],
    mint: i64,
    maxt: i64,
    target: &mut Target<'_>,
    values: &mut Vec<Arc<Histogram>>,
) -> Result<(), CodecError> {
    let parts = parse(bytes)?;
    if parts.kind != HISTOGRAMS {
        return Err(CodecError("a chunk does not hold histograms"));
    }
    let (from, count) = decode_times(&parts, mint, maxt, target)?;
    if histograms::len(parts.column)? != parts.header.count {
        return Err(CodecError("a chunk's columns differ in length"));
    }
    histograms::decode_range(parts.column, from, from + count, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], mint: i64, maxt: i64) -> Result<Vec<(i64, u64, i64)>, CodecError> {
        let (mut times, mut starts, mut values) = (vec![], vec![], vec![]);
        let mut target = Target { times: &mut times, starts: &mut starts };
        decode_floats(bytes, mint, maxt, &mut target, &mut values)?;
        assert!(starts.is_empty() || starts.len() == times.len());
        starts.resize(times.len(), 0);
        Ok(times.into_iter().zip(values).zip(starts).map(|((t, v), s)| (t, v.to_bits(), s)).collect())
    }

    #[track_caller]
    fn check(times: &[i64], values: &[f64], starts: &[i64], at_most: usize) {
        let mut bytes = Vec::new();
        encode_floats(times, values, starts, Effort::Fast, &mut bytes);
        assert!(bytes.len() <= at_most, "{} bytes", bytes.len());
        let (first, last) = (times[0], times[times.len() - 1]);
        let expect = Header { count: times.len(), min_time: first, max_time: last, histograms: false };
        assert_eq!(header(&bytes), Ok(expect));
        for (mint, maxt) in
            [(i64::MIN, i64::MAX), (first + 300_000, last - 300_000), (last, last), (last + 1, i64::MAX)]
        {
            let start = |i: usize| starts.get(i).copied().unwrap_or(0);
            let all = (0..times.len()).map(|i| (times[i], values[i].to_bits(), start(i)));
            let expect: Vec<_> = all.filter(|s| (mint..=maxt).contains(&s.0)).collect();
            assert_eq!(read(&bytes, mint, maxt).unwrap(), expect);
        }
    }

    #[test]
    fn a_window_of_a_chunk_is_the_window_of_its_samples() {
        let times: Vec<i64> = (0..1500).filter(|i| i % 400 > 3).map(|i| 1_790_000_000_000 + i * 1000).collect();
        let values: Vec<f64> = (0..times.len()).map(|i| (i * (i % 7)) as f64 / 100.0).collect();
        check(&times, &values, &[], 2_900);
        let created = vec![1_780_000_000_000; times.len()];
        check(&times, &values, &created, 2_920);
        let delta: Vec<i64> = times.iter().map(|t| t - 1000).collect();
        check(&times, &values, &delta, 2_920);
        check(&[5], &[f64::NAN], &[0], 24);
    }

    #[test]
    fn starts_of_a_second_chunk_are_padded_for_the_first() {
        let (mut a, mut b) = (vec![], vec![]);
        encode_floats(&[1, 2], &[1.0, 2.0], &[], Effort::Fast, &mut a);
        encode_floats(&[3, 4], &[3.0, 4.0], &[0, 3], Effort::Fast, &mut b);
        let (mut times, mut starts, mut values) = (vec![], vec![], vec![]);
        for bytes in [&a, &b, &a] {
            let mut target = Target { times: &mut times, starts: &mut starts };
            decode_floats(bytes, i64::MIN, i64::MAX, &mut target, &mut values).unwrap();
        }
        assert_eq!(starts, [0, 0, 0, 3, 0, 0]);
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 1.0, 2.0]);
    }

    #[test]
    fn a_chunk_of_histograms_says_so() {
        let values: Vec<_> =
            (0..10).map(|i| Arc::new(Histogram { count: f64::from(i), ..Histogram::default() })).collect();
        let times: Vec<i64> = (0..10).map(|i| i * 1000).collect();
        let mut bytes = Vec::new();
        encode_histograms(&times, &values, &[7; 10], Effort::Fast, &mut bytes);
        assert!(header(&bytes).unwrap().histograms);
        let (mut times, mut starts, mut back) = (vec![], vec![], vec![]);
        let mut target = Target { times: &mut times, starts: &mut starts };
        assert!(decode_floats(&bytes, 0, 9_999, &mut target, &mut vec![]).is_err());
        decode_histograms(&bytes, 2_000, 4_500, &mut target, &mut back).unwrap();
        assert_eq!(times, [2_000, 3_000, 4_000]);
        assert_eq!(starts, [7; 3]);
        assert_eq!(back, values[2..5]);
    }

    #[test]
    fn damage_gives_an_error_or_other_samples_but_no_panic() {
        let rng = crate::base::rng::Rng::from_seed(11);
        let times: Vec<i64> = (0..600).map(|i| i * 1000).collect();
        let values: Vec<f64> = (0..600).map(|i| f64::from(i % 9)).collect();
        let starts: Vec<i64> = (0..600).map(|i| (i / 50) * 100).collect();
        let mut good = Vec::new();
        encode_floats(&times, &values, &starts, Effort::Fast, &mut good);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..=rng.below(2) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
            bytes.truncate(1 + rng.below(bytes.len() as u64 * 3) as usize);
            let _ = header(&bytes);
            let (mut times, mut starts, mut values) = (vec![], vec![], vec![]);
            let mut target = Target { times: &mut times, starts: &mut starts };
            let _ = decode_floats(&bytes, 100_000, 400_000, &mut target, &mut values);
        }
    }
}
