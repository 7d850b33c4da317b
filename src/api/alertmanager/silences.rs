//! `/api/v2/silences` and `/api/v2/silence/{id}`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::alerts::read_time;
use super::{Alertmanager, Refusal, done, json, read_json};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;
use crate::base::clock::Millis;
use crate::model::matcher::{MatchOp, Matcher};
use crate::notify::matchers;
use crate::notify::silence::{Silence, SilenceError, SilenceState};

fn show(silence: &Silence, now: Millis) -> Value {
    let matcher = |matcher: &Matcher| {
        json!({
            "isEqual": matches!(matcher.op, MatchOp::Equal | MatchOp::Regex),
            "isRegex": matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex),
            "name": matcher.name,
            "value": matcher.value,
        })
    };
    json!({
        "id": silence.id,
        "status": {"state": silence.state(now).name()},
        "updatedAt": rfc3339(silence.updated_at),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": rfc3339(silence.ends_at),
        "matchers": silence.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "startsAt": rfc3339(silence.starts_at),
    })
}

/// Active silences first (those that end soonest), then pending (soonest start), then expired (latest end).
pub(super) async fn list(State(api): State<Arc<Alertmanager>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let form = Form::parse(&[], query.as_deref());
    let mut wanted = Vec::new();
    for text in form.all("filter") {
        wanted.extend(matchers::parse(text).map_err(|error| Refusal::bad(error.to_string()))?);
    }
    let now = api.notifier.now();
    let mut silences: Vec<Silence> = api
        .notifier
        .read(|state| state.dispatcher.silences.iter().filter(|one| covers(one, &wanted)).cloned().collect());
    silences.retain(|silence| form.get(silence.state(now).name()) != "false");
    silences.sort_by_key(|silence| match silence.state(now) {
        SilenceState::Active => (0, silence.ends_at),
        SilenceState::Pending => (1, silence.starts_at),
        SilenceState::Expired => (2, silence.ends_at.saturating_neg()),
    });
    Ok(json(&silences.iter().map(|silence| show(silence, now)).collect::<Vec<_>>()))
}

/// Whether a silence has matchers for what a filter asks: the same matcher, or one whose value the filter takes.
fn covers(silence: &Silence, wanted: &[Matcher]) -> bool {
    wanted.iter().all(|filter| {
        silence
            .matchers
            .iter()
            .any(|matcher| matcher.name == filter.name && (matcher == filter || filter.matches(&matcher.value)))
    })
}

pub(super) async fn get(State(api): State<Arc<Alertmanager>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let now = api.notifier.now();
    let found = api.notifier.read(|state| state.dispatcher.silences.get(&id).map(|silence| show(silence, now)));
    found.map(|silence| json(&silence)).ok_or_else(|| Refusal::not_found(SilenceError::NotFound.to_string()))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Posted {
    id: Option<String>,
    matchers: Vec<PostedMatcher>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    created_by: String,
    comment: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedMatcher {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
    is_equal: Option<bool>,
}

impl PostedMatcher {
    fn matcher(&self) -> Result<Matcher, Refusal> {
        let op = match (self.is_equal.unwrap_or(true), self.is_regex) {
            (true, false) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (false, true) => MatchOp::NotRegex,
        };
        Matcher::new(op, &self.name, &self.value)
            .map_err(|error| Refusal::bad(format!("invalid matcher {}: {error}", self.name)))
    }
}

/// Adds or changes a silence; it is on disk when this answers.
pub(super) async fn set(
    State(api): State<Arc<Alertmanager>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let posted: Posted = read_json(&headers, body).await?;
    let time = |text: &Option<String>| read_time(text.as_deref()).map_err(Refusal::bad);
    let silence = Silence {
        id: posted.id.clone().unwrap_or_default(),
        matchers: posted.matchers.iter().map(PostedMatcher::matcher).collect::<Result<_, _>>()?,
        starts_at: time(&posted.starts_at)?.unwrap_or(0),
        ends_at: time(&posted.ends_at)?.ok_or_else(|| Refusal::bad("endsAt is required"))?,
        updated_at: 0,
        created_by: posted.created_by,
        comment: posted.comment,
    };
    let result = api.notifier.change(move |dispatcher, now, rng| dispatcher.silences.set(silence, now, rng)).await?;
    result.map(|id| json(&json!({"silenceID": id}))).map_err(|error| refuse(&error))
}

pub(super) async fn expire(State(api): State<Arc<Alertmanager>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let result = api.notifier.change(move |dispatcher, now, _| dispatcher.silences.expire(&id, now)).await?;
    result.map(|()| done()).map_err(|error| refuse(&error))
}

pub(super) fn refuse(error: &SilenceError) -> Refusal {
    match error {
        SilenceError::NotFound => Refusal::not_found(error.to_string()),
        SilenceError::Invalid(_) | SilenceError::TooMany => Refusal::bad(error.to_string()),
    }
}
