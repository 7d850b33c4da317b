//! The life of samples from memory to disk: seal, flush, merge, downsample, and a read that finds nothing in memory.
//!
//! `cargo bench --bench blocks`; figures in docs/benchmarks.md.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

use novascope::base::clock::Clock;
use novascope::base::disk::Disk;
use novascope::base::rng::Rng;
use novascope::base::tasks::Tasks;
use novascope::metrics::config::{Config, Durability};
use novascope::metrics::{Origin, Seams, Store};
use novascope::model::labels::Labels;
use novascope::model::matcher::{MatchOp, Matcher};
use novascope::promql::source::{Column, SeriesSet as _};
use novascope::storage::block::{Blocks, Job, Policy, Remarks, Wanted, WindowWriter};

/// The begin of a window of two hours.
const BEGIN: i64 = 1_699_999_200_000;

/// Series of a block, and its seconds.
const SERIES: usize = 500;
const SECONDS: i64 = 7_200;

fn labels(count: usize) -> Vec<Labels> {
    let label =
        |i: usize| Labels::from_pairs([("__name__", "node_cpu_seconds_total"), ("host", &format!("vm-{i:05}"))]);
    (0..count).map(label).collect()
}

/// CPU seconds by hundredths: each series runs at its own speed.
fn value(series: usize, second: i64) -> f64 {
    (1_234_567 + second * (20 + series as i64 % 60) + (second * 7 + series as i64) % 9) as f64 / 100.0
}

fn open(durability: Durability, folder: &Path) -> Arc<Store> {
    let seams = Seams { clock: Clock::real(), disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let config = Config { durability, retention_ms: None, ..Config::default() };
    Store::open(config, folder, seams).expect("a fresh folder opens")
}

fn fill(store: &Store, labels: &[Labels], seconds: std::ops::Range<i64>) {
    for second in seconds {
        let mut appender = store.appender(Origin::new("bench"));
        for (at, labels) in labels.iter().enumerate() {
            let time = BEGIN + second * 1_000;
            appender.sample(labels.as_encoded(), time, 0, value(at, second)).expect("a later sample");
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the bench")
}

/// The sample behind a full open column: all before it become a chunk.
fn seal(c: &mut Criterion) {
    let labels = labels(1_000);
    let mut group = c.benchmark_group("seal");
    group.throughput(Throughput::Elements(256 * labels.len() as u64));
    group.bench_function("1000_open_columns", |b| {
        b.iter_batched(
            || {
                let folder = folder();
                let store = open(Durability::Memory, folder.path());
                fill(&store, &labels, 0..256);
                (store, folder)
            },
            |(store, folder)| {
                fill(&store, &labels, 256..257);
                (store, folder)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Ten minutes of 2,000 series from memory into a block, synced, with the snapshot that lets the log go.
fn flush(c: &mut Criterion) {
    let labels = labels(2_000);
    let mut group = c.benchmark_group("flush");
    group.throughput(Throughput::Elements(600 * labels.len() as u64));
    group.bench_function("2000_series_10_minutes", |b| {
        b.iter_batched(
            || {
                let folder = folder();
                let store = open(Durability::Fast, folder.path());
                fill(&store, &labels, 0..600);
                (store, folder)
            },
            |(store, folder)| {
                store.flush().expect("a flush");
                (store, folder)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Blocks of these spans of seconds, in a folder.
fn blocks(folder: &Path, cache_bytes: usize, spans: &[std::ops::Range<i64>]) -> Blocks {
    let (blocks, _) = Blocks::open(Disk::real(), folder, cache_bytes, Rng::from_seed(1)).expect("a fresh folder opens");
    let labels = labels(SERIES);
    for span in spans {
        let (mint, maxt) = (BEGIN + 1_000 * span.start, BEGIN + 1_000 * span.end);
        let mut writer = WindowWriter::new(&blocks, maxt, (mint, maxt));
        for (at, labels) in labels.iter().enumerate() {
            let mut column = Column::default();
            for second in span.clone() {
                // Windows are closed to the right: the first second of a window is its last of the one before.
                column.times.push(BEGIN + 1_000 * (second + 1));
                column.values.push(value(at, second));
            }
            writer.add(labels, &column).expect("a series in order");
        }
        blocks.publish(&writer.finish().expect("a block"), &[]).expect("a live block");
    }
    blocks
}

/// Two blocks of an hour become one of two; and windows of a minute are made of it.
fn jobs(c: &mut Criterion) {
    let mut group = c.benchmark_group("job");
    group.throughput(Throughput::Elements(SERIES as u64 * SECONDS as u64));
    let mut run = |name: &str, spans: &[std::ops::Range<i64>], is_meant: &dyn Fn(&Job) -> bool| {
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    let folder = folder();
                    let blocks = blocks(folder.path(), 32 << 20, spans);
                    let job = blocks.next_job(&Policy::default()).expect("something is due");
                    assert!(is_meant(&job), "{job:?}");
                    (blocks, job, folder)
                },
                |(blocks, job, folder)| {
                    job.run(&blocks, BEGIN).expect("a job that succeeds");
                    (blocks, folder)
                },
                BatchSize::PerIteration,
            );
        });
    };
    // A second of the next window says that this one is over.
    let (half, all) = (SECONDS / 2, SECONDS);
    run("merge_two_hours", &[0..half, half..all, all..all + 1], &|job| matches!(job, Job::Merge(_)));
    run("downsample_two_hours", std::slice::from_ref(&(0..all)), &|job| matches!(job, Job::Roll { .. }));
    group.finish();
}

/// Reads of a block of which our cache holds nothing: the page is read (from the cache of the kernel), checked and
/// decoded.
fn cold(c: &mut Criterion) {
    let folder = folder();
    let blocks = blocks(folder.path(), 1, std::slice::from_ref(&(0..SECONDS)));
    let version = blocks.version();
    let mut group = c.benchmark_group("cold");
    for (name, seconds) in [("one_minute", 60), ("two_hours", SECONDS)] {
        let end = BEGIN + 1_000 * SECONDS;
        let wanted = Wanted::raw(end - 1_000 * (seconds - 1), end);
        let matcher = Matcher::new(MatchOp::Equal, "__name__", "node_cpu_seconds_total").expect("a matcher");
        let found = version.select(&[matcher], wanted, &mut Remarks::default());
        let (mut column, mut at) = (Column::default(), 0);
        group.throughput(Throughput::Elements(seconds as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                // A step that leads to another page each time.
                at = (at + 37) % found.series.len();
                column.clear();
                version.read(&found.series[at], (wanted, &[]), &mut column, &mut Remarks::default());
                assert_eq!(column.len(), seconds as usize);
            });
        });
    }
    group.finish();
}

/// The first query of a process: the folder is opened, the index read, a series found, and two hours of it decoded.
fn reopen(c: &mut Criterion) {
    let folder = folder();
    let store = open(Durability::Sync, folder.path());
    fill(&store, &labels(SERIES), 0..SECONDS);
    store.flush().expect("a flush");
    store.close().expect("everything is written");
    drop(store);
    let matcher = Matcher::new(MatchOp::Equal, "host", "vm-00042").expect("a matcher");
    c.bench_function("cold/open_and_first_read", |b| {
        b.iter(|| {
            let store = open(Durability::Sync, folder.path());
            let found = store.select(std::slice::from_ref(&matcher), BEGIN, BEGIN + 1_000 * SECONDS);
            let mut column = Column::default();
            found.read(0, &mut column).expect("a series in a block");
            assert_eq!(column.len(), SECONDS as usize);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1)).sample_size(10);
    targets = seal, flush, jobs, cold, reopen
}
criterion_main!(benches);
