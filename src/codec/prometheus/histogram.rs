//! Histogram chunks: one layout for the chunk, then columns of counts (delta of delta, or XOR for float histograms).

use std::sync::Arc;

use super::Encoding;
use super::bits::{BitReader, BitWriter, ChunkError, XorColumn};
use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span};
use crate::model::sample::{STALE_NAN, is_stale};

/// More buckets than any real histogram has; keeps a damaged count from costing memory.
const BUCKETS_MAX: u64 = 1 << 16;

/// Appends the histograms of a chunk with their times.
pub fn decode(encoding: Encoding, chunk: &[u8], out: &mut Vec<(i64, Arc<Histogram>)>) -> Result<(), ChunkError> {
    let (head, body) = chunk.split_at_checked(3).ok_or(ChunkError::Truncated)?;
    let count = u16::from_be_bytes([head[0], head[1]]);
    if count == 0 {
        return Ok(());
    }
    let mut bits = BitReader::new(body);
    let layout = Layout::read(&mut bits)?;
    let first_hint = hint(head[2]);
    let mut counts = match encoding {
        Encoding::Histogram => Counts::Integer(IntegerColumns::default()),
        Encoding::FloatHistogram => Counts::Float(Vec::new()),
        Encoding::Xor => return Err(ChunkError::UnknownEncoding(Encoding::Xor as u8)),
    };
    let mut sum = XorColumn::starting_with(0.0);
    let (mut time, mut delta) = (0_i64, 0_i64);
    let mut row = vec![0.0; layout.columns()];
    for index in 0..count {
        if index == 0 {
            time = bits.varbit_int()?;
            counts.read_first(&mut bits, &layout, &mut sum, &mut row)?;
        } else {
            delta = delta.wrapping_add(bits.varbit_int()?);
            time = time.wrapping_add(delta);
            counts.read_next(&mut bits, &layout, &mut sum, &mut row)?;
        }
        let hint = match (index, first_hint) {
            (0, hint) | (_, hint @ ResetHint::Gauge) => hint,
            _ => ResetHint::NotReset,
        };
        out.push((time, Arc::new(layout.histogram(&row, sum.value, hint))));
    }
    Ok(())
}

/// What the two highest bits of the flags say about the first histogram.
fn hint(flags: u8) -> ResetHint {
    match flags >> 6 {
        0b10 => ResetHint::Reset,
        0b01 => ResetHint::NotReset,
        0b11 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

/// What all histograms of a chunk share.
struct Layout {
    schema: i8,
    zero_threshold: f64,
    positive: Vec<Span>,
    negative: Vec<Span>,
    positive_len: usize,
    negative_len: usize,
    custom_values: Arc<[f64]>,
}

impl Layout {
    fn read(bits: &mut BitReader<'_>) -> Result<Self, ChunkError> {
        let zero_threshold = match bits.bits(8)? {
            0 => 0.0,
            255 => bits.float()?,
            byte => 0.5 * 2_f64.powi(byte as i32 - 243),
        };
        let schema = bits.varbit_int()?;
        let schema = i8::try_from(schema)
            .ok()
            .filter(|schema| (-4..=8).contains(schema) || *schema == CUSTOM_BUCKETS_SCHEMA)
            .ok_or(ChunkError::UnknownSchema(schema))?;
        let (positive, positive_len) = read_spans(bits)?;
        let (negative, negative_len) = read_spans(bits)?;
        let custom_values = if schema == CUSTOM_BUCKETS_SCHEMA { read_bounds(bits)? } else { Arc::from([]) };
        Ok(Self { schema, zero_threshold, positive, negative, positive_len, negative_len, custom_values })
    }

    /// Columns of counts: count, zero count, positive and negative buckets.
    fn columns(&self) -> usize {
        2 + self.positive_len + self.negative_len
    }

    fn histogram(&self, row: &[f64], sum: f64, reset_hint: ResetHint) -> Histogram {
        if is_stale(sum) {
            return Histogram { sum: STALE_NAN, ..Histogram::default() };
        }
        let (totals, buckets) = row.split_at(2);
        let (positive, negative) = buckets.split_at(self.positive_len);
        Histogram {
            reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            count: totals[0],
            zero_count: totals[1],
            sum,
            positive_spans: self.positive.clone(),
            positive_buckets: positive.to_vec(),
            negative_spans: self.negative.clone(),
            negative_buckets: negative.to_vec(),
            custom_values: Arc::clone(&self.custom_values),
        }
    }
}

fn read_spans(bits: &mut BitReader<'_>) -> Result<(Vec<Span>, usize), ChunkError> {
    let mut spans = Vec::new();
    let mut buckets = 0_u64;
    for _ in 0..bits.varbit_uint()? {
        let length = bits.varbit_uint()?;
        let offset = i32::try_from(bits.varbit_int()?).map_err(|_| ChunkError::Malformed)?;
        buckets = buckets.saturating_add(length);
        if buckets > BUCKETS_MAX || spans.len() as u64 > BUCKETS_MAX {
            return Err(ChunkError::Malformed);
        }
        spans.push(Span { offset, length: length as u32 });
    }
    Ok((spans, buckets as usize))
}

fn read_bounds(bits: &mut BitReader<'_>) -> Result<Arc<[f64]>, ChunkError> {
    let count = bits.varbit_uint()?;
    if count > BUCKETS_MAX {
        return Err(ChunkError::Malformed);
    }
    (0..count)
        .map(|_| match bits.varbit_uint()? {
            0 => bits.float(),
            thousandths => Ok((thousandths - 1) as f64 / 1000.0),
        })
        .collect()
}

/// Counts of integer histograms: the value and its last delta for each column.
#[derive(Default)]
struct IntegerColumns {
    values: Vec<i64>,
    deltas: Vec<i64>,
}

enum Counts {
    Integer(IntegerColumns),
    Float(Vec<XorColumn>),
}

impl Counts {
    fn read_first(
        &mut self,
        bits: &mut BitReader<'_>,
        layout: &Layout,
        sum: &mut XorColumn,
        row: &mut [f64],
    ) -> Result<(), ChunkError> {
        for index in 0..row.len() {
            match self {
                Self::Integer(columns) => {
                    let value = if index < 2 { bits.varbit_uint()? as i64 } else { bits.varbit_int()? };
                    columns.values.push(value);
                    columns.deltas.push(0);
                }
                Self::Float(columns) => columns.push(XorColumn::starting_with(bits.float()?)),
            }
            if index == 1 {
                *sum = XorColumn::starting_with(bits.float()?);
            }
        }
        self.fill(layout, row);
        Ok(())
    }

    fn read_next(
        &mut self,
        bits: &mut BitReader<'_>,
        layout: &Layout,
        sum: &mut XorColumn,
        row: &mut [f64],
    ) -> Result<(), ChunkError> {
        for index in 0..row.len() {
            match self {
                Self::Integer(columns) => {
                    let delta = columns.deltas[index].wrapping_add(bits.varbit_int()?);
                    columns.deltas[index] = delta;
                    columns.values[index] = columns.values[index].wrapping_add(delta);
                }
                Self::Float(columns) => {
                    columns[index].read(bits)?;
                }
            }
            // A staleness marker has no buckets behind its sum.
            if index == 1 && is_stale(sum.read(bits)?) {
                return Ok(());
            }
        }
        self.fill(layout, row);
        Ok(())
    }

    /// Turns columns into absolute counts; buckets of integer histograms are stored as differences to their neighbour.
    fn fill(&self, layout: &Layout, row: &mut [f64]) {
        match self {
            Self::Float(columns) => {
                for (cell, column) in row.iter_mut().zip(columns) {
                    *cell = column.value;
                }
            }
            Self::Integer(columns) => {
                let mut running = 0_i64;
                for (index, (cell, &value)) in row.iter_mut().zip(&columns.values).enumerate() {
                    if index < 2 {
                        *cell = value as u64 as f64;
                        continue;
                    }
                    if index == 2 + layout.positive_len {
                        running = 0;
                    }
                    running = running.wrapping_add(value);
                    *cell = running as f64;
                }
            }
        }
    }
}

/// Encodes histograms, ascending in time, as float-histogram chunks: a new one where the layout or the hint changes.
/// A staleness marker has no layout of its own and stays in the chunk before it.
pub fn encode(samples: &[(i64, Arc<Histogram>)]) -> Vec<EncodedChunk> {
    let mut chunks = Vec::new();
    let mut rest = samples;
    while let Some((_, first)) = rest.first() {
        let fits = |(_, next): &(i64, Arc<Histogram>)| {
            is_stale(next.sum) || (next.reset_hint != ResetHint::Reset && has_layout_of(next, first))
        };
        let more = rest.iter().skip(1).take(usize::from(u16::MAX) - 1).take_while(|next| fits(next)).count();
        let (run, after) = rest.split_at(1 + more);
        chunks.push(encode_run(run, first));
        rest = after;
    }
    chunks
}

/// A chunk and the times of its first and last sample.
#[derive(Clone, Debug)]
pub struct EncodedChunk {
    pub mint: i64,
    pub maxt: i64,
    pub data: Vec<u8>,
}

fn has_layout_of(histogram: &Histogram, first: &Histogram) -> bool {
    histogram.schema == first.schema
        && histogram.zero_threshold.to_bits() == first.zero_threshold.to_bits()
        && histogram.positive_spans == first.positive_spans
        && histogram.negative_spans == first.negative_spans
        && histogram.custom_values == first.custom_values
        && (histogram.reset_hint == ResetHint::Gauge) == (first.reset_hint == ResetHint::Gauge)
}

fn encode_run(run: &[(i64, Arc<Histogram>)], first: &Histogram) -> EncodedChunk {
    let flags = match first.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::NotReset => 0b0100_0000,
        ResetHint::Reset => 0b1000_0000,
        ResetHint::Gauge => 0b1100_0000,
    };
    let [high, low] = (run.len() as u16).to_be_bytes();
    let mut bits = BitWriter::after(vec![high, low, flags]);
    write_layout(first, &mut bits);
    let mut columns: Vec<XorColumn> = Vec::new();
    let mut sum = XorColumn::starting_with(first.sum);
    let (mut time, mut delta) = (0_i64, 0_i64);
    for (index, (at, histogram)) in run.iter().enumerate() {
        let row = [histogram.count, histogram.zero_count].into_iter();
        let row =
            row.chain(histogram.positive_buckets.iter().copied()).chain(histogram.negative_buckets.iter().copied());
        if index == 0 {
            bits.varbit_int(*at);
            for (place, value) in row.enumerate() {
                columns.push(XorColumn::starting_with(value));
                bits.bits(value.to_bits(), 64);
                if place == 1 {
                    bits.bits(first.sum.to_bits(), 64);
                }
            }
        } else {
            let step = at.wrapping_sub(time);
            bits.varbit_int(step.wrapping_sub(delta));
            delta = step;
            for (place, (value, column)) in row.zip(&mut columns).enumerate() {
                // A staleness marker repeats the counts and ends behind its sum.
                if is_stale(histogram.sum) && place < 2 {
                    bits.bit(false);
                } else {
                    column.write(value, &mut bits);
                }
                if place == 1 {
                    sum.write(histogram.sum, &mut bits);
                    if is_stale(histogram.sum) {
                        break;
                    }
                }
            }
        }
        time = *at;
    }
    EncodedChunk { mint: run[0].0, maxt: time, data: bits.bytes }
}

fn write_layout(histogram: &Histogram, bits: &mut BitWriter) {
    let threshold = histogram.zero_threshold;
    let exponent = (threshold.to_bits() >> 52) as i64 - 1022;
    let is_power_of_two = threshold > 0.0 && threshold.to_bits() & ((1 << 52) - 1) == 0;
    if threshold == 0.0 {
        bits.bits(0, 8);
    } else if is_power_of_two && (-242..=11).contains(&exponent) {
        bits.bits((exponent + 243) as u64, 8);
    } else {
        bits.bits(255, 8);
        bits.bits(threshold.to_bits(), 64);
    }
    bits.varbit_int(i64::from(histogram.schema));
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        bits.varbit_uint(spans.len() as u64);
        for span in spans {
            bits.varbit_uint(u64::from(span.length));
            bits.varbit_int(i64::from(span.offset));
        }
    }
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        bits.varbit_uint(histogram.custom_values.len() as u64);
        for &bound in histogram.custom_values.iter() {
            let thousandths = (bound * 1000.0).round();
            if (0.0..=33_554_430.0).contains(&(bound * 1000.0)) && thousandths / 1000.0 == bound {
                bits.varbit_uint(thousandths as u64 + 1);
            } else {
                bits.bit(false);
                bits.bits(bound.to_bits(), 64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two integer histograms, written by hand after docs/format/chunks.md.
    #[test]
    fn integer_histograms_are_read() {
        let mut bits = BitWriter::after(vec![0, 2, 0b1000_0000]);
        bits.bits(116, 8); // Zero threshold 2^-128.
        bits.varbit_int(1); // Schema.
        bits.varbit_uint(1);
        bits.varbit_uint(2);
        bits.varbit_int(-1); // Two positive buckets from index -1.
        bits.varbit_uint(0);
        bits.varbit_int(1_000);
        bits.varbit_uint(5);
        bits.varbit_uint(1);
        bits.bits(2.5_f64.to_bits(), 64);
        bits.varbit_int(3);
        bits.varbit_int(-2); // 3, then 1.
        bits.varbit_int(500); // Time + 500.
        bits.varbit_int(2);
        bits.varbit_int(0);
        bits.bit(false); // The same sum.
        bits.varbit_int(1);
        bits.varbit_int(0); // 4, then 2.
        let mut out = Vec::new();
        decode(Encoding::Histogram, &bits.bytes, &mut out).unwrap();
        let seen: Vec<_> =
            out.iter().map(|(t, h)| (*t, h.count, h.sum, h.positive_buckets.clone(), h.reset_hint)).collect();
        assert_eq!(
            seen,
            [
                (1_000, 5.0, 2.5, vec![3.0, 1.0], ResetHint::Reset),
                (1_500, 7.0, 2.5, vec![4.0, 2.0], ResetHint::NotReset)
            ]
        );
        assert_eq!(out[0].1.zero_threshold, 2_f64.powi(-128));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let at = |n: f64| Histogram {
            schema: 2,
            zero_threshold: 0.001,
            count: 10.0 * n,
            zero_count: n,
            sum: 1.5 * n,
            positive_spans: vec![Span { offset: -3, length: 2 }],
            positive_buckets: vec![4.0 * n, 3.0],
            negative_spans: vec![Span { offset: 0, length: 1 }],
            negative_buckets: vec![2.0],
            ..Histogram::default()
        };
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: Arc::from([0.5, 1e9, -2.0]),
            reset_hint: ResetHint::NotReset,
            ..Histogram::default()
        };
        let stale = Histogram { sum: STALE_NAN, ..Histogram::default() };
        let samples: Vec<_> = [at(1.0), at(2.0), stale, at(3.0), custom]
            .into_iter()
            .zip([1_000, 2_000, 3_000, 4_007, 5_000])
            .map(|(histogram, time)| (time, Arc::new(histogram)))
            .collect();
        let chunks = encode(&samples);
        assert_eq!(chunks.iter().map(|c| (c.mint, c.maxt)).collect::<Vec<_>>(), [(1_000, 4_007), (5_000, 5_000)]);
        let mut out = Vec::new();
        for chunk in &chunks {
            decode(Encoding::FloatHistogram, &chunk.data, &mut out).unwrap();
        }
        assert_eq!(out.len(), samples.len());
        for ((time, decoded), (expected_time, expected)) in out.iter().zip(&samples) {
            let hint = decoded.reset_hint;
            let decoded = Histogram { reset_hint: expected.reset_hint, ..Histogram::clone(decoded) };
            assert_eq!((time, format!("{decoded:?}")), (expected_time, format!("{expected:?}")), "{hint:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), float in any::<bool>()) {
            let encoding = if float { Encoding::FloatHistogram } else { Encoding::Histogram };
            let _ = decode(encoding, &bytes, &mut Vec::new());
        }
    }
}
