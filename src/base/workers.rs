//! Threads for work that may lower its priority: kept for the next work, unless they lowered theirs.
//!
//! A new thread for each query costs more than its start: the allocator gives its memory back at its end, and the next
//! thread takes every page of it from the kernel again.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use crate::base::priority;

/// What a thread is given to do.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// Idle threads that are kept. More at once than this are rare, and cost no more than they did.
const IDLE_MAX: usize = 16;

/// After so long without work a thread ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// The idle threads, by the channels that wake them.
#[derive(Clone, Debug, Default)]
pub(super) struct Workers(Arc<Mutex<Vec<Sender<Work>>>>);

impl Workers {
    /// Gives work to an idle thread; gives it back where there is none.
    pub(super) fn give(&self, work: Work) -> Result<(), Work> {
        let mut work = work;
        loop {
            // The one that was busy last: its memory is warm, and the others may end.
            let Some(idle) = self.0.lock().pop() else { return Err(work) };
            match idle.send(work) {
                Ok(()) => return Ok(()),
                Err(back) => work = back.0,
            }
        }
    }

    /// The life of a thread: its first work, then what it is given, until it waited in vain or lowered its priority.
    pub(super) fn live(&self, first: Work) {
        first();
        let (sender, work) = bounded::<Work>(1);
        while !priority::is_lowered() && self.rest(&sender) {
            let Some(next) = self.next(&sender, &work) else { return };
            next();
        }
    }

    fn rest(&self, sender: &Sender<Work>) -> bool {
        let mut idle = self.0.lock();
        let has_room = idle.len() < IDLE_MAX;
        if has_room {
            idle.push(sender.clone());
        }
        has_room
    }

    fn next(&self, sender: &Sender<Work>, work: &Receiver<Work>) -> Option<Work> {
        match work.recv_timeout(PATIENCE) {
            Ok(next) => Some(next),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                let mut idle = self.0.lock();
                let place = idle.iter().position(|other| other.same_channel(sender));
                match place {
                    Some(place) => {
                        idle.remove(place);
                        None
                    }
                    // Somebody took the channel a moment ago: work is on its way.
                    None => {
                        drop(idle);
                        work.recv().ok()
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use crate::base::priority;
    use crate::base::tasks::{TaskKind, Tasks};

    async fn run(tasks: &Tasks, work: fn()) -> Option<ThreadId> {
        let work = move || {
            work();
            std::thread::current().id()
        };
        tasks.spawn_thread(TaskKind::Query, work).unwrap().await.unwrap()
    }

    #[tokio::test]
    async fn threads_serve_again_unless_they_stepped_back() {
        let tasks = Tasks::default();
        // A thread tells its result a moment before it rests: it serves again soon, not surely at once.
        let mut served = Vec::new();
        for _ in 0..100 {
            served.push(run(&tasks, || {}).await.unwrap());
        }
        served.sort_unstable_by_key(|id| format!("{id:?}"));
        served.dedup();
        assert!(served.len() < 50, "{} threads for 100 works, one at a time", served.len());
        let gone = run(&tasks, priority::lower).await.unwrap();
        for _ in 0..100 {
            assert_ne!(run(&tasks, || {}).await, Some(gone));
        }
        assert_eq!(run(&tasks, || panic!("of this test")).await, None);
        assert_eq!(tasks.running(TaskKind::Query), 0);
    }
}
