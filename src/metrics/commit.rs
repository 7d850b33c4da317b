//! What an appender hands back: the promise that its samples will be durable.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a commit stored. Samples that were stored already count too: their sender may forget them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

/// Why a commit is not durable. The sender should try again later; what it sent may be visible until a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    #[error("the store is closed")]
    Closed,
}

/// Resolves when what was appended is as durable as the settings ask.
#[derive(Debug)]
#[must_use = "nothing is acknowledged before the commit resolves"]
pub struct Commit {
    pub(super) result: Result<Committed, CommitError>,
}

impl Commit {
    /// Blocks this thread until it is so. For threads of their own; tasks await.
    pub fn wait(self) -> Result<Committed, CommitError> {
        self.result
    }
}

impl Future for Commit {
    type Output = Result<Committed, CommitError>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(self.result.clone())
    }
}
