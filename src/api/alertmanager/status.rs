//! `/api/v2/status` and `/api/v2/receivers`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::{Alertmanager, json};
use crate::api::instance::rfc3339;

/// Version, configuration as it was read, and the time of the start.
pub(super) async fn status(State(api): State<Arc<Alertmanager>>) -> Response {
    let original = api.notifier.read(|state| state.config_text.clone());
    json(&json!({
        "cluster": {"name": "", "peers": [], "status": "disabled"},
        "config": {"original": original},
        "uptime": rfc3339(api.instance.started),
        "versionInfo": {
            "branch": "main",
            "buildDate": "",
            "buildUser": "",
            "goVersion": "",
            "revision": "",
            "version": env!("CARGO_PKG_VERSION"),
        },
    }))
}

/// The names of all receivers.
pub(super) async fn receivers(State(api): State<Arc<Alertmanager>>) -> Response {
    let routing = api.notifier.read(|state| Arc::clone(state.dispatcher.routing()));
    let names: Vec<_> = routing.config.receivers.iter().map(|receiver| json!({"name": receiver.name})).collect();
    json(&names)
}
