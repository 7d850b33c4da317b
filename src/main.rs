//! The `novascope` binary: see `novascope::cli` for its commands.

use std::process::ExitCode;

/// Half the resident memory of the system's allocator under many threads, and it gives freed pages back.
#[global_allocator]
static ALLOCATOR: novascope::base::heap::Heap = novascope::base::heap::Heap;

fn main() -> ExitCode {
    novascope::cli::main()
}
