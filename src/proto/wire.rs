//! A borrowed walk over protobuf bytes: fields as they lie, nothing copied, nothing allocated.
//!
//! The hot paths (remote write, OTLP) read with this instead of generated code: a decode into owned messages costs
//! five times what storing the samples costs. The reader never recurses; whoever walks nested messages counts depth.
//! Groups (wire types 3 and 4) are not part of proto3 and are refused.

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("message is truncated")]
    Truncated,
    #[error("varint is longer than 64 bits")]
    Overlong,
    #[error("field number 0 or beyond 2^29")]
    BadFieldNumber,
    #[error("wire type {0} is not supported")]
    BadWireType(u8),
    #[error("field {0} has another wire type than its definition")]
    WrongType(u32),
    #[error("field {0} is not valid UTF-8")]
    NotUtf8(u32),
    #[error("messages are nested deeper than {0}")]
    TooDeep(u32),
}

/// The value of one field as it lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// One field: its number and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
}

impl<'a> Field<'a> {
    /// A nested message, a string's bytes, or packed numbers.
    #[inline]
    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::WrongType(self.number)),
        }
    }

    /// A string, checked to be UTF-8.
    #[inline]
    pub fn string(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::NotUtf8(self.number))
    }

    /// A `uint64`, `uint32`, `bool` or enum.
    #[inline]
    pub fn uint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(WireError::WrongType(self.number)),
        }
    }

    /// An `int64` or `int32`: two's complement in the varint.
    #[inline]
    pub fn int(&self) -> Result<i64, WireError> {
        self.uint().map(u64::cast_signed)
    }

    /// A `sint64` or `sint32`: zigzag.
    #[inline]
    pub fn sint(&self) -> Result<i64, WireError> {
        self.uint().map(zigzag)
    }

    /// A `fixed64`.
    #[inline]
    pub fn fixed64(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(WireError::WrongType(self.number)),
        }
    }

    /// A `double`.
    #[inline]
    pub fn double(&self) -> Result<f64, WireError> {
        self.fixed64().map(f64::from_bits)
    }

    /// Appends the values of a repeated varint field, packed or not.
    pub fn append_uints(&self, into: &mut Vec<u64>) -> Result<(), WireError> {
        match self.value {
            Value::Varint(value) => into.push(value),
            Value::Bytes(packed) => {
                let mut reader = Reader::new(packed);
                while !reader.is_empty() {
                    into.push(reader.varint()?);
                }
            }
            _ => return Err(WireError::WrongType(self.number)),
        }
        Ok(())
    }

    /// Appends the values of a repeated `fixed64` field, packed or not.
    pub fn append_fixed64s(&self, into: &mut Vec<u64>) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(value) => into.push(value),
            Value::Bytes(packed) => {
                let (whole, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated);
                }
                into.extend(whole.iter().map(|chunk| u64::from_le_bytes(*chunk)));
            }
            _ => return Err(WireError::WrongType(self.number)),
        }
        Ok(())
    }

    /// Appends the values of a repeated `double` field, packed or not.
    pub fn append_doubles(&self, into: &mut Vec<f64>) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(value) => into.push(f64::from_bits(value)),
            Value::Bytes(packed) => {
                let (whole, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated);
                }
                into.extend(whole.iter().map(|chunk| f64::from_le_bytes(*chunk)));
            }
            _ => return Err(WireError::WrongType(self.number)),
        }
        Ok(())
    }
}

/// Decodes a zigzag number.
#[inline]
pub fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Reads the fields of one message, front to back.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field, or `None` at the end of the message.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = match u32::try_from(tag >> 3) {
            Ok(number) if (1..1 << 29).contains(&number) => number,
            _ => return Err(WireError::BadFieldNumber),
        };
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed64()?),
            2 => Value::Bytes(self.delimited()?),
            5 => Value::Fixed32(self.fixed32()?),
            other => return Err(WireError::BadWireType(other as u8)),
        };
        Ok(Some(Field { number, value }))
    }

    /// Takes the next byte if it is this one: a quick test for the tag that most likely follows.
    #[inline]
    pub fn take_tag(&mut self, tag: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == tag => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// A bare varint.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.short_varint() {
            Some(value) => Ok(value),
            None => self.long_varint(),
        }
    }

    /// A varint of one or two bytes, as most lengths and references are; `None`, with nothing taken, for others and at the
    /// end.
    #[inline]
    pub fn short_varint(&mut self) -> Option<u64> {
        match self.rest {
            [first, rest @ ..] if *first < 0x80 => {
                self.rest = rest;
                Some(u64::from(*first))
            }
            [first, second, rest @ ..] if *second < 0x80 => {
                self.rest = rest;
                Some(u64::from(first & 0x7f) | u64::from(*second) << 7)
            }
            _ => None,
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        match self.rest.split_first_chunk::<8>() {
            Some((bytes, _)) => self.varint_of(u64::from_le_bytes(*bytes)),
            None => self.varint_by_bytes(),
        }
    }

    /// A varint of `message`, which this reads: the same as [`Self::varint`], faster where it is the last of at least
    /// eight bytes.
    #[inline]
    pub fn last_varint(&mut self, message: &'a [u8]) -> Result<u64, WireError> {
        match (message.last_chunk::<8>(), self.rest.len()) {
            (Some(bytes), length @ 1..=8) => self.varint_of(u64::from_le_bytes(*bytes) >> (64 - 8 * length)),
            _ => self.varint(),
        }
    }

    /// A varint whose bytes begin in this word. Times in milliseconds have six: their bits are pushed together at once.
    #[inline]
    fn varint_of(&mut self, word: u64) -> Result<u64, WireError> {
        let ends = !word & 0x8080_8080_8080_8080;
        if ends == 0 {
            return self.varint_by_bytes();
        }
        let bits = ends.trailing_zeros() + 1;
        let Some(rest) = self.rest.get(bits as usize / 8..) else { return Err(WireError::Truncated) };
        self.rest = rest;
        let word = word & (u64::MAX >> (64 - bits)) & 0x7f7f_7f7f_7f7f_7f7f;
        let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
        let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
        Ok((word & 0x0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4)
    }

    /// Near the end of a message, or longer than eight bytes.
    #[cold]
    fn varint_by_bytes(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds the last bit of 64.
            if at == 9 && *byte > 1 {
                return Err(WireError::Overlong);
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { WireError::Truncated } else { WireError::Overlong })
    }

    /// A bare length and that many bytes.
    #[inline]
    pub fn delimited(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Eight bare bytes.
    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, WireError> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Four bare bytes.
    #[inline]
    pub fn fixed32(&mut self) -> Result<u32, WireError> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }
}

/// Appends a varint.
#[inline]
pub fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Appends a varint field.
pub fn put_uint(into: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(into, u64::from(number) << 3);
    put_varint(into, value);
}

/// Appends a `fixed64` or `double` field by its bits.
pub fn put_fixed64(into: &mut Vec<u8>, number: u32, bits: u64) {
    put_varint(into, u64::from(number) << 3 | 1);
    into.extend_from_slice(&bits.to_le_bytes());
}

/// Appends a string, bytes or nested message.
pub fn put_bytes(into: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(into, u64::from(number) << 3 | 2);
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn every_kind_of_field_is_read_back() {
        let mut bytes = Vec::new();
        put_uint(&mut bytes, 1, u64::MAX);
        put_fixed64(&mut bytes, 2, 1.5_f64.to_bits());
        put_bytes(&mut bytes, 536_870_911, b"text");
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.next_field().unwrap().unwrap().int(), Ok(-1));
        assert_eq!(reader.next_field().unwrap().unwrap().double(), Ok(1.5));
        let last = reader.next_field().unwrap().unwrap();
        assert_eq!((last.number, last.string()), (536_870_911, Ok("text")));
        assert_eq!(last.uint(), Err(WireError::WrongType(536_870_911)));
        assert_eq!(reader.next_field(), Ok(None));
    }

    #[test]
    fn bad_bytes_are_named() {
        let read = |bytes: &[u8]| Reader::new(bytes).next_field().unwrap_err();
        assert_eq!(read(b"\x0a\x05abc"), WireError::Truncated);
        assert_eq!(read(b"\x08\xff\xff"), WireError::Truncated);
        assert_eq!(read(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), WireError::Overlong);
        assert_eq!(read(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), WireError::Truncated);
        assert_eq!(read(b"\x0b"), WireError::BadWireType(3));
        assert_eq!(read(b"\x02\x00"), WireError::BadFieldNumber);
        assert_eq!(read(b"\x09\x00"), WireError::Truncated);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_varint_round_trips(value in any::<u64>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(Reader::new(&bytes).varint(), Ok(value));
        }

        #[test]
        fn a_varint_is_the_same_wherever_it_stands(
            (value, shift) in (any::<u64>(), 0_u32..64),
            (before, after) in (0_usize..10, 0_usize..10),
        ) {
            let value = value >> shift;
            let mut bytes = vec![7; before];
            put_varint(&mut bytes, value);
            bytes.resize(bytes.len() + after, 0xff);
            let mut first = Reader::new(&bytes);
            for _ in 0..before {
                prop_assert_eq!(first.varint(), Ok(7));
            }
            let mut second = first;
            prop_assert_eq!(first.varint(), Ok(value));
            prop_assert_eq!(second.last_varint(&bytes), Ok(value));
            prop_assert_eq!((first.rest().len(), second.rest().len()), (after, after));
            let mut cut = Reader::new(&bytes[before..bytes.len() - after - 1]);
            prop_assert!(cut.is_empty() || cut.last_varint(&bytes[..bytes.len() - after - 1]).is_err());
        }

        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            while let Ok(Some(_)) = reader.next_field() {}
        }
    }
}
