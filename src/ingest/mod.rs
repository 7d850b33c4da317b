//! Protocols in: one folder a protocol.

pub mod exposition;
pub mod host;
