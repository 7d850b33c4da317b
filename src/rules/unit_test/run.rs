//! One test: series in, groups evaluated over time, alerts and expressions compared.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::clock::{Clock, Millis};
use crate::model::histogram::{Histogram, ResetHint};
use crate::model::sample::Value;
use crate::promql::eval::QueryOptions;
use crate::promql::parse::parse;
use crate::rules::alert::AlertState;
use crate::rules::expansion::Surroundings;
use crate::rules::file;
use crate::rules::group::{Group, Health, World};
use crate::rules::seam::{Backend, NoSink};
use crate::rules::unit_test::memory::Memory;
use crate::rules::unit_test::{AlertTest, Report, TestFile, TestGroup, Wanted, compare, notation};

const MINUTE: Millis = 60_000;

/// Most evaluations of a test: a year of minutes.
const EVALUATIONS_MAX: Millis = 525_600;

pub(super) fn run(file: &TestFile, rule_files: &[PathBuf], wanted: &Wanted, report: &mut Report) {
    let clock = Clock::real();
    for (number, test) in file.tests.iter().flatten().enumerate() {
        if wanted.names.as_ref().is_some_and(|names| !names.is_match(&test.name)) {
            continue;
        }
        let name = if test.name.is_empty() { format!("unnamed#{number}") } else { test.name.clone() };
        let began = clock.monotonic();
        let mut notes = Vec::new();
        let faults = Test::run(file, rule_files, (test, wanted), &mut notes).err().unwrap_or_default();
        if wanted.debug {
            report.notes.push(format!("DEBUG: Starting test {name}"));
            report.notes.append(&mut notes);
            let took = clock.monotonic().saturating_sub(began);
            report.notes.push(format!("DEBUG: Test {name} finished, took {took:?}"));
        }
        report.faults.extend(faults.iter().cloned());
        report.cases.push((name, faults));
    }
}

/// A test while it runs.
struct Test<'a> {
    test: &'a TestGroup,
    memory: Arc<Memory>,
    world: World,
    groups: Vec<Group>,
    start: Millis,
    /// Between evaluations.
    interval: Millis,
    diff: bool,
    faults: Vec<String>,
}

impl<'a> Test<'a> {
    fn run(
        file: &TestFile,
        rule_files: &[PathBuf],
        (test, wanted): (&'a TestGroup, &Wanted),
        notes: &mut Vec<String>,
    ) -> Result<(), Vec<String>> {
        let or_minute = |millis: Millis| if millis == 0 { MINUTE } else { millis };
        let interval = or_minute(file.evaluation_interval.as_millis());
        let step = if test.interval.is_zero() { interval } else { test.interval.as_millis() };
        let start = test.start_timestamp.map_or(0, |time| time.0);
        let options = QueryOptions { default_subquery_step: interval, ..QueryOptions::default() };
        let memory = Arc::new(Memory::new(options));
        load(test, &memory, start, step).map_err(|fault| vec![fault])?;
        let order: HashMap<&str, usize> =
            file.group_eval_order.iter().flatten().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let mut groups = groups(rule_files, step, wanted.ignore_unknown_fields)?;
        groups.sort_by_key(|group| order.get(&*group.spec.name).copied().unwrap_or(0));
        let world = World {
            backend: Arc::clone(&memory) as Arc<dyn Backend>,
            sink: Arc::new(NoSink),
            surroundings: Arc::new(Surroundings {
                external_labels: test.external_labels.clone().unwrap_or_default(),
                external_url: test.external_url.clone(),
            }),
            clock: Clock::simulated(0).0,
            query_offset: 0,
            resend_delay: MINUTE,
        };
        let diff = wanted.diff;
        let mut running = Test { test, memory, world, groups, start, interval, diff, faults: Vec::new() };
        running.evaluate()?;
        running.expressions(file.fuzzy_compare);
        if wanted.debug {
            notes.push("DEBUG: Dump of all data (input_series and rules):".to_owned());
            notes.extend(running.memory.listed());
        }
        if running.faults.is_empty() { Ok(()) } else { Err(running.faults) }
    }

    /// Lets time pass up to the last time that something is asked for, comparing alerts on the way.
    fn evaluate(&mut self) -> Result<(), Vec<String>> {
        let alert_tests = self.test.alert_rule_test.iter().flatten();
        if let Some(test) = alert_tests.clone().find(|test| test.alertname.is_empty()) {
            let name =
                if self.test.name.is_empty() { String::new() } else { format!(" (in TestGroup {})", self.test.name) };
            let time = test.eval_time;
            return Err(vec![format!(
                "an item under alert_rule_test misses required attribute alertname at eval_time {time}{name}"
            )]);
        }
        let alert_times = alert_tests.map(|test| test.eval_time.as_millis());
        let expr_times = self.test.promql_expr_test.iter().flatten().map(|test| test.eval_time.as_millis());
        let end = alert_times.chain(expr_times).max().unwrap_or(0);
        if end / self.interval > EVALUATIONS_MAX {
            return Err(vec![format!("more than {EVALUATIONS_MAX} evaluations: choose a longer evaluation_interval")]);
        }
        let mut pending: BTreeMap<Millis, Vec<&AlertTest>> = BTreeMap::new();
        for test in self.test.alert_rule_test.iter().flatten() {
            pending.entry(test.eval_time.as_millis()).or_default().push(test);
        }
        let mut since = 0;
        while since <= end {
            let failed = self.step(self.start + since);
            if !failed.is_empty() {
                self.faults.extend(failed);
                return Err(std::mem::take(&mut self.faults));
            }
            // A time between two evaluations is compared with the first of them.
            let later = pending.split_off(&(since + self.interval));
            for tests in std::mem::replace(&mut pending, later).into_values() {
                self.compare(&tests);
            }
            since += self.interval;
        }
        Ok(())
    }

    /// One evaluation of everything; gives the rules that failed.
    fn step(&self, time: Millis) -> Vec<String> {
        self.memory.set_now(time);
        let mut failed = Vec::new();
        for group in &self.groups {
            group.evaluate(&self.world, time);
            for (rule, state) in group.rules() {
                if let Health::Bad(error) = &state.health {
                    failed.push(format!("    rule: {}, time: {}, err: {error}", rule.name, compare::elapsed(time)));
                }
            }
        }
        failed
    }

    fn compare(&mut self, tests: &[&AlertTest]) {
        for test in tests {
            let mut got = Vec::new();
            for group in &self.groups {
                for (_, state) in
                    group.rules().filter(|(rule, _)| rule.alerting().is_some() && *rule.name == *test.alertname)
                {
                    let firing = state.alerts.active().filter(|alert| alert.state == AlertState::Firing);
                    got.extend(firing.map(|alert| (alert.labels.clone(), alert.annotations.clone())));
                }
            }
            self.faults.extend(compare::alerts(&self.test.name, test, got, self.diff).err());
        }
    }

    fn expressions(&mut self, fuzzy: bool) {
        for test in self.test.promql_expr_test.iter().flatten() {
            let time = self.start + test.eval_time.as_millis();
            let result = parse(&test.expr)
                .map_err(|error| error.to_string())
                .and_then(|expr| self.memory.query(&test.expr, &expr, time));
            let compared = match result {
                Ok(samples) => compare::samples(test, samples, fuzzy),
                Err(error) => {
                    let expr = crate::promql::quote::quote_str(&test.expr);
                    Err(format!("    expr: {expr}, time: {}, err: {error}", test.eval_time))
                }
            };
            self.faults.extend(compared.err());
        }
    }
}

fn load(test: &TestGroup, memory: &Memory, start: Millis, step: Millis) -> Result<(), String> {
    for input in test.input_series.iter().flatten() {
        let name = |error| format!("input_series {:?}: {error}", input.series);
        let labels = notation::metric(&input.series).map_err(name)?;
        let mut values = notation::values(&input.values).map_err(name)?;
        hint_resets(&mut values);
        for (value, at) in values.into_iter().zip(0..) {
            if let Some(value) = value {
                memory.put(&labels, start + at * step, value);
            }
        }
    }
    Ok(())
}

/// Says of each histogram whether its counter was reset since the one before, where the file does not: a store of
/// Prometheus finds that out when it takes samples in, and results show it.
fn hint_resets(values: &mut [Option<Value>]) {
    let mut before: Option<Arc<Histogram>> = None;
    for value in values.iter_mut().flatten() {
        let Value::Histogram(histogram) = value else {
            before = None;
            continue;
        };
        if let Some(before) = &before
            && histogram.reset_hint == ResetHint::Unknown
        {
            let hint = if histogram.detect_reset(before) { ResetHint::Reset } else { ResetHint::NotReset };
            Arc::make_mut(histogram).reset_hint = hint;
        }
        before = Some(Arc::clone(histogram));
    }
}

fn groups(
    rule_files: &[PathBuf],
    default_interval: Millis,
    ignore_unknown_fields: bool,
) -> Result<Vec<Group>, Vec<String>> {
    let mut groups = Vec::new();
    for path in rule_files {
        let load = if ignore_unknown_fields { file::load_leniently } else { file::load };
        match load(path, default_interval) {
            Ok(specs) => groups.extend(specs.into_iter().map(Group::new)),
            Err(faults) => return Err(faults.iter().map(ToString::to_string).collect()),
        }
    }
    Ok(groups)
}
