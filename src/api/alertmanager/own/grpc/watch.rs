//! `Watch`: what fires now, then what happens to alerts, as a stream of messages.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message as _;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{frame, show, success};
use crate::api::alertmanager::Alertmanager;
use crate::api::alertmanager::alerts::Filter;
use crate::api::alertmanager::own::alerts::select;
use crate::notify::history::Event;
use crate::notify::matchers::all_match;
use crate::proto::novascope::v1 as wire;

/// Alerts in the first message; more are to be asked for in pages.
const SNAPSHOT_MAX: usize = 1_000;

struct Watch {
    api: Arc<Alertmanager>,
    filter: Filter,
    events: Receiver<Arc<Event>>,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Begin,
    Follow,
    End,
}

/// The stream ends with the process, or when its reader goes away.
pub(super) fn answer(api: Arc<Alertmanager>, filter: Filter) -> Response {
    // Listening begins before the list is made, so that nothing falls between.
    let events = api.notifier.subscribe();
    let watch = Watch { api, filter, events, stage: Stage::Begin };
    let frames = stream::unfold(watch, |mut watch| async move {
        let frame = watch.next().await?;
        Some((Ok::<_, Infallible>(frame), watch))
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

impl Watch {
    async fn next(&mut self) -> Option<Frame<Bytes>> {
        let message = match self.stage {
            Stage::Begin => {
                self.stage = Stage::Follow;
                Some(self.snapshot())
            }
            Stage::Follow => self.follow().await,
            Stage::End => return None,
        };
        let framed = message.and_then(|message| frame(&message.encode_to_vec()));
        Some(framed.map_or_else(
            || {
                self.stage = Stage::End;
                Frame::trailers(success())
            },
            Frame::data,
        ))
    }

    fn snapshot(&self) -> wire::WatchResponse {
        let now = self.api.notifier.now();
        self.api.notifier.read(|state| {
            let (total, found) = select(state, (&self.filter, None), (0, SNAPSHOT_MAX), now);
            let alerts = found.into_iter().filter_map(|id| show(state, id, now)).collect();
            wire::WatchResponse { alerts, total: total as u64, ..wire::WatchResponse::default() }
        })
    }

    /// The next event that is asked for; nothing at the end.
    async fn follow(&mut self) -> Option<wire::WatchResponse> {
        loop {
            let heard = tokio::select! {
                heard = self.events.recv() => heard,
                () = self.api.notifier.stopping() => return None,
            };
            match heard {
                Ok(event) if all_match(self.filter.matchers(), &event.labels) => {
                    let now = self.api.notifier.now();
                    let alert = self.api.notifier.read(|state| show(state, event.fingerprint, now));
                    let event = Some(tell(&event));
                    return Some(wire::WatchResponse { event, alert, ..wire::WatchResponse::default() });
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    return Some(wire::WatchResponse { missed, ..wire::WatchResponse::default() });
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn tell(event: &Event) -> wire::Event {
    let labels: HashMap<_, _> = event.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    wire::Event {
        id: event.id,
        time_unix_ms: event.time,
        kind: event.kind.name().to_owned(),
        fingerprint: event.fingerprint.to_string(),
        labels,
        by: event.by.clone(),
        detail: event.detail.clone(),
    }
}
