//! `/alerts/incidents`: alerts that belong together, with what happened in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::{Page, show_event};
use crate::api::alertmanager::{Alertmanager, Refusal, json};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;
use crate::notify::incident::Incident;

fn show(incident: &Incident) -> Value {
    let shared = incident.shared();
    json!({
        "id": incident.id,
        "state": if incident.ended.is_some() { "closed" } else { "open" },
        "title": incident.title(),
        "startedAt": rfc3339(incident.started),
        "endedAt": incident.ended.map(rfc3339),
        "lastChange": rfc3339(incident.last_change),
        "alerts": incident.alerts.len(),
        "firing": incident.firing(),
        "labels": shared.iter().collect::<BTreeMap<_, _>>(),
    })
}

/// Incidents, the newest first: `state` (open or closed), `offset`, `limit`.
pub(super) async fn list(State(api): State<Arc<Alertmanager>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let form = Form::parse(&[], query.as_deref());
    let page = Page::read(&form)?;
    let is_open = match form.get("state") {
        "" => None,
        "open" => Some(true),
        "closed" => Some(false),
        other => return Err(Refusal::bad(format!("state is open or closed, not {other:?}"))),
    };
    let (total, rows) = api.notifier.read(|state| {
        let wanted = |one: &&Incident| is_open.is_none_or(|is_open| is_open == one.ended.is_none());
        let (total, found) = page.cut(state.incidents.iter().filter(wanted));
        (total, found.into_iter().map(show).collect::<Vec<_>>())
    });
    Ok(json(&page.answer("incidents", total, &rows)))
}

/// One incident: its alerts, and what happened in order, notifications among it.
pub(super) async fn one(State(api): State<Arc<Alertmanager>>, Path(id): Path<u64>) -> Result<Response, Refusal> {
    let found = api.notifier.read(|state| {
        let incident = state.incidents.get(id)?;
        let mut shown = show(incident);
        let alert = |(fingerprint, (labels, is_firing)): (&_, &(crate::model::labels::Labels, bool))| {
            let fingerprint: &crate::notify::alert::Fingerprint = fingerprint;
            let labels: BTreeMap<_, _> = labels.iter().collect();
            json!({"fingerprint": fingerprint.to_string(), "labels": labels, "firing": is_firing})
        };
        shown["members"] = incident.alerts.iter().map(alert).collect();
        let mut timeline: Vec<_> = incident.timeline.iter().map(|event| (event.time, show_event(event))).collect();
        let until = incident.ended.unwrap_or(i64::MAX);
        let during = state.history.iter().filter(|sent| {
            sent.time >= incident.started
                && sent.time <= until.saturating_add(60_000)
                && sent.alerts.iter().any(|one| incident.alerts.contains_key(one))
        });
        timeline.extend(during.map(|sent| {
            let what = json!({
                "time": rfc3339(sent.time),
                "kind": if sent.error.is_some() { "notification failed" } else { "notified" },
                "by": sent.receiver,
                "detail": sent.error.as_deref().unwrap_or(sent.reason.name()),
            });
            (sent.time, what)
        }));
        timeline.sort_by_key(|(time, _)| *time);
        shown["timeline"] = timeline.into_iter().map(|(_, event)| event).collect();
        Some(shown)
    });
    found.map(|incident| json(&incident)).ok_or_else(|| Refusal::not_found("no such incident"))
}
