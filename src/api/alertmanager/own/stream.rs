//! `/ws/alerts`: what fires now, then what happens to alerts, as JSON messages over a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::alerts::{row, select};
use super::show_event;
use crate::api::alertmanager::alerts::Filter;
use crate::api::alertmanager::{Alertmanager, Refusal};
use crate::notify::matchers::all_match;

/// Alerts in the first message; more are to be asked for in pages.
const SNAPSHOT_MAX: usize = 1_000;
/// A client that says nothing is asked this often whether it is there, so that dead connections end.
const PING: Duration = Duration::from_secs(30);
/// What a client may send; it has nothing to say.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// `filter` (matchers) narrows both.
pub(super) async fn stream(
    State(api): State<Arc<Alertmanager>>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let filter = Filter::read(query.as_deref())?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| serve(socket, api, filter)))
}

async fn serve(mut socket: WebSocket, api: Arc<Alertmanager>, filter: Filter) {
    // Listening begins before the list is made, so that nothing falls between.
    let mut events = api.notifier.subscribe();
    let now = api.notifier.now();
    let snapshot = api.notifier.read(|state| {
        let (total, found) = select(state, (&filter, None), (0, SNAPSHOT_MAX), now);
        let rows: Vec<_> = found.into_iter().filter_map(|one| row(state, one, now)).collect();
        json!({"type": "alerts", "total": total, "alerts": rows})
    });
    if say(&mut socket, &snapshot).await.is_err() {
        return;
    }
    loop {
        let message = tokio::select! {
            event = events.recv() => match event {
                Ok(event) if all_match(filter.matchers(), &event.labels) => {
                    let now = api.notifier.now();
                    let alert = api.notifier.read(|state| row(state, event.fingerprint, now));
                    json!({"type": "event", "event": show_event(&event), "alert": alert})
                }
                Ok(_) => continue,
                Err(RecvError::Lagged(missed)) => json!({"type": "missed", "events": missed}),
                Err(RecvError::Closed) => return,
            },
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            () = tokio::time::sleep(PING) => {
                if socket.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                    return;
                }
                continue;
            }
            () = api.notifier.stopping() => return,
        };
        if say(&mut socket, &message).await.is_err() {
            return;
        }
    }
}

async fn say(socket: &mut WebSocket, message: &Value) -> Result<(), axum::Error> {
    socket.send(Message::Text(message.to_string().into())).await
}
