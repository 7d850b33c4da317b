//! `GET /alerts`: what fires, the oldest first, in pages.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde::Serialize;
use serde_json::{Value, json};

use super::Page;
use crate::api::alertmanager::alerts::{Filter, Shown};
use crate::api::alertmanager::{Alertmanager, Refusal};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;
use crate::base::clock::Millis;
use crate::notify::acknowledge::Acknowledgement;
use crate::notify::alert::{Alert, Fingerprint};
use crate::notify::dispatch::Muting;
use crate::notify::notifier::State as Notifications;
use crate::server::error::{Failure, Kind};
use crate::ui::html::{document, escape, section, table};

/// One alert with all that is known of it.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    alert: Shown<'a>,
    acknowledgement: Option<Value>,
    flapping: bool,
    changes: usize,
    escalations: Vec<Value>,
    incident: Option<u64>,
}

impl<'a> Row<'a> {
    fn new(state: &'a Notifications, (id, alert): (Fingerprint, &'a Alert), muting: &'a Muting, now: Millis) -> Self {
        let dispatcher = &state.dispatcher;
        let receivers = dispatcher.routing().root.matching(&alert.labels);
        let (changes, flapping) = dispatcher.flapping(id, now);
        let escalations = dispatcher.escalations.of(id);
        Self {
            alert: Shown::new((id, alert), muting, receivers.into_iter().map(|route| route.receiver.as_str())),
            acknowledgement: dispatcher.acknowledgements.get(id, now).map(show_acknowledgement),
            flapping,
            changes,
            escalations: escalations.map(|(policy, one)| json!({"policy": policy, "steps": one.taken})).collect(),
            incident: state.incidents.of(id).map(|incident| incident.id),
        }
    }
}

/// A page of alerts, written.
#[derive(Serialize)]
struct Answer<'a> {
    total: usize,
    offset: usize,
    next: Option<usize>,
    alerts: Vec<Row<'a>>,
}

/// One alert with all that is known of it.
pub(in crate::api::alertmanager) fn row(state: &Notifications, fingerprint: Fingerprint, now: Millis) -> Option<Value> {
    let alert = state.dispatcher.alert(fingerprint)?;
    let muting = state.dispatcher.muting(&alert.labels, now);
    serde_json::to_value(Row::new(state, (fingerprint, alert), &muting, now)).ok()
}

fn show_acknowledgement(one: &Acknowledgement) -> Value {
    json!({"by": one.by, "comment": one.comment, "time": rfc3339(one.time), "until": rfc3339(one.until)})
}

/// A page of fingerprints of alerts that fire, the oldest first, and how many there are. Costs a look at each alert, and
/// the silences only where the request tells alerts apart by them.
pub(in crate::api::alertmanager) fn select(
    state: &Notifications,
    (filter, is_acknowledged): (&Filter, Option<bool>),
    (offset, limit): (usize, usize),
    now: Millis,
) -> (usize, Vec<Fingerprint>) {
    let dispatcher = &state.dispatcher;
    let wanted = |(fingerprint, alert): &(Fingerprint, &Alert)| {
        let seen = || dispatcher.acknowledgements.get(*fingerprint, now).is_some();
        let muting = || if filter.needs_muting() { dispatcher.muting(&alert.labels, now) } else { Muting::default() };
        is_acknowledged.is_none_or(|wanted| wanted == seen()) && filter.takes(alert, &muting())
    };
    let mut found: Vec<_> = dispatcher.active(now).filter(wanted).collect();
    let order = |(a_id, a): &(Fingerprint, &Alert), (b_id, b): &(Fingerprint, &Alert)| {
        (a.starts_at, a_id).cmp(&(b.starts_at, b_id))
    };
    let (total, end) = (found.len(), offset.saturating_add(limit));
    if end < total {
        // Only what stands before the end of the page has to be in order.
        found.select_nth_unstable_by(end, order);
        found.truncate(end);
    }
    found.sort_unstable_by(order);
    (total, found.into_iter().skip(offset).map(|(fingerprint, _)| fingerprint).collect())
}

/// Alerts that fire, with who acknowledged them. A browser gets a page of HTML, everybody else JSON.
pub(super) async fn list(
    State(api): State<Arc<Alertmanager>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let filter = Filter::read(query.as_deref())?;
    let form = Form::parse(&[], query.as_deref());
    let page = Page::read(&form)?;
    let is_acknowledged = match form.get("acknowledged") {
        "" => None,
        text => Some(text == "true"),
    };
    let now = api.notifier.now();
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_for_people = accept.contains("text/html") && !accept.contains("application/json");
    if is_for_people {
        let (total, rows) = api.notifier.read(|state| {
            let (total, found) = select(state, (&filter, is_acknowledged), (page.offset, page.limit), now);
            (total, found.into_iter().filter_map(|one| row(state, one, now)).collect::<Vec<_>>())
        });
        return Ok(html(total, &rows));
    }
    let written = api.notifier.read(|state| {
        let (total, found) = select(state, (&filter, is_acknowledged), (page.offset, page.limit), now);
        let known = found.into_iter().filter_map(|id| Some((id, state.dispatcher.alert(id)?)));
        let known: Vec<_> = known.map(|(id, alert)| (id, alert, state.dispatcher.muting(&alert.labels, now))).collect();
        let rows = known.iter().map(|(id, alert, muting)| Row::new(state, (*id, alert), muting, now));
        let next = page.next(total, known.len());
        serde_json::to_vec(&Answer { total, offset: page.offset, next, alerts: rows.collect() })
    });
    let written = written.map_err(|error| Refusal(Failure::new(Kind::Internal, error.to_string())))?;
    Ok(([(CONTENT_TYPE, "application/json")], written).into_response())
}

/// The same as a page that works without scripts.
fn html(total: usize, rows: &[Value]) -> Response {
    let text = |value: &Value| escape(value.as_str().unwrap_or(""));
    let cells = rows.iter().map(|row| {
        let labels = row["labels"].as_object().into_iter().flatten().filter(|(name, _)| *name != "alertname");
        let labels: Vec<_> = labels.map(|(name, value)| format!("{}={}", escape(name), text(value))).collect();
        let annotations = &row["annotations"];
        let summary =
            if annotations["summary"].is_string() { &annotations["summary"] } else { &annotations["description"] };
        let seen = match row["acknowledgement"]["by"].as_str() {
            Some(by) => format!("acknowledged by {}", escape(by)),
            None => text(&row["status"]["state"]),
        };
        vec![text(&row["labels"]["alertname"]), labels.join(", "), text(summary), text(&row["startsAt"]), seen]
    });
    let cells: Vec<_> = cells.collect();
    let caption = format!("{} of {total} alerts", cells.len());
    let columns = ["alert", "labels", "summary", "since", "state"];
    let body = section("Alerts", &table(&caption, &columns, &cells));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, policy)];
    (headers, document("Alerts", "", &body)).into_response()
}
