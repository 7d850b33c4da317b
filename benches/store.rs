//! The metrics store: append to known and to new series, commit to the log, select, read.
//!
//! `cargo bench --bench store`; figures in docs/benchmarks.md.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use novascope::base::clock::Clock;
use novascope::base::disk::Disk;
use novascope::base::rng::Rng;
use novascope::base::tasks::Tasks;
use novascope::metrics::config::{Config, Durability};
use novascope::metrics::{Origin, Seams, SeriesRef, Store};
use novascope::model::labels::Labels;
use novascope::model::matcher::{MatchOp, Matcher};
use novascope::promql::source::{Column, SeriesSet as _};

const NOW: i64 = 1_700_000_000_000;

/// Series of a fleet: ten labels, about 230 bytes.
fn fleet(count: usize) -> Vec<Labels> {
    (0..count)
        .map(|i| {
            let (host, metric) = (i / 100, i % 100);
            Labels::from_pairs([
                ("__name__", format!("node_metric_number_{metric}_seconds_total")),
                ("cluster", "production-europe-west".to_owned()),
                ("cpu", (metric % 8).to_string()),
                ("datacenter", format!("dc-{}", host % 3)),
                ("host", format!("vm-{host:05}.example.internal")),
                ("instance", format!("10.0.{}.{}:9100", host / 250, host % 250)),
                ("job", "node-exporter".to_owned()),
                ("mode", ["user", "system", "idle", "iowait"][metric % 4].to_owned()),
                ("rack", format!("rack-{}", host % 17)),
                ("tenant", format!("tenant-{}", host % 5)),
            ])
        })
        .collect()
}

fn open(durability: Durability, folder: &std::path::Path) -> Arc<Store> {
    let seams = Seams { clock: Clock::real(), disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let config = Config { durability, retention_ms: None, ..Config::default() };
    Store::open(config, folder, seams).expect("a fresh folder opens")
}

fn append(c: &mut Criterion) {
    let labels = fleet(10_000);
    let folder = tempfile::tempdir().expect("a folder for the bench");
    let store = open(Durability::Memory, folder.path());
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(labels.len() as u64));
    let mut time = NOW;
    let mut refs: Vec<SeriesRef> = Vec::new();
    let mut appender = store.appender(Origin::new("bench"));
    for labels in &labels {
        refs.push(appender.series(labels.as_encoded()).expect("a new series"));
    }
    drop(appender);
    group.bench_function("known_by_labels", |b| {
        b.iter(|| {
            time += 1_000;
            let mut appender = store.appender(Origin::new("bench"));
            for (at, labels) in labels.iter().enumerate() {
                appender.sample(labels.as_encoded(), time, 0, at as f64).expect("a later sample");
            }
        });
    });
    group.bench_function("known_by_reference", |b| {
        b.iter(|| {
            time += 1_000;
            let mut appender = store.appender(Origin::new("bench"));
            for (at, series) in refs.iter().enumerate() {
                appender.float(*series, time, 0, at as f64).expect("a later sample");
            }
        });
    });
    group.bench_function("new", |b| {
        b.iter_batched(
            || {
                let folder = tempfile::tempdir().expect("a folder for the bench");
                (open(Durability::Memory, folder.path()), folder)
            },
            |(store, folder)| {
                let mut appender = store.appender(Origin::new("bench"));
                for labels in &labels {
                    appender.sample(labels.as_encoded(), NOW, 0, 1.0).expect("a first sample");
                }
                drop(appender);
                (store, folder)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn commit(c: &mut Criterion) {
    let labels = fleet(2_000);
    let folder = tempfile::tempdir().expect("a folder for the bench");
    let store = open(Durability::Sync, folder.path());
    let mut group = c.benchmark_group("commit");
    group.throughput(Throughput::Elements(labels.len() as u64));
    let mut time = NOW;
    group.bench_function("2000_samples_synced", |b| {
        b.iter(|| {
            time += 1_000;
            let mut appender = store.appender(Origin::new("bench"));
            for (at, labels) in labels.iter().enumerate() {
                appender.sample(labels.as_encoded(), time, 0, at as f64).expect("a later sample");
            }
            appender.commit().wait().expect("a commit")
        });
    });
    group.finish();
}

fn select(c: &mut Criterion) {
    let labels = fleet(10_000);
    let folder = tempfile::tempdir().expect("a folder for the bench");
    let store = open(Durability::Memory, folder.path());
    for second in 0..600 {
        let mut appender = store.appender(Origin::new("bench"));
        for (at, labels) in labels.iter().enumerate() {
            let value = (second * (at % 7)) as f64 / 4.0;
            appender.sample(labels.as_encoded(), NOW + second as i64 * 1_000, 0, value).expect("a later sample");
        }
    }
    let matcher = |op, name, value| Matcher::new(op, name, value).expect("a matcher");
    let mut group = c.benchmark_group("select");
    for (name, matchers) in [
        (
            "one_series",
            vec![
                matcher(MatchOp::Equal, "__name__", "node_metric_number_7_seconds_total"),
                matcher(MatchOp::Equal, "host", "vm-00042.example.internal"),
            ],
        ),
        ("metric_100", vec![matcher(MatchOp::Equal, "__name__", "node_metric_number_7_seconds_total")]),
        ("regex_2000", vec![matcher(MatchOp::Regex, "host", "vm-000[0-1].*")]),
        ("all_10000", vec![matcher(MatchOp::Regex, "__name__", ".+")]),
    ] {
        group.bench_function(name, |b| b.iter(|| store.select(&matchers, NOW, NOW + 600_000).len()));
    }
    group.throughput(Throughput::Elements(600));
    let found = store.select(&[], NOW, NOW + 600_000);
    let mut at = 0;
    group.bench_function("read_10_minutes", |b| {
        let mut column = Column::default();
        b.iter(|| {
            at = (at + 1) % found.len();
            column.clear();
            found.read(at, &mut column).expect("a series in memory");
            column.len()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1)).sample_size(20);
    targets = append, commit, select
}
criterion_main!(benches);
