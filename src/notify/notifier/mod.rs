//! The running part: takes alerts, sends what is due, and keeps its state on disk.

mod keep;
mod send;
mod state;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

pub use self::state::State;
use super::alert::{Alert, Fingerprint};
use super::config::{Config, SectionError};
use super::dispatch::Dispatcher;
use super::history::Event;
use super::journal::Journal;
use super::settings::Settings;
use crate::base::clock::{Clock, Millis};
use crate::base::disk::Disk;
use crate::base::drain::Drain;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::base::yaml;
use crate::telemetry::Counters;

/// How long resolved alerts, ended silences and log entries are remembered (Alertmanager: `--data.retention`).
pub const RETENTION: Duration = Duration::from_secs(120 * 60 * 60);
/// What is over is forgotten this often.
const MAINTENANCE: Duration = Duration::from_secs(60);
/// At the end, notifications that are under way have this long to arrive, so that they are not sent again.
const FAREWELL: Duration = Duration::from_secs(1);
/// Events that a slow reader of the stream may be behind; older ones it misses, and is told so.
const STREAM_MAX: usize = 4_096;

static RECEIVED: Counters<1> = Counters::new("novascope_alerts_received_total", "Alerts taken, by state.", ["state"]);

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

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Names and texts of the template files.
    pub templates: Vec<(String, String)>,
    /// What goes beyond the file.
    pub settings: Settings,
}

impl Default for Loaded {
    /// Alerts are kept, and nobody is told.
    fn default() -> Self {
        let config = yaml::read_plain("built-in", NOBODY).expect("the built-in text is a configuration");
        Self { config, templates: Vec::new(), settings: Settings::default() }
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
    journal: Journal,
    /// Rung when something may have become due.
    wake: Notify,
    /// Rung when something is to be written.
    behind: Notify,
    stream: broadcast::Sender<Arc<Event>>,
    /// Notifications that are being sent, and a bell for each that ends.
    under_way: AtomicUsize,
    ended: Notify,
}

/// What was taken could not be written to disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("taken, but not written to disk: {0}")]
pub struct NotKept(pub String);

impl Notifier {
    /// Builds delivery and reads the state of an earlier run. A damaged state is set aside and reported.
    pub fn open(parts: Parts, loaded: &Loaded) -> Result<Self, SectionError> {
        let journal = Journal::new(parts.disk.clone(), &parts.folder);
        let mut state = State::new(&parts, loaded)?;
        keep::restore(&journal, &mut state, parts.clock.now());
        if let Err(error) = journal.rewrite(|| state.records()) {
            tracing::error!(%error, "notification state could not be written");
        }
        Ok(Self(Arc::new(Inner {
            parts,
            state: Mutex::new(state),
            journal,
            wake: Notify::new(),
            behind: Notify::new(),
            stream: broadcast::channel(STREAM_MAX).0,
            under_way: AtomicUsize::new(0),
            ended: Notify::new(),
        })))
    }

    /// Takes a new configuration. On an error the old one stays whole.
    pub fn reload(&self, loaded: &Loaded) -> Result<(), SectionError> {
        let now = self.now();
        let fresh = state::Prepared::new(&self.0.parts, loaded)?;
        self.0.state.lock().reload(fresh, now)?;
        self.0.wake.notify_one();
        Ok(())
    }

    pub fn now(&self) -> Millis {
        self.0.parts.clock.now()
    }

    /// Takes alerts; they are on disk a moment later. From whoever can say them again: our rules.
    pub fn put(&self, alerts: Vec<Alert>) {
        if !alerts.is_empty() {
            self.take(alerts);
            self.0.behind.notify_one();
        }
    }

    /// Takes alerts; they are on disk when this resolves.
    pub async fn put_durably(&self, alerts: Vec<Alert>) -> Result<(), NotKept> {
        let number = self.take(alerts);
        self.kept(number).await
    }

    fn take(&self, alerts: Vec<Alert>) -> u64 {
        let now = self.now();
        let mut state = self.0.state.lock();
        let (mut firing, mut resolved) = (0, 0);
        for alert in alerts {
            *if alert.is_resolved_at(now) { &mut resolved } else { &mut firing } += 1;
            state.dispatcher.put(alert, now);
        }
        let number = self.note(&mut state);
        drop(state);
        self.0.wake.notify_one();
        RECEIVED.with(["firing"]).add(firing);
        RECEIVED.with(["resolved"]).add(resolved);
        number
    }

    /// Looks at the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.lock())
    }

    /// Changes silences or acknowledgements; the change is on disk when this resolves.
    pub async fn change<T>(&self, change: impl FnOnce(&mut Dispatcher, Millis, &Rng) -> T) -> Result<T, NotKept> {
        let now = self.now();
        let (result, number) = {
            let mut state = self.0.state.lock();
            let result = change(&mut state.dispatcher, now, &self.0.parts.rng);
            (result, self.note(&mut state))
        };
        self.0.wake.notify_one();
        self.kept(number).await.map(|()| result)
    }

    /// Says which services call which, as pairs of caller and called, for incidents.
    pub fn set_calls(&self, pairs: Vec<(String, String)>) {
        self.0.state.lock().set_calls(pairs);
    }

    /// What happens to alerts from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.stream.subscribe()
    }

    /// Resolves when the process is to stop.
    pub async fn stopping(&self) {
        self.0.parts.drain.wait().await;
    }

    /// The alert with this fingerprint, if it is known.
    pub fn alert(&self, fingerprint: Fingerprint) -> Option<Alert> {
        self.read(|state| state.dispatcher.alert(fingerprint).cloned())
    }

    /// Sends what is due and keeps the state until the process stops.
    pub async fn run(self) {
        tokio::join!(self.deliver(), self.keep());
        let quiet = async {
            while self.0.under_way.load(Ordering::Acquire) > 0 {
                self.0.ended.notified().await;
            }
        };
        // What takes longer is sent again after the next start.
        let _ = tokio::time::timeout(FAREWELL, quiet).await;
        self.rewrite().await;
    }

    async fn deliver(&self) {
        let mut next_maintenance = self.0.parts.clock.monotonic() + MAINTENANCE;
        while !self.0.parts.drain.is_draining() {
            self.send_due();
            let elapsed = self.0.parts.clock.monotonic();
            if elapsed >= next_maintenance {
                next_maintenance = elapsed + MAINTENANCE;
                let now = self.now();
                self.0.state.lock().dispatcher.maintain(now, RETENTION);
            }
            tokio::select! {
                () = tokio::time::sleep(self.pause()) => {}
                () = self.0.wake.notified() => {}
                () = self.0.parts.drain.wait() => {}
            }
        }
    }

    /// Until something is due, at most a second: the wall clock may be set meanwhile.
    fn pause(&self) -> Duration {
        let now = self.now();
        let due = self.0.state.lock().dispatcher.next_due();
        let millis = due.map_or(1_000, |due| due.saturating_sub(now).clamp(1, 1_000));
        Duration::from_millis(millis.unsigned_abs())
    }
}
