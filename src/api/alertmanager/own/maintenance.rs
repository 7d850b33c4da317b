//! `/alerts/maintenance`: the windows of the calendar and when they hold.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::json;

use super::time;
use crate::api::alertmanager::{Alertmanager, Refusal, json};
use crate::api::instance::rfc3339;
use crate::api::prometheus::form::Form;

const MONTH_MS: i64 = 31 * 86_400_000;
/// The longest span that is listed.
const SPAN_MAX_MS: i64 = 370 * 86_400_000;

/// What the windows take of a span (`start`, `end`; else the next month), and which hold now.
pub(super) async fn list(State(api): State<Arc<Alertmanager>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let form = Form::parse(&[], query.as_deref());
    let now = api.notifier.now();
    let start = time(&form, "start")?.unwrap_or(now);
    let end = time(&form, "end")?.unwrap_or(start.saturating_add(MONTH_MS));
    if end < start || end - start > SPAN_MAX_MS {
        return Err(Refusal::bad("end must be after start, by at most 370 days"));
    }
    let routing = api.notifier.read(|state| Arc::clone(state.dispatcher.routing()));
    let calendar = &routing.beyond.settings.maintenance;
    let excluded = calendar.excluded(start, end);
    let rows =
        excluded.iter().map(|one| json!({"name": one.name, "start": rfc3339(one.start), "end": rfc3339(one.end)}));
    let windows = calendar.windows.iter().map(|window| {
        json!({
            "name": window.name,
            "comment": window.comment,
            "matchers": window.matchers,
            "active": window.contains(now),
            "until": window.ends_after(now).map(rfc3339),
        })
    });
    Ok(json(&json!({
        "windows": windows.collect::<Vec<_>>(),
        "excluded": rows.collect::<Vec<_>>(),
        "excludedMinutes": calendar.excluded_minutes(start, end),
    })))
}
