//! From a batch to the store: samples, staleness markers, and the series that report on the scrape itself.

use std::sync::Arc;
use std::time::Duration;

use super::body::{Batch, Sample, labels_again, report_labels};
use super::cache::{Cache, Meaning};
use super::config::Job;
use super::target::Target;
use crate::base::clock::Millis;
use crate::metrics::{Appender, Commit, Origin, Refusal, SeriesRef, Store};
use crate::model::histogram::Histogram;
use crate::model::sample::STALE_NAN;

/// Names of the series that report on each scrape; the last three only where extra metrics are wanted.
const REPORTS: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

/// How many of [`REPORTS`] every scrape has.
const REPORTS_PLAIN: usize = 5;

/// Where scrapes of one target go, and what is known of its series.
pub(super) struct Sink {
    store: Arc<Store>,
    target: Arc<Target>,
    pub(super) cache: Cache,
    reports: [Option<SeriesRef>; REPORTS.len()],
    /// Series of settings that are no more: they end with the next good scrape unless it has them too.
    orphans: Vec<(SeriesRef, bool)>,
}

/// One scrape in figures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) up: bool,
    pub(super) duration: Duration,
    pub(super) scraped: u64,
    pub(super) kept: u64,
    pub(super) added: u64,
    /// Bytes of the body; −1 where it was over the limit.
    pub(super) body_bytes: i64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) added: u64,
    pub(super) refused: u64,
}

impl Sink {
    pub(super) fn new(store: Arc<Store>, target: Arc<Target>) -> Self {
        let (cache, reports) = (Cache::default(), [None; REPORTS.len()]);
        Self { store, target, cache, reports, orphans: Vec::new() }
    }

    /// Forgets what labels were made of texts, because the settings that made them changed.
    pub(super) fn relabel(&mut self) {
        self.orphans.append(&mut self.cache.clear());
    }

    /// Appends what a scrape gave (`None` where it failed), markers for what is gone, and the report.
    pub(super) fn append(
        &mut self,
        job: &Job,
        batch: Option<&Batch>,
        time: Millis,
        figures: impl FnOnce(Outcome) -> Figures,
    ) -> Commit {
        let store = Arc::clone(&self.store);
        let mut appender = store.appender(Origin::new("scrape").without_dedup());
        let mut outcome = Outcome::default();
        if let Some(batch) = batch {
            self.append_batch(&mut appender, job, batch, &mut outcome);
        } else {
            // A round without a body: everything that was live vanished.
            self.cache.begin();
        }
        self.end_series(&mut appender, time);
        if batch.is_some() {
            self.cache.finish();
        }
        self.report(&mut appender, job, time, figures(outcome));
        appender.commit()
    }

    fn append_batch(&mut self, appender: &mut Appender<'_>, job: &Job, batch: &Batch, outcome: &mut Outcome) {
        for (family, metadata) in &batch.families {
            appender.metadata(family, metadata);
        }
        let mut exemplars = batch.exemplars.iter().peekable();
        for (index, sample) in batch.samples.iter().enumerate() {
            let series = match self.append_sample(appender, job, batch, sample) {
                Ok((series, added)) => {
                    outcome.added += u64::from(added);
                    series
                }
                Err(refusal) => {
                    outcome.refused += 1;
                    tracing::debug!(url = %self.target.url, %refusal, "sample of a scrape refused");
                    continue;
                }
            };
            while let Some((owner, exemplar)) = exemplars.peek() {
                if *owner as usize > index {
                    break;
                }
                if *owner as usize == index {
                    // A refused exemplar is counted by the store and does not fail the scrape.
                    drop(appender.exemplar(series, exemplar));
                }
                exemplars.next();
            }
        }
    }

    /// The series, and whether it was not known before.
    fn append_sample(
        &mut self,
        appender: &mut Appender<'_>,
        job: &Job,
        batch: &Batch,
        sample: &Sample,
    ) -> Result<(SeriesRef, bool), Refusal> {
        let slot = self.cache.get_mut(sample.slot).ok_or(Refusal::UnknownSeries)?;
        let (series, added) = match &slot.meaning {
            Meaning::Known(series) => (*series, false),
            Meaning::New(labels) => {
                let series = appender.series(labels.as_encoded())?;
                slot.meaning = Meaning::Known(series);
                (series, true)
            }
            Meaning::Dropped => return Err(Refusal::NoLabels),
        };
        slot.live = sample.tracked;
        slot.histogram = sample.histogram.is_some();
        match put(appender, series, batch, sample) {
            // The store forgot a series that was silent for long.
            Err(Refusal::UnknownSeries) => {
                let labels = labels_again(job, &self.target, &slot.raw, slot.kind).ok_or(Refusal::UnknownSeries)?;
                let series = appender.series(labels.as_encoded())?;
                slot.meaning = Meaning::Known(series);
                put(appender, series, batch, sample).map(|()| (series, added))
            }
            Err(refusal) => Err(refusal),
            Ok(()) => Ok((series, added)),
        }
    }

    /// Marks what this round does not have as ended.
    fn end_series(&mut self, appender: &mut Appender<'_>, time: Millis) {
        let mut ended = self.cache.vanished();
        let orphans = std::mem::take(&mut self.orphans);
        if !orphans.is_empty() {
            let present = self.cache.present();
            ended.extend(orphans.into_iter().filter(|(series, _)| !present.contains(series)));
        }
        for (series, histogram) in ended {
            end(appender, series, histogram, time);
        }
    }

    fn report(&mut self, appender: &mut Appender<'_>, job: &Job, time: Millis, figures: Figures) {
        let values = [
            f64::from(u8::from(figures.up)),
            figures.duration.as_secs_f64(),
            figures.scraped as f64,
            figures.kept as f64,
            figures.added as f64,
            self.target.timeout.as_duration().as_secs_f64(),
            job.limits.samples as f64,
            figures.body_bytes as f64,
        ];
        let wanted = if job.extra_metrics { REPORTS.len() } else { REPORTS_PLAIN };
        for ((name, value), cached) in REPORTS.iter().zip(values).zip(&mut self.reports).take(wanted) {
            for _ in 0..2 {
                let series = match *cached {
                    Some(series) => Ok(series),
                    None => appender.series(report_labels(&self.target, name).as_encoded()),
                };
                let put = series.and_then(|series| {
                    *cached = Some(series);
                    appender.float(series, time, 0, value)
                });
                if put != Err(Refusal::UnknownSeries) {
                    break;
                }
                *cached = None;
            }
        }
    }

    /// The target is gone: ends everything it had.
    pub(super) fn end(mut self, time: Millis) -> Commit {
        let store = Arc::clone(&self.store);
        let mut appender = store.appender(Origin::new("scrape").without_dedup());
        self.relabel();
        for (series, histogram) in std::mem::take(&mut self.orphans) {
            end(&mut appender, series, histogram, time);
        }
        for series in self.reports.iter().flatten() {
            end(&mut appender, *series, false, time);
        }
        appender.commit()
    }
}

fn put(appender: &mut Appender<'_>, series: SeriesRef, batch: &Batch, sample: &Sample) -> Result<(), Refusal> {
    match sample.histogram.and_then(|index| batch.histograms.get(index as usize)) {
        Some(histogram) => appender.histogram(series, sample.time, sample.start, histogram),
        None => appender.float(series, sample.time, sample.start, sample.value),
    }
}

fn end(appender: &mut Appender<'_>, series: SeriesRef, histogram: bool, time: Millis) {
    // A target that went and came back may have a newer sample; then the marker is not wanted anyway.
    drop(if histogram {
        let marker = Histogram { sum: STALE_NAN, ..Histogram::default() };
        appender.histogram(series, time, 0, &marker)
    } else {
        appender.float(series, time, 0, STALE_NAN)
    });
}
