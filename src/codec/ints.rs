//! Blocks of up to 256 integers: what times, values, counts and bucket columns end as.
//!
//! A block is stored by the cheapest of five views: distance from the least value, from the value before (delta), from
//! the delta before, or only the changes, as a bitmap or as positions. Residuals are bit-packed at the width that costs
//! least in total; the few that need more keep their upper bits apart as patches. All arithmetic wraps, so every i64
//! comes back, and damaged bytes give some integers or an error. Table: docs/format/chunk.md.

use crate::codec::BLOCK;
use crate::codec::bytes::{put_signed, varint_len, zigzag};
use crate::codec::pack::{bits, pack, stored_width};

/// All integers are equal.
pub(super) const CONSTANT: u8 = 0;
/// Distances from a reference.
pub(super) const FRAME: u8 = 1;
/// Differences of neighbours.
pub(super) const DELTA: u8 = 2;
/// Differences of neighbouring differences.
pub(super) const DELTA2: u8 = 3;
/// A bit for each integer after the first says whether it moved; then the moves.
pub(super) const BITMAP: u8 = 4;
/// Positions of the moves, a byte each; then the moves.
pub(super) const SPARSE: u8 = 5;
pub(super) const MODE_MASK: u8 = 7;
/// The integers share trailing zero bits, counted in a byte.
pub(super) const SHIFTED: u8 = 8;
/// Some residuals have upper bits kept apart.
pub(super) const PATCHED: u8 = 16;

/// How residuals are packed, and what that costs.
#[derive(Clone, Copy, Debug, Default)]
struct Fit {
    reference: i64,
    width: u32,
    /// Width of the upper bits of patched residuals.
    high: u32,
    patches: usize,
    bits: usize,
}

/// A block that has been looked at: the choice is made, its size is known, nothing is written yet.
pub struct Plan {
    mode: u8,
    shift: u32,
    first: i64,
    second: i64,
    fit: Fit,
    residuals: [i64; BLOCK],
    count: usize,
    moved: [bool; BLOCK],
    samples: usize,
}

impl Plan {
    /// Chooses for at most 256 integers; more are a bug of the caller.
    pub fn new(integers: &[i64]) -> Self {
        assert!(integers.len() <= BLOCK, "a block has at most {BLOCK} integers");
        let samples = integers.len();
        let first = integers.first().copied().unwrap_or(0);
        let mut plan = Self {
            mode: CONSTANT,
            shift: 0,
            first,
            second: 0,
            fit: Fit::default(),
            residuals: [0; BLOCK],
            count: 0,
            moved: [false; BLOCK],
            samples,
        };
        let mut any = 0u64;
        let mut y = [0i64; BLOCK];
        for (y, &x) in y.iter_mut().zip(integers) {
            *y = x.wrapping_sub(first);
            any |= *y as u64;
        }
        if any == 0 {
            return plan;
        }
        plan.shift = any.trailing_zeros();
        if plan.shift > 0 {
            y.iter_mut().for_each(|y| *y >>= plan.shift);
        }
        plan.choose(&y[..samples]);
        plan
    }

    /// `y` starts with 0 and has some other value.
    fn choose(&mut self, y: &[i64]) {
        let n = y.len();
        let (mut d, mut dd, mut moves) = ([0i64; BLOCK], [0i64; BLOCK], [0i64; BLOCK]);
        for ((d, pair), moved) in d.iter_mut().zip(y.windows(2)).zip(&mut self.moved) {
            *d = pair[1].wrapping_sub(pair[0]);
            *moved = *d != 0;
        }
        let deltas = n - 1;
        let mut k = 0;
        for &d in &d[..deltas] {
            moves[k] = d;
            k += usize::from(d != 0);
        }
        for (dd, pair) in dd.iter_mut().zip(d[..deltas].windows(2)) {
            *dd = pair[1].wrapping_sub(pair[0]);
        }
        let frame = fit(y);
        let delta = fit(&d[..deltas]);
        let mut best = (frame.bits, FRAME, frame);
        if delta.bits < best.0 {
            best = (delta.bits, DELTA, delta);
        }
        if deltas > 1 {
            let fit = fit(&dd[..deltas - 1]);
            let cost = fit.bits + 8 * varint_len(zigzag(d[0]));
            if cost < best.0 {
                best = (cost, DELTA2, fit);
            }
        }
        let (flags, mode) = if k * 8 + 8 < deltas { (k * 8 + 8, SPARSE) } else { (deltas, BITMAP) };
        // Below half the slots moving, leaving out the rest can pay; above, the bitmap alone costs what it saves.
        if k * 2 < deltas && flags < best.0 {
            let fit = fit(&moves[..k]);
            if fit.bits + flags < best.0 {
                best = (fit.bits + flags, mode, fit);
            }
        }
        (self.mode, self.fit) = (best.1, best.2);
        let (residuals, count) = match self.mode {
            FRAME => (y, n),
            DELTA => (&d[..], deltas),
            DELTA2 => (&dd[..], deltas - 1),
            _ => (&moves[..], k),
        };
        self.count = count;
        self.residuals[..count].copy_from_slice(&residuals[..count]);
        self.second = d[0];
    }

    /// Bytes that [`Plan::write`] appends, to within a few.
    pub fn len(&self, origin: i64) -> usize {
        let first = 1 + varint_len(zigzag(self.first.wrapping_sub(origin))) + usize::from(self.shift > 0);
        if self.mode == CONSTANT {
            return first;
        }
        let own = match self.mode {
            DELTA2 => varint_len(zigzag(self.second)),
            BITMAP => (self.samples - 1).div_ceil(8),
            SPARSE => 1 + self.count,
            _ => 0,
        };
        first + own + self.fit.bits.div_ceil(8)
    }

    /// The first integer, 0 for an empty block.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// Appends the block. The first integer is stored as its distance from `origin`, which the decoder must know.
    pub fn write(&self, origin: i64, out: &mut Vec<u8>) {
        let shifted = if self.shift > 0 { SHIFTED } else { 0 };
        let patched = if self.fit.patches > 0 { PATCHED } else { 0 };
        out.push(self.mode | shifted | patched);
        put_signed(out, self.first.wrapping_sub(origin));
        if self.shift > 0 {
            out.push(self.shift as u8);
        }
        match self.mode {
            CONSTANT => return,
            DELTA2 => put_signed(out, self.second),
            BITMAP => {
                for group in self.moved[..self.samples - 1].chunks(8) {
                    out.push(group.iter().enumerate().fold(0, |byte, (i, &moved)| byte | u8::from(moved) << i));
                }
            }
            SPARSE => {
                out.push(self.count as u8);
                let moved = self.moved.iter().enumerate().filter(|(_, moved)| **moved);
                out.extend(moved.map(|(i, _)| i as u8));
            }
            _ => {}
        }
        self.write_residuals(out);
    }

    fn write_residuals(&self, out: &mut Vec<u8>) {
        let Fit { reference, width, high, patches, .. } = self.fit;
        put_signed(out, reference);
        out.push(width as u8);
        let mut residuals = [0u64; BLOCK];
        for (r, &v) in residuals.iter_mut().zip(&self.residuals[..self.count]) {
            *r = v.wrapping_sub(reference) as u64;
        }
        let residuals = &residuals[..self.count];
        if patches > 0 {
            out.push((patches - 1) as u8);
            out.push(high as u8);
            let mut highs = [0u64; BLOCK];
            let mut k = 0;
            for (i, &r) in residuals.iter().enumerate().filter(|(_, r)| bits(**r) > width) {
                out.push(i as u8);
                highs[k] = r >> width;
                k += 1;
            }
            pack(&highs[..k], high, out);
        }
        pack(residuals, width, out);
    }
}

/// Finds reference and width. The least value is the reference, unless one or two outliers below (a counter reset among
/// increases) would widen all others: then those wrap around and become patches.
fn fit(values: &[i64]) -> Fit {
    let Some((&lo, &hi)) = values.iter().min().zip(values.iter().max()) else { return Fit::default() };
    let spread = hi.wrapping_sub(lo) as u64;
    let plain = fit_at(values, lo, bits(spread));
    if spread < 16 || values.len() < 64 {
        return plain;
    }
    let mut least = [i64::MAX; BLOCK / 16];
    let groups = values.len().div_ceil(16);
    for (least, group) in least.iter_mut().zip(values.chunks(16)) {
        *least = group.iter().copied().min().unwrap_or(i64::MAX);
    }
    least[..groups].sort_unstable();
    let third = least[2];
    if bits(hi.wrapping_sub(third) as u64) + 1 >= bits(spread) {
        return plain;
    }
    let robust = fit_at(values, third, 64);
    if robust.bits < plain.bits { robust } else { plain }
}

/// The width that costs least with this reference; `widest` bounds the bits of a residual.
#[inline]
fn fit_at(values: &[i64], reference: i64, widest: u32) -> Fit {
    let head = 8 * (varint_len(zigzag(reference)) + 1);
    if widest == 0 {
        return Fit { reference, width: 0, high: 0, patches: 0, bits: head };
    }
    let mut histogram = [0u16; 65];
    for &value in values {
        histogram[bits(value.wrapping_sub(reference) as u64) as usize] += 1;
    }
    let widest = histogram.iter().rposition(|&count| count > 0).unwrap_or(0) as u32;
    let n = values.len();
    let mut best = Fit { bits: usize::MAX, ..Fit::default() };
    let mut above = 0usize;
    for width in (0..=widest).rev() {
        if above > BLOCK - 1 {
            break;
        }
        let (stored, high) = (stored_width(width), stored_width(widest - width));
        let patches = if stored == 64 { 0 } else { above };
        let extra = if patches > 0 { 16 + patches * (8 + high as usize) } else { 0 };
        let cost = head + n * stored as usize + extra;
        if cost < best.bits {
            best = Fit { reference, width: stored, high, patches, bits: cost };
        }
        above += usize::from(histogram[width as usize]);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::codec::bytes::Reader;
    use crate::codec::unpacker::Unpacker;

    #[track_caller]
    fn check(integers: &[i64], at_most: usize) {
        // What a block leaves in the buffers must not show in the next.
        let mut unpacker = Unpacker::dirty();
        for origin in [0, 12_345, i64::MIN] {
            let plan = Plan::new(integers);
            let mut out = Vec::new();
            plan.write(origin, &mut out);
            if origin == 0 {
                assert!(out.len() <= at_most, "{} bytes", out.len());
                assert!(out.len().abs_diff(plan.len(origin)) <= 6, "planned {} wrote {}", plan.len(origin), out.len());
            }
            for padding in [0, 16] {
                out.resize(out.len() + padding, 0xaa);
                let mut reader = Reader::new(&out);
                let back = unpacker.block(&mut reader, integers.len(), origin).unwrap();
                assert_eq!(&back[..integers.len()], integers);
                assert_eq!(reader.rest().len(), padding);
            }
        }
    }

    #[test]
    fn each_view_is_taken_where_it_is_the_cheapest() {
        let n = 256i64;
        let noise = |i: i64| (i * 7919) % 16;
        check(&[5; 256], 2);
        check(&(0..n).map(|i| 1000 + noise(i)).collect::<Vec<_>>(), 140);
        check(&(0..n).map(|i| i * 1_000_000).collect::<Vec<_>>(), 8);
        check(&(0..n).map(|i| i * 4096 * 100 + noise(i) * 4096).collect::<Vec<_>>(), 180);
        check(&(0..n).map(|i| i * i).collect::<Vec<_>>(), 8);
        check(&(0..n).map(|i| 77 + i / 60 * 1_000_000).collect::<Vec<_>>(), 16);
        check(
            &(0..n).map(|i| (0..i).filter(|j| noise(*j) < 4).map(|j| noise(j * 31) * 99).sum()).collect::<Vec<_>>(),
            200,
        );
    }

    #[test]
    fn a_counter_reset_costs_a_patch_and_not_a_width() {
        let counter: Vec<i64> =
            (0..256).map(|i| if i < 100 { 900_000_000 + i * 3 + i % 2 } else { i * 3 + i % 3 }).collect();
        check(&counter, 110);
    }

    #[test]
    fn all_sorts_of_integers_come_back() {
        let rng = Rng::from_seed(2);
        for round in 0..3_000 {
            let n = [0, 1, 2, 3, 8, 60, 120, 255, 256][rng.below(9) as usize];
            let mut x = rng.next_u64() as i64 >> rng.below(64);
            let (spread, jump) = (rng.below(64), rng.below(60));
            let block: Vec<i64> = (0..n)
                .map(|_| {
                    let r = rng.next_u64();
                    let kind = round % 5;
                    let step = if kind == 0 && !r.is_multiple_of(8) { 0 } else { (r >> spread) as i64 };
                    match kind {
                        4 => return step,
                        3 if r.is_multiple_of(50) => x = x.wrapping_add(r as i64 >> jump),
                        _ => x = x.wrapping_add(step),
                    }
                    x
                })
                .collect();
            check(&block, 9 * BLOCK + 20);
        }
        check(&[i64::MIN, i64::MAX, 0, -1, i64::MIN], 60);
    }

    #[test]
    fn damage_gives_an_error_or_other_integers_but_no_panic() {
        let rng = Rng::from_seed(3);
        let block: Vec<i64> = (0..256).map(|i| if i % 9 == 0 { i << 20 } else { i }).collect();
        let mut good = Vec::new();
        Plan::new(&block).write(0, &mut good);
        let mut unpacker = Unpacker::dirty();
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            let _ = unpacker.block(&mut Reader::new(&bytes), rng.below(258) as usize, 0);
        }
    }
}
