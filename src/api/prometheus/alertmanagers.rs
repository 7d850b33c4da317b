//! `/api/v1/alertmanagers`: where alerts of our rules are sent on to.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use crate::api::prometheus::answer::{self, Notes};
use crate::rules::forward::Forwarder;

/// The path, over the forwarder of alerts.
pub fn routes(forwarder: Forwarder) -> Router {
    Router::new().route("/api/v1/alertmanagers", get(list)).with_state(forwarder)
}

async fn list(State(forwarder): State<Forwarder>) -> Response {
    let places = forwarder.places();
    let urls = |urls: &[String]| urls.iter().map(|url| json!({"url": url})).collect::<Vec<Value>>();
    let data = json!({
        "activeAlertmanagers": urls(&places.active),
        "droppedAlertmanagers": urls(&places.dropped),
    });
    answer::success(&data, &Notes::default())
}
