//! OpenSLO v1: objects that refer to each other by name, in one file or in several documents of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::base::yaml::nearest::nearest;
use crate::slo::file::text::{At, Number, Reading, percent, place, target};
use crate::slo::objective::{Budgeting, Dialect, NoData, Objective, Pairs, Part};
use crate::slo::terms::grouping;
use crate::slo::window::{Window, zone};

mod indicator;
mod policy;

use indicator::{IndicatorText, SliText, indicator_part};
use policy::{AlertPolicies, PolicyText};

/// Kinds of objects.
const KINDS: [&str; 7] =
    ["SLO", "SLI", "DataSource", "AlertPolicy", "AlertCondition", "AlertNotificationTarget", "Service"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectText<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: MetadataText,
    spec: S,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MetadataText {
    name: Option<Spanned<String>>,
    #[serde(rename = "displayName")]
    display_name: Option<String>,
    labels: BTreeMap<String, Value>,
    #[serde(rename = "annotations")]
    _annotations: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceText {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(rename = "description", default)]
    _description: Option<Value>,
    #[serde(rename = "connectionDetails", default)]
    _connection: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SloText {
    #[serde(default)]
    description: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    indicator: Option<IndicatorText>,
    #[serde(rename = "indicatorRef", default)]
    indicator_ref: Option<Spanned<String>>,
    #[serde(rename = "timeWindow")]
    time_window: Spanned<Vec<TimeWindowText>>,
    #[serde(rename = "budgetingMethod")]
    budgeting_method: Spanned<String>,
    objectives: Spanned<Vec<Spanned<ObjectiveText>>>,
    #[serde(rename = "alertPolicies", default)]
    alert_policies: Vec<Spanned<PolicyText>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeWindowText {
    duration: Spanned<String>,
    #[serde(rename = "isRolling", default)]
    is_rolling: Option<bool>,
    #[serde(default)]
    calendar: Option<CalendarText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarText {
    #[serde(rename = "startTime")]
    start_time: Spanned<String>,
    #[serde(rename = "timeZone", default)]
    time_zone: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ObjectiveText {
    #[serde(rename = "displayName")]
    display_name: Option<String>,
    op: Option<Spanned<String>>,
    value: Option<Number>,
    target: Option<Number>,
    #[serde(rename = "targetPercent")]
    target_percent: Option<Number>,
    #[serde(rename = "timeSliceTarget")]
    slice_target: Option<Number>,
    #[serde(rename = "timeSliceWindow")]
    slice_window: Option<Spanned<SliceText>>,
    indicator: Option<IndicatorText>,
    #[serde(rename = "indicatorRef")]
    indicator_ref: Option<Spanned<String>>,
    #[serde(rename = "compositeWeight")]
    weight: Option<Number>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum SliceText {
    Minutes(f64),
    Text(String),
}

/// Objects that others refer to.
#[derive(Default)]
struct Named {
    indicators: BTreeMap<String, SliText>,
    /// Name and type.
    sources: BTreeMap<String, String>,
    policies: AlertPolicies,
}

/// Reads all OpenSLO documents of a file.
pub(super) fn read(reading: &mut Reading<'_>, documents: &[String]) {
    let mut named = Named::default();
    let mut slos = Vec::new();
    for document in documents {
        let kind = crate::base::yaml::read_plain::<Value>(reading.file, document).unwrap_or_default();
        let kind = kind.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "SLO" => slos.extend(reading.structure::<ObjectText<SloText>>(document)),
            "SLI" => {
                if let Some(object) = reading.structure::<ObjectText<SliText>>(document) {
                    named.indicators.insert(name_of(&object.metadata), object.spec);
                }
            }
            "DataSource" => {
                if let Some(object) = reading.structure::<ObjectText<SourceText>>(document) {
                    named.sources.insert(name_of(&object.metadata), object.spec.kind.unwrap_or_default());
                }
            }
            "AlertPolicy" | "AlertCondition" => named.policies.take(reading, document, kind == "AlertPolicy"),
            "AlertNotificationTarget" | "Service" => {}
            other => {
                let near = nearest(other, &KINDS).map_or(String::new(), |near| format!(": did you mean {near:?}?"));
                reading.fault(super::first_line(document), format!("unknown kind {other:?} of openslo/v1{near}"));
            }
        }
    }
    for slo in slos {
        objectives(reading, &named, slo);
    }
}

fn name_of(metadata: &MetadataText) -> String {
    metadata.name.as_ref().map(|name| name.value.clone()).unwrap_or_default()
}

/// Lists of values are joined by commas.
fn labels(metadata: &MetadataText) -> Pairs {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let texts: Vec<String> =
                values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
            texts.join(",")
        }
        other => other.to_string(),
    };
    metadata.labels.iter().map(|(name, value)| (name.replace(['-', '.', '/'], "_"), text(value))).collect()
}

fn objectives(reading: &mut Reading<'_>, named: &Named, object: ObjectText<SloText>) {
    let ObjectText { metadata, spec, .. } = object;
    let Some(name) = metadata.name.as_ref() else {
        return reading.fault(place(&spec.objectives), "an SLO needs metadata.name");
    };
    let at = place(name);
    let Some(window) = window(reading, &spec.time_window) else { return };
    let alerts = named.policies.alerts(reading, &spec.alert_policies, at);
    let is_composite = spec.objectives.value.iter().any(|objective| {
        objective.value.weight.is_some()
            || objective.value.indicator.is_some()
            || objective.value.indicator_ref.is_some()
    });
    let mut found: Vec<(String, f64, Vec<Part>, Budgeting)> = Vec::new();
    for (number, objective) in spec.objectives.value.iter().enumerate() {
        let at = place(objective);
        let own = &objective.value;
        let Some(share) = share(reading, own, at) else { continue };
        let Some(budgeting) = budgeting(reading, &spec.budgeting_method, (own, at)) else { continue };
        let indicator = own.indicator.as_ref().or(spec.indicator.as_ref());
        let reference = own.indicator_ref.as_ref().or(spec.indicator_ref.as_ref());
        let Some(mut part) = indicator_part(reading, named, (&name.value, own), (indicator, reference, at)) else {
            continue;
        };
        part.weight = own.weight.map_or(1.0, |weight| weight.value);
        let title = own.display_name.clone().unwrap_or_else(|| (number + 1).to_string());
        found.push((title, share, vec![part], budgeting));
    }
    if found.len() < spec.objectives.value.len() {
        return;
    }
    if is_composite && found.len() > 1 {
        let weights: f64 = found.iter().flat_map(|(_, _, parts, _)| parts).map(|part| part.weight).sum();
        let share =
            found.iter().map(|(_, share, parts, _)| share * parts.iter().map(|p| p.weight).sum::<f64>()).sum::<f64>()
                / weights;
        let budgeting = found.first().map_or(Budgeting::Occurrences, |(.., budgeting)| *budgeting);
        let parts = found.drain(..).flat_map(|(_, _, parts, _)| parts).collect();
        found.push((String::new(), share, parts, budgeting));
    }
    let is_single = found.len() == 1;
    for (title, target, parts, budgeting) in found {
        // Several objectives of one SLO are told apart by their titles.
        let name = if is_single { name.value.clone() } else { format!("{}-{}", name.value, slug(&title)) };
        let objective = Objective {
            file: Arc::from(reading.file),
            name: Arc::from(name),
            service: Arc::from(spec.service.as_str()),
            description: if spec.description.is_empty() {
                metadata.display_name.clone().unwrap_or_default()
            } else {
                spec.description.clone()
            },
            labels: labels(&metadata),
            target,
            windows: vec![window.clone()],
            group_by: parts.first().map(|part| grouping(&part.denominator)).unwrap_or_default(),
            kind: if parts.len() > 1 { "composite" } else { "availability" },
            parts,
            budgeting,
            min_events: 0.0,
            no_data: NoData::Ignore,
            alerts: alerts.0.clone(),
            absent: alerts.1.clone(),
            dialect: Dialect::OpenSlo,
            notes: Vec::new(),
        };
        reading.finish(at, objective);
    }
}

fn slug(title: &str) -> String {
    title
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

fn window(reading: &mut Reading<'_>, windows: &Spanned<Vec<TimeWindowText>>) -> Option<Window> {
    let [window] = &*windows.value else {
        reading.fault(place(windows), "timeWindow has exactly one item");
        return None;
    };
    let found = match (&window.calendar, window.is_rolling) {
        (Some(calendar), None | Some(false)) => {
            let at = calendar.time_zone.as_ref().map_or(place(&calendar.start_time), place);
            let zone = match zone(calendar.time_zone.as_ref().map_or("UTC", |zone| &zone.value)) {
                Ok(zone) => zone,
                Err(error) => {
                    reading.fault(at, error.to_string());
                    return None;
                }
            };
            Window::calendar_text(&window.duration.value, &calendar.start_time.value, zone)
                .map_err(|error| (place(&calendar.start_time), error.to_string()))
        }
        (Some(_), Some(true)) => Err((place(&window.duration), "a rolling window has no calendar".to_owned())),
        (None, Some(false)) => Err((place(&window.duration), "a window that does not roll needs calendar:".to_owned())),
        (None, _) => {
            Window::rolling(&window.duration.value).map_err(|error| (place(&window.duration), error.to_string()))
        }
    };
    found.map_err(|(at, why)| reading.fault(at, why)).ok()
}

fn share(reading: &mut Reading<'_>, text: &ObjectiveText, at: At) -> Option<f64> {
    let found = match (text.target, text.target_percent) {
        (Some(number), None) if number.value <= 1.0 => target(number),
        (Some(number), None) => {
            Err(format!("target {} is a share below 1; write targetPercent for per cent", number.value))
        }
        (None, Some(number)) => target(Number { is_percent: true, ..number }),
        (Some(_), Some(_)) => Err("give target or targetPercent, not both".to_owned()),
        (None, None) => Err("an objective needs target or targetPercent".to_owned()),
    };
    found.map_err(|why| reading.fault(at, why)).ok()
}

fn budgeting(
    reading: &mut Reading<'_>,
    method: &Spanned<String>,
    (text, at): (&ObjectiveText, At),
) -> Option<Budgeting> {
    let width = match &text.slice_window {
        None => 60_000,
        Some(window) => match slice_width(&window.value) {
            Some(width) => width,
            None => {
                reading.fault(place(window), "timeSliceWindow is a number of minutes or such as 5m");
                return None;
            }
        },
    };
    match method.value.as_str() {
        "Occurrences" => Some(Budgeting::Occurrences),
        "RatioTimeslices" => Some(Budgeting::RatioTimeslices { width }),
        "Timeslices" => match text.slice_target {
            Some(number) => {
                let target = if number.value > 1.0 { percent(number.value) } else { number.value };
                Some(Budgeting::Timeslices { width, target })
            }
            None => {
                reading.fault(at, "Timeslices need timeSliceTarget");
                None
            }
        },
        other => {
            let methods = ["Occurrences", "Timeslices", "RatioTimeslices"];
            let near = nearest(other, &methods).map_or(String::new(), |near| format!(": did you mean {near:?}?"));
            reading.fault(place(method), format!("unknown budgetingMethod {other:?}{near}"));
            None
        }
    }
}

fn slice_width(text: &SliceText) -> Option<Millis> {
    let millis = match text {
        SliceText::Minutes(minutes) => (minutes * 60_000.0) as Millis,
        SliceText::Text(text) => text.parse::<Period>().ok()?.as_millis(),
    };
    (millis >= 1_000).then_some(millis)
}
