//! Columns of doubles. What senders print as short decimals becomes integers over a power of ten; other doubles go by a
//! dictionary where they repeat, by their ordered bits where they do not, and raw where nothing helps.
//!
//! Blocks of 256 decode alone, so a window costs only the blocks that it touches. Values that do not fit the column's
//! power of ten (NaN, stale markers, infinities, negative zero, odd ones) stand beside their block bit for bit.

use crate::codec::bytes::{Reader, put_signed, put_varint, varint_len};
use crate::codec::ints::Plan;
use crate::codec::{BLOCK, CodecError, Effort, SAMPLES_MAX, decimal, ints};

/// One value, as its bits.
const CONSTANT_BITS: u8 = 0;
/// One value, as exponent and integer.
const CONSTANT_DECIMAL: u8 = 1;
/// Eight bytes each.
const RAW: u8 = 2;
/// Blocks of integers over a power of ten, with exceptions.
const DECIMAL: u8 = 3;
/// Blocks of ordered bits.
const BITS: u8 = 4;
/// Sorted distinct values, then blocks of places in them.
const DICTIONARY: u8 = 5;

/// Appends a column at [`Effort::Fast`].
pub fn encode(values: &[f64], out: &mut Vec<u8>) {
    encode_with(values, Effort::Fast, out);
}

/// Appends a column. At most [`SAMPLES_MAX`] values: more are a bug of the caller.
pub fn encode_with(values: &[f64], _effort: Effort, out: &mut Vec<u8>) {
    assert!(values.len() <= SAMPLES_MAX, "a column has at most {SAMPLES_MAX} samples");
    put_varint(out, values.len() as u64);
    let Some(&first) = values.first() else { return };
    if values.iter().all(|v| v.to_bits() == first.to_bits()) {
        return encode_constant(first, out);
    }
    let start = out.len();
    if !encode_decimal(values, out) && !encode_dictionary(values, out) {
        encode_bits(values, out);
    }
    if out.len() - start > values.len() * 8 {
        out.truncate(start);
        out.push(RAW);
        out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
}

fn encode_constant(value: f64, out: &mut Vec<u8>) {
    let exponent = (0..=decimal::EXPONENT_MAX).find(|&e| decimal::is_exact(value, e));
    if let Some(e) = exponent {
        let mut integer = [0];
        decimal::to_integers(&[value], e, &mut integer);
        out.push(CONSTANT_DECIMAL);
        out.push(e);
        put_signed(out, integer[0]);
    } else {
        out.push(CONSTANT_BITS);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Tries integers over a power of ten; leaves `out` as it was where too many values are none.
fn encode_decimal(values: &[f64], out: &mut Vec<u8>) -> bool {
    let Some(probed) = decimal::probe(values) else { return false };
    let start = out.len();
    // The probes may have missed the one value in a thousand with a digit more: then the next exponents are tried.
    for exponent in probed..=decimal::EXPONENT_MAX {
        out.push(DECIMAL);
        out.push(exponent);
        if decimal_blocks(values, exponent, out) {
            return true;
        }
        out.truncate(start);
    }
    false
}

fn decimal_blocks(values: &[f64], exponent: u8, out: &mut Vec<u8>) -> bool {
    let allowed = values.len() / 50 + 1;
    let mut missed = 0;
    let mut blocks = Blocks::new(values.len());
    for block in values.chunks(BLOCK) {
        let mut integers = [0i64; BLOCK];
        let integers = &mut integers[..block.len()];
        let misses = decimal::to_integers(block, exponent, integers);
        missed += misses;
        if missed > allowed || misses == BLOCK {
            return false;
        }
        blocks.bytes.push(misses as u8);
        if misses > 0 {
            except(block, exponent, integers, &mut blocks.bytes);
        }
        blocks.add(&Plan::new(integers));
    }
    blocks.write(out);
    true
}

/// Writes positions and bits of the values that are not exact, and puts a neighbour's integer in their slots.
fn except(values: &[f64], exponent: u8, integers: &mut [i64], out: &mut Vec<u8>) {
    let exact = |value: &f64| decimal::is_exact(*value, exponent);
    let mut last = values.iter().position(exact).map_or(0, |at| integers[at]);
    for (i, value) in values.iter().enumerate() {
        if exact(value) {
            last = integers[i];
        } else {
            integers[i] = last;
            out.push(i as u8);
        }
    }
    out.extend(values.iter().filter(|value| !exact(value)).flat_map(|value| value.to_le_bytes()));
}

/// Tries a dictionary; only where at most a quarter of the values are distinct.
fn encode_dictionary(values: &[f64], out: &mut Vec<u8>) -> bool {
    const PROBES: usize = 64;
    if values.len() < 16 {
        return false;
    }
    let mut probes: Vec<i64> =
        values.iter().step_by((values.len() / PROBES).max(1)).map(|v| decimal::ordered(*v)).collect();
    let probed = probes.len();
    probes.sort_unstable();
    probes.dedup();
    if probes.len() * 2 > probed {
        return false;
    }
    let mut distinct: Vec<i64> = values.iter().map(|v| decimal::ordered(*v)).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() * 4 > values.len() {
        return false;
    }
    out.push(DICTIONARY);
    put_varint(out, distinct.len() as u64);
    let mut words = Blocks::new(distinct.len());
    for block in distinct.chunks(BLOCK) {
        words.add(&Plan::new(block));
    }
    let mut bytes = Vec::new();
    words.write(&mut bytes);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
    let mut codes = Blocks::new(values.len());
    for block in values.chunks(BLOCK) {
        let mut integers = [0i64; BLOCK];
        for (slot, value) in integers.iter_mut().zip(block) {
            *slot = distinct.partition_point(|d| *d < decimal::ordered(*value)) as i64;
        }
        codes.add(&Plan::new(&integers[..block.len()]));
    }
    codes.write(out);
    true
}

fn encode_bits(values: &[f64], out: &mut Vec<u8>) {
    out.push(BITS);
    let mut blocks = Blocks::new(values.len());
    for block in values.chunks(BLOCK) {
        let mut integers = [0i64; BLOCK];
        for (slot, value) in integers.iter_mut().zip(block) {
            *slot = decimal::ordered(*value);
        }
        blocks.add(&Plan::new(&integers[..block.len()]));
    }
    blocks.write(out);
}

/// Blocks in the making: an origin, the lengths of all, then the blocks.
struct Blocks {
    origin: Option<i64>,
    lens: Vec<usize>,
    bytes: Vec<u8>,
    written: usize,
}

impl Blocks {
    fn new(samples: usize) -> Self {
        Self { origin: None, lens: Vec::with_capacity(samples.div_ceil(BLOCK)), bytes: Vec::new(), written: 0 }
    }

    /// Closes a block whose own head is already in `bytes`.
    fn add(&mut self, plan: &Plan) {
        let origin = *self.origin.get_or_insert(plan.first());
        plan.write(origin, &mut self.bytes);
        self.lens.push(self.bytes.len() - self.written);
        self.written = self.bytes.len();
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_signed(out, self.origin.unwrap_or(0));
        // The last block ends with the column.
        for &len in self.lens.iter().rev().skip(1).rev() {
            put_varint(out, len as u64);
        }
        out.extend_from_slice(&self.bytes);
    }
}

/// A column that has been looked at, not yet decoded.
#[derive(Clone, Debug)]
pub struct Column<'a> {
    len: usize,
    body: Body<'a>,
}

#[derive(Clone, Debug)]
enum Body<'a> {
    Constant(f64),
    Raw(&'a [u8]),
    Decimal { exponent: u8, blocks: Reader<'a> },
    Bits(Reader<'a>),
    Dictionary { words: Vec<f64>, codes: Reader<'a> },
}

impl<'a> Column<'a> {
    /// Reads the head of a column, which must be all of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let len = reader.count(SAMPLES_MAX)?;
        if len == 0 {
            return Ok(Self { len, body: Body::Raw(&[]) });
        }
        let body = match reader.u8()? {
            CONSTANT_BITS => Body::Constant(reader.f64()?),
            CONSTANT_DECIMAL => {
                let exponent = exponent(&mut reader)?;
                let mut value = [0.0];
                decimal::from_integers(&[reader.signed()?], exponent, &mut value);
                Body::Constant(value[0])
            }
            RAW => Body::Raw(reader.take(len * 8)?),
            DECIMAL => Body::Decimal { exponent: exponent(&mut reader)?, blocks: reader },
            BITS => Body::Bits(reader),
            DICTIONARY => {
                let count = reader.count(len)?;
                let size = reader.count(bytes.len())?;
                let mut words = Vec::with_capacity(count);
                let blocks = Reader::new(reader.take(size)?);
                Self { len: count, body: Body::Bits(blocks) }.decode_range(0, count, &mut words)?;
                Body::Dictionary { words, codes: reader }
            }
            _ => return Err(CodecError("a value column has an unknown kind")),
        };
        Ok(Self { len, body })
    }

    /// How many samples it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends samples `from..to` (cut at the end of the column) to `out`. On an error `out` holds some of them.
    pub fn decode_range(&self, from: usize, to: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
        let to = to.min(self.len);
        if from >= to {
            return Ok(());
        }
        out.reserve(to - from);
        let mut decoded = [0.0; BLOCK];
        match &self.body {
            Body::Constant(value) => out.resize(out.len() + to - from, *value),
            Body::Raw(bytes) => {
                let bytes = bytes.get(from * 8..to * 8).ok_or(CodecError("raw values end too early"))?;
                out.extend(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)));
            }
            Body::Decimal { exponent, blocks } => self.each(*blocks, from, to, |reader, origin, (cut, count)| {
                decode_decimal(reader, *exponent, origin, count, &mut decoded)?;
                append(out, &decoded, cut)
            })?,
            Body::Bits(blocks) => self.each(*blocks, from, to, |reader, origin, (cut, count)| {
                let mut integers = [0; BLOCK];
                ints::decode(reader, count, origin, &mut integers)?;
                for (value, &integer) in decoded.iter_mut().zip(&integers) {
                    *value = decimal::unordered(integer);
                }
                append(out, &decoded, cut)
            })?,
            Body::Dictionary { words, codes } => self.each(*codes, from, to, |reader, origin, (cut, count)| {
                let mut integers = [0; BLOCK];
                ints::decode(reader, count, origin, &mut integers)?;
                for (value, &code) in decoded.iter_mut().zip(integers.get(..count).unwrap_or_default()) {
                    let word = usize::try_from(code).ok().and_then(|code| words.get(code));
                    *value = *word.ok_or(CodecError("a word is not in the dictionary"))?;
                }
                append(out, &decoded, cut)
            })?,
        }
        Ok(())
    }

    /// Calls `visit` with a reader at each block that touches `from..to`, the origin, the part of the block that is
    /// asked for, and the samples in it.
    fn each(
        &self,
        mut reader: Reader<'a>,
        from: usize,
        to: usize,
        mut visit: impl FnMut(&mut Reader<'a>, i64, (Cut, usize)) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let origin = reader.signed()?;
        let blocks = self.len.div_ceil(BLOCK);
        let mut lens = reader;
        for _ in 1..blocks {
            reader.varint()?;
        }
        for k in 0..to.div_ceil(BLOCK) {
            let start = k * BLOCK;
            let count = (self.len - start).min(BLOCK);
            let mut block = match k + 1 < blocks {
                true => Reader::new(reader.take(lens.count(usize::MAX)?)?),
                false => reader,
            };
            if start + count > from {
                let cut = Cut { from: from.saturating_sub(start), to: (to - start).min(count) };
                visit(&mut block, origin, (cut, count))?;
            }
        }
        Ok(())
    }
}

/// A part of a block.
#[derive(Clone, Copy)]
struct Cut {
    from: usize,
    to: usize,
}

fn append(out: &mut Vec<f64>, block: &[f64; BLOCK], cut: Cut) -> Result<(), CodecError> {
    out.extend_from_slice(block.get(cut.from..cut.to).ok_or(CodecError("a block is too long"))?);
    Ok(())
}

fn exponent(reader: &mut Reader<'_>) -> Result<u8, CodecError> {
    let exponent = reader.u8()?;
    if exponent > decimal::EXPONENT_MAX { Err(CodecError("a power of ten is too large")) } else { Ok(exponent) }
}

fn decode_decimal(
    reader: &mut Reader<'_>,
    exponent: u8,
    origin: i64,
    count: usize,
    out: &mut [f64; BLOCK],
) -> Result<(), CodecError> {
    let misses = usize::from(reader.u8()?);
    let positions = reader.take(misses)?;
    let bits = reader.take(misses * 8)?;
    let mut integers = [0; BLOCK];
    ints::decode(reader, count, origin, &mut integers)?;
    decimal::from_integers(&integers, exponent, out);
    for (&position, bits) in positions.iter().zip(bits.as_chunks::<8>().0) {
        if let Some(slot) = out.get_mut(usize::from(position)) {
            *slot = f64::from_le_bytes(*bits);
        }
    }
    Ok(())
}

/// Appends all values of a column, which must be all of `bytes`.
pub fn decode(bytes: &[u8], out: &mut Vec<f64>) -> Result<(), CodecError> {
    let column = Column::parse(bytes)?;
    column.decode_range(0, column.len(), out)
}

/// Bytes that [`encode`] would append, without keeping them.
pub fn estimate(values: &[f64]) -> usize {
    let mut out = Vec::new();
    encode(values, &mut out);
    out.len().max(varint_len(values.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::model::sample::STALE_NAN;

    #[track_caller]
    fn check(values: &[f64], at_most: usize) {
        let mut bytes = Vec::new();
        encode(values, &mut bytes);
        assert!(bytes.len() <= at_most, "{} bytes for {} values", bytes.len(), values.len());
        assert_eq!(bytes.len(), estimate(values));
        let same =
            |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        let mut back = vec![1.0];
        decode(&bytes, &mut back).unwrap();
        assert!(same(&back[1..], values));
        let column = Column::parse(&bytes).unwrap();
        let n = values.len();
        for (from, to) in [(0, 1), (n / 3, n / 2), (n.saturating_sub(60), n), (255, 257), (256, 512), (n, n + 5)] {
            let mut part = Vec::new();
            column.decode_range(from, to, &mut part).unwrap();
            assert!(same(&part, values.get(from.min(n)..to.min(n).max(from.min(n))).unwrap()), "{from}..{to}");
        }
    }

    #[test]
    fn constants_take_a_few_bytes() {
        check(&[], 1);
        check(&[1.0; 7200], 5);
        check(&[0.25; 3], 5);
        check(&[8_589_934_592.0; 60_000], 11);
        check(&[STALE_NAN; 300], 11);
        check(&[-0.0; 300], 11);
    }

    #[test]
    fn printed_decimals_take_bits() {
        check(&(0..3600).map(|i| f64::from(i % 4) / 100.0).collect::<Vec<_>>(), 1_100);
        check(&(0..3600).map(|i| 1e6 + f64::from(i * 50) / 100.0).collect::<Vec<_>>(), 200);
        let mut cpu: Vec<f64> = (0..300).map(|i| f64::from(i) / 100.0).collect();
        cpu[40] = f64::NAN;
        cpu[299] = STALE_NAN;
        check(&cpu, 90);
        cpu.truncate(257);
        cpu[256] = STALE_NAN;
        check(&cpu, 90);
    }

    #[test]
    fn repeated_odd_values_go_by_a_dictionary_and_noise_stays_raw() {
        let thirds: Vec<f64> = (0..2000).map(|i| f64::from(i * i % 7) / 3.0).collect();
        check(&thirds, 900);
        let rng = Rng::from_seed(5);
        let noise: Vec<f64> = (0..1000).map(|_| f64::from_bits(rng.next_u64())).collect();
        check(&noise, 8_010);
        check(&(0..1000).map(|i| f64::from(i).sqrt()).collect::<Vec<_>>(), 7_000);
    }

    #[test]
    fn every_mixture_comes_back_to_the_bit() {
        let rng = Rng::from_seed(6);
        let odd = [f64::NAN, STALE_NAN, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX, 0.1 + 0.2];
        for round in 0..400 {
            let n = [1, 2, 3, 60, 120, 255, 256, 257, 512, 1000][rng.below(10) as usize];
            let (scale, rarity) = ([1.0, 10.0, 100.0, 1000.0, 1e9][rng.below(5) as usize], 1 + rng.below(100));
            let mut x = 0i64;
            let values: Vec<f64> = (0..n)
                .map(|_| match round % 4 {
                    _ if rng.below(rarity) == 0 => odd[rng.below(8) as usize],
                    0 => f64::from_bits(rng.next_u64()),
                    1 => rng.below(5) as f64 / 3.0,
                    _ => {
                        x += rng.below(300) as i64 - 100;
                        x as f64 / scale
                    }
                })
                .collect();
            check(&values, n * 8 + 8);
        }
    }

    #[test]
    fn damage_gives_an_error_or_other_values_but_no_panic() {
        let rng = Rng::from_seed(7);
        let columns: [Vec<f64>; 4] = [
            (0..700).map(|i| if i == 9 { f64::NAN } else { f64::from(i % 50) / 10.0 }).collect(),
            (0..700).map(|i| f64::from(i % 7) / 3.0).collect(),
            (0..300).map(|i| f64::from(i).sqrt()).collect(),
            vec![4.0; 700],
        ];
        for values in columns {
            let mut good = Vec::new();
            encode(&values, &mut good);
            for _ in 0..5_000 {
                let mut bytes = good.clone();
                for _ in 0..=rng.below(3) {
                    let at = rng.below(bytes.len().min(40) as u64) as usize;
                    bytes[at] = rng.next_u64() as u8;
                }
                bytes.truncate(rng.below(bytes.len() as u64 * 4) as usize + 1);
                let mut out = Vec::new();
                let _ = decode(&bytes, &mut out);
                assert!(out.capacity() <= SAMPLES_MAX * 2);
            }
        }
    }
}
