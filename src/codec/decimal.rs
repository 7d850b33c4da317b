//! Doubles that are short decimals, as integers: `v == i / 10^e` to the last bit.
//!
//! Division by a power of ten rounds once, so whatever number of up to 15 digits a sender printed comes back exactly;
//! multiplying by 10^-e would round twice. Both directions use the constant 1.5 * 2^52 instead of conversion
//! instructions: adding it leaves the integer in the low bits, and SSE2 has no conversion between f64 and i64.

/// The largest exponent.
pub const EXPONENT_MAX: u8 = 14;

/// 10^e for each exponent, all exact.
pub const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

const MAGIC: f64 = 6_755_399_441_055_744.0;
/// Integers below this magnitude come through the constant linearly.
const LIMIT: f64 = 2_251_799_813_685_248.0;

/// The integer of one value at exponent `e`, if there is one.
#[inline(always)]
fn integer(value: f64, power: f64) -> (i64, bool) {
    let scaled = value * power;
    let shifted = scaled + MAGIC;
    let back = (shifted - MAGIC) / power;
    let exact = (back.to_bits() == value.to_bits()) & (scaled.abs() < LIMIT);
    (shifted.to_bits().wrapping_sub(MAGIC.to_bits()) as i64, exact)
}

/// Whether `value` is an integer over 10^e.
pub fn is_exact(value: f64, exponent: u8) -> bool {
    POWERS.get(usize::from(exponent)).is_some_and(|&power| integer(value, power).1)
}

/// The exponent at which (nearly) all of a few probed values are exact; `None` where there is none.
pub fn probe(values: &[f64]) -> Option<u8> {
    const PROBES: usize = 32;
    let step = (values.len() / PROBES).max(1);
    (0..=EXPONENT_MAX).find(|&e| {
        let (mut probes, mut misses) = (0, 0);
        for &value in values.iter().step_by(step) {
            probes += 1;
            misses += usize::from(!is_exact(value, e));
            // Stale markers among the probes must not hide that the rest are decimals, but nearly all have to be.
            if misses > 2 {
                return false;
            }
        }
        misses * 2 < probes && misses * 12 <= probes + 11
    })
}

/// Writes the integers of `values` at this exponent; returns how many are not exact. Those slots hold nonsense until
/// the caller replaces them.
#[inline]
pub fn to_integers(values: &[f64], exponent: u8, integers: &mut [i64]) -> usize {
    let power = POWERS.get(usize::from(exponent)).copied().unwrap_or(1.0);
    let mut misses = 0u64;
    for (slot, &value) in integers.iter_mut().zip(values) {
        let (integer, exact) = integer(value, power);
        *slot = integer;
        misses += u64::from(!exact);
    }
    misses as usize
}

/// The double of an integer at exponent `e`.
pub fn double(integer: i64, exponent: u8) -> f64 {
    shifted_back(integer) / POWERS.get(usize::from(exponent)).copied().unwrap_or(1.0)
}

/// The double of an integer below 2^51.
#[inline(always)]
fn shifted_back(integer: i64) -> f64 {
    f64::from_bits((integer as u64).wrapping_add(MAGIC.to_bits())) - MAGIC
}

/// Appends the doubles of integers, the inverse of [`to_integers`]. Any integer gives some double: damage cannot panic
/// here.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma+lzcnt+popcnt"))]
pub fn append_doubles(integers: &[i64], exponent: u8, out: &mut Vec<f64>) {
    let power = POWERS.get(usize::from(exponent)).copied().unwrap_or(1.0);
    if exponent == 0 {
        out.extend(integers.iter().map(|integer| shifted_back(*integer)));
    } else if multiversion::target::target_cfg_f!(target_feature = "fma") {
        let inverse = 1.0 / power;
        out.extend(integers.iter().map(|integer| quotient(shifted_back(*integer), power, inverse)));
    } else {
        out.extend(integers.iter().map(|integer| shifted_back(*integer) / power));
    }
}

/// `integer / power`, rounded as a division rounds it, without one.
///
/// The first product is at most two units in the last place off, and the fused remainder is exact: it is a multiple of
/// half a unit times 2^e, and 5^e below 2^33 of those make it. The correction leaves 2^-51 of a unit, while a quotient of an
/// integer below 2^51 by 10^e is never a tie and stays 2^-34 of a unit away from one.
#[inline(always)]
fn quotient(integer: f64, power: f64, inverse: f64) -> f64 {
    let near = integer * inverse;
    let rest = near.mul_add(-power, integer);
    rest.mul_add(inverse, near)
}

/// A double's bits as an integer whose order is the order of the doubles, so that near values are near integers.
#[inline]
pub fn ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The inverse of [`ordered`].
#[inline(always)]
pub fn unordered(integer: i64) -> f64 {
    f64::from_bits((integer ^ (((integer >> 63) as u64) >> 1) as i64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_decimals_are_exact_and_others_are_not() {
        for (text, e) in
            [("0.1", 1), ("12.34", 2), ("-7", 0), ("0.001", 3), ("1234567890.123", 3), ("0", 0), ("-0.25", 2)]
        {
            let v: f64 = text.parse().unwrap();
            assert_eq!((0..=EXPONENT_MAX).find(|&e| is_exact(v, e)), Some(e), "{text}");
            let mut ints = [0];
            assert_eq!(to_integers(&[v], e, &mut ints), 0);
            let mut back = Vec::new();
            append_doubles(&ints, e, &mut back);
            assert_eq!((back[0].to_bits(), double(ints[0], e).to_bits()), (v.to_bits(), v.to_bits()));
        }
        for v in [-0.0, f64::NAN, f64::INFINITY, f64::MAX, 0.1 + 0.2, 1e300, 9_007_199_254_740_993.0] {
            assert!((0..=EXPONENT_MAX).all(|e| !is_exact(v, e)), "{v}");
        }
    }

    #[test]
    fn what_stands_for_a_division_rounds_as_one() {
        let rng = crate::base::rng::Rng::from_seed(12);
        for exponent in 0..=EXPONENT_MAX {
            let power = POWERS[usize::from(exponent)];
            let near_powers = (0..51).flat_map(|bits| [(1i64 << bits) - 1, 1 << bits, -(1 << bits) - 1]);
            let random = (0..20_000).map(|_| rng.next_u64() as i64 >> (13 + rng.below(51)));
            let integers: Vec<i64> = near_powers.chain(random).collect();
            let mut doubles = Vec::new();
            append_doubles(&integers, exponent, &mut doubles);
            for (integer, value) in integers.iter().zip(&doubles) {
                assert_eq!(value.to_bits(), (*integer as f64 / power).to_bits(), "{integer} over 10^{exponent}");
            }
        }
    }

    #[test]
    fn ordered_integers_sort_like_doubles() {
        let values =
            [f64::NEG_INFINITY, -1e9, -1.0, -f64::MIN_POSITIVE, -0.0, 0.0, f64::MIN_POSITIVE, 1.0, f64::INFINITY];
        assert!(values.map(ordered).is_sorted());
        for v in values.into_iter().chain([f64::NAN, crate::model::sample::STALE_NAN]) {
            assert_eq!(unordered(ordered(v)).to_bits(), v.to_bits());
        }
    }

    #[test]
    fn probing_forgives_one_stale_marker() {
        let mut values: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
        values[0] = crate::model::sample::STALE_NAN;
        assert_eq!(probe(&values), Some(2));
        assert_eq!(probe(&[f64::NAN]), None);
        assert_eq!(probe(&[std::f64::consts::PI, std::f64::consts::E, 2.0f64.sqrt()]), None);
    }
}
