//! JSON lines: `{"metric":{…},"values":[…],"timestamps":[…]}`, as VictoriaMetrics and `crate::export` write them.
//!
//! Every sample is kept, whatever the dedup window: it is data that a store already held. Fields that are not known are
//! passed over. A broken line costs itself and is named.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Deserializer};

use super::{PROTOCOL, Receiver, parameters};
use crate::ingest::report::Report;
use crate::metrics::{Appender, Origin, Refusal, SeriesRef};
use crate::model::histogram::{Histogram, ResetHint, Span};
use crate::model::labels::{Labels, LabelsBuilder};
use crate::server::body::{encoding, read};
use crate::server::error::{Failure, Kind};
use crate::server::inflate::Encoding;

/// Bytes of lines that are stored in one commit.
const COMMIT_BYTES: usize = 4 << 20;

/// The NaN that `null` stands for: Prometheus' own.
const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// A line. Lengths of the lists are checked later, so that the message can name them.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    metric: Metric<'a>,
    #[serde(default)]
    values: Vec<Number>,
    #[serde(default)]
    timestamps: Vec<i64>,
    /// Place and bits of values that are other NaNs than [`NAN`].
    #[serde(default)]
    nan_bits: Vec<(usize, Bits)>,
    #[serde(default)]
    starts: Vec<i64>,
    #[serde(default)]
    histograms: Vec<JsonHistogram>,
}

/// Labels, put together as they are read.
struct Metric<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Metric<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> serde::de::Visitor<'de> for Pairs {
            type Value = Metric<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of labels")
            }
            fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Metric<'de>, M::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    pairs.push((name.0, value.0));
                }
                Ok(Metric { pairs })
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A float as these lines write it: a number, `null`, or a word.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words { takes_bits: false }).map(Number)
    }
}

/// A float of a histogram: a number, or its bits where it is none.
struct Exact(f64);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words { takes_bits: true }).map(Exact)
    }
}

/// Sixteen hexadecimal digits.
struct Bits(f64);

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Words { takes_bits: true }).map(Bits)
    }
}

struct Words {
    takes_bits: bool,
}

impl serde::de::Visitor<'_> for Words {
    type Value = f64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number, null, Infinity, -Infinity or NaN")
    }

    fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_unit<E>(self) -> Result<f64, E> {
        Ok(NAN)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<f64, E> {
        if self.takes_bits && text.len() == 16 {
            let bits = u64::from_str_radix(text, 16);
            return bits.map(f64::from_bits).map_err(|_| E::custom(format!("{text:?} is not the bits of a float")));
        }
        match text.strip_prefix(['-', '+']).unwrap_or(text) {
            "Infinity" | "infinity" | "Inf" | "inf" if text.starts_with('-') => Ok(f64::NEG_INFINITY),
            "Infinity" | "infinity" | "Inf" | "inf" => Ok(f64::INFINITY),
            "NaN" | "nan" | "null" | "Null" => Ok(NAN),
            _ => Err(E::custom(format!("{text:?} is no number"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonHistogram {
    schema: i8,
    count: Exact,
    sum: Exact,
    #[serde(default = "zero")]
    zero_threshold: Exact,
    #[serde(default = "zero")]
    zero_count: Exact,
    #[serde(default)]
    positive_spans: Vec<(i32, u32)>,
    #[serde(default)]
    positive_buckets: Vec<Exact>,
    #[serde(default)]
    negative_spans: Vec<(i32, u32)>,
    #[serde(default)]
    negative_buckets: Vec<Exact>,
    #[serde(default)]
    custom_values: Vec<Exact>,
    #[serde(default)]
    reset_hint: Hint,
}

fn zero() -> Exact {
    Exact(0.0)
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    Gauge,
}

impl From<JsonHistogram> for Histogram {
    fn from(from: JsonHistogram) -> Self {
        let spans = |spans: Vec<(i32, u32)>| {
            spans.into_iter().map(|(offset, length)| Span { offset, length }).collect::<Vec<_>>()
        };
        let floats = |floats: Vec<Exact>| floats.into_iter().map(|Exact(value)| value).collect::<Vec<_>>();
        Self {
            reset_hint: match from.reset_hint {
                Hint::Unknown => ResetHint::Unknown,
                Hint::Reset => ResetHint::Reset,
                Hint::NotReset => ResetHint::NotReset,
                Hint::Gauge => ResetHint::Gauge,
            },
            schema: from.schema,
            zero_threshold: from.zero_threshold.0,
            zero_count: from.zero_count.0,
            count: from.count.0,
            sum: from.sum.0,
            positive_spans: spans(from.positive_spans),
            positive_buckets: floats(from.positive_buckets),
            negative_spans: spans(from.negative_spans),
            negative_buckets: floats(from.negative_buckets),
            custom_values: floats(from.custom_values).into(),
        }
    }
}

/// Stores one line.
pub(super) fn take(line: &[u8], number: u64, extra: &[(String, String)], into: &mut Taken<'_>) {
    let mut bad = |reason: &'static str, why: String| into.report.reject(reason, 1, || format!("line {number}: {why}"));
    let Line { metric, values, timestamps, nan_bits, starts, histograms } = match serde_json::from_slice(line) {
        Ok(line) => line,
        Err(error) => return bad("parse_error", error.to_string()),
    };
    let count = values.len().max(histograms.len());
    if timestamps.len() != count || (!values.is_empty() && !histograms.is_empty()) {
        let (values, histograms, times) = (values.len(), histograms.len(), timestamps.len());
        return bad("parse_error", format!("{values} values, {histograms} histograms and {times} timestamps"));
    }
    if !starts.is_empty() && starts.len() != count {
        return bad("parse_error", format!("{} starts for {count} samples", starts.len()));
    }
    let mut builder = LabelsBuilder::default();
    let extra = extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in metric.pairs.iter().map(|(name, value)| (&**name, &**value)).chain(extra) {
        if name.is_empty() {
            return bad("invalid_labels", "a label without a name".to_owned());
        }
        builder.set(name, value);
    }
    let labels = builder.build();
    let mut values: Vec<f64> = values.into_iter().map(|Number(value)| value).collect();
    for (place, Bits(value)) in nan_bits {
        if let Some(slot) = values.get_mut(place) {
            *slot = value;
        }
    }
    let start = |place: usize| starts.get(place).copied().unwrap_or(0);
    let Some(series) = into.series(&labels, number, count) else { return };
    for (place, value) in values.into_iter().enumerate() {
        let stored = into.appender.float(series, timestamps[place], start(place), value);
        into.count(stored, number, &labels, false);
    }
    for (place, histogram) in histograms.into_iter().enumerate() {
        let histogram = Histogram::from(histogram);
        if let Err(error) = histogram.check() {
            into.report.reject("invalid_histogram", 1, || format!("line {number}: {error}"));
            continue;
        }
        let stored = into.appender.histogram(series, timestamps[place], start(place), &histogram);
        into.count(stored, number, &labels, true);
    }
}

/// Where lines go.
pub(super) struct Taken<'a> {
    pub appender: Appender<'a>,
    pub report: &'a mut Report,
}

impl Taken<'_> {
    fn series(&mut self, labels: &Labels, number: u64, samples: usize) -> Option<SeriesRef> {
        match self.appender.series(labels.as_encoded()) {
            Ok(series) => Some(series),
            Err(refusal) => {
                self.report.note(&refusal);
                let message = || format!("line {number}: {refusal} for {labels}");
                self.report.reject(refusal.reason(), samples as u64, message);
                None
            }
        }
    }

    fn count(&mut self, stored: Result<(), Refusal>, number: u64, labels: &Labels, is_histogram: bool) {
        match stored {
            Ok(()) if is_histogram => self.report.histograms += 1,
            Ok(()) => self.report.samples += 1,
            Err(refusal) => {
                self.report.note(&refusal);
                self.report.reject(refusal.reason(), 1, || format!("line {number}: {refusal} for {labels}"));
            }
        }
    }
}

/// Who sends.
pub(super) fn origin() -> Origin {
    Origin::new(PROTOCOL).without_dedup()
}

/// Takes a body of any length; one that is compressed is inflated whole and has the limit of other bodies.
pub(super) async fn receive(
    receiver: &Receiver,
    query: Option<String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let extra = parameters(query.as_deref().unwrap_or_default())?.extra;
    let body = match encoding(headers)? {
        Encoding::Identity => body,
        _ => Body::from(read(headers, body, &receiver.limits).await?),
    };
    let mut report = Report::default();
    let mut lines = Lines::default();
    let taken = lines.walk(receiver, body, &extra, &mut report).await;
    receiver.counters.stored(&report);
    taken?;
    if report.is_clean() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let message = report.message("samples", report.samples + report.histograms);
    Err(Failure::new(report.again().unwrap_or(Kind::BadData), message))
}

#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
    number: u64,
}

impl Lines {
    async fn walk(
        &mut self,
        receiver: &Receiver,
        mut body: Body,
        extra: &[(String, String)],
        report: &mut Report,
    ) -> Result<(), Failure> {
        loop {
            let frame = match tokio::time::timeout(receiver.limits.silence_max, body.frame()).await {
                Err(_) => return Err(Failure::bad_data("the request body stopped before its end")),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Err(Failure::bad_data(format!("cannot read the request body: {error}")));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            receiver.counters.received(data.len());
            self.pending.extend_from_slice(&data);
            if self.pending.len() >= COMMIT_BYTES {
                self.store(receiver, extra, report).await?;
                if self.pending.len() > receiver.limits.bytes_max {
                    let limit = receiver.limits.bytes_max;
                    return Err(Failure::new(Kind::TooLarge, format!("a line exceeds {limit} bytes")));
                }
            }
            if report.again().is_some() {
                return Ok(());
            }
        }
        if !self.pending.ends_with(b"\n") {
            self.pending.push(b'\n');
        }
        self.store(receiver, extra, report).await
    }

    /// Stores the lines that are whole.
    async fn store(
        &mut self,
        receiver: &Receiver,
        extra: &[(String, String)],
        report: &mut Report,
    ) -> Result<(), Failure> {
        let Some(end) = memchr::memrchr(b'\n', &self.pending) else { return Ok(()) };
        let rest = self.pending.split_off(end + 1);
        let whole = std::mem::replace(&mut self.pending, rest);
        let store = Arc::clone(&receiver.store);
        let commit = {
            let mut taken = Taken { appender: store.appender(origin()), report };
            for line in whole.split(|byte| *byte == b'\n') {
                self.number += 1;
                if !line.iter().all(u8::is_ascii_whitespace) {
                    take(line, self.number, extra, &mut taken);
                }
            }
            // Behind the last line's end there is nothing.
            self.number -= 1;
            taken.appender.commit()
        };
        commit.await.map(|_| ()).map_err(|error| Failure::new(Kind::Unavailable, error.to_string()))
    }
}
