//! Keeping the state on disk while things happen.

use std::sync::Arc;

use super::{NotKept, Notifier, State};
use crate::base::clock::Millis;
use crate::base::tasks::TaskKind;
use crate::notify::journal::Journal;
use crate::notify::record::Record;

/// After a write that failed the next try comes this much later.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Puts back the state of an earlier run.
pub(super) fn restore(journal: &Journal, state: &mut State, now: Millis) {
    let found = match journal.read() {
        Ok(found) => found,
        Err(error) => {
            crate::telemetry::damage::note("notify.state");
            tracing::error!(%error, "notification state could not be read");
            journal.set_aside();
            return;
        }
    };
    if let Some(damage) = found.damage {
        tracing::error!(damage, kept = found.records.len(), "notification state is damaged; a copy was set aside");
        crate::telemetry::damage::note("notify.state");
        journal.set_aside();
    }
    let mut last = 0;
    for record in found.records {
        match record.restore(&mut state.dispatcher, &mut state.history) {
            Ok(time) => last = last.max(time),
            Err(error) => tracing::error!(error, "a part of the notification state was left out"),
        }
    }
    state.dispatcher.restored(last, now);
    state.remake_incidents();
}

impl Notifier {
    /// Takes over what changed: into the history, to those who listen, and into the queue for the disk. Gives the
    /// number to wait for.
    pub(super) fn note(&self, state: &mut State) -> u64 {
        let (mut records, events) = state.dispatcher.drain();
        for event in events {
            let event = state.take(event);
            records.push(Record::event(&event));
            // Nobody may be listening.
            let _ = self.0.stream.send(Arc::new(event));
        }
        if records.is_empty() { 0 } else { self.0.journal.push(&records) }
    }

    /// Waits until what has this number is on disk.
    pub(super) async fn kept(&self, number: u64) -> Result<(), NotKept> {
        let notifier = self.clone();
        let commit = move || notifier.0.journal.commit(number).map_err(|error| NotKept(error.to_string()));
        let committed = self.0.parts.tasks.spawn_blocking(TaskKind::Notification, commit).await;
        let result = committed.unwrap_or_else(|error| Err(NotKept(error.to_string())));
        if result.is_err() {
            // The file is written anew, with what could not be appended.
            self.0.behind.notify_one();
        }
        result
    }

    /// Writes what was only pushed, and the whole file when it has grown.
    pub(super) async fn keep(&self) {
        while !self.0.parts.drain.is_draining() {
            if self.0.journal.is_long() {
                if !self.rewrite().await {
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = self.0.parts.drain.wait() => {}
                    }
                }
            } else if self.0.journal.is_behind() {
                // A failure is counted, and the file is then written anew.
                let _ = self.kept(u64::MAX).await;
            } else {
                tokio::select! {
                    () = self.0.behind.notified() => {}
                    () = self.0.parts.drain.wait() => {}
                }
            }
        }
    }

    pub(super) async fn rewrite(&self) -> bool {
        let notifier = self.clone();
        let write = move || notifier.0.journal.rewrite(|| notifier.0.state.lock().records());
        match self.0.parts.tasks.spawn_blocking(TaskKind::Notification, write).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "notification state could not be written");
                false
            }
            Err(_) => false,
        }
    }
}
