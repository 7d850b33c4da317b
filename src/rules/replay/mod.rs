//! Rules over stored history: what recording rules would have written is written now, and what alerting rules would have
//! done is told.
//!
//! Time passes in stretches. In each, the rules of a group are evaluated one after the other over the whole stretch, so
//! that a rule sees what earlier rules of its group give; a rule that reads its own past, or a later rule's, sees only
//! stretches before. Evaluations stand on whole multiples of the interval.

pub mod history;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::sample::{STALE_NAN, Value};
use crate::rules::alert::{AlertBook, AlertState};
use crate::rules::expansion::{Expander, Surroundings};
use crate::rules::group::{firing, record};
use crate::rules::replay::history::History;
use crate::rules::rule::{Alerting, GroupSpec, Rule};
use crate::rules::seam::{Backend, RuleSample};

/// Evaluations of a stretch: below the points that servers give for one series.
const STRETCH: i64 = 5_000;

/// Faults that are told for each rule; a rule that fails at every step says the same each time.
const FAULTS_MAX: u64 = 3;

/// What to replay over.
pub struct Replay<'a> {
    pub history: &'a dyn History,
    /// For queries inside templates.
    pub backend: Arc<dyn Backend>,
    pub surroundings: Surroundings,
    /// First and last time, both included.
    pub range: (Millis, Millis),
    /// Whether what recording rules give is written.
    pub writes: bool,
    /// For groups without their own.
    pub query_offset: Millis,
}

/// What came of one rule.
#[derive(Debug, Default)]
pub struct Told {
    pub group: String,
    pub rule: String,
    pub is_alerting: bool,
    pub evaluations: u64,
    /// Samples that a recording rule gave, and the series they are of.
    pub samples: u64,
    pub series: usize,
    /// When alerts would have fired.
    pub episodes: Vec<Episode>,
    /// Alerts that were pending and never fired.
    pub never_fired: u64,
    pub faults: Vec<String>,
    pub faults_more: u64,
}

/// One alert from its start to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    pub labels: Labels,
    pub annotations: Labels,
    pub value: f64,
    pub active_at: Millis,
    pub fired_at: Millis,
    /// `None` where it still fires at the end of the range.
    pub resolved_at: Option<Millis>,
}

/// A rule while it is replayed.
struct Running<'a> {
    rule: &'a Rule,
    told: Told,
    book: AlertBook,
    /// Places in `told.episodes` of alerts that fire now.
    open: BTreeMap<Labels, usize>,
    /// Series of the last step, which get a staleness marker where the next has no more.
    present: HashSet<Labels>,
    seen: HashSet<Labels>,
}

impl Replay<'_> {
    /// Replays the groups one after the other.
    pub fn run(&self, groups: &[GroupSpec]) -> Vec<Told> {
        groups.iter().flat_map(|group| self.group(group)).collect()
    }

    fn group(&self, group: &GroupSpec) -> Vec<Told> {
        let interval = group.interval.max(1);
        let (from, to) = self.range;
        let mut running: Vec<Running<'_>> = group.rules.iter().map(|rule| Running::new(group, rule)).collect();
        // The first multiple of the interval that is not before the range.
        let mut start = from + (-from).rem_euclid(interval);
        while start <= to {
            let end = to.min(start + (STRETCH - 1) * interval);
            for rule in &mut running {
                if let Err(fault) = self.stretch(group, rule, (start, end)) {
                    rule.fault(start, &fault);
                }
            }
            start += STRETCH * interval;
        }
        running.into_iter().map(|running| running.told).collect()
    }

    /// One rule over a stretch, which begins on the grid.
    fn stretch(
        &self,
        group: &GroupSpec,
        running: &mut Running<'_>,
        (start, end): (Millis, Millis),
    ) -> Result<(), String> {
        let offset = group.query_offset.unwrap_or(self.query_offset);
        let tracks = self.history.range(running.rule, (start - offset, end - offset), group.interval)?;
        let mut steps: BTreeMap<Millis, Vec<RuleSample>> = BTreeMap::new();
        for track in tracks {
            for (time, value) in track.points {
                let sample = RuleSample { labels: track.labels.clone(), time, value };
                steps.entry(time + offset).or_default().push(sample);
            }
        }
        let mut written = Vec::new();
        let mut time = start;
        while time <= end {
            let vector = steps.remove(&time).unwrap_or_default();
            running.told.evaluations += 1;
            let done = match running.rule.alerting() {
                Some(alerting) => self.alert(group, running, (alerting, vector), time),
                None => running.record(group.limit, vector, time - offset).map(|samples| written.extend(samples)),
            };
            if let Err(fault) = done {
                running.fault(time, &fault);
            }
            time += group.interval;
        }
        if self.writes && !written.is_empty() {
            self.history.write(&written)?;
        }
        Ok(())
    }

    fn alert(
        &self,
        group: &GroupSpec,
        running: &mut Running<'_>,
        (alerting, vector): (&Alerting, Vec<RuleSample>),
        time: Millis,
    ) -> Result<(), String> {
        if vector.is_empty() && running.book.iter().next().is_none() {
            return Ok(());
        }
        let expander = Expander::new(&running.rule.name, &self.backend, &self.surroundings, time);
        let found = vector.iter().map(|sample| firing(running.rule, alerting, sample, &expander)).collect();
        let pending_before: Vec<Labels> = running.labels_of(AlertState::Pending);
        let updated = running.book.update(found, time, alerting, group.limit);
        let pending: HashSet<Labels> = running.labels_of(AlertState::Pending).into_iter().collect();
        running.follow(time);
        let gone =
            pending_before.iter().filter(|labels| !pending.contains(labels) && !running.open.contains_key(labels));
        running.told.never_fired += gone.count() as u64;
        updated.map_err(|error| error.to_string())
    }
}

impl<'a> Running<'a> {
    fn new(group: &GroupSpec, rule: &'a Rule) -> Self {
        let told = Told {
            group: group.name.to_string(),
            rule: rule.name.to_string(),
            is_alerting: rule.alerting().is_some(),
            ..Told::default()
        };
        let (book, open) = (AlertBook::default(), BTreeMap::new());
        Self { rule, told, book, open, present: HashSet::new(), seen: HashSet::new() }
    }

    fn fault(&mut self, time: Millis, fault: &str) {
        if self.told.faults.len() as u64 == FAULTS_MAX {
            self.told.faults_more += 1;
        } else {
            let at = crate::notify::template::go_rfc3339(time);
            self.told.faults.push(format!("{at}: {fault}"));
        }
    }

    fn labels_of(&self, state: AlertState) -> Vec<Labels> {
        self.book.active().filter(|alert| alert.state == state).map(|alert| alert.labels.clone()).collect()
    }

    /// What a recording rule writes at one step.
    fn record(&mut self, limit: usize, vector: Vec<RuleSample>, time: Millis) -> Result<Vec<RuleSample>, String> {
        let mut samples = record(self.rule, vector, limit)?;
        let present: HashSet<Labels> = samples.iter().map(|sample| sample.labels.clone()).collect();
        self.told.samples += samples.len() as u64;
        let gone = self.present.difference(&present).cloned();
        samples.extend(gone.map(|labels| RuleSample { labels, time, value: Value::Float(STALE_NAN) }));
        if !present.is_subset(&self.present) {
            self.seen.extend(present.iter().cloned());
            self.told.series = self.seen.len();
        }
        self.present = present;
        Ok(samples)
    }

    /// Notes which alerts began and ended to fire at a step.
    fn follow(&mut self, time: Millis) {
        let mut firing = HashSet::new();
        for alert in self.book.active().filter(|alert| alert.state == AlertState::Firing) {
            firing.insert(alert.labels.clone());
            if !self.open.contains_key(&alert.labels) {
                self.open.insert(alert.labels.clone(), self.told.episodes.len());
                self.told.episodes.push(Episode {
                    labels: alert.labels.clone(),
                    annotations: alert.annotations.clone(),
                    value: alert.value,
                    active_at: alert.active_at,
                    fired_at: alert.fired_at.unwrap_or(time),
                    resolved_at: None,
                });
            }
        }
        let episodes = &mut self.told.episodes;
        self.open.retain(|labels, at| {
            let fires = firing.contains(labels);
            if !fires && let Some(episode) = episodes.get_mut(*at) {
                episode.resolved_at = Some(time);
            }
            fires
        });
    }
}
