//! Sloth's form: `version: prometheus/v1`, and the Kubernetes object around the same in camel case.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::slo::burn::{self, BurnAlert, Pair};
use crate::slo::file::text::{At, Number, Reading, part, place, target};
use crate::slo::objective::{Budgeting, Dialect, NoData, Objective, Pairs, Part};
use crate::slo::terms::{Comparison, Ratio, STEP, grouping};
use crate::slo::window::Window;

/// Sloth's own default.
const WINDOW: Period = Period::from_secs(30 * 86_400);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(rename = "version")]
    _version: String,
    service: Spanned<String>,
    #[serde(default)]
    labels: Pairs,
    #[serde(default)]
    slos: Vec<Spanned<SloText>>,
    #[serde(default)]
    slo_plugins: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectText {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata", default)]
    _metadata: Option<Value>,
    spec: SpecText,
    #[serde(rename = "status", default)]
    _status: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecText {
    service: Spanned<String>,
    #[serde(default)]
    labels: Pairs,
    #[serde(default)]
    slos: Vec<Spanned<SloText>>,
    #[serde(default, alias = "sloPlugins")]
    slo_plugins: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SloText {
    name: Spanned<String>,
    #[serde(default)]
    description: String,
    objective: Spanned<Number>,
    #[serde(default)]
    labels: Pairs,
    sli: Spanned<SliText>,
    #[serde(default)]
    alerting: AlertingText,
    #[serde(default)]
    plugins: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SliText {
    events: Option<EventsText>,
    raw: Option<RawText>,
    plugin: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsText {
    #[serde(alias = "errorQuery")]
    error_query: Spanned<String>,
    #[serde(alias = "totalQuery")]
    total_query: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawText {
    #[serde(alias = "errorRatioQuery")]
    error_ratio_query: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AlertingText {
    name: Option<String>,
    labels: Pairs,
    annotations: Pairs,
    #[serde(alias = "pageAlert")]
    page_alert: AlertText,
    #[serde(alias = "ticketAlert")]
    ticket_alert: AlertText,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AlertText {
    disable: bool,
    labels: Pairs,
    annotations: Pairs,
    #[serde(rename = "for")]
    hold: Option<Period>,
}

/// Reads a file of the command line's form.
pub(super) fn read(reading: &mut Reading<'_>, document: &str) {
    let Some(file) = reading.structure::<FileText>(document) else { return };
    let FileText { service, labels, slos, slo_plugins, .. } = file;
    objectives(reading, SpecText { service, labels, slos, slo_plugins });
}

/// Reads a Kubernetes object.
pub(super) fn read_object(reading: &mut Reading<'_>, document: &str, kind: &str) {
    match kind {
        "PrometheusServiceLevel" => {
            if let Some(object) = reading.structure::<ObjectText>(document) {
                objectives(reading, object.spec);
            }
        }
        "AlertWindows" => {
            let note = "AlertWindows are not read; the factors of 7, 28 and 30 days are known";
            reading.content.notes.push(format!("{}: {note}", reading.file));
        }
        other => reading.fault(
            (1, 1),
            format!("unknown kind {other:?} of sloth.slok.dev/v1: did you mean \"PrometheusServiceLevel\"?"),
        ),
    }
}

fn objectives(reading: &mut Reading<'_>, spec: SpecText) {
    if spec.service.value.is_empty() {
        reading.fault(place(&spec.service), "service is empty: Sloth's files name one");
    }
    if spec.slo_plugins.is_some() {
        reading.content.notes.push(format!("{}: SLO plugins are Go code and are passed over", reading.file));
    }
    for slo in spec.slos {
        let slo = slo.value;
        let at = place(&slo.name);
        let name = slo.name.value.clone();
        let target = match target(slo.objective.value) {
            Ok(target) => target,
            Err(why) => {
                reading.fault(place(&slo.objective), why);
                continue;
            }
        };
        let Some(part) = indicator(reading, (&name, &slo.sli)) else { continue };
        let mut labels = spec.labels.clone();
        labels.extend(slo.labels);
        let mut notes = Vec::new();
        if slo.plugins.is_some() {
            notes.push("SLO plugins are Go code and are passed over".to_owned());
        }
        let alerts = alerts(reading, slo.alerting, at);
        let objective = Objective {
            file: Arc::from(reading.file),
            name: Arc::from(name),
            service: Arc::from(spec.service.value.as_str()),
            description: slo.description,
            labels,
            target,
            windows: vec![Window::Rolling(WINDOW)],
            group_by: grouping(&part.denominator),
            parts: vec![part],
            budgeting: Budgeting::Occurrences,
            min_events: 0.0,
            no_data: NoData::Ignore,
            alerts,
            absent: None,
            kind: "availability",
            dialect: Dialect::Sloth,
            notes,
        };
        reading.finish(at, objective);
    }
}

fn indicator(reading: &mut Reading<'_>, (name, sli): (&str, &Spanned<SliText>)) -> Option<Part> {
    match &sli.value {
        SliText { events: Some(events), raw: None, plugin: None } => {
            let (bad, total) = (reading.counter(&events.error_query, STEP), reading.counter(&events.total_query, STEP));
            Some(part(name, Ratio { numerator: bad?, denominator: total?, is_complement: true }))
        }
        SliText { events: None, raw: Some(raw), plugin: None } => {
            let ratio = reading.share(&raw.error_ratio_query, STEP)?;
            // What the query calls its share is bad.
            Some(part(name, Ratio { is_complement: !ratio.is_complement, ..ratio }))
        }
        SliText { events: None, raw: None, plugin: Some(_) } => {
            reading.fault(
                place(sli),
                "SLI plugins are Go code, which is not run here; write their queries under events: or raw:",
            );
            None
        }
        _ => {
            reading.fault(place(sli), "sli needs exactly one of events, raw and plugin");
            None
        }
    }
}

fn alerts(reading: &mut Reading<'_>, text: AlertingText, at: At) -> Vec<BurnAlert> {
    let AlertingText { name, labels, annotations, page_alert, ticket_alert } = text;
    if page_alert.disable && ticket_alert.disable {
        return Vec::new();
    }
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        reading.fault(at, "alerting needs a name, or page_alert and ticket_alert disabled");
        return Vec::new();
    };
    let rows = burn::sloth(WINDOW.as_millis());
    let [first, second, third, fourth] =
        rows.map(|(short, long, factor, _)| Pair { short, long, factor, op: Comparison::Greater });
    let mut alerts = Vec::new();
    for (severity, alert, pairs) in [("page", page_alert, [first, second]), ("ticket", ticket_alert, [third, fourth])] {
        if alert.disable {
            continue;
        }
        let owned = |pairs: [(&str, String); 2]| pairs.map(|(name, value)| (name.to_owned(), value));
        let mut all_labels = labels.clone();
        all_labels.insert("sloth_severity".to_owned(), severity.to_owned());
        all_labels.extend(alert.labels);
        let mut all_annotations = Pairs::from(owned([
            (
                "summary",
                "{{$labels.sloth_service}} {{$labels.sloth_slo}} SLO error budget burn rate is over expected."
                    .to_owned(),
            ),
            (
                "title",
                format!(
                    "({severity}) {{{{$labels.sloth_service}}}} {{{{$labels.sloth_slo}}}} SLO error budget burn rate is too fast."
                ),
            ),
        ]));
        all_annotations.extend(annotations.clone());
        all_annotations.extend(alert.annotations);
        let hold: Millis = alert.hold.map_or(0, Period::as_millis);
        alerts.push(BurnAlert {
            name: name.clone(),
            hold,
            pairs: pairs.to_vec(),
            labels: all_labels,
            annotations: all_annotations,
        });
    }
    alerts
}
