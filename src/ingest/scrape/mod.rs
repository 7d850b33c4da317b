//! Scraping: jobs, their targets, and a loop for each target.
//!
//! Owns `scrape_configs`. A [`Scraper`] holds one pool for each job; a pool follows its discovery and runs one task for
//! each target. Promises: a target is due at fixed times (its phase comes from a hash of its labels and URL) and its
//! samples carry the time it was due; a scrape that takes longer than the interval skips what it missed, so nothing
//! piles up; a body is taken whole or not at all; what a target does not show any more ends with a staleness marker;
//! a reload changes everything or nothing, and targets that it does not change keep their loops. Does not store
//! anything itself and does not answer HTTP: `/api/v1/targets` reads [`Scraper::pools`].
//!
//! Data passes: discovery → `target` (relabelled) → `runner` → `fetch` → `body` (with `cache`) → `append` → store.

mod append;
mod body;
mod cache;
mod classic;
pub mod config;
mod fetch;
mod pool;
mod runner;
mod schedule;
pub mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::tasks::Tasks;
use crate::ingest::discovery;
use crate::ingest::relabel::{Rule, RuleConfig};
use crate::metrics::Store;
use crate::model::labels::Labels;
use crate::server::client::ClientError;

use config::{Config, ConfigError, Defaults};
use pool::{Pool, Prepared, Source};
use target::Target;

/// What scraping needs of the process. Clones share everything.
#[derive(Clone)]
pub struct Seams {
    pub store: Arc<Store>,
    pub tasks: Tasks,
    pub clock: Clock,
    pub drain: Drain,
}

/// Scrapes all configured targets.
pub struct Scraper {
    seams: Seams,
    pools: Mutex<BTreeMap<String, Arc<Pool>>>,
}

impl std::fmt::Debug for Scraper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scraper").field("pools", &self.pool_names()).finish_non_exhaustive()
    }
}

/// Jobs that have been checked and can be started: see [`Scraper::prepare`].
pub struct Plan(Vec<Prepared>);

/// Why jobs cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("scrape job {job:?}: {error}")]
    Client { job: String, error: ClientError },
}

/// The targets of one job, now.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// The job's name.
    pub name: String,
    pub active: Vec<Arc<Target>>,
    /// Labels before relabelling of what relabelling dropped; cut off at `keep_dropped_targets`.
    pub dropped: Vec<Labels>,
    pub dropped_total: usize,
}

/// Checks jobs without starting anything: for `check config`.
pub fn check(configs: &[Config], defaults: &Defaults, folder: &Path) -> Result<(), ConfigError> {
    config::resolve_all(configs, defaults, folder).map(drop)
}

/// Looks at the targets that a job's lists and files name, and says what is wrong with them, and which patterns of files
/// match nothing.
pub fn check_targets(config: &Config, defaults: &Defaults, folder: &Path) -> (Vec<String>, Vec<PathBuf>) {
    let Ok(job) = config.resolve(defaults, folder) else { return Default::default() };
    let mut written = discovery::written(&job.discovery);
    written.faults.extend(target::build_all(&job, &written.groups).errors);
    (written.faults, written.missing)
}

impl Scraper {
    /// Scrapes nothing until jobs are applied.
    pub fn new(seams: Seams) -> Self {
        Self { seams, pools: Mutex::default() }
    }

    /// Does everything that can fail: checks jobs and reads the files that their clients need. Relative paths start
    /// from `folder`. Changes nothing.
    pub fn prepare(&self, configs: &[Config], defaults: &Defaults, folder: &Path) -> Result<Plan, PlanError> {
        let jobs = config::resolve_all(configs, defaults, folder)?;
        let mut prepared = Vec::with_capacity(jobs.len());
        for (job, config) in jobs.into_iter().zip(configs) {
            let source = Source { config: config.clone(), defaults: defaults.clone(), folder: folder.to_owned() };
            let name = job.name.clone();
            let pool = Prepared::new(source, job, &self.seams);
            prepared.push(pool.map_err(|error| PlanError::Client { job: name, error })?);
        }
        Ok(Plan(prepared))
    }

    /// Makes the running jobs those of the plan. Jobs that did not change go on as they are; must run inside a tokio
    /// runtime.
    pub fn apply(&self, plan: Plan) {
        let mut pools = self.pools.lock();
        let mut before = std::mem::take(&mut *pools);
        for prepared in plan.0 {
            let name = prepared.source.config.job_name.clone();
            let old = before.remove(&name);
            if let Some(same) = old.as_ref().filter(|pool| pool.source == prepared.source) {
                pools.insert(name, Arc::clone(same));
                continue;
            }
            match prepared.start(old.as_deref(), &self.seams) {
                Ok(pool) => drop(pools.insert(name, pool)),
                // A file that vanished since it was checked: the job goes on as it was.
                Err(error) => {
                    tracing::error!(job = name, %error, "scrape job could not be started");
                    if let Some(old) = old {
                        pools.insert(name, old);
                    }
                }
            }
        }
        for gone in before.values() {
            gone.stop();
        }
    }

    /// Every job with its targets, by name.
    pub fn pools(&self) -> Vec<PoolView> {
        let pools = self.pools.lock();
        let view = |(name, pool): (&String, &Arc<Pool>)| {
            let (dropped, dropped_total) = pool.dropped();
            PoolView { name: name.clone(), active: pool.targets(), dropped, dropped_total }
        };
        pools.iter().map(view).collect()
    }

    /// The rules that targets of a job go through, as written and as they are applied; `None` where there is no such job.
    pub fn rules_of(&self, job: &str) -> Option<Vec<(RuleConfig, Rule)>> {
        self.pools.lock().get(job).map(|pool| pool.rules())
    }

    /// Names of all jobs, in order.
    pub fn pool_names(&self) -> Vec<String> {
        self.pools.lock().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
