//! Classic histograms of text bodies, put together into native ones with custom buckets.
//!
//! Protobuf bodies hold whole histograms, so there the reader of the format does this itself.

use indexmap::IndexMap;

use crate::base::clock::Millis;
use crate::ingest::exposition::{LabelError, Series, Value, parse_float};
use crate::model::exemplar::Exemplar;
use crate::model::histogram::Histogram;
use crate::model::histogram::classic::ClassicHistogram;
use crate::model::labels::{Labels, METRIC_NAME};

/// Stands before the labels of a converted histogram in the text that identifies it: no body can hold it.
pub(super) const MARK: u8 = 0xfe;

/// The histograms of the family that is being read.
#[derive(Debug, Default)]
pub(super) struct Classics {
    /// By [`MARK`] and canonical labels.
    points: IndexMap<Vec<u8>, Point>,
}

#[derive(Debug, Default)]
struct Point {
    parts: ClassicHistogram,
    /// A part did not fit the others: there is no histogram to show.
    broken: bool,
    time: Option<Millis>,
    start: Millis,
    exemplars: Vec<Exemplar>,
}

/// A histogram that was put together.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) raw: Vec<u8>,
    pub(super) histogram: Histogram,
    pub(super) time: Option<Millis>,
    pub(super) start: Millis,
    pub(super) exemplars: Vec<Exemplar>,
}

/// The labels in the text that identifies a converted histogram.
pub(super) fn labels_of(raw: &[u8]) -> Option<Labels> {
    Labels::from_encoded(raw.strip_prefix(&[MARK])?).ok()
}

impl Classics {
    /// Takes a sample that is part of a histogram of this family; false for any other.
    pub(super) fn take(&mut self, family: &str, series: &Series<'_>) -> Result<bool, LabelError> {
        let name = series.pairs.metric_name();
        let (Some(part), Value::Float(value)) = (name.strip_prefix(family), series.value) else { return Ok(false) };
        if !matches!(part, "_bucket" | "_count" | "_sum") {
            return Ok(false);
        }
        let mut encoded = Vec::new();
        series.encode(&mut encoded)?;
        let Ok(labels) = Labels::from_encoded(&encoded) else { return Ok(false) };
        let bound = labels.get("le").and_then(|bound| parse_float(bound.as_bytes()));
        let mut identity = labels.to_builder();
        identity.set(METRIC_NAME, family);
        if part == "_bucket" {
            identity.remove("le");
        }
        let key = [&[MARK][..], identity.build().as_encoded()].concat();
        let point = self.points.entry(key).or_default();
        let taken = match (part, bound) {
            ("_bucket", Some(bound)) => point.parts.bucket(bound, value).is_ok(),
            ("_bucket", None) => false,
            ("_count", _) => point.parts.count(value).is_ok(),
            _ => {
                point.parts.sum(value);
                true
            }
        };
        point.broken |= !taken;
        point.time = point.time.or(series.time);
        point.start = if series.start == 0 { point.start } else { series.start };
        point.exemplars.extend(series.exemplars());
        Ok(true)
    }

    /// The histograms that are whole; the next family starts with none.
    pub(super) fn finish(&mut self) -> Vec<Converted> {
        let whole = self.points.drain(..).filter_map(|(raw, point)| {
            let histogram = point.parts.build().ok().filter(|_| !point.broken)?;
            Some(Converted { raw, histogram, time: point.time, start: point.start, exemplars: point.exemplars })
        });
        whole.collect()
    }
}
