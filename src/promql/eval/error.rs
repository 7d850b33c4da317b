//! Why a query gave no answer.

use crate::promql::source::SourceError;

/// What kind of failure it was, so that an interface can pick its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The query makes no sense at the times at which it is asked.
    Query,
    /// The data or the arguments do not allow the operation.
    Execution,
    /// A budget is used up.
    Limit,
    /// Somebody set the cancel flag.
    Cancelled,
    /// The store failed.
    Storage,
}

/// A query that failed, in Prometheus' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    pub kind: ErrorKind,
    pub message: String,
}

impl EvalError {
    pub(super) fn execution(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Execution, message: message.into() }
    }

    pub(super) fn query(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Query, message: message.into() }
    }

    pub(super) fn too_many_samples() -> Self {
        Self {
            kind: ErrorKind::Limit,
            message: "query processing would load too many samples into memory in query execution".to_owned(),
        }
    }

    pub(super) fn no_memory_left() -> Self {
        Self {
            kind: ErrorKind::Limit,
            message: "query processing would load more samples into memory than all queries together may hold; try \
                      again later, or ask for less"
                .to_owned(),
        }
    }

    pub(super) fn too_many_points(limit: u64) -> Self {
        Self {
            kind: ErrorKind::Limit,
            message: format!(
                "exceeded maximum resolution of {limit} points per timeseries. Try decreasing the query resolution (?step=XX)"
            ),
        }
    }

    pub(super) fn cancelled() -> Self {
        Self { kind: ErrorKind::Cancelled, message: "query was canceled in expression evaluation".to_owned() }
    }

    pub(super) fn same_labels() -> Self {
        Self::execution("vector cannot contain metrics with the same labelset")
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<SourceError> for EvalError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Limit(message) => Self { kind: ErrorKind::Limit, message },
            SourceError::Storage(message) => {
                Self { kind: ErrorKind::Storage, message: format!("expanding series: {message}") }
            }
            SourceError::Cancelled => Self::cancelled(),
        }
    }
}
