//! `/alerts/acknowledge`: somebody has seen alerts and works on them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::alertmanager::alerts::read_time;
use crate::api::alertmanager::own::fingerprint;
use crate::api::alertmanager::{Alertmanager, Refusal, json, read_json};
use crate::api::instance::rfc3339;
use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::notify::acknowledge::Acknowledgement;
use crate::notify::alert::{Alert, Fingerprint};
use crate::notify::dispatch::Dispatcher;
use crate::notify::history::{Event, Kind};
use crate::notify::matchers;

/// Which alerts are meant: by fingerprint, or all that fulfil matchers.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api::alertmanager) struct Request {
    pub(in crate::api::alertmanager) fingerprints: Vec<String>,
    pub(in crate::api::alertmanager) matchers: Vec<String>,
    pub(in crate::api::alertmanager) by: String,
    pub(in crate::api::alertmanager) comment: String,
    /// When it ends, as RFC 3339 …
    pub(in crate::api::alertmanager) until: Option<String>,
    /// … or for how long it holds.
    pub(in crate::api::alertmanager) r#for: Option<Period>,
}

impl Request {
    fn fingerprints(&self, api: &Alertmanager) -> Result<Vec<Fingerprint>, Refusal> {
        let now = api.notifier.now();
        let wanted = self.fingerprints.iter().map(|text| fingerprint(text)).collect::<Result<Vec<_>, _>>()?;
        let mut all = Vec::new();
        for text in &self.matchers {
            all.extend(matchers::parse(text).map_err(|error| Refusal::bad(error.to_string()))?);
        }
        if wanted.is_empty() && all.is_empty() {
            return Err(Refusal::bad("fingerprints or matchers are required"));
        }
        let is_meant = |(fingerprint, alert): &(Fingerprint, &Alert)| {
            wanted.contains(fingerprint) || (!all.is_empty() && matchers::all_match(&all, &alert.labels))
        };
        let found: Vec<_> =
            api.notifier.read(|state| state.dispatcher.active(now).filter(is_meant).map(|(id, _)| id).collect());
        if found.is_empty() { Err(Refusal::not_found("no such alert fires")) } else { Ok(found) }
    }

    /// Acknowledges what is meant; gives the alerts and the end.
    pub(in crate::api::alertmanager) async fn acknowledge(
        self,
        api: &Alertmanager,
    ) -> Result<(Vec<Fingerprint>, Millis), Refusal> {
        if self.by.is_empty() {
            return Err(Refusal::bad("by is required: who acknowledges"));
        }
        let now = api.notifier.now();
        let holds = self
            .r#for
            .unwrap_or_else(|| api.notifier.read(|state| state.dispatcher.routing().beyond.settings.acknowledge_for));
        let until = read_time(self.until.as_deref()).map_err(Refusal::bad)?;
        let until = until.unwrap_or(now.saturating_add(holds.as_millis()));
        if until <= now {
            return Err(Refusal::bad("until must be in the future"));
        }
        let found = self.fingerprints(api)?;
        let one = Acknowledgement { by: self.by, comment: self.comment, time: now, until };
        let meant = found.clone();
        let set = move |dispatcher: &mut Dispatcher, now: Millis, _: &_| {
            for id in meant {
                dispatcher.acknowledgements.set(id, one.clone());
                note(dispatcher, (Kind::Acknowledged, id), (&one.by, &one.comment), now);
            }
        };
        api.notifier.change(set).await?;
        Ok((found, until))
    }
}

fn note(dispatcher: &mut Dispatcher, (kind, id): (Kind, Fingerprint), (by, comment): (&str, &str), now: Millis) {
    let Some(labels) = dispatcher.alert(id).map(|alert| alert.labels.clone()) else { return };
    let event = Event::of(kind, id, labels, now);
    dispatcher.note(Event { by: by.to_owned(), detail: comment.to_owned(), ..event });
}

fn show(found: &[Fingerprint]) -> Value {
    found.iter().map(ToString::to_string).collect()
}

/// Acknowledges alerts: they are not repeated until the end, and escalation stops.
pub(super) async fn acknowledge(
    State(api): State<Arc<Alertmanager>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request: Request = read_json(&headers, body).await?;
    let (found, until) = request.acknowledge(&api).await?;
    Ok(json(&json!({"acknowledged": found.len(), "fingerprints": show(&found), "until": rfc3339(until)})))
}

/// Takes acknowledgements back.
pub(super) async fn take_back(
    State(api): State<Arc<Alertmanager>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request: Request = read_json(&headers, body).await?;
    let found = request.fingerprints(&api)?;
    let take = move |dispatcher: &mut Dispatcher, now: Millis, _: &_| {
        let mut removed = Vec::new();
        for id in found {
            if dispatcher.acknowledgements.remove(id) {
                note(dispatcher, (Kind::Unacknowledged, id), (&request.by, &request.comment), now);
                removed.push(id);
            }
        }
        removed
    };
    let removed = api.notifier.change(take).await?;
    Ok(json(&json!({"removed": removed.len(), "fingerprints": show(&removed)})))
}
