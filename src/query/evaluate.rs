//! PromQL over the store, on a blocking thread.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::tasks::{TaskKind, cores};
use crate::metrics::Store;
use crate::model::histogram::Histogram;
use crate::promql::ast::Expr;
use crate::promql::eval::{
    self, ErrorKind, EvalError, MatrixSeries, Outcome, Pool, QueryOptions, QueryValue, Stats, Window,
};
use crate::promql::parse::{ParseError, parse};
use crate::query::cache::{Answer, Cache, Found, Key, join, join_notes};
use crate::query::config::Config;
use crate::query::error::QueryError;
use crate::query::{Job, Queries, Run, quick};
use crate::telemetry::traces;

/// A parsed query and when to evaluate it.
#[derive(Clone, Debug)]
pub struct Request {
    pub query: String,
    pub expr: Expr,
    /// An instant query has step 0 and is evaluated at `start`.
    pub window: Window,
    /// Milliseconds; `None` for the configured look-back.
    pub lookback: Option<i64>,
    /// Neither take the answer from the cache nor keep it.
    pub nocache: bool,
    /// Count the samples of each step.
    pub count_steps: bool,
    /// Tell what each node took.
    pub explain: bool,
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

/// Bytes of a query above which it is parsed on a blocking thread: compiling its regexes may take milliseconds, and
/// meanwhile the thread would answer nobody else.
const LONG_QUERY: usize = 512;

impl Queries {
    /// Parses a query.
    pub async fn parse(&self, query: &str) -> Result<Expr, QueryError> {
        let bad = |error: ParseError| QueryError::BadData(error.to_string());
        if query.len() <= LONG_QUERY {
            return parse(query).map_err(bad);
        }
        let text = query.to_owned();
        match self.tasks.spawn_blocking(TaskKind::Query, move || parse(&text)).await {
            Ok(parsed) => parsed.map_err(bad),
            Err(_) => Err(QueryError::Internal("parsing the query failed".to_owned())),
        }
    }

    /// Evaluates a query when it is its turn, which is at once for one that is quick.
    pub async fn evaluate(&self, store: Arc<Store>, job: Job, request: Request) -> Result<Evaluated, QueryError> {
        let lookback = request.lookback.unwrap_or(self.config.lookback.as_millis());
        let job = Job { lane: quick::lane(&store, &request, lookback), ..job };
        let clock = self.clock().clone();
        let began = clock.monotonic();
        let work = Work {
            config: Arc::clone(&self.config),
            pool: Arc::clone(&self.pool),
            cache: self.cache.clone(),
            store,
            request,
            clock: clock.clone(),
        };
        let work_clock = clock.clone();
        let span = tracing::info_span!(target: traces::TARGET, "promql", db.query.text = %work.request.query);
        let (outcome, held, waited, evaluated) = self
            .run(job, move |run| {
                let _entered = span.enter();
                let began = work_clock.monotonic();
                let outcome = work.evaluate(run).map_err(QueryError::from)?;
                run.add_samples(outcome.stats.samples);
                let held = Held::new(&work.pool, &outcome.value);
                Ok((outcome, held, run.waited, work_clock.monotonic().saturating_sub(began)))
            })
            .await?;
        let total = clock.monotonic().saturating_sub(began);
        Ok(Evaluated { outcome, held, timings: Timings { waited, evaluated, total } })
    }
}

/// One evaluation, on its thread.
struct Work {
    config: Arc<Config>,
    pool: Arc<Pool>,
    cache: Cache,
    store: Arc<Store>,
    request: Request,
    clock: Clock,
}

impl Work {
    fn evaluate(&self, run: &Run) -> Result<Outcome, EvalError> {
        let options = self.options(run);
        let Request { query, expr, window, nocache, .. } = &self.request;
        if window.step == 0 {
            return eval::instant(self.store.as_ref(), query, expr, window.start, &options);
        }
        // Who wants to know what a query costs wants it evaluated.
        let whole = *nocache || options.count_steps || options.explain.is_some();
        match Key::new(query, expr, *window, options.lookback).filter(|_| !whole) {
            Some(key) => self.range_with_cache(key, &options),
            None => {
                self.cache.skip();
                eval::range(self.store.as_ref(), query, expr, *window, &options)
            }
        }
    }

    fn range_with_cache(&self, key: Key, options: &QueryOptions) -> Result<Outcome, EvalError> {
        let Request { query, expr, window, .. } = &self.request;
        let changes = self.store.changes();
        let token = changes.token();
        let evaluate = |part: Window| eval::range(self.store.as_ref(), query, expr, part, options);
        let found = self.cache.find(&key, *window, changes);
        let was_found = found.is_some();
        let (outcome, is_new) = match found {
            None => (evaluate(*window)?, true),
            Some(found) => {
                let missing = found.missing(*window);
                let [head, tail] = missing.map(|part| part.map(evaluate).transpose());
                (completed(found, [head?, tail?]), missing.iter().any(Option::is_some))
            }
        };
        if let QueryValue::Matrix(series) = &outcome.value
            && is_new
        {
            let Outcome { warnings, infos, stats, .. } = &outcome;
            let answer = Answer { series, warnings, infos, samples: stats.samples, was_found, token };
            self.cache.keep(key, *window, answer, changes);
        }
        Ok(outcome)
    }

    fn options(&self, run: &Run) -> QueryOptions {
        QueryOptions {
            lookback: self.request.lookback.unwrap_or(self.config.lookback.as_millis()),
            default_subquery_step: self.config.subquery_step.as_millis(),
            max_samples: self.config.samples_max,
            pool: Some(Arc::clone(&self.pool)),
            // Prometheus counts intervals, not points: 11,000 of them have one point more.
            max_points: self.config.points_max.saturating_add(1),
            threads: cores(),
            cancel: Arc::clone(&run.cancel),
            slow: Arc::clone(&run.slow),
            count_steps: self.request.count_steps,
            explain: self.request.explain.then(|| self.clock.clone()),
            common: None,
        }
    }
}

/// What was found with what was evaluated before and after it.
fn completed(found: Found, parts: [Option<Outcome>; 2]) -> Outcome {
    let Found { mut series, mut warnings, mut infos, .. } = found;
    let mut stats = Stats::default();
    for (part, is_head) in parts.into_iter().zip([true, false]) {
        let Some(part) = part else { continue };
        if let QueryValue::Matrix(own) = part.value {
            series = if is_head { join(own, series) } else { join(series, own) };
        }
        warnings = join_notes(warnings, &part.warnings);
        infos = join_notes(infos, &part.infos);
        stats.series = stats.series.max(part.stats.series);
        stats.samples += part.stats.samples;
        stats.peak_samples = stats.peak_samples.max(part.stats.peak_samples);
    }
    Outcome { value: QueryValue::Matrix(series), warnings, infos, stats, steps: None, explained: None }
}

impl From<EvalError> for QueryError {
    fn from(error: EvalError) -> Self {
        match error.kind() {
            ErrorKind::Query => Self::BadData(format!("invalid parameter \"query\": {}", error.message)),
            ErrorKind::Execution | ErrorKind::Limit => Self::Execution(error.message),
            ErrorKind::Cancelled => Self::Canceled("expression evaluation"),
            ErrorKind::Storage => Self::Storage(error.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::Disk;
    use crate::base::rng::Rng;
    use crate::base::tasks::Tasks;
    use crate::metrics::config::{Config as StoreConfig, Durability};
    use crate::metrics::{Origin, Seams};
    use crate::model::labels::Labels;

    const NOW: i64 = 1_700_000_000_000;

    fn append(store: &Store, series: u64, time: i64, value: f64) {
        let labels = Labels::from_pairs([("__name__", "x"), ("s", &series.to_string())]);
        let mut appender = store.appender(Origin::new("test"));
        // A repeated time with another value is refused; that is as good a case as any.
        let _ = appender.sample(labels.as_encoded(), time, 0, value);
        appender.commit().wait().unwrap();
    }

    fn work(store: &Arc<Store>, cache: &Cache, query: &str, window: Window, nocache: bool) -> Outcome {
        let expr = parse(query).unwrap();
        let (lookback, count_steps, explain) = (None, false, false);
        let request = Request { query: query.to_owned(), expr, window, lookback, nocache, count_steps, explain };
        let (config, pool) = (Arc::new(Config::default()), Pool::new(u64::MAX));
        let clock = Clock::real();
        let work = Work { config, pool, cache: cache.clone(), store: Arc::clone(store), request, clock };
        work.evaluate(&Run::default()).unwrap()
    }

    #[test]
    fn a_refreshing_dashboard_gets_what_an_evaluation_from_scratch_gives() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hand) = Clock::simulated(NOW);
        let rng = Rng::from_seed(11);
        let seams = Seams { clock, disk: Disk::real(), rng: rng.clone(), tasks: Tasks::default() };
        let config = StoreConfig { durability: Durability::Memory, ..StoreConfig::default() };
        let store = Store::open(config, folder.path(), seams).unwrap();
        let cache = Cache::new(1 << 20);
        for second in 0..900 {
            (0..4).for_each(|series| append(&store, series, NOW - 900_000 + second * 1000, second as f64));
        }
        let mut read = (0, 0);
        for round in 0..60_i64 {
            let now = NOW + round * 5_000;
            hand.advance(Duration::from_secs(5));
            for _ in 0..rng.below(12) {
                // Mostly fresh; some late, some of a new series that starts in the past.
                let late = if rng.chance(0.1) { rng.below(600_000) as i64 } else { rng.below(5_000) as i64 };
                append(&store, rng.below(6), now - late, rng.below(100) as f64);
            }
            let end = (now + rng.below(20_000) as i64).div_euclid(10_000) * 10_000;
            let window = Window { start: end - 600_000, end, step: 10_000 };
            for query in ["sum(rate(x[1m]))", "x", "count_over_time(x[30s])", "absent(x{s=\"5\"})"] {
                let cached = work(&store, &cache, query, window, false);
                let scratch = work(&store, &cache, query, window, true);
                read = (read.0 + cached.stats.samples, read.1 + scratch.stats.samples);
                assert_eq!(format!("{:?}", cached.value), format!("{:?}", scratch.value), "{query}, round {round}");
            }
        }
        assert!(read.0 < read.1 / 2, "the cache saved too little: {read:?}");
    }
}
