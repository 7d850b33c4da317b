//! `status/*`: what the process says of itself.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use crate::api::instance::{PROMETHEUS_VERSION, rfc3339};
use crate::api::prometheus::Prometheus;
use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::cardinality::limit;
use crate::api::prometheus::form::Form;
use crate::base::tasks::cores;
use crate::metrics::TopEntry;
use crate::server::error::Failure;

/// Entries of each list of `status/tsdb`.
const TOP_DEFAULT: usize = 10;

fn versions() -> serde_json::Value {
    json!({
        "version": PROMETHEUS_VERSION,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "novascope",
        "applicationVersion": env!("CARGO_PKG_VERSION"),
    })
}

/// `/version`: versions without the envelope of other answers.
pub async fn version() -> impl axum::response::IntoResponse {
    ([(http::header::CONTENT_TYPE, "application/json")], versions().to_string())
}

/// Versions. `features` are there only where rules can be set over HTTP: with them, even empty, Grafana takes the server
/// for Mimir and offers to edit its rules.
pub async fn buildinfo(State(api): State<Arc<Prometheus>>) -> Response {
    let mut info = versions();
    if api.rules.namespaces().is_some() {
        info["application"] = json!("Grafana Mimir");
        info["features"] = json!({"ruler_config_api": "true"});
    }
    answer::success(&info, &Notes::default())
}

/// The configuration that runs.
pub async fn config(State(api): State<Arc<Prometheus>>) -> Response {
    answer::success(&json!({"yaml": api.instance.config()}), &Notes::default())
}

/// Flags with their values.
pub async fn flags(State(api): State<Arc<Prometheus>>) -> Response {
    answer::success(&api.instance.flags, &Notes::default())
}

/// Times and machine. The fields of Go's runtime are there for clients that insist on them.
pub async fn runtimeinfo(State(api): State<Arc<Prometheus>>) -> Response {
    let (reload_ok, reloaded) = api.instance.last_reload();
    let found = api.store.recovery();
    let folder = std::env::current_dir().map(|folder| folder.display().to_string()).unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let info = json!({
        "startTime": rfc3339(api.instance.started),
        "CWD": folder,
        "hostname": host,
        "serverTime": rfc3339(api.queries.clock().now()),
        "reloadConfigSuccess": reload_ok,
        "lastConfigTime": rfc3339(reloaded),
        "corruptionCount": found.frames_lost + found.damages,
        "goroutineCount": api.queries.tasks().running_in_all(),
        "GOMAXPROCS": cores(),
        "GOMEMLIMIT": i64::MAX,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": api.instance.retention,
        "durability": api.store.config().durability.name(),
    });
    answer::success(&info, &Notes::default())
}

/// What takes the space: series by metric, values by label.
pub async fn tsdb(State(api): State<Arc<Prometheus>>, form: Form) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        value: u64,
    }
    fn entries(list: &[TopEntry]) -> Vec<Entry<'_>> {
        list.iter().map(|entry| Entry { name: &entry.name, value: entry.count }).collect()
    }
    let limit = limit(&form, TOP_DEFAULT)?;
    let stats = api.store.stats(limit);
    // Prometheus' bounds of an empty head.
    let (oldest, newest) = stats.bounds.unwrap_or((i64::MAX, i64::MIN));
    let status = json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": stats.label_pairs,
            "chunkCount": stats.chunks,
            "minTime": oldest,
            "maxTime": newest,
        },
        "seriesCountByMetricName": entries(&stats.series_by_metric),
        "labelValueCountByLabelName": entries(&stats.values_by_label),
        "memoryInBytesByLabelName": entries(&stats.bytes_by_label),
        "seriesCountByLabelValuePair": entries(&stats.series_by_pair),
    });
    Ok(answer::success(&status, &Notes::default()))
}

/// How far the reading of the log is: numbers of segments as Prometheus has them, and bytes with the snapshot.
pub async fn walreplay(State(api): State<Arc<Prometheus>>) -> Response {
    let replay = api.store.replaying();
    let status = json!({
        "min": replay.first,
        "max": replay.last,
        "current": replay.current,
        "state": replay.state.name(),
        "percent": replay.percent(),
        "bytesRead": replay.bytes_done,
        "bytesTotal": replay.bytes_total,
    });
    answer::success(&status, &Notes::default())
}

/// Notices for a user interface; there are none yet.
pub async fn notifications() -> Response {
    answer::success(&json!([]), &Notes::default())
}
