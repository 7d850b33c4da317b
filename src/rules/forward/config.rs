//! `alerting` of a prometheus.yml: the Alertmanagers that alerts are sent on to.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::base::units::Period;
use crate::base::yaml::filled;
use crate::ingest::discovery::config as discovery;
use crate::ingest::relabel::{self, NameValidation, Rule, RuleConfig};
use crate::server::client::config::{ClientConfig, with_client_keys};

/// `alerting`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerting {
    pub alert_relabel_configs: Option<Vec<RuleConfig>>,
    #[serde(deserialize_with = "filled")]
    pub alertmanagers: Option<Vec<Config>>,
}

/// Whose API the Alertmanagers speak; the first version is gone from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiVersion {
    V1,
    #[default]
    V2,
}

with_client_keys! {
    /// One of `alertmanagers`: a set that is found and reached in one way.
    #[derive(Clone, Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Config {
        #[serde(default)]
        pub scheme: Option<String>,
        #[serde(default)]
        pub path_prefix: Option<String>,
        #[serde(default)]
        pub timeout: Option<Period>,
        #[serde(default)]
        pub api_version: ApiVersion,
        #[serde(default)]
        pub relabel_configs: Option<Vec<RuleConfig>>,
        #[serde(default)]
        pub alert_relabel_configs: Option<Vec<RuleConfig>>,
        #[serde(default, deserialize_with = "filled")]
        pub static_configs: Option<Vec<discovery::StaticConfig>>,
        #[serde(default)]
        pub file_sd_configs: Option<Vec<discovery::FileConfig>>,
        #[serde(default)]
        pub http_sd_configs: Option<Vec<discovery::HttpConfig>>,
        #[serde(default)]
        pub dns_sd_configs: Option<Vec<discovery::DnsConfig>>,
        // Kinds of discovery that are known and not supported.
        #[serde(default)]
        pub kubernetes_sd_configs: Option<IgnoredAny>,
        #[serde(default)]
        pub consul_sd_configs: Option<IgnoredAny>,
        #[serde(default)]
        pub ec2_sd_configs: Option<IgnoredAny>,
        #[serde(default)]
        pub gce_sd_configs: Option<IgnoredAny>,
        #[serde(default)]
        pub azure_sd_configs: Option<IgnoredAny>,
        #[serde(default)]
        pub docker_sd_configs: Option<IgnoredAny>,
        #[serde(default)]
        pub nomad_sd_configs: Option<IgnoredAny>,
    }
}

/// A set of Alertmanagers, checked.
#[derive(Clone, Debug)]
pub struct Set {
    pub scheme: String,
    /// Where alerts are posted below the address.
    pub path: String,
    pub timeout: Period,
    pub relabel: Arc<[Rule]>,
    pub alert_relabel: Arc<[Rule]>,
    pub discovery: discovery::Config,
    pub client: ClientConfig,
}

/// Everything of `alerting`, checked.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    pub alert_relabel: Arc<[Rule]>,
    pub sets: Vec<Set>,
    /// What is accepted and has no effect.
    pub notes: Vec<String>,
}

impl Alerting {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.alertmanagers.as_ref().is_none_or(Vec::is_empty)
            && self.alert_relabel_configs.as_ref().is_none_or(Vec::is_empty)
    }

    /// Checks all sets; relative paths start from the folder.
    pub fn check(&self, folder: &Path) -> Result<Checked, String> {
        let mut checked = Checked { alert_relabel: rules(self.alert_relabel_configs.as_ref())?, ..Checked::default() };
        for config in self.alertmanagers.iter().flatten() {
            if config.is_unsupported() {
                checked.notes.push("alertmanagers: this kind of discovery is accepted and finds nothing".to_owned());
            }
            checked.sets.push(config.check(folder)?);
        }
        Ok(checked)
    }
}

fn rules(configs: Option<&Vec<RuleConfig>>) -> Result<Arc<[Rule]>, String> {
    let configs = configs.map_or(&[][..], Vec::as_slice);
    relabel::compile(configs, NameValidation::default()).map_err(|(at, error)| format!("relabelling {at}: {error}"))
}

impl Config {
    fn is_unsupported(&self) -> bool {
        [
            &self.kubernetes_sd_configs,
            &self.consul_sd_configs,
            &self.ec2_sd_configs,
            &self.gce_sd_configs,
            &self.azure_sd_configs,
            &self.docker_sd_configs,
            &self.nomad_sd_configs,
        ]
        .iter()
        .any(|kind| kind.is_some())
    }

    fn check(&self, folder: &Path) -> Result<Set, String> {
        if self.api_version == ApiVersion::V1 {
            return Err("alertmanagers: api_version v1 was removed from Alertmanager 0.27; leave it out".to_owned());
        }
        let scheme = self.scheme.clone().unwrap_or_else(|| "http".to_owned());
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(format!("alertmanagers: scheme is http or https, not {scheme:?}"));
        }
        let timeout = self.timeout.unwrap_or(Period::from_secs(10));
        if timeout.is_zero() {
            return Err("alertmanagers: timeout must be greater than 0".to_owned());
        }
        let discovery = discovery::Config {
            statics: self.static_configs.clone().unwrap_or_default(),
            files: self.file_sd_configs.clone().unwrap_or_default(),
            https: self.http_sd_configs.clone().unwrap_or_default(),
            dns: self.dns_sd_configs.clone().unwrap_or_default(),
            folder: folder.to_owned(),
        };
        let is_plain = self.relabel_configs.as_ref().is_none_or(Vec::is_empty);
        discovery.validate(is_plain).map_err(|error| format!("alertmanagers: {error}"))?;
        let mut client = self.client();
        client.resolve(folder);
        client.validate().map_err(|error| format!("alertmanagers: {error}"))?;
        let prefix = self.path_prefix.as_deref().unwrap_or("").trim_matches('/');
        let path = if prefix.is_empty() { "/api/v2/alerts".to_owned() } else { format!("/{prefix}/api/v2/alerts") };
        Ok(Set {
            scheme,
            path,
            timeout,
            relabel: rules(self.relabel_configs.as_ref())?,
            alert_relabel: rules(self.alert_relabel_configs.as_ref())?,
            discovery,
            client,
        })
    }
}
