//! Figures of the status page: counters as they stand, rates from our own samples in the store.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::metrics::Store;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::source::{Column, SeriesSet as _};
use crate::telemetry;
use crate::telemetry::snapshot::{Family, Point};

/// The history that curves show: 60 slots of 5 s.
const SLOTS: usize = 60;
const SLOT_MS: i64 = 5_000;

/// The time over which the rates in numbers are taken: long enough for senders of every few seconds.
const RATE_SLOTS: usize = 2;

/// Walking all series for the list of the largest metrics costs a microsecond each.
const LARGEST_SERIES_MAX: u64 = 200_000;
const LARGEST: usize = 8;

/// Everything the page shows of the data.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub tiles: Vec<Tile>,
    pub senders: Vec<Sender>,
    pub rejected: Vec<(String, f64)>,
    pub largest: Vec<(String, f64)>,
}

/// A number with its curve.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
    pub is_bytes: bool,
    pub note: String,
    pub history: Vec<f64>,
}

/// A protocol by which samples came.
#[derive(Clone, Debug, Default)]
pub(super) struct Sender {
    pub protocol: String,
    /// Samples per second; not a number where our own samples are not in the store.
    pub rate: f64,
    pub samples: f64,
    pub requests: f64,
    pub rejected: f64,
}

impl Figures {
    /// Reads everything; takes milliseconds.
    pub(super) fn read(store: &Store, now: i64) -> Self {
        let families = telemetry::registry().gather();
        let history = History { store, now };
        Self {
            tiles: tiles(store, &families, &history),
            senders: senders(&families, &history),
            rejected: sums(&families, "novascope_ingest_rejected_samples_total", "reason").into_iter().collect(),
            largest: largest(store),
        }
    }
}

fn tiles(store: &Store, families: &[Family], history: &History<'_>) -> Vec<Tile> {
    let samples = history.rate("novascope_store_samples_total", &[]);
    let queries = history.rate("novascope_queries_total", &[]);
    let memory = history.level("process_resident_memory_bytes", &[]);
    let series = history.level("novascope_store_series", &[]);
    let host = Some(("job", "node"));
    let idle = history.rate("node_cpu_seconds_total", &[host, Some(("mode", "idle"))]);
    let all = history.rate("node_cpu_seconds_total", &[host]);
    let busy: Vec<f64> = idle.iter().zip(&all).map(|(idle, all)| 100.0 * (1.0 - idle / all)).collect();
    let total = sums(families, "novascope_store_samples_total", "kind").values().sum::<f64>();
    let asked = sums(families, "novascope_queries_total", "kind").values().sum::<f64>();
    let resident = sums(families, "process_resident_memory_bytes", "").values().sum::<f64>();
    let plain = |name, value, note, history| Tile { name, value, unit: "", is_bytes: false, note, history };
    vec![
        plain(
            "Samples per second",
            recent(&samples),
            format!("{} since start", crate::ui::html::short(total)),
            samples,
        ),
        plain("Series in memory", store.totals().series as f64, String::new(), series),
        plain(
            "Queries per second",
            recent(&queries),
            format!("{} since start", crate::ui::html::short(asked)),
            queries,
        ),
        Tile { is_bytes: true, ..plain("Memory of novascope", resident, String::new(), memory) },
        Tile { unit: " %", ..plain("Processors of this host", recent(&busy), "busy".to_owned(), busy) },
    ]
}

fn senders(families: &[Family], history: &History<'_>) -> Vec<Sender> {
    let mut senders: BTreeMap<String, Sender> = BTreeMap::new();
    let mut fill = |family: &str, put: fn(&mut Sender, f64)| {
        for (protocol, value) in sums(families, family, "protocol") {
            put(senders.entry(protocol).or_default(), value);
        }
    };
    fill("novascope_ingest_samples_total", |sender, value| sender.samples = value);
    fill("novascope_ingest_requests_total", |sender, value| sender.requests = value);
    fill("novascope_ingest_rejected_samples_total", |sender, value| sender.rejected = value);
    senders
        .into_iter()
        // A protocol is announced before its first request, so that its counters start at zero.
        .filter(|(_, sender)| sender.samples + sender.requests > 0.0)
        .map(|(protocol, sender)| {
            let rate = recent(&history.rate("novascope_ingest_samples_total", &[Some(("protocol", &protocol))]));
            Sender { protocol, rate, ..sender }
        })
        .collect()
}

fn largest(store: &Store) -> Vec<(String, f64)> {
    if store.totals().series > LARGEST_SERIES_MAX {
        return Vec::new();
    }
    store.stats(LARGEST).series_by_metric.into_iter().map(|entry| (entry.name, entry.count as f64)).collect()
}

/// Values of a family, added up by one label.
fn sums(families: &[Family], name: &str, label: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for sample in families.iter().filter(|family| family.name == name).flat_map(|family| &family.samples) {
        let key =
            sample.labels.iter().find(|(name, _)| name == label).map_or(Cow::Borrowed(""), |(_, value)| value.clone());
        if let Point::Value(value) = &sample.point {
            *sums.entry(key.into_owned()).or_default() += value;
        }
    }
    sums.retain(|_, sum: &mut f64| label.is_empty() || *sum > 0.0);
    sums
}

/// The mean of the last slots that are complete.
fn recent(history: &[f64]) -> f64 {
    let known: Vec<f64> = history.iter().copied().rev().filter(|value| value.is_finite()).take(RATE_SLOTS).collect();
    if known.is_empty() { f64::NAN } else { known.iter().sum::<f64>() / known.len() as f64 }
}

/// Reads our own samples back.
struct History<'a> {
    store: &'a Store,
    now: i64,
}

impl History<'_> {
    /// The increase per second in each slot, summed over series. Slots without samples are not numbers.
    fn rate(&self, name: &str, labels: &[Option<(&str, &str)>]) -> Vec<f64> {
        self.fold(name, labels, |column, slots| {
            for (pair, times) in column.values.windows(2).zip(column.times.windows(2)) {
                let ([before, after], [_, time]) = (pair, times) else { continue };
                let increase = if after < before { *after } else { after - before };
                if let Some(slot) = self.slot(*time).and_then(|at| slots.get_mut(at))
                    && increase.is_finite()
                {
                    *slot = if slot.is_nan() { 0.0 } else { *slot } + increase * 1000.0 / SLOT_MS as f64;
                }
            }
        })
    }

    /// The last value in each slot, summed over series.
    fn level(&self, name: &str, labels: &[Option<(&str, &str)>]) -> Vec<f64> {
        self.fold(name, labels, |column, slots| {
            let mut last: BTreeMap<usize, f64> = BTreeMap::new();
            for (time, value) in column.times.iter().zip(&column.values) {
                if let Some(at) = self.slot(*time).filter(|_| value.is_finite()) {
                    last.insert(at, *value);
                }
            }
            for (at, value) in last {
                if let Some(slot) = slots.get_mut(at) {
                    *slot = if slot.is_nan() { 0.0 } else { *slot } + value;
                }
            }
        })
    }

    fn fold(&self, name: &str, labels: &[Option<(&str, &str)>], mut add: impl FnMut(&Column, &mut [f64])) -> Vec<f64> {
        let mut slots = vec![f64::NAN; SLOTS];
        let labels = std::iter::once(("__name__", name)).chain(labels.iter().copied().flatten());
        let matchers: Result<Vec<Matcher>, _> =
            labels.map(|(name, value)| Matcher::new(MatchOp::Equal, name, value)).collect();
        let Ok(matchers) = matchers else { return slots };
        // One slot more at the front, so that the first shown has a sample before it.
        let found = self.store.select(&matchers, self.begin() - SLOT_MS, self.now);
        let mut column = Column::default();
        for index in 0..found.len() {
            column.clear();
            if found.read(index, &mut column).is_ok() {
                add(&column, &mut slots);
            }
        }
        slots
    }

    /// The current slot is left out: it is not complete.
    fn begin(&self) -> i64 {
        self.now.div_euclid(SLOT_MS) * SLOT_MS - SLOT_MS * SLOTS as i64
    }

    /// A sample at the end of a slot belongs to it.
    fn slot(&self, time: i64) -> Option<usize> {
        usize::try_from((time - 1 - self.begin()).div_euclid(SLOT_MS)).ok().filter(|slot| *slot < SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_whole_slots() {
        assert_eq!(recent(&[1.0, 2.0, f64::NAN, 4.0]), 3.0);
        assert!(recent(&[f64::NAN]).is_nan());
    }
}
