//! Why the daemon cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::yaml::YamlError;

/// A start that failed. The text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Config(#[from] YamlError),
    #[error(
        "{flag}: {address} is taken by another process; stop it, or choose another with {flag} {suggestion}{or_off}"
    )]
    AddressTaken { flag: &'static str, address: String, suggestion: String, or_off: &'static str },
    #[error("{flag}: cannot listen on {address}: {source}")]
    Listen { flag: &'static str, address: String, source: std::io::Error },
    #[error(
        "{flag}: other machines can reach {address} and nothing there asks for a password; if that is meant, add --listen.beyond-loopback"
    )]
    BeyondLoopback { flag: &'static str, address: SocketAddr },
    #[error("--listen off: the main port is how everything is asked; give it an address")]
    MainOff,
    #[error("--data {}: {why}", path.display())]
    Data { path: PathBuf, why: String },
    #[error("configuration: {0}")]
    Apply(String),
    #[error("alerting: {0}")]
    Alerting(String),
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
}
