//! Samples in memory, as a source.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use novascope::model::histogram::classic::ClassicHistogram;
use novascope::model::histogram::{Histogram, ResetHint};
use novascope::model::labels::{Labels, METRIC_NAME};
use novascope::promql::source::{Column, Select, SeriesSet, Source, SourceError};

use crate::series::{Item, SeriesLine};

#[derive(Clone)]
pub(crate) enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// Start timestamp and value by time.
type Samples = BTreeMap<i64, (i64, Value)>;

#[derive(Default)]
pub(crate) struct Store(BTreeMap<Labels, Arc<Samples>>);

impl Store {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds series with values at 0, `step`, 2·`step`, …
    pub(crate) fn load(&mut self, step: i64, lines: &[SeriesLine], with_nhcb: bool) {
        for line in lines {
            let series = Arc::make_mut(self.0.entry(line.labels.clone()).or_default());
            for (at, item) in line.items.iter().enumerate() {
                let time = at as i64 * step;
                let start = line.starts.get(at).copied().flatten().map_or(0, |offset| time + offset);
                let value = match item {
                    Item::Nothing => continue,
                    Item::Float(value) => Value::Float(*value),
                    Item::Histogram(histogram, _) => Value::Histogram(histogram.clone()),
                };
                series.insert(time, (start, value));
            }
        }
        if with_nhcb {
            self.load_custom_histograms(step, lines);
        }
    }

    /// The same samples, all later by some milliseconds.
    pub(crate) fn shifted(self, millis: i64) -> Self {
        let shift = |samples: &Samples| samples.iter().map(|(time, sample)| (time + millis, sample.clone())).collect();
        Self(self.0.into_iter().map(|(labels, samples)| (labels, Arc::new(shift(&samples)))).collect())
    }

    /// Time, start and value of the samples of each series that has any in a stretch of time.
    pub(crate) fn within(&self, window: Range<i64>) -> impl Iterator<Item = (&Labels, Vec<(i64, i64, &Value)>)> {
        self.0.iter().filter_map(move |(labels, samples)| {
            let inside = samples.range(window.clone());
            let part: Vec<_> = inside.map(|(time, (start, value))| (*time, *start, value)).collect();
            (!part.is_empty()).then_some((labels, part))
        })
    }

    pub(crate) fn last_time(&self) -> i64 {
        self.0.values().filter_map(|samples| samples.keys().next_back().copied()).max().unwrap_or(0)
    }

    pub(crate) fn float(&mut self, labels: &Labels, time: i64, start: i64, value: f64) {
        Arc::make_mut(self.0.entry(labels.clone()).or_default()).insert(time, (start, Value::Float(value)));
    }

    pub(crate) fn histogram(&mut self, labels: &Labels, time: i64, start: i64, histogram: Arc<Histogram>) {
        Arc::make_mut(self.0.entry(labels.clone()).or_default()).insert(time, (start, Value::Histogram(histogram)));
    }

    /// Stores classic histograms as native ones with custom buckets besides.
    fn load_custom_histograms(&mut self, step: i64, lines: &[SeriesLine]) {
        let mut collected: BTreeMap<Labels, BTreeMap<i64, ClassicHistogram>> = BTreeMap::new();
        for line in lines {
            let name = line.labels.metric_name();
            let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|suffix| name.ends_with(suffix));
            let Some(suffix) = suffix else { continue };
            let bound = line.labels.get("le").unwrap_or("").parse::<f64>();
            if suffix == "_bucket" && !bound.as_ref().is_ok_and(|bound| !bound.is_nan()) {
                continue;
            }
            let base = name.strip_suffix(suffix).unwrap_or(name);
            let labels = line.labels.to_builder().set(METRIC_NAME, base).remove("le").build();
            let by_time = collected.entry(labels).or_default();
            for (at, item) in line.items.iter().enumerate() {
                let Item::Float(value) = item else { continue };
                let histogram = by_time.entry(at as i64 * step).or_default();
                match (suffix, &bound) {
                    ("_bucket", Ok(bound)) => histogram.bucket(*bound, *value).expect("sound buckets"),
                    ("_count", _) => histogram.count(*value).expect("a sound count"),
                    _ => histogram.sum(*value),
                }
            }
        }
        for (labels, by_time) in collected {
            let series = Arc::make_mut(self.0.entry(labels).or_default());
            for (time, histogram) in by_time {
                let histogram = histogram.build().expect("a sound histogram");
                series.insert(time, (0, Value::Histogram(Arc::new(histogram))));
            }
        }
    }
}

struct Selected {
    series: Vec<(Labels, Arc<Samples>)>,
    mint: i64,
    maxt: i64,
}

impl Source for Store {
    fn select(&self, select: &Select) -> Result<Box<dyn SeriesSet>, SourceError> {
        let series = self
            .0
            .iter()
            .filter(|(labels, _)| {
                select.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
            })
            .map(|(labels, samples)| (labels.clone(), samples.clone()))
            .collect();
        Ok(Box::new(Selected { series, mint: select.mint, maxt: select.maxt }))
    }
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.series[index].0
    }

    fn read(&self, index: usize, column: &mut Column) -> Result<(), SourceError> {
        let mut before: Option<&Histogram> = None;
        for (time, (start, value)) in self.series[index].1.iter() {
            let inside = (self.mint..=self.maxt).contains(time);
            match value {
                Value::Float(value) => {
                    before = None;
                    if inside {
                        column.push_float(*time, *start, *value);
                    }
                }
                Value::Histogram(histogram) => {
                    let stored = as_stored(histogram, before);
                    before = Some(histogram);
                    if inside {
                        column.push_histogram(*time, *start, Arc::new(stored));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Gives a histogram the reset hint that Prometheus' store answers with: known only for what continues a chunk.
fn as_stored(histogram: &Histogram, before: Option<&Histogram>) -> Histogram {
    let gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    let continues = |before: &Histogram| {
        let plain = Histogram { reset_hint: ResetHint::Unknown, ..histogram.clone() };
        !gauge(before)
            && histogram.reset_hint != ResetHint::Reset
            && histogram.schema == before.schema
            && histogram.zero_threshold == before.zero_threshold
            && histogram.custom_values == before.custom_values
            && !plain.detect_reset(before)
    };
    let reset_hint = if gauge(histogram) {
        ResetHint::Gauge
    } else if before.is_some_and(continues) {
        ResetHint::NotReset
    } else {
        ResetHint::Unknown
    };
    Histogram { reset_hint, ..histogram.clone() }
}
