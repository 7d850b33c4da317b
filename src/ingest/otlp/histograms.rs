//! Points that become several samples, or one native histogram; deltas; exemplars.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::context::Kind;
use super::delta::{Interval, Outcome, Total};
use super::native;
use super::points::{self, Explicit, Exponential, Head, PointKind, Summary};
use super::translate::{Pending, Place, Problem, Translator, no_time};
use super::value::{append_text, attribute};
use crate::metrics::{Refusal, SeriesRef};
use crate::model::exemplar::Exemplar;
use crate::model::histogram::Histogram;
use crate::model::labels::{LabelsBuilder, METRIC_NAME};
use crate::model::sample::STALE_NAN;
use crate::proto::wire::{Reader, WireError};

/// OpenMetrics' limit on the labels of an exemplar, in characters.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Room that one point after the other uses.
#[derive(Default)]
pub(super) struct Scratch {
    explicit: Explicit,
    values: Vec<f64>,
    bounds: Vec<u8>,
}

/// A group of series: which labels its member `at` has beside those of the point.
type Member<'f> = &'f dyn Fn(&mut LabelsBuilder, usize);

impl Translator<'_> {
    /// Appends an explicit histogram; answers its time.
    pub(super) fn explicit(&mut self, place: &Place, message: &[u8]) -> Result<u64, WireError> {
        let mut point = std::mem::take(&mut self.scratch.explicit);
        let head = points::explicit(message, &mut point)?;
        let done = self.append_explicit(place, &head, &point, message);
        self.scratch.explicit = point;
        done.map(|()| head.time_nanos)
    }

    fn append_explicit(
        &mut self,
        place: &Place,
        head: &Head<'_>,
        point: &Explicit,
        message: &[u8],
    ) -> Result<(), WireError> {
        if let Err(error) = native::check_explicit(point) {
            return self.reject(place, Problem::Other("invalid_histogram", error.to_string()));
        }
        if self.config.convert_histograms_to_nhcb {
            let histogram = if head.is_stale() { Ok(native::stale()) } else { native::from_explicit(point) };
            return self.append_native(place, head, histogram, (message, PointKind::Explicit));
        }
        let bounds = point.bounds.strip_suffix(&[f64::INFINITY]).unwrap_or(&point.bounds);
        let name = place.name();
        // Count, one bucket for each bound, the bucket of all, and the sum where there is one.
        let member = |labels: &mut LabelsBuilder, at: usize| {
            let (suffix, bound) = match at.checked_sub(1) {
                None => ("_count", None),
                Some(at) => match bounds.get(at) {
                    Some(bound) => ("_bucket", Some(bound.to_string())),
                    None if at == bounds.len() => ("_bucket", Some("+Inf".to_owned())),
                    None => ("_sum", None),
                },
            };
            labels.set(METRIC_NAME, &format!("{name}{suffix}"));
            labels.set("le", bound.as_deref().unwrap_or_default());
        };
        let mut values = std::mem::take(&mut self.scratch.values);
        values.clear();
        values.push(point.count as f64);
        let mut below = 0_u64;
        for count in point.counts.iter().take(bounds.len()) {
            below = below.saturating_add(*count);
            values.push(below as f64);
        }
        values.push(point.count as f64);
        values.extend(point.sum);
        let mut raw = std::mem::take(&mut self.scratch.bounds);
        raw.clear();
        raw.extend(bounds.iter().flat_map(|bound| bound.to_le_bytes()));
        let seed = xxh3_64_with_seed(&raw, place.seed ^ u64::from(point.sum.is_some()));
        self.scratch.bounds = raw;
        let series = self.append_group(place, head, (seed, &mut values), &member)?;
        self.scratch.values = values;
        if let Some(series) = series.filter(|_| head.has_exemplars) {
            let of = |value: f64| {
                let at = 1 + bounds.partition_point(|bound| *bound < value);
                series.get(at).copied().unwrap_or(series[0])
            };
            self.exemplars(points::exemplars(message, PointKind::Explicit)?, of)?;
        }
        Ok(())
    }

    /// Appends a summary; answers its time.
    pub(super) fn summary(&mut self, place: &Place, message: &[u8]) -> Result<u64, WireError> {
        let (head, point) = points::summary(message)?;
        let Summary { count, sum, quantiles } = point;
        let name = place.name();
        let member = |labels: &mut LabelsBuilder, at: usize| {
            let (name, quantile) = match at {
                0 => (format!("{name}_count"), String::new()),
                1 => (format!("{name}_sum"), String::new()),
                _ => (name.to_owned(), quantiles.get(at - 2).map_or_else(String::new, |(q, _)| q.to_string())),
            };
            labels.set(METRIC_NAME, &name);
            labels.set("quantile", &quantile);
        };
        let mut values = vec![count as f64, sum];
        values.extend(quantiles.iter().map(|(_, value)| *value));
        let raw: Vec<u8> = quantiles.iter().flat_map(|(quantile, _)| quantile.to_le_bytes()).collect();
        let seed = xxh3_64_with_seed(&raw, place.seed);
        self.append_group(place, &head, (seed, &mut values), &member)?;
        Ok(head.time_nanos)
    }

    /// Appends an exponential histogram; answers its time.
    pub(super) fn exponential(&mut self, place: &Place, message: &[u8]) -> Result<u64, WireError> {
        let (head, point) = points::exponential(message)?;
        let histogram = if head.is_stale() { Ok(native::stale()) } else { native::from_exponential(&point) };
        self.append_native(place, &head, histogram, (message, PointKind::Exponential))?;
        Ok(head.time_nanos)
    }

    fn append_native(
        &mut self,
        place: &Place,
        head: &Head<'_>,
        histogram: Result<Histogram, native::NativeError>,
        (message, kind): (&[u8], PointKind),
    ) -> Result<(), WireError> {
        let histogram = match histogram {
            Ok(histogram) => histogram,
            Err(error) => return self.reject(place, Problem::Other("invalid_histogram", error.to_string())),
        };
        let start = head.start();
        let series =
            self.single(place, head, |appender, series, time| appender.histogram(series, time, start, &histogram))?;
        if let Some(series) = series {
            self.report.histograms += 1;
            if head.has_exemplars {
                self.exemplars(points::exemplars(message, kind)?, |_| series)?;
            }
        }
        Ok(())
    }

    /// Appends one sample to each series of a group. A point of which any sample is refused counts as refused.
    fn append_group(
        &mut self,
        place: &Place,
        head: &Head<'_>,
        (seed, values): (u64, &mut Vec<f64>),
        member: Member<'_>,
    ) -> Result<Option<Arc<[SeriesRef]>>, WireError> {
        if head.time_nanos == 0 {
            self.reject(place, no_time())?;
            return Ok(None);
        }
        if head.is_stale() {
            values.fill(STALE_NAN);
        }
        let key = xxh3_128_with_seed(&head.attributes, seed);
        let (time, start) = (head.time(), head.start());
        for _ in 0..2 {
            let series = match self.group(place, head, (key, values.len()), member) {
                Ok(series) => series,
                Err(problem) => {
                    self.reject(place, problem)?;
                    return Ok(None);
                }
            };
            let mut refused = None;
            for (series, value) in series.iter().zip(values.iter()) {
                match self.appender.float(*series, time, start, *value) {
                    Ok(()) => self.report.samples += 1,
                    Err(refusal) => refused = Some(refusal),
                }
            }
            match refused {
                None => {
                    self.accepted += 1;
                    return Ok(Some(series));
                }
                // What was appended meanwhile is a repeat, which is no error.
                Some(Refusal::UnknownSeries) => self.caches.groups.remove(key),
                Some(refusal) => {
                    self.reject(place, Problem::Refused(refusal))?;
                    return Ok(Some(series));
                }
            }
        }
        self.reject(place, Problem::Refused(Refusal::UnknownSeries))?;
        Ok(None)
    }

    fn group(
        &mut self,
        place: &Place,
        head: &Head<'_>,
        (key, count): (u128, usize),
        member: Member<'_>,
    ) -> Result<Arc<[SeriesRef]>, Problem> {
        if let Some(series) = self.caches.groups.get(key, self.now_secs) {
            return Ok(series);
        }
        let mut labels = self.labels(place, &head.attributes)?;
        let mut series = Vec::with_capacity(count);
        for at in 0..count {
            member(&mut labels, at);
            series.push(self.appender.series(labels.build().as_encoded()).map_err(Problem::Refused)?);
        }
        let series: Arc<[SeriesRef]> = series.into();
        self.caches.groups.insert(key, Arc::clone(&series), self.now_secs);
        Ok(series)
    }

    /// Counts a delta and appends the total.
    pub(super) fn delta(&mut self, pending: &Pending<'_>) -> Result<(), WireError> {
        let place = &pending.place;
        let (head, total) = match pending.kind {
            Kind::Histogram => {
                let mut point = Explicit::default();
                let head = points::explicit(pending.message, &mut point)?;
                if let Err(error) = native::check_explicit(&point) {
                    return self.reject(place, Problem::Other("invalid_histogram", error.to_string()));
                }
                (head, Total::Explicit(point))
            }
            Kind::ExponentialHistogram => {
                let (head, point) = points::exponential(pending.message)?;
                (head, Total::Exponential(point))
            }
            Kind::Gauge | Kind::Sum | Kind::Summary => {
                let (head, value) = points::number(pending.message)?;
                if value.is_none() && !head.is_stale() {
                    return self.reject(place, Problem::Other("no_value", "data point without a value".to_owned()));
                }
                (head, Total::Number(value.unwrap_or(0.0)))
            }
        };
        if head.time_nanos == 0 {
            return self.reject(place, no_time());
        }
        if head.is_stale() {
            // Nothing was counted; the end of the series is passed on.
            return self.append_total(place, &head, total, pending.message);
        }
        let key = xxh3_128_with_seed(&head.attributes, place.seed);
        let interval = Interval { start: head.start_nanos, end: head.time_nanos };
        match self.deltas.add(key, interval, total, self.now_secs) {
            Outcome::Total(total, start) => {
                let start_nanos = u64::try_from(start).unwrap_or(0).saturating_mul(1_000_000);
                self.append_total(place, &Head { start_nanos, ..head }, total, pending.message)
            }
            Outcome::Repeated | Outcome::Late => {
                self.accepted += 1;
                Ok(())
            }
            Outcome::TooOld => {
                let text = "delta is older than the last intervals that were counted".to_owned();
                self.reject(place, Problem::Other("delta_too_old", text))
            }
        }
    }

    fn append_total(&mut self, place: &Place, head: &Head<'_>, total: Total, message: &[u8]) -> Result<(), WireError> {
        match total {
            Total::Explicit(point) => self.append_explicit(place, head, &point, message),
            Total::Exponential(point) => self.append_exponential_total(place, head, &point, message),
            Total::Number(value) => {
                let start = head.start();
                let value = if head.is_stale() { STALE_NAN } else { value };
                let series =
                    self.single(place, head, |appender, series, time| appender.float(series, time, start, value))?;
                if let Some(series) = series {
                    self.report.samples += 1;
                    if head.has_exemplars {
                        self.exemplars(points::exemplars(message, PointKind::Number)?, |_| series)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn append_exponential_total(
        &mut self,
        place: &Place,
        head: &Head<'_>,
        point: &Exponential,
        message: &[u8],
    ) -> Result<(), WireError> {
        let histogram = if head.is_stale() { Ok(native::stale()) } else { native::from_exponential(point) };
        self.append_native(place, head, histogram, (message, PointKind::Exponential))
    }

    /// Appends exemplars, each to the series of its value. Those that are refused are dropped: their samples count.
    pub(super) fn exemplars(
        &mut self,
        messages: Vec<&[u8]>,
        series_of: impl Fn(f64) -> SeriesRef,
    ) -> Result<(), WireError> {
        for message in messages {
            if let Some(exemplar) = exemplar(message)?
                && self.appender.exemplar(series_of(exemplar.value), &exemplar).is_ok()
            {
                self.report.exemplars += 1;
            }
        }
        Ok(())
    }
}

/// Reads an exemplar; `None` where it has no value.
fn exemplar(message: &[u8]) -> Result<Option<Exemplar>, WireError> {
    let (mut time, mut value) = (0, None);
    let mut ids: [(&str, &[u8]); 2] = [("trace_id", &[]), ("span_id", &[])];
    let mut attributes = Vec::new();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            2 => time = points::millis(field.fixed64()?),
            3 => value = Some(field.double()?),
            4 => ids[1].1 = field.bytes()?,
            5 => ids[0].1 = field.bytes()?,
            6 => value = Some(field.fixed64()?.cast_signed() as f64),
            7 if attributes.len() < EXEMPLAR_CHARS_MAX => attributes.push(field.bytes()?),
            _ => {}
        }
    }
    let Some(value) = value else { return Ok(None) };
    let mut builder = LabelsBuilder::default();
    let mut chars = 0;
    for (name, id) in ids {
        // All zeroes say "none", as no bytes do.
        if id.len() <= 16 && id.iter().any(|byte| *byte != 0) {
            let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            chars += name.len() + text.len();
            builder.set(name, &text);
        }
    }
    let mut pairs = Vec::new();
    for message in attributes {
        if message.len() > 4 * EXEMPLAR_CHARS_MAX {
            chars = usize::MAX;
            break;
        }
        let attribute = attribute(message)?;
        let mut text = String::new();
        append_text(attribute.value, &mut text)?;
        chars = chars.saturating_add(attribute.key.chars().count() + text.chars().count());
        pairs.push((attribute.key, text));
    }
    if chars <= EXEMPLAR_CHARS_MAX {
        for (key, text) in pairs.iter().filter(|(key, _)| !key.is_empty()) {
            builder.set(key, text);
        }
    }
    Ok(Some(Exemplar { labels: builder.build(), value, time }))
}
