//! The durable substrate: write-ahead log, blocks, manifest.
