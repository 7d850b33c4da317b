//! Why the store does not take a series or a sample.

use crate::model::labels::LabelsError;

/// A reason to refuse. Each has a word for the label `reason` of the counters of refused samples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("sample is too far in the future: {time} is more than {limit_ms} ms ahead of the clock")]
    TooFarInFuture { time: i64, limit_ms: i64 },
    #[error("sample is older than retention: {time} is before {oldest}")]
    TooOld { time: i64, oldest: i64 },
    #[error("duplicate sample for timestamp {time}: another value is stored")]
    DuplicateTimestamp { time: i64 },
    #[error("invalid labels: {0}")]
    InvalidLabels(#[from] LabelsError),
    #[error("series has no labels")]
    NoLabels,
    #[error("series has more than {limit} labels")]
    TooManyLabels { limit: usize },
    #[error("label name has more than {limit} bytes")]
    LabelNameTooLong { limit: usize },
    #[error("label value has more than {limit} bytes")]
    LabelValueTooLong { limit: usize },
    #[error("limit of {limit} series reached")]
    SeriesLimit { limit: usize },
    #[error("limit of {limit} series per metric reached")]
    MetricSeriesLimit { limit: usize },
    #[error("limit of {limit} new series a minute reached")]
    SeriesRateLimit { limit: usize },
    #[error("the memory for series is used up: {used} of {limit} bytes")]
    MemoryLimit { used: u64, limit: u64 },
    #[error("invalid histogram: {0}")]
    InvalidHistogram(&'static str),
    #[error("exemplar labels have more than {limit} bytes")]
    ExemplarTooLong { limit: usize },
    #[error("series reference is not valid any more")]
    UnknownSeries,
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
}

impl Refusal {
    /// How many different reasons there are.
    pub const COUNT: usize = 16;

    /// Every reason, in the order of `index`.
    pub const REASONS: [&'static str; Self::COUNT] = [
        "too_far_in_future",
        "too_old",
        "duplicate_timestamp",
        "invalid_labels",
        "no_labels",
        "too_many_labels",
        "label_name_too_long",
        "label_value_too_long",
        "series_limit",
        "metric_series_limit",
        "invalid_histogram",
        "exemplar_too_long",
        "unknown_series",
        "read_only",
        "series_rate_limit",
        "memory_limit",
    ];

    /// The word for counters.
    pub fn reason(&self) -> &'static str {
        Self::REASONS[self.index()]
    }

    /// Place of the reason in `REASONS`.
    pub fn index(&self) -> usize {
        match self {
            Self::TooFarInFuture { .. } => 0,
            Self::TooOld { .. } => 1,
            Self::DuplicateTimestamp { .. } => 2,
            Self::InvalidLabels(_) => 3,
            Self::NoLabels => 4,
            Self::TooManyLabels { .. } => 5,
            Self::LabelNameTooLong { .. } => 6,
            Self::LabelValueTooLong { .. } => 7,
            Self::SeriesLimit { .. } => 8,
            Self::MetricSeriesLimit { .. } => 9,
            Self::InvalidHistogram(_) => 10,
            Self::ExemplarTooLong { .. } => 11,
            Self::UnknownSeries => 12,
            Self::ReadOnly(_) => 13,
            Self::SeriesRateLimit { .. } => 14,
            Self::MemoryLimit { .. } => 15,
        }
    }

    /// Whether the store takes nothing now, so that the whole request should come again later (503).
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::ReadOnly(_) | Self::MemoryLimit { .. })
    }

    /// Whether the sender is too fast (429).
    pub fn is_too_fast(&self) -> bool {
        matches!(self, Self::SeriesRateLimit { .. })
    }
}
