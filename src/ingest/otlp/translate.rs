//! The walk over an OTLP request: data points to samples.
//!
//! A point is known by the hash of its raw attributes, seeded with what surrounds it (resource, scope, metric,
//! settings); for a known one nothing is decoded but its numbers.

use std::rc::Rc;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::config::Config;
use super::context::{Caches, Families, Family, Heading, Held, Kind, LabelsError, Resource, Scope, point_labels};
use super::delta::Deltas;
use super::points::{self, Head, millis};
use super::waiting::Walk;
use crate::ingest::report::Report;
use crate::metrics::{Appender, Refusal, SeriesRef};
use crate::model::labels::{LabelsBuilder, METRIC_NAME};
use crate::model::metadata::{Metadata, MetricType};
use crate::model::sample::STALE_NAN;
use crate::proto::wire::{Reader, WireError};

/// `target_info` is written this often within the time that a resource's points cover, so that every look back finds
/// it: half of Prometheus' lookback.
const TARGET_INFO_STEP_NANOS: u64 = 150 * 1_000_000_000;

/// A request that spans more than this many steps is a backfill: `target_info` is thinned out.
const TARGET_INFO_MAX: u64 = 1_000;

/// Turns one request into samples.
pub(super) struct Translator<'a> {
    pub config: &'a Config,
    pub caches: &'a Caches,
    pub deltas: &'a Deltas,
    pub appender: Appender<'a>,
    /// Differs for each generation of settings, so that what was cached under others is not found.
    pub seed: u64,
    pub now_secs: u64,
    pub report: Report,
    /// Data points of which everything was taken.
    pub accepted: u64,
    pub scratch: super::histograms::Scratch,
    pub families: Families,
}

/// What surrounds the points of one metric.
#[derive(Clone)]
pub(super) struct Place {
    pub resource: Held<Resource>,
    pub scope: Option<Held<Scope>>,
    pub family: Held<Family>,
    /// Of all of the above.
    pub seed: u64,
}

/// A point of deltas, kept until the whole request was seen and all can be counted in the order of their times.
pub(super) struct Pending<'b> {
    pub place: Place,
    pub kind: Kind,
    pub time_nanos: u64,
    pub message: &'b [u8],
}

/// First and last time of a resource's points, in nanoseconds.
#[derive(Clone, Copy)]
struct Extent {
    first: u64,
    last: u64,
}

/// Why a point is refused.
pub(super) enum Problem {
    Labels(LabelsError),
    Refused(Refusal),
    Other(&'static str, String),
}

/// `AGGREGATION_TEMPORALITY_…`
const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;

impl<'a> Translator<'a> {
    /// Walks a request.
    ///
    /// # Errors
    /// Where the bytes are no request. What came before is appended.
    pub(super) fn take(&mut self, body: &[u8]) -> Result<(), WireError> {
        let mut walk = Walk::default();
        let walked = self.walk(body, &mut walk);
        self.flush(&mut walk)?;
        walked?;
        // Stable: points of the same time keep the order of the request.
        walk.pending.sort_by_key(|point| point.time_nanos);
        for point in &walk.pending {
            self.delta(point)?;
        }
        Ok(())
    }

    fn walk<'b>(&mut self, body: &'b [u8], walk: &mut Walk<'b>) -> Result<(), WireError> {
        let mut reader = Reader::new(body);
        while let Some(field) = reader.next_field()? {
            if field.number == 1 {
                self.resource_metrics(field.bytes()?, walk)?;
            }
        }
        Ok(())
    }

    fn resource_metrics<'b>(&mut self, message: &'b [u8], walk: &mut Walk<'b>) -> Result<(), WireError> {
        let raw = first(message, 1)?;
        let resource = match Resource::find(self.config, self.caches, raw, (self.seed, self.now_secs)) {
            Ok(resource) => Rc::new(resource),
            Err(error) => {
                let count = count_points(message, &[2, 2])?;
                return self.reject_all(error, count, "resource");
            }
        };
        let mut extent = Extent { first: u64::MAX, last: 0 };
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            if field.number == 2 {
                self.scope_metrics(field.bytes()?, &resource, &mut extent, walk)?;
            }
        }
        self.target_info(&resource, extent);
        Ok(())
    }

    fn scope_metrics<'b>(
        &mut self,
        message: &'b [u8],
        resource: &Held<Resource>,
        extent: &mut Extent,
        walk: &mut Walk<'b>,
    ) -> Result<(), WireError> {
        let mut scope = None;
        if self.config.promote_scope_metadata {
            let raw = (first(message, 1)?, first(message, 3)?);
            match Scope::find(self.config, self.caches, raw, (self.seed, self.now_secs)) {
                Ok(found) => scope = found.map(Rc::new),
                Err(error) => {
                    let count = count_points(message, &[2])?;
                    return self.reject_all(error, count, "scope");
                }
            }
        }
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            if field.number == 2 {
                self.metric(field.bytes()?, (resource, scope.as_ref()), extent, walk)?;
            }
        }
        Ok(())
    }

    fn metric<'b>(
        &mut self,
        message: &'b [u8],
        (resource, scope): (&Held<Resource>, Option<&Held<Scope>>),
        extent: &mut Extent,
        walk: &mut Walk<'b>,
    ) -> Result<(), WireError> {
        let mut heading = Heading { name: &[], description: &[], unit: &[], kind: Kind::Gauge, is_monotonic: false };
        let mut data: Option<&[u8]> = None;
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            let kind = match field.number {
                1 => {
                    heading.name = field.bytes()?;
                    continue;
                }
                2 => {
                    heading.description = field.bytes()?;
                    continue;
                }
                3 => {
                    heading.unit = field.bytes()?;
                    continue;
                }
                5 => Kind::Gauge,
                7 => Kind::Sum,
                9 => Kind::Histogram,
                10 => Kind::ExponentialHistogram,
                11 => Kind::Summary,
                _ => continue,
            };
            heading.kind = kind;
            data = Some(field.bytes()?);
        }
        // A metric without data, or of a kind that this version does not know, has no points to count.
        let Some(data) = data else { return Ok(()) };
        let temporality = temporality(data, &mut heading)?;
        let key = heading.key(self.seed);
        let (config, caches, now_secs) = (self.config, self.caches, self.now_secs);
        let appender = &mut self.appender;
        let family = self.families.find(key, || Family::find(config, caches, (key, &heading), appender, now_secs));
        let problem = match (&family.name, temporality) {
            (Err(error), _) => Some(("invalid_name", error.to_string())),
            (Ok(_), CUMULATIVE | DELTA) => None,
            (Ok(name), other) => Some(("no_temporality", format!("aggregation temporality {other} of {name}"))),
        };
        if let Some((reason, text)) = problem {
            let count = count_points(data, &[])?;
            self.report.reject(reason, count, || text);
            return Ok(());
        }
        let mix = [resource.id, scope.map_or(0, |scope| scope.id), family.id];
        let seed = mix.iter().fold(self.seed, |seed, id| xxh3_64_with_seed(&id.to_le_bytes(), seed));
        let place = Place { resource: Rc::clone(resource), scope: scope.cloned(), family, seed };
        self.each_point(data, (&place, heading.kind, temporality == DELTA), extent, walk)
    }

    fn each_point<'b>(
        &mut self,
        data: &'b [u8],
        (place, kind, is_delta): (&Place, Kind, bool),
        extent: &mut Extent,
        walk: &mut Walk<'b>,
    ) -> Result<(), WireError> {
        let mut reader = Reader::new(data);
        while let Some(field) = reader.next_field()? {
            if field.number != 1 {
                continue;
            }
            let message = field.bytes()?;
            let time_nanos = if is_delta {
                let time_nanos = points::time_nanos(message)?;
                walk.pending.push(Pending { place: place.clone(), kind, time_nanos, message });
                time_nanos
            } else {
                match kind {
                    Kind::Gauge | Kind::Sum => self.number(place, kind, message, walk)?,
                    Kind::Histogram => self.explicit(place, message)?,
                    Kind::ExponentialHistogram => self.exponential(place, message)?,
                    Kind::Summary => self.summary(place, message)?,
                }
            };
            if time_nanos > 0 {
                extent.first = extent.first.min(time_nanos);
                extent.last = extent.last.max(time_nanos);
            }
        }
        Ok(())
    }

    /// Appends a gauge's or cumulative sum's point; answers its time.
    #[inline]
    fn number<'b>(
        &mut self,
        place: &Place,
        kind: Kind,
        message: &'b [u8],
        walk: &mut Walk<'b>,
    ) -> Result<u64, WireError> {
        let (head, value) = points::number(message)?;
        let value = match (head.is_stale(), value) {
            (true, _) => STALE_NAN,
            (false, Some(value)) => value,
            (false, None) => {
                self.reject(place, Problem::Other("no_value", "data point without a value".to_owned()))?;
                return Ok(head.time_nanos);
            }
        };
        // A gauge does not count from anywhere.
        let start = if kind == Kind::Gauge { 0 } else { head.start() };
        let time_nanos = head.time_nanos;
        if !head.has_exemplars && time_nanos != 0 {
            let key = xxh3_128_with_seed(&head.attributes, place.seed);
            if walk.push(place, key, head, (start, value)) {
                self.flush(walk)?;
            }
            return Ok(time_nanos);
        }
        // Points of one series keep the order of the request.
        self.flush(walk)?;
        let series = self.single(place, &head, |appender, series, time| appender.float(series, time, start, value))?;
        if let Some(series) = series {
            self.report.samples += 1;
            if head.has_exemplars {
                self.exemplars(points::exemplars(message, points::PointKind::Number)?, |_| series)?;
            }
        }
        Ok(time_nanos)
    }

    /// Appends the one sample of a point. `None` where it was refused, which is counted here.
    #[inline]
    pub(super) fn single(
        &mut self,
        place: &Place,
        head: &Head<'_>,
        mut append: impl FnMut(&mut Appender<'a>, SeriesRef, i64) -> Result<(), Refusal>,
    ) -> Result<Option<SeriesRef>, WireError> {
        if head.time_nanos == 0 {
            self.reject(place, no_time())?;
            return Ok(None);
        }
        let time = head.time();
        let key = xxh3_128_with_seed(&head.attributes, place.seed);
        if let Some(series) = self.caches.series.get(key, self.now_secs) {
            match append(&mut self.appender, series, time) {
                Ok(()) => {
                    self.accepted += 1;
                    return Ok(Some(series));
                }
                Err(Refusal::UnknownSeries) => self.caches.series.remove(key),
                Err(refusal) => {
                    self.reject(place, Problem::Refused(refusal))?;
                    return Ok(None);
                }
            }
        }
        let appended = self
            .resolve(place, &head.attributes, key)
            .and_then(|series| append(&mut self.appender, series, time).map(|()| series).map_err(Problem::Refused));
        match appended {
            Ok(series) => {
                self.accepted += 1;
                Ok(Some(series))
            }
            Err(problem) => {
                self.reject(place, problem)?;
                Ok(None)
            }
        }
    }

    pub(super) fn resolve(&mut self, place: &Place, attributes: &[u8], key: u128) -> Result<SeriesRef, Problem> {
        let mut labels = self.labels(place, attributes)?;
        labels.set(METRIC_NAME, place.name());
        let series = self.appender.series(labels.build().as_encoded()).map_err(Problem::Refused)?;
        self.caches.series.insert(key, series, self.now_secs);
        Ok(series)
    }

    /// The labels of a point without the metric name.
    pub(super) fn labels(&self, place: &Place, attributes: &[u8]) -> Result<LabelsBuilder, Problem> {
        point_labels(self.config, &place.resource, place.scope.as_ref().map(|scope| &***scope), attributes)
            .map_err(Problem::Labels)
    }

    /// Counts a refused point.
    ///
    /// # Errors
    /// Where the problem is that the request is broken.
    pub(super) fn reject(&mut self, place: &Place, problem: Problem) -> Result<(), WireError> {
        let (reason, text) = match problem {
            Problem::Labels(LabelsError::Wire(error)) => return Err(error),
            Problem::Labels(error) => ("invalid_labels", error.to_string()),
            Problem::Refused(refusal) => {
                self.report.note(&refusal);
                (refusal.reason(), refusal.to_string())
            }
            Problem::Other(reason, text) => (reason, text),
        };
        self.report.reject(reason, 1, || format!("{text} in {}", place.name()));
        Ok(())
    }

    fn reject_all(&mut self, error: LabelsError, count: u64, what: &str) -> Result<(), WireError> {
        match error {
            LabelsError::Wire(error) => return Err(error),
            error => self.report.reject("invalid_labels", count, || format!("{error} in {what} attributes")),
        }
        Ok(())
    }

    fn target_info(&mut self, resource: &Resource, extent: Extent) {
        let Some(labels) = resource.target_info.as_ref().filter(|_| extent.first <= extent.last) else { return };
        let key = xxh3_128_with_seed(b"target_info", resource.id);
        let mut series = self.caches.series.get(key, self.now_secs);
        let steps = (extent.last - extent.first) / TARGET_INFO_STEP_NANOS;
        let step = TARGET_INFO_STEP_NANOS * (steps / TARGET_INFO_MAX + 1);
        let mut time = extent.first;
        while time < extent.last {
            self.target_info_at(&mut series, key, labels, millis(time));
            time = time.saturating_add(step);
        }
        self.target_info_at(&mut series, key, labels, millis(extent.last));
    }

    /// The points themselves were judged already, so what is refused here is not told again.
    fn target_info_at(
        &mut self,
        series: &mut Option<SeriesRef>,
        key: u128,
        labels: &crate::model::labels::Labels,
        time: i64,
    ) {
        if let Some(known) = *series
            && self.appender.float(known, time, 0, 1.0) != Err(Refusal::UnknownSeries)
        {
            return;
        }
        let Ok(found) = self.appender.series(labels.as_encoded()) else { return };
        let help = "What is known of the resource behind the series with the same job and instance.";
        let metadata = Metadata { kind: MetricType::Gauge, unit: String::new(), help: help.to_owned() };
        self.appender.metadata("target_info", &metadata);
        self.caches.series.insert(key, found, self.now_secs);
        *series = Some(found);
        // See above.
        let _ = self.appender.float(found, time, 0, 1.0);
    }
}

impl Place {
    pub(super) fn name(&self) -> &str {
        self.family.name.as_deref().unwrap_or_default()
    }
}

pub(super) fn no_time() -> Problem {
    Problem::Other("no_time", "data point without a time".to_owned())
}

/// The first field of this number, or nothing.
fn first(message: &[u8], number: u32) -> Result<&[u8], WireError> {
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        if field.number == number {
            return field.bytes();
        }
    }
    Ok(&[])
}

/// The temporality of a metric's data, and whether a sum is monotonic. Gauges and summaries count as cumulative.
fn temporality(data: &[u8], heading: &mut Heading<'_>) -> Result<u64, WireError> {
    if matches!(heading.kind, Kind::Gauge | Kind::Summary) {
        return Ok(CUMULATIVE);
    }
    let mut temporality = 0;
    let mut reader = Reader::new(data);
    while let Some(field) = reader.next_field()? {
        match field.number {
            2 => temporality = field.uint()?,
            3 if heading.kind == Kind::Sum => heading.is_monotonic = field.uint()? != 0,
            _ => {}
        }
    }
    Ok(temporality)
}

/// How many data points lie below a message: `path` are the numbers of the repeated fields down to the metrics.
fn count_points(message: &[u8], path: &[u32]) -> Result<u64, WireError> {
    let mut count = 0;
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match path {
            [] if field.number == 1 => count += 1,
            [2] if field.number == 2 => {
                let mut metric = Reader::new(field.bytes()?);
                while let Some(field) = metric.next_field()? {
                    if matches!(field.number, 5 | 7 | 9 | 10 | 11) {
                        count += count_points(field.bytes()?, &[])?;
                    }
                }
            }
            [number, rest @ ..] if field.number == *number => count += count_points(field.bytes()?, rest)?,
            _ => {}
        }
    }
    Ok(count)
}
