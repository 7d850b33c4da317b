//! What somebody holds who waits for the log.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

/// Why the log did not take something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    #[error("{0}")]
    ReadOnly(String),
    #[error("the log is closed")]
    Closed,
}

/// Resolves once, for one waiter.
#[derive(Clone, Debug, Default)]
pub struct Ticket(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the segment after the one that has the frames, or why there is none.
    result: Option<Result<u64, WalError>>,
    waker: Option<Waker>,
}

impl Ticket {
    pub(super) fn resolve(&self, result: Result<u64, WalError>) {
        let waker = {
            let mut state = self.0.state.lock();
            state.result = Some(result);
            state.waker.take()
        };
        self.0.done.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The result, if there is one by now.
    pub fn result(&self) -> Option<Result<u64, WalError>> {
        self.0.state.lock().result.clone()
    }

    /// Blocks until there is a result.
    pub fn wait(&self) -> Result<u64, WalError> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(result) = &state.result {
                return result.clone();
            }
            self.0.done.wait(&mut state);
        }
    }

    /// As a future would.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<Result<u64, WalError>> {
        let mut state = self.0.state.lock();
        match &state.result {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
