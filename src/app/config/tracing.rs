//! `tracing` of a prometheus.yml: where spans about our own work go.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::base::units::Period;
use crate::base::yaml::unless_empty;
use crate::server::client::config::{Secret, TlsConfig};

/// What carries the spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    #[default]
    Grpc,
    Http,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    Gzip,
}

/// The section, with Prometheus' defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub client_type: Carrier,
    /// Host and port; no scheme.
    pub endpoint: String,
    /// Of the requests whose caller did not decide, how many are traced: 0 to 1.
    #[serde(default)]
    pub sampling_fraction: f64,
    /// Speak without TLS.
    #[serde(default)]
    pub insecure: bool,
    #[serde(default)]
    pub tls_config: Option<TlsConfig>,
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    #[serde(default, deserialize_with = "unless_empty")]
    pub compression: Option<Compression>,
    #[serde(default = "timeout")]
    pub timeout: Period,
}

fn timeout() -> Period {
    Period::from_secs(10)
}

impl Config {
    /// Checks what the types do not say, and makes paths relative to the file's folder.
    pub fn settle(&mut self, folder: &Path) -> Result<(), String> {
        if self.endpoint.is_empty() {
            return Err("tracing: endpoint must be HOST:PORT".to_owned());
        }
        if self.endpoint.contains("://") {
            return Err(format!("tracing: endpoint {:?} must be HOST:PORT, without a scheme", self.endpoint));
        }
        if !(0.0..=1.0).contains(&self.sampling_fraction) {
            return Err(format!("tracing: sampling_fraction {} must be between 0 and 1", self.sampling_fraction));
        }
        if let Some(tls) = &mut self.tls_config {
            tls.validate().map_err(|error| format!("tracing: {error}"))?;
            tls.resolve(folder);
        }
        Ok(())
    }

    /// `http://` or `https://` before the endpoint.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.insecure { "http" } else { "https" }, self.endpoint)
    }
}
