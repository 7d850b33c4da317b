//! Queries over the store: admission, budgets, cancellation, the list of what runs, and the log of what ran.
//!
//! A query waits for its turn at the [`gate`], evaluates on a thread of its own and stops within a moment when its time
//! is up, its client leaves or an operator kills it. Promises: no more queries evaluate at the same time than the
//! configuration says; queries that read next to nothing never wait; every query is counted, logged and listed with the
//! dashboard and panel that asked. Does not know HTTP beyond the kinds of failure, nor formats of answers.

pub mod active;
pub mod cache;
pub mod config;
pub mod error;
pub mod evaluate;
pub mod gate;
pub mod quick;
pub mod stream;
pub mod walk;

#[cfg(test)]
mod refresh_tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::base::clock::Clock;
use crate::base::tasks::{TaskKind, Tasks};
use crate::promql::eval::Pool;
use crate::query::active::{ActiveQueries, ActiveQuery, Asker, Question, cut};
use crate::query::cache::Cache;
use crate::query::config::Config;
use crate::query::error::QueryError;
use crate::query::gate::Gate;
use crate::telemetry::{Counters, Gauges, Histograms};

static QUERIES: Counters<2> =
    Counters::new("novascope_queries_total", "Queries, by what they ask for and how they ended.", ["kind", "result"]);
static SECONDS: Histograms<1> =
    Histograms::new("novascope_query_duration_seconds", "Time from arrival to the end of evaluation.", ["kind"]);
static WAIT_SECONDS: Histograms<0> =
    Histograms::new("novascope_query_wait_seconds", "Time that queries waited for their turn.", []);
static SAMPLES: Counters<0> = Counters::new("novascope_query_samples_total", "Samples that queries read.", []);
static RUNNING: Gauges<0> = Gauges::new("novascope_queries_running", "Queries that run or wait.", []);

/// What a query asks of the store; the label `kind` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKind {
    Instant,
    Range,
    Series,
    Labels,
    Exemplars,
    Federate,
    Objectives,
    RemoteRead,
    Export,
}

impl QueryKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Range => "range",
            Self::Series => "series",
            Self::Labels => "labels",
            Self::Exemplars => "exemplars",
            Self::Federate => "federate",
            Self::Objectives => "objectives",
            Self::RemoteRead => "remote_read",
            Self::Export => "export",
        }
    }
}

/// A query to be admitted.
#[derive(Clone, Debug)]
pub struct Job {
    pub kind: QueryKind,
    pub question: Question,
    pub asker: Asker,
    /// What the client allows; the configured timeout is the most.
    pub timeout: Option<Duration>,
    pub lane: Lane,
}

/// How a query comes to its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// So little is to be done that waiting for a thread would take longer: it is done on the spot, in well under a
    /// millisecond, and whatever else runs.
    AtOnce,
    /// On a thread of its own, at once: for what must be seen also while all seats are taken.
    Free,
    /// On a thread of its own, when there is a seat for it.
    Seat,
}

/// After so long, everything else goes before a query.
const PATIENCE: Duration = Duration::from_millis(300);

/// What an evaluation needs to know of its surroundings.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Set when the evaluation shall stop.
    pub cancel: Arc<AtomicBool>,
    /// Set when the query takes long and others shall go before it.
    pub slow: Arc<AtomicBool>,
    /// How long the query waited for its turn.
    pub waited: Duration,
    samples: Arc<AtomicU64>,
}

impl Run {
    /// Adds samples to what the query is said to have read.
    pub fn add_samples(&self, samples: u64) {
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// Admits and runs queries. One for the process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Queries {
    clock: Clock,
    tasks: Tasks,
    config: Arc<Config>,
    gate: Gate,
    active: ActiveQueries,
    pool: Arc<Pool>,
    cache: Cache,
    /// True when the store has what its log holds.
    whole: Option<watch::Receiver<bool>>,
}

impl Queries {
    pub fn new(clock: Clock, tasks: Tasks, config: Config) -> Self {
        let gate = Gate::new(config.seats(), config.queue);
        let pool = Pool::new(config.samples_of_all());
        let cache = Cache::new(config.cache_bytes());
        Self {
            clock,
            tasks,
            config: Arc::new(config),
            gate,
            active: ActiveQueries::default(),
            pool,
            cache,
            whole: None,
        }
    }

    #[cfg(test)]
    fn with_cache(self, cache: Cache) -> Self {
        Self { cache, ..self }
    }

    /// Lets queries wait, for as long as the settings say, until the store has read its log.
    #[must_use]
    pub fn waiting_for(self, whole: watch::Receiver<bool>) -> Self {
        Self { whole: Some(whole), ..self }
    }

    async fn until_whole(&self, timeout: Duration) {
        let Some(mut whole) = self.whole.clone().filter(|whole| !*whole.borrow()) else { return };
        let longest = timeout.min(self.config.replay_wait.as_duration());
        // Whatever comes of it: the store itself says in its answers what they lack.
        let _ = tokio::time::timeout(longest, whole.wait_for(|whole| *whole)).await;
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn active(&self) -> &ActiveQueries {
        &self.active
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The tasks of the process.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Runs `work` when it is this query's turn. Dropping the future stops the work.
    pub async fn run<T, W>(&self, job: Job, work: W) -> Result<T, QueryError>
    where
        T: Send + 'static,
        W: FnOnce(&Run) -> Result<T, QueryError> + Send + 'static,
    {
        let began = self.clock.monotonic();
        let kind = job.kind;
        let entry = self.active.enter(job.question.clone(), job.asker.clone(), began);
        let mut running = Running::enter(kind);
        let samples = Arc::<AtomicU64>::default();
        let run = Run {
            cancel: Arc::clone(&entry.query.cancel),
            slow: Arc::default(),
            waited: Duration::ZERO,
            samples: Arc::clone(&samples),
        };
        let result = self.admit(job, run, work).await;
        running.ended = true;
        drop(running);
        let took = self.clock.monotonic().saturating_sub(began);
        let samples = samples.load(Ordering::Relaxed);
        // An operator's order is told from a client that left by who set it; the client is not there to read this.
        let result = match result {
            Err(QueryError::Canceled(_)) if entry.query.killed.load(Ordering::Relaxed) => {
                Err(QueryError::Canceled("expression evaluation: it was stopped by an operator"))
            }
            other => other,
        };
        self.account(kind, &entry.query, Ended { took, samples, error: result.as_ref().err() });
        result
    }

    async fn admit<T, W>(&self, job: Job, mut run: Run, work: W) -> Result<T, QueryError>
    where
        T: Send + 'static,
        W: FnOnce(&Run) -> Result<T, QueryError> + Send + 'static,
    {
        let configured = self.config.timeout.as_duration();
        let timeout = job.timeout.map_or(configured, |asked| asked.min(configured));
        if timeout.is_zero() {
            return Err(QueryError::Timeout("query queue"));
        }
        let panicked = || {
            tracing::error!(query = cut(&job.question.query), "a query panicked");
            QueryError::Internal("the evaluation failed; the server's log says more".to_owned())
        };
        if job.lane == Lane::AtOnce {
            WAIT_SECONDS.get().observe_seconds(Duration::ZERO);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&run)));
            return done.map_err(|_| panicked())?;
        }
        let began = self.clock.monotonic();
        let seat = if job.lane == Lane::Free {
            None
        } else {
            self.until_whole(timeout).await;
            match tokio::time::timeout(timeout, self.gate.enter(job.asker.key())).await {
                Err(_) => return Err(QueryError::Timeout("query queue")),
                Ok(Err(_)) => return Err(QueryError::Overload),
                Ok(Ok(seat)) => Some(seat),
            }
        };
        run.waited = self.clock.monotonic().saturating_sub(began);
        WAIT_SECONDS.get().observe_seconds(run.waited);
        let (cancel, slow) = (Arc::clone(&run.cancel), Arc::clone(&run.slow));
        let left = timeout.saturating_sub(run.waited);
        let evaluation = self.tasks.spawn_thread(TaskKind::Query, move || {
            // The seat is given back when the work is done, not when the client stopped waiting.
            let _seat = seat;
            work(&run)
        });
        let mut evaluation = evaluation.map_err(|_| QueryError::Overload)?;
        let mut result = tokio::time::timeout(left.min(PATIENCE), &mut evaluation).await;
        if result.is_err() && left > PATIENCE {
            slow.store(true, Ordering::Relaxed);
            result = tokio::time::timeout(left - PATIENCE, evaluation).await;
        }
        match result {
            Ok(Ok(Some(result))) => result,
            Ok(_) => Err(panicked()),
            Err(_) => {
                cancel.store(true, Ordering::Relaxed);
                Err(QueryError::Timeout("expression evaluation"))
            }
        }
    }

    fn account(&self, kind: QueryKind, query: &ActiveQuery, ended: Ended<'_>) {
        let Ended { took, samples, error } = ended;
        let result = error.map_or("ok", QueryError::result_name);
        QUERIES.with([kind.name(), result]).inc();
        SECONDS.with([kind.name()]).observe_seconds(took);
        SAMPLES.get().add(samples);
        self.active.finished(query, took, samples, error.is_some());
        let Question { query: text, start, end, step } = &query.question;
        let (text, client, ms) = (cut(text), query.asker.client.as_str(), took.as_secs_f64() * 1e3);
        let origin = Origin(&query.asker.origin);
        let kind = kind.name();
        if took >= self.config.log_slower_than.as_duration() {
            tracing::info!(kind, query = text, start, end, step, ms, samples, result, client, %origin, "slow query");
        } else {
            tracing::debug!(kind, query = text, start, end, step, ms, samples, result, client, %origin, "query");
        }
    }
}

#[derive(Clone, Copy)]
struct Ended<'a> {
    took: Duration,
    samples: u64,
    error: Option<&'a QueryError>,
}

/// `dashboard=abc panel=4`.
struct Origin<'a>(&'a [(&'static str, String)]);

impl std::fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}={value}", if at > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

/// Counts a query as running until dropped, and as cancelled where it did not come to an end.
struct Running {
    kind: QueryKind,
    ended: bool,
}

impl Running {
    fn enter(kind: QueryKind) -> Self {
        RUNNING.get().add(1.0);
        Self { kind, ended: false }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.get().add(-1.0);
        if !self.ended {
            QUERIES.with([self.kind.name(), "canceled"]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Period;

    fn queries(config: Config) -> Queries {
        Queries::new(Clock::real(), Tasks::default(), config)
    }

    fn job(at_once: bool, timeout: Option<Duration>) -> Job {
        let lane = if at_once { Lane::AtOnce } else { Lane::Seat };
        let question = Question { query: "up".to_owned(), ..Question::default() };
        Job { kind: QueryKind::Instant, question, asker: Asker::default(), timeout, lane }
    }

    fn until_cancelled(run: &Run) -> Result<(), QueryError> {
        while !run.is_cancelled() {
            std::thread::yield_now();
        }
        Err(QueryError::Canceled("expression evaluation"))
    }

    #[tokio::test]
    async fn a_query_beyond_its_time_is_answered_and_stopped() {
        let queries = queries(Config { timeout: Period::from_millis(60_000), ..Config::default() });
        let result = queries.run(job(false, Some(Duration::from_millis(5))), until_cancelled).await;
        assert_eq!(result, Err(QueryError::Timeout("expression evaluation")));
        assert!(queries.active().list().is_empty());
    }

    #[tokio::test]
    async fn a_client_that_leaves_takes_its_query_with_it() {
        let queries = queries(Config { concurrency: 1, ..Config::default() });
        let mut left = Box::pin(queries.run(job(false, None), until_cancelled));
        assert!(futures_util::poll!(left.as_mut()).is_pending());
        drop(left);
        // The only seat comes back when the thread has seen the order.
        let next = queries.run(job(false, Some(Duration::from_secs(5))), |_| Ok(7)).await;
        assert_eq!(next, Ok(7));
    }

    #[tokio::test]
    async fn a_query_that_reads_nothing_does_not_wait() {
        let queries = queries(Config { concurrency: 1, queue: 0, ..Config::default() });
        let mut busy = Box::pin(queries.run(job(false, None), until_cancelled));
        assert!(futures_util::poll!(busy.as_mut()).is_pending());
        assert_eq!(queries.run(job(false, None), |_| Ok(1)).await, Err(QueryError::Overload));
        assert_eq!(queries.run(job(true, None), |_| Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn an_operator_may_kill_a_query() {
        let queries = queries(Config::default());
        let mut running = Box::pin(queries.run(job(false, None), until_cancelled));
        assert!(futures_util::poll!(running.as_mut()).is_pending());
        assert!(queries.active().kill(queries.active().list()[0].id));
        let error = running.await.unwrap_err();
        assert_eq!(error.to_string(), "query was canceled in expression evaluation: it was stopped by an operator");
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let error = queries(Config::default()).run::<(), _>(job(false, None), |_| panic!("bug")).await.unwrap_err();
        assert_eq!(error.result_name(), "internal");
    }
}
