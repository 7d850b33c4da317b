//! `/api/v2/alerts`: what fires, and alerts from other servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Alertmanager, Refusal, done, json, read_json};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;
use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};
use crate::notify::alert::Alert;
use crate::notify::dispatch::Muting;
use crate::notify::matchers;

/// How long an alert fires whose sender does not say; `resolve_timeout` changes it.
const RESOLVE_TIMEOUT_MS: i64 = 5 * 60 * 1000;
/// More alerts in one request are refused.
const ALERTS_PER_REQUEST_MAX: usize = 100_000;

/// Which alerts are asked for. Every alert is processed when it is taken, so `unprocessed` changes nothing.
pub(super) struct Filter {
    active: bool,
    silenced: bool,
    inhibited: bool,
    matchers: Vec<Matcher>,
    receiver: Option<Matcher>,
}

impl Filter {
    pub(super) fn read(query: Option<&str>) -> Result<Self, Refusal> {
        let form = Form::parse(&[], query);
        let flag = |name: &str| form.get(name) != "false";
        let mut all = Vec::new();
        for text in form.all("filter") {
            all.extend(matchers::parse(text).map_err(|error| Refusal::bad(error.to_string()))?);
        }
        let receiver = match form.get("receiver") {
            "" => None,
            pattern => Some(
                Matcher::new(MatchOp::Regex, "receiver", pattern)
                    .map_err(|error| Refusal::bad(format!("failed to parse receiver param: {error}")))?,
            ),
        };
        Ok(Self {
            active: flag("active"),
            silenced: flag("silenced"),
            inhibited: flag("inhibited"),
            matchers: all,
            receiver,
        })
    }

    /// Alerts that fulfil matchers, whatever mutes them.
    pub(super) fn of(texts: &[String]) -> Result<Self, Refusal> {
        let mut all = Vec::new();
        for text in texts {
            all.extend(matchers::parse(text).map_err(|error| Refusal::bad(error.to_string()))?);
        }
        Ok(Self { active: true, silenced: true, inhibited: true, matchers: all, receiver: None })
    }

    pub(super) fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    pub(super) fn takes_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|receiver| receiver.matches(name))
    }

    /// Whether the answer depends on what mutes an alert.
    pub(super) fn needs_muting(&self) -> bool {
        !(self.active && self.silenced && self.inhibited)
    }

    /// Whether an alert with this muting is asked for.
    pub(super) fn takes(&self, alert: &Alert, muting: &Muting) -> bool {
        let (silenced, inhibited) = (!muting.silenced_by.is_empty(), !muting.inhibited_by.is_empty());
        (self.active || silenced || inhibited)
            && (self.silenced || !silenced)
            && (self.inhibited || !inhibited)
            && matchers::all_match(&self.matchers, &alert.labels)
    }
}

/// One alert as the API shows it.
pub(super) fn show(alert: &Alert, muting: &Muting, receivers: &[&str]) -> Value {
    let map = |labels: &Labels| -> BTreeMap<String, String> {
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let is_muted = *muting != Muting::default();
    json!({
        "annotations": map(&alert.annotations),
        "endsAt": rfc3339(alert.ends_at),
        "fingerprint": alert.fingerprint().to_string(),
        "receivers": receivers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "startsAt": rfc3339(alert.starts_at),
        "status": {
            "inhibitedBy": muting.inhibited_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "mutedBy": muting.muted_by,
            "silencedBy": muting.silenced_by,
            "state": if is_muted { "suppressed" } else { "active" },
        },
        "updatedAt": rfc3339(alert.updated_at),
        "generatorURL": alert.generator_url,
        "labels": map(&alert.labels),
    })
}

/// Alerts that are not resolved, ascending by fingerprint.
pub(super) async fn list(State(api): State<Arc<Alertmanager>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let filter = Filter::read(query.as_deref())?;
    let now = api.notifier.now();
    let mut shown = api.notifier.read(|state| {
        let routing = state.dispatcher.routing();
        let mut shown = Vec::new();
        for (fingerprint, alert) in state.dispatcher.active(now) {
            let receivers: Vec<&str> =
                routing.root.matching(&alert.labels).iter().map(|route| route.receiver.as_str()).collect();
            if !receivers.iter().any(|name| filter.takes_receiver(name)) {
                continue;
            }
            let muting = state.dispatcher.muting(&alert.labels, now);
            if filter.takes(alert, &muting) {
                shown.push((fingerprint, show(alert, &muting, &receivers)));
            }
        }
        shown
    });
    shown.sort_by_key(|(fingerprint, _)| *fingerprint);
    Ok(json(&shown.into_iter().map(|(_, alert)| alert).collect::<Vec<_>>()))
}

/// An alert as others post it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Posted {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL")]
    generator_url: String,
}

/// Takes alerts from Prometheus servers and anybody who speaks their protocol.
pub(super) async fn take(
    State(api): State<Arc<Alertmanager>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let posted: Vec<Posted> = read_json(&headers, body).await?;
    if posted.len() > ALERTS_PER_REQUEST_MAX {
        return Err(Refusal::bad(format!("more than {ALERTS_PER_REQUEST_MAX} alerts in one request")));
    }
    let now = api.notifier.now();
    let timeout = api.notifier.read(|state| state.dispatcher.routing().config.global.resolve_timeout);
    let timeout = timeout.map_or(RESOLVE_TIMEOUT_MS, |period| {
        i64::try_from(period.as_duration().as_millis()).unwrap_or(RESOLVE_TIMEOUT_MS)
    });
    let mut errors = Vec::new();
    let mut alerts = Vec::new();
    for one in posted {
        match one.alert(now, timeout) {
            Ok(alert) => alerts.push(alert),
            Err(error) => errors.push(error),
        }
    }
    // The good ones are taken even where others are bad.
    api.notifier.put_durably(alerts).await?;
    if errors.is_empty() { Ok(done()) } else { Err(Refusal::bad(errors.join("; "))) }
}

impl Posted {
    fn alert(self, now: Millis, timeout: i64) -> Result<Alert, String> {
        let (starts_at, ends_at) = (read_time(self.starts_at.as_deref())?, read_time(self.ends_at.as_deref())?);
        let starts_at = starts_at.or(ends_at).unwrap_or(now);
        let alert = Alert {
            labels: Labels::from_pairs(self.labels),
            annotations: Labels::from_pairs(self.annotations),
            generator_url: self.generator_url,
            starts_at,
            ends_at: ends_at.unwrap_or(now.saturating_add(timeout)),
            updated_at: now,
            is_timeout: ends_at.is_none(),
        };
        alert.check().map(|()| alert).map_err(|error| error.to_string())
    }
}

/// A time of RFC 3339; Go's zero time is none.
pub(super) fn read_time(text: Option<&str>) -> Result<Option<Millis>, String> {
    let Some(text) = text.filter(|text| !text.is_empty() && !text.starts_with("0001-01-01T00:00:00")) else {
        return Ok(None);
    };
    let timestamp: Timestamp = text.parse().map_err(|error| format!("{text:?} is not a time: {error}"))?;
    Ok(Some(timestamp.as_millisecond()))
}
