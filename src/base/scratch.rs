//! Large buffers that are used again.
//!
//! A buffer of a megabyte for each request would be fetched from the system, cleared and given back each time. Those
//! that lie here instead are taken newest first, so that the ones at the bottom tell how many are too many.

use parking_lot::Mutex;

/// Larger ones are not kept.
const BYTES_MAX: usize = 8 << 20;

static IDLE: Idle = Idle(Mutex::new(Stack { buffers: Vec::new(), unused: 0 }));

/// Works with a buffer of any length and content. Buffers are kept for as many as work at the same time.
pub fn with<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    IDLE.with(work)
}

/// Drops buffers that nobody took since the last call.
pub fn give_back() {
    IDLE.give_back();
}

#[derive(Debug)]
struct Idle(Mutex<Stack>);

#[derive(Debug)]
struct Stack {
    buffers: Vec<Vec<u8>>,
    /// The first so many have lain here since `give_back`.
    unused: usize,
}

impl Idle {
    fn with<R>(&self, work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut buffer = {
            let mut stack = self.0.lock();
            let buffer = stack.buffers.pop().unwrap_or_default();
            stack.unused = stack.unused.min(stack.buffers.len());
            buffer
        };
        let result = work(&mut buffer);
        if buffer.capacity() <= BYTES_MAX {
            self.0.lock().buffers.push(buffer);
        }
        result
    }

    fn give_back(&self) {
        let mut stack = self.0.lock();
        let unused = stack.unused;
        stack.buffers.drain(..unused);
        stack.unused = stack.buffers.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(idle: &Idle) -> Vec<usize> {
        idle.0.lock().buffers.iter().map(Vec::len).collect()
    }

    #[test]
    fn buffers_are_used_again_and_those_that_nobody_takes_go() {
        let idle = Idle(Mutex::new(Stack { buffers: Vec::new(), unused: 0 }));
        let grow = |buffer: &mut Vec<u8>, by: usize| buffer.resize(buffer.len() + by, 0);
        // Two at a time leave two, one after the other use one.
        idle.with(|outer| {
            grow(outer, 10);
            idle.with(|inner| grow(inner, 20));
        });
        idle.with(|buffer| grow(buffer, 100));
        assert_eq!(lengths(&idle), [20, 110]);
        idle.give_back();
        assert_eq!(lengths(&idle), [20, 110]);
        idle.with(|buffer| grow(buffer, 1));
        idle.give_back();
        assert_eq!(lengths(&idle), [111]);
        idle.give_back();
        assert_eq!(lengths(&idle), [] as [usize; 0]);
        idle.with(|buffer| buffer.reserve_exact(BYTES_MAX + 1));
        assert_eq!(lengths(&idle), [] as [usize; 0]);
    }
}
