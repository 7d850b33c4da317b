//! Joins rules and delivery: alerts of our own rules go to the notifier of this process.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::drain::Drain;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::model::labels::Labels;
use crate::notify::alert::Alert;
use crate::notify::config::SectionError;
use crate::notify::notifier::{Loaded, Notifier, Parts};
use crate::rules::alert::Alert as RuleAlert;
use crate::rules::forward::{Forwarder, Seams};
use crate::rules::seam::AlertSink;

/// Builds delivery over the data folder.
pub(crate) fn open(
    loaded: &Loaded,
    folder: &Path,
    external_url: &str,
    (clock, tasks, drain): (&Clock, &Tasks, &Drain),
) -> Result<Notifier, SectionError> {
    let parts = Parts {
        clock: clock.clone(),
        rng: Rng::from_os(),
        disk: Disk::real(),
        tasks: tasks.clone(),
        drain: drain.clone(),
        folder: folder.to_owned(),
        external_url: external_url.to_owned(),
    };
    Notifier::open(parts, loaded)
}

/// Where rules put their alerts.
pub(crate) struct ToNotifier {
    pub(crate) notifier: Notifier,
    /// Alertmanagers elsewhere hear of the same alerts.
    pub(crate) forwarder: Forwarder,
    pub(crate) external_url: String,
    /// Labels of this server, added where an alert has none of that name.
    pub(crate) external_labels: ArcSwap<Labels>,
}

impl std::fmt::Debug for ToNotifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToNotifier").field("external_url", &self.external_url).finish_non_exhaustive()
    }
}

impl ToNotifier {
    /// Alerts that were never seen firing are nobody's business; the rest becomes what Prometheus would send.
    fn convert(&self, query: &str, alert: &RuleAlert) -> Option<Alert> {
        let starts_at = alert.fired_at?;
        let mut labels = self.external_labels.load().to_builder();
        for (name, value) in alert.labels.iter() {
            labels.set(name, value);
        }
        let expression: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        Some(Alert {
            labels: labels.build(),
            annotations: alert.annotations.clone(),
            generator_url: format!("{}/graph?g0.expr={expression}&g0.tab=1", self.external_url),
            starts_at,
            ends_at: alert.resolved_at.unwrap_or(alert.valid_until),
            updated_at: self.notifier.now(),
            is_timeout: false,
        })
    }
}

impl AlertSink for ToNotifier {
    fn take(&self, query: &str, alerts: &[RuleAlert]) {
        let alerts: Vec<_> = alerts.iter().filter_map(|alert| self.convert(query, alert)).collect();
        self.forwarder.put(&alerts);
        self.notifier.put(alerts);
    }
}

/// Who sends alerts on to Alertmanagers elsewhere.
pub(crate) fn forwarder((clock, tasks, drain): (&Clock, &Tasks, &Drain)) -> Forwarder {
    Forwarder::new(Seams { tasks: tasks.clone(), clock: clock.clone(), drain: drain.clone() })
}

/// A notifier and the sink that feeds it.
pub(crate) fn sink(notifier: &Notifier, forwarder: Forwarder, external_url: &str) -> Arc<ToNotifier> {
    Arc::new(ToNotifier {
        notifier: notifier.clone(),
        forwarder,
        external_url: external_url.to_owned(),
        external_labels: ArcSwap::from_pointee(Labels::empty()),
    })
}
