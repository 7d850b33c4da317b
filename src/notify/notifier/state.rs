//! What the notifier's lock guards, and what a configuration becomes before it is in force.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Loaded, Parts};
use crate::base::clock::Millis;
use crate::notify::config::SectionError;
use crate::notify::config::receivers::Receiver;
use crate::notify::dispatch::{Dispatcher, Routing};
use crate::notify::history::{Event, History};
use crate::notify::incident::Incidents;
use crate::notify::record::Record;
use crate::notify::template::TemplateSet;
use crate::server::client::HttpClient;

/// Notifications to one receiver that are under way at once; more wait. A receiver that hangs keeps only its own
/// waiting.
const IN_FLIGHT_MAX: usize = 64;

/// What the lock guards. Nothing is sent while it is held.
pub struct State {
    pub dispatcher: Dispatcher,
    pub history: History,
    pub incidents: Incidents,
    /// Whether anything happened since the start.
    has_news: bool,
    /// The configuration as the API shows it.
    pub config_text: String,
    pub(super) set: TemplateSet,
    pub(super) clients: Clients,
    pub(super) gates: HashMap<String, Arc<Semaphore>>,
}

/// Clients by receiver and position of the place in it.
pub(super) type Clients = HashMap<(String, usize), HttpClient>;

/// A configuration with everything that can fail already done.
pub(super) struct Prepared {
    routing: Routing,
    set: TemplateSet,
    clients: Clients,
    gates: HashMap<String, Arc<Semaphore>>,
    text: String,
}

impl Prepared {
    pub(super) fn new(parts: &Parts, loaded: &Loaded) -> Result<Self, SectionError> {
        let routing = Routing::build(loaded.config.clone(), &loaded.settings)?;
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
        let gate = |receiver: &Receiver| (receiver.name.clone(), Arc::new(Semaphore::new(IN_FLIGHT_MAX)));
        let gates = loaded.config.receivers.iter().map(gate).collect();
        Ok(Self { routing, set, clients, gates, text: loaded.config.shown() })
    }
}

impl State {
    pub(super) fn new(parts: &Parts, loaded: &Loaded) -> Result<Self, SectionError> {
        let prepared = Prepared::new(parts, loaded)?;
        Ok(Self {
            dispatcher: Dispatcher::new(prepared.routing)?,
            history: History::default(),
            incidents: Incidents::default(),
            has_news: false,
            config_text: prepared.text,
            set: prepared.set,
            clients: prepared.clients,
            gates: prepared.gates,
        })
    }

    pub(super) fn reload(&mut self, fresh: Prepared, now: Millis) -> Result<(), SectionError> {
        self.dispatcher.reload(fresh.routing, now)?;
        (self.set, self.clients, self.gates, self.config_text) = (fresh.set, fresh.clients, fresh.gates, fresh.text);
        Ok(())
    }

    /// Remembers an event under its number.
    pub(super) fn take(&mut self, mut event: Event) -> Event {
        self.has_news = true;
        event.id = self.history.note(event.clone());
        let routing = Arc::clone(self.dispatcher.routing());
        self.incidents.take(&event, &routing.beyond.settings.incidents);
        event
    }

    /// Makes the incidents of the history anew.
    pub(super) fn remake_incidents(&mut self) {
        let routing = Arc::clone(self.dispatcher.routing());
        self.incidents.clear();
        for event in self.history.events().rev() {
            self.incidents.take(event, &routing.beyond.settings.incidents);
        }
    }

    /// Takes over who calls whom. What was put together from the history before anything was known of that, right after
    /// a start, is put together again.
    pub(super) fn set_calls(&mut self, pairs: Vec<(String, String)>) {
        self.incidents.set_calls(pairs);
        if !std::mem::replace(&mut self.has_news, true) {
            self.remake_incidents();
        }
    }

    /// Everything, for a whole file.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut records = self.dispatcher.records();
        records.extend(self.history.events().rev().map(Record::event));
        records.extend(self.history.iter().rev().map(Record::sent));
        records
    }
}
