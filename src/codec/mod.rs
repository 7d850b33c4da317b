//! Column codecs: pure functions between slices and bytes, one file a codec, chosen by estimate, pick, encode.
//!
//! `chunk` is what the stores keep: the times, values (or histograms) and start times of one series, sealed. Below it
//! stand a codec per column (`times`, `values`, `starts`, `histograms`), below those `ints`, which all integer columns
//! share, and at the bottom `decimal`, `pack` and `bytes`. `pco` is the slow and small alternative for data at rest.
//!
//! Every codec gives back exactly the bits that went in, NaN payloads and negative zero included. Decoders take bytes
//! that somebody may have damaged: they return [`CodecError`], never panic, and allocate no more than
//! [`SAMPLES_MAX`] slots a column. They do not find damage that still parses: checksums belong to the container.
//! The byte tables are in docs/format/chunk.md. `prometheus` reads and writes the chunks of a Prometheus store.

pub mod bytes;
pub mod chunk;
pub mod decimal;
pub mod histograms;
pub mod ints;
pub mod pack;
pub mod pco;
pub mod prometheus;
pub mod rollup;
pub mod starts;
pub mod times;
mod unpacker;
pub mod values;

/// A column holds at most this many samples: 18 hours at 1 s. It bounds what a damaged count can allocate.
pub const SAMPLES_MAX: usize = 65_536;

/// Samples in a block, the unit that is decoded alone. A position in a block fits in a byte.
pub const BLOCK: usize = 256;

/// Why bytes are not a column. The text says what was found wrong, not where: a column does not know its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged column: {0}")]
pub struct CodecError(pub &'static str);

/// How much time an encoder may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Effort {
    /// Blocks that decode at memory speed: for the head and for hot data.
    #[default]
    Fast,
    /// Also tries the entropy coder, and takes it where it is clearly smaller: for data at rest.
    Small,
}
