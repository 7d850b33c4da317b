//! Alerts of our rules sent on to Alertmanagers elsewhere, as `alerting` of a prometheus.yml says.
//!
//! Alerts wait in a queue of limited length; the oldest are dropped and counted when nobody takes them. A batch goes to
//! every Alertmanager that is known, each with its own time; one that is away loses only its own copy, and hears of
//! alerts that still fire a minute later, because rules say them again.

pub mod config;

use std::collections::VecDeque;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::Full;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use self::config::{Checked, Set};
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::tasks::Tasks;
use crate::ingest::discovery::{self, Feed};
use crate::ingest::relabel::{self, Rule};
use crate::model::labels::{Labels, LabelsBuilder};
use crate::notify::alert::Alert;
use crate::server::client::{ClientError, HttpClient};
use crate::telemetry::Counters;

/// As many alerts as Prometheus lets wait.
const QUEUE_MAX: usize = 10_000;
/// Alerts of one request.
const BATCH_MAX: usize = 256;

static SENT: Counters<2> = Counters::new(
    "novascope_alertmanager_alerts_total",
    "Alerts sent on to each Alertmanager, by result.",
    ["alertmanager", "result"],
);
static DROPPED: Counters<0> = Counters::new(
    "novascope_alertmanager_alerts_dropped_total",
    "Alerts dropped because too many waited for Alertmanagers.",
    [],
);

/// What sending needs of the process.
#[derive(Clone, Debug)]
pub struct Seams {
    pub tasks: Tasks,
    pub clock: Clock,
    pub drain: Drain,
}

/// Sends alerts on. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Forwarder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seams: Seams,
    running: ArcSwap<Running>,
    queue: Mutex<VecDeque<Alert>>,
    wake: Notify,
}

/// A configuration in force.
#[derive(Debug, Default)]
struct Running {
    alert_relabel: Arc<[Rule]>,
    sets: Vec<Found>,
    /// Ends the discovery of this configuration.
    drain: Drain,
}

/// A set and what discovery knows of it.
#[derive(Debug)]
struct Found {
    set: Set,
    feed: Feed,
    client: HttpClient,
}

/// Where alerts go now, and what relabelling dropped.
#[derive(Debug, Default)]
pub struct Places {
    pub active: Vec<String>,
    pub dropped: Vec<String>,
}

impl Forwarder {
    pub fn new(seams: Seams) -> Self {
        Self(Arc::new(Inner { seams, running: ArcSwap::default(), queue: Mutex::default(), wake: Notify::new() }))
    }

    /// Makes a configuration the one in force; discovery of the one before ends.
    pub fn apply(&self, checked: &Checked) -> Result<(), ClientError> {
        let seams = &self.0.seams;
        let drain = seams.drain.child();
        let context =
            discovery::Context { tasks: seams.tasks.clone(), clock: seams.clock.clone(), drain: drain.clone() };
        let mut sets = Vec::new();
        for set in &checked.sets {
            let client = HttpClient::new(&set.client, &seams.tasks, &seams.clock)?;
            sets.push(Found { feed: discovery::start(&set.discovery, &context)?, set: set.clone(), client });
        }
        let running = Running { alert_relabel: Arc::clone(&checked.alert_relabel), sets, drain };
        self.0.running.swap(Arc::new(running)).drain.start();
        Ok(())
    }

    /// Whether there is anybody to send to.
    pub fn is_idle(&self) -> bool {
        self.0.running.load().sets.is_empty()
    }

    /// Takes alerts; they are sent in a moment.
    pub fn put(&self, alerts: &[Alert]) {
        if alerts.is_empty() || self.is_idle() {
            return;
        }
        let mut queue = self.0.queue.lock();
        queue.extend(alerts.iter().cloned());
        let surplus = queue.len().saturating_sub(QUEUE_MAX);
        queue.drain(..surplus);
        drop(queue);
        DROPPED.get().add(surplus as u64);
        self.0.wake.notify_one();
    }

    /// The URLs of all Alertmanagers.
    pub fn places(&self) -> Places {
        let mut places = Places::default();
        for found in &self.0.running.load().sets {
            let (active, dropped) = found.urls();
            places.active.extend(active);
            places.dropped.extend(dropped);
        }
        places
    }

    /// Sends what comes until the process stops.
    pub async fn run(self) {
        while !self.0.seams.drain.is_draining() {
            let batch: Vec<Alert> = {
                let mut queue = self.0.queue.lock();
                let count = queue.len().min(BATCH_MAX);
                queue.drain(..count).collect()
            };
            if batch.is_empty() {
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = self.0.seams.drain.wait() => {}
                }
                continue;
            }
            let running = self.0.running.load_full();
            let sending = running.sets.iter().map(|found| found.send(&running.alert_relabel, &batch));
            tokio::select! {
                _ = join_all(sending) => {}
                () = self.0.seams.drain.wait() => {}
            }
        }
    }
}

impl Found {
    /// The URLs of targets that relabelling keeps, and of those that it drops.
    fn urls(&self) -> (Vec<String>, Vec<String>) {
        let (mut active, mut dropped) = (Vec::new(), Vec::new());
        for group in self.feed.groups() {
            for target in &group.targets {
                let mut labels = LabelsBuilder::default();
                labels.set("__scheme__", &self.set.scheme).set("__alerts_path__", &self.set.path);
                for (name, value) in group.labels.iter().chain(target) {
                    labels.set(name, value);
                }
                let url = |labels: &LabelsBuilder| {
                    let part = |name: &str| labels.get(name).unwrap_or("").to_owned();
                    format!("{}://{}{}", part("__scheme__"), part("__address__"), part("__alerts_path__"))
                };
                let found = url(&labels);
                if relabel::process(&self.set.relabel, &mut labels) {
                    let url = url(&labels);
                    if !active.contains(&url) {
                        active.push(url);
                    }
                } else {
                    dropped.push(found);
                }
            }
        }
        (active, dropped)
    }

    async fn send(&self, common: &[Rule], alerts: &[Alert]) {
        let shown: Vec<Value> = alerts.iter().filter_map(|alert| self.show(common, alert)).collect();
        if shown.is_empty() {
            return;
        }
        let body = Bytes::from(Value::Array(shown.clone()).to_string());
        let posting = self.urls().0.into_iter().map(|url| {
            let body = body.clone();
            let count = shown.len() as u64;
            async move {
                let result = tokio::time::timeout(self.set.timeout.as_duration(), self.post(&url, body)).await;
                let result = result.unwrap_or_else(|_| Err(format!("no answer within {}", self.set.timeout)));
                SENT.with([&url, if result.is_ok() { "sent" } else { "failed" }]).add(count);
                if let Err(error) = result {
                    tracing::warn!(alertmanager = url, error, "alerts were not taken");
                }
            }
        });
        join_all(posting).await;
    }

    async fn post(&self, url: &str, body: Bytes) -> Result<(), String> {
        let request = Request::builder().method(Method::POST).uri(url).header("content-type", "application/json");
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        if response.status().is_success() { Ok(()) } else { Err(format!("answered {}", response.status())) }
    }

    /// An alert as Prometheus posts it; `None` where relabelling drops it.
    fn show(&self, common: &[Rule], alert: &Alert) -> Option<Value> {
        let mut labels = alert.labels.to_builder();
        if !relabel::process(common, &mut labels) || !relabel::process(&self.set.alert_relabel, &mut labels) {
            return None;
        }
        let time = |millis| Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
        Some(json!({
            "labels": map(&labels.build()),
            "annotations": map(&alert.annotations),
            "startsAt": time(alert.starts_at),
            "endsAt": time(alert.ends_at),
            "generatorURL": alert.generator_url,
        }))
    }
}

fn map(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::yaml;

    fn alert() -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "Down"), ("replica", "a"), ("site", "x")]),
            annotations: Labels::empty(),
            generator_url: "http://g".to_owned(),
            starts_at: 1_000,
            ends_at: 2_000,
            updated_at: 0,
            is_timeout: false,
        }
    }

    #[tokio::test]
    async fn places_and_alerts_are_relabelled() {
        let text = "
alert_relabel_configs: [{action: labeldrop, regex: replica}]
alertmanagers:
- path_prefix: /am/
  scheme: https
  static_configs: [{targets: ['a:1', 'b:2']}]
  relabel_configs: [{source_labels: [__address__], regex: 'b:2', action: drop}]
  alert_relabel_configs: [{target_label: via, replacement: nova}]
";
        let alerting: config::Alerting = yaml::read_plain("p.yml", text).unwrap();
        let checked = alerting.check(Path::new("")).unwrap();
        let (clock, _) = Clock::simulated(0);
        let forwarder = Forwarder::new(Seams { tasks: Tasks::default(), clock, drain: Drain::default() });
        assert!(forwarder.is_idle());
        forwarder.apply(&checked).unwrap();
        let places = forwarder.places();
        assert_eq!(places.active, ["https://a:1/am/api/v2/alerts"]);
        assert_eq!(places.dropped, ["https://b:2/am/api/v2/alerts"]);
        let running = forwarder.0.running.load_full();
        let shown = running.sets[0].show(&running.alert_relabel, &alert()).unwrap();
        assert_eq!(shown["labels"], json!({"alertname": "Down", "site": "x", "via": "nova"}));
        assert_eq!(shown["startsAt"], "1970-01-01T00:00:01Z");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| {
            let alerting: config::Alerting = yaml::read_plain("p.yml", text).unwrap();
            alerting.check(Path::new("")).unwrap_err()
        };
        assert!(error("alertmanagers: [{scheme: ftp}]").contains("scheme is http or https"));
        assert!(error("alertmanagers: [{api_version: v1}]").contains("api_version v1"));
        assert!(error("alertmanagers: [{static_configs: [{targets: ['http://a/b']}]}]").contains("hostname"));
    }
}
