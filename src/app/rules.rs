//! Gives rules what they work with: the store, the configuration's labels, and a place to keep alerts.

use std::path::Path;
use std::sync::Arc;

use crate::app::config::Config;
use crate::app::config::own::Own;
use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::drain::Drain;
use crate::base::tasks::{TaskKind, Tasks};
use crate::metrics::Store;
use crate::promql::eval::QueryOptions;
use crate::query::config::Config as QueryConfig;
use crate::rules::engine::{Rules, Seams, Source};
use crate::rules::expansion::Surroundings;
use crate::rules::group::World;
use crate::rules::namespaces::Namespaces;
use crate::rules::seam::AlertSink;
use crate::rules::snapshot::SnapshotFile;
use crate::rules::store::StoreBackend;
use crate::slo::alerting::{self, SloBackend};
use crate::slo::engine::Engine;

/// An alert that goes on firing is told again after this (Prometheus: `--rules.alert.resend-delay`).
const RESEND_DELAY_MILLIS: i64 = 60_000;

/// What rules need of the daemon around it.
pub(crate) struct Around<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) tasks: &'a Tasks,
    pub(crate) drain: &'a Drain,
    pub(crate) clock: &'a Clock,
    /// The data folder of the process.
    pub(crate) data: &'a Path,
    /// Who takes alerts.
    pub(crate) sink: Arc<dyn AlertSink>,
}

/// How rules and objectives evaluate queries.
pub(crate) fn options(query: &QueryConfig) -> QueryOptions {
    QueryOptions {
        lookback: query.lookback.as_millis(),
        default_subquery_step: query.subquery_step.as_millis(),
        max_samples: query.samples_max,
        ..QueryOptions::default()
    }
}

/// Rules without groups; [`apply`] gives it some.
pub(crate) fn build(around: &Around<'_>, own: &Own, engine: &Engine) -> Result<Rules, String> {
    let options = options(&own.query);
    let file = match SnapshotFile::open(Disk::real(), &around.data.join("rules")) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::warn!(%error, "no place for alerts: a restart will lose their state");
            None
        }
    };
    let namespaces = own.rules.config_api.then(|| Namespaces::open(Disk::real(), &around.data.join("rules")));
    let namespaces = namespaces.transpose().map_err(|error| format!("rules/namespaces.json: {error}"))?.map(Arc::new);
    let world = World {
        backend: Arc::new(SloBackend {
            inner: Arc::new(StoreBackend::new(Arc::clone(around.store), options)),
            engine: engine.clone(),
        }),
        sink: Arc::clone(&around.sink),
        surroundings: Arc::default(),
        clock: around.clock.clone(),
        query_offset: 0,
        resend_delay: RESEND_DELAY_MILLIS,
    };
    let seams = Seams { world, tasks: around.tasks.clone(), drain: around.drain.clone(), file, namespaces };
    let rules = Rules::new(seams);
    rules.collect_into(crate::telemetry::registry());
    if own.rules.early {
        around.tasks.spawn(TaskKind::RuleGroup, rules.clone().watch());
    }
    Ok(rules)
}

/// Makes the rules of a configuration those that run.
pub(crate) fn apply(rules: &Rules, config: &Config, external_url: String) {
    let external_labels = config.global.external_labels.clone();
    let surroundings = Arc::new(Surroundings { external_labels, external_url });
    let query_offset = config.global.rule_query_offset.as_millis();
    rules.set_world(|world| World { surroundings, query_offset, ..world.clone() });
    let mut groups = config.rule_groups.clone();
    groups.extend(alerting::groups(&config.slo.objectives, config.own.slo.interval.as_millis()));
    rules.apply(groups);
    if let Some(namespaces) = rules.namespaces() {
        namespaces.set_default_interval(config.global.evaluation_interval.as_millis());
        rules.apply_from(Source::Api, namespaces.specs());
    }
}
