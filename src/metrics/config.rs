//! Settings of the metrics store.

use serde::{Deserialize, Serialize};

use crate::model::matcher::Matcher;
use crate::storage::block::{Class, Policy};

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

const DAY_MS: i64 = 86_400_000;

/// Windows of one width, of which a few numbers are kept in place of their samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    pub resolution_ms: i64,
    /// `None` keeps them.
    pub retention_ms: Option<i64>,
}

/// How long the series are kept that fulfil all matchers.
#[derive(Clone, Debug)]
pub struct RetentionRule {
    pub matchers: Vec<Matcher>,
    /// Of their samples; `None` keeps them.
    pub retention_ms: Option<i64>,
    /// Of their windows, for each tier.
    pub tier_retention_ms: Vec<Option<i64>>,
}

impl PartialEq for RetentionRule {
    fn eq(&self, other: &Self) -> bool {
        let text = |rule: &Self| format!("{:?}", rule.matchers);
        let times = |rule: &Self| (rule.retention_ms, rule.tier_retention_ms.clone());
        text(self) == text(other) && times(self) == times(other)
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
    /// Rolled-up windows, ascending by width.
    pub tiers: Vec<Tier>,
    /// Series that are kept longer or shorter than others. What any of several rules keeps stays.
    #[serde(skip)]
    pub retention_rules: Vec<RetentionRule>,
    pub disk: DiskLimits,
    /// Bytes of all blocks; above it the oldest go, whatever the retention. `None` for no limit.
    pub blocks_bytes_max: Option<u64>,
}

/// What a sender may do at most. 0 means no limit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub series_max: usize,
    pub series_per_metric_max: usize,
    pub series_new_per_minute_max: usize,
    pub labels_per_series_max: usize,
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
}

/// What the store may take of the disk. Of a small file system, limits are at most a fiftieth.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskLimits {
    /// Bytes of everything in the data folder; the oldest blocks go first. `None` for no limit.
    pub size_max: Option<u64>,
    /// The same as a part of the file system; 0 for no limit. The lower of both holds.
    pub size_percentage: f64,
    /// Free bytes of the file system below which samples are refused.
    pub free_min_bytes: u64,
    /// The most bytes kept in a file of their own, to be given up when a full disk is in the way of making room.
    pub reserve_bytes: u64,
}

impl Default for DiskLimits {
    /// What finishing a flush of a full head may take.
    fn default() -> Self {
        Self { size_max: None, size_percentage: 0.0, free_min_bytes: 64 << 20, reserve_bytes: 64 << 20 }
    }
}

/// The write-ahead log.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalConfig {
    /// A segment is cut when it reaches this size.
    pub segment_bytes_max: u64,
    /// And when it was begun so long ago.
    pub segment_age_ms_max: u64,
    /// The columns are written out, and older segments removed, when the log is longer than this (and at least as
    /// long as the last snapshot, so that snapshots cost no more than the log itself).
    pub snapshot_after_bytes: u64,
}

impl Config {
    /// The longest that anything of a sample is kept; `None` for ever.
    pub(super) fn horizon_ms(&self) -> Option<i64> {
        let rules = self.retention_rules.iter();
        let rules = rules.flat_map(|rule| rule.tier_retention_ms.iter().copied().chain([rule.retention_ms]));
        let tiers = self.tiers.iter().map(|tier| tier.retention_ms);
        tiers.chain(rules).try_fold(self.retention_ms?, |longest, retention| Some(longest.max(retention?)))
    }

    /// What stays at a time.
    pub(super) fn policy(&self, now: i64) -> Policy {
        let oldest = |retention: Option<i64>| retention.map_or(i64::MIN, |retention| now.saturating_sub(retention));
        let tiers = self.tiers.iter().map(|tier| oldest(tier.retention_ms)).collect();
        let mut classes = vec![Class { matchers: Vec::new(), raw: oldest(self.retention_ms), tiers }];
        classes.extend(self.retention_rules.iter().map(|rule| Class {
            matchers: rule.matchers.clone(),
            raw: oldest(rule.retention_ms),
            tiers: rule.tier_retention_ms.iter().map(|retention| oldest(*retention)).collect(),
        }));
        let tiers = self.tiers.iter().map(|tier| tier.resolution_ms).collect();
        Policy { now, tiers, classes, bytes_max: self.blocks_bytes_max }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            retention_ms: Some(7 * DAY_MS),
            dedup_interval_ms: 1_000,
            future_ms_max: 600_000,
            idle_seal_ms: 600_000,
            limits: Limits::default(),
            exemplar_bytes_max: 16 << 20,
            metadata_families_max: 20_000,
            wal: WalConfig::default(),
            memory_bytes_max: 1 << 30,
            block_cache_bytes: 32 << 20,
            tiers: vec![
                Tier { resolution_ms: 10_000, retention_ms: Some(30 * DAY_MS) },
                Tier { resolution_ms: 60_000, retention_ms: Some(365 * DAY_MS) },
            ],
            retention_rules: Vec::new(),
            disk: DiskLimits::default(),
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
            series_new_per_minute_max: 0,
            labels_per_series_max: 40,
            label_name_bytes_max: 256,
            label_value_bytes_max: 4_096,
        }
    }
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { segment_bytes_max: 16 << 20, segment_age_ms_max: 120_000, snapshot_after_bytes: 48 << 20 }
    }
}
