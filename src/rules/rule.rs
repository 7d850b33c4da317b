//! Rules and groups as they were read: checked, parsed, without state.

use std::sync::Arc;

use serde::Deserialize;

use crate::base::clock::Millis;
use crate::promql::ast::Expr;

/// A group: its rules are evaluated together.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// As the operator named it.
    pub file: Arc<str>,
    pub name: Arc<str>,
    pub interval: Millis,
    /// How far back rules look and write; `None` for the configured default.
    pub query_offset: Option<Millis>,
    /// Most series or alerts that one rule may give; 0 for no limit.
    pub limit: usize,
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: Arc<str>,
    pub expr: Arc<Expr>,
    /// The expression in canonical form, as the API shows it.
    pub query: Arc<str>,
    /// Those of the group and of the rule, ascending by name. Templates where the rule alerts.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    pub kind: RuleKind,
}

#[derive(Clone, Debug)]
pub enum RuleKind {
    Recording,
    Alerting(Alerting),
}

/// What only alerting rules have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerting {
    /// How long the expression must give a label set before its alert fires.
    pub hold: Millis,
    /// How long an alert goes on firing after the expression stopped giving it.
    pub keep_firing: Millis,
    /// Templates, ascending by name.
    pub annotations: Vec<(Arc<str>, Arc<str>)>,
    pub on_no_data: OnNoData,
}

/// What an alerting rule does when what it looks at is gone; see docs/rules.md. Prometheus knows only `ok`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNoData {
    /// Alerts stay as they are until their data is back.
    Keep,
    /// Nothing to see is nothing wrong.
    #[default]
    Ok,
    /// No data at all is an alert itself.
    Alert,
}

impl OnNoData {
    /// The word for it in files and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Ok => "ok",
            Self::Alert => "alert",
        }
    }
}

impl GroupSpec {
    /// Whether a reload changes nothing about the group.
    pub fn is_equal(&self, other: &Self) -> bool {
        let settings = |spec: &Self| (spec.interval, spec.query_offset, spec.limit);
        self.is_same(other)
            && settings(self) == settings(other)
            && self.rules.len() == other.rules.len()
            && self.rules.iter().zip(&other.rules).all(|(rule, other)| {
                rule.is_same(other) && rule.query == other.query && rule.alerting() == other.alerting()
            })
    }

    /// What makes a group the same one across a reload.
    pub fn is_same(&self, other: &Self) -> bool {
        self.file == other.file && self.name == other.name
    }
}

impl Rule {
    pub fn alerting(&self) -> Option<&Alerting> {
        match &self.kind {
            RuleKind::Alerting(alerting) => Some(alerting),
            RuleKind::Recording => None,
        }
    }

    /// What makes a rule the same one across a reload: Prometheus compares name and labels only.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.labels == other.labels
            && self.alerting().is_some() == other.alerting().is_some()
    }
}
