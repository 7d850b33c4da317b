//! Rule groups set over HTTP, in the shapes of Mimir's ruler, which Grafana edits rules through.
//!
//! `GET /config/v1/rules[/{namespace}[/{group}]]`, `POST /config/v1/rules/{namespace}` with one group in YAML, `DELETE` of
//! a group or a namespace. Off unless `rules.config_api` is set: whoever reaches the port could write rules, except pages
//! of other sites in somebody's browser.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::rules::engine::{Rules, Source};
use crate::rules::namespaces::{NamespaceError, Namespaces};
use crate::server::error::{Failure, Kind};
use crate::server::origin;

/// Bytes of one group.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Everything under `/config/v1/rules`.
pub fn routes(rules: Rules) -> Router {
    Router::new()
        .route("/config/v1/rules", get(all))
        .route("/config/v1/rules/{namespace}", get(namespace).post(set).delete(remove_namespace))
        .route("/config/v1/rules/{namespace}/{group}", get(group).delete(remove_group))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(origin::guard_writes))
        .with_state(rules)
}

fn namespaces(rules: &Rules) -> Result<Arc<Namespaces>, Failure> {
    let off = "the configuration API of rules is off; set rules.config_api: true among novascope's settings";
    rules.namespaces().ok_or_else(|| Failure::new(Kind::NotFound, off))
}

fn yaml(value: &impl serde::Serialize) -> Result<Response, Failure> {
    let text = serde_saphyr::to_string(value).map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/yaml"))], text).into_response())
}

fn accepted() -> Response {
    let body = json!({"status": "success", "data": null, "errorType": "", "error": ""});
    let json = HeaderValue::from_static("application/json");
    (StatusCode::ACCEPTED, [(CONTENT_TYPE, json)], body.to_string()).into_response()
}

fn failure(error: &NamespaceError) -> Failure {
    let kind = match error {
        NamespaceError::Faults(_) | NamespaceError::Refused(_) => Kind::BadData,
        NamespaceError::NotFound => Kind::NotFound,
        NamespaceError::Disk(_) => Kind::Unavailable,
    };
    Failure::new(kind, error.to_string())
}

async fn all(State(rules): State<Rules>) -> Result<Response, Failure> {
    yaml(&namespaces(&rules)?.all())
}

async fn namespace(State(rules): State<Rules>, Path(name): Path<String>) -> Result<Response, Failure> {
    match namespaces(&rules)?.namespace(&name) {
        Some(groups) => yaml(&BTreeMap::from([(name, groups)])),
        None => Err(Failure::new(Kind::NotFound, "no rule groups found")),
    }
}

async fn group(
    State(rules): State<Rules>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let found: Option<Value> = namespaces(&rules)?.group(&namespace, &name);
    found.map_or_else(|| Err(failure(&NamespaceError::NotFound)), |group| yaml(&group))
}

async fn set(State(rules): State<Rules>, Path(name): Path<String>, body: Bytes) -> Result<Response, Failure> {
    let text = String::from_utf8(body.to_vec()).map_err(|_| Failure::bad_data("the body is not UTF-8"))?;
    change(&rules, move |namespaces| namespaces.set(&name, &text)).await
}

async fn remove_namespace(State(rules): State<Rules>, Path(name): Path<String>) -> Result<Response, Failure> {
    change(&rules, move |namespaces| namespaces.remove(&name, None)).await
}

async fn remove_group(
    State(rules): State<Rules>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    change(&rules, move |namespaces| namespaces.remove(&namespace, Some(&name))).await
}

/// Changes namespaces on a thread that may block, then lets the groups run.
async fn change(
    rules: &Rules,
    change: impl FnOnce(&Namespaces) -> Result<(), NamespaceError> + Send + 'static,
) -> Result<Response, Failure> {
    let namespaces = namespaces(rules)?;
    let own = Arc::clone(&namespaces);
    let changed = rules.blocking(move || change(&own)).await;
    changed.ok_or_else(|| Failure::new(Kind::Unavailable, "novascope stops"))?.map_err(|error| failure(&error))?;
    rules.apply_from(Source::Api, namespaces.specs());
    Ok(accepted())
}
