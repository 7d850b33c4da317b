//! Columns of start times, 0 where unknown. A start seldom changes: constant or sparse blocks. Where it moves with each
//! sample (delta temporality: it is the time of the sample before), the distance to the sample's time is stored.

use crate::codec::bytes::{Reader, put_signed};
use crate::codec::ints::Plan;
use crate::codec::unpacker::Unpacker;
use crate::codec::{BLOCK, CodecError, times};

/// Starts as they are.
const PLAIN: u8 = 0;
/// Time less start.
const BEFORE: u8 = 1;

/// Appends a column of as many starts as there are times.
pub fn encode(times: &[i64], starts: &[i64], out: &mut Vec<u8>) {
    let plain = blocks(starts.iter().copied(), PLAIN);
    let before = blocks(times.iter().zip(starts).map(|(time, start)| time.wrapping_sub(*start)), BEFORE);
    out.extend_from_slice(if before.len() < plain.len() { &before } else { &plain });
}

fn blocks(mut integers: impl ExactSizeIterator<Item = i64>, kind: u8) -> Vec<u8> {
    let mut out = vec![kind];
    let mut origin = None;
    while integers.len() > 0 {
        let mut block = [0; BLOCK];
        let mut count = 0;
        for (slot, integer) in block.iter_mut().zip(integers.by_ref().take(BLOCK)) {
            *slot = integer;
            count += 1;
        }
        let origin = *origin.get_or_insert_with(|| {
            put_signed(&mut out, block[0]);
            block[0]
        });
        Plan::new(&block[..count]).write(origin, &mut out);
    }
    out
}

/// Appends `count` starts from place `from` of the column, whose times are `times`.
pub fn decode_range(
    bytes: &[u8],
    times: &times::Column<'_>,
    from: usize,
    count: usize,
    out: &mut Vec<i64>,
) -> Result<(), CodecError> {
    let mut reader = Reader::new(bytes);
    let before = match reader.u8()? {
        PLAIN => false,
        BEFORE => true,
        _ => return Err(CodecError("a start column has an unknown kind")),
    };
    let len = times.len();
    let mut all = Vec::new();
    if before {
        times.decode_between(i64::MIN, i64::MAX, &mut all)?;
    }
    let origin = reader.signed()?;
    let to = (from + count).min(len);
    Unpacker::with(|unpacker| {
        for first in (0..to).step_by(BLOCK) {
            let size = (len - first).min(BLOCK);
            let mut integers = *unpacker.block(&mut reader, size, origin)?;
            if before {
                for (integer, time) in integers.iter_mut().zip(all.get(first..).unwrap_or_default()) {
                    *integer = time.wrapping_sub(*integer);
                }
            }
            let part = from.saturating_sub(first)..(to - first).min(size);
            out.extend_from_slice(integers.get(part).unwrap_or_default());
        }
        Ok(())
    })
}
