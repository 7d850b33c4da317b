//! What happened: alerts that fired and were resolved, who acted, what was sent to whom and what came back.
//!
//! The newest are kept for the API; the oldest go first. Each has a number that counts up, so that a reader can ask for
//! what came after.

use std::collections::VecDeque;

use super::alert::Fingerprint;
use super::log::Reason;
use crate::base::clock::Millis;
use crate::model::labels::Labels;

/// How many notifications are remembered.
pub const NOTIFICATIONS_MAX: usize = 10_000;
/// How many events are remembered.
pub const EVENTS_MAX: usize = 100_000;

/// One notification and its outcome.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Counts up from 1.
    pub id: u64,
    pub time: Millis,
    pub receiver: String,
    /// The kind of place, such as `slack`.
    pub integration: String,
    pub group_key: String,
    pub reason: Reason,
    pub alerts: Vec<Fingerprint>,
    pub alert_names: Vec<String>,
    pub tries: u32,
    pub duration_ms: u64,
    /// What the receiver answered, such as `200`.
    pub answer: String,
    /// What went wrong; `None` where it arrived.
    pub error: Option<String>,
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Fired,
    Resolved,
    Acknowledged,
    /// An acknowledgement was taken back.
    Unacknowledged,
    Escalated,
    Flapping,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Fired, Self::Resolved, Self::Acknowledged, Self::Unacknowledged, Self::Escalated, Self::Flapping];

    pub fn name(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Resolved => "resolved",
            Self::Acknowledged => "acknowledged",
            Self::Unacknowledged => "unacknowledged",
            Self::Escalated => "escalated",
            Self::Flapping => "flapping",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something that happened to an alert.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts up from 1.
    pub id: u64,
    pub time: Millis,
    pub kind: Kind,
    pub fingerprint: Fingerprint,
    pub labels: Labels,
    /// Who did it; empty where nobody did.
    pub by: String,
    /// A comment, the receiver of an escalation.
    pub detail: String,
}

impl Event {
    /// An event that nobody in particular caused.
    pub fn of(kind: Kind, fingerprint: Fingerprint, labels: Labels, time: Millis) -> Self {
        Self { id: 0, time, kind, fingerprint, labels, by: String::new(), detail: String::new() }
    }
}

/// What is remembered, oldest first.
#[derive(Debug, Default)]
pub struct History {
    sent: VecDeque<Sent>,
    events: VecDeque<Event>,
    last_sent: u64,
    last_event: u64,
}

impl History {
    /// Remembers a notification; one without a number gets the next, one that is known already is left out.
    pub fn push(&mut self, mut sent: Sent) -> u64 {
        if sent.id == 0 {
            sent.id = self.last_sent + 1;
        } else if sent.id <= self.last_sent {
            return sent.id;
        }
        self.last_sent = sent.id;
        let id = sent.id;
        if self.sent.len() >= NOTIFICATIONS_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(sent);
        id
    }

    /// Remembers an event; one without a number gets the next, one that is known already is left out.
    pub fn note(&mut self, mut event: Event) -> u64 {
        if event.id == 0 {
            event.id = self.last_event + 1;
        } else if event.id <= self.last_event {
            return event.id;
        }
        self.last_event = event.id;
        let id = event.id;
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
        id
    }

    /// Notifications, the newest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Sent> {
        self.sent.iter().rev()
    }

    /// Events, the newest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut history = History::default();
        for _ in 0..=NOTIFICATIONS_MAX {
            history.push(Sent {
                id: 0,
                time: 0,
                receiver: String::new(),
                integration: "webhook".to_owned(),
                group_key: String::new(),
                reason: Reason::First,
                alerts: Vec::new(),
                alert_names: Vec::new(),
                tries: 1,
                duration_ms: 0,
                answer: String::new(),
                error: None,
            });
        }
        let ids: Vec<_> = history.iter().map(|sent| sent.id).collect();
        assert_eq!((ids.len(), ids[0], ids[ids.len() - 1]), (NOTIFICATIONS_MAX, NOTIFICATIONS_MAX as u64 + 1, 2));
    }
}
