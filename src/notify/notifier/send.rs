//! Sending what is due, each notification as a task of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Notifier;
use crate::base::tasks::TaskKind;
use crate::notify::alert::Alert;
use crate::notify::compose::{Compose, Message};
use crate::notify::config::receivers::Receiver;
use crate::notify::deliver::{DeliveryError, deliver, read_secret};
use crate::notify::dispatch::Notification;
use crate::notify::history::Sent;
use crate::notify::record::Record;
use crate::server::client::HttpClient;
use crate::telemetry::{Counters, Histograms};

/// Alertmanager's shortest time for a notification.
const TIMEOUT_MIN: Duration = Duration::from_secs(10);
/// A receiver's try may take this long, however long its group waits; the answer then is a failure like any other.
const TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);

static SENT: Counters<2> = Counters::new(
    "novascope_notifications_total",
    "Notifications by kind of receiver and result.",
    ["integration", "result"],
);
static LATENCY: Histograms<1> =
    Histograms::new("novascope_notification_duration_seconds", "Time to deliver a notification.", ["integration"]);

/// A message and the client to send it by.
type Composed = (HttpClient, Message);

impl Notifier {
    pub(super) fn send_due(&self) {
        let now = self.now();
        let (due, gates) = {
            let mut state = self.0.state.lock();
            let due = state.dispatcher.due(now);
            if self.note(&mut state) > 0 {
                self.0.behind.notify_one();
            }
            let gates: Vec<_> = due.iter().map(|one| state.gates.get(&one.receiver).cloned()).collect();
            (due, gates)
        };
        for (notification, gate) in due.into_iter().zip(gates) {
            let notifier = self.clone();
            self.0.under_way.fetch_add(1, Ordering::AcqRel);
            drop(self.0.parts.tasks.spawn(TaskKind::Notification, async move {
                let permit = match gate {
                    Some(gate) => gate.acquire_owned().await.ok(),
                    None => None,
                };
                notifier.send(notification).await;
                drop(permit);
                notifier.0.under_way.fetch_sub(1, Ordering::AcqRel);
                notifier.0.ended.notify_one();
            }));
        }
    }

    async fn send(&self, notification: Notification) {
        let started = self.0.parts.clock.monotonic();
        let (integration, composed) = self.compose(&notification);
        let timeout = notification.timeout.clamp(TIMEOUT_MIN, TIMEOUT_MAX);
        let (tries, outcome) = match composed {
            Ok(None) => (0, Ok(String::new())),
            Ok(Some((client, message))) => deliver(&client, &message, timeout).await,
            Err(error) => (0, Err(DeliveryError { message: error, is_transient: false })),
        };
        let elapsed = self.0.parts.clock.monotonic().saturating_sub(started);
        let (now, is_success) = (self.now(), outcome.is_ok());
        if let Err(error) = &outcome {
            tracing::warn!(receiver = notification.receiver, integration, %error, "notification failed");
        }
        let mut state = self.0.state.lock();
        state.dispatcher.delivered(&notification, is_success, now);
        if !notification.is_silent {
            let (answer, error) = match outcome {
                Ok(answer) => (answer, None),
                Err(error) => (String::new(), Some(error.message)),
            };
            let mut sent = Sent {
                id: 0,
                time: now,
                receiver: notification.receiver.clone(),
                integration: integration.to_owned(),
                group_key: notification.group_key.clone(),
                reason: notification.reason,
                alerts: notification.alerts.iter().map(Alert::fingerprint).collect(),
                alert_names: notification.alerts.iter().map(|alert| alert.name().to_owned()).collect(),
                tries,
                duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                answer,
                error,
            };
            sent.id = state.history.push(sent.clone());
            self.0.journal.push(&[Record::sent(&sent)]);
        }
        self.note(&mut state);
        drop(state);
        self.0.behind.notify_one();
        // What waited for this one may be due.
        self.0.wake.notify_one();
        if !notification.is_silent {
            SENT.with([integration, if is_success { "delivered" } else { "failed" }]).inc();
            LATENCY.with([integration]).observe(elapsed.as_secs_f64());
        }
    }

    /// The message of a notification and the client to send it by; `None` where nothing is to be sent.
    fn compose(&self, notification: &Notification) -> (&'static str, Result<Option<Composed>, String>) {
        let (routing, set, client) = {
            let state = self.0.state.lock();
            let key = (notification.receiver.clone(), notification.integration);
            (Arc::clone(state.dispatcher.routing()), state.set.clone(), state.clients.get(&key).cloned())
        };
        let places = routing.receiver(&notification.receiver).map(Receiver::integrations).unwrap_or_default();
        let (Some(place), Some(client)) = (places.get(notification.integration), client) else {
            return ("none", Err("the receiver is gone".to_owned()));
        };
        if notification.is_silent {
            return (place.name(), Ok(None));
        }
        let compose = Compose::new(&set, &routing.config.global, notification, self.now(), &read_secret);
        let message = compose.message(*place).map_err(|error| error.to_string());
        (place.name(), message.map(|message| Some((client, message))))
    }
}
