//! Where targets come from: lists in the configuration, files, HTTP endpoints, the DNS.
//!
//! Each source runs as one task and publishes what it knows now into a [`Feed`]; whoever builds targets waits for the
//! feed to change. Promises: a source that fails keeps publishing what it knew; a file is read again as soon as it
//! changes; nothing waits for a slow source but that source. Does not relabel and does not know what a scrape is.

pub mod config;
mod dns;
mod file;
mod http;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::glob;
use crate::base::tasks::{TaskKind, Tasks};
use crate::server::client::{ClientError, HttpClient};
use crate::telemetry::Counters;

use config::{Config, StaticConfig};

static REFRESHES: Counters<1> =
    Counters::new("novascope_discovery_refreshes_total", "Lookups of targets, by the kind of source.", ["mechanism"]);
static FAILURES: Counters<1> = Counters::new(
    "novascope_discovery_refresh_failures_total",
    "Lookups of targets that failed; the targets known before stay.",
    ["mechanism"],
);

/// Targets of one source. More are cut off, counted as a failure.
const TARGETS_MAX: usize = 1_000_000;

/// Targets that share labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Each target's own labels, `__address__` among them.
    pub targets: Vec<BTreeMap<String, String>>,
    pub labels: BTreeMap<String, String>,
}

impl Group {
    fn from_static(config: StaticConfig) -> Self {
        let address = |target: String| BTreeMap::from([("__address__".to_owned(), target)]);
        Self {
            targets: config.targets.unwrap_or_default().into_iter().map(address).collect(),
            labels: config.labels.unwrap_or_default(),
        }
    }
}

/// What lists in the configuration and files say, without waiting for anything.
#[derive(Debug, Default)]
pub struct Written {
    pub groups: Vec<Group>,
    /// Files that cannot be read, and why.
    pub faults: Vec<String>,
    /// Patterns that no file matches.
    pub missing: Vec<PathBuf>,
}

/// Reads what is written down; for checks of a configuration.
pub fn written(config: &Config) -> Written {
    let mut written = Written::default();
    written.groups.extend(config.statics.iter().cloned().map(Group::from_static));
    for pattern in config.files.iter().flat_map(|source| &source.files) {
        let pattern = config.folder.join(pattern);
        let found: Vec<PathBuf> = glob::expand(&pattern).into_iter().filter(|path| path.exists()).collect();
        if found.is_empty() {
            written.missing.push(pattern);
        }
        for path in found {
            match file::read(&path) {
                Ok(groups) => written.groups.extend(groups),
                Err(why) => written.faults.push(format!("file of targets {}: {why}", path.display())),
            }
        }
    }
    written
}

/// What every source of one job knows now.
#[derive(Clone, Debug, Default)]
pub struct Feed(Arc<Slots>);

#[derive(Debug, Default)]
struct Slots {
    /// One for each source; `None` until it has looked once.
    groups: Mutex<Vec<Option<Vec<Group>>>>,
    changed: Notify,
}

impl Feed {
    /// All groups, in the order of the configuration.
    pub fn groups(&self) -> Vec<Group> {
        self.0.groups.lock().iter().flatten().flatten().cloned().collect()
    }

    /// Whether every source has looked at least once, so that what is not here is gone.
    pub fn is_complete(&self) -> bool {
        self.0.groups.lock().iter().all(Option::is_some)
    }

    /// Resolves when a source published something new since the last call.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn publish(&self, slot: usize, groups: Vec<Group>) {
        let mut slots = self.0.groups.lock();
        if let Some(known) = slots.get_mut(slot)
            && known.as_ref() != Some(&groups)
        {
            *known = Some(groups);
            drop(slots);
            self.0.changed.notify_one();
        }
    }
}

/// Why a source knows nothing new.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0} answered {1}")]
    Status(String, ::http::StatusCode),
    #[error("{0} answered with content type {1:?}, not application/json")]
    ContentType(String, String),
    #[error("{0}: {1}")]
    Content(String, String),
    #[error("DNS: {0}")]
    Dns(String),
    #[error("more than {TARGETS_MAX} targets")]
    TooMany,
}

/// What sources need of the process.
#[derive(Clone, Debug)]
pub struct Context {
    pub tasks: Tasks,
    pub clock: Clock,
    pub drain: Drain,
}

enum Source {
    File(file::FileSource),
    Http(http::HttpSource),
    Dns(Box<dns::DnsSource>),
}

/// Starts the sources of one job; they end with the context's drain. Static targets are in the feed at once.
pub fn start(config: &Config, context: &Context) -> Result<Feed, ClientError> {
    let mut sources = Vec::new();
    for file in &config.files {
        let patterns = file.files.iter().map(|pattern| config.folder.join(pattern)).collect();
        sources.push(Source::File(file::FileSource::new(patterns, file.refresh_interval)));
    }
    for http in &config.https {
        let client = HttpClient::new(&config.client_of(http), &context.tasks, &context.clock)?;
        sources.push(Source::Http(http::HttpSource::new(http, client)));
    }
    for dns in &config.dns {
        sources.push(Source::Dns(Box::new(dns::DnsSource::new(dns))));
    }
    let feed = Feed::default();
    feed.0.groups.lock().resize(sources.len() + 1, None);
    feed.publish(0, config.statics.iter().cloned().map(Group::from_static).collect());
    for (index, source) in sources.into_iter().enumerate() {
        let running = run(source, feed.clone(), index + 1, context.clone());
        drop(context.tasks.spawn(TaskKind::Discovery, running));
    }
    Ok(feed)
}

async fn run(mut source: Source, feed: Feed, slot: usize, context: Context) {
    let (name, interval) = source.describe();
    let (refreshes, failures) = (REFRESHES.with([name]), FAILURES.with([name]));
    loop {
        refreshes.add(1);
        match source.refresh(interval).await {
            Ok(groups) => feed.publish(slot, groups),
            Err(error) => {
                failures.add(1);
                tracing::warn!(mechanism = name, %error, "targets could not be looked up; those known stay");
            }
        }
        tokio::select! {
            () = context.drain.wait() => return,
            () = source.stir() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

impl Source {
    fn describe(&self) -> (&'static str, Duration) {
        match self {
            Self::File(source) => ("file", source.interval()),
            Self::Http(source) => ("http", source.interval()),
            Self::Dns(source) => ("dns", source.interval()),
        }
    }

    async fn refresh(&mut self, interval: Duration) -> Result<Vec<Group>, DiscoveryError> {
        let groups = match self {
            Self::File(source) => source.refresh(),
            // A source that does not answer within its interval has failed.
            Self::Http(source) => match tokio::time::timeout(interval, source.refresh()).await {
                Ok(groups) => groups?,
                Err(_) => return Err(DiscoveryError::Content(source.url(), "no answer in time".to_owned())),
            },
            Self::Dns(source) => source.refresh().await?,
        };
        if groups.iter().map(|group| group.targets.len()).sum::<usize>() > TARGETS_MAX {
            return Err(DiscoveryError::TooMany);
        }
        Ok(groups)
    }

    /// Resolves when looking again is worth it before the interval is over.
    async fn stir(&self) {
        match self {
            Self::File(source) => source.stir().await,
            Self::Http(_) | Self::Dns(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
