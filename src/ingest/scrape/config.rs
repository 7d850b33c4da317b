//! `scrape_configs` and the defaults that `global` gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::base::units::{ByteSize, Period, with_unit};
use crate::base::yaml::{filled, unless_empty};
use crate::ingest::discovery::config as discovery;
use crate::ingest::exposition::{self, Format};
use crate::ingest::relabel::{self, NameValidation, Rule, RuleConfig, RuleError};
use crate::server::client::config::{ClientConfig, ClientConfigError, with_client_keys};

/// Scrapes more often than this cost more than they tell.
const INTERVAL_MILLIS_MIN: i64 = 100;

with_client_keys! {
    /// One of `scrape_configs`, as it is written. [`Config::resolve`] fills in defaults and checks it.
    #[derive(Clone, Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Config {
        pub job_name: String,
        pub scrape_interval: Option<Period>,
        pub scrape_timeout: Option<Period>,
        pub scrape_protocols: Option<Vec<Format>>,
        #[serde(default, deserialize_with = "unless_empty")]
        pub fallback_scrape_protocol: Option<Format>,
        pub scrape_native_histograms: Option<bool>,
        pub always_scrape_classic_histograms: Option<bool>,
        pub convert_classic_histograms_to_nhcb: Option<bool>,
        pub scrape_failure_log_file: Option<String>,
        pub honor_labels: Option<bool>,
        pub honor_timestamps: Option<bool>,
        pub track_timestamps_staleness: Option<bool>,
        pub params: Option<BTreeMap<String, Vec<String>>>,
        pub metrics_path: Option<String>,
        pub scheme: Option<String>,
        pub enable_compression: Option<bool>,
        #[serde(default, deserialize_with = "with_unit")]
        pub body_size_limit: Option<ByteSize>,
        pub sample_limit: Option<u64>,
        pub target_limit: Option<u64>,
        pub label_limit: Option<u64>,
        pub label_name_length_limit: Option<u64>,
        pub label_value_length_limit: Option<u64>,
        pub native_histogram_bucket_limit: Option<u64>,
        pub native_histogram_min_bucket_factor: Option<f64>,
        pub keep_dropped_targets: Option<u64>,
        #[serde(default, deserialize_with = "unless_empty")]
        pub metric_name_validation_scheme: Option<NameValidation>,
        #[serde(default, deserialize_with = "unless_empty")]
        pub metric_name_escaping_scheme: Option<Escaping>,
        pub extra_scrape_metrics: Option<bool>,
        pub relabel_configs: Option<Vec<RuleConfig>>,
        pub metric_relabel_configs: Option<Vec<RuleConfig>>,
        #[serde(default, deserialize_with = "filled")]
        pub static_configs: Option<Vec<discovery::StaticConfig>>,
        pub file_sd_configs: Option<Vec<discovery::FileConfig>>,
        pub http_sd_configs: Option<Vec<discovery::HttpConfig>>,
        pub dns_sd_configs: Option<Vec<discovery::DnsConfig>>,
        // Kinds of discovery that are known and not supported.
        pub aws_sd_configs: Option<IgnoredAny>,
        pub azure_sd_configs: Option<IgnoredAny>,
        pub consul_sd_configs: Option<IgnoredAny>,
        pub digitalocean_sd_configs: Option<IgnoredAny>,
        pub docker_sd_configs: Option<IgnoredAny>,
        pub dockerswarm_sd_configs: Option<IgnoredAny>,
        pub ec2_sd_configs: Option<IgnoredAny>,
        pub eureka_sd_configs: Option<IgnoredAny>,
        pub gce_sd_configs: Option<IgnoredAny>,
        pub hetzner_sd_configs: Option<IgnoredAny>,
        pub ionos_sd_configs: Option<IgnoredAny>,
        pub kubernetes_sd_configs: Option<IgnoredAny>,
        pub kuma_sd_configs: Option<IgnoredAny>,
        pub lightsail_sd_configs: Option<IgnoredAny>,
        pub linode_sd_configs: Option<IgnoredAny>,
        pub marathon_sd_configs: Option<IgnoredAny>,
        pub nerve_sd_configs: Option<IgnoredAny>,
        pub nomad_sd_configs: Option<IgnoredAny>,
        pub oci_sd_configs: Option<IgnoredAny>,
        pub openstack_sd_configs: Option<IgnoredAny>,
        pub outscale_sd_configs: Option<IgnoredAny>,
        pub ovhcloud_sd_configs: Option<IgnoredAny>,
        pub puppetdb_sd_configs: Option<IgnoredAny>,
        pub scaleway_sd_configs: Option<IgnoredAny>,
        pub serverset_sd_configs: Option<IgnoredAny>,
        pub stackit_sd_configs: Option<IgnoredAny>,
        pub triton_sd_configs: Option<IgnoredAny>,
        pub uyuni_sd_configs: Option<IgnoredAny>,
        pub vultr_sd_configs: Option<IgnoredAny>,
    }
}

/// How a target should write names beyond the classic characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Escaping {
    #[default]
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    Underscores,
    Dots,
    Values,
}

impl Escaping {
    /// The word in Accept headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// What `global` says about scrapes. Limits of 0 are none.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    pub interval: Period,
    pub timeout: Option<Period>,
    pub protocols: Option<Vec<Format>>,
    pub body_size_limit: ByteSize,
    pub sample_limit: u64,
    pub target_limit: u64,
    pub label_limit: u64,
    pub label_name_length_limit: u64,
    pub label_value_length_limit: u64,
    pub keep_dropped_targets: u64,
    pub native_histograms: bool,
    pub convert_classic_histograms: bool,
    pub keep_classic_histograms: bool,
    pub extra_metrics: bool,
    pub names: NameValidation,
    pub escaping: Option<Escaping>,
}

impl Default for Defaults {
    /// Prometheus' own: a file that says nothing means the same here.
    fn default() -> Self {
        Self {
            interval: Period::from_secs(60),
            timeout: None,
            protocols: None,
            body_size_limit: ByteSize::default(),
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            keep_dropped_targets: 0,
            native_histograms: false,
            convert_classic_histograms: false,
            keep_classic_histograms: false,
            extra_metrics: false,
            names: NameValidation::default(),
            escaping: None,
        }
    }
}

/// Limits of one scrape; 0 is none. Going over one fails the scrape as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Never none: see [`BODY_BYTES_MAX`].
    pub body_bytes: usize,
    pub samples: u64,
    pub labels: u64,
    pub label_name_bytes: u64,
    pub label_value_bytes: u64,
    pub histogram_buckets: u64,
}

/// A body of more than this is refused also where no limit is configured.
pub const BODY_BYTES_MAX: usize = 256 << 20;

/// A scrape configuration with everything filled in: what scrape loops read.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: String,
    pub interval: Period,
    pub timeout: Period,
    pub protocols: Vec<Format>,
    pub fallback: Option<Format>,
    pub escaping: Escaping,
    pub reading: exposition::Options,
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    pub params: BTreeMap<String, Vec<String>>,
    pub metrics_path: String,
    pub scheme: String,
    pub enable_compression: bool,
    pub limits: Limits,
    /// The schema that a histogram is reduced to at most, from the least growth of its buckets.
    pub histogram_schema_max: Option<i8>,
    /// 0 is none.
    pub targets_max: u64,
    pub dropped_max: u64,
    pub names: NameValidation,
    pub extra_metrics: bool,
    pub relabel: Arc<[Rule]>,
    pub metric_relabel: Arc<[Rule]>,
    pub client: ClientConfig,
    pub discovery: discovery::Config,
}

/// A scrape configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("job_name is empty")]
    NoName,
    #[error("found multiple scrape configs with job name {0:?}")]
    SameName(String),
    #[error("scrape job {job:?}: {fault}")]
    Job { job: String, fault: Fault },
}

/// What is wrong with one job.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error("scrape timeout {timeout} is greater than scrape interval {interval}")]
    Timeout { timeout: Period, interval: Period },
    #[error("scrape interval {0} is shorter than {INTERVAL_MILLIS_MIN}ms")]
    Interval(Period),
    #[error("scrape_protocols cannot be empty")]
    NoProtocols,
    #[error("duplicated protocol {0} in scrape_protocols")]
    SameProtocol(&'static str),
    #[error("scheme {0:?} is neither http nor https")]
    Scheme(String),
    #[error("utf8 metric names requested but validation scheme is not set to UTF8")]
    Escaping,
    #[error("{0} is not supported; supported are static_configs, file_sd_configs, http_sd_configs, dns_sd_configs")]
    Discovery(&'static str),
    #[error("{list}: rule {number}: {error}")]
    Rule { list: &'static str, number: usize, error: RuleError },
    #[error("{0}")]
    Source(#[from] discovery::ConfigError),
    #[error("{0}")]
    Client(#[from] ClientConfigError),
}

/// Resolves all configurations, whose names must differ. Relative paths start from `folder`.
pub fn resolve_all(configs: &[Config], defaults: &Defaults, folder: &Path) -> Result<Vec<Job>, ConfigError> {
    let mut names = BTreeSet::new();
    let mut jobs = Vec::with_capacity(configs.len());
    for config in configs {
        if config.job_name.is_empty() {
            return Err(ConfigError::NoName);
        }
        if !names.insert(config.job_name.as_str()) {
            return Err(ConfigError::SameName(config.job_name.clone()));
        }
        let job = config.resolve(defaults, folder);
        jobs.push(job.map_err(|fault| ConfigError::Job { job: config.job_name.clone(), fault })?);
    }
    Ok(jobs)
}

impl Config {
    /// Fills in defaults and checks what the shape of the file does not say.
    pub fn resolve(&self, defaults: &Defaults, folder: &Path) -> Result<Job, Fault> {
        let (interval, timeout) = self.times(defaults)?;
        self.check_discovery()?;
        let names = self.metric_name_validation_scheme.unwrap_or(defaults.names);
        let rules = |list: &'static str, configs: &Option<Vec<RuleConfig>>| {
            relabel::compile(configs.as_deref().unwrap_or_default(), names).map_err(|(number, error)| Fault::Rule {
                list,
                number,
                error,
            })
        };
        let relabel = rules("relabel_configs", &self.relabel_configs)?;
        let scheme = self.scheme.clone().unwrap_or_else(|| "http".to_owned());
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(Fault::Scheme(scheme));
        }
        let discovery = self.discovery(folder);
        discovery.validate(relabel.is_empty())?;
        let mut client = self.client();
        client.resolve(folder);
        client.validate()?;
        let native = self.scrape_native_histograms.unwrap_or(defaults.native_histograms);
        Ok(Job {
            name: self.job_name.clone(),
            interval,
            timeout,
            protocols: self.protocols(defaults, native)?,
            fallback: self.fallback_scrape_protocol,
            escaping: self.escaping(defaults, names)?,
            reading: exposition::Options {
                created_as_series: false,
                ignore_native_histograms: !native,
                keep_classic_histograms: self
                    .always_scrape_classic_histograms
                    .unwrap_or(defaults.keep_classic_histograms),
                convert_classic_histograms: self
                    .convert_classic_histograms_to_nhcb
                    .unwrap_or(defaults.convert_classic_histograms),
            },
            honor_labels: self.honor_labels.unwrap_or(false),
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            track_timestamps_staleness: self.track_timestamps_staleness.unwrap_or(false),
            params: self.params.clone().unwrap_or_default(),
            metrics_path: self.metrics_path.clone().unwrap_or_else(|| "/metrics".to_owned()),
            scheme,
            enable_compression: self.enable_compression.unwrap_or(true),
            limits: self.limits(defaults),
            histogram_schema_max: self.native_histogram_min_bucket_factor.and_then(schema_of_factor),
            targets_max: self.target_limit.filter(|limit| *limit > 0).unwrap_or(defaults.target_limit),
            dropped_max: self.keep_dropped_targets.filter(|limit| *limit > 0).unwrap_or(defaults.keep_dropped_targets),
            names,
            extra_metrics: self.extra_scrape_metrics.unwrap_or(defaults.extra_metrics),
            relabel,
            metric_relabel: rules("metric_relabel_configs", &self.metric_relabel_configs)?,
            client,
            discovery,
        })
    }

    fn times(&self, defaults: &Defaults) -> Result<(Period, Period), Fault> {
        let interval = self.scrape_interval.filter(|interval| !interval.is_zero()).unwrap_or(defaults.interval);
        if interval.as_millis() < INTERVAL_MILLIS_MIN {
            return Err(Fault::Interval(interval));
        }
        let own = self.scrape_timeout.filter(|timeout| !timeout.is_zero());
        if let Some(timeout) = own
            && timeout > interval
        {
            return Err(Fault::Timeout { timeout, interval });
        }
        let timeout = own.unwrap_or_else(|| defaults.timeout.unwrap_or(Period::from_secs(10)).min(interval));
        Ok((interval, timeout))
    }

    fn protocols(&self, defaults: &Defaults, native: bool) -> Result<Vec<Format>, Fault> {
        let text = [Format::OpenMetrics1, Format::OpenMetrics0, Format::Text1, Format::Text];
        let protocols = match self.scrape_protocols.as_ref().or(defaults.protocols.as_ref()) {
            Some(protocols) => protocols.clone(),
            // Only protobuf carries native histograms.
            None if native => [Format::Protobuf].into_iter().chain(text).collect(),
            None => text.to_vec(),
        };
        if protocols.is_empty() {
            return Err(Fault::NoProtocols);
        }
        for (index, protocol) in protocols.iter().enumerate() {
            if protocols.iter().take(index).any(|earlier| earlier == protocol) {
                return Err(Fault::SameProtocol(protocol.name()));
            }
        }
        Ok(protocols)
    }

    fn escaping(&self, defaults: &Defaults, names: NameValidation) -> Result<Escaping, Fault> {
        let inferred = match names {
            NameValidation::Utf8 => Escaping::AllowUtf8,
            NameValidation::Legacy => Escaping::Underscores,
        };
        let global = defaults.escaping.filter(|_| self.metric_name_validation_scheme.is_none());
        let escaping = self.metric_name_escaping_scheme.or(global).unwrap_or(inferred);
        if escaping == Escaping::AllowUtf8 && names == NameValidation::Legacy {
            return Err(Fault::Escaping);
        }
        Ok(escaping)
    }

    fn limits(&self, defaults: &Defaults) -> Limits {
        let or = |own: Option<u64>, default: u64| own.filter(|limit| *limit > 0).unwrap_or(default);
        let body = self.body_size_limit.filter(|limit| limit.as_u64() > 0).unwrap_or(defaults.body_size_limit);
        Limits {
            body_bytes: match body.as_usize() {
                0 => BODY_BYTES_MAX,
                limit => limit.min(exposition::BODY_BYTES_MAX),
            },
            samples: or(self.sample_limit, defaults.sample_limit),
            labels: or(self.label_limit, defaults.label_limit),
            label_name_bytes: or(self.label_name_length_limit, defaults.label_name_length_limit),
            label_value_bytes: or(self.label_value_length_limit, defaults.label_value_length_limit),
            histogram_buckets: self.native_histogram_bucket_limit.unwrap_or(0),
        }
    }

    fn discovery(&self, folder: &Path) -> discovery::Config {
        discovery::Config {
            statics: self.static_configs.clone().unwrap_or_default(),
            files: self.file_sd_configs.clone().unwrap_or_default(),
            https: self.http_sd_configs.clone().unwrap_or_default(),
            dns: self.dns_sd_configs.clone().unwrap_or_default(),
            folder: folder.to_owned(),
        }
    }

    /// Names the first kind of discovery that is configured and not supported.
    fn check_discovery(&self) -> Result<(), Fault> {
        macro_rules! unsupported {
            ($($name:ident)*) => {
                [$((stringify!($name), self.$name.is_some()),)*]
            };
        }
        let known = unsupported!(
            aws_sd_configs azure_sd_configs consul_sd_configs digitalocean_sd_configs docker_sd_configs
            dockerswarm_sd_configs ec2_sd_configs eureka_sd_configs gce_sd_configs hetzner_sd_configs ionos_sd_configs
            kubernetes_sd_configs kuma_sd_configs lightsail_sd_configs linode_sd_configs marathon_sd_configs
            nerve_sd_configs nomad_sd_configs oci_sd_configs openstack_sd_configs outscale_sd_configs ovhcloud_sd_configs
            puppetdb_sd_configs scaleway_sd_configs serverset_sd_configs stackit_sd_configs triton_sd_configs
            uyuni_sd_configs vultr_sd_configs
        );
        match known.iter().find(|(_, configured)| *configured) {
            Some((name, _)) => Err(Fault::Discovery(name)),
            None => Ok(()),
        }
    }
}

/// The finest schema whose buckets grow by at least this factor; `None` where every schema does.
fn schema_of_factor(factor: f64) -> Option<i8> {
    if factor <= 1.0 {
        return None;
    }
    // Buckets of schema n grow by 2^(2^-n).
    let schema = -factor.log2().log2();
    let floor = schema.floor().clamp(-4.0, 8.0);
    Some(floor as i8)
}
