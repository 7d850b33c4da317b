//! PromQL over a source, on a blocking thread.

use std::sync::Arc;
use std::time::Duration;

use crate::promql::ast::Expr;
use crate::promql::eval::{self, ErrorKind, EvalError, Outcome, QueryOptions, Window};
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
#[derive(Clone, Debug)]
pub struct Evaluated {
    pub outcome: Outcome,
    pub timings: Timings,
}

impl Queries {
    /// Evaluates a query when it is its turn.
    pub async fn evaluate(&self, source: Arc<dyn Source>, job: Job, request: Request) -> Result<Evaluated, QueryError> {
        let clock = self.clock().clone();
        let config = Arc::clone(&self.config);
        let began = clock.monotonic();
        let work_clock = clock.clone();
        let (outcome, waited, evaluated) = self
            .run(job, move |run| {
                let began = work_clock.monotonic();
                let options = options(&config, &request, run.cancel.clone());
                let Request { query, expr, window, .. } = &request;
                let result = if window.step == 0 {
                    eval::instant(source.as_ref(), query, expr, window.start, &options)
                } else {
                    eval::range(source.as_ref(), query, expr, *window, &options)
                };
                let outcome = result.map_err(QueryError::from)?;
                run.add_samples(outcome.stats.samples);
                Ok((outcome, run.waited, work_clock.monotonic().saturating_sub(began)))
            })
            .await?;
        let total = clock.monotonic().saturating_sub(began);
        Ok(Evaluated { outcome, timings: Timings { waited, evaluated, total } })
    }
}

fn options(config: &Config, request: &Request, cancel: Arc<std::sync::atomic::AtomicBool>) -> QueryOptions {
    QueryOptions {
        lookback: request.lookback.unwrap_or(config.lookback.as_millis()),
        default_subquery_step: config.subquery_step.as_millis(),
        max_samples: config.samples_max,
        // Prometheus counts intervals, not points: 11,000 of them have one point more.
        max_points: config.points_max.saturating_add(1),
        threads: cores(),
        cancel,
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
