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

use std::cell::RefCell;

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
                Body::Constant(decimal::double(reader.signed()?, exponent))
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
                decode_packed((*reader, *exponent), self.len, (from, to), out)?;
            }
            Body::Decimal { .. } | Body::Bits(_) | Body::Dictionary { .. } => {
                Unpacker::with(|unpacker| decode_blocks(self, (from, to), unpacker, out))?;
            }
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

/// Appends samples `from..to` of a column that is made of blocks.
fn decode_blocks(
    column: &Column<'_>,
    (from, to): (usize, usize),
    unpacker: &mut Unpacker,
    out: &mut Vec<f64>,
) -> Result<(), CodecError> {
    match &column.body {
        Body::Decimal { exponent, blocks } => column.each(*blocks, from, to, |reader, origin, (cut, count)| {
            decode_decimal(reader, *exponent, (origin, count, cut), unpacker, out)
        }),
        Body::Bits(blocks) => column.each(*blocks, from, to, |reader, origin, (cut, count)| {
            let integers = cut.of(unpacker.block(reader, count, origin)?)?;
            out.extend(integers.iter().map(|integer| decimal::unordered(*integer)));
            Ok(())
        }),
        Body::Dictionary { words, codes } => column.each(*codes, from, to, |reader, origin, (cut, count)| {
            for &code in cut.of(unpacker.block(reader, count, origin)?)? {
                let word = usize::try_from(code).ok().and_then(|code| words.get(code));
                out.push(*word.ok_or(CodecError("a word is not in the dictionary"))?);
            }
            Ok(())
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

impl Cut {
    fn of(self, block: &[i64; BLOCK]) -> Result<&[i64], CodecError> {
        block.get(self.from..self.to).ok_or(CodecError("a block is too long"))
    }
}

fn exponent(reader: &mut Reader<'_>) -> Result<u8, CodecError> {
    let exponent = reader.u8()?;
    if exponent > decimal::EXPONENT_MAX { Err(CodecError("a power of ten is too large")) } else { Ok(exponent) }
}

fn decode_decimal(
    reader: &mut Reader<'_>,
    exponent: u8,
    (origin, count, cut): (i64, usize, Cut),
    unpacker: &mut Unpacker,
    out: &mut Vec<f64>,
) -> Result<(), CodecError> {
    let misses = usize::from(reader.u8()?);
    let positions = reader.take(misses)?;
    let bits = reader.take(misses * 8)?;
    let before = out.len();
    decimal::append_doubles(cut.of(unpacker.block(reader, count, origin)?)?, exponent, out);
    let decoded = out.get_mut(before..).unwrap_or_default();
    for (&position, bits) in positions.iter().zip(bits.as_chunks::<8>().0) {
        if let Some(slot) = usize::from(position).checked_sub(cut.from).and_then(|at| decoded.get_mut(at)) {
            *slot = f64::from_le_bytes(*bits);
        }
    }
    Ok(())
}

thread_local! {
    /// What the entropy coder writes to: as long as the longest chunk that the thread has read.
    static INTEGERS: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
}

/// As [`decode_blocks`], of a column of decimals by the entropy coder.
fn decode_packed(
    (mut reader, exponent): (Reader<'_>, u8),
    count: usize,
    (from, to): (usize, usize),
    out: &mut Vec<f64>,
) -> Result<(), CodecError> {
    let misses = reader.count(count)?;
    let mut odd = reader;
    for _ in 0..misses {
        reader.varint()?;
        reader.take(8)?;
    }
    let before = out.len();
    INTEGERS.with_borrow_mut(|integers| {
        if integers.len() < count {
            integers.resize(count, 0);
        }
        let integers = integers.get_mut(..count).unwrap_or_default();
        pco::decode_into(reader.rest(), integers)?;
        decimal::append_doubles(integers.get(from..to).unwrap_or_default(), exponent, out);
        Ok(())
    })?;
    let decoded = out.get_mut(before..).unwrap_or_default();
    let mut at = 0usize;
    for _ in 0..misses {
        at = at.saturating_add(odd.count(count)?);
        let value = odd.f64()?;
        if at >= count {
            return Err(CodecError("an exception lies beyond its column"));
        }
        if let Some(slot) = at.checked_sub(from).and_then(|at| decoded.get_mut(at)) {
            *slot = value;
        }
    }
    Ok(())
}

/// Appends all values of a column, which must be all of `bytes`.
pub fn decode(bytes: &[u8], out: &mut Vec<f64>) -> Result<(), CodecError> {
    let column = Column::parse(bytes)?;
    column.decode_range(0, column.len(), out)
}
