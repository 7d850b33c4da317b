//! `static_configs`, `file_sd_configs`, `http_sd_configs` and `dns_sd_configs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::units::Period;
use crate::server::client::config::{ClientConfig, ClientConfigError, with_client_keys};

/// Targets that share labels, as files and static configurations write them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaticConfig {
    pub targets: Option<Vec<String>>,
    pub labels: Option<BTreeMap<String, String>>,
}

/// Files that hold lists of [`StaticConfig`], JSON or YAML.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub files: Vec<PathBuf>,
    #[serde(default = "five_minutes")]
    pub refresh_interval: Period,
}

with_client_keys! {
    /// A URL that answers with a JSON list of [`StaticConfig`].
    #[derive(Clone, Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct HttpConfig {
        pub url: String,
        #[serde(default = "one_minute")]
        pub refresh_interval: Period,
    }
}

/// Names to be looked up in the DNS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    pub names: Vec<String>,
    #[serde(default = "half_a_minute")]
    pub refresh_interval: Period,
    #[serde(rename = "type", default)]
    pub kind: DnsKind,
    /// For every kind but SRV, whose records carry one.
    #[serde(default)]
    pub port: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DnsKind {
    #[default]
    #[serde(alias = "srv")]
    Srv,
    #[serde(alias = "a")]
    A,
    #[serde(alias = "aaaa")]
    Aaaa,
    #[serde(alias = "mx")]
    Mx,
    #[serde(alias = "ns")]
    Ns,
}

/// Where the targets of one job come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub statics: Vec<StaticConfig>,
    pub files: Vec<FileConfig>,
    pub https: Vec<HttpConfig>,
    pub dns: Vec<DnsConfig>,
    /// The folder of the configuration file, which relative paths start from.
    pub folder: PathBuf,
}

/// A source of targets that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{0:?} is not a valid hostname: targets are host:port without a scheme or path")]
    Address(String),
    #[error("static_configs: \"\" is not a valid label name")]
    LabelName,
    #[error(
        "file_sd_configs: path name {0:?} is not valid: it must end in .json, .yml or .yaml, and a star may stand in its last part only"
    )]
    FileName(String),
    #[error("file_sd_configs must name at least one file")]
    NoFiles,
    #[error("http_sd_configs: {0:?} is not an http or https URL with a host")]
    Url(String),
    #[error("http_sd_configs: {0}")]
    Client(#[from] ClientConfigError),
    #[error("dns_sd_configs must contain at least one name")]
    NoNames,
    #[error("dns_sd_configs: a port is required for all record types except SRV")]
    NoPort,
    #[error("{0} must be greater than 0")]
    NoInterval(&'static str),
}

impl Config {
    /// Checks what the shape of the file does not say. `addresses` says whether targets must be addresses already,
    /// because no relabelling can make them so.
    pub fn validate(&self, addresses: bool) -> Result<(), ConfigError> {
        let labels = self.statics.iter().flat_map(|config| config.labels.iter().flatten());
        if labels.clone().any(|(name, _)| name.is_empty()) {
            return Err(ConfigError::LabelName);
        }
        let targets = self.statics.iter().flat_map(|config| config.targets.iter().flatten());
        for target in targets.filter(|_| addresses) {
            check_address(target)?;
        }
        for file in &self.files {
            file.validate()?;
        }
        for http in &self.https {
            let uri = http.url.parse::<http::Uri>().map_err(|_| ConfigError::Url(http.url.clone()))?;
            if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
                return Err(ConfigError::Url(http.url.clone()));
            }
            positive(http.refresh_interval, "http_sd_configs refresh_interval")?;
            self.client_of(http).validate()?;
        }
        for dns in &self.dns {
            if dns.names.is_empty() {
                return Err(ConfigError::NoNames);
            }
            if dns.kind != DnsKind::Srv && dns.port.is_none_or(|port| port == 0) {
                return Err(ConfigError::NoPort);
            }
            positive(dns.refresh_interval, "dns_sd_configs refresh_interval")?;
        }
        Ok(())
    }

    /// The client of an HTTP source, its files found from the configuration's folder.
    pub fn client_of(&self, http: &HttpConfig) -> ClientConfig {
        let mut client = http.client();
        client.resolve(&self.folder);
        client
    }
}

impl FileConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.files.is_empty() {
            return Err(ConfigError::NoFiles);
        }
        for file in &self.files {
            let behind_star = file.to_str().and_then(|text| text.split_once('*')).map_or("", |(_, behind)| behind);
            if kind_of(file).is_none() || behind_star.contains('/') {
                return Err(ConfigError::FileName(file.display().to_string()));
            }
        }
        positive(self.refresh_interval, "file_sd_configs refresh_interval")
    }
}

/// Whether a file of targets is JSON, by its name; `None` where it is neither JSON nor YAML.
pub(super) fn kind_of(file: &Path) -> Option<bool> {
    match file.extension()?.to_str()? {
        "json" => Some(true),
        "yml" | "yaml" => Some(false),
        _ => None,
    }
}

/// What a target may be called: `host:port`, no scheme, no path.
pub fn check_address(address: &str) -> Result<(), ConfigError> {
    if address.contains('/') { Err(ConfigError::Address(address.to_owned())) } else { Ok(()) }
}

fn positive(period: Period, name: &'static str) -> Result<(), ConfigError> {
    if period.is_zero() { Err(ConfigError::NoInterval(name)) } else { Ok(()) }
}

fn five_minutes() -> Period {
    Period::from_secs(300)
}

fn one_minute() -> Period {
    Period::from_secs(60)
}

fn half_a_minute() -> Period {
    Period::from_secs(30)
}
