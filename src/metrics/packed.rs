//! Values of an open column, packed while they come in: each as a small step from the one before, counted in decimals,
//! or else as the bytes in which it differs from it.
//!
//! Raw doubles would take 2 KiB of every active series before they are sealed; counters and gauges at 1 s take one or two
//! bytes a value, constants one. Appending costs a few nanoseconds and reading goes from the begin, which is never more
//! than a chunk away.
//!
//! A step is exact or not taken: the writer computes what a reader will, and compares all bits.

use crate::base::prefetch::prefetch;

/// Doubles, in order, that can only grow at the end and shrink by one.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Entries, see the constants below.
    bytes: Vec<u8>,
    /// Bits of the last value; 0 before the first.
    last: u64,
    len: u16,
    /// Where the last value begins, for `pop`; `LOST` after one.
    tail: u16,
    /// In which decimals steps are counted.
    scale: u8,
    /// Values since the last step that were none; from `MISSES_MAX` on no step is looked for.
    misses: u8,
    /// The last value is a whole number of decimals.
    is_whole: bool,
    /// So was the one before.
    was_whole: bool,
}

const LOST: u16 = u16::MAX;

/// The longest entry: a control byte and eight bytes.
const ENTRY_MAX: usize = 9;

/// Bytes that are left when a buffer grows with those of its neighbours: half of the smallest step.
const GROWS_WITH: usize = 8;

/// Bytes of the first buffer.
const FIRST_BYTES: usize = 80;

/// Values that surely fit: offsets have 16 bits.
const LEN_MAX: usize = (LOST as usize - 1) / ENTRY_MAX;

/// Full-entropy doubles are not tried again and again.
const MISSES_MAX: u8 = 16;

/// Decimals of a scale.
const SCALES: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];

/// The entry of a value that is the last one again: of eight bytes none differs.
const SAME: u8 = 8;

/// First byte of an entry, above those of bytes that differ: the scale from here on, with the entry behind it.
const SET_SCALE: u8 = 0x89;
/// A step of -32 to 63.
const STEP_1: u8 = 0x90;
const STEP_1_BASE: i32 = 32;
const STEP_1_END: i32 = 64;
/// A step whose sign is folded into its lowest bit: 3, 2 and 2 bits here, the higher ones, and 1, 2 and 3 bytes behind.
const STEP_2: u8 = 0xf0;
const STEP_3: u8 = 0xf8;
const STEP_4: u8 = 0xfc;

/// A folded step is below it.
const FOLDED_MAX: f64 = (1_u32 << 26) as f64;

/// Below it a double times and again divided by a scale is the same whole number.
const WHOLE_MAX: f64 = (1_u64 << 50) as f64;

/// Whole numbers that many decimals are, rounded; wrong from 2^51 on.
#[inline]
fn nearest(value: f64) -> f64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    (value + SHIFT) - SHIFT
}

/// The step between two values, if it leads from one exactly to the other.
#[inline]
fn step(last: f64, value: f64, scale: f64) -> Option<i32> {
    let (from, to) = (nearest(last * scale), nearest(value * scale));
    let step = to - from;
    // A NaN fails here.
    let is_small = step.abs() < FOLDED_MAX / 2.0 && from.abs() < WHOLE_MAX && to.abs() < WHOLE_MAX;
    (is_small && ((from + step) / scale).to_bits() == value.to_bits()).then_some(step as i32)
}

/// An entry and its length.
#[inline]
fn step_entry(step: i32) -> ([u8; ENTRY_MAX], usize) {
    let mut entry = [0; ENTRY_MAX];
    if (-STEP_1_BASE..STEP_1_END).contains(&step) {
        entry[0] = (i32::from(STEP_1) + STEP_1_BASE + step) as u8;
        return (entry, 1);
    }
    let folded = ((step << 1) ^ (step >> 31)) as u32;
    let (first, more) = match folded {
        0..0x800 => (STEP_2, 1),
        0x800..0x4_0000 => (STEP_3, 2),
        _ => (STEP_4, 3),
    };
    entry[0] = first + (folded >> (8 * more)) as u8;
    entry[1..5].copy_from_slice(&folded.to_le_bytes());
    (entry, 1 + more as usize)
}

/// The bytes in which two values differ: low nibble of the first byte: zero bytes at the top; high nibble: bytes that
/// follow, the lowest first.
#[inline]
fn differs_entry(differs: u64) -> ([u8; ENTRY_MAX], usize) {
    // At most 8 zero bytes at the top; the bytes at the bottom are counted only where something differs.
    let top = differs.leading_zeros() / 8;
    let bottom = if differs == 0 { 0 } else { differs.trailing_zeros() / 8 };
    let kept = 8 - top - bottom;
    let mut entry = [0; ENTRY_MAX];
    entry[0] = (top | kept << 4) as u8;
    entry[1..].copy_from_slice(&(differs >> (8 * bottom)).to_le_bytes());
    (entry, 1 + kept as usize)
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Has the place fetched from memory where the next value goes.
    #[inline]
    pub(super) fn prefetch_end(&self) {
        if let Some(end) = self.bytes.last() {
            prefetch(end);
        }
    }

    /// Makes room for the next value where there is none. Where neighbours in memory `grow` just now, also where only a
    /// little is left. Gives whether it grew.
    #[inline]
    pub(super) fn make_room(&mut self, grow: bool) -> bool {
        let least = ENTRY_MAX + 1 + if grow { GROWS_WITH } else { 0 };
        let grows = self.bytes.capacity() - self.bytes.len() < least;
        if grows {
            self.grow(least);
        }
        grows
    }

    pub(super) fn last(&self) -> Option<f64> {
        (self.len > 0).then(|| f64::from_bits(self.last))
    }

    /// Appends a value; the caller keeps the length below `CHUNK_SAMPLES`.
    #[inline]
    pub(super) fn push(&mut self, value: f64) {
        debug_assert!(self.len() < LEN_MAX, "offsets have 16 bits");
        self.make_room(false);
        let last = f64::from_bits(self.last);
        self.tail = self.bytes.len() as u16;
        self.was_whole = self.is_whole;
        if value.to_bits() == self.last {
            self.bytes.push(SAME);
        } else if self.misses < MISSES_MAX {
            match step(last, value, SCALES[usize::from(self.scale & 3)]) {
                Some(step) if (-STEP_1_BASE..STEP_1_END).contains(&step) => {
                    self.bytes.push((i32::from(STEP_1) + STEP_1_BASE + step) as u8);
                    (self.is_whole, self.misses) = (true, 0);
                }
                found => self.push_other(value, found),
            }
        } else {
            self.put(differs_entry(value.to_bits() ^ self.last));
        }
        self.last = value.to_bits();
        self.len += 1;
    }

    /// Appends the shorter of a step and the bytes that differ.
    fn push_other(&mut self, value: f64, found: Option<i32>) {
        if let Some(entry) = found.map(step_entry).filter(|entry| entry.1 <= 2) {
            // What differs takes two bytes at least.
            (self.is_whole, self.misses) = (true, 0);
            return self.put(entry);
        }
        let plain = differs_entry(value.to_bits() ^ self.last);
        let found = found.or_else(|| self.rescale(value, plain.1));
        let found = found.map(step_entry).filter(|entry| entry.1 <= plain.1);
        (self.is_whole, self.misses) = if found.is_some() { (true, 0) } else { (false, self.misses + 1) };
        self.put(found.unwrap_or(plain));
    }

    /// A copy of fixed length is two stores; what is too much is cut again.
    #[inline]
    fn put(&mut self, (entry, len): ([u8; ENTRY_MAX], usize)) {
        let end = self.bytes.len() + len;
        self.bytes.extend_from_slice(&entry);
        self.bytes.truncate(end);
    }

    /// Looks for finer decimals in which there is a step, and goes over to them where that is worth it.
    #[cold]
    fn rescale(&mut self, value: f64, plain: usize) -> Option<i32> {
        let last = f64::from_bits(self.last);
        let finer = SCALES.iter().enumerate().skip(usize::from(self.scale) + 1);
        let (scale, found) = finer.filter_map(|(at, scale)| Some((at as u8, step(last, value, *scale)?))).next()?;
        if step_entry(found).1 >= plain {
            return None;
        }
        self.bytes.push(SET_SCALE + scale);
        (self.scale, self.was_whole) = (scale, false);
        Some(found)
    }

    /// To the next size that the allocator has anyway, an eighth to a quarter more: all series together would otherwise
    /// leave a quarter of this unused. Emptied, the buffer stays, so a series pays for it once.
    ///
    /// The first is of a minute: smaller ones would all be left again within it, and the allocator keeps the pages they
    /// were in while a single one of other use is among them.
    #[cold]
    fn grow(&mut self, least: usize) {
        let need = (self.bytes.len() + least).max(FIRST_BYTES);
        let step = (need.next_power_of_two() / 8).max(16);
        self.bytes.reserve_exact(need.next_multiple_of(step) - self.bytes.len());
    }

    /// Takes the last value away.
    pub(super) fn pop(&mut self) {
        if self.len < 2 {
            self.clear();
            return;
        }
        let entry = self.bytes.get(usize::from(self.tail)..).unwrap_or(&[]);
        let scale = SCALES[usize::from(self.scale)];
        let last = f64::from_bits(self.last);
        match entry.first() {
            Some(control) if *control < SET_SCALE => self.last ^= differs_of(entry).0,
            Some(control) if *control >= STEP_1 && self.was_whole => {
                self.last = ((nearest(last * scale) - step_of(entry).0) / scale).to_bits();
            }
            _ => return self.pop_by_walk(),
        }
        self.is_whole = self.was_whole;
        self.bytes.truncate(usize::from(self.tail));
        self.len -= 1;
        self.tail = LOST;
    }

    /// As `pop`, from the begin.
    #[cold]
    fn pop_by_walk(&mut self) {
        self.len -= 1;
        let mut decoder = self.iter();
        decoder.nth(self.len() - 1);
        let (last, scale, left) = (decoder.last, decoder.scale, decoder.rest.len());
        (self.last, self.scale) = (last, scale);
        self.bytes.truncate(self.bytes.len() - left);
        (self.is_whole, self.was_whole) = (false, false);
        self.tail = LOST;
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        *self = Self { bytes: std::mem::take(&mut self.bytes), ..Self::default() };
    }

    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Appends the values `from..to`.
    pub(super) fn read(&self, from: usize, to: usize, out: &mut Vec<f64>) {
        let to = to.min(self.len());
        out.reserve(to.saturating_sub(from));
        let mut decoder = self.iter();
        for _ in 0..from.min(to) {
            decoder.next();
        }
        let end = out.len() + to.saturating_sub(from);
        while out.len() < end {
            decoder.run(end - out.len(), out);
            if out.len() < end {
                let Some(value) = decoder.next() else { return };
                out.push(value);
            }
        }
    }

    pub(super) fn iter(&self) -> Decoder<'_> {
        Decoder { rest: &self.bytes, last: 0, whole: 0.0, scale: 0 }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What an entry of differing bytes changes, and its length.
#[inline]
fn differs_of(entry: &[u8]) -> (u64, usize) {
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

/// The step of an entry, and its length.
#[inline]
fn step_of(entry: &[u8]) -> (f64, usize) {
    let control = entry.first().copied().unwrap_or(STEP_1);
    if control < STEP_2 {
        return (f64::from(i32::from(control - STEP_1) - STEP_1_BASE), 1);
    }
    let (high, more) = match control {
        ..STEP_3 => (control - STEP_2, 1),
        STEP_3..STEP_4 => (control - STEP_3, 2),
        STEP_4.. => (control - STEP_4, 3),
    };
    let bytes = entry.get(1..=more).unwrap_or(&[]);
    let folded = bytes.iter().rev().fold(u32::from(high), |folded, byte| folded << 8 | u32::from(*byte));
    (f64::from((folded >> 1) as i32 ^ -((folded & 1) as i32)), 1 + more)
}

/// Values from the first on.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
    last: u64,
    /// The last value in decimals, rounded.
    whole: f64,
    scale: u8,
}

impl Decoder<'_> {
    /// Appends up to `count` values whose entries are of one byte: near steps and repetitions.
    fn run(&mut self, count: usize, out: &mut Vec<f64>) {
        let short = |control: &u8| matches!(*control, SAME | STEP_1..STEP_2);
        if !self.rest.first().is_some_and(short) {
            return;
        }
        let scale = SCALES[usize::from(self.scale)];
        // What is no whole number of decimals, or none at all, is not repeated by a step of nothing.
        let is_whole = self.whole.abs() < WHOLE_MAX && (self.whole / scale).to_bits() == self.last;
        if !is_whole {
            return;
        }
        let (begin, mut whole) = (out.len(), self.whole as i64);
        for control in self.rest.iter().take(count).take_while(|control| short(control)) {
            whole +=
                if *control == SAME { 0 } else { i64::from(*control) - i64::from(STEP_1) - i64::from(STEP_1_BASE) };
            out.push(whole as f64);
        }
        self.rest = self.rest.get(out.len() - begin..).unwrap_or(&[]);
        if scale != 1.0 {
            out.iter_mut().skip(begin).for_each(|value| *value /= scale);
        }
        (self.whole, self.last) = (whole as f64, out.last().map_or(self.last, |value| value.to_bits()));
    }
}

impl Iterator for Decoder<'_> {
    type Item = f64;

    #[inline]
    fn next(&mut self) -> Option<f64> {
        let mut control = *self.rest.first()?;
        if (SET_SCALE..STEP_1).contains(&control) {
            self.scale = (control - SET_SCALE).min(SCALES.len() as u8 - 1);
            self.whole = nearest(f64::from_bits(self.last) * SCALES[usize::from(self.scale)]);
            self.rest = self.rest.get(1..).unwrap_or(&[]);
            control = *self.rest.first()?;
        }
        let len = if control >= STEP_1 {
            let (step, len) = step_of(self.rest);
            self.whole += step;
            self.last = (self.whole / SCALES[usize::from(self.scale)]).to_bits();
            len
        } else {
            let (differs, len) = differs_of(self.rest);
            if differs != 0 {
                self.last ^= differs;
                self.whole = nearest(f64::from_bits(self.last) * SCALES[usize::from(self.scale)]);
            }
            len
        };
        self.rest = self.rest.get(len..).unwrap_or(&[]);
        Some(f64::from_bits(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn bits(values: impl Iterator<Item = f64>) -> Vec<u64> {
        values.map(f64::to_bits).collect()
    }

    /// Pushes and pops values of one kind, and compares with a plain list.
    fn check(rng: &Rng, pops: f64, mut value: impl FnMut(&Rng, Option<f64>) -> f64) {
        let (mut packed, mut plain) = (Packed::default(), Vec::new());
        for round in 0..6_000 {
            if plain.len() == 250 {
                packed.clear();
                plain.clear();
            }
            if rng.chance(pops) {
                packed.pop();
                plain.pop();
            } else {
                let value = value(rng, plain.last().copied());
                packed.push(value);
                plain.push(value);
            }
            let last = plain.last().copied();
            assert_eq!((packed.len(), packed.last().map(f64::to_bits)), (plain.len(), last.map(f64::to_bits)));
            if round % 37 == 0 {
                assert_eq!(bits(packed.iter()), bits(plain.iter().copied()));
                let (from, to) = (rng.below(250) as usize, rng.below(260) as usize);
                let mut part = Vec::new();
                packed.read(from, to, &mut part);
                let wanted = plain.iter().copied().take(to).skip(from);
                assert_eq!(bits(part.into_iter()), bits(wanted));
            }
        }
    }

    #[test]
    fn every_bit_comes_back_also_after_pops() {
        let rng = Rng::from_seed(3);
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 2.0_f64.powi(51) + 1.0, -1e300, 5e-324];
        for scale in [1.0, 10.0, 100.0, 1000.0, 3.0, 1e-3] {
            for width in [3, 200, 100_000, 1 << 40] {
                let walk = |rng: &Rng, last: Option<f64>| {
                    let whole = (last.unwrap_or(7.0) * scale).round();
                    (whole + rng.below(width) as f64 - (width / 3) as f64) / scale
                };
                check(&rng, 0.0, walk);
                check(&rng, 0.3, walk);
                check(&rng, 0.1, |rng, last| match rng.below(8) {
                    0 => f64::from_bits(rng.next_u64()),
                    1 => last.unwrap_or(0.0),
                    2 => odd[rng.below(odd.len() as u64) as usize],
                    3 => rng.below(1_000) as f64 / SCALES[rng.below(4) as usize],
                    _ => walk(rng, last),
                });
            }
        }
    }

    #[test]
    fn a_counter_of_centiseconds_takes_a_byte_a_value() {
        let mut packed = Packed::default();
        let values: Vec<f64> = (0..200).map(|n| f64::from(12_345_678 + 37 * n) / 100.0).collect();
        values.iter().for_each(|value| packed.push(*value));
        assert_eq!(bits(packed.iter()), bits(values.into_iter()));
        assert!(packed.bytes.len() < 215, "{}", packed.bytes.len());
    }

    #[test]
    fn a_buffer_grows_with_its_neighbours_when_little_is_left() {
        let mut packed = Packed::default();
        let mut grown = 0;
        for value in 0..200 {
            let left = packed.bytes.capacity() - packed.bytes.len();
            let before = packed.bytes.capacity();
            let grows = packed.make_room(true);
            assert_eq!(grows, left < ENTRY_MAX + 1 + GROWS_WITH, "{left}");
            assert_eq!(grows, packed.bytes.capacity() > before);
            assert!(!packed.make_room(true) && !packed.make_room(false), "once is enough");
            grown += u32::from(grows);
            packed.push(f64::from(value));
        }
        assert_eq!(packed.iter().count(), 200);
        assert!(grown > 4, "{grown}");
    }
}
