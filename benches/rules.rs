//! Rules over a store in memory: one iteration of groups of recording and alerting rules, on one thread.
//!
//! `cargo bench --bench rules`; figures in docs/benchmarks.md.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use novascope::base::clock::Clock;
use novascope::base::disk::Disk;
use novascope::base::rng::Rng;
use novascope::base::tasks::Tasks;
use novascope::metrics::config::{Config, Durability};
use novascope::metrics::{Origin, Seams, Store};
use novascope::model::labels::Labels;
use novascope::promql::eval::QueryOptions;
use novascope::rules::file::read;
use novascope::rules::group::{Group, World};
use novascope::rules::seam::{Backend, NoSink};
use novascope::rules::store::StoreBackend;

const NOW: i64 = 1_700_000_000_000;

/// Metrics, each with a series on each of ten instances.
const METRICS: usize = 200;

/// Five minutes at 10 s of every series.
fn store(folder: &std::path::Path) -> Arc<Store> {
    let seams =
        Seams { clock: Clock::simulated(NOW).0, disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let config = Config { durability: Durability::Memory, retention_ms: None, ..Config::default() };
    let store = Store::open(config, folder, seams).expect("a fresh folder opens");
    let mut appender = store.appender(Origin::new("bench"));
    for series in 0..METRICS * 10 {
        let labels = Labels::from_pairs([
            ("__name__", format!("requests_{}_total", series / 10)),
            ("instance", format!("10.0.0.{}:9100", series % 10)),
            ("job", "api".to_owned()),
        ]);
        let found = appender.series(labels.as_encoded()).expect("a new series");
        for step in 0_i32..=30 {
            let time = NOW - 300_000 + i64::from(step) * 10_000;
            appender.float(found, time, 0, f64::from(step * 7)).expect("a sample in order");
        }
    }
    appender.commit().wait().expect("memory takes all");
    store
}

/// A group of a thousand rules, half of which record and half of which alert.
fn group() -> Group {
    let mut text = String::from("groups:\n- name: g\n  interval: 10s\n  rules:\n");
    for rule in 0..500 {
        let metric = rule % METRICS;
        let _ = writeln!(
            text,
            "  - {{record: 'job:requests_{rule}:rate1m', expr: 'sum by (job) (rate(requests_{metric}_total[1m]))'}}"
        );
        let _ = writeln!(
            text,
            "  - {{alert: High{rule}, expr: 'rate(requests_{metric}_total[1m]) > 1000', for: 1m, labels: {{severity: page}}}}"
        );
    }
    Group::new(read("bench", &text, 10_000).expect("good rules").remove(0))
}

/// A group of a thousand rules over 200 parts: each is recorded, and four alerts compare it with their limits.
fn group_in_common() -> Group {
    let mut text = String::from("groups:\n- name: g\n  interval: 10s\n  rules:\n");
    for metric in 0..METRICS {
        let part = format!("sum by (job) (rate(requests_{metric}_total[1m]))");
        let _ = writeln!(text, "  - {{record: 'job:requests_{metric}:rate1m', expr: '{part}'}}");
        for limit in [1_000, 2_000, 5_000, 10_000] {
            let _ = writeln!(text, "  - {{alert: High{metric}_{limit}, expr: '{part} > {limit}', for: 1m}}");
        }
    }
    Group::new(read("bench", &text, 10_000).expect("good rules").remove(0))
}

fn iteration(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for the bench");
    let store = store(folder.path());
    let world = World {
        backend: Arc::new(StoreBackend::new(store, QueryOptions::default())) as Arc<dyn Backend>,
        sink: Arc::new(NoSink),
        surroundings: Arc::default(),
        clock: Clock::real(),
        query_offset: 0,
        resend_delay: 60_000,
    };
    let mut bench = c.benchmark_group("rules");
    bench.measurement_time(Duration::from_secs(5)).sample_size(10);
    let mut time = NOW;
    for (name, rules) in [("iteration", group()), ("in_common", group_in_common())] {
        bench.throughput(Throughput::Elements(rules.spec.rules.len() as u64));
        bench.bench_function(name, |b| {
            b.iter(|| {
                time += 1;
                for level in rules.levels() {
                    level.chunks(32).for_each(|part| rules.evaluate_rules(&world, part, time));
                }
                rules.end_iteration(&world, time)
            });
        });
    }
    bench.finish();
}

criterion_group!(benches, iteration);
criterion_main!(benches);
