//! A reader over bytes from outside, with the integer forms of Prometheus' files.

/// Why bytes of a Prometheus data folder cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TsdbError {
    #[error("ends too early at byte {0}")]
    Truncated(usize),
    #[error("checksum does not match at byte {0}")]
    Checksum(usize),
    #[error("{what} at byte {at}")]
    Malformed { what: &'static str, at: usize },
    #[error("version {0} of the format is not known")]
    Version(u8),
}

/// A position in a slice. Every step is checked.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], TsdbError> {
        let end = self.at.checked_add(count).ok_or(TsdbError::Truncated(self.at))?;
        let part = self.bytes.get(self.at..end).ok_or(TsdbError::Truncated(self.at))?;
        self.at = end;
        Ok(part)
    }

    pub(super) fn byte(&mut self) -> Result<u8, TsdbError> {
        self.take(1).map(|byte| byte[0])
    }

    pub(super) fn be32(&mut self) -> Result<u32, TsdbError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn be64(&mut self) -> Result<u64, TsdbError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn float(&mut self) -> Result<f64, TsdbError> {
        self.be64().map(f64::from_bits)
    }

    pub(super) fn uvarint(&mut self) -> Result<u64, TsdbError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("an integer longer than 64 bits"))
    }

    pub(super) fn varint(&mut self) -> Result<i64, TsdbError> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A count of things that each take at least one byte, so that a damaged count cannot cost memory.
    pub(super) fn count(&mut self) -> Result<usize, TsdbError> {
        let count = usize::try_from(self.uvarint()?).unwrap_or(usize::MAX);
        if count > self.bytes.len() - self.at {
            return Err(self.malformed("a count larger than the bytes that are left"));
        }
        Ok(count)
    }

    pub(super) fn string(&mut self) -> Result<&'a str, TsdbError> {
        let length = self.count()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.malformed("a string that is not UTF-8"))
    }

    /// A section: its length in four bytes, its content, and the CRC32C of the content.
    pub(super) fn section(&mut self) -> Result<Cursor<'a>, TsdbError> {
        let length = self.be32()? as usize;
        self.checked(length)
    }

    /// `length` bytes followed by their CRC32C.
    pub(super) fn checked(&mut self, length: usize) -> Result<Cursor<'a>, TsdbError> {
        let start = self.at;
        let content = self.take(length)?;
        if self.be32()? != crc32c::crc32c(content) {
            return Err(TsdbError::Checksum(start));
        }
        Ok(Cursor { bytes: &self.bytes[..start + length], at: start })
    }

    pub(super) fn malformed(&self, what: &'static str) -> TsdbError {
        TsdbError::Malformed { what, at: self.at }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TsdbError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
}
