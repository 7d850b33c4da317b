//! Reading blocks of integers, which [`ints`](super::ints) describes and writes.

use std::cell::RefCell;

use crate::codec::bytes::Reader;
use crate::codec::ints::{BITMAP, CONSTANT, DELTA, DELTA2, FRAME, MODE_MASK, PATCHED, SHIFTED, SPARSE};
use crate::codec::pack::unpack;
use crate::codec::{BLOCK, CodecError};

thread_local! {
    static OWN: RefCell<Unpacker> = const {
        RefCell::new(Unpacker { residuals: [0; BLOCK], highs: [0; BLOCK], steps: [0; BLOCK], integers: [0; BLOCK] })
    };
}

/// Unpacks blocks one after the other. Each thread has one, so that its buffers are cleared once.
#[derive(Debug)]
pub(super) struct Unpacker {
    residuals: [u64; BLOCK],
    /// Upper bits of some residuals.
    highs: [u64; BLOCK],
    steps: [i64; BLOCK],
    integers: [i64; BLOCK],
}

impl Unpacker {
    /// Works with that of the thread. `work` must not ask for it again.
    pub(super) fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        OWN.with_borrow_mut(work)
    }

    /// One that has been used.
    #[cfg(test)]
    pub(super) fn dirty() -> Self {
        Self { residuals: [7; BLOCK], highs: [6; BLOCK], steps: [8; BLOCK], integers: [9; BLOCK] }
    }

    /// Reads a block of `count` integers; what follows them in the answer is unspecified.
    pub(super) fn block(
        &mut self,
        reader: &mut Reader<'_>,
        count: usize,
        origin: i64,
    ) -> Result<&[i64; BLOCK], CodecError> {
        fill(self, reader, count, origin)?;
        Ok(&self.integers)
    }
}

/// Compiled twice: wide registers take half the time. What it calls is inlined, so that it has them too.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn fill<'a>(unpacker: &mut Unpacker, reader: &mut Reader<'a>, count: usize, origin: i64) -> Result<(), CodecError> {
    if count > BLOCK {
        return Err(CodecError("a block is too long"));
    }
    let head = reader.u8()?;
    let first = origin.wrapping_add(reader.signed()?);
    let shift = if head & SHIFTED != 0 { u32::from(reader.u8()?) & 63 } else { 0 };
    let Unpacker { residuals, highs, steps, integers: out } = unpacker;
    match head & MODE_MASK {
        CONSTANT => out.fill(first),
        FRAME => {
            let reference = read_residuals(reader, head, count, (residuals, highs))?;
            let base = first.wrapping_add(reference.wrapping_shl(shift));
            for (x, &r) in out.iter_mut().zip(&*residuals) {
                *x = base.wrapping_add(((r) << shift) as i64);
            }
        }
        DELTA => {
            let reference = read_residuals(reader, head, count.saturating_sub(1), (residuals, highs))?;
            let mut x = first;
            let reference = (reference as u64) << shift;
            for (slot, &r) in out.iter_mut().zip(&*residuals) {
                *slot = x;
                x = x.wrapping_add((r << shift).wrapping_add(reference) as i64);
            }
        }
        DELTA2 => {
            let second = reader.signed()?;
            let reference = read_residuals(reader, head, count.saturating_sub(2), (residuals, highs))? as u64;
            let (mut x, mut delta) = (first as u64, (second as u64) << shift);
            let reference = reference << shift;
            for (slot, &r) in out.iter_mut().zip(&*residuals) {
                *slot = x as i64;
                x = x.wrapping_add(delta);
                delta = delta.wrapping_add((r << shift).wrapping_add(reference));
            }
        }
        BITMAP => {
            let bitmap = reader.take(count.saturating_sub(1).div_ceil(8))?;
            let moves = bitmap.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
            if moves >= count.max(1) {
                return Err(CodecError("a bitmap has bits beyond its block"));
            }
            let reference = read_residuals(reader, head, moves, (residuals, highs))?;
            sum_moves(first, (reference, shift), residuals.get(..moves).unwrap_or_default(), steps);
            spread_bitmap(bitmap, steps, out);
        }
        SPARSE => {
            let moves = usize::from(reader.u8()?);
            let positions = reader.take(moves)?;
            let reference = read_residuals(reader, head, moves, (residuals, highs))?;
            sum_moves(first, (reference, shift), residuals.get(..moves).unwrap_or_default(), steps);
            spread_positions(positions, steps, out)?;
        }
        _ => return Err(CodecError("an integer block has an unknown mode")),
    }
    Ok(())
}

/// The values between moves: the first, then after each move.
#[inline(always)]
fn sum_moves(first: i64, (reference, shift): (i64, u32), residuals: &[u64], steps: &mut [i64; BLOCK]) {
    let [head, rest @ ..] = steps;
    *head = first;
    let mut x = first;
    for (step, &r) in rest.iter_mut().zip(residuals) {
        x = x.wrapping_add((r.wrapping_add(reference as u64) << shift) as i64);
        *step = x;
    }
}

#[inline(always)]
fn spread_bitmap(bitmap: &[u8], steps: &[i64; BLOCK], out: &mut [i64; BLOCK]) {
    let mut at = 0u8;
    let [head, rest @ ..] = out;
    *head = steps[0];
    for (byte, group) in bitmap.iter().zip(rest.chunks_mut(8)) {
        let mut byte = *byte;
        for slot in group {
            at = at.wrapping_add(byte & 1);
            byte >>= 1;
            *slot = steps[usize::from(at)];
        }
    }
}

fn spread_positions(positions: &[u8], steps: &[i64; BLOCK], out: &mut [i64; BLOCK]) -> Result<(), CodecError> {
    let mut from = 0;
    for (&position, &value) in positions.iter().zip(steps) {
        let to = usize::from(position) + 1;
        out.get_mut(from..to).ok_or(CodecError("positions do not ascend"))?.fill(value);
        from = to;
    }
    let last = steps.get(positions.len()).copied().unwrap_or_default();
    out.get_mut(from..).ok_or(CodecError("positions do not ascend"))?.fill(last);
    Ok(())
}

/// Reads the reference, which it returns, and `count` residuals.
#[inline(always)]
fn read_residuals(
    reader: &mut Reader<'_>,
    head: u8,
    count: usize,
    (residuals, highs): (&mut [u64; BLOCK], &mut [u64; BLOCK]),
) -> Result<i64, CodecError> {
    let reference = reader.signed()?;
    let width = u32::from(reader.u8()?);
    let residuals = residuals.get_mut(..count).ok_or(CodecError("a block is too long"))?;
    if head & PATCHED != 0 {
        read_patched(reader, width, (residuals, highs))?;
    } else {
        let len = unpack(reader.rest(), width, residuals)?;
        reader.take(len)?;
    }
    Ok(reference)
}

/// Reads residuals of which some have upper bits kept apart.
fn read_patched(
    reader: &mut Reader<'_>,
    width: u32,
    (residuals, highs): (&mut [u64], &mut [u64; BLOCK]),
) -> Result<(), CodecError> {
    let patches = usize::from(reader.u8()?) + 1;
    let high = u32::from(reader.u8()?);
    let positions = reader.take(patches)?;
    let highs = highs.get_mut(..patches).ok_or(CodecError("a block is too long"))?;
    let len = unpack(reader.rest(), high, highs)?;
    reader.take(len)?;
    let len = unpack(reader.rest(), width, residuals)?;
    reader.take(len)?;
    for (&position, &high) in positions.iter().zip(&*highs) {
        let slot = residuals.get_mut(usize::from(position)).ok_or(CodecError("a patch lies beyond its block"))?;
        *slot |= high.checked_shl(width).unwrap_or(0);
    }
    Ok(())
}
