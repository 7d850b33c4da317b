//! What Alertmanager does not have: acknowledging alerts, and the history of notifications.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::alerts::{Filter, read_time, show};
use super::{Alertmanager, Refusal, json, read_json};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;
use crate::notify::acknowledge::Acknowledgement;
use crate::notify::alert::{Alert, Fingerprint};
use crate::notify::matchers;

/// An acknowledgement without an end holds this long, so that nothing is forgotten for good.
const UNTIL_DEFAULT_MS: i64 = 4 * 60 * 60 * 1000;
/// A page of alerts or notifications.
const PAGE_DEFAULT: usize = 1_000;
const PAGE_MAX: usize = 10_000;

/// Which page a request asks for.
fn page(form: &Form) -> Result<(usize, usize), Refusal> {
    let number = |name: &str, default: usize| match form.get(name) {
        "" => Ok(default),
        text => text.parse().map_err(|_| Refusal::bad(format!("invalid {name}: {text:?} is not a number"))),
    };
    Ok((number("offset", 0)?, number("limit", PAGE_DEFAULT)?.min(PAGE_MAX)))
}

/// Alerts that fire, with who acknowledged them: the oldest first, in pages.
pub(super) async fn alerts(
    State(api): State<Arc<Alertmanager>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let filter = Filter::read(query.as_deref())?;
    let form = Form::parse(&[], query.as_deref());
    let (offset, limit) = page(&form)?;
    let wants = form.get("acknowledged").to_owned();
    let now = api.notifier.now();
    let (total, shown) = api.notifier.read(|state| {
        let dispatcher = &state.dispatcher;
        let mut found: Vec<_> = dispatcher
            .active(now)
            .filter_map(|alert| {
                let seen = dispatcher.acknowledgements.get(alert.fingerprint(), now);
                let is_wanted = wants.is_empty() || (wants == "true") == seen.is_some();
                let muting = dispatcher.muting(&alert.labels, now);
                (is_wanted && filter.takes(alert, &muting)).then_some((alert, muting, seen))
            })
            .collect();
        found.sort_by(|(a, ..), (b, ..)| (a.starts_at, &a.labels).cmp(&(b.starts_at, &b.labels)));
        let rows = found.iter().skip(offset).take(limit).map(|(alert, muting, seen)| {
            let mut row = show(alert, muting, &[]);
            row["acknowledgement"] = seen.map_or(Value::Null, show_acknowledgement);
            row
        });
        (found.len(), rows.collect::<Vec<_>>())
    });
    Ok(json(&json!({"total": total, "alerts": shown})))
}

fn show_acknowledgement(one: &Acknowledgement) -> Value {
    json!({"by": one.by, "comment": one.comment, "time": rfc3339(one.time), "until": rfc3339(one.until)})
}

/// Which alerts are meant: by fingerprint, or all that fulfil matchers.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Acknowledge {
    fingerprints: Vec<String>,
    matchers: Vec<String>,
    by: String,
    comment: String,
    until: Option<String>,
}

impl Acknowledge {
    fn fingerprints(&self, api: &Alertmanager) -> Result<Vec<Fingerprint>, Refusal> {
        let now = api.notifier.now();
        let mut wanted = Vec::new();
        for text in &self.fingerprints {
            let number = u64::from_str_radix(text, 16);
            let fingerprint = number.map_err(|_| Refusal::bad(format!("{text:?} is not a fingerprint")))?;
            wanted.push(Fingerprint(fingerprint));
        }
        let mut all = Vec::new();
        for text in &self.matchers {
            all.extend(matchers::parse(text).map_err(|error| Refusal::bad(error.to_string()))?);
        }
        if wanted.is_empty() && all.is_empty() {
            return Err(Refusal::bad("fingerprints or matchers are required"));
        }
        let is_meant = |alert: &&Alert| {
            wanted.contains(&alert.fingerprint()) || (!all.is_empty() && matchers::all_match(&all, &alert.labels))
        };
        let found: Vec<_> =
            api.notifier.read(|state| state.dispatcher.active(now).filter(is_meant).map(Alert::fingerprint).collect());
        if found.is_empty() { Err(Refusal::not_found("no such alert fires")) } else { Ok(found) }
    }
}

/// Acknowledges alerts: they are not repeated until the end, and escalation stops.
pub(super) async fn acknowledge(
    State(api): State<Arc<Alertmanager>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request: Acknowledge = read_json(&headers, body).await?;
    if request.by.is_empty() {
        return Err(Refusal::bad("by is required: who acknowledges"));
    }
    let now = api.notifier.now();
    let until = read_time(request.until.as_deref()).map_err(Refusal::bad)?.unwrap_or(now + UNTIL_DEFAULT_MS);
    if until <= now {
        return Err(Refusal::bad("until must be in the future"));
    }
    let fingerprints = request.fingerprints(&api)?;
    let one = Acknowledgement { by: request.by, comment: request.comment, time: now, until };
    let count = fingerprints.len();
    api.notifier.change(move |dispatcher, _, _| {
        for fingerprint in fingerprints {
            dispatcher.acknowledgements.set(fingerprint, one.clone());
        }
    });
    Ok(json(&json!({"acknowledged": count, "until": rfc3339(until)})))
}

/// Takes acknowledgements back.
pub(super) async fn take_back(
    State(api): State<Arc<Alertmanager>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request: Acknowledge = read_json(&headers, body).await?;
    let fingerprints = request.fingerprints(&api)?;
    let count = api.notifier.change(move |dispatcher, _, _| {
        fingerprints.into_iter().filter(|one| dispatcher.acknowledgements.remove(*one)).count()
    });
    Ok(json(&json!({"removed": count})))
}

/// What was sent to whom, the newest first, in pages; `receiver`, `alertname` and `failed=true` narrow it.
pub(super) async fn notifications(
    State(api): State<Arc<Alertmanager>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let form = Form::parse(&[], query.as_deref());
    let (offset, limit) = page(&form)?;
    let (receiver, name, failed) = (form.get("receiver"), form.get("alertname"), form.get("failed") == "true");
    let rows = api.notifier.read(|state| {
        let wanted = state.history.iter().filter(|sent| {
            (receiver.is_empty() || sent.receiver == receiver)
                && (name.is_empty() || sent.alert_names.iter().any(|one| one == name))
                && (!failed || sent.error.is_some())
        });
        let rows = wanted.skip(offset).take(limit).map(|sent| {
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
                "error": sent.error,
            })
        });
        rows.collect::<Vec<_>>()
    });
    Ok(json(&rows))
}
