//! `/api/v2/alerts`: what fires, and alerts from other servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::{Alertmanager, Refusal, done, json_list, read_json};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;
use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};
use crate::notify::alert::{Alert, Fingerprint};
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
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    #[serde(serialize_with = "pairs")]
    annotations: &'a Labels,
    #[serde(serialize_with = "time")]
    ends_at: Millis,
    #[serde(serialize_with = "text")]
    fingerprint: Fingerprint,
    receivers: Vec<Named<'a>>,
    #[serde(serialize_with = "time")]
    starts_at: Millis,
    status: Status<'a>,
    #[serde(serialize_with = "time")]
    updated_at: Millis,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    #[serde(serialize_with = "pairs")]
    labels: &'a Labels,
}

#[derive(Serialize)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(serialize_with = "texts")]
    inhibited_by: &'a [Fingerprint],
    muted_by: &'a [String],
    silenced_by: &'a [String],
    state: &'static str,
}

pub(super) fn pairs<S: Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter())
}

fn time<S: Serializer>(time: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

fn text<S: Serializer>(text: &Fingerprint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(text)
}

fn texts<S: Serializer>(all: &&[Fingerprint], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(all.iter().map(ToString::to_string))
}

impl<'a> Shown<'a> {
    pub(super) fn new(
        (fingerprint, alert): (Fingerprint, &'a Alert),
        muting: &'a Muting,
        receivers: impl Iterator<Item = &'a str>,
    ) -> Self {
        let is_muted = *muting != Muting::default();
        Self {
            annotations: &alert.annotations,
            ends_at: alert.ends_at,
            fingerprint,
            receivers: receivers.map(|name| Named { name }).collect(),
            starts_at: alert.starts_at,
            status: Status {
                inhibited_by: &muting.inhibited_by,
                muted_by: &muting.muted_by,
                silenced_by: &muting.silenced_by,
                state: if is_muted { "suppressed" } else { "active" },
            },
            updated_at: alert.updated_at,
            generator_url: &alert.generator_url,
            labels: &alert.labels,
        }
    }
}

/// Alerts that are not resolved, ascending by fingerprint. They are copied (labels are shared) and written afterwards, so
/// that delivery waits for neither.
pub(super) async fn list(State(api): State<Arc<Alertmanager>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let filter = Filter::read(query.as_deref())?;
    let now = api.notifier.now();
    let (routing, mut found) = api.notifier.read(|state| {
        let dispatcher = &state.dispatcher;
        let routing = Arc::clone(dispatcher.routing());
        let mut found = Vec::new();
        for (fingerprint, alert) in dispatcher.active(now) {
            let is_received =
                || routing.root.matching(&alert.labels).iter().any(|route| filter.takes_receiver(&route.receiver));
            if filter.receiver.is_some() && !is_received() {
                continue;
            }
            let muting = dispatcher.muting(&alert.labels, now);
            if filter.takes(alert, &muting) {
                found.push((fingerprint, alert.clone(), muting));
            }
        }
        (routing, found)
    });
    found.sort_unstable_by_key(|(fingerprint, ..)| *fingerprint);
    Ok(json_list(found, move |(fingerprint, alert, muting), out| {
        let receivers = routing.root.matching(&alert.labels);
        let names = receivers.iter().map(|route| route.receiver.as_str());
        serde_json::to_writer(out, &Shown::new((*fingerprint, alert), muting, names))
    }))
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
