//! Telling the processor what will be read soon.
//!
//! It looks some hundred instructions ahead by itself; a list of places that all lie far away keeps it waiting for each,
//! where it could fetch ten of them in the same time.
//!
//! `unsafe` is used for one thing: the instruction has no safe wrapper.

/// Bytes that come from memory together.
const LINE: usize = 64;

/// Has all of a value fetched. Nothing waits for it, and nothing but time changes.
#[inline]
pub fn prefetch<T>(value: &T) {
    let place = std::ptr::from_ref(value).cast::<u8>();
    for offset in (0..size_of::<T>()).step_by(LINE) {
        line(place.wrapping_add(offset));
    }
    // Where it does not begin with a line, it ends in one more.
    if size_of::<T>() > 1 {
        line(place.wrapping_add(size_of::<T>() - 1));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn line(place: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing that the program could see, and an address that is not mapped does no harm.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
}

/// Other processors look ahead as far as they do.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn line(_: *const u8) {}
