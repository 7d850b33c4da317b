//! Exposition formats: reading a body whose series are new, known, and expected.
//!
//! `cargo bench --bench exposition`; figures in docs/benchmarks.md. `NOVASCOPE_BODY=file` reads a body of your own
//! (text format) instead of the one that is made here after node_exporter's.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use novascope::ingest::exposition::{Entry, Format, Options, Parser, Value};

/// The shape of a node_exporter's answer: 60 families, 1,150 samples, 90 KB.
fn body() -> Vec<u8> {
    if let Some(file) = std::env::var_os("NOVASCOPE_BODY") {
        return std::fs::read(file).expect("NOVASCOPE_BODY names a readable file");
    }
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| text.write_fmt(args).expect("strings take everything");
    line(format_args!("# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n"));
    line(format_args!("# TYPE node_cpu_seconds_total counter\n"));
    for cpu in 0..32 {
        for (at, mode) in ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"].iter().enumerate() {
            let value = f64::from(cpu * 8_191 + at as u32 * 37) + 0.27;
            line(format_args!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {value}\n"));
        }
    }
    for family in 0..40 {
        line(format_args!("# HELP node_disk_metric_{family}_total A figure of a block device, cumulative.\n"));
        line(format_args!("# TYPE node_disk_metric_{family}_total counter\n"));
        for disk in 0..20 {
            let value = 1.234_567_89e9 + f64::from(family * 1_000 + disk);
            line(format_args!("node_disk_metric_{family}_total{{device=\"nvme{disk}n1\"}} {value:e}\n"));
        }
    }
    for family in 0..100 {
        line(format_args!("# HELP node_memory_Field_{family}_bytes Memory information field Field_{family}.\n"));
        line(format_args!("# TYPE node_memory_Field_{family}_bytes gauge\n"));
        line(format_args!("node_memory_Field_{family}_bytes {}\n", u64::from(family as u32) * 4_096 * 1_023));
    }
    text.into_bytes()
}

fn raws(body: &[u8]) -> Vec<Vec<u8>> {
    let mut parser = Parser::new(body, Format::Text, Options::default()).expect("small body");
    let mut raws = Vec::new();
    while let Some(entry) = parser.next().expect("valid body") {
        if let Entry::Series(series) = entry {
            raws.push(series.raw.to_vec());
        }
    }
    raws
}

fn read(bench: &mut Criterion) {
    let body = body();
    let raws = raws(&body);
    let mut group = bench.benchmark_group("exposition");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("text, labels encoded", |bencher| {
        let mut encoded = Vec::new();
        bencher.iter(|| {
            let mut parser = Parser::new(&body, Format::Text, Options::default()).expect("small body");
            while let Some(entry) = parser.next().expect("valid body") {
                if let Entry::Series(series) = entry {
                    series.encode(&mut encoded).expect("unique names");
                    black_box(&encoded);
                }
            }
        });
    });
    group.bench_function("text, series by their text", |bencher| {
        bencher.iter(|| {
            let mut parser = Parser::new(&body, Format::Text, Options::default()).expect("small body");
            let mut sum = 0.0;
            while let Some(entry) = parser.next().expect("valid body") {
                if let Entry::Series(series) = entry {
                    black_box(series.raw);
                    if let Value::Float(value) = series.value {
                        sum += value;
                    }
                }
            }
            sum
        });
    });
    group.bench_function("text, series as expected", |bencher| {
        bencher.iter(|| {
            let mut parser = Parser::new(&body, Format::Text, Options::default()).expect("small body");
            let (mut sum, mut at) = (0.0, 0);
            while let Some(entry) = parser.next_expecting(raws.get(at).map_or(&[], Vec::as_slice)).expect("valid body")
            {
                if let Entry::Series(series) = entry {
                    at += 1;
                    if let Value::Float(value) = series.value {
                        sum += value;
                    }
                }
            }
            sum
        });
    });
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
