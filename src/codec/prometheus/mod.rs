//! The chunk encodings of Prometheus' store: XOR floats, integer histograms, float histograms.
//!
//! They are read when a Prometheus data folder is imported, and written for remote read and exported blocks. Our own chunks are
//! elsewhere: these formats are a door, not a home. Byte layout: prometheus/tsdb/docs/format/chunks.md.
//!
//! Decoders take bytes from outside: they never index past the end, and allocate in proportion to what they read.

mod bits;
pub mod cut;
pub mod histogram;
pub mod xor;

pub use bits::ChunkError;

/// The number in a chunk's header that names its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    Xor = 1,
    Histogram = 2,
    FloatHistogram = 3,
}

impl Encoding {
    /// The encoding with this number; newer ones (XOR2 and the start-timestamp forms, 4 to 6) are not read.
    pub fn from_byte(byte: u8) -> Result<Self, ChunkError> {
        match byte {
            1 => Ok(Self::Xor),
            2 => Ok(Self::Histogram),
            3 => Ok(Self::FloatHistogram),
            other => Err(ChunkError::UnknownEncoding(other)),
        }
    }
}
