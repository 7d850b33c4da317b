//! One frame: a header that can be trusted by itself, and a payload with its checksum.
//!
//! The header has a checksum of its own, so that a reader may skip a damaged payload by the header's length, and finds
//! the next frame behind damage by trying every place that looks like a header.

use crc32c::crc32c;

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"nvF\xa5";

/// Version of the frame format.
pub const VERSION: u8 = 1;

/// Bytes of a header.
pub const HEADER_LEN: usize = 28;

/// No payload is longer. Requests are at most 64 MiB after decompression, and their frames are smaller than they.
pub const PAYLOAD_MAX: usize = 128 << 20;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is, for the layer above.
    pub kind: u8,
    pub len: u32,
    /// Counts the frames of a log; a gap means that frames were lost. 0 in files that are no log.
    pub sequence: u64,
    pub payload_crc: u32,
}

impl Header {
    /// Reads a header, if these bytes are one.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let [m0, m1, m2, m3, version, kind, _, _, rest @ ..] = bytes;
        if [*m0, *m1, *m2, *m3] != MAGIC || *version != VERSION {
            return None;
        }
        let (body, header_crc) = bytes.split_last_chunk::<4>()?;
        if crc32c(body) != u32::from_le_bytes(*header_crc) {
            return None;
        }
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (payload_crc, _) = rest.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len);
        (len as usize <= PAYLOAD_MAX).then_some(Self {
            kind: *kind,
            len,
            sequence: u64::from_le_bytes(*sequence),
            payload_crc: u32::from_le_bytes(*payload_crc),
        })
    }
}

/// Appends a frame. The payload is at most `PAYLOAD_MAX` long: the caller splits what could be longer.
pub fn push_frame(out: &mut Vec<u8>, kind: u8, sequence: u64, payload: &[u8]) {
    let begin = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind, 0, 0]);
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&crc32c(payload).to_le_bytes());
    let header_crc = crc32c(out.get(begin..).unwrap_or(&[]));
    out.extend_from_slice(&header_crc.to_le_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_of_a_header_is_seen() {
        let mut frame = Vec::new();
        push_frame(&mut frame, 3, 9, b"payload");
        let header: [u8; HEADER_LEN] = frame[..HEADER_LEN].try_into().unwrap();
        let expect = Header { kind: 3, len: 7, sequence: 9, payload_crc: crc32c(b"payload") };
        assert_eq!(Header::parse(&header), Some(expect));
        for bit in 0..HEADER_LEN * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&damaged), None, "bit {bit}");
        }
    }
}
