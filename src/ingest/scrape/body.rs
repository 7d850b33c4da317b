//! From a body to a batch of samples: read whole and checked before anything is appended, because a scrape is taken
//! as a whole or not at all.

use super::cache::{Cache, Meaning, SlotId};
use super::classic::{self, Classics};
use super::config::Job;
use super::target::Target;
use crate::base::clock::Millis;
use crate::ingest::exposition::{self, Entry, Format, LabelError, Pairs, ParseError, Parser, Series, Value};
use crate::ingest::relabel::{self, NameValidation};
use crate::model::exemplar::Exemplar;
use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram};
use crate::model::labels::{Labels, LabelsBuilder, METRIC_NAME, is_classic_metric_name};
use crate::model::metadata::{Metadata, MetricType};

/// Why a body is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("{0}")]
    Parse(#[from] ParseError),
    #[error("{0}: invalid sample")]
    Label(#[from] LabelError),
    #[error("missing metric name (__name__ label)")]
    NoName,
    #[error("invalid metric name or label names: {0}")]
    Names(String),
    #[error("sample limit exceeded")]
    Samples,
    #[error("histogram bucket limit exceeded")]
    Buckets,
    #[error("label_limit exceeded (metric: {metric:.50}, number of labels: {count}, limit: {limit})")]
    Labels { metric: String, count: usize, limit: u64 },
    #[error("{which} exceeded (metric: {metric:.50}, label name: {name:.50}, length: {length}, limit: {limit})")]
    LabelLength { which: &'static str, metric: String, name: String, length: usize, limit: u64 },
}

/// One sample of a batch.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) slot: SlotId,
    pub(super) time: Millis,
    pub(super) start: Millis,
    pub(super) value: f64,
    /// Place in `histograms`; `value` means nothing then.
    pub(super) histogram: Option<u32>,
    /// Whether the series ends when it is not shown any more.
    pub(super) tracked: bool,
}

/// What a body holds, ready to be appended.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) samples: Vec<Sample>,
    pub(super) histograms: Vec<Histogram>,
    /// Exemplars, and which sample each belongs to.
    pub(super) exemplars: Vec<(u32, Exemplar)>,
    /// Families of which the target says something new.
    pub(super) families: Vec<(String, Metadata)>,
}

/// What was counted in a body, also in one that is refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Samples in the body, dropped ones too.
    pub(super) total: u64,
    /// Samples that relabelling keeps.
    pub(super) kept: u64,
    pub(super) duplicates: u64,
    /// The last sample went into the batch.
    placed: bool,
}

/// A sample as the body shows it.
struct Shown<'a> {
    value: Value<'a>,
    time: Option<Millis>,
    start: Millis,
}

/// Reads bodies of one target.
pub(super) struct BodyReader<'a> {
    pub(super) job: &'a Job,
    pub(super) target: &'a Target,
    pub(super) cache: &'a mut Cache,
    /// The scrape's own time.
    pub(super) time: Millis,
    pub(super) scratch: &'a mut Vec<u8>,
}

impl BodyReader<'_> {
    /// Reads a body. After an error the cache is as it was before.
    pub(super) fn read(&mut self, body: &[u8], format: Format) -> (Counts, Result<Batch, BodyError>) {
        self.cache.begin();
        let mut counts = Counts::default();
        let read = self.entries(body, format, &mut counts);
        if read.is_err() {
            self.cache.abandon();
        }
        (counts, read)
    }

    fn entries(&mut self, body: &[u8], format: Format, counts: &mut Counts) -> Result<Batch, BodyError> {
        let mut batch = Batch::default();
        let mut kind = MetricType::Unknown;
        let mut parser = Parser::new(body, format, self.target.reading)?;
        let reading = self.target.reading;
        let convert = reading.convert_classic_histograms && format != Format::Protobuf;
        let (mut classics, mut current) = (Classics::default(), String::new());
        loop {
            // Histograms are put together by their labels, which what is expected does not show.
            let expected = if convert { &[] } else { self.cache.expected() };
            let Some(entry) = parser.next_expecting(expected)? else { break };
            match entry {
                Entry::Type { family, kind: found } => {
                    self.converted(&mut batch, counts, &mut classics)?;
                    kind = found;
                    update(&mut current, &family);
                    self.describe(&mut batch, &family, |metadata| metadata.kind = found);
                }
                Entry::Help { family, help } => {
                    self.describe(&mut batch, &family, |metadata| update(&mut metadata.help, &help));
                }
                Entry::Unit { family, unit } => {
                    self.describe(&mut batch, &family, |metadata| update(&mut metadata.unit, &unit));
                }
                Entry::Series(series) => {
                    let part = convert && kind == MetricType::Histogram && classics.take(&current, &series)?;
                    if !part || reading.keep_classic_histograms {
                        self.series(&mut batch, counts, &series, kind)?;
                    }
                }
            }
        }
        self.converted(&mut batch, counts, &mut classics)?;
        // Only now, so that the report says how many samples there are.
        if self.is_over(counts) { Err(BodyError::Samples) } else { Ok(batch) }
    }

    fn is_over(&self, counts: &Counts) -> bool {
        let limit = self.job.limits.samples;
        limit > 0 && counts.kept - counts.duplicates > limit
    }

    fn describe(&self, batch: &mut Batch, family: &str, change: impl FnOnce(&mut Metadata)) {
        if let Some(metadata) = self.target.describe(family, change) {
            batch.families.push((family.to_owned(), metadata));
        }
    }

    #[inline]
    fn series(
        &mut self,
        batch: &mut Batch,
        counts: &mut Counts,
        series: &Series<'_>,
        kind: MetricType,
    ) -> Result<(), BodyError> {
        counts.total += 1;
        let met = if series.expected { self.cache.met() } else { self.cache.find(series.raw) };
        let slot = match met {
            Some(slot) => slot,
            None => {
                let meaning = self.meaning(&series.pairs)?;
                self.cache.insert(series.raw, kind, meaning)
            }
        };
        let shown = Shown { value: series.value, time: series.time, start: series.start };
        self.place(batch, counts, slot, &shown)?;
        self.exemplars(batch, counts, series.exemplars());
        Ok(())
    }

    /// Adds the histograms of the family that was read.
    fn converted(&mut self, batch: &mut Batch, counts: &mut Counts, classics: &mut Classics) -> Result<(), BodyError> {
        for converted in classics.finish() {
            counts.total += 1;
            let slot = match self.cache.find(&converted.raw) {
                Some(slot) => slot,
                None => {
                    let Some(labels) = classic::labels_of(&converted.raw) else { continue };
                    let meaning = self.meaning_of(&labels, &[])?;
                    self.cache.insert(&converted.raw, MetricType::Histogram, meaning)
                }
            };
            let value = Value::Histogram(&converted.histogram);
            self.place(batch, counts, slot, &Shown { value, time: converted.time, start: converted.start })?;
            self.exemplars(batch, counts, converted.exemplars.into_iter());
        }
        Ok(())
    }

    /// Puts a sample into the batch, unless it is dropped, comes twice or is over the limit.
    #[inline]
    fn place(
        &mut self,
        batch: &mut Batch,
        counts: &mut Counts,
        slot: SlotId,
        shown: &Shown<'_>,
    ) -> Result<(), BodyError> {
        counts.placed = false;
        let own_time = shown.time.filter(|_| self.job.honor_timestamps);
        let first = self.cache.see(slot);
        let tracked = own_time.is_none() || self.job.track_timestamps_staleness;
        if self.cache.get(slot).is_none_or(|slot| matches!(slot.meaning, Meaning::Dropped)) {
            return Ok(());
        }
        counts.kept += 1;
        if !first && own_time.is_none() {
            counts.duplicates += 1;
            return Ok(());
        }
        if self.is_over(counts) {
            return Ok(());
        }
        let (value, histogram) = match shown.value {
            Value::Float(value) => (value, None),
            Value::Histogram(histogram) => {
                batch.histograms.push(self.fitted(histogram)?);
                (0.0, Some(batch.histograms.len() as u32 - 1))
            }
        };
        let time = own_time.unwrap_or(self.time);
        batch.samples.push(Sample { slot, time, start: shown.start, value, histogram, tracked });
        counts.placed = true;
        Ok(())
    }

    /// Adds the exemplars of the sample that was placed last, if it was.
    #[inline]
    fn exemplars(&self, batch: &mut Batch, counts: &Counts, exemplars: impl Iterator<Item = Exemplar>) {
        let Some(owner) = batch.samples.len().checked_sub(1).filter(|_| counts.placed) else { return };
        let time = batch.samples.last().map_or(self.time, |sample| sample.time);
        for mut exemplar in exemplars {
            if exemplar.time == 0 {
                exemplar.time = time;
            }
            batch.exemplars.push((owner as u32, exemplar));
        }
    }

    /// A histogram within the job's limits on buckets.
    fn fitted(&self, histogram: &Histogram) -> Result<Histogram, BodyError> {
        let mut fitted = histogram.clone();
        let exponential = fitted.schema != CUSTOM_BUCKETS_SCHEMA;
        if let Some(schema) = self.job.histogram_schema_max
            && exponential
            && fitted.schema > schema
        {
            fitted.reduce_resolution(schema);
        }
        let limit = self.job.limits.histogram_buckets;
        while limit > 0 && (fitted.positive_buckets.len() + fitted.negative_buckets.len()) as u64 > limit {
            if !exponential || fitted.schema <= -4 {
                return Err(BodyError::Buckets);
            }
            fitted.reduce_resolution(fitted.schema - 1);
        }
        Ok(fitted)
    }

    /// What becomes of a series that was not seen before.
    fn meaning(&mut self, pairs: &Pairs<'_>) -> Result<Meaning, BodyError> {
        pairs.encode(self.scratch)?;
        // An exposed label without a value still keeps the target's own label away where labels are honored.
        let blank: Vec<String> = if self.job.honor_labels {
            pairs.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| name.into_owned()).collect()
        } else {
            Vec::new()
        };
        let Ok(exposed) = Labels::from_encoded(self.scratch) else {
            return Err(BodyError::Names(pairs.metric_name().into_owned()));
        };
        self.meaning_of(&exposed, &blank)
    }

    fn meaning_of(&self, exposed: &Labels, blank: &[String]) -> Result<Meaning, BodyError> {
        match final_labels(self.job, self.target, exposed, blank) {
            None => Ok(Meaning::Dropped),
            Some(labels) => {
                self.check(&labels)?;
                Ok(Meaning::New(labels))
            }
        }
    }

    fn check(&self, labels: &Labels) -> Result<(), BodyError> {
        let metric = labels.metric_name();
        if metric.is_empty() {
            return Err(BodyError::NoName);
        }
        let legacy = self.job.names == NameValidation::Legacy;
        if legacy
            && !(is_classic_metric_name(metric) && labels.iter().all(|(name, _)| self.job.names.accepts_label(name)))
        {
            return Err(BodyError::Names(labels.to_string()));
        }
        let limits = &self.job.limits;
        let count = labels.len();
        if limits.labels > 0 && count as u64 > limits.labels {
            return Err(BodyError::Labels { metric: metric.to_owned(), count, limit: limits.labels });
        }
        for (name, value) in labels.iter() {
            for (which, length, limit) in [
                ("label_name_length_limit", name.len(), limits.label_name_bytes),
                ("label_value_length_limit", value.len(), limits.label_value_bytes),
            ] {
                if limit > 0 && length as u64 > limit {
                    let (metric, name) = (metric.to_owned(), name.to_owned());
                    return Err(BodyError::LabelLength { which, metric, name, length, limit });
                }
            }
        }
        Ok(())
    }
}

fn update(text: &mut String, new: &str) {
    if text != new {
        new.clone_into(text);
    }
}

/// The labels that a series is stored with; `None` where relabelling drops it.
fn final_labels(job: &Job, target: &Target, exposed: &Labels, blank: &[String]) -> Option<Labels> {
    let mut labels = exposed.to_builder();
    if job.honor_labels {
        for (name, value) in target.labels.iter() {
            if exposed.get(name).is_none() && !blank.iter().any(|label| label == name) {
                labels.set(name, value);
            }
        }
    } else {
        keep_own(&mut labels, target, exposed);
    }
    relabel::process(&job.metric_relabel, &mut labels).then(|| labels.build()).filter(|labels| !labels.is_empty())
}

/// The target's labels win; exposed ones in their way become `exported_…`.
fn keep_own(labels: &mut LabelsBuilder, target: &Target, exposed: &Labels) {
    let mut conflicts = Vec::new();
    for (name, value) in target.labels.iter() {
        if let Some(theirs) = exposed.get(name) {
            conflicts.push((name, theirs));
        }
        labels.set(name, value);
    }
    // Shorter names first, so that the result does not depend on the order of the labels.
    conflicts.sort_by_key(|(name, _)| name.len());
    for (name, value) in conflicts {
        let mut renamed = format!("exported_{name}");
        while labels.get(&renamed).is_some() {
            renamed.insert_str(0, "exported_");
        }
        labels.set(&renamed, value);
    }
}

/// The labels of a known series, worked out again from its text.
pub(super) fn labels_again(job: &Job, target: &Target, raw: &[u8], kind: MetricType) -> Option<Labels> {
    if let Some(exposed) = classic::labels_of(raw) {
        return final_labels(job, target, &exposed, &[]);
    }
    let mut encoded = Vec::new();
    exposition::encode_raw(raw, kind, &mut encoded).ok()?;
    final_labels(job, target, &Labels::from_encoded(&encoded).ok()?, &[])
}

/// The labels of one of the target's own series, such as `up`.
pub(super) fn report_labels(target: &Target, name: &str) -> Labels {
    let mut labels = target.labels.to_builder();
    labels.set(METRIC_NAME, name);
    labels.build()
}
