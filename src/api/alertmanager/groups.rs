//! `/api/v2/alerts/groups`: alerts as they are put together for receivers.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Serialize;

use super::alerts::{Filter, Named, Shown, pairs};
use super::{Alertmanager, Refusal, json_list};
use crate::model::labels::Labels;
use crate::notify::alert::Alert;
use crate::notify::dispatch::Muting;

/// What a group says beside its alerts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(serialize_with = "pairs")]
    labels: &'a Labels,
    receiver: Named<'a>,
    route_labels: &'a BTreeMap<String, String>,
}

/// A group that has alerts.
struct Group {
    labels: Labels,
    receiver: String,
    route_labels: BTreeMap<String, String>,
    alerts: Vec<(Alert, Muting)>,
}

/// One alert of a group as a piece of the answer.
struct Piece {
    group: Arc<Group>,
    at: usize,
}

impl Piece {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let Some((alert, muting)) = self.group.alerts.get(self.at) else { return Ok(()) };
        if self.at == 0 {
            out.extend_from_slice(b"{\"alerts\":[");
        }
        let receiver = std::iter::once(self.group.receiver.as_str());
        serde_json::to_writer(&mut *out, &Shown::new((alert.fingerprint(), alert), muting, receiver))?;
        if self.at + 1 == self.group.alerts.len() {
            let head = Head {
                labels: &self.group.labels,
                receiver: Named { name: &self.group.receiver },
                route_labels: &self.group.route_labels,
            };
            let head = serde_json::to_vec(&head)?;
            let fields =
                head.strip_prefix(b"{").ok_or_else(|| serde_json::Error::io(io::ErrorKind::InvalidData.into()))?;
            out.extend_from_slice(b"],");
            out.extend_from_slice(fields);
        }
        Ok(())
    }
}

/// Groups that have alerts, sorted by labels, then receiver.
pub(super) async fn list(State(api): State<Arc<Alertmanager>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let filter = Filter::read(query.as_deref())?;
    let now = api.notifier.now();
    let mut groups = api.notifier.read(|state| {
        let dispatcher = &state.dispatcher;
        let mut routes = HashMap::new();
        dispatcher.routing().root.walk(&mut |route| {
            routes.insert(route.id.clone(), (route.receiver.clone(), route.labels.clone()));
        });
        let mut groups = Vec::new();
        for (route, labels, known) in dispatcher.groups() {
            let Some((receiver, route_labels)) = routes.get(route) else { continue };
            if !filter.takes_receiver(receiver) {
                continue;
            }
            let mut alerts = Vec::new();
            for alert in known {
                let muting = dispatcher.muting(&alert.labels, now);
                if !alert.is_resolved_at(now) && filter.takes(alert, &muting) {
                    alerts.push((alert.clone(), muting));
                }
            }
            if !alerts.is_empty() {
                let (receiver, route_labels) = (receiver.clone(), route_labels.clone());
                groups.push(Group { labels: labels.clone(), receiver, route_labels, alerts });
            }
        }
        groups
    });
    groups.sort_by(|a, b| (&a.labels, &a.receiver).cmp(&(&b.labels, &b.receiver)));
    let mut pieces = Vec::new();
    for mut group in groups {
        group.alerts.sort_by(|a, b| Alert::notification_order(&a.0, &b.0));
        let group = Arc::new(group);
        pieces.extend((0..group.alerts.len()).map(|at| Piece { group: Arc::clone(&group), at }));
    }
    Ok(json_list(pieces, Piece::write))
}
