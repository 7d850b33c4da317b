//! Columns of doubles. What senders print as short decimals becomes integers over a power of ten; other doubles go by a
//! dictionary where they repeat, by their ordered bits where they do not, and raw where nothing helps.
//!
//! Blocks of 256 decode alone, so a window costs only the blocks that it touches. Values that do not fit the column's
//! power of ten (NaN, stale markers, infinities, negative zero, odd ones) stand beside their block bit for bit.

mod encode;
mod join;
#[cfg(test)]
mod tests;

pub use encode::{encode, encode_with, estimate};
pub use join::join;

use crate::codec::bytes::Reader;
use crate::codec::unpacker::Unpacker;
use crate::codec::{BLOCK, CodecError, SAMPLES_MAX, decimal, pco};

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
/// Integers over a power of ten through the entropy coder, with exceptions.
const PACKED_DECIMAL: u8 = 6;
/// Doubles through the entropy coder.
const PACKED_FLOAT: u8 = 7;

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
    Packed { exponent: Option<u8>, reader: Reader<'a> },
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
            PACKED_DECIMAL => Body::Packed { exponent: Some(exponent(&mut reader)?), reader },
            PACKED_FLOAT => Body::Packed { exponent: None, reader },
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

    /// The name of its form.
    pub fn codec_name(&self) -> &'static str {
        match self.body {
            Body::Constant(_) => "constant",
            Body::Raw(_) => "raw",
            Body::Decimal { .. } => "decimal blocks",
            Body::Bits(_) => "bit blocks",
            Body::Dictionary { .. } => "dictionary",
            Body::Packed { exponent: Some(_), .. } => "packed decimals",
            Body::Packed { exponent: None, .. } => "packed doubles",
        }
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
        match &self.body {
            Body::Constant(value) => out.resize(out.len() + to - from, *value),
            Body::Raw(bytes) => {
                let bytes = bytes.get(from * 8..to * 8).ok_or(CodecError("raw values end too early"))?;
                out.extend(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)));
            }
            Body::Packed { exponent: None, reader } => {
                let all = pco::decode::<f64>(reader.rest(), self.len)?;
                out.extend_from_slice(all.get(from..to).unwrap_or_default());
            }
            Body::Packed { exponent: Some(exponent), reader } => {
                let all = decode_packed(*reader, *exponent, self.len)?;
                out.extend_from_slice(all.get(from..to).unwrap_or_default());
            }
            Body::Decimal { .. } | Body::Bits(_) | Body::Dictionary { .. } => decode_blocks(self, (from, to), out)?,
        }
        Ok(())
    }

    /// Calls `visit` with a reader at each block that touches `from..to`, the origin, the part of the block that is
    /// asked for, and the samples in it.
    #[inline(always)]
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

/// Appends samples `from..to` of a column that is made of blocks. Compiled twice: with the wide registers of a newer
/// processor, blocks take half the time.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn decode_blocks<'a>(column: &Column<'a>, range: (usize, usize), out: &mut Vec<f64>) -> Result<(), CodecError> {
    let (from, to) = range;
    let mut unpacker = Unpacker::default();
    let mut decoded = [0.0; BLOCK];
    match &column.body {
        Body::Decimal { exponent, blocks } => column.each(*blocks, from, to, |reader, origin, (cut, count)| {
            decode_decimal(reader, *exponent, (origin, count), &mut unpacker, &mut decoded)?;
            append(out, &decoded, cut)
        }),
        Body::Bits(blocks) => column.each(*blocks, from, to, |reader, origin, (cut, count)| {
            let integers = unpacker.block(reader, count, origin)?;
            for (value, &integer) in decoded.iter_mut().zip(integers) {
                *value = decimal::unordered(integer);
            }
            append(out, &decoded, cut)
        }),
        Body::Dictionary { words, codes } => column.each(*codes, from, to, |reader, origin, (cut, count)| {
            let integers = unpacker.block(reader, count, origin)?;
            for (value, &code) in decoded.iter_mut().zip(integers.get(..count).unwrap_or_default()) {
                let word = usize::try_from(code).ok().and_then(|code| words.get(code));
                *value = *word.ok_or(CodecError("a word is not in the dictionary"))?;
            }
            append(out, &decoded, cut)
        }),
        Body::Constant(_) | Body::Raw(_) | Body::Packed { .. } => Ok(()),
    }
}

/// A part of a block.
#[derive(Clone, Copy)]
struct Cut {
    from: usize,
    to: usize,
}

#[inline(always)]
fn append(out: &mut Vec<f64>, block: &[f64; BLOCK], cut: Cut) -> Result<(), CodecError> {
    out.extend_from_slice(block.get(cut.from..cut.to).ok_or(CodecError("a block is too long"))?);
    Ok(())
}

fn exponent(reader: &mut Reader<'_>) -> Result<u8, CodecError> {
    let exponent = reader.u8()?;
    if exponent > decimal::EXPONENT_MAX { Err(CodecError("a power of ten is too large")) } else { Ok(exponent) }
}

#[inline(always)]
fn decode_decimal(
    reader: &mut Reader<'_>,
    exponent: u8,
    (origin, count): (i64, usize),
    unpacker: &mut Unpacker,
    out: &mut [f64; BLOCK],
) -> Result<(), CodecError> {
    let misses = usize::from(reader.u8()?);
    let positions = reader.take(misses)?;
    let bits = reader.take(misses * 8)?;
    decimal::from_integers(unpacker.block(reader, count, origin)?, exponent, out);
    for (&position, bits) in positions.iter().zip(bits.as_chunks::<8>().0) {
        if let Some(slot) = out.get_mut(usize::from(position)) {
            *slot = f64::from_le_bytes(*bits);
        }
    }
    Ok(())
}

fn decode_packed(mut reader: Reader<'_>, exponent: u8, count: usize) -> Result<Vec<f64>, CodecError> {
    let misses = reader.count(count)?;
    let mut odd = reader;
    for _ in 0..misses {
        reader.varint()?;
        reader.take(8)?;
    }
    let integers = pco::decode::<i64>(reader.rest(), count)?;
    let mut values = vec![0.0; count];
    decimal::from_integers(&integers, exponent, &mut values);
    let mut at = 0usize;
    for _ in 0..misses {
        at = at.saturating_add(odd.count(count)?);
        let value = odd.f64()?;
        *values.get_mut(at).ok_or(CodecError("an exception lies beyond its column"))? = value;
    }
    Ok(values)
}

/// Appends all values of a column, which must be all of `bytes`.
pub fn decode(bytes: &[u8], out: &mut Vec<f64>) -> Result<(), CodecError> {
    let column = Column::parse(bytes)?;
    column.decode_range(0, column.len(), out)
}
