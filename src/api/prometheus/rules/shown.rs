//! Rules and alerts as JSON, written from where they are: fifty thousand alerts are not copied first.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use crate::model::labels::Labels;
use crate::rules::alert::{Alert, AlertBook};
use crate::rules::group::{Health, RuleState};
use crate::rules::rule::{OnNoData, Rule};

/// A rule with its state.
pub(super) struct RuleShown<'a> {
    pub(super) rule: &'a Rule,
    pub(super) state: &'a RuleState,
    pub(super) with_alerts: bool,
}

/// One alert.
pub(super) struct AlertShown<'a>(pub(super) &'a Alert);

/// The active alerts of a rule.
struct Active<'a>(&'a AlertBook);

/// Pairs as an object.
struct Pairs<'a>(&'a [(Arc<str>, Arc<str>)]);

struct LabelsShown<'a>(&'a Labels);

impl Serialize for RuleShown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { rule, state, with_alerts } = self;
        let mut shown = serializer.serialize_map(None)?;
        let alerting = rule.alerting();
        if alerting.is_some() {
            let word = if state.evaluated_at == 0 { "unknown" } else { state.alerts.state().name() };
            shown.serialize_entry("state", word)?;
        }
        shown.serialize_entry("name", &*rule.name)?;
        shown.serialize_entry("query", &*rule.query)?;
        if let Some(alerting) = alerting {
            shown.serialize_entry("duration", &secs(alerting.hold))?;
            shown.serialize_entry("keepFiringFor", &secs(alerting.keep_firing))?;
        }
        // A recording rule without labels has none in Prometheus either.
        if alerting.is_some() || !rule.labels.is_empty() {
            shown.serialize_entry("labels", &Pairs(&rule.labels))?;
        }
        if let Some(alerting) = alerting {
            shown.serialize_entry("annotations", &Pairs(&alerting.annotations))?;
            shown.serialize_entry("alerts", &with_alerts.then_some(Active(&state.alerts)))?;
        }
        shown.serialize_entry("health", state.health.name())?;
        if let Health::Bad(error) = &state.health {
            shown.serialize_entry("lastError", error)?;
        }
        if !state.unsent.metrics.is_empty() {
            let names: Vec<&str> = state.unsent.metrics.iter().map(|name| &**name).collect();
            shown.serialize_entry("unsentMetrics", &names)?;
            let near: BTreeMap<&str, &str> =
                state.unsent.near.iter().map(|(name, near)| (&**name, near.as_str())).collect();
            shown.serialize_entry("nearMetrics", &near)?;
        }
        if let Some(alerting) = alerting.filter(|alerting| alerting.on_no_data != OnNoData::Ok) {
            shown.serialize_entry("onNoData", alerting.on_no_data.name())?;
        }
        shown.serialize_entry("evaluationTime", &state.took.as_secs_f64())?;
        shown.serialize_entry("lastEvaluation", &moment(state.evaluated_at))?;
        shown.serialize_entry("type", if alerting.is_some() { "alerting" } else { "recording" })?;
        shown.end()
    }
}

impl Serialize for AlertShown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let alert = self.0;
        let mut shown = serializer.serialize_map(None)?;
        shown.serialize_entry("labels", &LabelsShown(&alert.labels))?;
        shown.serialize_entry("annotations", &LabelsShown(&alert.annotations))?;
        shown.serialize_entry("state", alert.state.name())?;
        shown.serialize_entry("activeAt", &moment(alert.active_at))?;
        shown.serialize_entry("value", &exponential(alert.value))?;
        if let Some(since) = alert.keep_firing_since {
            shown.serialize_entry("keepFiringSince", &moment(since))?;
        }
        shown.end()
    }
}

impl Serialize for Active<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for alert in self.0.active() {
            list.serialize_element(&AlertShown(alert))?;
        }
        list.end()
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (&**name, &**value)))
    }
}

impl Serialize for LabelsShown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

/// Seconds; whole ones without a fraction, as Go writes them.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Secs {
    Whole(i64),
    Part(f64),
}

#[expect(clippy::cast_precision_loss, reason = "JSON has seconds as floats")]
pub(super) fn secs(millis: i64) -> Secs {
    if millis % 1000 == 0 { Secs::Whole(millis / 1000) } else { Secs::Part(millis as f64 / 1000.0) }
}

/// A time as Go writes it to JSON; 0 is Go's zero time.
pub(super) fn moment(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) if millis != 0 => time.to_string(),
        _ => "0001-01-01T00:00:00Z".to_owned(),
    }
}

/// As Go writes a float with `'e'`: `1e+00`.
fn exponential(value: f64) -> String {
    if !value.is_finite() {
        let infinite = if value > 0.0 { "+Inf" } else { "-Inf" };
        return if value.is_nan() { "NaN" } else { infinite }.to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}
