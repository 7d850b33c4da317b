//! Memory that was freed and that the allocator still holds.
//!
//! mimalloc gives pages back when their thread allocates or frees again. Threads of background work free much and then wait:
//! what a snapshot took would stay resident for as long as nobody writes.
//!
//! `unsafe` is used for one thing: the allocator has no safe wrapper for this call.

/// Gives back what the calling thread and threads that ended have freed. Without effect where another allocator is used,
/// as in tests.
pub fn give_back() {
    // SAFETY: it only looks at what is free already; the allocator allows it on any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
