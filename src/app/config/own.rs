//! Our own settings. config/novascope.example.yml lists every one with its default and its reason; `tests/tidy`
//! compares the two.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::app::config::tiers::{RetentionRule, Tier};
use crate::app::options::Retention;
use crate::base::memory;
use crate::base::units::{ByteSize, Period};
use crate::metrics::config as metrics;
use crate::notify::settings as alerting;
use crate::query::config as query;
use crate::server::body::{BodyLimits, InFlight};
use crate::slo::config as slo;

/// The key `novascope`, or the file `novascope.yml`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// What the process may use of memory; 0 for four fifths of the machine's or of its container's limit.
    pub memory: ByteSize,
    pub listen: Listen,
    pub receive: Receive,
    pub store: Store,
    pub query: query::Config,
    pub alerting: alerting::Settings,
    pub rules: Rules,
    pub slo: slo::Config,
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

impl Own {
    /// Fills in the parts of the memory that are left to us. They add up to less than all of it: what requests inflate
    /// and what evaluation needs besides samples has no part of its own.
    #[must_use]
    pub fn share_memory(mut self) -> Self {
        let set = |size: &mut ByteSize, bytes: u64| {
            if size.as_u64() == 0 {
                *size = ByteSize::from_bytes(bytes);
            }
        };
        set(&mut self.memory, memory::limit() / 5 * 4);
        let all = self.memory.as_u64();
        set(&mut self.store.memory_max, all / 5 * 2);
        set(&mut self.query.memory, all / 4);
        set(&mut self.receive.in_flight, (all / 8).max(16 << 20));
        set(&mut self.store.block_cache, (all / 16).min(32 << 20));
        self.query.cache.get_or_insert(ByteSize::from_bytes(all / 100));
        self
    }
}

/// Limits of each listener.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Allow addresses that other machines can reach, as the flag does.
    pub beyond_loopback: bool,
    /// Connections at the same time; later ones are closed at once.
    pub connections_max: usize,
    pub admin_api: AdminApi,
}

/// Whether stored data can be deleted, flushed and copied over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminApi {
    /// While the main port is on loopback: whoever reaches it there can change the files too, or nearly.
    #[default]
    Loopback,
    On,
    Off,
}

impl AdminApi {
    /// Whether it answers on a main port with this address.
    pub fn is_enabled(self, address: std::net::IpAddr) -> bool {
        match self {
            Self::Loopback => address.is_loopback(),
            Self::On => true,
            Self::Off => false,
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self { beyond_loopback: false, connections_max: 4096, admin_api: AdminApi::Loopback }
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
    /// Bytes of all bodies at the same time; 0 for an eighth of the memory.
    pub in_flight: ByteSize,
    /// Samples a second of one sender's address; 0 for no limit.
    pub sender_samples_per_second: u64,
    /// Samples that it may send at once; 0 for ten seconds' worth.
    pub sender_burst: u64,
}

impl Default for Receive {
    /// What senders know from Prometheus and the OpenTelemetry collector.
    fn default() -> Self {
        let BodyLimits { bytes_max, silence_max, .. } = BodyLimits::WRITE;
        let silence = i64::try_from(silence_max.as_millis()).unwrap_or(i64::MAX);
        Self {
            body_bytes_max: ByteSize::from_bytes(bytes_max as u64),
            silence_max: Period::from_millis(silence),
            in_flight: ByteSize::from_bytes(0),
            sender_samples_per_second: 0,
            sender_burst: 0,
        }
    }
}

impl Receive {
    /// As the server knows it, once [`Own::share_memory`] has filled in what is 0.
    pub fn limits(&self) -> BodyLimits {
        // One body may not be more than what there is for all.
        let in_flight = self.in_flight.as_usize();
        BodyLimits {
            bytes_max: self.body_bytes_max.as_usize().min(in_flight),
            silence_max: self.silence_max.as_duration(),
            in_flight: Some(Arc::new(InFlight::new(in_flight))),
        }
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
    pub series_new_per_minute_max: usize,
    pub labels_per_series_max: usize,
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
    pub wal_segment_bytes_max: ByteSize,
    pub wal_segment_age_max: Period,
    pub wal_snapshot_after: ByteSize,
    pub tiers: Vec<Tier>,
    pub retention_rules: Vec<RetentionRule>,
    pub memory_max: ByteSize,
    pub block_cache: ByteSize,
    /// 0 for no limit.
    pub blocks_max: ByteSize,
    /// 0 for no limit.
    pub size_max: ByteSize,
    /// 0 for no limit.
    pub size_percentage: f64,
    pub disk_free_min: ByteSize,
    pub disk_reserve: ByteSize,
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
            series_new_per_minute_max: config.limits.series_new_per_minute_max,
            labels_per_series_max: config.limits.labels_per_series_max,
            label_name_bytes_max: config.limits.label_name_bytes_max,
            label_value_bytes_max: config.limits.label_value_bytes_max,
            wal_segment_bytes_max: ByteSize::from_bytes(config.wal.segment_bytes_max),
            wal_segment_age_max: Period::from_millis(config.wal.segment_age_ms_max.cast_signed()),
            wal_snapshot_after: ByteSize::from_bytes(config.wal.snapshot_after_bytes),
            tiers: config.tiers.iter().map(Tier::of).collect(),
            retention_rules: Vec::new(),
            memory_max: ByteSize::from_bytes(0),
            block_cache: ByteSize::from_bytes(0),
            blocks_max: ByteSize::from_bytes(config.blocks_bytes_max.unwrap_or(0)),
            size_max: ByteSize::from_bytes(config.disk.size_max.unwrap_or(0)),
            size_percentage: config.disk.size_percentage,
            disk_free_min: ByteSize::from_bytes(config.disk.free_min_bytes),
            disk_reserve: ByteSize::from_bytes(config.disk.reserve_bytes),
        }
    }
}

impl Store {
    /// In the store's own terms.
    pub fn to_metrics(&self) -> metrics::Config {
        let defaults = metrics::Config::default();
        // Commands that open a store for themselves share no memory with anybody.
        let set = |size: ByteSize, default: u64| if size.as_u64() > 0 { size.as_u64() } else { default };
        metrics::Config {
            durability: self.durability,
            retention_ms: self.retention.as_millis(),
            dedup_interval_ms: self.dedup_interval.as_millis(),
            future_ms_max: self.future_max.as_millis(),
            idle_seal_ms: self.idle_seal.as_millis(),
            limits: metrics::Limits {
                series_max: self.series_max,
                series_per_metric_max: self.series_per_metric_max,
                series_new_per_minute_max: self.series_new_per_minute_max,
                labels_per_series_max: self.labels_per_series_max,
                label_name_bytes_max: self.label_name_bytes_max,
                label_value_bytes_max: self.label_value_bytes_max,
            },
            exemplar_bytes_max: self.exemplar_bytes_max.as_usize(),
            metadata_families_max: self.metadata_families_max,
            wal: metrics::WalConfig {
                segment_bytes_max: self.wal_segment_bytes_max.as_u64(),
                segment_age_ms_max: self.wal_segment_age_max.as_millis().unsigned_abs(),
                snapshot_after_bytes: self.wal_snapshot_after.as_u64(),
            },
            tiers: self.tiers.iter().map(Tier::to_metrics).collect(),
            retention_rules: self.retention_rules.iter().map(|rule| rule.to_metrics(self)).collect(),
            memory_bytes_max: set(self.memory_max, defaults.memory_bytes_max),
            block_cache_bytes: set(self.block_cache, defaults.block_cache_bytes),
            disk: metrics::DiskLimits {
                size_max: Some(self.size_max.as_u64()).filter(|bytes| *bytes > 0),
                size_percentage: self.size_percentage,
                free_min_bytes: self.disk_free_min.as_u64(),
                reserve_bytes: self.disk_reserve.as_u64(),
            },
            blocks_bytes_max: Some(self.blocks_max.as_u64()).filter(|bytes| *bytes > 0),
        }
    }
}
