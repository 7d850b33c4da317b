//! Objectives as they were read, whatever they were written in.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::slo::burn::BurnAlert;
use crate::slo::terms::Term;
use crate::slo::window::Window;

/// Pairs of names and values, ascending by name.
pub type Pairs = BTreeMap<String, String>;

/// An objective.
#[derive(Clone, Debug)]
pub struct Objective {
    /// As the operator named it.
    pub file: Arc<str>,
    pub name: Arc<str>,
    pub service: Arc<str>,
    pub description: String,
    pub labels: Pairs,
    /// The share of events that must be good, below 1.
    pub target: f64,
    /// At least one.
    pub windows: Vec<Window>,
    /// More than one makes a composite; at least one.
    pub parts: Vec<Part>,
    /// Labels by which budgets are kept apart.
    pub group_by: Vec<Arc<str>>,
    pub budgeting: Budgeting,
    /// With fewer events in its long window no burn alert fires.
    pub min_events: f64,
    pub no_data: NoData,
    pub alerts: Vec<BurnAlert>,
    pub absent: Option<AbsentAlert>,
    /// What it is about, for people: `availability`, `latency`, `threshold`, `composite`.
    pub kind: &'static str,
    pub dialect: Dialect,
    /// What its author should know.
    pub notes: Vec<String>,
}

/// What is counted.
#[derive(Clone, Debug)]
pub struct Part {
    pub name: Arc<str>,
    pub weight: f64,
    pub numerator: Vec<Term>,
    pub denominator: Vec<Term>,
    /// The numerator counts good events, else bad ones.
    pub is_good: bool,
}

/// What is an event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budgeting {
    /// What is counted.
    Occurrences,
    /// A slice of time, good where enough of its events are.
    Timeslices { width: Millis, target: f64 },
    /// A slice of time, as good as the share of its good events.
    RatioTimeslices { width: Millis },
}

/// What time without events means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoData {
    /// Nothing.
    #[default]
    Ignore,
    /// Slices without events are good.
    Good,
    /// Slices without events are bad.
    Bad,
}

/// An alert that fires when nothing is counted any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentAlert {
    pub name: String,
    pub hold: Millis,
    pub labels: Pairs,
    pub annotations: Pairs,
}

/// Whose form an objective was written in, which decides names and labels of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    Own,
    OpenSlo,
    Sloth,
    Pyrra,
}

impl Dialect {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Own => "novascope",
            Self::OpenSlo => "openslo/v1",
            Self::Sloth => "sloth/v1",
            Self::Pyrra => "pyrra/v1alpha1",
        }
    }
}

impl Objective {
    /// What makes an objective the same one over a reload, and unique among all.
    pub fn id(&self) -> String {
        if self.service.is_empty() { self.name.to_string() } else { format!("{}-{}", self.service, self.name) }
    }

    /// The longest time that is asked for at once: windows and alerts.
    pub fn horizon(&self) -> Millis {
        let windows = self.windows.iter().map(|window| window.length().saturating_mul(11) / 10);
        let alerts = self.alerts.iter().flat_map(|alert| &alert.pairs).map(|pair| pair.long.max(pair.short));
        windows.chain(alerts).max().unwrap_or(0).saturating_add(86_400_000)
    }

    /// Labels that every series and alert about it carries in our own form.
    pub fn identity(&self) -> Pairs {
        let mut pairs = self.labels.clone();
        pairs.insert("slo".to_owned(), self.name.to_string());
        if !self.service.is_empty() {
            pairs.insert("service".to_owned(), self.service.to_string());
        }
        pairs
    }

    /// The windows that burn rates are asked for, ascending.
    pub fn burn_windows(&self) -> Vec<Millis> {
        let mut windows: Vec<Millis> =
            self.alerts.iter().flat_map(|alert| &alert.pairs).flat_map(|pair| [pair.short, pair.long]).collect();
        if windows.is_empty() {
            windows.extend(crate::slo::burn::WORKBOOK.iter().flat_map(|(short, long, ..)| [*short, *long]));
        }
        windows.retain(|window| *window > 0);
        windows.sort_unstable();
        windows.dedup();
        windows
    }
}
