//! Bit streams, most significant bit first, and the variable-width integers that histogram chunks use.

/// Why bytes are not a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("chunk ends in the middle of a sample")]
    Truncated,
    #[error("chunk holds an impossible value")]
    Malformed,
    #[error("chunk encoding {0} is not known; export it with a Prometheus that can rewrite it")]
    UnknownEncoding(u8),
    #[error("histogram schema {0} is not known")]
    UnknownSchema(i64),
}

/// Widths of the payload behind 1 to 7 leading ones; eight ones stand before 64 bits.
const WIDTHS: [u32; 8] = [0, 3, 6, 9, 12, 18, 25, 56];

/// Reads bits from a slice.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bit(&mut self) -> Result<bool, ChunkError> {
        let byte = self.bytes.get(self.at / 8).ok_or(ChunkError::Truncated)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// The next `count` bits (at most 64) as the low bits of the result.
    pub(super) fn bits(&mut self, count: u32) -> Result<u64, ChunkError> {
        let mut left = count;
        let mut value = 0_u64;
        while left > 0 {
            let byte = *self.bytes.get(self.at / 8).ok_or(ChunkError::Truncated)?;
            let used = (self.at % 8) as u32;
            let take = left.min(8 - used);
            let part = (byte << used) >> (8 - take);
            value = value << take | u64::from(part);
            self.at += take as usize;
            left -= take;
        }
        Ok(value)
    }

    /// A two's-complement number in `width` bits, whose most negative pattern means the positive power of two.
    pub(super) fn signed(&mut self, width: u32) -> Result<i64, ChunkError> {
        let bits = self.bits(width)?;
        let wraps = width < 64 && bits > 1 << (width - 1);
        Ok(if wraps { bits.wrapping_sub(1 << width) as i64 } else { bits as i64 })
    }

    pub(super) fn float(&mut self) -> Result<f64, ChunkError> {
        Ok(f64::from_bits(self.bits(64)?))
    }

    /// LEB128, as Go's `binary.ReadUvarint`.
    pub(super) fn uvarint(&mut self) -> Result<u64, ChunkError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.bits(8)?;
            if shift == 63 && byte > 1 {
                return Err(ChunkError::Malformed);
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ChunkError::Malformed)
    }

    /// Zigzag LEB128, as Go's `binary.ReadVarint`.
    pub(super) fn varint(&mut self) -> Result<i64, ChunkError> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    pub(super) fn varbit_uint(&mut self) -> Result<u64, ChunkError> {
        match self.leading_ones()? {
            8 => self.bits(64),
            ones => self.bits(WIDTHS[ones]),
        }
    }

    pub(super) fn varbit_int(&mut self) -> Result<i64, ChunkError> {
        match self.leading_ones()? {
            0 => Ok(0),
            8 => Ok(self.bits(64)? as i64),
            ones => self.signed(WIDTHS[ones]),
        }
    }

    /// Counts ones up to the first zero, which is consumed; eight ones have no zero behind them.
    fn leading_ones(&mut self) -> Result<usize, ChunkError> {
        for ones in 0..8 {
            if !self.bit()? {
                return Ok(ones);
            }
        }
        Ok(8)
    }
}

/// Appends bits to a byte vector.
#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    pub(super) bytes: Vec<u8>,
    /// Bits of the last byte that are still free.
    free: u32,
}

impl BitWriter {
    /// Starts behind bytes that are whole.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    pub(super) fn bit(&mut self, bit: bool) {
        self.bits(u64::from(bit), 1);
    }

    /// Appends the low `count` bits (at most 64).
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (value >> (left - take)) as u8 & (0xff >> (8 - take));
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (self.free - take);
            }
            self.free -= take;
            left -= take;
        }
    }

    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint((value << 1 ^ value >> 63) as u64);
    }

    pub(super) fn varbit_uint(&mut self, value: u64) {
        let ones = WIDTHS.iter().position(|&width| value < 1 << width).unwrap_or(8);
        self.varbit(ones, value);
    }

    pub(super) fn varbit_int(&mut self, value: i64) {
        let fits = |width: u32| match width {
            0 => value == 0,
            width => value > -(1 << (width - 1)) && value <= 1 << (width - 1),
        };
        let ones = WIDTHS.iter().position(|&width| fits(width)).unwrap_or(8);
        self.varbit(ones, value as u64);
    }

    fn varbit(&mut self, ones: usize, value: u64) {
        match WIDTHS.get(ones) {
            Some(&width) => {
                self.bits((1 << (ones + 1)) - 2, ones as u32 + 1);
                self.bits(value, width);
            }
            None => {
                self.bits(0xff, 8);
                self.bits(value, 64);
            }
        }
    }
}

/// The state of one column of floats that are stored as the XOR with the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct XorColumn {
    pub(super) value: f64,
    leading: u32,
    trailing: u32,
}

impl XorColumn {
    /// A column whose first value was stored whole. `leading` 255 in the format means "no window yet".
    pub(super) fn starting_with(value: f64) -> Self {
        Self { value, leading: u32::MAX, trailing: 0 }
    }

    pub(super) fn read(&mut self, bits: &mut BitReader<'_>) -> Result<f64, ChunkError> {
        if !bits.bit()? {
            return Ok(self.value);
        }
        if bits.bit()? {
            self.leading = bits.bits(5)? as u32;
            let significant = match bits.bits(6)? as u32 {
                0 => 64,
                other => other,
            };
            self.trailing = 64_u32.checked_sub(self.leading + significant).ok_or(ChunkError::Malformed)?;
        } else if self.leading == u32::MAX {
            return Err(ChunkError::Malformed);
        }
        let xor = bits.bits(64 - self.leading - self.trailing)? << self.trailing;
        self.value = f64::from_bits(self.value.to_bits() ^ xor);
        Ok(self.value)
    }

    pub(super) fn write(&mut self, value: f64, bits: &mut BitWriter) {
        let xor = value.to_bits() ^ self.value.to_bits();
        self.value = value;
        bits.bit(xor != 0);
        if xor == 0 {
            return;
        }
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        let fits = self.leading != u32::MAX && leading >= self.leading && trailing >= self.trailing;
        bits.bit(!fits);
        if !fits {
            (self.leading, self.trailing) = (leading, trailing);
            bits.bits(u64::from(leading), 5);
            // 64 significant bits do not fit six bits; 0 stands for them, as 0 itself never occurs.
            bits.bits(u64::from(64 - leading - trailing), 6);
        }
        bits.bits(xor >> self.trailing, 64 - self.leading - self.trailing);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_round_trip(signed in any::<i64>(), unsigned in any::<u64>(), shift in 0_u32..64) {
            let (signed, unsigned) = (signed >> shift, unsigned >> shift);
            let mut writer = BitWriter::default();
            writer.bit(true);
            writer.varbit_int(signed);
            writer.varbit_uint(unsigned);
            writer.varint(signed);
            writer.uvarint(unsigned);
            let mut reader = BitReader::new(&writer.bytes);
            prop_assert!(reader.bit()?);
            prop_assert_eq!(reader.varbit_int(), Ok(signed));
            prop_assert_eq!(reader.varbit_uint(), Ok(unsigned));
            prop_assert_eq!(reader.varint(), Ok(signed));
            prop_assert_eq!(reader.uvarint(), Ok(unsigned));
        }
    }

    #[test]
    fn the_edges_of_each_width_round_trip() {
        for width in [3_u32, 6, 9, 12, 18, 25, 56] {
            let half = 1_i64 << (width - 1);
            for value in [-half, -half + 1, half, half + 1] {
                let mut writer = BitWriter::default();
                writer.varbit_int(value);
                assert_eq!(BitReader::new(&writer.bytes).varbit_int(), Ok(value), "{width} bits");
            }
        }
    }
}
