//! `/alerts/silences/recurring`: silences that come again, with a calendar of their own.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Page;
use crate::api::alertmanager::silences::refuse;
use crate::api::alertmanager::{Alertmanager, Refusal, done, json, read_json};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;
use crate::base::clock::Millis;
use crate::notify::matchers;
use crate::notify::notifier::State as Notifications;
use crate::notify::recurring::Recurring;
use crate::notify::silence::{SilenceError, SilenceState};

/// One as it is posted; what is not named here is its schedule, in the form of maintenance windows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    #[serde(default)]
    id: String,
    matchers: Vec<String>,
    created_by: String,
    #[serde(default)]
    comment: String,
    #[serde(flatten)]
    schedule: Map<String, Value>,
}

fn show(state: &Notifications, one: &Recurring, now: Millis) -> Value {
    let silences = &state.dispatcher.silences;
    let last = one.last.as_ref().and_then(|(id, _)| silences.get(id));
    let active = last.filter(|silence| silence.state(now) == SilenceState::Active);
    let upcoming = one.upcoming(now);
    let mut shown = json!({
        "id": one.id,
        "matchers": one.matchers.iter().map(matchers::print).collect::<Vec<_>>(),
        "createdBy": one.created_by,
        "comment": one.comment,
        "updatedAt": rfc3339(one.updated_at),
        "active": active.is_some(),
        "silenceID": active.map(|silence| &silence.id),
        "window": upcoming.map(|(start, end)| json!({"start": rfc3339(start), "end": rfc3339(end)})),
    });
    for (name, value) in one.schedule.as_object().into_iter().flatten() {
        shown[name] = value.clone();
    }
    shown
}

/// All that are known, with the window that holds or comes next.
pub(super) async fn list(State(api): State<Arc<Alertmanager>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let page = Page::read(&Form::parse(&[], query.as_deref()))?;
    let now = api.notifier.now();
    let (total, rows) = api.notifier.read(|state| {
        let (total, found) = page.cut(state.dispatcher.recurring().iter());
        (total, found.into_iter().map(|one| show(state, one, now)).collect::<Vec<_>>())
    });
    Ok(json(&page.answer("silences", total, &rows)))
}

pub(super) async fn one(State(api): State<Arc<Alertmanager>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let now = api.notifier.now();
    let found = api.notifier.read(|state| state.dispatcher.recurring().get(&id).map(|one| show(state, one, now)));
    found.map(|one| json(&one)).ok_or_else(|| Refusal::not_found(SilenceError::NotFound.to_string()))
}

/// Adds one, or changes the one whose `id` is given; it is on disk when this answers.
pub(super) async fn set(
    State(api): State<Arc<Alertmanager>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let posted: Posted = read_json(&headers, body).await?;
    if posted.created_by.is_empty() {
        return Err(Refusal::bad("createdBy is required: who silences"));
    }
    let mut one = Recurring::read(&posted.matchers, Value::Object(posted.schedule)).map_err(Refusal::bad)?;
    (one.id, one.created_by, one.comment) = (posted.id, posted.created_by, posted.comment);
    let result = api.notifier.change(move |dispatcher, now, rng| dispatcher.set_recurring(one, now, rng)).await?;
    result.map(|id| json(&json!({"id": id}))).map_err(|error| refuse(&error))
}

/// Ends one, and its silence if there is one now.
pub(super) async fn remove(State(api): State<Arc<Alertmanager>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let result = api.notifier.change(move |dispatcher, now, _| dispatcher.remove_recurring(&id, now)).await?;
    result.map(|()| done()).map_err(|error| refuse(&error))
}
