//! `/api/v2/alerts/groups`: alerts as they are put together for receivers.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::json;

use super::alerts::{Filter, show};
use super::{Alertmanager, Refusal, json};
use crate::notify::alert::Alert;

/// Groups that have alerts, sorted by labels, then receiver.
pub(super) async fn list(State(api): State<Arc<Alertmanager>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let filter = Filter::read(query.as_deref())?;
    let now = api.notifier.now();
    let mut groups = api.notifier.read(|state| {
        let dispatcher = &state.dispatcher;
        let mut receivers = std::collections::HashMap::new();
        dispatcher.routing().root.walk(&mut |route| {
            receivers.insert(route.id.clone(), (route.receiver.clone(), route.labels.clone()));
        });
        let mut groups = Vec::new();
        for (route, labels, mut alerts) in dispatcher.groups() {
            let Some((receiver, route_labels)) = receivers.get(route) else { continue };
            if !filter.takes_receiver(receiver) {
                continue;
            }
            alerts.sort_by(|a, b| Alert::notification_order(a, b));
            let mut shown = Vec::new();
            for alert in alerts {
                let muting = dispatcher.muting(&alert.labels, now);
                if !alert.is_resolved_at(now) && filter.takes(alert, &muting) {
                    shown.push(show(alert, &muting, &[receiver]));
                }
            }
            if !shown.is_empty() {
                let pairs: std::collections::BTreeMap<_, _> = labels.iter().collect();
                let group = json!({
                    "alerts": shown,
                    "labels": pairs,
                    "receiver": {"name": receiver},
                    "routeLabels": route_labels,
                });
                groups.push((labels.clone(), receiver.clone(), group));
            }
        }
        groups
    });
    groups.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    Ok(json(&groups.into_iter().map(|(_, _, group)| group).collect::<Vec<_>>()))
}
