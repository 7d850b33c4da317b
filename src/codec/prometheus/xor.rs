//! XOR chunks: times as delta of delta, floats as XOR with the one before.

use super::bits::{BitReader, BitWriter, ChunkError, XorColumn};

/// Appends the samples of a chunk (without its encoding byte and checksum) to the columns.
pub fn decode(chunk: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<(), ChunkError> {
    let (head, body) = chunk.split_at_checked(2).ok_or(ChunkError::Truncated)?;
    let count = u16::from_be_bytes([head[0], head[1]]);
    let mut bits = BitReader::new(body);
    if count == 0 {
        return Ok(());
    }
    let mut time = bits.varint()?;
    let mut column = XorColumn::starting_with(bits.float()?);
    times.push(time);
    values.push(column.value);
    let mut delta = 0_i64;
    for index in 1..count {
        delta = if index == 1 {
            i64::try_from(bits.uvarint()?).map_err(|_| ChunkError::Malformed)?
        } else {
            delta.wrapping_add(delta_of_delta(&mut bits)?)
        };
        time = time.wrapping_add(delta);
        times.push(time);
        values.push(column.read(&mut bits)?);
    }
    Ok(())
}

fn delta_of_delta(bits: &mut BitReader<'_>) -> Result<i64, ChunkError> {
    for width in [0, 14, 17, 20] {
        if !bits.bit()? {
            return if width == 0 { Ok(0) } else { bits.signed(width) };
        }
    }
    Ok(bits.bits(64)? as i64)
}

/// Encodes samples, ascending in time, as one chunk; at most 65,535 of them, the rest is left out by the caller.
pub fn encode(times: &[i64], values: &[f64]) -> Vec<u8> {
    let count = times.len().min(values.len()).min(usize::from(u16::MAX));
    let mut bits = BitWriter::after((count as u16).to_be_bytes().to_vec());
    let (Some(&first), Some(&value)) = (times.first(), values.first()) else {
        return bits.bytes;
    };
    bits.varint(first);
    bits.bits(value.to_bits(), 64);
    let mut column = XorColumn::starting_with(value);
    let (mut time, mut delta) = (first, 0_i64);
    for index in 1..count {
        let new_delta = times[index].wrapping_sub(time);
        if index == 1 {
            bits.uvarint(new_delta as u64);
        } else {
            write_delta_of_delta(new_delta.wrapping_sub(delta), &mut bits);
        }
        (time, delta) = (times[index], new_delta);
        column.write(values[index], &mut bits);
    }
    bits.bytes
}

fn write_delta_of_delta(value: i64, bits: &mut BitWriter) {
    let fits = |width: u32| value > -(1 << (width - 1)) && value <= 1 << (width - 1);
    match value {
        0 => bits.bit(false),
        _ if fits(14) => {
            bits.bits(0b10, 2);
            bits.bits(value as u64, 14);
        }
        _ if fits(17) => {
            bits.bits(0b110, 3);
            bits.bits(value as u64, 17);
        }
        _ if fits(20) => {
            bits.bits(0b1110, 4);
            bits.bits(value as u64, 20);
        }
        _ => {
            bits.bits(0b1111, 4);
            bits.bits(value as u64, 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_round_trip_bit_by_bit(
            samples in prop::collection::vec((1_i64..4_000_000_000_000, any::<u64>(), 0_u32..60), 0..200),
            start in -1_000_000_000_000_i64..1_000_000_000_000,
        ) {
            let mut time = start;
            let mut times = Vec::new();
            let mut values = Vec::new();
            for (step, bits, shift) in samples {
                time += (step >> shift).max(1);
                times.push(time);
                values.push(f64::from_bits(if shift % 5 == 0 { 0x4059_0000_0000_0000 } else { bits }));
            }
            let (mut read_times, mut read_values) = (Vec::new(), Vec::new());
            decode(&encode(&times, &values), &mut read_times, &mut read_values)?;
            prop_assert_eq!(read_times, times);
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read_values), bits(&values));
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, &mut Vec::new(), &mut Vec::new());
        }
    }
}
