use super::*;

const WAIT: Duration = Duration::from_secs(10);

fn context() -> Context {
    Context { tasks: Tasks::default(), clock: Clock::real(), drain: Drain::default() }
}

/// The addresses with their labels, once `done` holds for them.
async fn settled(feed: &Feed, done: impl Fn(&[String]) -> bool) -> Vec<String> {
    let wait = async {
        loop {
            let mut shown = Vec::new();
            for group in feed.groups() {
                for target in &group.targets {
                    let labels: Vec<_> = group
                        .labels
                        .iter()
                        .filter(|(name, _)| !name.starts_with("__"))
                        .map(|(n, v)| format!("{n}={v}"))
                        .collect();
                    shown.push(format!("{} {}", target["__address__"], labels.join(",")));
                }
            }
            if done(&shown) {
                return shown;
            }
            feed.changed().await;
        }
    };
    tokio::time::timeout(WAIT, wait).await.unwrap()
}

#[tokio::test]
async fn static_targets_are_there_at_once() {
    let statics = serde_saphyr::from_str("[{targets: ['a:1', 'b:2'], labels: {env: prod}}, {targets: null}]").unwrap();
    let config = Config { statics, ..Config::default() };
    assert_eq!(config.validate(true), Ok(()));
    let feed = start(&config, &context()).unwrap();
    assert_eq!(settled(&feed, |shown| !shown.is_empty()).await, ["a:1 env=prod", "b:2 env=prod"]);
}

#[tokio::test]
async fn files_are_read_again_when_they_change_and_kept_when_they_break() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    std::fs::write(&json, r#"[{"targets": ["a:1"], "labels": {"x": "1"}}]"#).unwrap();
    std::fs::write(folder.path().join("b.yml"), "- targets: ['b:2']\n").unwrap();
    let files = serde_saphyr::from_str("[{files: ['*.json', '*.yml'], refresh_interval: 1h}]").unwrap();
    let config = Config { files, folder: folder.path().to_owned(), ..Config::default() };
    assert_eq!(config.validate(true), Ok(()));
    let context = context();
    let feed = start(&config, &context).unwrap();
    assert_eq!(settled(&feed, |shown| shown.len() == 2).await, ["a:1 x=1", "b:2 "]);
    // A broken file must not take its targets away: the next change shows that it was passed over.
    std::fs::write(&json, "{ broken").unwrap();
    std::fs::write(folder.path().join("b.yml"), "- targets: ['b:3']\n").unwrap();
    assert_eq!(settled(&feed, |shown| shown.iter().any(|target| target == "b:3 ")).await, ["a:1 x=1", "b:3 "]);
    std::fs::remove_file(&json).unwrap();
    assert_eq!(settled(&feed, |shown| shown.len() == 1).await, ["b:3 "]);
    context.drain.start();
}

#[tokio::test]
async fn an_endpoint_gives_targets() {
    use axum::routing::get;
    let list = || async { ([("content-type", "application/json")], r#"[{"targets": ["a:1"], "labels": {"x": "1"}}]"#) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sd", listener.local_addr().unwrap());
    let context = context();
    let router = axum::Router::new().route("/sd", get(list));
    drop(context.tasks.spawn(TaskKind::Listener, async move { axum::serve(listener, router).await }));
    let https = serde_saphyr::from_str(&format!("[{{url: '{url}'}}]")).unwrap();
    let feed = start(&Config { https, ..Config::default() }, &context).unwrap();
    assert_eq!(settled(&feed, |shown| !shown.is_empty()).await, ["a:1 x=1"]);
    assert_eq!(feed.groups()[0].labels["__meta_url"], url);
    context.drain.start();
}

#[test]
fn sources_that_cannot_work_say_why() {
    let check = |config: Config| config.validate(true).unwrap_err().to_string();
    let statics = serde_saphyr::from_str("[{targets: ['http://a:1']}]").unwrap();
    assert!(check(Config { statics, ..Config::default() }).contains("is not a valid hostname"));
    let files = serde_saphyr::from_str("[{files: ['a.txt']}]").unwrap();
    assert!(check(Config { files, ..Config::default() }).contains("must end in .json"));
    let dns = serde_saphyr::from_str("[{names: [a], type: A}]").unwrap();
    assert!(check(Config { dns, ..Config::default() }).contains("a port is required"));
    let https = serde_saphyr::from_str("[{url: 'ftp://a'}]").unwrap();
    assert!(check(Config { https, ..Config::default() }).contains("not an http or https URL"));
}
