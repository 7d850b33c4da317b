//! Our own settings. config/novascope.example.yml lists every one with its default and its reason; `tests/tidy`
//! compares the two.

use serde::{Deserialize, Serialize};

/// The key `novascope`, or the file `novascope.yml`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    pub listen: Listen,
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
