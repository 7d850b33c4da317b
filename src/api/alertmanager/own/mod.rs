//! What Alertmanager does not have: alerts in pages, acknowledgement, the history of alerts and notifications,
//! incidents, maintenance, and which rules wear people out.

mod acknowledge;
mod alerts;
mod grpc;
mod history;
mod incidents;
mod maintenance;
mod recurring;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{Alertmanager, Refusal};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;
use crate::base::clock::Millis;
use crate::notify::alert::Fingerprint;
use crate::notify::history::Event;

/// A page of anything.
const PAGE_DEFAULT: usize = 1_000;
const PAGE_MAX: usize = 10_000;

/// Our paths beside those of Alertmanager.
pub(super) fn routes() -> Router<Arc<Alertmanager>> {
    Router::new()
        .route("/alerts", get(alerts::list))
        .route("/alerts/acknowledge", post(acknowledge::acknowledge).delete(acknowledge::take_back))
        .route("/alerts/notifications", get(history::notifications))
        .route("/alerts/history", get(history::events))
        .route("/alerts/fatigue", get(history::fatigue))
        .route("/alerts/incidents", get(incidents::list))
        .route("/alerts/incidents/{id}", get(incidents::one))
        .route("/alerts/maintenance", get(maintenance::list))
        .route("/alerts/silences/recurring", get(recurring::list).post(recurring::set))
        .route("/alerts/silences/recurring/{id}", get(recurring::one).delete(recurring::remove))
        .route("/ws/alerts", get(stream::stream))
        .merge(grpc::routes())
}

/// Which part of a list is asked for.
struct Page {
    offset: usize,
    limit: usize,
}

impl Page {
    fn read(form: &Form) -> Result<Self, Refusal> {
        let number = |name: &str, default: usize| match form.get(name) {
            "" => Ok(default),
            text => text.parse().map_err(|_| Refusal::bad(format!("invalid {name}: {text:?} is not a number"))),
        };
        Ok(Self { offset: number("offset", 0)?, limit: number("limit", PAGE_DEFAULT)?.min(PAGE_MAX) })
    }

    /// The page of what is found, and how many there are in all.
    fn cut<T>(&self, found: impl Iterator<Item = T>) -> (usize, Vec<T>) {
        let (mut total, mut page) = (0, Vec::new());
        for one in found {
            if total >= self.offset && page.len() < self.limit {
                page.push(one);
            }
            total += 1;
        }
        (total, page)
    }

    /// Where the next page begins, if this one has so many rows.
    fn next(&self, total: usize, rows: usize) -> Option<usize> {
        let end = self.offset.saturating_add(rows);
        (end < total && rows > 0).then_some(end)
    }

    /// The answer: the rows under a name, how many there are, and where the next page begins.
    fn answer(&self, name: &str, total: usize, rows: &[Value]) -> Value {
        json!({"total": total, "offset": self.offset, "next": self.next(total, rows.len()), name: rows})
    }
}

/// A time of RFC 3339, or seconds since the epoch; nothing where it is absent.
fn time(form: &Form, name: &str) -> Result<Option<Millis>, Refusal> {
    match form.get(name) {
        "" => Ok(None),
        _ => form.time(name).map(Some).map_err(Refusal::from),
    }
}

fn fingerprint(text: &str) -> Result<Fingerprint, Refusal> {
    let number = u64::from_str_radix(text, 16);
    number.map(Fingerprint).map_err(|_| Refusal::bad(format!("{text:?} is not a fingerprint")))
}

/// What happened to an alert, as JSON.
fn show_event(event: &Event) -> Value {
    let labels: std::collections::BTreeMap<_, _> = event.labels.iter().collect();
    json!({
        "id": event.id,
        "time": rfc3339(event.time),
        "kind": event.kind.name(),
        "fingerprint": event.fingerprint.to_string(),
        "alertname": event.labels.get("alertname").unwrap_or(""),
        "labels": labels,
        "by": event.by,
        "detail": event.detail,
    })
}
