//! Remote write without HTTP: from the compressed body to the store. `cargo bench --bench remote_write`

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

use std::hint::black_box;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Request;
use novascope::base::clock::Clock;
use novascope::base::disk::Disk;
use novascope::base::rng::Rng;
use novascope::base::tasks::Tasks;
use novascope::ingest::remote_write::{Receiver, routes};
use novascope::metrics::config::{Config, Durability};
use novascope::metrics::{Seams, Store};
use novascope::proto::{prometheus as v1, write_v2 as v2};
use novascope::server::body::BodyLimits;
use prost::Message as _;
use tower::ServiceExt as _;

const SERIES: usize = 2_000;

/// Ten labels, as a scraped fleet has them: about 230 bytes.
fn labels(n: usize) -> Vec<(String, String)> {
    let pairs = [
        ("__name__", format!("vm_cpu_seconds_{}_total", n % 100)),
        ("cluster", "eu-central-1".to_owned()),
        ("cpu", (n % 32).to_string()),
        ("environment", "production".to_owned()),
        ("host", format!("hypervisor-{:04}", n / 100)),
        ("instance", format!("10.1.{}.{}:9100", n / 256, n % 256)),
        ("job", "node".to_owned()),
        ("mode", "idle".to_owned()),
        ("tenant", format!("tenant-{}", n % 17)),
        ("vm", format!("vm-{:06}", n / 100)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

fn version_1(time: i64) -> Vec<u8> {
    let series = |n| v1::TimeSeries {
        labels: labels(n).into_iter().map(|(name, value)| v1::Label { name, value }).collect(),
        samples: vec![v1::Sample { value: n as f64 + 0.25, timestamp: time }],
        ..v1::TimeSeries::default()
    };
    let request = v1::WriteRequest { timeseries: (0..SERIES).map(series).collect(), metadata: Vec::new() };
    snappy(&request.encode_to_vec())
}

fn version_2(time: i64) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut reference = |text: String| {
        symbols.iter().position(|known| *known == text).unwrap_or_else(|| {
            symbols.push(text);
            symbols.len() - 1
        }) as u32
    };
    let timeseries = (0..SERIES)
        .map(|n| v2::TimeSeries {
            labels_refs: labels(n).into_iter().flat_map(|(name, value)| [name, value]).map(&mut reference).collect(),
            samples: vec![v2::Sample { value: n as f64 + 0.25, timestamp: time, start_timestamp: 0 }],
            metadata: Some(v2::Metadata { r#type: 1, help_ref: 0, unit_ref: 0 }),
            ..v2::TimeSeries::default()
        })
        .collect();
    snappy(&v2::Request { symbols, timeseries }.encode_to_vec())
}

fn router(folder: &std::path::Path) -> Router {
    let clock = Clock::real();
    let seams = Seams { clock: clock.clone(), disk: Disk::real(), rng: Rng::from_seed(1), tasks: Tasks::default() };
    let config = Config { durability: Durability::Memory, retention_ms: None, ..Config::default() };
    let store = Store::open(config, folder, seams).unwrap();
    routes(Arc::new(Receiver::new(store, clock, BodyLimits::WRITE)))
}

fn known_series(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("remote_write");
    group.throughput(Throughput::Elements(SERIES as u64)).sample_size(20);
    type Version = (&'static str, &'static str, fn(i64) -> Vec<u8>);
    let versions: [Version; 2] = [
        ("v1", "application/x-protobuf", version_1),
        ("v2", "application/x-protobuf;proto=io.prometheus.write.v2.Request", version_2),
    ];
    for (name, content_type, make) in versions {
        let folder = tempfile::tempdir().unwrap();
        let router = router(folder.path());
        // Times go round: the first lap appends, the later ones meet what is stored already in their windows.
        let bodies: Vec<Vec<u8>> = (0..64).map(|n| make(1_000_000 + n * 1_000)).collect();
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at += 1;
                let request = Request::post("/api/v1/write").header("content-type", content_type);
                let request = request.body(Body::from(bodies[at % bodies.len()].clone())).unwrap();
                let answer = runtime.block_on(router.clone().oneshot(request)).unwrap();
                assert_eq!(black_box(answer).status(), 204);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, known_series);
criterion_main!(benches);
