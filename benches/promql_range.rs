//! Queries over columns in memory: what evaluation costs without decoding.
//!
//! The source copies times and values into the column, as a decoder writes them. `cargo bench --bench promql_range`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use novascope::model::labels::Labels;
use novascope::promql::eval::{Outcome, QueryOptions, Window, range};
use novascope::promql::parse::parse;
use novascope::promql::source::{Column, Select, SeriesSet, Source, SourceError};

/// Series on one grid of a sample a second.
struct Grid {
    times: Arc<[i64]>,
    series: Arc<[(Labels, Vec<f64>)]>,
}

struct Selected {
    times: Arc<[i64]>,
    series: Arc<[(Labels, Vec<f64>)]>,
    matching: Vec<usize>,
    window: std::ops::Range<usize>,
}

impl Source for Grid {
    fn select(&self, select: &Select) -> Result<Box<dyn SeriesSet>, SourceError> {
        let matches = |labels: &Labels| {
            select.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
        };
        let matching = (0..self.series.len()).filter(|index| matches(&self.series[*index].0)).collect();
        let window = self.times.partition_point(|time| *time < select.mint)
            ..self.times.partition_point(|time| *time <= select.maxt);
        Ok(Box::new(Selected { times: self.times.clone(), series: self.series.clone(), matching, window }))
    }
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.matching.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.series[self.matching[index]].0
    }

    fn read(&self, index: usize, column: &mut Column) -> Result<(), SourceError> {
        column.times.extend_from_slice(&self.times[self.window.clone()]);
        column.values.extend_from_slice(&self.series[self.matching[index]].1[self.window.clone()]);
        Ok(())
    }
}

/// A cheap generator of numbers from 0 to 1, the same in every run.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn counter(seed: u64, samples: usize) -> Vec<f64> {
    let mut next = noise(seed);
    let mut total = 0.0;
    (0..samples)
        .map(|_| {
            total += (next() * 10.0).floor();
            total
        })
        .collect()
}

fn gauge(seed: u64, samples: usize) -> Vec<f64> {
    let mut next = noise(seed);
    (0..samples).map(|_| (next() * 10_000.0).round() / 100.0).collect()
}

fn grid(samples: usize, series: impl Iterator<Item = (Labels, Vec<f64>)>) -> Grid {
    Grid { times: (0..samples as i64).map(|second| second * 1000).collect(), series: series.collect() }
}

/// One sample a second for an hour, and then some before it for windows.
const HOUR: usize = 3600 + 600;
const DAY: usize = 86_400 + 600;
const WEEK: usize = 7 * 86_400 + 3600;

/// CPU seconds of 100 hosts with 28 series each.
fn fleet() -> Grid {
    grid(
        HOUR,
        (0..2800_u64).map(|index| {
            let (host, cpu) = (format!("host-{}", index / 28), format!("{}", index % 28));
            let labels = Labels::from_pairs([
                ("__name__", "cpu_seconds_total"),
                ("host", &host),
                ("cpu", &cpu),
                ("job", "node"),
            ]);
            (labels, counter(index, HOUR))
        }),
    )
}

/// Classic histograms of 12 buckets.
fn histograms(instances: u64, samples: usize) -> Grid {
    let bounds = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
    grid(
        samples,
        (0..instances).flat_map(move |instance| {
            let base = counter(instance, samples);
            bounds.into_iter().enumerate().map(move |(at, bound)| {
                let name = format!("i-{instance}");
                let labels = Labels::from_pairs([("__name__", "latency_bucket"), ("instance", &*name), ("le", bound)]);
                (labels, base.iter().map(|count| count * (at + 1) as f64 / 12.0).collect())
            })
        }),
    )
}

fn ask(source: &Grid, query: &str, window: Window, threads: usize) -> Outcome {
    let expr = parse(query).expect("a sound query");
    let options = QueryOptions { threads, ..QueryOptions::default() };
    range(source, query, &expr, window, &options).expect("an answer")
}

/// The last `seconds` of the samples.
fn last(samples: usize, seconds: usize, step: i64) -> Window {
    let end = (samples as i64 - 1) * 1000;
    Window { start: end - seconds as i64 * 1000, end, step: step * 1000 }
}

fn queries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("promql_range");
    group.sample_size(20);
    let mut run = |name: &str, source: &Grid, query: &str, window: Window, threads: usize| {
        let samples = ask(source, query, window, threads).stats.samples;
        group.throughput(Throughput::Elements(samples));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(ask(source, query, window, threads))));
    };
    let source = fleet();
    let hour = last(HOUR, 3600, 15);
    run("sum_by_host_rate/1_thread", &source, "sum by (host) (rate(cpu_seconds_total[1m]))", hour, 1);
    run("sum_by_host_rate/2_threads", &source, "sum by (host) (rate(cpu_seconds_total[1m]))", hour, 2);
    run("count_selector", &source, "count(cpu_seconds_total)", hour, 1);
    run("avg_over_time_5m", &source, "avg by (host) (avg_over_time(cpu_seconds_total[5m]))", hour, 1);
    let source = grid(
        HOUR,
        (0..200).map(|i| (Labels::from_pairs([("__name__", "load"), ("host", &*format!("h{i}"))]), gauge(i, HOUR))),
    );
    run("quantile_over_time_5m", &source, "quantile_over_time(0.95, load[5m])", hour, 1);
    run("max_over_time_5m", &source, "max_over_time(load[5m])", hour, 1);
    let source = histograms(100, HOUR);
    run(
        "histogram_quantile_fleet",
        &source,
        "histogram_quantile(0.95, sum by (le) (rate(latency_bucket[5m])))",
        hour,
        1,
    );
    let by_instance = "histogram_quantile(0.95, rate(latency_bucket[5m]))";
    run("histogram_quantile_by_instance", &source, by_instance, hour, 1);
    let source = histograms(1, DAY);
    run("p95_one_histogram_24h", &source, by_instance, last(DAY, 86_400, 15), 1);
    let every_second = "max_over_time(histogram_quantile(0.95, rate(latency_bucket[5m]))[24h:1s])";
    run("p95_one_histogram_24h_86400_points", &source, every_second, last(DAY, 0, 1), 1);
    let source = grid(DAY, std::iter::once((Labels::from_pairs([("__name__", "m_total")]), counter(1, DAY))));
    run("rate_one_series_24h", &source, "rate(m_total[5m])", last(DAY, 86_400, 15), 1);
    let source = grid(WEEK, std::iter::once((Labels::from_pairs([("__name__", "load")]), gauge(1, WEEK))));
    run("trend_7d_avg", &source, "avg_over_time(load[1h])", last(WEEK, 7 * 86_400, 60), 1);
    run("trend_7d_deriv", &source, "deriv(load[1h])", last(WEEK, 7 * 86_400, 60), 1);
    group.finish();
}

criterion_group!(benches, queries);
criterion_main!(benches);
