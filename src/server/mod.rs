//! Listeners and what every HTTP interface shares: one port for HTTP/1.1, h2c and gRPC, bodies with limits, the one
//! error map, compression of answers, CORS.
//!
//! Promises: a body never costs more memory than its limits say, whatever its `Content-Encoding` claims; only
//! [`error`] knows HTTP and gRPC status codes; answers are compressed with gzip and nothing else, because Grafana's
//! resource path cannot read zstd. Does not do: routing, authentication, anything that knows a signal.

pub mod body;
pub mod client;
pub mod cors;
pub mod error;
pub mod inflate;
pub mod layers;
pub mod listen;
pub mod origin;
pub mod rate;
