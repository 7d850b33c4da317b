//! One group: its rules, their state, and one iteration over them.

pub(in crate::rules) mod common;
mod early;
mod no_data;
mod restore;
#[cfg(test)]
mod restore_tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};

use crate::base::clock::{Clock, Millis};
use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::sample::{STALE_NAN, Value};
use crate::promql::eval::{Memo, Parts};
use crate::rules::alert::{AlertBook, Firing};
use crate::rules::dependency::levels;
use crate::rules::expansion::{Expander, Surroundings};
pub use crate::rules::group::no_data::Unsent;
use crate::rules::rule::{Alerting, GroupSpec, Rule};
use crate::rules::seam::{AlertSink, Backend, RuleSample};

/// What all groups work with.
#[derive(Clone)]
pub struct World {
    pub backend: Arc<dyn Backend>,
    pub sink: Arc<dyn AlertSink>,
    pub surroundings: Arc<Surroundings>,
    pub clock: Clock,
    /// For groups that do not set their own.
    pub query_offset: Millis,
    /// How long until an alert is told again.
    pub resend_delay: Millis,
}

/// How the last evaluation of a rule went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Unknown,
    Ok,
    Bad(String),
}

impl Health {
    /// The word for it in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Bad(_) => "err",
        }
    }
}

/// What a rule remembers.
#[derive(Clone, Debug, Default)]
pub struct RuleState {
    pub alerts: AlertBook,
    pub health: Health,
    /// Wall time of the last evaluation; 0 before the first.
    pub evaluated_at: Millis,
    pub took: Duration,
    pub unsent: Unsent,
    /// Series that the last evaluation wrote.
    series: HashSet<Labels>,
}

/// How the last iteration of a group went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Iteration {
    /// Wall time at its start; 0 before the first.
    pub started_at: Millis,
    /// The time that it evaluated for; 0 before the first.
    pub time: Millis,
    pub took: Duration,
    pub missed: u64,
    /// Samples that it wrote, staleness markers not counted.
    pub samples: usize,
}

/// A group with its state. Rules of one level may be evaluated at the same time.
pub struct Group {
    pub spec: GroupSpec,
    levels: Vec<Vec<usize>>,
    states: Vec<Mutex<RuleState>>,
    /// What expressions have in common, and their results for the time that is evaluated.
    parts: Arc<Parts>,
    memo: Mutex<Option<(Millis, Arc<Memo>)>>,
    /// Series of rules that a reload took away.
    orphans: Mutex<Vec<Labels>>,
    pub last: Mutex<Iteration>,
    /// Held while the group is evaluated, on the grid or early.
    pub turn: tokio::sync::Mutex<()>,
    /// Evaluations to go before alerts are restored from series; 0 where that is done or not wanted.
    awaits_series: AtomicU8,
    /// Names that rules of any group record, which nobody needs to send.
    recorded: ArcSwap<HashSet<Arc<str>>>,
}

/// One rule's part of an evaluation, before it is written.
struct Outcome {
    index: usize,
    result: Result<Vec<RuleSample>, String>,
    started_at: Millis,
    took: Duration,
}

impl Group {
    pub fn new(spec: GroupSpec) -> Self {
        let levels = levels(&spec.rules);
        let states = spec.rules.iter().map(|_| Mutex::default()).collect();
        Self {
            parts: Arc::new(common::parts(&spec)),
            memo: Mutex::default(),
            spec,
            levels,
            states,
            orphans: Mutex::default(),
            last: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            awaits_series: AtomicU8::new(0),
            recorded: ArcSwap::default(),
        }
    }

    /// Indices of rules, level by level: a level may begin when the one before is written.
    pub fn levels(&self) -> &[Vec<usize>] {
        &self.levels
    }

    /// Says which names rules of all groups record.
    pub fn set_recorded(&self, names: &Arc<HashSet<Arc<str>>>) {
        self.recorded.store(Arc::clone(names));
    }

    /// How many series the last evaluations of all rules wrote.
    pub fn series(&self) -> usize {
        self.states.iter().map(|state| state.lock().series.len()).sum()
    }

    /// The rules with their states, each of which is locked while it is looked at.
    pub fn rules(&self) -> impl Iterator<Item = (&Rule, MutexGuard<'_, RuleState>)> {
        self.spec.rules.iter().zip(&self.states).map(|(rule, state)| (rule, state.lock()))
    }

    /// A number that moves whenever an alert of the group comes, goes or changes its state.
    pub fn changes(&self) -> u64 {
        self.states.iter().map(|state| state.lock().alerts.changes()).sum()
    }

    /// The state of one rule, to be changed.
    pub fn with_state<T>(&self, index: usize, change: impl FnOnce(&mut RuleState) -> T) -> Option<T> {
        self.states.get(index).map(|state| change(&mut state.lock()))
    }

    /// Takes over what rules of a former version of the group remember. Rules are the same if name and labels are; what
    /// no rule takes over will be marked stale by the next iteration.
    pub fn take_over(&self, former: &Self) {
        let mut left: Vec<usize> = (0..former.spec.rules.len()).collect();
        for (rule, state) in self.spec.rules.iter().zip(&self.states) {
            let same = |index: &usize| former.spec.rules.get(*index).is_some_and(|other| rule.is_same(other));
            let Some(at) = left.iter().position(same) else { continue };
            if let Some(old) = former.states.get(left.remove(at)) {
                *state.lock() = old.lock().clone();
            }
        }
        let mut orphans = self.orphans.lock();
        orphans.append(&mut former.orphans.lock());
        for index in left {
            orphans.extend(
                former.with_state(index, |state| state.series.drain().collect::<Vec<_>>()).into_iter().flatten(),
            );
        }
        *self.last.lock() = *former.last.lock();
    }

    /// Evaluates all rules for a time, one after the other.
    pub fn evaluate(&self, world: &World, time: Millis) {
        for index in 0..self.spec.rules.len() {
            self.evaluate_rules(world, &[index], time);
        }
        self.end_iteration(world, time);
    }

    /// Evaluates rules that do not depend on each other, and writes their results together.
    pub fn evaluate_rules(&self, world: &World, indices: &[usize], time: Millis) {
        let mut outcomes: Vec<Outcome> = indices.iter().filter_map(|index| self.run(world, *index, time)).collect();
        let shifted = self.shifted(world, time);
        let mut batches = Vec::with_capacity(outcomes.len());
        for outcome in &mut outcomes {
            let mut samples = Vec::new();
            if let Ok(result) = &mut outcome.result {
                samples.append(result);
                let written: HashSet<&Labels> = samples.iter().map(|sample| &sample.labels).collect();
                let gone = self.with_state(outcome.index, |state| {
                    state.series.iter().filter(|labels| !written.contains(labels)).cloned().collect::<Vec<_>>()
                });
                drop(written);
                samples.extend(gone.into_iter().flatten().map(|labels| stale(labels, shifted)));
            }
            batches.push(samples);
        }
        let written = world.backend.append(&batches);
        for ((outcome, samples), written) in outcomes.into_iter().zip(batches).zip(written) {
            self.finish(outcome, samples, written);
        }
    }

    fn finish(&self, outcome: Outcome, samples: Vec<RuleSample>, written: Result<(), String>) {
        let Outcome { index, result, started_at, took } = outcome;
        self.with_state(index, |state| {
            state.evaluated_at = started_at;
            state.took = took;
            let evaluated = result.is_ok();
            state.health = match result.map(|_| ()).and(written) {
                Ok(()) => Health::Ok,
                Err(message) => Health::Bad(message),
            };
            if evaluated {
                let alive = samples.into_iter().filter(|sample| !is_stale(&sample.value));
                state.series = alive.map(|sample| sample.labels).collect();
            }
        });
    }

    fn shifted(&self, world: &World, time: Millis) -> Millis {
        time - self.spec.query_offset.unwrap_or(world.query_offset)
    }

    fn run(&self, world: &World, index: usize, time: Millis) -> Option<Outcome> {
        let rule = self.spec.rules.get(index)?;
        let (started_at, begin) = (world.clock.now(), world.clock.monotonic());
        let shifted = self.shifted(world, time);
        let result = self.query(world, (index, rule), shifted).and_then(|vector| {
            self.look_for_metrics(world, (index, rule), vector.is_empty(), time);
            match rule.alerting() {
                None => record(rule, vector, self.spec.limit),
                Some(alerting) => self.alert(world, (index, rule, alerting), &vector, time),
            }
        });
        let took = world.clock.monotonic().saturating_sub(begin);
        Some(Outcome { index, result, started_at, took })
    }

    fn alert(
        &self,
        world: &World,
        (index, rule, alerting): (usize, &Rule, &Alerting),
        vector: &[RuleSample],
        time: Millis,
    ) -> Result<Vec<RuleSample>, String> {
        let expander =
            (!vector.is_empty()).then(|| Expander::new(&rule.name, &world.backend, &world.surroundings, time));
        let mut found =
            vector.iter().filter_map(|sample| Some(firing(rule, alerting, sample, expander.as_ref()?))).collect();
        self.with_no_data(world, (index, rule, alerting), &mut found, time)?;
        let updated = self.with_state(index, |state| {
            state.alerts.update(found, time, alerting, self.spec.limit)?;
            let due = state.alerts.to_send(time, world.resend_delay, self.spec.interval);
            let is_written = !self.is_rule_awaiting(alerting);
            let samples = is_written.then(|| state.alerts.samples(rule, self.shifted(world, time)));
            Ok((samples.unwrap_or_default(), due))
        });
        let (samples, due) = updated
            .unwrap_or_else(|| Ok(Default::default()))
            .map_err(|error: crate::rules::alert::AlertError| error.to_string())?;
        if !due.is_empty() {
            world.sink.take(&rule.query, &due);
        }
        Ok(samples)
    }

    /// Marks the series of rules that are gone.
    fn bury_orphans(&self, world: &World, time: Millis) {
        let orphans = std::mem::take(&mut *self.orphans.lock());
        if orphans.is_empty() {
            return;
        }
        let shifted = self.shifted(world, time);
        // What cannot be written now is not tried again: the series end by themselves after the look-back.
        let _ = world.backend.append(&[orphans.into_iter().map(|labels| stale(labels, shifted)).collect()]);
    }

    /// Marks every series of the group, which is not configured any more.
    pub fn bury(&self, world: &World, time: Millis) {
        let mut series: BTreeSet<Labels> = BTreeSet::new();
        for state in &self.states {
            series.extend(state.lock().series.drain());
        }
        self.orphans.lock().extend(series);
        self.bury_orphans(world, time);
    }
}

fn stale(labels: Labels, time: Millis) -> RuleSample {
    RuleSample { labels, time, value: Value::Float(STALE_NAN) }
}

fn is_stale(value: &Value) -> bool {
    matches!(value, Value::Float(value) if crate::model::sample::is_stale(*value))
}

/// The samples of a recording rule.
pub(super) fn record(rule: &Rule, vector: Vec<RuleSample>, limit: usize) -> Result<Vec<RuleSample>, String> {
    let mut seen = HashSet::with_capacity(vector.len());
    let mut samples = Vec::with_capacity(vector.len());
    for mut sample in vector {
        let mut builder = sample.labels.to_builder();
        builder.set(METRIC_NAME, &rule.name);
        for (name, value) in &rule.labels {
            builder.set(name, value);
        }
        sample.labels = builder.build();
        if !seen.insert(sample.labels.clone()) {
            return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
        }
        samples.push(sample);
    }
    if limit > 0 && samples.len() > limit {
        return Err(format!("exceeded limit of {limit} with {} series", samples.len()));
    }
    Ok(samples)
}

/// The alert that one element of a result stands for.
pub(super) fn firing(rule: &Rule, alerting: &Alerting, sample: &RuleSample, expander: &Expander) -> Firing {
    let element = expander.element(&sample.labels, &sample.value);
    let mut builder = sample.labels.without_name().to_builder();
    for (name, text) in &rule.labels {
        builder.set(name, &element.expand(text));
    }
    builder.set("alertname", &rule.name);
    let annotations: BTreeMap<&str, String> =
        alerting.annotations.iter().map(|(name, text)| (&**name, element.expand(text))).collect();
    let value = match sample.value {
        Value::Float(value) => value,
        Value::Histogram(_) => 0.0,
    };
    Firing { labels: builder.build(), annotations: Labels::from_pairs(annotations), value }
}

#[cfg(test)]
mod tests;
