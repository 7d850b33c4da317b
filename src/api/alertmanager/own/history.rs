//! What happened: events of alerts, notifications with what the receivers answered, and which rules wear people out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::{Page, fingerprint, show_event, time};
use crate::api::alertmanager::{Alertmanager, Refusal, json};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;
use crate::base::clock::Millis;
use crate::notify::alert::Fingerprint;
use crate::notify::fatigue;
use crate::notify::history::{Kind, Sent};
use crate::notify::matchers::{self, all_match};

fn show_sent(sent: &Sent) -> Value {
    json!({
        "id": sent.id,
        "time": rfc3339(sent.time),
        "receiver": sent.receiver,
        "integration": sent.integration,
        "groupKey": sent.group_key,
        "reason": sent.reason.name(),
        "fingerprints": sent.alerts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "alertnames": sent.alert_names,
        "tries": sent.tries,
        "durationMs": sent.duration_ms,
        "answer": sent.answer,
        "error": sent.error,
    })
}

/// What both lists are narrowed by.
struct Narrowed<'a> {
    page: Page,
    start: Option<Millis>,
    end: Option<Millis>,
    fingerprint: Option<Fingerprint>,
    /// An id; only what came later.
    after: u64,
    alertname: &'a str,
}

impl<'a> Narrowed<'a> {
    fn read(form: &'a Form) -> Result<Self, Refusal> {
        let wanted = Some(form.get("fingerprint")).filter(|text| !text.is_empty());
        Ok(Self {
            page: Page::read(form)?,
            start: time(form, "start")?,
            end: time(form, "end")?,
            fingerprint: wanted.map(fingerprint).transpose()?,
            after: number(form, "after")?,
            alertname: form.get("alertname"),
        })
    }

    fn takes_time(&self, time: Millis) -> bool {
        self.start.is_none_or(|start| time >= start) && self.end.is_none_or(|end| time <= end)
    }
}

/// What was sent to whom, the newest first: `receiver`, `integration`, `alertname`, `fingerprint`, `failed`, `start`,
/// `end`, `after` (an id), `offset`, `limit`.
pub(super) async fn notifications(
    State(api): State<Arc<Alertmanager>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let form = Form::parse(&[], query.as_deref());
    let narrowed = Narrowed::read(&form)?;
    let (receiver, integration) = (form.get("receiver"), form.get("integration"));
    let failed = form.get("failed");
    let (total, rows) = api.notifier.read(|state| {
        let found = state.history.iter().take_while(|sent| sent.id > narrowed.after).filter(|sent| {
            (receiver.is_empty() || sent.receiver == receiver)
                && (integration.is_empty() || sent.integration == integration)
                && (narrowed.alertname.is_empty() || sent.alert_names.iter().any(|one| one == narrowed.alertname))
                && narrowed.fingerprint.is_none_or(|wanted| sent.alerts.contains(&wanted))
                && (failed.is_empty() || (failed == "true") == sent.error.is_some())
                && narrowed.takes_time(sent.time)
        });
        let (total, found) = narrowed.page.cut(found);
        (total, found.into_iter().map(show_sent).collect::<Vec<_>>())
    });
    Ok(json(&narrowed.page.answer("notifications", total, &rows)))
}

fn number(form: &Form, name: &str) -> Result<u64, Refusal> {
    match form.get(name) {
        "" => Ok(0),
        text => text.parse().map_err(|_| Refusal::bad(format!("invalid {name}: {text:?} is not a number"))),
    }
}

/// What happened to alerts, the newest first: `kind` (several), `alertname`, `fingerprint`, `filter` (matchers),
/// `start`, `end`, `after` (an id), `offset`, `limit`.
pub(super) async fn events(
    State(api): State<Arc<Alertmanager>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let form = Form::parse(&[], query.as_deref());
    let narrowed = Narrowed::read(&form)?;
    let mut kinds = Vec::new();
    for name in form.all("kind") {
        let known = || Kind::ALL.map(Kind::name).join(", ");
        kinds.push(Kind::from_name(name).ok_or_else(|| Refusal::bad(format!("kind is one of {}", known())))?);
    }
    let mut all = Vec::new();
    for text in form.all("filter") {
        all.extend(matchers::parse(text).map_err(|error| Refusal::bad(error.to_string()))?);
    }
    let (total, rows) = api.notifier.read(|state| {
        let found = state.history.events().take_while(|event| event.id > narrowed.after).filter(|event| {
            (kinds.is_empty() || kinds.contains(&event.kind))
                && (narrowed.alertname.is_empty() || event.labels.get("alertname") == Some(narrowed.alertname))
                && narrowed.fingerprint.is_none_or(|wanted| event.fingerprint == wanted)
                && narrowed.takes_time(event.time)
                && all_match(&all, &event.labels)
        });
        let (total, found) = narrowed.page.cut(found);
        (total, found.into_iter().map(show_event).collect::<Vec<_>>())
    });
    Ok(json(&narrowed.page.answer("events", total, &rows)))
}

/// Rules by how much they wear people out, the worst first, since `start` (all that is remembered).
pub(super) async fn fatigue(
    State(api): State<Arc<Alertmanager>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let form = Form::parse(&[], query.as_deref());
    let page = Page::read(&form)?;
    let (start, now) = (time(&form, "start")?.unwrap_or(0), api.notifier.now());
    let tallies: BTreeMap<_, _> = api.notifier.read(|state| fatigue::tallies(&state.history, start, now));
    let mut tallies: Vec<_> = tallies.into_iter().collect();
    tallies.sort_by(|a, b| b.1.score.total_cmp(&a.1.score).then_with(|| a.0.cmp(&b.0)));
    let (total, found) = page.cut(tallies.iter());
    let rows = found.into_iter().map(|(name, tally)| {
        json!({
            "alertname": name,
            "score": tally.score,
            "fired": tally.fired,
            "acknowledged": tally.acknowledged,
            "actedOn": tally.acted_on,
            "escalated": tally.escalated,
            "flapped": tally.flapped,
            "notifications": tally.notifications,
        })
    });
    Ok(json(&page.answer("rules", total, &rows.collect::<Vec<_>>())))
}
