//! Bit packing: value `i` of width `w` stands at bit `i * w` of a little-endian bit stream, without padding but to the
//! next byte. Unpacking loads eight bytes for each value, so that no value depends on the one before.

use crate::codec::CodecError;

/// Widths above this do not fit one load at any bit offset: they are stored as 64.
const WIDTH_ONE_LOAD: u32 = 57;

/// The width that is stored for values of `bits` bits.
#[inline]
pub fn stored_width(bits: u32) -> u32 {
    if bits > WIDTH_ONE_LOAD { 64 } else { bits }
}

/// Bits that a value needs.
#[inline]
pub fn bits(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// Bytes of `count` packed values.
#[inline]
pub fn packed_len(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

#[inline]
pub fn mask(width: u32) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

/// Appends `values`, of which only the lowest `width` bits are kept; `width` comes from [`stored_width`].
pub fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    debug_assert!(width <= WIDTH_ONE_LOAD || width == 64);
    if width == 0 {
        return;
    }
    if width == 64 {
        out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        return;
    }
    out.reserve(packed_len(values.len(), width) + 8);
    let (mut word, mut used) = (0u64, 0u32);
    let mask = mask(width);
    for &value in values {
        let value = value & mask;
        word |= value << used;
        used += width;
        if used >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            used -= 64;
            // `used` bits of this value did not fit; it is below `width`, so the shift is below 64.
            word = if used == 0 { 0 } else { value >> (width - used) };
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..used.div_ceil(8) as usize]);
}

/// Fills `values` from the front of `bytes`, which may go on after them; returns how many bytes they took.
#[inline(always)]
pub fn unpack(bytes: &[u8], width: u32, values: &mut [u64]) -> Result<usize, CodecError> {
    const SHORT: CodecError = CodecError("packed values end too early");
    let len = packed_len(values.len(), width);
    let packed = bytes.get(..len).ok_or(SHORT)?;
    match width {
        0 => values.fill(0),
        1..=WIDTH_ONE_LOAD => {
            // Loads reach up to 7 bytes past the last value. Where the buffer ends before, the last groups of eight, which
            // are `width` bytes each, come from a padded copy: less than one and those 8 bytes.
            if bytes.len() >= len + 8 {
                unpack_padded(bytes, width, values);
            } else {
                let group = width as usize;
                let groups = (bytes.len().saturating_sub(8) / group).min(values.len() / 8);
                let (front, back) = values.split_at_mut(groups * 8);
                unpack_padded(bytes, width, front);
                let rest = packed.get(groups * group..).unwrap_or_default();
                let mut padded = [0u8; WIDTH_ONE_LOAD as usize + 8 + 8];
                padded.get_mut(..rest.len()).ok_or(SHORT)?.copy_from_slice(rest);
                unpack_padded(&padded, width, back);
            }
        }
        64 => {
            for (value, chunk) in values.iter_mut().zip(packed.as_chunks::<8>().0) {
                *value = u64::from_le_bytes(*chunk);
            }
        }
        _ => return Err(CodecError("a bit width is impossible")),
    }
    Ok(len)
}

/// `bytes` has 8 bytes more than the values need, so that no load can miss. One loop for each width: its offsets and
/// shifts are constants.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn unpack_padded(bytes: &[u8], width: u32, values: &mut [u64]) {
    macro_rules! widths {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_width::<$width>(bytes, values),)*
                _ => {}
            }
        };
    }
    widths!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41
        42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57);
}

#[inline(always)]
fn unpack_width<const WIDTH: usize>(bytes: &[u8], values: &mut [u64]) {
    let mask = mask(WIDTH as u32);
    let mut groups = bytes;
    // Eight values take `WIDTH` whole bytes: inside a group the offsets do not depend on the group.
    let (eights, tail) = values.as_chunks_mut::<8>();
    for group in eights {
        let Some(packed) = groups.get(..WIDTH + 8) else { return };
        for (i, value) in group.iter_mut().enumerate() {
            *value = (load(packed, (i * WIDTH) >> 3) >> ((i * WIDTH) & 7)) & mask;
        }
        groups = &groups[WIDTH..];
    }
    for (i, value) in tail.iter_mut().enumerate() {
        *value = (load(groups, (i * WIDTH) >> 3) >> ((i * WIDTH) & 7)) & mask;
    }
}

#[inline(always)]
fn load(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk::<8>()).map_or(0, |b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One bit at a time.
    fn pack_naive(values: &[u64], width: u32) -> Vec<u8> {
        let mut out = vec![0u8; packed_len(values.len(), width)];
        for (i, v) in values.iter().enumerate() {
            for b in 0..width as usize {
                let at = i * width as usize + b;
                out[at / 8] |= ((v >> b & 1) as u8) << (at % 8);
            }
        }
        out
    }

    #[test]
    fn every_width_and_length_equals_the_naive_packing() {
        let rng = crate::base::rng::Rng::from_seed(1);
        for width in (0..=WIDTH_ONE_LOAD).chain([64]) {
            for count in [0, 1, 2, 7, 8, 9, 63, 120, 255, 256] {
                let values: Vec<u64> = (0..count).map(|_| rng.next_u64() & mask(width)).collect();
                let mut packed = Vec::new();
                pack(&values, width, &mut packed);
                assert_eq!(packed, pack_naive(&values, width), "width {width} count {count}");
                for padding in [0, 3, 8, 20] {
                    let mut bytes = packed.clone();
                    bytes.resize(packed.len() + padding, 0xff);
                    let mut back = vec![7; count];
                    assert_eq!(unpack(&bytes, width, &mut back), Ok(packed.len()));
                    assert_eq!(back, values, "width {width} count {count} padding {padding}");
                }
                if !packed.is_empty() {
                    assert!(unpack(&packed[1..], width, &mut vec![0; count]).is_err());
                }
            }
        }
    }
}
