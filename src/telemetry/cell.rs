//! The numbers themselves. All adds are relaxed atomics: a reader may see one cell a moment before another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::snapshot::Point;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    pub fn add(&self, by: f64) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some((f64::from_bits(bits) + by).to_bits()));
    }

    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Counts of observations by upper bound, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than `bounds`: the last is `+Inf`. Not cumulative.
    counts: Box<[AtomicU64]>,
    sum: Gauge,
}

impl Histogram {
    /// Upper bounds must ascend and be finite.
    pub fn new(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.is_sorted() && bounds.iter().all(|bound| bound.is_finite()));
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: Gauge::default() }
    }

    pub fn observe(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.add(value);
    }

    pub fn observe_seconds(&self, took: Duration) {
        self.observe(took.as_secs_f64());
    }

    /// Cumulative counts, as the text formats want them.
    pub fn point(&self) -> Point {
        let mut total = 0;
        let buckets = self
            .counts
            .iter()
            .zip(self.bounds.iter().copied().chain([f64::INFINITY]))
            .map(|(count, bound)| {
                total += count.load(Ordering::Relaxed);
                (bound, total)
            })
            .collect();
        Point::Histogram { buckets, sum: self.sum.value(), count: total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_on_a_bound_belongs_to_it() {
        let histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 7.0] {
            histogram.observe(value);
        }
        let expect = vec![(1.0, 2), (2.0, 3), (f64::INFINITY, 4)];
        assert_eq!(histogram.point(), Point::Histogram { buckets: expect, sum: 10.0, count: 4 });
    }
}
