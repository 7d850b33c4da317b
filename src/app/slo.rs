//! Gives objectives what they work with: the store's history, settings, and somebody who records them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::app::config::Config;
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::tasks::{TaskKind, Tasks};
use crate::metrics::Store;
use crate::promql::eval::QueryOptions;
use crate::rules::seam::Backend;
use crate::rules::store::StoreBackend;
use crate::slo::config as slo;
use crate::slo::engine::{Engine, Limits, StoreHistory};
use crate::slo::record::Recorder;

/// Objectives of a daemon.
pub(crate) struct Slos {
    pub(crate) engine: Engine,
    /// Writes what is recorded.
    backend: Arc<dyn Backend>,
    config: Arc<ArcSwap<slo::Config>>,
}

impl Slos {
    /// An engine without objectives over a store.
    pub(crate) fn new(store: &Arc<Store>, clock: &Clock, (config, options): (&slo::Config, QueryOptions)) -> Self {
        let limits = Limits { options: options.clone(), groups_max: config.groups_max.max(1) };
        let engine = Engine::new(Arc::new(StoreHistory(Arc::clone(store))), clock.clone(), limits);
        let backend = Arc::new(StoreBackend::new(Arc::clone(store), options));
        Self { engine, backend, config: Arc::new(ArcSwap::from_pointee(config.clone())) }
    }

    /// Makes the objectives of a configuration those in force.
    pub(crate) fn apply(&self, config: &Config) {
        self.config.store(Arc::new(config.own.slo.clone()));
        self.engine.apply(&config.slo);
    }

    /// Records all objectives again and again, until the process stops.
    pub(crate) fn record(&self, tasks: &Tasks, drain: &Drain) -> impl Future<Output = ()> + Send + 'static {
        let (engine, backend, config) = (self.engine.clone(), Arc::clone(&self.backend), Arc::clone(&self.config));
        let (tasks, drain, recorder) = (tasks.clone(), drain.clone(), Arc::<Recorder>::default());
        async move {
            loop {
                let interval = config.load().record_interval.as_millis().max(1_000);
                let now = engine.now();
                let time = now.div_euclid(interval) * interval + interval;
                let wait = std::time::Duration::from_millis((time - now).unsigned_abs());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = drain.wait() => return,
                }
                let names = config.load().record.clone();
                if names.is_empty() || engine.state().objectives.is_empty() {
                    continue;
                }
                let (engine, backend, recorder) = (engine.clone(), Arc::clone(&backend), Arc::clone(&recorder));
                let recorded = tasks
                    .spawn_blocking(TaskKind::RuleGroup, move || recorder.record(&engine, &*backend, &names, time));
                if let Ok(Err(error)) = recorded.await {
                    tracing::warn!(error, "objectives could not be recorded");
                }
            }
        }
    }
}
