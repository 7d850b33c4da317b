//! The record framing of Prometheus' write-ahead log: pages of 32 KiB, fragments with checksums.

use super::cursor::{Cursor, TsdbError};

const PAGE: usize = 32 * 1024;
const SNAPPY: u8 = 1 << 3;
const ZSTD: u8 = 1 << 4;
/// A record is at most one segment; more is a damaged length or a bomb.
const RECORD_MAX: usize = 512 << 20;

/// Walks the records of segments in order. A record may not cross segments.
pub struct Records<'a> {
    segment: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Records<'a> {
    /// The records of one segment file.
    pub fn new(segment: &'a [u8]) -> Self {
        Self { segment, at: 0, failed: false }
    }

    /// The next record, inflated. A torn tail (the process died while writing) is a `Truncated` error at the end.
    fn read(&mut self) -> Result<Option<Vec<u8>>, TsdbError> {
        let mut record = Vec::new();
        let mut is_first = true;
        loop {
            let Some(&kind) = self.segment.get(self.at) else {
                return if is_first { Ok(None) } else { Err(TsdbError::Truncated(self.at)) };
            };
            if kind == 0 {
                self.at = (self.at / PAGE + 1) * PAGE;
                continue;
            }
            let start = self.at;
            let mut cursor = Cursor::new(self.segment, start + 1);
            let length = usize::from(u16::from_be_bytes([cursor.byte()?, cursor.byte()?]));
            let checksum = cursor.be32()?;
            let data = cursor.take(length)?;
            if crc32c::crc32c(data) != checksum {
                return Err(TsdbError::Checksum(start));
            }
            self.at = cursor.at();
            record.extend_from_slice(data);
            let fragment = kind & 7;
            if (is_first != matches!(fragment, 1 | 2)) || record.len() > RECORD_MAX {
                return Err(TsdbError::Malformed { what: "a fragment out of order", at: start });
            }
            is_first = false;
            if matches!(fragment, 1 | 4) {
                return inflate(kind, record, start).map(Some);
            }
        }
    }
}

fn inflate(kind: u8, record: Vec<u8>, at: usize) -> Result<Vec<u8>, TsdbError> {
    let bad = TsdbError::Malformed { what: "a record that does not inflate", at };
    match kind & (SNAPPY | ZSTD) {
        0 => Ok(record),
        SNAPPY => {
            if snap::raw::decompress_len(&record).map_or(true, |length| length > RECORD_MAX) {
                return Err(bad);
            }
            snap::raw::Decoder::new().decompress_vec(&record).map_err(|_| bad)
        }
        ZSTD => zstd::bulk::decompress(&record, RECORD_MAX.min(record.len().saturating_mul(1_000))).map_err(|_| bad),
        _ => Err(bad),
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<u8>, TsdbError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.read().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(kind: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(crc32c::crc32c(data).to_be_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn fragments_join_across_pages_and_snappy_inflates() {
        let mut segment = fragment(2, &[b'a'; 10]);
        segment.resize(PAGE, 0);
        segment.extend(fragment(4, b"end"));
        segment.extend(fragment(1 | SNAPPY, &snap::raw::Encoder::new().compress_vec(b"hello").unwrap()));
        let records: Vec<_> = Records::new(&segment).map(Result::unwrap).collect();
        assert_eq!(records, [b"aaaaaaaaaaend".to_vec(), b"hello".to_vec()]);
    }

    #[test]
    fn a_torn_tail_ends_the_walk_with_an_error() {
        let mut segment = fragment(1, b"whole");
        segment.extend(&fragment(1, b"torn")[..8]);
        let mut records = Records::new(&segment);
        assert_eq!(records.next(), Some(Ok(b"whole".to_vec())));
        assert!(matches!(records.next(), Some(Err(TsdbError::Truncated(_)))));
        assert_eq!(records.next(), None);
    }
}
