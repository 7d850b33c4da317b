//! The shape of a prometheus.yml, section by section.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::app::config::list;
use crate::app::config::own::{self, Own};
use crate::app::config::{remote, tracing};
use crate::app::options::Retention;
use crate::base::units::{ByteSize, Period, with_unit};
use crate::base::yaml::unless_empty;
use crate::ingest::exposition::Format;
use crate::ingest::otlp;
use crate::ingest::relabel::NameValidation;
use crate::ingest::scrape::config as scrape;
use crate::rules::forward::config as forward;

/// A prometheus.yml.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub global: Global,
    pub runtime: Runtime,
    pub alerting: Option<forward::Alerting>,
    #[serde(deserialize_with = "list")]
    pub rule_files: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub scrape_config_files: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub scrape_configs: Vec<scrape::Config>,
    pub storage: Storage,
    pub tracing: Option<tracing::Config>,
    #[serde(deserialize_with = "list")]
    pub remote_write: Vec<Option<remote::Write>>,
    #[serde(deserialize_with = "list")]
    pub remote_read: Vec<Option<remote::Read>>,
    pub otlp: Option<otlp::config::Config>,
    /// Ours.
    pub novascope: Option<Own>,
}

/// A file that `scrape_config_files` names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeFile {
    #[serde(deserialize_with = "list")]
    pub scrape_configs: Vec<scrape::Config>,
}

/// `global`: defaults of every scrape config and rule group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Global {
    pub scrape_interval: Period,
    pub scrape_timeout: Option<Period>,
    pub scrape_protocols: Option<Vec<Format>>,
    pub evaluation_interval: Period,
    pub rule_query_offset: Period,
    pub external_labels: BTreeMap<String, String>,
    pub query_log_file: String,
    pub scrape_failure_log_file: String,
    #[serde(deserialize_with = "with_unit")]
    pub body_size_limit: ByteSize,
    pub sample_limit: u64,
    pub label_limit: u64,
    pub label_name_length_limit: u64,
    pub label_value_length_limit: u64,
    pub target_limit: u64,
    pub keep_dropped_targets: u64,
    #[serde(deserialize_with = "unless_empty")]
    pub metric_name_validation_scheme: Option<NameValidation>,
    #[serde(deserialize_with = "unless_empty")]
    pub metric_name_escaping_scheme: Option<scrape::Escaping>,
    pub scrape_native_histograms: Option<bool>,
    pub convert_classic_histograms_to_nhcb: bool,
    pub always_scrape_classic_histograms: bool,
    pub extra_scrape_metrics: Option<bool>,
}

impl Default for Global {
    /// Prometheus' defaults: a file that was written for it means the same here.
    fn default() -> Self {
        Self {
            scrape_interval: Period::from_secs(60),
            scrape_timeout: None,
            scrape_protocols: None,
            evaluation_interval: Period::from_secs(60),
            rule_query_offset: Period::ZERO,
            external_labels: BTreeMap::new(),
            query_log_file: String::new(),
            scrape_failure_log_file: String::new(),
            body_size_limit: ByteSize::default(),
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            target_limit: 0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: None,
            metric_name_escaping_scheme: None,
            scrape_native_histograms: None,
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: None,
        }
    }
}

impl Global {
    /// Intervals of 0 are the default, as with Prometheus.
    pub fn settle(&mut self) {
        for interval in [&mut self.scrape_interval, &mut self.evaluation_interval] {
            if interval.is_zero() {
                *interval = Period::from_secs(60);
            }
        }
    }

    /// What scrape jobs inherit.
    pub fn scrape_defaults(&self) -> scrape::Defaults {
        scrape::Defaults {
            interval: self.scrape_interval,
            timeout: self.scrape_timeout,
            protocols: self.scrape_protocols.clone(),
            body_size_limit: self.body_size_limit,
            sample_limit: self.sample_limit,
            target_limit: self.target_limit,
            label_limit: self.label_limit,
            label_name_length_limit: self.label_name_length_limit,
            label_value_length_limit: self.label_value_length_limit,
            keep_dropped_targets: self.keep_dropped_targets,
            native_histograms: self.scrape_native_histograms.unwrap_or_default(),
            convert_classic_histograms: self.convert_classic_histograms_to_nhcb,
            keep_classic_histograms: self.always_scrape_classic_histograms,
            extra_metrics: self.extra_scrape_metrics.unwrap_or_default(),
            names: self.metric_name_validation_scheme.unwrap_or_default(),
            escaping: self.metric_name_escaping_scheme,
        }
    }
}

/// `runtime`: settings of Go's runtime, accepted because files have them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    pub gogc: Option<i64>,
}

/// `storage`: what Prometheus' own store reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    pub tsdb: Tsdb,
    pub exemplars: Exemplars,
}

/// Bytes that an exemplar takes with its labels, for a limit that counts them.
const EXEMPLAR_BYTES: u64 = 160;

impl Storage {
    /// Takes over what the store has too, where our own settings leave it at its default, and says what it has not.
    pub fn apply(&self, store: &mut own::Store, notes: &mut Vec<String>) {
        let default = own::Store::default();
        let TsdbRetention { time, size, percentage } = self.tsdb.retention.clone();
        if let Some(time) = time.filter(|time| !time.is_zero()) {
            if store.retention == default.retention {
                store.retention = Retention::For(time);
            } else {
                notes.push("storage.tsdb.retention.time gives way to store.retention of our own settings".to_owned());
            }
        }
        let percentage = percentage.filter(|percentage| *percentage != 0.0);
        if let Some(percentage) = percentage {
            if store.size_percentage == default.size_percentage {
                store.size_percentage = percentage;
            } else {
                notes.push(
                    "storage.tsdb.retention.percentage gives way to store.size_percentage of our own settings"
                        .to_owned(),
                );
            }
        }
        if let Some(size) = size.filter(|size| size.as_u64() > 0) {
            if percentage.is_some() {
                // As Prometheus has it.
                notes.push("storage.tsdb.retention.size gives way to storage.tsdb.retention.percentage".to_owned());
            } else if store.size_max == default.size_max {
                store.size_max = size;
            } else {
                notes.push("storage.tsdb.retention.size gives way to store.size_max of our own settings".to_owned());
            }
        }
        if self.tsdb.out_of_order_time_window.is_some() {
            notes.push(
                "storage.tsdb.out_of_order_time_window is not needed: late samples are taken as far back as the \
                 retention reaches"
                    .to_owned(),
            );
        }
        if self.tsdb.chunk_encoding.is_some() {
            notes.push("storage.tsdb.chunk_encoding has no effect: each chunk has the smallest form".to_owned());
        }
        if self.tsdb.stale_series_compaction_threshold.is_some() {
            notes.push(
                "storage.tsdb.stale_series_compaction_threshold has no effect: series without new samples leave \
                 memory by themselves"
                    .to_owned(),
            );
        }
        if let Some(count) = self.exemplars.max_exemplars.map(|count| u64::try_from(count).unwrap_or(0)) {
            if store.exemplar_bytes_max == default.exemplar_bytes_max {
                store.exemplar_bytes_max = ByteSize::from_bytes(count.saturating_mul(EXEMPLAR_BYTES));
                notes.push(format!(
                    "storage.exemplars.max_exemplars: {count} exemplars are taken as {} of memory",
                    store.exemplar_bytes_max
                ));
            } else {
                notes.push(
                    "storage.exemplars.max_exemplars gives way to store.exemplar_bytes_max of our own settings"
                        .to_owned(),
                );
            }
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tsdb {
    /// How far behind the newest sample of its series a sample may be.
    pub out_of_order_time_window: Option<Period>,
    pub stale_series_compaction_threshold: Option<f64>,
    pub chunk_encoding: Option<ChunkEncoding>,
    pub retention: TsdbRetention,
}

/// How Prometheus shall encode chunks; checked, and without effect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChunkEncoding {
    #[serde(deserialize_with = "unless_empty")]
    pub floats: Option<FloatEncoding>,
}

/// Names that Prometheus knows.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FloatEncoding {
    Xor,
    Xor2,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TsdbRetention {
    pub time: Option<Period>,
    #[serde(deserialize_with = "with_unit")]
    pub size: Option<ByteSize>,
    pub percentage: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exemplars {
    /// Exemplars kept in all; 0 or less keeps none.
    pub max_exemplars: Option<i64>,
}
