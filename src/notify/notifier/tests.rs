//! From a put to a webhook on loopback, and across restarts.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::post;
use tokio::sync::mpsc;

use super::*;
use crate::base::tasks::TaskKind;
use crate::model::labels::Labels;

/// A receiver on loopback that answers 503 first, then takes everything.
async fn receiver(tasks: &Tasks) -> (u16, mpsc::UnboundedReceiver<serde_json::Value>) {
    let (sender, received) = mpsc::unbounded_channel();
    let is_first = Arc::new(AtomicBool::new(true));
    let hook = move |body: bytes::Bytes| async move {
        if is_first.swap(false, Ordering::SeqCst) {
            return http::StatusCode::SERVICE_UNAVAILABLE;
        }
        let _ = sender.send(serde_json::from_slice(&body).unwrap());
        http::StatusCode::OK
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = async move {
        let _ = axum::serve(listener, Router::new().route("/", post(hook))).await;
    };
    drop(tasks.spawn(TaskKind::Listener, serving));
    (port, received)
}

fn open(folder: &std::path::Path, port: u16, drain: &Drain, tasks: &Tasks) -> Notifier {
    let text = format!(
        "{{route: {{receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s}}, \
         receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:{port}/'}}]}}]}}"
    );
    let parts = Parts {
        clock: Clock::real(),
        rng: Rng::from_seed(1),
        disk: Disk::real(),
        tasks: tasks.clone(),
        drain: drain.clone(),
        folder: folder.to_owned(),
        external_url: "http://nova".to_owned(),
    };
    let config = yaml::read_plain("test.yml", &text).unwrap();
    Notifier::open(parts, &Loaded { config, ..Loaded::default() }).unwrap()
}

fn down(notifier: &Notifier) -> Alert {
    let now = notifier.now();
    Alert {
        labels: Labels::from_pairs([("alertname", "Down")]),
        annotations: Labels::empty(),
        generator_url: String::new(),
        starts_at: now,
        ends_at: now + 600_000,
        updated_at: now,
        is_timeout: false,
    }
}

#[tokio::test]
async fn an_alert_reaches_the_webhook_after_a_failure_and_only_once_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::default();
    let (port, mut received) = receiver(&tasks).await;
    let drain = Drain::default();
    let notifier = open(folder.path(), port, &drain, &tasks);
    let running = tasks.spawn(TaskKind::Notification, notifier.clone().run());
    notifier.put(vec![down(&notifier)]);
    let body = tokio::time::timeout(Duration::from_secs(20), received.recv()).await.unwrap().unwrap();
    assert_eq!(body["alerts"][0]["labels"]["alertname"], "Down");
    drain.start();
    running.await.unwrap();
    let sent = notifier.read(|state| state.history.iter().cloned().collect::<Vec<_>>());
    assert_eq!((sent.len(), sent[0].tries, sent[0].error.clone()), (1, 2, None));

    let again = open(folder.path(), port, &Drain::default(), &tasks);
    again.put(vec![down(&again)]);
    let due = again.read(|state| state.dispatcher.alerts().count());
    assert_eq!(due, 1);
    again.send_due();
    assert!(received.try_recv().is_err());
    assert_eq!(again.read(|state| state.history.iter().count()), 1, "what was sent is known, and nothing was added");
}
