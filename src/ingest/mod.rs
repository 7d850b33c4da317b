//! Protocols in: one folder a protocol.
