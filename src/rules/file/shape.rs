//! What a rule file looks like: serde's view of it, before anything is checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::base::units::Period;
use crate::rules::rule::OnNoData;

/// Prometheus' own form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileText {
    pub(super) groups: Option<Vec<GroupText>>,
}

/// What kind of object a document is; everything else is looked at later.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Head {
    #[serde(rename = "apiVersion")]
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
}

/// A Kubernetes PrometheusRule.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ObjectText {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    #[serde(rename = "metadata")]
    _metadata: Option<serde_json::Value>,
    #[serde(rename = "status")]
    _status: Option<serde_json::Value>,
    pub(super) spec: SpecText,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SpecText {
    pub(super) groups: Option<Vec<GroupText>>,
}

/// A list of Kubernetes objects, of which those that are rules count.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListText {
    pub(super) items: Option<Vec<ItemText>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ItemText {
    pub(super) kind: Option<String>,
    pub(super) spec: Option<OpenSpecText>,
}

/// As [`SpecText`], for objects that may be of another kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OpenSpecText {
    pub(super) groups: Option<Vec<GroupText>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupText {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) interval: Option<Period>,
    #[serde(default)]
    pub(super) query_offset: Option<Period>,
    #[serde(default)]
    /// Less than 1 is none.
    pub(super) limit: Option<i64>,
    #[serde(default)]
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) rules: Option<Vec<Spanned<RuleText>>>,
    /// Ours: what rules without their own do when their data is gone.
    #[serde(default)]
    pub(super) on_no_data: Option<OnNoData>,
    /// Thanos', which Kubernetes objects may have; it means nothing in one process.
    #[serde(default)]
    pub(super) partial_response_strategy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RuleText {
    pub(super) record: Option<Spanned<String>>,
    pub(super) alert: Option<Spanned<String>>,
    pub(super) expr: Option<Spanned<String>>,
    #[serde(rename = "for")]
    pub(super) hold: Option<Period>,
    pub(super) keep_firing_for: Option<Period>,
    pub(super) labels: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) annotations: Option<BTreeMap<String, Spanned<String>>>,
    /// Ours.
    pub(super) on_no_data: Option<OnNoData>,
}
