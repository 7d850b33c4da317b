//! What operators set about objectives.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::units::Period;
use crate::slo::record::Names;

/// The section `slo`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Files of objectives, as patterns relative to the file that names them. Those of the flag come beside them.
    pub files: Vec<PathBuf>,
    /// How often burn-rate alerts are looked at.
    pub interval: Period,
    /// Whose names series are recorded under; nothing is recorded where the list is empty.
    pub record: Vec<Names>,
    pub record_interval: Period,
    /// Groups that one objective may keep apart; the rest is counted together.
    pub groups_max: usize,
}

impl Default for Config {
    /// An alert that fires a second late has cost a second of budget; looking costs some tens of microseconds.
    fn default() -> Self {
        Self {
            files: Vec::new(),
            interval: Period::from_secs(1),
            record: vec![Names::Novascope],
            record_interval: Period::from_secs(30),
            groups_max: 1_000,
        }
    }
}
