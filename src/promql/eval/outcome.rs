//! What goes into a query, and what comes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::clock::Clock;
use crate::model::histogram::Histogram;
use crate::model::labels::Labels;
use crate::model::sample::Value;

use super::memo::Common;

/// How a query is to be evaluated.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// Milliseconds that an instant selector looks back for a sample.
    pub lookback: i64,
    /// Milliseconds between the evaluations of a subquery that does not say.
    pub default_subquery_step: i64,
    /// Samples that may be in memory at one time.
    pub max_samples: u64,
    /// What this query shares with others; none where it stands alone.
    pub pool: Option<Arc<Pool>>,
    /// Steps that a range query may have.
    pub max_points: u64,
    /// Threads that may work on the query, the caller's included.
    pub threads: usize,
    /// Set it to stop the query.
    pub cancel: Arc<AtomicBool>,
    /// Set it to let other threads go before those of the query.
    pub slow: Arc<AtomicBool>,
    /// Count the samples that each step looks at.
    pub count_steps: bool,
    /// Tell what each node took, by this clock.
    pub explain: Option<Clock>,
    /// Results that it shares with other queries of the same time and options.
    pub common: Option<Common>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            lookback: 300_000,
            default_subquery_step: 60_000,
            max_samples: 50_000_000,
            pool: None,
            max_points: 11_000,
            threads: 1,
            cancel: Arc::default(),
            slow: Arc::default(),
            count_steps: false,
            explain: None,
            common: None,
        }
    }
}

/// Samples that several queries may hold in memory together.
#[derive(Debug)]
pub struct Pool {
    held: AtomicU64,
    limit: u64,
}

impl Pool {
    /// A pool of `limit` samples. A sample takes about 16 bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { held: AtomicU64::new(0), limit })
    }

    /// Counts samples as held; false where there are now more than the limit. They count until they are given back.
    pub fn take(&self, samples: u64) -> bool {
        self.held.fetch_add(samples, Ordering::Relaxed).saturating_add(samples) <= self.limit
    }

    pub fn give_back(&self, samples: u64) {
        self.held.fetch_sub(samples, Ordering::Relaxed);
    }

    /// Samples that are held now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// The times of a range query: `start`, `start + step`, … up to `end`. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: i64,
    pub end: i64,
    pub step: i64,
}

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub value: QueryValue,
    /// Annotations with their position in the query, each text once.
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    pub stats: Stats,
    /// Where they were to be counted.
    pub steps: Option<StepSamples>,
    /// Where it was to be explained.
    pub explained: Option<Explained>,
}

/// Samples that each step looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepSamples {
    /// The time of the first step, and the milliseconds to the next.
    pub start: i64,
    pub step: i64,
    /// As if each step were asked alone.
    pub total: Vec<u64>,
    /// Without those that the step before has looked at.
    pub read: Vec<u64>,
}

/// A node of a plan and what it took, with the nodes below it.
#[derive(Clone, Debug)]
pub struct Explained {
    pub node: String,
    /// As it was written.
    pub expr: String,
    /// Evaluated once, because it gives the same at every step.
    pub invariant: bool,
    /// Where its samples came from.
    pub tiers: Vec<&'static str>,
    /// Series that came out of it, and their points.
    pub series: u64,
    pub points: u64,
    /// Samples read for it and what is below, and their size once decoded.
    pub samples: u64,
    pub bytes: u64,
    /// Time in it and what is below, of all threads together.
    pub seconds: f64,
    pub children: Vec<Explained>,
}

#[derive(Clone, Debug)]
pub enum QueryValue {
    Scalar { time: i64, value: f64 },
    String { time: i64, value: String },
    Vector(Vec<VectorSample>),
    Matrix(Vec<MatrixSeries>),
}

/// A sample of an instant vector.
#[derive(Clone, Debug)]
pub struct VectorSample {
    pub labels: Labels,
    pub time: i64,
    pub value: Value,
}

/// A series of a range vector, or of the answer to a range query.
#[derive(Clone, Debug, Default)]
pub struct MatrixSeries {
    pub labels: Labels,
    pub floats: Vec<(i64, f64)>,
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// What a query cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// Series that selectors matched.
    pub series: u64,
    /// Samples that were read from the source.
    pub samples: u64,
    /// Samples that were in memory at one time, at most.
    pub peak_samples: u64,
}
