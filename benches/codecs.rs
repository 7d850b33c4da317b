//! Columns of two hours at 1 s through the codecs: `cargo bench --bench codecs`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use novascope::codec::Effort;
use novascope::codec::chunk::{Target, decode_floats, encode_floats};
use novascope::codec::values;

const SAMPLES: usize = 7_200;

/// A splitmix64 step: the same columns in every run.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What machines send: CPU seconds, bytes in pages, a percentage, a constant, a full-precision double.
fn columns() -> Vec<(&'static str, Vec<f64>)> {
    let mut state = 7;
    let mut walk = |step: &mut dyn FnMut(u64, usize) -> f64| -> Vec<f64> {
        (0..SAMPLES).map(|at| step(next(&mut state), at)).collect()
    };
    let (mut cpu, mut pages, mut sum) = (1_234_567u64, 300_000i64, 0.0);
    vec![
        (
            "cpu_seconds",
            walk(&mut |r, _| {
                cpu += 20 + r % 9;
                cpu as f64 / 100.0
            }),
        ),
        (
            "memory_bytes",
            walk(&mut |r, _| {
                pages += if r % 4 == 0 { (r >> 8) as i64 % 500 - 250 } else { 0 };
                (pages * 4_096) as f64
            }),
        ),
        ("percent", walk(&mut |r, at| (at % 600 / 10 * 100) as f64 / 100.0 + (r % 300) as f64 / 100.0)),
        ("constant", vec![17_179_869_184.0; SAMPLES]),
        (
            "double",
            walk(&mut |r, _| {
                sum += (r >> 11) as f64 / (1u64 << 53) as f64;
                sum
            }),
        ),
    ]
}

fn codecs(criterion: &mut Criterion) {
    let times: Vec<i64> = (0..SAMPLES as i64).map(|at| 1_790_000_000_000 + at * 1_000).collect();
    for (name, column) in columns() {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(SAMPLES as u64));
        for (effort, label) in [(Effort::Fast, "fast"), (Effort::Small, "small")] {
            let mut bytes = Vec::new();
            values::encode_with(&column, effort, &mut bytes);
            eprintln!("{name} {label}: {:.3} bytes a value", bytes.len() as f64 / SAMPLES as f64);
            group.bench_function(format!("encode {label}"), |bencher| {
                bencher.iter(|| {
                    bytes.clear();
                    values::encode_with(&column, effort, &mut bytes);
                });
            });
            let mut back = Vec::new();
            group.bench_function(format!("decode {label}"), |bencher| {
                bencher.iter(|| {
                    back.clear();
                    values::decode(&bytes, &mut back).expect("what was encoded decodes");
                });
            });
        }
        let mut chunk = Vec::new();
        encode_floats(&times, &column, &[], Effort::Fast, &mut chunk);
        let (mut t, mut s, mut v) = (Vec::new(), Vec::new(), Vec::new());
        group.bench_function("a minute of a chunk", |bencher| {
            bencher.iter(|| {
                t.clear();
                s.clear();
                v.clear();
                let mut target = Target { times: &mut t, starts: &mut s };
                let range = (times[5_000], times[5_059]);
                decode_floats(&chunk, range.0, range.1, &mut target, &mut v).expect("what was encoded decodes");
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codecs);
criterion_main!(benches);
