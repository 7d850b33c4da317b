//! `/api/v1/admin/tsdb/*`: deleting, cleaning, snapshots as in Prometheus, and our own flush.
//!
//! These change or copy stored data, so they answer only where the settings allow it (by default while the main port
//! is on loopback), only to POST and PUT, and never to a page of another site.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;

use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::form::Form;
use crate::base::clock::Clock;
use crate::base::tasks::{TaskKind, Tasks};
use crate::metrics::{DeleteError, Store};
use crate::promql::parse;
use crate::server::error::{Failure, Kind};
use crate::server::origin;

/// How long a flush waits for queries that began before it.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// Between looks whether those queries are done.
const SETTLE_STEP: Duration = Duration::from_millis(20);

/// What the handlers work on.
#[derive(Clone, Debug)]
pub struct Admin {
    pub store: Arc<Store>,
    pub tasks: Tasks,
    pub clock: Clock,
    pub is_enabled: bool,
}

/// The paths of this module. VictoriaMetrics' names for a flush are there for tools that know them.
pub fn routes(admin: Admin) -> Router {
    let admin = Arc::new(admin);
    Router::new()
        .route("/api/v1/admin/tsdb/delete_series", post(delete_series).put(delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", post(clean_tombstones).put(clean_tombstones))
        .route("/api/v1/admin/tsdb/snapshot", post(snapshot).put(snapshot))
        .route("/api/v1/admin/tsdb/flush", post(flush).put(flush))
        .route("/internal/force_flush", post(flush).get(flush))
        .route("/internal/force_merge", post(flush).get(flush))
        .layer(from_fn_with_state(Arc::clone(&admin), guard))
        .with_state(admin)
}

async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if !admin.is_enabled {
        return Failure::new(Kind::Unavailable, "admin APIs disabled").into_response();
    }
    if origin::is_from_elsewhere(request.headers()) {
        return origin::refuse();
    }
    next.run(request).await
}

impl Admin {
    /// Runs what takes its time on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = Arc::clone(&self.store);
        let done = self.tasks.spawn_blocking(TaskKind::Maintenance, move || work(&store)).await;
        done.unwrap_or_else(|error| Err(Failure::new(Kind::Internal, error.to_string())))
    }

    /// Waits until what was flushed has left memory.
    async fn settle(&self) -> Result<(), Failure> {
        let begin = self.clock.monotonic();
        while !self.run(|store| Ok(store.settle_flush())).await? {
            if self.clock.monotonic().saturating_sub(begin) > SETTLE_MAX {
                return Err(Failure::new(Kind::Unavailable, "queries still read what was flushed; ask again"));
            }
            tokio::time::sleep(SETTLE_STEP).await;
        }
        Ok(())
    }
}

fn failed(error: &std::io::Error) -> Failure {
    let kind = if error.kind() == std::io::ErrorKind::ResourceBusy { Kind::Unavailable } else { Kind::Internal };
    Failure::new(kind, error.to_string())
}

fn not_deleted(error: &DeleteError) -> Failure {
    let kind = if matches!(error, DeleteError::ReadOnly(_)) { Kind::Unavailable } else { Kind::Internal };
    Failure::new(kind, error.to_string())
}

/// Deletes the samples between `start` and `end` of the series that any `match[]` selects.
async fn delete_series(State(admin): State<Arc<Admin>>, form: Form) -> Result<Response, Failure> {
    if form.all("match[]").next().is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let (start, end) = form.window()?;
    let mut sets = Vec::new();
    for text in form.all("match[]") {
        sets.push(parse::parse_selector(text).map_err(|error| Failure::parameter("match[]", error))?);
    }
    tracing::info!(selectors = ?form.all("match[]").collect::<Vec<_>>(), start, end, "deleting series");
    admin.run(move |store| store.delete(&sets, start, end).map_err(|error| not_deleted(&error))).await?;
    Ok(answer::no_content())
}

/// Rewrites blocks without what is deleted in them.
async fn clean_tombstones(State(admin): State<Arc<Admin>>) -> Result<Response, Failure> {
    admin.run(|store| store.clean_tombstones().map_err(|error| not_deleted(&error))).await?;
    Ok(answer::no_content())
}

/// Makes a snapshot below the data folder.
async fn snapshot(State(admin): State<Arc<Admin>>, form: Form) -> Result<Response, Failure> {
    let skip_head = match form.get("skip_head") {
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        text => {
            let why = format!("unable to parse boolean: strconv.ParseBool: parsing {text:?}: invalid syntax");
            return Err(Failure::parameter("skip_head", why));
        }
    };
    let name = admin.run(move |store| store.back_up(skip_head).map_err(|error| failed(&error))).await?;
    tracing::info!(name, skip_head, "snapshot made");
    Ok(answer::success(&json!({"name": name}), &Notes::default()))
}

/// Moves what is in memory into blocks, merges the fresh ones, and lets the log go. Answers when it is done.
async fn flush(State(admin): State<Arc<Admin>>) -> Result<Response, Failure> {
    let begin = admin.clock.monotonic();
    admin.settle().await?;
    admin.run(|store| store.flush().map_err(|error| failed(&error))).await?;
    admin.settle().await?;
    let merged = admin
        .run(|store| store.gather_blocks().map_err(|error| Failure::new(Kind::Internal, error.to_string())))
        .await?;
    let totals = admin.store.totals();
    let done = json!({
        "blocks": totals.blocks,
        "blocksBytes": totals.blocks_bytes,
        "blocksMerged": merged,
        "walBytes": totals.wal.live_bytes,
        "seconds": admin.clock.monotonic().saturating_sub(begin).as_secs_f64(),
    });
    Ok(answer::success(&done, &Notes::default()))
}
