//! Values of an open column, packed while they come in: each as the bytes in which it differs from the one before.
//!
//! Raw doubles would take 2 KiB of every active series before they are sealed; counters and gauges at 1 s differ in two
//! or three bytes, constants in none. Appending costs a few nanoseconds and reading goes from the begin, which is never
//! more than a chunk away.

/// Doubles, in order, that can only grow at the end and shrink by one.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// For each value a control byte (low nibble: zero bytes at the top; high nibble: bytes that follow), then the
    /// bytes that differ, the lowest first.
    bytes: Vec<u8>,
    /// Bits of the last value; 0 before the first.
    last: u64,
    len: u16,
    /// Where the last value begins, for `pop`; `LOST` after one.
    tail: u16,
}

const LOST: u16 = u16::MAX;

/// A control byte and eight bytes.
const ENTRY_MAX: usize = 9;

/// Values that surely fit: offsets have 16 bits.
const LEN_MAX: usize = (LOST as usize - 1) / ENTRY_MAX;

impl Packed {
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn last(&self) -> Option<f64> {
        (self.len > 0).then(|| f64::from_bits(self.last))
    }

    /// Appends a value; the caller keeps the length below `CHUNK_SAMPLES`.
    #[inline]
    pub(super) fn push(&mut self, value: f64) {
        debug_assert!(self.len() < LEN_MAX, "offsets have 16 bits");
        let bits = value.to_bits();
        let differs = bits ^ self.last;
        // At most 8 zero bytes at the top; the bytes at the bottom are counted only where something differs.
        let top = differs.leading_zeros() / 8;
        let bottom = if differs == 0 { 0 } else { differs.trailing_zeros() / 8 };
        let kept = 8 - top - bottom;
        let mut entry = [0; ENTRY_MAX];
        let (control, rest) = entry.split_at_mut(1);
        if let [control] = control {
            *control = (top | kept << 4) as u8;
        }
        rest.copy_from_slice(&(differs >> (8 * bottom)).to_le_bytes());
        let begin = self.bytes.len();
        self.tail = begin as u16;
        if self.bytes.capacity() - begin < ENTRY_MAX {
            self.grow();
        }
        // A copy of fixed length is two stores; what is too much is cut again.
        self.bytes.extend_from_slice(&entry);
        self.bytes.truncate(begin + 1 + kept as usize);
        self.last = bits;
        self.len += 1;
    }

    /// To the next size that the allocator has anyway, an eighth to a quarter more: all series together would otherwise
    /// leave a quarter of this unused. Emptied, the buffer stays, so a series pays for it once.
    #[cold]
    fn grow(&mut self) {
        let need = (self.bytes.len() + ENTRY_MAX).max(32);
        let step = (need.next_power_of_two() / 8).max(16);
        self.bytes.reserve_exact(need.next_multiple_of(step) - self.bytes.len());
    }

    /// Takes the last value away.
    pub(super) fn pop(&mut self) {
        if self.tail == LOST {
            let values: Vec<f64> = self.iter().collect();
            self.clear();
            for value in values {
                self.push(value);
            }
        }
        let Some(entry) = self.bytes.get(usize::from(self.tail)..).filter(|_| self.len > 0) else { return };
        let (differs, _) = read(entry);
        self.last ^= differs;
        self.bytes.truncate(usize::from(self.tail));
        self.len -= 1;
        self.tail = if self.len == 0 { 0 } else { LOST };
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.last, self.len, self.tail) = (0, 0, 0);
    }

    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Appends the values `from..to`.
    pub(super) fn read(&self, from: usize, to: usize, out: &mut Vec<f64>) {
        let to = to.min(self.len());
        out.reserve(to.saturating_sub(from));
        let (mut rest, mut last) = (self.bytes.as_slice(), 0);
        for at in 0..to {
            let (differs, len) = read(rest);
            rest = rest.get(len..).unwrap_or(&[]);
            last ^= differs;
            if at >= from {
                out.push(f64::from_bits(last));
            }
        }
    }

    pub(super) fn iter(&self) -> PackedIter<'_> {
        PackedIter { rest: &self.bytes, last: 0 }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What an entry changes, and its length.
#[inline]
fn read(entry: &[u8]) -> (u64, usize) {
    let control = entry.first().copied().unwrap_or(0);
    let (top, kept) = (u32::from(control & 15), u32::from(control >> 4));
    let bottom = 8_u32.saturating_sub(top + kept);
    let len = 1 + kept as usize;
    let raw = match entry.get(1..ENTRY_MAX) {
        // Eight bytes are at hand: those of the next entry are masked away.
        Some(bytes) => {
            let raw = bytes.iter().rev().fold(0, |raw, byte| raw << 8 | u64::from(*byte));
            if kept == 0 { 0 } else { raw & (u64::MAX >> (64 - 8 * kept)) }
        }
        None => entry.get(1..len).unwrap_or(&[]).iter().rev().fold(0, |raw, byte| raw << 8 | u64::from(*byte)),
    };
    (if kept == 0 { 0 } else { raw << (8 * bottom) }, len)
}

/// Values from the first on.
#[derive(Debug)]
pub(super) struct PackedIter<'a> {
    rest: &'a [u8],
    last: u64,
}

impl Iterator for PackedIter<'_> {
    type Item = f64;

    #[inline]
    fn next(&mut self) -> Option<f64> {
        if self.rest.is_empty() {
            return None;
        }
        let (differs, len) = read(self.rest);
        self.rest = self.rest.get(len..).unwrap_or(&[]);
        self.last ^= differs;
        Some(f64::from_bits(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn every_bit_comes_back_also_after_pops() {
        let rng = Rng::from_seed(3);
        let (mut packed, mut plain) = (Packed::default(), Vec::new());
        let mut counter = 0.0;
        for round in 0..20_000 {
            if plain.len() == 250 {
                packed.clear();
                plain.clear();
            }
            if rng.chance(0.1) {
                packed.pop();
                plain.pop();
            } else {
                counter += rng.below(1_000) as f64 / 100.0;
                let value = match rng.below(4) {
                    0 => f64::from_bits(rng.next_u64()),
                    1 => plain.last().copied().unwrap_or(0.0),
                    2 => counter,
                    _ => [0.0, -0.0, f64::NAN, f64::INFINITY][rng.below(4) as usize],
                };
                packed.push(value);
                plain.push(value);
            }
            assert_eq!(
                (packed.len(), packed.last().map(f64::to_bits)),
                (plain.len(), plain.last().map(|v| v.to_bits()))
            );
            if round % 37 == 0 {
                let back: Vec<u64> = packed.iter().map(f64::to_bits).collect();
                assert_eq!(back, plain.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            }
        }
    }
}
