//! One `io.prometheus.client.Metric`, read into scratch that lives as long as the parser.

use std::borrow::Cow;
use std::sync::Arc;

use super::protobuf::wrong;
use super::{LABELS_MAX, Options, RawExemplar};
use crate::model::histogram::classic::{ClassicError, ClassicHistogram};
use crate::model::histogram::{Histogram, ResetHint, Span};
use crate::proto::wire::{Field, Reader, zigzag};

type Message = Cow<'static, str>;

/// What a family's metrics are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    #[default]
    Counter,
    Gauge,
    Summary,
    Untyped,
    Histogram,
    GaugeHistogram,
}

/// One series of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Simple,
    Count,
    Sum,
    /// A bucket or quantile by its index.
    Bound(usize),
    /// The bucket `+Inf` that the sender left out.
    Infinity,
    Native,
    /// The classic buckets as a histogram with custom bounds.
    Converted,
}

#[derive(Debug, Default)]
pub(super) struct Metric {
    /// Offsets of names and values in the body.
    pub(super) labels: Vec<[u32; 4]>,
    /// Milliseconds; 0 where the sender gives none.
    pub(super) time: i64,
    pub(super) start: i64,
    simple: f64,
    count: f64,
    sum: f64,
    /// Upper bound and cumulative count of buckets, or quantile and value.
    bounds: Vec<(f64, f64)>,
    /// Exemplars of the metric as a whole, then those of buckets.
    all_exemplars: Vec<RawExemplar>,
    /// For each bucket its place in `all_exemplars`.
    bucket_exemplars: Vec<Option<usize>>,
    /// How many of `all_exemplars` belong to the metric and not to a bucket.
    own_exemplars: usize,
    pub(super) native: Histogram,
    pub(super) converted: Histogram,
    buckets: NativeBuckets,
}

/// The native part as it lies on the wire: integers as deltas, or floats.
#[derive(Debug, Default)]
struct NativeBuckets {
    is_native: bool,
    is_float: bool,
    schema: i64,
    zero_count: f64,
    positive_deltas: Vec<u64>,
    negative_deltas: Vec<u64>,
    positive_counts: Vec<f64>,
    negative_counts: Vec<f64>,
}

impl Metric {
    /// Reads a metric over the one before. `offset` says where a slice lies in the body.
    pub(super) fn read(
        &mut self,
        message: &[u8],
        shape: Shape,
        offset: &dyn Fn(&[u8]) -> usize,
    ) -> Result<(), Message> {
        self.clear();
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next_field().map_err(wrong)? {
            match (field.number, shape) {
                (1, _) => read_label(&field, &mut self.labels, offset)?,
                (6, _) => self.time = field.int().map_err(wrong)?,
                (2, Shape::Gauge) | (5, Shape::Untyped) => self.read_simple(&field, offset)?,
                (3, Shape::Counter) => self.read_simple(&field, offset)?,
                (4, Shape::Summary) => self.read_summary(&field)?,
                (7, Shape::Histogram | Shape::GaugeHistogram) => self.read_histogram(&field, offset)?,
                _ => {}
            }
        }
        if matches!(shape, Shape::Histogram | Shape::GaugeHistogram) && self.buckets.is_native {
            self.finish_native(shape)?;
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.labels.clear();
        (self.time, self.start, self.simple, self.count, self.sum) = (0, 0, 0.0, 0.0, 0.0);
        self.bounds.clear();
        self.all_exemplars.clear();
        self.bucket_exemplars.clear();
        self.own_exemplars = 0;
        self.native.positive_spans.clear();
        self.native.negative_spans.clear();
        self.native.zero_threshold = 0.0;
        let NativeBuckets { positive_deltas, negative_deltas, positive_counts, negative_counts, .. } =
            &mut self.buckets;
        positive_deltas.clear();
        negative_deltas.clear();
        positive_counts.clear();
        negative_counts.clear();
        (self.buckets.is_native, self.buckets.is_float) = (false, false);
        (self.buckets.schema, self.buckets.zero_count) = (0, 0.0);
    }

    /// `Gauge`, `Counter` and `Untyped` share their field numbers.
    fn read_simple(&mut self, field: &Field<'_>, offset: &dyn Fn(&[u8]) -> usize) -> Result<(), Message> {
        let mut fields = Reader::new(field.bytes().map_err(wrong)?);
        while let Some(field) = fields.next_field().map_err(wrong)? {
            match field.number {
                1 => self.simple = field.double().map_err(wrong)?,
                2 => {
                    let exemplar = read_exemplar(&field, offset)?;
                    self.all_exemplars.push(exemplar);
                    self.own_exemplars = self.all_exemplars.len();
                }
                3 => self.start = read_timestamp(&field)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_summary(&mut self, field: &Field<'_>) -> Result<(), Message> {
        let mut fields = Reader::new(field.bytes().map_err(wrong)?);
        while let Some(field) = fields.next_field().map_err(wrong)? {
            match field.number {
                1 => self.count = field.uint().map_err(wrong)? as f64,
                2 => self.sum = field.double().map_err(wrong)?,
                3 => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut inner = Reader::new(field.bytes().map_err(wrong)?);
                    while let Some(field) = inner.next_field().map_err(wrong)? {
                        match field.number {
                            1 => quantile = field.double().map_err(wrong)?,
                            2 => value = field.double().map_err(wrong)?,
                            _ => {}
                        }
                    }
                    self.bounds.push((quantile, value));
                }
                4 => self.start = read_timestamp(&field)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_histogram(&mut self, field: &Field<'_>, offset: &dyn Fn(&[u8]) -> usize) -> Result<(), Message> {
        let mut own = Vec::new();
        let (mut count, mut count_float) = (0.0, 0.0);
        let (mut zero, mut zero_float) = (0.0, 0.0);
        let mut fields = Reader::new(field.bytes().map_err(wrong)?);
        while let Some(field) = fields.next_field().map_err(wrong)? {
            match field.number {
                1 => count = field.uint().map_err(wrong)? as f64,
                2 => self.sum = field.double().map_err(wrong)?,
                3 => self.read_bucket(&field, offset)?,
                4 => count_float = field.double().map_err(wrong)?,
                5 => self.buckets.schema = field.sint().map_err(wrong)?,
                6 => self.native.zero_threshold = field.double().map_err(wrong)?,
                7 => zero = field.uint().map_err(wrong)? as f64,
                8 => zero_float = field.double().map_err(wrong)?,
                9 => self.native.negative_spans.push(read_span(&field)?),
                10 => field.append_uints(&mut self.buckets.negative_deltas).map_err(wrong)?,
                11 => field.append_doubles(&mut self.buckets.negative_counts).map_err(wrong)?,
                12 => self.native.positive_spans.push(read_span(&field)?),
                13 => field.append_uints(&mut self.buckets.positive_deltas).map_err(wrong)?,
                14 => field.append_doubles(&mut self.buckets.positive_counts).map_err(wrong)?,
                15 => self.start = read_timestamp(&field)?,
                16 => own.push(read_exemplar(&field, offset)?),
                _ => {}
            }
        }
        self.buckets.is_float = count_float > 0.0 || zero_float > 0.0;
        self.count = if count_float > 0.0 { count_float } else { count };
        self.buckets.zero_count = if self.buckets.is_float { zero_float } else { zero };
        // A sender without observations yet says by an empty span that the histogram is a native one.
        self.buckets.is_native = !self.native.positive_spans.is_empty()
            || !self.native.negative_spans.is_empty()
            || self.native.zero_threshold > 0.0
            || zero > 0.0;
        self.own_exemplars = own.len();
        for slot in self.bucket_exemplars.iter_mut().flatten() {
            *slot += own.len();
        }
        self.all_exemplars.splice(0..0, own);
        Ok(())
    }

    fn read_bucket(&mut self, field: &Field<'_>, offset: &dyn Fn(&[u8]) -> usize) -> Result<(), Message> {
        let (mut count, mut count_float, mut bound) = (0.0, 0.0, 0.0);
        let mut exemplar = None;
        let mut fields = Reader::new(field.bytes().map_err(wrong)?);
        while let Some(field) = fields.next_field().map_err(wrong)? {
            match field.number {
                1 => count = field.uint().map_err(wrong)? as f64,
                2 => bound = field.double().map_err(wrong)?,
                3 => exemplar = Some(read_exemplar(&field, offset)?),
                4 => count_float = field.double().map_err(wrong)?,
                _ => {}
            }
        }
        self.bounds.push((bound, if count_float > 0.0 { count_float } else { count }));
        self.bucket_exemplars.push(exemplar.map(|exemplar| {
            self.all_exemplars.push(exemplar);
            self.all_exemplars.len() - 1
        }));
        Ok(())
    }

    fn finish_native(&mut self, shape: Shape) -> Result<(), Message> {
        let schema = i8::try_from(self.buckets.schema).ok().filter(|schema| (-4..=8).contains(schema));
        self.native.schema = schema.ok_or_else(|| format!("native histogram has schema {}", self.buckets.schema))?;
        self.native.count = self.count;
        self.native.sum = self.sum;
        self.native.zero_count = self.buckets.zero_count;
        self.native.reset_hint = if shape == Shape::GaugeHistogram { ResetHint::Gauge } else { ResetHint::Unknown };
        self.native.custom_values = Arc::default();
        let buckets = &self.buckets;
        for (spans, deltas, counts, out) in [
            (
                &mut self.native.positive_spans,
                &buckets.positive_deltas,
                &buckets.positive_counts,
                &mut self.native.positive_buckets,
            ),
            (
                &mut self.native.negative_spans,
                &buckets.negative_deltas,
                &buckets.negative_counts,
                &mut self.native.negative_buckets,
            ),
        ] {
            out.clear();
            if buckets.is_float {
                out.extend_from_slice(counts);
            } else {
                sum_deltas(deltas, out)?;
            }
            let wanted: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
            if wanted != out.len() as u64 {
                return Err(format!("spans of a native histogram cover {wanted} buckets, {} given", out.len()).into());
            }
            drop_empty_spans(spans)?;
        }
        Ok(())
    }

    fn convert(&self) -> Result<Histogram, ClassicError> {
        let mut classic = ClassicHistogram::default();
        classic.count(self.count)?;
        classic.sum(self.sum);
        for &(bound, count) in &self.bounds {
            classic.bucket(bound, count)?;
        }
        classic.build()
    }

    /// Lists the series of this metric, last first.
    pub(super) fn parts(&mut self, shape: Shape, options: Options, parts: &mut Vec<Part>) -> Result<(), Message> {
        parts.clear();
        match shape {
            Shape::Counter | Shape::Gauge | Shape::Untyped => parts.push(Part::Simple),
            Shape::Summary => {
                parts.extend((0..self.bounds.len()).rev().map(Part::Bound));
                parts.extend([Part::Sum, Part::Count]);
            }
            Shape::Histogram | Shape::GaugeHistogram => {
                let native = self.buckets.is_native && !options.ignore_native_histograms;
                let convert = !native && options.convert_classic_histograms;
                let has_classic = !self.bounds.is_empty();
                if convert {
                    self.converted = self.convert().map_err(|error| error.to_string())?;
                    if shape == Shape::GaugeHistogram {
                        self.converted.reset_hint = ResetHint::Gauge;
                    }
                    parts.push(Part::Converted);
                }
                if (!native && !convert) || (options.keep_classic_histograms && (has_classic || !native)) {
                    if self.bounds.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
                        parts.push(Part::Infinity);
                    }
                    parts.extend((0..self.bounds.len()).rev().map(Part::Bound));
                    parts.extend([Part::Sum, Part::Count]);
                }
                if native {
                    parts.push(Part::Native);
                }
            }
        }
        Ok(())
    }

    pub(super) fn float(&self, part: Part) -> f64 {
        match part {
            Part::Count | Part::Infinity => self.count,
            Part::Sum => self.sum,
            Part::Bound(index) => self.bounds.get(index).map_or(f64::NAN, |(_, value)| *value),
            Part::Simple | Part::Native | Part::Converted => self.simple,
        }
    }

    /// The label that a bucket or quantile adds.
    pub(super) fn bound(&self, part: Part, shape: Shape) -> Option<(&'static str, f64)> {
        let label = if shape == Shape::Summary { "quantile" } else { "le" };
        match part {
            Part::Bound(index) => self.bounds.get(index).map(|(bound, _)| (label, *bound)),
            Part::Infinity => Some((label, f64::INFINITY)),
            _ => None,
        }
    }

    /// A native histogram shows its own exemplars, or else those of its buckets.
    pub(super) fn exemplars(&self, part: Part) -> &[RawExemplar] {
        let (own, of_buckets) = self.all_exemplars.split_at(self.own_exemplars.min(self.all_exemplars.len()));
        match part {
            Part::Simple => own,
            Part::Native | Part::Converted if own.is_empty() => of_buckets,
            Part::Native | Part::Converted => own,
            Part::Bound(index) => match self.bucket_exemplars.get(index).copied().flatten() {
                Some(at) => self.all_exemplars.get(at).map_or(&[], std::slice::from_ref),
                None => &[],
            },
            Part::Count | Part::Sum | Part::Infinity => &[],
        }
    }
}

impl Part {
    pub(super) fn suffix(self, shape: Shape) -> &'static str {
        match self {
            Self::Count => "_count",
            Self::Sum => "_sum",
            Self::Bound(_) | Self::Infinity if shape != Shape::Summary => "_bucket",
            _ => "",
        }
    }
}

fn sum_deltas(deltas: &[u64], out: &mut Vec<f64>) -> Result<(), Message> {
    let mut count = 0_i64;
    for &delta in deltas {
        count = count.checked_add(zigzag(delta)).ok_or("bucket counts of a native histogram overflow")?;
        out.push(count as f64);
    }
    Ok(())
}

/// Spans without buckets only mark a histogram as native.
fn drop_empty_spans(spans: &mut Vec<Span>) -> Result<(), Message> {
    let mut gap = 0_i32;
    for span in spans.iter_mut() {
        span.offset = span.offset.checked_add(gap).ok_or("span offsets of a native histogram overflow")?;
        gap = if span.length == 0 { span.offset } else { 0 };
    }
    spans.retain(|span| span.length > 0);
    Ok(())
}

fn read_label(field: &Field<'_>, labels: &mut Vec<[u32; 4]>, offset: &dyn Fn(&[u8]) -> usize) -> Result<(), Message> {
    let (mut name, mut value) = ((0, 0), (0, 0));
    let mut fields = Reader::new(field.bytes().map_err(wrong)?);
    while let Some(field) = fields.next_field().map_err(wrong)? {
        // Bodies are limited to 30 bits when a parser is made.
        let range = |text: &str| {
            let start = offset(text.as_bytes());
            (start as u32, (start + text.len()) as u32)
        };
        match field.number {
            1 => name = range(field.string().map_err(wrong)?),
            2 => value = range(field.string().map_err(wrong)?),
            _ => {}
        }
    }
    if labels.len() >= LABELS_MAX {
        return Err("too many labels in one series".into());
    }
    labels.push([name.0, name.1, value.0, value.1]);
    Ok(())
}

fn read_span(field: &Field<'_>) -> Result<Span, Message> {
    let mut span = Span::default();
    let mut fields = Reader::new(field.bytes().map_err(wrong)?);
    while let Some(field) = fields.next_field().map_err(wrong)? {
        match field.number {
            1 => span.offset = i32::try_from(field.sint().map_err(wrong)?).map_err(|_| "span offset beyond 32 bits")?,
            2 => span.length = u32::try_from(field.uint().map_err(wrong)?).map_err(|_| "span length beyond 32 bits")?,
            _ => {}
        }
    }
    Ok(span)
}

fn read_exemplar(field: &Field<'_>, offset: &dyn Fn(&[u8]) -> usize) -> Result<RawExemplar, Message> {
    let mut exemplar = RawExemplar::default();
    let mut fields = Reader::new(field.bytes().map_err(wrong)?);
    while let Some(field) = fields.next_field().map_err(wrong)? {
        match field.number {
            1 => read_label(&field, &mut exemplar.pairs, offset)?,
            2 => exemplar.value = field.double().map_err(wrong)?,
            3 => exemplar.time = Some(read_timestamp(&field)?),
            _ => {}
        }
    }
    Ok(exemplar)
}

/// A `google.protobuf.Timestamp` in milliseconds.
fn read_timestamp(field: &Field<'_>) -> Result<i64, Message> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut fields = Reader::new(field.bytes().map_err(wrong)?);
    while let Some(field) = fields.next_field().map_err(wrong)? {
        match field.number {
            1 => seconds = field.int().map_err(wrong)?,
            2 => nanos = field.int().map_err(wrong)?,
            _ => {}
        }
    }
    let millis = seconds.checked_mul(1_000).and_then(|millis| millis.checked_add(nanos / 1_000_000));
    millis.ok_or_else(|| "timestamp out of range".into())
}
