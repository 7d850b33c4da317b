//! Names of blocks: 48 bits of milliseconds and 80 random bits, written in 26 characters that sort by time.

use std::fmt;

use crate::base::clock::Millis;
use crate::base::rng::Rng;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ulid(pub u128);

impl Ulid {
    /// A new name. Times before 1970 or after the year 10889 are clamped.
    pub fn new(now: Millis, rng: &Rng) -> Self {
        let time = u128::try_from(now.clamp(0, (1 << 48) - 1)).unwrap_or(0);
        let random = u128::from(rng.next_u64()) | u128::from(rng.next_u64() & 0xffff) << 64;
        Self(time << 80 | random)
    }

    /// Reads the 26 characters; `None` where they are not a ULID.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 26 {
            return None;
        }
        let mut value = 0u128;
        for byte in text.bytes() {
            let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
            value = value.checked_mul(32)? | digit as u128;
        }
        Some(Self(value))
    }

    /// When it was made.
    pub fn time(self) -> Millis {
        (self.0 >> 80) as i64
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in (0..26).rev() {
            let letter = ALPHABET[(self.0 >> (digit * 5) & 31) as usize];
            write!(f, "{}", letter as char)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_and_come_back() {
        let rng = Rng::from_seed(1);
        let (a, b) = (Ulid::new(1_790_000_000_000, &rng), Ulid::new(1_790_000_000_001, &rng));
        assert!(a.to_string() < b.to_string() && a < b);
        assert_eq!(Ulid::parse(&a.to_string()), Some(a));
        assert_eq!(a.time(), 1_790_000_000_000);
        assert_eq!(Ulid::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap().to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(Ulid::parse("01ARZ3NDEKTSV4RRFFQ69G5FAU"), None);
        assert_eq!(Ulid::parse("8ZZZZZZZZZZZZZZZZZZZZZZZZZ"), None);
    }
}
