//! The running part: takes alerts, sends what is due, and keeps its state on disk.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::alert::{Alert, Fingerprint};
use super::compose::Compose;
use super::config::{Config, SectionError};
use super::deliver::{DeliveryError, deliver, read_secret};
use super::dispatch::{Dispatcher, Notification, Routing};
use super::history::{History, Sent};
use super::snapshot;
use super::template::TemplateSet;
use crate::base::clock::{Clock, Millis};
use crate::base::disk::Disk;
use crate::base::drain::Drain;
use crate::base::rng::Rng;
use crate::base::tasks::{TaskKind, Tasks};
use crate::base::yaml;
use crate::server::client::HttpClient;
use crate::telemetry::{Counters, Histograms};

/// Notifications that are under way at once; more wait.
const IN_FLIGHT_MAX: usize = 64;
/// Alertmanager's shortest time for a notification.
const TIMEOUT_MIN: Duration = Duration::from_secs(10);
/// How long resolved alerts, ended silences and log entries are remembered (Alertmanager: `--data.retention`).
pub const RETENTION: Duration = Duration::from_secs(120 * 60 * 60);
/// A changed state is written at most this often; silences and deliveries are written at once.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
const STATE_FILE: &str = "notify.state";
const STATE_BYTES_MAX: u64 = 1 << 30;

static SENT: Counters<2> = Counters::new(
    "novascope_notifications_total",
    "Notifications by kind of receiver and result.",
    ["integration", "result"],
);
static RECEIVED: Counters<1> = Counters::new("novascope_alerts_received_total", "Alerts taken, by state.", ["state"]);
static LATENCY: Histograms<1> =
    Histograms::new("novascope_notification_duration_seconds", "Time to deliver a notification.", ["integration"]);

/// What the notifier is built from.
pub struct Parts {
    pub clock: Clock,
    pub rng: Rng,
    pub disk: Disk,
    pub tasks: Tasks,
    pub drain: Drain,
    /// The data folder.
    pub folder: PathBuf,
    /// The address under which people reach this server.
    pub external_url: String,
}

/// What is in force without a file: alerts are listed, grouped and silenced, and nobody is told.
const NOBODY: &str = "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n";

/// A configuration file that was read: its text (for the API) and what is in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub text: String,
    pub config: Config,
    /// Names and texts of the template files.
    pub templates: Vec<(String, String)>,
}

impl Default for Loaded {
    /// Alerts are kept, and nobody is told.
    fn default() -> Self {
        let config = yaml::read_plain("built-in", NOBODY).expect("the built-in text is a configuration");
        Self { text: NOBODY.to_owned(), config, templates: Vec::new() }
    }
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

/// Alert delivery. Clones share one state.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    parts: Parts,
    state: Mutex<State>,
    /// Rung when something may have become due.
    wake: Notify,
    /// The state differs from the file.
    is_dirty: AtomicBool,
    in_flight: Arc<Semaphore>,
}

/// What the lock guards. Nothing is sent while it is held.
pub struct State {
    pub dispatcher: Dispatcher,
    pub history: History,
    /// The text of the configuration, for `config.original`.
    pub config_text: String,
    set: TemplateSet,
    clients: Clients,
}

/// A message and the client to send it by.
type Composed = (HttpClient, super::compose::Message);

/// Clients by receiver and position of the place in it.
type Clients = HashMap<(String, usize), HttpClient>;

impl Notifier {
    /// Builds delivery and reads the state of an earlier run. A damaged state is set aside and reported.
    pub fn open(parts: Parts, loaded: Loaded) -> Result<Self, SectionError> {
        let (routing, set, clients) = prepare(&parts, &loaded)?;
        let mut dispatcher = Dispatcher::new(routing)?;
        restore(&parts, &mut dispatcher);
        let state = State { dispatcher, history: History::default(), config_text: loaded.text, set, clients };
        Ok(Self(Arc::new(Inner {
            parts,
            state: Mutex::new(state),
            wake: Notify::new(),
            is_dirty: AtomicBool::new(false),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        })))
    }

    /// Takes a new configuration. On an error the old one stays whole.
    pub fn reload(&self, loaded: Loaded) -> Result<(), SectionError> {
        let (routing, set, clients) = prepare(&self.0.parts, &loaded)?;
        let now = self.now();
        let mut state = self.0.state.lock();
        state.dispatcher.reload(routing, now)?;
        (state.set, state.clients, state.config_text) = (set, clients, loaded.text);
        drop(state);
        self.0.wake.notify_one();
        Ok(())
    }

    pub fn now(&self) -> Millis {
        self.0.parts.clock.now()
    }

    /// Takes alerts from rules or from outside.
    pub fn put(&self, alerts: Vec<Alert>) {
        let now = self.now();
        let mut state = self.0.state.lock();
        for alert in alerts {
            RECEIVED.with([if alert.is_resolved_at(now) { "resolved" } else { "firing" }]).inc();
            state.dispatcher.put(alert, now);
        }
        drop(state);
        self.0.is_dirty.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }

    /// Looks at the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.lock())
    }

    /// Changes silences or acknowledgements; the change is on disk when this returns.
    pub fn change<T>(&self, change: impl FnOnce(&mut Dispatcher, Millis, &Rng) -> T) -> T {
        let now = self.now();
        let (result, bytes) = {
            let mut state = self.0.state.lock();
            let result = change(&mut state.dispatcher, now, &self.0.parts.rng);
            (result, snapshot::write(&state.dispatcher))
        };
        self.save(&bytes);
        result
    }

    /// Sends what is due until the process stops, then writes the state a last time.
    pub async fn run(self) {
        let mut next_save = self.0.parts.clock.monotonic();
        let mut next_maintenance = next_save + Duration::from_secs(60);
        while !self.0.parts.drain.is_draining() {
            self.send_due();
            let elapsed = self.0.parts.clock.monotonic();
            if elapsed >= next_maintenance {
                next_maintenance = elapsed + Duration::from_secs(60);
                self.0.state.lock().dispatcher.maintain(self.now(), RETENTION);
            }
            if elapsed >= next_save && self.0.is_dirty.swap(false, Ordering::AcqRel) {
                next_save = elapsed + SAVE_INTERVAL;
                self.save_now().await;
            }
            tokio::select! {
                () = tokio::time::sleep(self.pause()) => {}
                () = self.0.wake.notified() => {}
                () = self.0.parts.drain.wait() => {}
            }
        }
        self.save_now().await;
    }

    /// Until the next group is due, at most a second, so that the state gets to disk.
    fn pause(&self) -> Duration {
        let now = self.now();
        let due = self.0.state.lock().dispatcher.next_due();
        let millis = due.map_or(1_000, |due| due.saturating_sub(now).clamp(1, 1_000));
        Duration::from_millis(millis.unsigned_abs())
    }

    fn send_due(&self) {
        let now = self.now();
        let due = self.0.state.lock().dispatcher.due(now);
        for notification in due {
            let notifier = self.clone();
            drop(self.0.parts.tasks.spawn(TaskKind::Notification, async move {
                let permit = Arc::clone(&notifier.0.in_flight).acquire_owned().await;
                notifier.send(notification).await;
                drop(permit);
            }));
        }
    }

    async fn send(&self, notification: Notification) {
        let started = self.0.parts.clock.monotonic();
        let (integration, composed) = self.compose(&notification);
        let timeout = notification.timeout.max(TIMEOUT_MIN);
        let (tries, outcome) = match composed {
            Ok(None) => (0, Ok(())),
            Ok(Some((client, message))) => deliver(&client, &message, timeout).await,
            Err(error) => (0, Err(DeliveryError { message: error, is_transient: false })),
        };
        let elapsed = self.0.parts.clock.monotonic().saturating_sub(started);
        let (now, is_success) = (self.now(), outcome.is_ok());
        if let Err(error) = &outcome {
            tracing::warn!(receiver = notification.receiver, integration, %error, "notification failed");
        }
        if !notification.is_silent {
            SENT.with([integration, if is_success { "delivered" } else { "failed" }]).inc();
            LATENCY.with([integration]).observe(elapsed.as_secs_f64());
        }
        let mut state = self.0.state.lock();
        state.dispatcher.delivered(&notification, is_success, now);
        if !notification.is_silent {
            state.history.push(Sent {
                id: 0,
                time: now,
                receiver: notification.receiver.clone(),
                integration,
                group_key: notification.group_key.clone(),
                reason: notification.reason,
                alerts: notification.alerts.iter().map(Alert::fingerprint).collect(),
                alert_names: notification.alerts.iter().map(|alert| alert.name().to_owned()).collect(),
                tries,
                duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                error: outcome.err().map(|error| error.message),
            });
        }
        drop(state);
        self.0.is_dirty.store(true, Ordering::Release);
    }

    /// The message of a notification and the client to send it by; `None` where nothing is to be sent.
    fn compose(&self, notification: &Notification) -> (&'static str, Result<Option<Composed>, String>) {
        let (routing, set, client) = {
            let state = self.0.state.lock();
            let key = (notification.receiver.clone(), notification.integration);
            (Arc::clone(state.dispatcher.routing()), state.set.clone(), state.clients.get(&key).cloned())
        };
        let receiver = routing.config.receivers.iter().find(|receiver| receiver.name == notification.receiver);
        let places = receiver.map(super::config::receivers::Receiver::integrations).unwrap_or_default();
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

    async fn save_now(&self) {
        let bytes = snapshot::write(&self.0.state.lock().dispatcher);
        let notifier = self.clone();
        let saved = self.0.parts.tasks.spawn_blocking(TaskKind::Notification, move || notifier.save(&bytes));
        let _ = saved.await;
    }

    fn save(&self, bytes: &[u8]) {
        let path = self.0.parts.folder.join(STATE_FILE);
        if let Err(error) = self.0.parts.disk.publish(&path, bytes) {
            tracing::error!(path = %path.display(), %error, "notification state could not be written");
        }
    }

    /// The alert with this fingerprint, if it is known.
    pub fn alert(&self, fingerprint: Fingerprint) -> Option<Alert> {
        self.read(|state| state.dispatcher.alerts().find(|alert| alert.fingerprint() == fingerprint).cloned())
    }
}

fn prepare(parts: &Parts, loaded: &Loaded) -> Result<(Routing, TemplateSet, Clients), SectionError> {
    let routing = Routing::build(loaded.config.clone())?;
    let set = TemplateSet::build(&loaded.templates, &parts.external_url, &parts.clock)
        .map_err(|error| SectionError(error.to_string()))?;
    let mut clients = Clients::new();
    for receiver in &loaded.config.receivers {
        for (position, place) in receiver.integrations().into_iter().enumerate() {
            let own = place.http_config().or(loaded.config.global.http_config.as_ref());
            let config = own.cloned().unwrap_or_default();
            let client = HttpClient::new(&config, &parts.tasks, &parts.clock)
                .map_err(|error| SectionError(format!("receiver {:?}: {error}", receiver.name)))?;
            clients.insert((receiver.name.clone(), position), client);
        }
    }
    Ok((routing, set, clients))
}

/// Reads the state of an earlier run. What cannot be read is set aside, so that the next save does not destroy it.
fn restore(parts: &Parts, dispatcher: &mut Dispatcher) {
    let path = parts.folder.join(STATE_FILE);
    let bytes = match parts.disk.read(&path, STATE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "notification state could not be read");
            return;
        }
    };
    if let Err(error) = snapshot::read(&bytes, dispatcher, parts.clock.now()) {
        tracing::error!(path = %path.display(), %error, "notification state is damaged and was set aside");
        let _ = parts.disk.rename(&path, &parts.folder.join("notify.state.damaged"));
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use tokio::sync::mpsc;

    use super::*;
    use crate::model::labels::Labels;

    /// A receiver on loopback that answers 503 first, then takes everything.
    async fn receiver(tasks: &Tasks) -> (u16, mpsc::UnboundedReceiver<serde_json::Value>) {
        let (sender, received) = mpsc::unbounded_channel();
        let is_first = Arc::new(AtomicBool::new(true));
        let hook = move |body: bytes::Bytes| async move {
            if is_first.swap(false, Ordering::SeqCst) {
                return http::StatusCode::SERVICE_UNAVAILABLE;
            }
            let _ = sender.send(serde_json::from_slice(&body).unwrap());
            http::StatusCode::OK
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = async move {
            let _ = axum::serve(listener, Router::new().route("/", post(hook))).await;
        };
        drop(tasks.spawn(TaskKind::Listener, serving));
        (port, received)
    }

    fn open(folder: &std::path::Path, port: u16, drain: &Drain, tasks: &Tasks) -> Notifier {
        let text = format!(
            "{{route: {{receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s}}, \
             receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:{port}/'}}]}}]}}"
        );
        let parts = Parts {
            clock: Clock::real(),
            rng: Rng::from_seed(1),
            disk: Disk::real(),
            tasks: tasks.clone(),
            drain: drain.clone(),
            folder: folder.to_owned(),
            external_url: "http://nova".to_owned(),
        };
        let config = yaml::read_plain("test.yml", &text).unwrap();
        Notifier::open(parts, Loaded { text, config, templates: Vec::new() }).unwrap()
    }

    fn down(notifier: &Notifier) -> Alert {
        let now = notifier.now();
        Alert {
            labels: Labels::from_pairs([("alertname", "Down")]),
            annotations: Labels::empty(),
            generator_url: String::new(),
            starts_at: now,
            ends_at: now + 600_000,
            updated_at: now,
            is_timeout: false,
        }
    }

    #[tokio::test]
    async fn an_alert_reaches_the_webhook_after_a_failure_and_only_once_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::default();
        let (port, mut received) = receiver(&tasks).await;
        let drain = Drain::default();
        let notifier = open(folder.path(), port, &drain, &tasks);
        let running = tasks.spawn(TaskKind::Notification, notifier.clone().run());
        notifier.put(vec![down(&notifier)]);
        let body = tokio::time::timeout(Duration::from_secs(20), received.recv()).await.unwrap().unwrap();
        assert_eq!(body["alerts"][0]["labels"]["alertname"], "Down");
        drain.start();
        running.await.unwrap();
        let sent = notifier.read(|state| state.history.iter().cloned().collect::<Vec<_>>());
        assert_eq!((sent.len(), sent[0].tries, sent[0].error.clone()), (1, 2, None));

        let again = open(folder.path(), port, &Drain::default(), &tasks);
        again.put(vec![down(&again)]);
        let due = again.read(|state| state.dispatcher.alerts().count());
        assert_eq!(due, 1);
        again.send_due();
        assert!(received.try_recv().is_err());
        assert!(again.read(|state| state.history.iter().next().is_none()));
    }
}
