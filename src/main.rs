//! The `novascope` binary: see `novascope::cli` for its commands.

fn main() {}
