//! Who calls whom, from the service graph that Tempo's metrics generator writes, told to those who put alerts together
//! as incidents.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::tasks::{TaskKind, Tasks};
use crate::metrics::Store;
use crate::model::labels::METRIC_NAME;
use crate::model::matcher::{MatchOp, Matcher};
use crate::notify::notifier::Notifier;

/// The counter of calls between two services, by the labels `client` and `server`.
const CALLS: &str = "traces_service_graph_request_total";
/// Calls of so long ago still count: services that talk seldom belong together too.
const LOOK_BACK_MS: i64 = 60 * 60 * 1_000;
/// The graph is read this often.
const PAUSE: Duration = Duration::from_secs(5);
/// More pairs are left out.
const PAIRS_MAX: usize = 10_000;

/// Reads the graph again and again.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) store: Arc<Store>,
    pub(crate) notifier: Notifier,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) drain: Drain,
}

impl Calls {
    /// Runs until the process stops.
    pub(crate) async fn feed(self) {
        let mut known = BTreeSet::new();
        while !self.drain.is_draining() {
            let (store, now) = (Arc::clone(&self.store), self.clock.now());
            match self.tasks.spawn_blocking(TaskKind::Notification, move || pairs(&store, now)).await {
                Ok(found) if found != known => {
                    known.clone_from(&found);
                    self.notifier.set_calls(found.into_iter().collect());
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "the service graph could not be read"),
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.drain.wait() => {}
            }
        }
    }
}

/// Callers and called, each pair once.
fn pairs(store: &Store, now: i64) -> BTreeSet<(String, String)> {
    let Ok(named) = Matcher::new(MatchOp::Equal, METRIC_NAME, CALLS) else { return BTreeSet::new() };
    let found = store.select(&[named], now.saturating_sub(LOOK_BACK_MS), now);
    let pair = |labels: &crate::model::labels::Labels| {
        Some((labels.get("client")?.to_owned(), labels.get("server")?.to_owned()))
    };
    found.iter_labels().filter_map(pair).filter(|(client, server)| client != server).take(PAIRS_MAX).collect()
}
