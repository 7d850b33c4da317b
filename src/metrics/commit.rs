//! What an appender hands back: the promise that its samples will be durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::storage::wal::Wal;
use crate::storage::wal::ticket::{Ticket, WalError};

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

impl From<WalError> for CommitError {
    fn from(error: WalError) -> Self {
        match error {
            WalError::ReadOnly(reason) => Self::ReadOnly(reason),
            WalError::Closed => Self::Closed,
        }
    }
}

/// Resolves when what was appended is as durable as the settings ask.
#[derive(Debug)]
#[must_use = "nothing is acknowledged before the commit resolves"]
pub struct Commit {
    pub(super) committed: Committed,
    /// Not resolved yet, the next one last: a large request takes several frames.
    pub(super) tickets: Vec<Ticket>,
    /// The log, where whoever waits does its work.
    pub(super) inline: Option<Arc<Wal>>,
}

impl Commit {
    /// Blocks this thread until it is so. For threads of their own; tasks await.
    pub fn wait(self) -> Result<Committed, CommitError> {
        for ticket in self.tickets.iter().rev() {
            if let Some(wal) = self.inline.as_ref().filter(|_| ticket.result().is_none()) {
                wal.pump();
            }
            ticket.wait()?;
        }
        Ok(self.committed)
    }
}

impl Future for Commit {
    type Output = Result<Committed, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(wal) = &self.inline {
            wal.pump();
        }
        while let Some(ticket) = self.tickets.last() {
            match ticket.poll(context) {
                Poll::Ready(Ok(_)) => self.tickets.pop(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return Poll::Pending,
            };
        }
        Poll::Ready(Ok(self.committed))
    }
}
