//! Exemplars: a ring bounded by bytes, the oldest of all series going first.

use std::collections::VecDeque;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::model::exemplar::Exemplar;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;

/// Bytes of exemplar labels that OpenMetrics and Prometheus allow (UTF-8 characters there; bytes here).
pub(super) const EXEMPLAR_LABEL_BYTES_MAX: usize = 512;

/// The exemplars of one series, ascending by time.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarRow {
    pub series: Labels,
    pub exemplars: Vec<Exemplar>,
}

/// The exemplars of all series.
#[derive(Debug)]
pub(super) struct Exemplars {
    ring: Mutex<Ring>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<(Labels, Exemplar)>,
    bytes: usize,
    /// The newest of each series, to know a repeated one by.
    newest: HashMap<Labels, Exemplar, foldhash::fast::RandomState>,
    evicted: u64,
}

fn size(series: &Labels, exemplar: &Exemplar) -> usize {
    // A map entry and a ring entry are counted. Exemplars of one series share its labels, but the last of them may have
    // them for itself.
    size_of::<(Labels, Exemplar)>() + exemplar.labels.as_encoded().len() + series.as_encoded().len() + 32
}

impl Ring {
    fn push(&mut self, series: &Labels, exemplar: &Exemplar, bytes_max: usize) -> bool {
        let series = match self.newest.get_key_value(series) {
            Some((_, newest)) if newest == exemplar || newest.time > exemplar.time => return false,
            Some((known, _)) => known.clone(),
            None => series.clone(),
        };
        self.bytes += size(&series, exemplar);
        self.newest.insert(series.clone(), exemplar.clone());
        self.entries.push_back((series, exemplar.clone()));
        while self.bytes > bytes_max {
            let Some((labels, oldest)) = self.entries.pop_front() else { break };
            self.bytes -= size(&labels, &oldest);
            self.evicted += 1;
            if self.newest.get(&labels) == Some(&oldest) {
                self.newest.remove(&labels);
            }
        }
        true
    }
}

impl Exemplars {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { ring: Mutex::default(), bytes_max }
    }

    /// Adds an exemplar; answers false where it repeats the newest of its series or is older.
    pub(super) fn push(&self, series: &Labels, exemplar: &Exemplar) -> bool {
        self.ring.lock().push(series, exemplar, self.bytes_max)
    }

    /// Takes those that the log held, which are older than what is here.
    pub(super) fn put_below(&self, restored: Self) {
        let mut ring = self.ring.lock();
        let newer = std::mem::replace(&mut *ring, restored.ring.into_inner());
        for (series, exemplar) in &newer.entries {
            ring.push(series, exemplar, self.bytes_max);
        }
    }

    /// The exemplars in `mint..=maxt` of the series that fulfil every matcher of any set, ascending by series.
    pub(super) fn select(&self, sets: &[Vec<Matcher>], mint: i64, maxt: i64) -> Vec<ExemplarRow> {
        let mut rows: Vec<ExemplarRow> = Vec::new();
        let mut places: HashMap<Labels, Option<usize>, foldhash::fast::RandomState> = HashMap::default();
        for (series, exemplar) in &self.ring.lock().entries {
            if exemplar.time < mint || exemplar.time > maxt {
                continue;
            }
            let place = *places.entry(series.clone()).or_insert_with(|| {
                let matches = |set: &Vec<Matcher>| set.iter().all(|m| m.matches(series.get(&m.name).unwrap_or("")));
                sets.iter().any(matches).then(|| {
                    rows.push(ExemplarRow { series: series.clone(), exemplars: Vec::new() });
                    rows.len() - 1
                })
            });
            if let Some(row) = place.and_then(|at| rows.get_mut(at)) {
                row.exemplars.push(exemplar.clone());
            }
        }
        for row in &mut rows {
            row.exemplars.sort_by_key(|exemplar| exemplar.time);
        }
        rows.sort_by(|a, b| a.series.cmp(&b.series));
        rows
    }

    /// Every exemplar, oldest first.
    pub(super) fn all(&self) -> Vec<(Labels, Exemplar)> {
        self.ring.lock().entries.iter().cloned().collect()
    }

    /// Exemplars held now, and those that made room.
    pub(super) fn counts(&self) -> (usize, u64) {
        let ring = self.ring.lock();
        (ring.entries.len(), ring.evicted)
    }
}
