//! Settings of the metrics store.

use serde::{Deserialize, Serialize};

/// When an append counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When its frame is on disk (fdatasync). Survives a power cut.
    #[default]
    Sync,
    /// When its frame was handed to the operating system, which is told to sync once a second. Survives a crash of
    /// the process; a power cut may take the last second.
    Fast,
    /// At once; nothing is written. For tests and throw-away runs.
    Memory,
}

impl Durability {
    /// The name in settings, the API and `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Fast => "fast",
            Self::Memory => "memory",
        }
    }
}

/// Settings of the metrics store; times in milliseconds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub durability: Durability,
    /// Samples older than this are refused and removed; `None` keeps everything.
    pub retention_ms: Option<i64>,
    /// Width of the aligned windows of which only the last sample is kept; 0 keeps all.
    pub dedup_interval_ms: i64,
    /// How far ahead of the clock a sample may be.
    pub future_ms_max: i64,
    /// A series without samples for this long gives its open column back to the heap (it is sealed early).
    pub idle_seal_ms: i64,
    pub limits: Limits,
    /// Bytes of exemplars kept in memory; the oldest go first.
    pub exemplar_bytes_max: usize,
    /// Metric families of which type, unit and help are kept.
    pub metadata_families_max: usize,
    pub wal: WalConfig,
    /// Bytes of series and samples in memory; above it also fresh samples move into blocks.
    pub memory_bytes_max: u64,
    /// Bytes of indexes and pages of blocks kept in memory.
    pub block_cache_bytes: u64,
    /// How long windows of a minute are kept for samples that are gone; `None` keeps them.
    pub tier_retention_ms: Option<i64>,
    /// Bytes of all blocks; above it the oldest go, whatever the retention. `None` for no limit.
    pub blocks_bytes_max: Option<u64>,
}

/// What a sender may do at most. 0 means no limit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub series_max: usize,
    pub series_per_metric_max: usize,
    pub labels_per_series_max: usize,
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
}

/// The write-ahead log.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalConfig {
    /// A segment is cut when it reaches this size.
    pub segment_bytes_max: u64,
    /// The columns are written out, and older segments removed, when the log is longer than this (and at least as
    /// long as the last snapshot, so that snapshots cost no more than the log itself).
    pub snapshot_after_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            retention_ms: Some(7 * 24 * 3_600_000),
            dedup_interval_ms: 1_000,
            future_ms_max: 600_000,
            idle_seal_ms: 600_000,
            limits: Limits::default(),
            exemplar_bytes_max: 16 << 20,
            metadata_families_max: 20_000,
            wal: WalConfig::default(),
            memory_bytes_max: 1 << 30,
            block_cache_bytes: 32 << 20,
            tier_retention_ms: Some(365 * 24 * 3_600_000),
            blocks_bytes_max: None,
        }
    }
}

impl Default for Limits {
    /// The label limits are those that senders know from VictoriaMetrics.
    fn default() -> Self {
        Self {
            series_max: 10_000_000,
            series_per_metric_max: 0,
            labels_per_series_max: 40,
            label_name_bytes_max: 256,
            label_value_bytes_max: 4_096,
        }
    }
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { segment_bytes_max: 16 << 20, snapshot_after_bytes: 48 << 20 }
    }
}
