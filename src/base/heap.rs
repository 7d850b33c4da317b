//! The allocator, and memory that was freed and that it still holds.
//!
//! mimalloc gives pages back when their thread allocates or frees again. Threads of background work free much and then wait:
//! what a snapshot took would stay resident for as long as nobody writes.
//!
//! `unsafe` is used for one thing: the allocator is a C library.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mi;

/// mimalloc as the allocator of a program.
///
/// It is asked for an alignment only where its blocks may not have it by themselves: an aligned request takes a longer
/// way, and where no block lies ready it is made larger by the alignment, which is the next size for what fits exactly
/// (`mi_malloc_is_naturally_aligned` in mimalloc 3).
#[derive(Clone, Copy, Debug)]
pub struct Heap;

/// What every block has that is no smaller (`MI_MAX_ALIGN_SIZE`), and what the smaller ones have.
const ALIGN: usize = 16;
const ALIGN_SMALL: usize = 8;

/// Whether blocks of this size are aligned so anyway.
#[inline]
fn is_natural(size: usize, align: usize) -> bool {
    align <= ALIGN_SMALL || (align <= ALIGN && size >= ALIGN)
}

// SAFETY: `mi_malloc` and its kin keep the contract of `malloc`, also between threads; alignment is as said above.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two are allowed.
        unsafe { if is_natural(size, align) { mi::mi_malloc(size) } else { mi::mi_malloc_aligned(size, align) } }.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        unsafe { if is_natural(size, align) { mi::mi_zalloc(size) } else { mi::mi_zalloc_aligned(size, align) } }.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller has the block from here, and gives it up.
        unsafe { mi::mi_free(block.cast()) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        // SAFETY: the caller has the block from here, and takes the answer in its place.
        unsafe {
            if is_natural(size, align) {
                mi::mi_realloc(block.cast(), size)
            } else {
                mi::mi_realloc_aligned(block.cast(), size, align)
            }
        }
        .cast()
    }
}

/// `mi_option_purge_delay`: after how many milliseconds freed pages go back. Its number has been the same since mimalloc 2.
const PURGE_DELAY: mi::mi_option_t = 15;

/// Works while freed pages go back at once, and then gives back what the calling thread has freed. For work that takes
/// much and frees it piece by piece, such as growing every series: what waits to be given back would stand on top.
pub fn give_back_at_once<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: an option is a number that is looked at when it is needed; the allocator allows setting it at any time.
    let set = |delay| unsafe { mi::mi_option_set(PURGE_DELAY, delay) };
    // SAFETY: as above.
    let before = unsafe { mi::mi_option_get(PURGE_DELAY) };
    set(0);
    let result = work();
    set(before);
    give_back();
    result
}

/// Gives back what the calling thread and threads that ended have freed. Without effect where another allocator is used,
/// as in tests.
pub fn give_back() {
    // SAFETY: it only looks at what is free already; the allocator allows it on any thread at any time.
    unsafe { mi::mi_collect(true) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn the_delay_of_giving_back_is_set_for_a_while() {
        // SAFETY: as in `give_back_at_once`.
        let delay = || unsafe { mi::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1_000, "what mimalloc 3 has by itself: another number would be another option");
        assert_eq!(give_back_at_once(delay), 0);
        assert_eq!(delay(), 1_000);
    }

    /// Blocks of every kind of layout: aligned, zeroed where asked, and of the old content when they grow or shrink.
    #[test]
    fn blocks_are_what_was_asked_for() {
        let rng = Rng::from_seed(11);
        let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for round in 0..30_000 {
            if held.len() > 300 || (!held.is_empty() && rng.chance(0.4)) {
                let (block, layout, fill) = held.swap_remove(rng.below(held.len() as u64) as usize);
                // SAFETY: the block has that many bytes and is ours.
                let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
                assert!(bytes.iter().all(|byte| *byte == fill), "{layout:?}");
                // SAFETY: it came with this layout, and is not used again.
                unsafe { Heap.dealloc(block, layout) };
                continue;
            }
            let align = 1_usize << rng.below(9);
            let size = 1 + rng.below(1 << (3 + rng.below(16))) as usize;
            let mut layout = Layout::from_size_align(size, align).unwrap();
            let is_zeroed = rng.chance(0.5);
            // SAFETY: the size is not zero.
            let mut block = unsafe { if is_zeroed { Heap.alloc_zeroed(layout) } else { Heap.alloc(layout) } };
            let mut kept = if is_zeroed { size } else { 0 };
            let mut fill = 0;
            if rng.chance(0.3) {
                let size = 1 + rng.below(1 << (3 + rng.below(16))) as usize;
                // SAFETY: the block is ours and has this layout.
                block = unsafe { Heap.realloc(block, layout, size) };
                layout = Layout::from_size_align(size, align).unwrap();
                kept = kept.min(size);
            }
            assert!(!block.is_null() && (block as usize).is_multiple_of(align), "{layout:?}");
            // SAFETY: the block has that many bytes and is ours.
            assert!(unsafe { std::slice::from_raw_parts(block, kept) }.iter().all(|byte| *byte == fill), "{layout:?}");
            fill = round as u8;
            // SAFETY: as above.
            unsafe { std::ptr::write_bytes(block, fill, layout.size()) };
            held.push((block, layout, fill));
        }
        // SAFETY: each came with its layout, and is not used again.
        held.into_iter().for_each(|(block, layout, _)| unsafe { Heap.dealloc(block, layout) });
    }
}
