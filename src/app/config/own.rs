//! Our own settings. config/novascope.example.yml lists every one with its default and its reason; `tests/tidy`
//! compares the two.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::app::config::tiers::{RetentionRule, Tier};
use crate::app::options::Retention;
use crate::base::units::{ByteSize, Period};
use crate::metrics::config as metrics;
use crate::query::config as query;
use crate::server::body::BodyLimits;

/// The key `novascope`, or the file `novascope.yml`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    pub listen: Listen,
    pub receive: Receive,
    pub store: Store,
    pub query: query::Config,
    pub alerting: Alerting,
    pub rules: Rules,
}

/// How rules run, beside what their files say.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Allow rule groups to be set over HTTP, as Grafana does with Mimir's ruler.
    pub config_api: bool,
    /// Let alerts without `for` fire as soon as their samples come, in groups of an interval of up to a second.
    pub early: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { config_api: false, early: true }
    }
}

/// Who is told of alerts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerting {
    /// An alertmanager.yml, relative to the file that names it. The flag `--alertmanager.config-file` goes before.
    pub config_file: Option<PathBuf>,
}

/// Limits of each listener.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Allow addresses that other machines can reach, as the flag does.
    pub beyond_loopback: bool,
    /// Connections at the same time; later ones are closed at once.
    pub connections_max: usize,
}

impl Default for Listen {
    fn default() -> Self {
        Self { beyond_loopback: false, connections_max: 4096 }
    }
}

/// What a request that brings data may cost, whatever its protocol.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receive {
    /// Bytes of a body as sent, and again after inflating.
    pub body_bytes_max: ByteSize,
    /// The longest silence between two pieces of a body.
    pub silence_max: Period,
}

impl Default for Receive {
    /// What senders know from Prometheus and the OpenTelemetry collector.
    fn default() -> Self {
        let BodyLimits { bytes_max, silence_max } = BodyLimits::WRITE;
        let silence = i64::try_from(silence_max.as_millis()).unwrap_or(i64::MAX);
        Self { body_bytes_max: ByteSize::from_bytes(bytes_max as u64), silence_max: Period::from_millis(silence) }
    }
}

impl Receive {
    /// As the server knows it.
    pub fn limits(&self) -> BodyLimits {
        BodyLimits { bytes_max: self.body_bytes_max.as_usize(), silence_max: self.silence_max.as_duration() }
    }
}

/// The metrics store, in an operator's units.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    pub durability: metrics::Durability,
    pub retention: Retention,
    pub dedup_interval: Period,
    pub future_max: Period,
    pub idle_seal: Period,
    pub exemplar_bytes_max: ByteSize,
    pub metadata_families_max: usize,
    pub series_max: usize,
    pub series_per_metric_max: usize,
    pub labels_per_series_max: usize,
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
    pub wal_segment_bytes_max: ByteSize,
    pub wal_snapshot_after: ByteSize,
    pub tiers: Vec<Tier>,
    pub retention_rules: Vec<RetentionRule>,
    pub memory_max: ByteSize,
    pub block_cache: ByteSize,
    /// 0 for no limit.
    pub blocks_max: ByteSize,
}

impl Default for Store {
    /// The store's own defaults.
    fn default() -> Self {
        let config = metrics::Config::default();
        Self {
            durability: config.durability,
            retention: Retention::from_millis(config.retention_ms),
            dedup_interval: Period::from_millis(config.dedup_interval_ms),
            future_max: Period::from_millis(config.future_ms_max),
            idle_seal: Period::from_millis(config.idle_seal_ms),
            exemplar_bytes_max: ByteSize::from_bytes(config.exemplar_bytes_max as u64),
            metadata_families_max: config.metadata_families_max,
            series_max: config.limits.series_max,
            series_per_metric_max: config.limits.series_per_metric_max,
            labels_per_series_max: config.limits.labels_per_series_max,
            label_name_bytes_max: config.limits.label_name_bytes_max,
            label_value_bytes_max: config.limits.label_value_bytes_max,
            wal_segment_bytes_max: ByteSize::from_bytes(config.wal.segment_bytes_max),
            wal_snapshot_after: ByteSize::from_bytes(config.wal.snapshot_after_bytes),
            tiers: config.tiers.iter().map(Tier::of).collect(),
            retention_rules: Vec::new(),
            memory_max: ByteSize::from_bytes(config.memory_bytes_max),
            block_cache: ByteSize::from_bytes(config.block_cache_bytes),
            blocks_max: ByteSize::from_bytes(config.blocks_bytes_max.unwrap_or(0)),
        }
    }
}

impl Store {
    /// In the store's own terms.
    pub fn to_metrics(&self) -> metrics::Config {
        metrics::Config {
            durability: self.durability,
            retention_ms: self.retention.as_millis(),
            dedup_interval_ms: self.dedup_interval.as_millis(),
            future_ms_max: self.future_max.as_millis(),
            idle_seal_ms: self.idle_seal.as_millis(),
            limits: metrics::Limits {
                series_max: self.series_max,
                series_per_metric_max: self.series_per_metric_max,
                labels_per_series_max: self.labels_per_series_max,
                label_name_bytes_max: self.label_name_bytes_max,
                label_value_bytes_max: self.label_value_bytes_max,
            },
            exemplar_bytes_max: self.exemplar_bytes_max.as_usize(),
            metadata_families_max: self.metadata_families_max,
            wal: metrics::WalConfig {
                segment_bytes_max: self.wal_segment_bytes_max.as_u64(),
                snapshot_after_bytes: self.wal_snapshot_after.as_u64(),
            },
            tiers: self.tiers.iter().map(Tier::to_metrics).collect(),
            retention_rules: self.retention_rules.iter().map(|rule| rule.to_metrics(self)).collect(),
            memory_bytes_max: self.memory_max.as_u64(),
            block_cache_bytes: self.block_cache.as_u64(),
            blocks_bytes_max: Some(self.blocks_max.as_u64()).filter(|bytes| *bytes > 0),
        }
    }
}
