//! Pools over loopback, on the machine's clock.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use tokio::net::TcpListener;

use super::*;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::TaskKind;
use crate::ingest::scrape::target::Health;
use crate::metrics::config::{Config as StoreConfig, Durability};
use crate::model::matcher::{MatchOp, Matcher};
use crate::model::sample::is_stale;
use crate::promql::source::{Column, SeriesSet as _};

const WAIT: Duration = Duration::from_secs(30);

struct World {
    scraper: Scraper,
    seams: Seams,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, tasks) = (Clock::real(), Tasks::default());
        let store_seams = crate::metrics::Seams {
            clock: clock.clone(),
            disk: Disk::real(),
            rng: Rng::from_seed(1),
            tasks: tasks.clone(),
        };
        let config = StoreConfig { durability: Durability::Memory, ..StoreConfig::default() };
        let store = Store::open(config, folder.path(), store_seams).unwrap();
        let seams = Seams { store, tasks, clock, drain: Drain::default() };
        Self { scraper: Scraper::new(seams.clone()), seams, _folder: folder }
    }

    fn apply(&self, yaml: &str) -> Result<(), PlanError> {
        let plan = self.scraper.prepare(&configs(yaml), &Defaults::default(), Path::new(""))?;
        self.scraper.apply(plan);
        Ok(())
    }

    /// Serves a router until the world ends.
    async fn serve(&self, router: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(self.seams.tasks.spawn(TaskKind::Listener, async move { axum::serve(listener, router).await }));
        address
    }

    /// Samples of every series of a metric, by the label `instance`.
    fn samples(&self, metric: &str) -> BTreeMap<String, Vec<(i64, f64)>> {
        let name = Matcher::new(MatchOp::Equal, "__name__", metric).unwrap();
        let found = self.seams.store.select(&[name], i64::MIN, i64::MAX);
        let mut samples = BTreeMap::new();
        for at in 0..found.len() {
            let mut column = Column::default();
            found.read(at, &mut column).unwrap();
            let instance = found.labels(at).get("instance").unwrap_or("").to_owned();
            samples.insert(instance, column.times.iter().copied().zip(column.values.iter().copied()).collect());
        }
        samples
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(WAIT, wait).await.is_ok(), "{what} did not come about");
    }

    fn target(&self, pool: &str, instance: &str) -> Arc<Target> {
        let pools = self.scraper.pools();
        let pool = pools.iter().find(|view| view.name == pool).unwrap();
        Arc::clone(pool.active.iter().find(|target| target.labels.get("instance") == Some(instance)).unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.seams.drain.start();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_targets_are_scraped_whatever_the_bad_ones_do() {
    let world = World::new();
    let counted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&counted);
    let metrics = move |request: Request| {
        let headers = request.headers();
        assert!(headers["accept"].to_str().unwrap().starts_with("application/openmetrics-text;version=1.0.0;escaping"));
        assert_eq!(headers["x-prometheus-scrape-timeout-seconds"], "0.1");
        let count = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            let body = format!("# TYPE hits counter\nhits_total {count} # {{trace_id=\"t\"}} 1\n# EOF\n");
            ([("content-type", "application/openmetrics-text; version=1.0.0")], body)
        }
    };
    let good = world.serve(Router::new().route("/metrics", get(metrics))).await;
    // A port where nobody listens, and one where nobody answers.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hole = silent.local_addr().unwrap().to_string();
    world
        .apply(&format!(
            "[{{job_name: j, scrape_interval: 100ms, static_configs: [{{targets: ['{good}', '{closed}', '{hole}']}}]}}]"
        ))
        .unwrap();
    world.until("ten scrapes", |world| world.samples("hits_total").get(&good).is_some_and(|s| s.len() >= 10)).await;
    let hits = &world.samples("hits_total")[&good];
    let phase = hits[0].0 % 100;
    assert!(hits.iter().all(|(time, _)| time % 100 == phase), "samples carry the time they were due: {hits:?}");
    let up = world.samples("up");
    assert!(up[&good].iter().all(|(_, value)| *value == 1.0));
    assert!(!up[&closed].is_empty() && up[&closed].iter().all(|(_, value)| *value == 0.0));
    world.until("a time-out", |world| world.target("j", &hole).last().health == Health::Down).await;
    let error = world.target("j", &hole).last().error;
    assert!(error.ends_with("context deadline exceeded"), "{error}");
    assert!(world.target("j", &closed).last().error.contains("Connection refused"));
    let metadata = world.target("j", &good).metadata();
    assert_eq!(metadata.len(), 1);
    assert_eq!(world.target("j", &good).url.path(), "/metrics");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_what_it_does_not_change_and_ends_what_it_removes() {
    let world = World::new();
    let router = || Router::new().route("/metrics", get(|| async { ([("content-type", "text/plain")], "a 1\n") }));
    let (first, second) = (world.serve(router()).await, world.serve(router()).await);
    let yaml = |targets: &str, more: &str| {
        format!("[{{job_name: j, scrape_interval: 100ms, static_configs: [{{targets: [{targets}]}}]{more}}}]")
    };
    world.apply(&yaml(&format!("'{first}', '{second}'"), "")).unwrap();
    world.until("both are scraped", |world| world.samples("a").len() == 2).await;
    let kept = world.target("j", &first);
    // A plan that cannot be made changes nothing.
    let broken = world.apply(&yaml("'x:1'", ", tls_config: {ca_file: /does/not/exist}"));
    assert!(broken.unwrap_err().to_string().contains("/does/not/exist"));
    assert_eq!(world.scraper.pools()[0].active.len(), 2);
    world.apply(&yaml(&format!("'{first}'"), ", sample_limit: 5")).unwrap();
    assert!(Arc::ptr_eq(&kept, &world.target("j", &first)), "an unchanged target keeps its loop");
    let ended = |samples: &BTreeMap<String, Vec<(i64, f64)>>, instance: &str| {
        samples[instance].last().is_some_and(|(_, value)| is_stale(*value))
    };
    world
        .until("the end of the second", |world| {
            ended(&world.samples("a"), &second) && ended(&world.samples("up"), &second)
        })
        .await;
    let before = world.samples("a")[&first].len();
    world.until("more of the first", |world| world.samples("a")[&first].len() > before + 2).await;
    assert!(world.samples("a")[&first].iter().all(|(_, value)| *value == 1.0));
    // New rules give new series, and the old one ends.
    let rename =
        ", metric_relabel_configs: [{source_labels: [__name__], regex: a, target_label: __name__, replacement: b}]";
    world.apply(&yaml(&format!("'{first}'"), rename)).unwrap();
    world.until("the new name", |world| world.samples("b").contains_key(&first)).await;
    world.until("the end of the old name", |world| ended(&world.samples("a"), &first)).await;
    world.apply("[]").unwrap();
    world.until("the end of all", |world| ended(&world.samples("b"), &first)).await;
    assert!(world.scraper.pool_names().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_waits_for_discovery_before_it_ends_a_target() {
    let world = World::new();
    let router = Router::new().route("/metrics", get(|| async { ([("content-type", "text/plain")], "a 1\n") }));
    let (kept, gone) = (world.serve(router.clone()).await, world.serve(router).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("targets.json");
    std::fs::write(&file, format!("[{{\"targets\": [\"{kept}\", \"{gone}\"]}}]")).unwrap();
    let yaml = |limit: u8| {
        format!(
            "[{{job_name: j, scrape_interval: 100ms, sample_limit: {limit}, file_sd_configs: [{{files: ['{}']}}]}}]",
            file.display()
        )
    };
    world.apply(&yaml(7)).unwrap();
    world.until("both are scraped", |world| world.samples("a").len() == 2).await;
    let before = world.target("j", &kept);
    std::fs::write(&file, format!("[{{\"targets\": [\"{kept}\"]}}]")).unwrap();
    world.apply(&yaml(8)).unwrap();
    assert!(Arc::ptr_eq(&before, &world.target("j", &kept)), "the loop goes on while the file is read again");
    world
        .until("the end of the other", |world| {
            world.samples("a")[&gone].last().is_some_and(|(_, value)| is_stale(*value))
        })
        .await;
    assert!(Arc::ptr_eq(&before, &world.target("j", &kept)));
    assert!(world.samples("a")[&kept].iter().all(|(_, value)| *value == 1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_over_its_limit_of_targets_scrapes_none() {
    let world = World::new();
    let yaml = |limit: u8| {
        format!(
            "[{{job_name: j, scrape_interval: 100ms, target_limit: {limit}, \
             static_configs: [{{targets: ['127.0.0.1:1', '127.0.0.1:2']}}]}}]"
        )
    };
    world.apply(&yaml(1)).unwrap();
    world
        .until("the refusal", |world| {
            world.target("j", "127.0.0.1:1").last().error == "target_limit exceeded (number of targets: 2, limit: 1)"
        })
        .await;
    world.apply(&yaml(2)).unwrap();
    world.until("a try", |world| world.target("j", "127.0.0.1:1").last().error.contains("refused")).await;
}

/// Many targets of one server, told apart by a parameter. Under load timers are late and scrapes may be missed, but
/// what is scraped sits on the grid of its target, and the targets are spread over the interval.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_targets_keep_their_phase() {
    const TARGETS: usize = 1_000;
    let world = World::new();
    let router = Router::new().route("/metrics", get(|| async { ([("content-type", "text/plain")], "a 1\nb 2\n") }));
    let address = world.serve(router).await;
    let names: Vec<String> = (0..TARGETS).map(|number| format!("'t{number}'")).collect();
    world
        .apply(&format!(
            "[{{job_name: j, scrape_interval: 1s, static_configs: [{{targets: [{}]}}], relabel_configs: [\
             {{source_labels: [__address__], target_label: instance}}, \
             {{source_labels: [__address__], target_label: __param_id}}, \
             {{target_label: __address__, replacement: '{address}'}}]}}]",
            names.join(", ")
        ))
        .unwrap();
    let all_have = |world: &World, count: usize| {
        let up = world.samples("up");
        up.len() == TARGETS && up.values().all(|samples| samples.len() >= count)
    };
    world.until("three scrapes of each", |world| all_have(world, 3)).await;
    let up = world.samples("up");
    let mut phases: Vec<i64> = Vec::new();
    for (instance, samples) in &up {
        let phase = samples[0].0 % 1_000;
        assert!(samples.iter().all(|(time, _)| time % 1_000 == phase), "{instance}: {samples:?}");
        phases.push(phase);
    }
    // Each tenth of the second has its share.
    for tenth in 0..10 {
        let share = phases.iter().filter(|phase| **phase / 100 == tenth).count();
        assert!((50..200).contains(&share), "{share} of {TARGETS} in tenth {tenth}");
    }
}
