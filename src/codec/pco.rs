//! The entropy coder for data at rest: the crate `pco`, a standalone stream a column. A column decodes only as a whole.
//!
//! The level is the lowest that is close to the best: 8 gains a percent or two at a third of the speed.

use ::pco::ChunkConfig;
use ::pco::data_types::Number;
use ::pco::standalone::{simple_compress, simple_decompress_into};

use crate::codec::CodecError;

/// The crate's own default is 8.
const LEVEL: usize = 4;

/// The stream of these numbers; `None` where the crate refuses them, which its contract excludes for our sizes.
pub fn encode<T: Number>(numbers: &[T]) -> Option<Vec<u8>> {
    simple_compress(numbers, &ChunkConfig::default().with_compression_level(LEVEL)).ok()
}

/// Reads a stream of exactly as many numbers as there is room for; the caller has checked that against its limit.
pub fn decode_into<T: Number>(bytes: &[u8], numbers: &mut [T]) -> Result<(), CodecError> {
    let progress =
        simple_decompress_into(bytes, numbers).map_err(|_| CodecError("an entropy coded column does not decode"))?;
    if progress.n_processed != numbers.len() || !progress.finished {
        return Err(CodecError("an entropy coded column differs in length"));
    }
    Ok(())
}

/// As [`decode_into`], into a list of its own.
pub fn decode<T: Number + Default>(bytes: &[u8], count: usize) -> Result<Vec<T>, CodecError> {
    let mut numbers = vec![T::default(); count];
    decode_into(bytes, &mut numbers)?;
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn integers_and_doubles_come_back_to_the_bit() {
        let rng = Rng::from_seed(12);
        for n in [1usize, 2, 1000, 7200] {
            let integers: Vec<i64> = (0..n).map(|_| rng.next_u64() as i64 >> rng.below(64)).collect();
            assert_eq!(decode::<i64>(&encode(&integers).unwrap(), n).unwrap(), integers);
            let doubles: Vec<f64> = (0..n).map(|_| f64::from_bits(rng.next_u64())).collect();
            let back = decode::<f64>(&encode(&doubles).unwrap(), n).unwrap();
            assert!(back.iter().zip(&doubles).all(|(a, b)| a.to_bits() == b.to_bits()));
            assert!(decode::<i64>(&encode(&integers).unwrap(), n + 1).is_err());
        }
    }

    #[test]
    fn damage_gives_an_error_or_other_numbers_but_no_panic() {
        let rng = Rng::from_seed(13);
        let integers: Vec<i64> = (0..3000).map(|i| i * 100 + i % 17).collect();
        let good = encode(&integers).unwrap();
        for round in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(if round % 2 == 0 { 40 } else { bytes.len() as u64 }) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
            bytes.truncate(1 + rng.below(bytes.len() as u64 * 3) as usize);
            let _ = decode::<i64>(&bytes, 3000);
        }
    }
}
