//! The framing of streamed remote reads: length (LEB128), CRC-32C (big endian), message.

use prost::Message as _;

use crate::codec::prometheus::cut::Chunk;
use crate::proto::prometheus as wire;

/// Bytes of a frame that a client must take, as Prometheus' own clients allow by default.
pub const FRAME_BYTES_MAX: usize = 50 << 20;

/// Why bytes are not a stream of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes exceeds the limit of {FRAME_BYTES_MAX}")]
    TooLarge(u64),
    #[error("the checksum of a frame does not match")]
    Checksum,
    #[error("a frame is no message: {0}")]
    Message(#[from] prost::DecodeError),
    #[error("the length of a frame is longer than 64 bits")]
    Overlong,
}

/// Appends one frame with some chunks of one series.
pub fn push(out: &mut Vec<u8>, query: usize, labels: &[wire::Label], chunks: Vec<Chunk>) {
    let chunks = chunks.into_iter().map(|chunk| wire::Chunk {
        min_time_ms: chunk.mint,
        max_time_ms: chunk.maxt,
        r#type: chunk.encoding as i32,
        data: chunk.data,
    });
    let series = wire::ChunkedSeries { labels: labels.to_vec(), chunks: chunks.collect() };
    let message = wire::ChunkedReadResponse { chunked_series: vec![series], query_index: query as i64 };
    let bytes = message.encode_to_vec();
    prost::encode_length_delimiter(bytes.len(), out).expect("a vector grows");
    out.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Takes one frame off the front of `bytes`; `None` where it has not come whole yet.
pub fn take(bytes: &mut &[u8]) -> Result<Option<wire::ChunkedReadResponse>, FrameError> {
    let Some(end) = bytes.iter().take(10).position(|byte| *byte < 0x80) else {
        return if bytes.len() >= 10 { Err(FrameError::Overlong) } else { Ok(None) };
    };
    let (head, rest) = bytes.split_at(end + 1);
    let length = head.iter().rev().fold(0_u64, |length, byte| length << 7 | u64::from(byte & 0x7f));
    let size = usize::try_from(length).ok().filter(|size| *size <= FRAME_BYTES_MAX);
    let size = size.ok_or(FrameError::TooLarge(length))?;
    let Some((checksum, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let Some((message, rest)) = rest.split_at_checked(size) else { return Ok(None) };
    if crc32c::crc32c(message) != u32::from_be_bytes(*checksum) {
        return Err(FrameError::Checksum);
    }
    *bytes = rest;
    Ok(Some(wire::ChunkedReadResponse::decode(message)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::prometheus::cut::cut;

    #[test]
    fn frames_come_back_and_every_flipped_bit_is_noticed() {
        let labels = [wire::Label { name: "__name__".to_owned(), value: "up".to_owned() }];
        let mut chunks = Vec::new();
        cut(&[1_000, 2_000], &[1.0, -0.0], &[], &mut chunks);
        let mut out = Vec::new();
        push(&mut out, 1, &labels, chunks.clone());
        let one = out.len();
        push(&mut out, 2, &labels, chunks);
        let mut rest = out.as_slice();
        assert_eq!(take(&mut rest).unwrap().unwrap().query_index, 1);
        assert_eq!(rest.len(), one);
        assert_eq!(take(&mut rest).unwrap().unwrap().chunked_series[0].labels, labels);
        assert!(rest.is_empty());
        assert_eq!(take(&mut &out[..one - 1]), Ok(None));
        for bit in 8..one * 8 {
            let mut bad = out[..one].to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(take(&mut bad.as_slice()).is_err(), "bit {bit}");
        }
    }
}
