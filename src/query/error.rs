//! Why a query gives no answer.

use crate::server::error::{Failure, Kind};

/// A query that failed. The texts are those that users of Prometheus know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The query or a parameter is wrong.
    #[error("{0}")]
    BadData(String),
    /// The query is well-formed, but cannot be evaluated over this data, or costs more than it may.
    #[error("{0}")]
    Execution(String),
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// Too many queries wait already.
    #[error("too many queries are waiting; try again later")]
    Overload,
    /// The store failed.
    #[error("{0}")]
    Storage(String),
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
}

impl QueryError {
    pub fn kind(&self) -> Kind {
        match self {
            Self::BadData(_) => Kind::BadData,
            Self::Execution(_) => Kind::Execution,
            Self::Timeout(_) => Kind::Timeout,
            Self::Canceled(_) => Kind::Canceled,
            Self::Overload => Kind::Unavailable,
            Self::Storage(_) | Self::Internal(_) => Kind::Internal,
        }
    }

    /// The value of the label `result` of `novascope_queries_total`.
    pub fn result_name(&self) -> &'static str {
        match self {
            Self::BadData(_) => "bad_data",
            Self::Execution(_) => "execution",
            Self::Timeout(_) => "timeout",
            Self::Canceled(_) => "canceled",
            Self::Overload => "overload",
            Self::Storage(_) => "storage",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}
