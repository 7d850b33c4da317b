//! How urgent a thread is.

use std::cell::Cell;

/// Under load, a thread of ordinary urgency gets nine times the time of one with this niceness.
const BACKGROUND: i32 = 10;

thread_local! {
    static LOWERED: Cell<bool> = const { Cell::new(false) };
}

/// Lets other threads go before this one, for the rest of its life: only a privileged process could take it back, so
/// call it on threads that end with their work. Cheap to call again.
pub fn lower() {
    if LOWERED.replace(true) {
        return;
    }
    // Without a process id Linux means the calling thread. Where it is refused, nothing is lost but politeness.
    let _ = rustix::process::setpriority_process(None, BACKGROUND);
}

/// Whether the calling thread stepped back.
pub fn is_lowered() -> bool {
    LOWERED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_steps_back() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let inside = std::thread::scope(|scope| {
            let lowered = scope.spawn(|| {
                lower();
                lower();
                niceness()
            });
            lowered.join().unwrap()
        });
        assert_eq!((inside, niceness()), (before.max(BACKGROUND), before));
    }
}
