//! What the command line decides: few settings, each fixed for the life of the process.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::units::Period;
use crate::telemetry::logs::LogFormat;

/// The options of the daemon.
#[derive(Clone, Debug)]
pub struct Options {
    pub config_file: Option<PathBuf>,
    pub data: PathBuf,
    /// An alertmanager.yml.
    pub alertmanager_config_file: Option<PathBuf>,
    /// Patterns of files of objectives, beside those of the configuration.
    pub slo_files: Vec<PathBuf>,
    pub listen: Listen,
    pub otlp_grpc_listen: Listen,
    pub otlp_http_listen: Listen,
    /// Allows addresses that other machines can reach.
    pub beyond_loopback: bool,
    /// Whether novascope scrapes itself and reads its host.
    pub own: bool,
    /// None where the flag is not given: the configuration decides.
    pub retention: Option<Retention>,
    /// None where the flag is not given; zero keeps every sample.
    pub dedup_interval: Option<Period>,
    pub log_level: String,
    pub log_format: LogFormat,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Off,
    At(Vec<SocketAddr>, String),
}

/// How long samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Everything is kept, whatever its time.
    Off,
    For(Period),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        // `:9090` is how Prometheus' flag means every address.
        let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
        match full.to_socket_addrs() {
            Ok(addresses) => Ok(Self::At(addresses.collect(), text.to_owned())),
            Err(error) => Err(format!("{text:?} is not an address such as 127.0.0.1:9090: {error}")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(_, text) => f.write_str(text),
        }
    }
}

impl Listen {
    /// The first address that other machines can reach.
    pub fn beyond_loopback(&self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(addresses, _) => addresses.iter().find(|address| !address.ip().is_loopback()).copied(),
        }
    }
}

impl Retention {
    /// `None` keeps everything.
    pub fn from_millis(millis: Option<i64>) -> Self {
        millis.map_or(Self::Off, |millis| Self::For(Period::from_millis(millis)))
    }

    /// `None` where everything is kept.
    pub fn as_millis(self) -> Option<i64> {
        match self {
            Self::Off => None,
            Self::For(period) => Some(period.as_millis()),
        }
    }
}

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => match text.parse::<Period>() {
                Ok(period) if period.is_zero() => Err("0 would keep nothing; write off to keep everything".to_owned()),
                Ok(period) => Ok(Self::For(period)),
                Err(error) => Err(format!("{error}, or off to keep everything")),
            },
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::For(period) => write!(f, "{period}"),
        }
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Options {
    /// Every flag and its value, for `/api/v1/status/flags`.
    pub fn flags(&self) -> Vec<(String, String)> {
        let or_config = |value: Option<String>| value.unwrap_or_default();
        [
            (
                "alertmanager.config-file",
                or_config(self.alertmanager_config_file.as_ref().map(|path| path.display().to_string())),
            ),
            ("config.file", or_config(self.config_file.as_ref().map(|path| path.display().to_string()))),
            ("data", self.data.display().to_string()),
            ("dedup-interval", or_config(self.dedup_interval.map(|period| period.to_string()))),
            ("listen", self.listen.to_string()),
            ("listen.beyond-loopback", self.beyond_loopback.to_string()),
            ("log.format", format!("{:?}", self.log_format).to_lowercase()),
            ("log.level", self.log_level.clone()),
            ("otlp.grpc-listen", self.otlp_grpc_listen.to_string()),
            ("otlp.http-listen", self.otlp_http_listen.to_string()),
            ("retention", or_config(self.retention.map(|retention| retention.to_string()))),
            ("slo.files", self.slo_files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(",")),
            ("self", if self.own { "on" } else { "off" }.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_knows_what_other_machines_can_reach() {
        let reach = |text: &str| text.parse::<Listen>().unwrap().beyond_loopback().map(|address| address.to_string());
        assert_eq!(reach("off"), None);
        assert_eq!(reach("127.0.0.1:0"), None);
        assert_eq!(reach("[::1]:9090"), None);
        assert_eq!(reach(":9090"), Some("0.0.0.0:9090".to_owned()));
        assert_eq!(reach("[::]:9090"), Some("[::]:9090".to_owned()));
        assert!("9090".parse::<Listen>().is_err());
    }

    #[test]
    fn retention_of_nothing_is_refused() {
        assert_eq!("off".parse(), Ok(Retention::Off));
        assert_eq!("7d".parse(), Ok(Retention::For(Period::from_secs(7 * 86_400))));
        assert!("0".parse::<Retention>().is_err() && "soon".parse::<Retention>().is_err());
    }
}
