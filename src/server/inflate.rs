//! Decompression with a cap on what comes out.
//!
//! A few bytes can claim or unfold to gigabytes; here nothing is allocated on a claim, and inflating stops one byte
//! after the cap.

use std::io::Read;

use super::error::{Failure, Kind};

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    /// zlib; raw deflate is recognised too, because senders mix them up.
    Deflate,
    Zstd,
    /// The block format (remote write) or the framed one, told apart by the stream identifier.
    Snappy,
}

/// Windows beyond 8 MiB are not for `Content-Encoding: zstd` (RFC 9659); the decoder would have to allocate them.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The identifier chunk that opens a framed snappy stream.
const SNAPPY_STREAM: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// Three bytes of snappy give at most 64: a block that claims more than this many times its size lies.
const SNAPPY_RATIO_MAX: usize = 22;

impl Encoding {
    /// From the value of `Content-Encoding`; `None` where we do not speak it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Self::Identity,
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" | "zlib" => Self::Deflate,
            "zstd" => Self::Zstd,
            "snappy" | "x-snappy-framed" => Self::Snappy,
            _ => return None,
        })
    }
}

/// Inflates `input` into at most `limit` bytes.
///
/// # Errors
/// `BadData` where the input is not what `encoding` says, `TooLarge` where more than `limit` bytes come out.
pub fn inflate(encoding: Encoding, input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    match encoding {
        Encoding::Identity if input.len() > limit => Err(too_large(limit)),
        Encoding::Identity => Ok(input.to_vec()),
        Encoding::Gzip => read_capped("gzip", flate2::read::MultiGzDecoder::new(input), gzip_length(input), limit),
        Encoding::Deflate if is_zlib(input) => {
            read_capped("deflate", flate2::read::ZlibDecoder::new(input), usual_length(input), limit)
        }
        Encoding::Deflate => {
            read_capped("deflate", flate2::read::DeflateDecoder::new(input), usual_length(input), limit)
        }
        Encoding::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(input).map_err(|error| broken("zstd", &error))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| broken("zstd", &error))?;
            read_capped("zstd", decoder, usual_length(input), limit)
        }
        Encoding::Snappy if input.starts_with(SNAPPY_STREAM) => {
            read_capped("snappy", snap::read::FrameDecoder::new(input), usual_length(input), limit)
        }
        Encoding::Snappy => snappy_block(input, limit),
    }
}

/// Buffers that are used again differ by it, so that bodies of about one size need only one.
const BUFFER_STEP: usize = 64 << 10;

/// Inflates a snappy block.
///
/// # Errors
/// As [`inflate`].
pub fn snappy_block(input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut output = vec![0; snappy_length(input, limit)?];
    let length = snap::raw::Decoder::new().decompress(input, &mut output).map_err(|error| broken("snappy", &error))?;
    output.truncate(length);
    Ok(output)
}

/// Inflates a snappy block into a buffer that is used again, and answers the part of it that was written. The buffer
/// only grows, so that whoever reads one block after the other neither allocates nor zeroes memory.
///
/// # Errors
/// As [`inflate`].
pub fn snappy_block_into<'b>(input: &[u8], limit: usize, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Failure> {
    let claimed = snappy_length(input, limit)?;
    if buffer.len() < claimed {
        // What was in it is not needed: the old one goes first, and zeroes may come from the system.
        *buffer = Vec::new();
        *buffer = vec![0; claimed.next_multiple_of(BUFFER_STEP)];
    }
    let target = buffer.get_mut(..claimed).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(input, target).map_err(|error| broken("snappy", &error))?;
    Ok(target.get(..written).unwrap_or_default())
}

/// The length that a snappy block claims, if it may be believed.
fn snappy_length(input: &[u8], limit: usize) -> Result<usize, Failure> {
    let claimed = snap::raw::decompress_len(input).map_err(|error| broken("snappy", &error))?;
    if claimed > input.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(Failure::bad_data("snappy: the block claims to unfold to more than its bytes can hold"));
    }
    if claimed > limit {
        return Err(too_large(limit));
    }
    Ok(claimed)
}

/// Usual bodies unfold four to ten times.
fn usual_length(input: &[u8]) -> usize {
    input.len().saturating_mul(4)
}

/// The length that a gzip body claims in its last four bytes, and one more so that its end is seen; a body of several
/// members or a lie is only slower.
fn gzip_length(input: &[u8]) -> usize {
    let claimed = input.last_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
    claimed.saturating_add(1).clamp(usual_length(input), input.len().saturating_mul(16))
}

/// Begins with room for `expected` bytes.
fn read_capped(name: &str, mut decoder: impl Read, expected: usize, limit: usize) -> Result<Vec<u8>, Failure> {
    // One byte more than allowed tells a body that ends at the limit from one that goes on.
    let cap = limit.saturating_add(1);
    let mut output = Vec::with_capacity(expected.clamp(512, cap.max(512)));
    loop {
        let room = output.capacity() - output.len();
        let read = decoder.by_ref().take(room as u64).read_to_end(&mut output).map_err(|error| broken(name, &error))?;
        if output.len() > limit {
            return Err(too_large(limit));
        }
        if read < room {
            return Ok(output);
        }
        // While the vector moves, both copies are in memory: so it doubles up to half the cap, and then jumps to it.
        let capacity = output.capacity();
        let next = if capacity > cap / 4 { cap } else { capacity * 2 };
        output.reserve_exact(next.saturating_sub(capacity).max(1));
    }
}

/// The zlib header is a multiple of 31 and names method 8; raw deflate passes by chance once in some thousand, and
/// then fails on the first block.
fn is_zlib(input: &[u8]) -> bool {
    match input {
        [first, second, ..] => first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31),
        _ => false,
    }
}

fn broken(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::bad_data(format!("cannot decompress the body: {name}: {error}"))
}

/// The answer to a body beyond `limit` bytes.
pub fn too_large(limit: usize) -> Failure {
    Failure::new(Kind::TooLarge, format!("the request body is larger than {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(encoding: Encoding, data: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => data.to_vec(),
            Encoding::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(data).unwrap();
                gzip.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                zlib.write_all(data).unwrap();
                zlib.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(data, 1).unwrap(),
            Encoding::Snappy => snap::raw::Encoder::new().compress_vec(data).unwrap(),
        }
    }

    const ALL: [Encoding; 5] =
        [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Snappy];

    #[test]
    fn every_encoding_gives_back_what_went_in_up_to_the_limit() {
        let data = b"one two three ".repeat(100);
        for encoding in ALL {
            let bytes = packed(encoding, &data);
            assert_eq!(inflate(encoding, &bytes, data.len()).unwrap(), data, "{encoding:?}");
            let error = inflate(encoding, &bytes, data.len() - 1).unwrap_err();
            assert_eq!(error.kind, Kind::TooLarge, "{encoding:?}");
            if encoding != Encoding::Identity {
                let error = inflate(encoding, &bytes[..bytes.len() / 2], data.len()).unwrap_err();
                assert_eq!(error.kind, Kind::BadData, "{encoding:?}");
            }
        }
    }

    #[test]
    fn framed_snappy_and_raw_deflate_are_recognised() {
        let data = b"abc".repeat(50);
        let mut framed = snap::write::FrameEncoder::new(Vec::new());
        framed.write_all(&data).unwrap();
        assert_eq!(inflate(Encoding::Snappy, &framed.into_inner().unwrap(), 1000).unwrap(), data);
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(&data).unwrap();
        assert_eq!(inflate(Encoding::Deflate, &raw.finish().unwrap(), 1000).unwrap(), data);
    }

    #[test]
    fn a_snappy_block_that_claims_4_gib_allocates_nothing() {
        let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
        assert_eq!(inflate(Encoding::Snappy, &lie, usize::MAX).unwrap_err().kind, Kind::BadData);
    }
}
