//! Columns one behind the other as one, without decoding: a block says all but its first integer by itself.

use crate::codec::bytes::{Reader, put_signed, put_varint};
use crate::codec::values::{CONSTANT_BITS, CONSTANT_DECIMAL, DECIMAL};
use crate::codec::{BLOCK, CodecError, SAMPLES_MAX};

/// A decimal column, taken apart.
struct Parts<'a> {
    len: usize,
    exponent: u8,
    origin: i64,
    blocks: Vec<&'a [u8]>,
}

/// Appends the column of all values of these; false, and nothing, where they are of different kinds or their blocks do
/// not fit together: then they have to be encoded anew.
///
/// # Errors
/// Where one of them is damaged.
pub fn join(columns: &[&[u8]], out: &mut Vec<u8>) -> Result<bool, CodecError> {
    if let Some((total, body)) = constant(columns)? {
        put_varint(out, total as u64);
        out.extend_from_slice(body);
        return Ok(true);
    }
    let Some(parts) = columns.iter().map(|column| decimal(column)).collect::<Result<Option<Vec<_>>, _>>()? else {
        return Ok(false);
    };
    let (Some(first), Some((_, before))) = (parts.first(), parts.split_last()) else { return Ok(false) };
    let total: usize = parts.iter().map(|part| part.len).sum();
    let is_whole = before.iter().all(|part| part.len % BLOCK == 0);
    if !is_whole || total > SAMPLES_MAX || parts.iter().any(|part| part.exponent != first.exponent) {
        return Ok(false);
    }
    let (mut lens, mut bytes) = (Vec::new(), Vec::new());
    for part in &parts {
        for block in &part.blocks {
            let begin = bytes.len();
            move_block(block, part.origin, first.origin, &mut bytes)?;
            lens.push(bytes.len() - begin);
        }
    }
    put_varint(out, total as u64);
    out.extend_from_slice(&[DECIMAL, first.exponent]);
    put_signed(out, first.origin);
    // The last block ends with the column.
    lens.pop();
    lens.into_iter().for_each(|len| put_varint(out, len as u64));
    out.extend_from_slice(&bytes);
    Ok(true)
}

/// The length of all and the body, where all are the same constant.
fn constant<'a>(columns: &[&'a [u8]]) -> Result<Option<(usize, &'a [u8])>, CodecError> {
    let (mut total, mut same) = (0, None);
    for column in columns {
        let mut reader = Reader::new(column);
        total += reader.count(SAMPLES_MAX)?;
        let body = reader.rest();
        let is_constant = matches!(body.first(), Some(&(CONSTANT_BITS | CONSTANT_DECIMAL)));
        if !is_constant || *same.get_or_insert(body) != body || total > SAMPLES_MAX {
            return Ok(None);
        }
    }
    Ok(same.map(|body| (total, body)))
}

fn decimal(column: &[u8]) -> Result<Option<Parts<'_>>, CodecError> {
    let mut reader = Reader::new(column);
    let len = reader.count(SAMPLES_MAX)?;
    if len == 0 || reader.u8()? != DECIMAL {
        return Ok(None);
    }
    let (exponent, origin) = (reader.u8()?, reader.signed()?);
    let count = len.div_ceil(BLOCK);
    let lens = (1..count).map(|_| reader.count(column.len())).collect::<Result<Vec<_>, _>>()?;
    let mut blocks = lens.into_iter().map(|len| reader.take(len)).collect::<Result<Vec<_>, _>>()?;
    blocks.push(reader.rest());
    Ok(Some(Parts { len, exponent, origin, blocks }))
}

/// Appends a block whose first integer is said from another origin.
fn move_block(block: &[u8], from: i64, to: i64, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut reader = Reader::new(block);
    let misses = usize::from(reader.u8()?);
    reader.take(misses * 9)?;
    reader.u8()?;
    let before = block.len() - reader.rest().len();
    let first = reader.signed()?;
    out.extend_from_slice(block.get(..before).unwrap_or_default());
    put_signed(out, from.wrapping_add(first).wrapping_sub(to));
    out.extend_from_slice(reader.rest());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::codec::values::{decode, encode};

    #[test]
    fn joined_columns_are_those_of_all_values() {
        let rng = Rng::from_seed(4);
        let mut joined = 0;
        for round in 0..400 {
            let exponent = [0.0, 1.0, 2.0][rng.below(3) as usize];
            let scale = 10_f64.powf(exponent);
            let mut value = rng.below(1 << 40) as f64;
            let kind = rng.below(4);
            let count = 2 + rng.below(4) as usize;
            let (mut all, mut columns) = (Vec::new(), Vec::new());
            for at in 0..count {
                let len = if at + 1 == count { 1 + rng.below(256) as usize } else { 256 };
                let values: Vec<f64> = (0..len)
                    .map(|_| {
                        value += if kind == 0 { 0.0 } else { rng.below(1_000) as f64 - 300.0 };
                        let odd = kind == 2 && rng.chance(0.01);
                        if odd { f64::NAN } else { value / scale }
                    })
                    .collect();
                let mut bytes = Vec::new();
                encode(&values, &mut bytes);
                all.extend(values);
                columns.push(bytes);
            }
            let parts: Vec<&[u8]> = columns.iter().map(Vec::as_slice).collect();
            let mut bytes = Vec::new();
            if join(&parts, &mut bytes).unwrap() {
                joined += 1;
                let mut back = Vec::new();
                decode(&bytes, &mut back).unwrap();
                let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&back), bits(&all), "round {round}");
                let mut whole = Vec::new();
                encode(&all, &mut whole);
                assert!(bytes.len() <= whole.len() + 2 * count, "{} and {} bytes", bytes.len(), whole.len());
            } else {
                assert!(bytes.is_empty());
            }
            let mut bad = columns.concat();
            let at = rng.below(bad.len() as u64) as usize;
            bad[at] = rng.next_u64() as u8;
            bad.truncate(1 + rng.below(bad.len() as u64 * 2) as usize);
            let _ = join(&[&bad, &columns[0]], &mut Vec::new());
        }
        assert!(joined > 300, "{joined}");
    }

    #[test]
    fn what_does_not_fit_together_is_left_alone() {
        let column = |values: &[f64]| {
            let mut bytes = Vec::new();
            encode(values, &mut bytes);
            bytes
        };
        let ramp: Vec<f64> = (0..256).map(|at| f64::from(at * at)).collect();
        let fine: Vec<f64> = ramp.iter().map(|value| value / 100.0).collect();
        let mut out = Vec::new();
        for (a, b) in [(&ramp[..], &fine[..]), (&ramp[..10], &ramp[..]), (&[1.0; 9][..], &ramp[..]), (&[1.0], &[2.0])] {
            assert_eq!(join(&[&column(a), &column(b)], &mut out), Ok(false));
        }
        assert!(out.is_empty());
    }
}
