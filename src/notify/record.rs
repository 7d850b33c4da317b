//! What delivery remembers across a restart, as records: alerts, silences, the notification log, acknowledgements,
//! escalations, events and notifications.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::acknowledge::Acknowledgement;
use super::alert::{Alert, Fingerprint};
use super::dispatch::Dispatcher;
use super::escalation::{Key, Progress};
use super::history::{Event, History, Kind, Sent};
use super::log::{Entry, Reason};
use super::matchers;
use super::recurring::Recurring;
use super::silence::Silence;
use crate::base::clock::Millis;
use crate::model::labels::Labels;

/// One thing to remember. Later records replace earlier ones about the same.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    Silence(SilenceRow),
    Recurring(RecurringRow),
    Log(LogRow),
    Alert(AlertRow),
    Acknowledgement(AcknowledgementRow),
    Escalation(EscalationRow),
    Event(EventRow),
    Sent(SentRow),
}

#[derive(Debug, Deserialize, Serialize)]
pub struct SilenceRow {
    id: String,
    matchers: Vec<String>,
    starts_at: Millis,
    ends_at: Millis,
    updated_at: Millis,
    created_by: String,
    comment: String,
}

/// Nothing but the id where it was removed.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RecurringRow {
    id: String,
    matchers: Vec<String>,
    schedule: Option<serde_json::Value>,
    created_by: String,
    comment: String,
    updated_at: Millis,
    /// The last silence that it made, and the end of its window.
    last: Option<(String, Millis)>,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct LogRow {
    group: String,
    receiver: String,
    time: Millis,
    firing: Vec<u64>,
    resolved: Vec<u64>,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct AlertRow {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    generator_url: String,
    starts_at: Millis,
    ends_at: Millis,
    updated_at: Millis,
    is_timeout: bool,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct AcknowledgementRow {
    fingerprint: u64,
    by: String,
    comment: String,
    time: Millis,
    /// 0 where it was taken back.
    until: Millis,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct EscalationRow {
    policy: String,
    fingerprint: u64,
    /// Nothing where it has ended.
    since: Option<Millis>,
    taken: usize,
    next: Millis,
    is_over: bool,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct EventRow {
    id: u64,
    time: Millis,
    kind: String,
    fingerprint: u64,
    labels: BTreeMap<String, String>,
    by: String,
    detail: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct SentRow {
    id: u64,
    time: Millis,
    receiver: String,
    integration: String,
    group: String,
    reason: String,
    alerts: Vec<u64>,
    alert_names: Vec<String>,
    tries: u32,
    duration_ms: u64,
    answer: String,
    error: Option<String>,
}

fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn numbers<'a>(ids: impl IntoIterator<Item = &'a Fingerprint>) -> Vec<u64> {
    ids.into_iter().map(|id| id.0).collect()
}

impl Record {
    pub(super) fn silence(silence: &Silence) -> Self {
        Self::Silence(SilenceRow {
            id: silence.id.clone(),
            matchers: silence.matchers.iter().map(matchers::print).collect(),
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            updated_at: silence.updated_at,
            created_by: silence.created_by.clone(),
            comment: silence.comment.clone(),
        })
    }

    pub(super) fn recurring(id: &str, one: Option<&Recurring>) -> Self {
        Self::Recurring(one.map_or_else(
            || RecurringRow { id: id.to_owned(), ..RecurringRow::default() },
            |one| RecurringRow {
                id: one.id.clone(),
                matchers: one.matchers.iter().map(matchers::print).collect(),
                schedule: Some(one.schedule.clone()),
                created_by: one.created_by.clone(),
                comment: one.comment.clone(),
                updated_at: one.updated_at,
                last: one.last.clone(),
            },
        ))
    }

    pub(super) fn log(group: &str, receiver: &str, entry: &Entry) -> Self {
        Self::Log(LogRow {
            group: group.to_owned(),
            receiver: receiver.to_owned(),
            time: entry.time,
            firing: numbers(&entry.firing),
            resolved: numbers(&entry.resolved),
        })
    }

    pub(super) fn alert(alert: &Alert) -> Self {
        Self::Alert(AlertRow {
            labels: map(&alert.labels),
            annotations: map(&alert.annotations),
            generator_url: alert.generator_url.clone(),
            starts_at: alert.starts_at,
            ends_at: alert.ends_at,
            updated_at: alert.updated_at,
            is_timeout: alert.is_timeout,
        })
    }

    pub(super) fn acknowledgement(fingerprint: Fingerprint, one: Option<&Acknowledgement>) -> Self {
        Self::Acknowledgement(AcknowledgementRow {
            fingerprint: fingerprint.0,
            by: one.map_or(String::new(), |one| one.by.clone()),
            comment: one.map_or(String::new(), |one| one.comment.clone()),
            time: one.map_or(0, |one| one.time),
            until: one.map_or(0, |one| one.until),
        })
    }

    pub(super) fn escalation(key: &Key, progress: Option<&Progress>) -> Self {
        Self::Escalation(EscalationRow {
            policy: key.1.clone(),
            fingerprint: key.0.0,
            since: progress.map(|one| one.since),
            taken: progress.map_or(0, |one| one.taken),
            next: progress.map_or(0, |one| one.next),
            is_over: progress.is_some_and(|one| one.is_over),
        })
    }

    pub(super) fn event(event: &Event) -> Self {
        Self::Event(EventRow {
            id: event.id,
            time: event.time,
            kind: event.kind.name().to_owned(),
            fingerprint: event.fingerprint.0,
            labels: map(&event.labels),
            by: event.by.clone(),
            detail: event.detail.clone(),
        })
    }

    pub(super) fn sent(sent: &Sent) -> Self {
        Self::Sent(SentRow {
            id: sent.id,
            time: sent.time,
            receiver: sent.receiver.clone(),
            integration: sent.integration.clone(),
            group: sent.group_key.clone(),
            reason: sent.reason.name().to_owned(),
            alerts: numbers(&sent.alerts),
            alert_names: sent.alert_names.clone(),
            tries: sent.tries,
            duration_ms: sent.duration_ms,
            answer: sent.answer.clone(),
            error: sent.error.clone(),
        })
    }

    /// Puts a record back, and gives the newest time in it. [`Dispatcher::restored`] comes after the last.
    pub(super) fn restore(self, dispatcher: &mut Dispatcher, history: &mut History) -> Result<Millis, String> {
        let ids = |ids: &[u64]| ids.iter().copied().map(Fingerprint).collect::<BTreeSet<_>>();
        Ok(match self {
            Self::Silence(row) => {
                let time = row.updated_at;
                dispatcher.silences.restore(row.silence()?);
                time
            }
            Self::Log(row) => {
                let entry = Entry { time: row.time, firing: ids(&row.firing), resolved: ids(&row.resolved) };
                dispatcher.log.restore(row.group, row.receiver, entry);
                row.time
            }
            Self::Recurring(row) => {
                let time = row.updated_at;
                let (id, one) = row.recurring()?;
                dispatcher.restore_recurring(id, one);
                time
            }
            Self::Alert(row) => {
                let time = row.updated_at;
                dispatcher.restore(row.alert());
                time
            }
            Self::Acknowledgement(row) => {
                let one = Acknowledgement { by: row.by, comment: row.comment, time: row.time, until: row.until };
                dispatcher.acknowledgements.restore(Fingerprint(row.fingerprint), one);
                row.time
            }
            Self::Escalation(row) => {
                let key = (Fingerprint(row.fingerprint), row.policy);
                match row.since {
                    Some(since) => dispatcher
                        .escalations
                        .restore(key, Progress { since, taken: row.taken, next: row.next, is_over: row.is_over }),
                    None => dispatcher.escalations.end(&key),
                }
                0
            }
            Self::Event(row) => {
                let kind = Kind::from_name(&row.kind).ok_or_else(|| format!("unknown event {:?}", row.kind))?;
                let fingerprint = Fingerprint(row.fingerprint);
                if matches!(kind, Kind::Fired | Kind::Resolved) {
                    dispatcher.restore_change(fingerprint, row.time);
                }
                let labels = Labels::from_pairs(row.labels);
                let (id, time, by, detail) = (row.id, row.time, row.by, row.detail);
                history.note(Event { id, time, kind, fingerprint, labels, by, detail });
                time
            }
            Self::Sent(row) => {
                let time = row.time;
                history.push(row.sent()?);
                time
            }
        })
    }
}

impl RecurringRow {
    fn recurring(self) -> Result<(String, Option<Recurring>), String> {
        let Some(schedule) = self.schedule else { return Ok((self.id, None)) };
        let mut one = Recurring::read(&self.matchers, schedule)?;
        one.id.clone_from(&self.id);
        (one.created_by, one.comment) = (self.created_by, self.comment);
        (one.updated_at, one.last) = (self.updated_at, self.last);
        Ok((self.id, Some(one)))
    }
}

impl SilenceRow {
    fn silence(self) -> Result<Silence, String> {
        let mut all = Vec::new();
        for text in &self.matchers {
            all.extend(matchers::parse(text).map_err(|error| error.to_string())?);
        }
        Ok(Silence {
            id: self.id,
            matchers: all,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            updated_at: self.updated_at,
            created_by: self.created_by,
            comment: self.comment,
        })
    }
}

impl AlertRow {
    fn alert(self) -> Alert {
        Alert {
            labels: Labels::from_pairs(self.labels),
            annotations: Labels::from_pairs(self.annotations),
            generator_url: self.generator_url,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            updated_at: self.updated_at,
            is_timeout: self.is_timeout,
        }
    }
}

impl SentRow {
    fn sent(self) -> Result<Sent, String> {
        Ok(Sent {
            id: self.id,
            time: self.time,
            receiver: self.receiver,
            integration: self.integration,
            group_key: self.group,
            reason: Reason::from_name(&self.reason).ok_or_else(|| format!("unknown reason {:?}", self.reason))?,
            alerts: self.alerts.into_iter().map(Fingerprint).collect(),
            alert_names: self.alert_names,
            tries: self.tries,
            duration_ms: self.duration_ms,
            answer: self.answer,
            error: self.error,
        })
    }
}
