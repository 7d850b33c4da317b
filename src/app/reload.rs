//! Reading the configuration again: on SIGHUP and on `POST /-/reload`, one at a time.
//!
//! Everything is read and checked first; only then does anything change, so a reload that fails changes nothing.

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::api::instance::Reload;
use crate::app::config::Config;
use crate::app::config::own::Own;

/// A request for a reload; the answer says what is wrong, if anything is.
#[derive(Debug)]
pub struct Request(pub oneshot::Sender<Result<(), String>>);

/// Requests that may wait. A reload takes milliseconds; more callers than this are a loop gone wild.
const WAITING_MAX: usize = 16;

/// A door for HTTP, and the queue that the main loop reads.
pub fn channel() -> (Reload, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let reload: Reload = Box::new(move || {
        let sender = sender.clone();
        Box::pin(async move {
            let (answer, wait) = oneshot::channel();
            sender.try_send(Request(answer)).map_err(|_| "too many reloads wait, or novascope stops".to_owned())?;
            wait.await.unwrap_or_else(|_| Err("novascope stops".to_owned()))
        })
    });
    (reload, receiver)
}

/// Settings that differ and cannot change while novascope runs, by their names in the file.
pub fn needs_restart(running: &Config, read: &Config) -> Vec<String> {
    let tree = |own: &Own| serde_json::to_value(own).unwrap_or_default();
    let mut changed = Vec::new();
    differences("", &tree(&running.own), &tree(&read.own), &mut changed);
    // Alert delivery takes all its settings while it runs.
    changed.retain(|name| !name.starts_with("alerting"));
    changed
}

fn differences(path: &str, running: &Value, read: &Value, changed: &mut Vec<String>) {
    match (running, read) {
        (Value::Object(running), Value::Object(read)) => {
            for (key, value) in running {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                differences(&path, value, read.get(key).unwrap_or(&Value::Null), changed);
            }
        }
        (running, read) if running != read => changed.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_need_a_restart_are_named() {
        let (running, mut read) = (Config::default(), Config::default());
        assert!(needs_restart(&running, &read).is_empty());
        read.own.listen.connections_max = 1;
        read.own.store.series_max = 5;
        assert_eq!(needs_restart(&running, &read), ["listen.connections_max", "store.series_max"]);
    }
}
