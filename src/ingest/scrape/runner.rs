//! The loop of one target: wait until it is due, ask, read, append, report.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::append::{Figures, Sink};
use super::body::{Batch, BodyError, BodyReader, Counts};
use super::config::Job;
use super::fetch::{FetchError, Fetched, Fetcher};
use super::schedule::Schedule;
use super::target::{Health, LastScrape, Target};
use crate::base::clock::{Clock, Millis};
use crate::base::drain::Drain;
use crate::metrics::Store;
use crate::server::client::HttpClient;
use crate::telemetry::family::SECONDS;
use crate::telemetry::traces;
use crate::telemetry::{Counters, Histograms};

static SCRAPES: Counters<1> = Counters::new("novascope_scrapes_total", "Scrapes by result.", ["result"]);
static SAMPLES: Counters<0> =
    Counters::new("novascope_scrape_samples_total", "Samples in scraped bodies, dropped ones too.", []);
static MISSED: Counters<0> = Counters::new(
    "novascope_scrapes_missed_total",
    "Scrapes that were due while the one before was still running.",
    [],
);
static DUPLICATES: Counters<0> = Counters::new(
    "novascope_scrape_duplicate_samples_total",
    "Samples of a series that came twice in one body without timestamps; the first counts.",
    [],
);
static REFUSED: Counters<0> =
    Counters::new("novascope_scrape_refused_samples_total", "Samples of good scrapes that the store refused.", []);
static LAG: Histograms<0> =
    Histograms::with_bounds("novascope_scrape_lag_seconds", "How long after it was due a scrape started.", [], SECONDS);

/// What loops of one pool share and a reload may change.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) job: Job,
    pub(super) client: HttpClient,
    /// Grows with each change, so that loops notice.
    pub(super) version: u64,
    /// Why no target of the pool may be scraped.
    pub(super) forbidden: Option<String>,
}

/// A loop, as its pool sees it.
pub(super) struct Handle {
    pub(super) target: Arc<Target>,
    stop: CancellationToken,
    /// Whether the target's series end with the loop: not where another target has the same labels.
    mark: Arc<Mutex<bool>>,
}

impl Handle {
    /// Ends the loop; `mark` says whether its series end too.
    pub(super) fn stop(&self, mark: bool) {
        *self.mark.lock() = mark;
        self.stop.cancel();
    }
}

pub(super) struct Runner {
    target: Arc<Target>,
    settings: Arc<ArcSwap<Settings>>,
    sink: Sink,
    clock: Clock,
    drain: Drain,
    stop: CancellationToken,
    mark: Arc<Mutex<bool>>,
    scratch: Vec<u8>,
}

impl Runner {
    pub(super) fn new(
        target: Arc<Target>,
        settings: Arc<ArcSwap<Settings>>,
        store: Arc<Store>,
        (clock, drain): (Clock, Drain),
    ) -> (Self, Handle) {
        let (stop, mark) = (CancellationToken::new(), Arc::new(Mutex::new(true)));
        let handle = Handle { target: Arc::clone(&target), stop: stop.clone(), mark: Arc::clone(&mark) };
        let sink = Sink::new(store, Arc::clone(&target));
        (Self { target, settings, sink, clock, drain, stop, mark, scratch: Vec::new() }, handle)
    }

    pub(super) async fn run(mut self) {
        let schedule = Schedule::new(self.target.interval.as_millis(), self.target.hash);
        let mut settings = self.settings.load_full();
        let mut fetcher = Fetcher::new(&settings.job, &self.target, settings.client.clone());
        let mut last = None;
        loop {
            tokio::select! {
                () = self.drain.wait() => return,
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(schedule.wait(self.clock.now())) => {}
            }
            let now = self.clock.now();
            let Some((due, missed)) = schedule.due(now, last) else { continue };
            last = Some(due);
            MISSED.get().add(missed);
            LAG.get().observe(Duration::from_millis((now - due).unsigned_abs()).as_secs_f64());
            let current = self.settings.load_full();
            if current.version != settings.version {
                fetcher = Fetcher::new(&current.job, &self.target, current.client.clone());
                self.sink.relabel();
                settings = current;
            }
            let span = tracing::info_span!(target: traces::TARGET, "scrape", otel.kind = "client", url.full = %self.target.url);
            self.scrape(&settings, &fetcher, due).instrument(span).await;
        }
        if last.is_some() && *self.mark.lock() {
            let time = self.clock.now();
            if let Err(error) = self.sink.end(time).await {
                tracing::warn!(url = %self.target.url, %error, "series of a target that is gone could not be ended");
            }
        }
    }

    async fn scrape(&mut self, settings: &Settings, fetcher: &Fetcher, due: Millis) {
        let started = self.clock.monotonic();
        let fetched = match &settings.forbidden {
            Some(reason) => Err(ScrapeError::Forbidden(reason.clone())),
            None => fetcher.fetch().await.map_err(ScrapeError::Fetch),
        };
        let body_bytes = match &fetched {
            Ok(fetched) => i64::try_from(fetched.body.len()).unwrap_or(i64::MAX),
            Err(ScrapeError::Fetch(FetchError::TooLarge)) => -1,
            Err(_) => 0,
        };
        let mut counts = Counts::default();
        let read = fetched.and_then(|fetched| self.read(settings, &fetched, due, &mut counts));
        let (batch, error) = match read {
            Ok(batch) => (batch, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let duration = self.clock.monotonic().saturating_sub(started);
        SAMPLES.get().add(counts.total);
        DUPLICATES.get().add(counts.duplicates);
        let up = error.is_none();
        let commit = self.sink.append(&settings.job, batch.as_ref(), due, |outcome| {
            REFUSED.get().add(outcome.refused);
            let (scraped, kept, added) = (counts.total, counts.kept, outcome.added);
            Figures { up, duration, scraped, kept, added, body_bytes }
        });
        drop(batch);
        SCRAPES.with([if up { "ok" } else { "failed" }]).add(1);
        if let Some(error) = &error {
            tracing::debug!(url = %self.target.url, error, "scrape failed");
        }
        self.target.report(LastScrape {
            health: if up { Health::Up } else { Health::Down },
            error: error.unwrap_or_default(),
            time: due,
            duration,
        });
        if let Err(error) = commit.await {
            tracing::warn!(url = %self.target.url, %error, "samples of a scrape could not be made durable");
        }
    }

    /// `None` for an empty body, which is a scrape without samples.
    fn read(
        &mut self,
        settings: &Settings,
        fetched: &Fetched,
        due: Millis,
        counts: &mut Counts,
    ) -> Result<Option<Batch>, ScrapeError> {
        let Some(format) = fetched.format else { return Ok(None) };
        let mut reader = BodyReader {
            job: &settings.job,
            target: &self.target,
            cache: &mut self.sink.cache,
            time: due,
            scratch: &mut self.scratch,
        };
        let (counted, batch) = reader.read(&fetched.body, format);
        *counts = counted;
        Ok(Some(batch?))
    }
}

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    #[error("{0}")]
    Fetch(FetchError),
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("{0}")]
    Forbidden(String),
}
