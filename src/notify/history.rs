//! What was sent to whom, and what came back: the newest notifications, for the API.

use std::collections::VecDeque;

use super::alert::Fingerprint;
use super::log::Reason;
use crate::base::clock::Millis;

/// How many notifications are remembered; the oldest go first.
pub const NOTIFICATIONS_MAX: usize = 10_000;

/// One notification and its outcome.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Counts up from 1, so that a reader can ask for what came after.
    pub id: u64,
    pub time: Millis,
    pub receiver: String,
    /// The kind of place, such as `slack`.
    pub integration: &'static str,
    pub group_key: String,
    pub reason: Reason,
    pub alerts: Vec<Fingerprint>,
    pub alert_names: Vec<String>,
    pub tries: u32,
    pub duration_ms: u64,
    /// What went wrong; `None` where it arrived.
    pub error: Option<String>,
}

/// The newest notifications, oldest first.
#[derive(Debug, Default)]
pub struct History {
    sent: VecDeque<Sent>,
    last_id: u64,
}

impl History {
    /// Remembers a notification and numbers it.
    pub fn push(&mut self, mut sent: Sent) {
        self.last_id += 1;
        sent.id = self.last_id;
        if self.sent.len() >= NOTIFICATIONS_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(sent);
    }

    /// The newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().rev()
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
                integration: "webhook",
                group_key: String::new(),
                reason: Reason::First,
                alerts: Vec::new(),
                alert_names: Vec::new(),
                tries: 1,
                duration_ms: 0,
                error: None,
            });
        }
        let ids: Vec<_> = history.iter().map(|sent| sent.id).collect();
        assert_eq!((ids.len(), ids[0], ids[ids.len() - 1]), (NOTIFICATIONS_MAX, NOTIFICATIONS_MAX as u64 + 1, 2));
    }
}
