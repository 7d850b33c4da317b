//! PromQL over a source, on a blocking thread.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::model::histogram::Histogram;
use crate::promql::ast::Expr;
use crate::promql::eval::{self, ErrorKind, EvalError, MatrixSeries, Outcome, Pool, QueryOptions, QueryValue, Window};
use crate::promql::source::Source;
use crate::query::config::{Config, cores};
use crate::query::error::QueryError;
use crate::query::{Job, Queries};

/// A parsed query and when to evaluate it.
#[derive(Clone, Debug)]
pub struct Request {
    pub query: String,
    pub expr: Expr,
    /// An instant query has step 0 and is evaluated at `start`.
    pub window: Window,
    /// Milliseconds; `None` for the configured look-back.
    pub lookback: Option<i64>,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    pub waited: Duration,
    pub evaluated: Duration,
    pub total: Duration,
}

/// An answer and what it took.
#[derive(Debug)]
pub struct Evaluated {
    pub outcome: Outcome,
    pub timings: Timings,
    /// Keep it as long as the outcome is in memory.
    pub held: Held,
}

/// Samples of a result that count against what all queries may hold, until dropped.
#[derive(Debug)]
pub struct Held {
    pool: Arc<Pool>,
    samples: u64,
}

impl Held {
    fn new(pool: &Arc<Pool>, value: &QueryValue) -> Self {
        let samples = match value {
            QueryValue::Scalar { .. } | QueryValue::String { .. } => 1,
            QueryValue::Vector(samples) => samples.len() as u64,
            QueryValue::Matrix(series) => {
                let weight = |histogram: &Arc<Histogram>| histogram.size_in_samples();
                let size = |series: &MatrixSeries| {
                    let histograms = series.histograms.iter().map(|(_, histogram)| weight(histogram)).sum::<u64>();
                    series.floats.len() as u64 + histograms
                };
                series.iter().map(size).sum()
            }
        };
        // It is in memory already: counting it keeps others from starting what would not fit beside it.
        pool.take(samples);
        Self { pool: Arc::clone(pool), samples }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.give_back(self.samples);
    }
}

impl Queries {
    /// Evaluates a query when it is its turn.
    pub async fn evaluate(&self, source: Arc<dyn Source>, job: Job, request: Request) -> Result<Evaluated, QueryError> {
        let clock = self.clock().clone();
        let config = Arc::clone(&self.config);
        let began = clock.monotonic();
        let work_clock = clock.clone();
        let pool = Arc::clone(&self.pool);
        let (outcome, held, waited, evaluated) = self
            .run(job, move |run| {
                let began = work_clock.monotonic();
                let options = QueryOptions { pool: Some(Arc::clone(&pool)), ..options(&config, &request, &run.cancel) };
                let Request { query, expr, window, .. } = &request;
                let result = if window.step == 0 {
                    eval::instant(source.as_ref(), query, expr, window.start, &options)
                } else {
                    eval::range(source.as_ref(), query, expr, *window, &options)
                };
                let outcome = result.map_err(QueryError::from)?;
                run.add_samples(outcome.stats.samples);
                let held = Held::new(&pool, &outcome.value);
                Ok((outcome, held, run.waited, work_clock.monotonic().saturating_sub(began)))
            })
            .await?;
        let total = clock.monotonic().saturating_sub(began);
        Ok(Evaluated { outcome, held, timings: Timings { waited, evaluated, total } })
    }
}

fn options(config: &Config, request: &Request, cancel: &Arc<AtomicBool>) -> QueryOptions {
    QueryOptions {
        lookback: request.lookback.unwrap_or(config.lookback.as_millis()),
        default_subquery_step: config.subquery_step.as_millis(),
        max_samples: config.samples_max,
        // Prometheus counts intervals, not points: 11,000 of them have one point more.
        max_points: config.points_max.saturating_add(1),
        threads: cores(),
        cancel: Arc::clone(cancel),
        ..QueryOptions::default()
    }
}

impl From<EvalError> for QueryError {
    fn from(error: EvalError) -> Self {
        match error.kind() {
            ErrorKind::Execution | ErrorKind::Limit => Self::Execution(error.message),
            ErrorKind::Cancelled => Self::Canceled("expression evaluation"),
            ErrorKind::Storage => Self::Storage(error.message),
        }
    }
}
