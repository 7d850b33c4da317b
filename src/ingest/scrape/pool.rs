//! The targets of one job and their loops.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::Seams;
use super::config::{Config, Defaults, Job};
use super::runner::{Handle, Runner, Settings};
use super::target::{Target, build_all};
use crate::base::drain::Drain;
use crate::base::tasks::TaskKind;
use crate::ingest::discovery::{self, Feed};
use crate::ingest::relabel::{Rule, RuleConfig};
use crate::model::labels::Labels;
use crate::server::client::{ClientError, HttpClient};

/// Everything that a pool is made of: equal sources make equal pools.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    pub(super) config: Config,
    pub(super) defaults: Defaults,
    pub(super) folder: std::path::PathBuf,
}

/// One job at work.
pub(super) struct Pool {
    pub(super) source: Source,
    settings: Arc<ArcSwap<Settings>>,
    state: Mutex<State>,
    seams: Seams,
    /// Ends discovery and the task that follows it; not the loops, which a changed pool takes over.
    drain: Drain,
}

#[derive(Default)]
struct State {
    loops: BTreeMap<u64, Handle>,
    dropped: Vec<Labels>,
    dropped_total: usize,
    closed: bool,
}

/// A pool that is ready to start: everything that can fail has been done.
pub(super) struct Prepared {
    pub(super) source: Source,
    job: Job,
    client: HttpClient,
}

impl Prepared {
    pub(super) fn new(source: Source, job: Job, seams: &Seams) -> Result<Self, ClientError> {
        let client = HttpClient::new(&job.client, &seams.tasks, &seams.clock)?;
        for http in &job.discovery.https {
            HttpClient::new(&job.discovery.client_of(http), &seams.tasks, &seams.clock)?;
        }
        Ok(Self { source, job, client })
    }

    /// Starts the pool. Loops of targets that `before` had go on as they are, under the new settings.
    pub(super) fn start(self, before: Option<&Pool>, seams: &Seams) -> Result<Arc<Pool>, ClientError> {
        let version = before.map_or(0, |pool| pool.settings.load().version + 1);
        let settings = Settings { job: self.job, client: self.client, version, forbidden: None };
        let drain = seams.drain.child();
        let context =
            discovery::Context { tasks: seams.tasks.clone(), clock: seams.clock.clone(), drain: drain.clone() };
        let feed = discovery::start(&settings.job.discovery, &context)?;
        let (shared, state) = match before {
            Some(pool) => {
                pool.drain.start();
                let state = std::mem::take(&mut *pool.state.lock());
                pool.state.lock().closed = true;
                pool.settings.store(Arc::new(settings));
                (Arc::clone(&pool.settings), state)
            }
            None => (Arc::new(ArcSwap::from_pointee(settings)), State::default()),
        };
        let pool = Arc::new(Pool {
            source: self.source,
            settings: shared,
            state: Mutex::new(state),
            seams: seams.clone(),
            drain: drain.clone(),
        });
        // Targets of the configuration itself are there at once; the rest as sources find them.
        pool.sync(&feed);
        let following = Arc::clone(&pool);
        drop(seams.tasks.spawn(TaskKind::Discovery, async move { following.follow(&feed, &drain).await }));
        Ok(pool)
    }
}

impl Pool {
    async fn follow(&self, feed: &Feed, drain: &Drain) {
        loop {
            tokio::select! {
                () = drain.wait() => return,
                () = feed.changed() => self.sync(feed),
            }
        }
    }

    /// Makes the loops those of the targets that are known now.
    fn sync(&self, feed: &Feed) {
        let settings = self.settings.load_full();
        // Asked first: what a source publishes in between is then counted as not yet here, which is harmless.
        let complete = feed.is_complete();
        let built = build_all(&settings.job, &feed.groups());
        for error in &built.errors {
            tracing::warn!(job = settings.job.name, error, "discovered target cannot be scraped");
        }
        self.forbid(&settings, built.targets.len());
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        let mut before = std::mem::take(&mut state.loops);
        let mut started = Vec::new();
        for target in built.targets {
            let handle = before.remove(&target.hash).unwrap_or_else(|| {
                let store = Arc::clone(&self.seams.store);
                let seams = (self.seams.clock.clone(), self.seams.drain.clone());
                let (runner, handle) = Runner::new(Arc::new(target), Arc::clone(&self.settings), store, seams);
                started.push(runner);
                handle
            });
            state.loops.insert(handle.target.hash, handle);
        }
        if !complete {
            // After a reload sources look anew: until each has, targets that are missing may only be late.
            state.loops.append(&mut before);
        }
        for gone in before.values() {
            let same = state.loops.values().any(|kept| kept.target.labels == gone.target.labels);
            gone.stop(!same);
        }
        state.dropped = built.dropped;
        state.dropped_total = built.dropped_total;
        drop(state);
        for runner in started {
            drop(self.seams.tasks.spawn(TaskKind::Scrape, runner.run()));
        }
    }

    /// Over its limit of targets a pool scrapes none, as Prometheus does.
    fn forbid(&self, settings: &Arc<Settings>, targets: usize) {
        let limit = settings.job.targets_max;
        let forbidden = (limit > 0 && targets as u64 > limit)
            .then(|| format!("target_limit exceeded (number of targets: {targets}, limit: {limit})"));
        if settings.forbidden != forbidden {
            let (job, client) = (settings.job.clone(), settings.client.clone());
            self.settings.store(Arc::new(Settings { job, client, version: settings.version, forbidden }));
        }
    }

    /// Ends the pool and the series of its targets.
    pub(super) fn stop(&self) {
        self.drain.start();
        let mut state = self.state.lock();
        state.closed = true;
        for handle in std::mem::take(&mut state.loops).values() {
            handle.stop(true);
        }
    }

    pub(super) fn targets(&self) -> Vec<Arc<Target>> {
        self.state.lock().loops.values().map(|handle| Arc::clone(&handle.target)).collect()
    }

    /// The rules that targets go through, as written and as they are applied.
    pub(super) fn rules(&self) -> Vec<(RuleConfig, Rule)> {
        let written = self.source.config.relabel_configs.iter().flatten().cloned();
        written.zip(self.settings.load().job.relabel.iter().cloned()).collect()
    }

    /// The labels of targets that relabelling dropped, and how many there are in all.
    pub(super) fn dropped(&self) -> (Vec<Labels>, usize) {
        let state = self.state.lock();
        (state.dropped.clone(), state.dropped_total)
    }
}
