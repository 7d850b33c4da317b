//! All groups of a process: started, reloaded, stopped, remembered.
//!
//! Every group has a task of its own that waits for its grid times; the work runs on blocking threads, as many at a time
//! as the machine has cores. A reload leaves groups alone that did not change, and hands the state of a changed one to
//! its successor once the last iteration has ended.

mod early;
mod figures;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::base::clock::Millis;
use crate::base::drain::Drain;
use crate::base::tasks::{TaskKind, Tasks, cores};
use crate::rules::group::common;
use crate::rules::group::{Group, Health, Iteration, World};
use crate::rules::namespaces::Namespaces;
use crate::rules::rule::GroupSpec;
use crate::rules::schedule::{Due, Schedule};
use crate::rules::snapshot::{Snapshot, SnapshotFile};
use crate::telemetry::{Counters, Histograms, traces};

static ITERATIONS: Counters<0> =
    Counters::new("novascope_rule_group_iterations_total", "Iterations of rule groups.", []);
static MISSED: Counters<0> = Counters::new(
    "novascope_rule_group_iterations_missed_total",
    "Iterations that did not happen because the one before took too long.",
    [],
);
static EVALUATIONS: Counters<1> =
    Counters::new("novascope_rule_evaluations_total", "Evaluations of rules, by how they ended.", ["result"]);

static TOOK: Histograms<0> =
    Histograms::new("novascope_rule_evaluation_duration_seconds", "How long evaluations of single rules took.", []);

/// How often changed alerts are saved, at most.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time that a group sleeps before it looks at the clock again, which may have been set.
const SLEEP_MAX: Duration = Duration::from_secs(10);

/// What [`Rules`] are made from.
pub struct Seams {
    pub world: World,
    pub tasks: Tasks,
    pub drain: Drain,
    /// Where alerts are kept over a restart; `None` keeps nothing.
    pub file: Option<SnapshotFile>,
    /// Groups set over the API; `None` allows none.
    pub namespaces: Option<Arc<Namespaces>>,
}

/// All rules of a process. Clones are the same ones.
#[derive(Clone)]
pub struct Rules(Arc<Inner>);

struct Inner {
    groups: ArcSwap<Vec<Arc<Group>>>,
    world: ArcSwap<World>,
    tasks: Tasks,
    drain: Drain,
    permits: Arc<Semaphore>,
    running: Mutex<Vec<Running>>,
    /// What files gave, and what was set over the API; both run.
    sources: Mutex<[Vec<GroupSpec>; SOURCES]>,
    file: Option<SnapshotFile>,
    /// Groups set over the API, where that is allowed.
    namespaces: Option<Arc<Namespaces>>,
    /// From the last run, until the first groups came.
    restored: Mutex<Snapshot>,
    saved_changes: AtomicU64,
    /// Groups came: before that there is nothing to save, and saving nothing would lose what the last run left.
    is_applied: AtomicBool,
}

/// Where groups come from. Each source replaces its own groups and leaves the others alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Rule files.
    Files,
    /// The configuration API.
    Api,
    /// Service level objectives.
    Objectives,
}

const SOURCES: usize = 3;

/// A group with its task.
struct Running {
    group: Arc<Group>,
    stop: Drain,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("groups", &self.groups().len()).finish_non_exhaustive()
    }
}

impl Rules {
    /// Rules without groups. Reads what the last run saved.
    pub fn new(seams: Seams) -> Self {
        let Seams { world, tasks, drain, file, namespaces } = seams;
        let restored = match file.as_ref().map_or(Ok(Snapshot::default()), SnapshotFile::load) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::warn!(%error, "the alerts of the last run cannot be read; they start anew");
                Snapshot::default()
            }
        };
        // Zeros are worth showing: rules about them need a first sample.
        ITERATIONS.get();
        MISSED.get();
        common::announce();
        for result in ["ok", "failed"] {
            EVALUATIONS.with([result]);
        }
        let inner = Inner {
            groups: ArcSwap::default(),
            world: ArcSwap::from_pointee(world),
            tasks,
            drain,
            permits: Arc::new(Semaphore::new(cores())),
            running: Mutex::default(),
            sources: Mutex::default(),
            file,
            namespaces,
            restored: Mutex::new(restored),
            saved_changes: AtomicU64::new(0),
            is_applied: AtomicBool::new(false),
        };
        Self(Arc::new(inner))
    }

    /// All groups, in the order of their files.
    pub fn groups(&self) -> Arc<Vec<Arc<Group>>> {
        self.0.groups.load_full()
    }

    /// The groups set over the API; `None` where that is not allowed.
    pub fn namespaces(&self) -> Option<Arc<Namespaces>> {
        self.0.namespaces.clone()
    }

    /// Runs work that may block for the sake of rules; `None` where it panicked or the process ends.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.0.tasks.spawn_blocking(TaskKind::RuleGroup, work).await.ok()
    }

    /// Changes what groups work with, from their next iteration on.
    pub fn set_world(&self, change: impl FnOnce(&World) -> World) {
        self.0.world.store(Arc::new(change(&self.0.world.load())));
    }

    /// Makes these the groups of rule files that run. Must be called inside the runtime.
    pub fn apply(&self, specs: Vec<GroupSpec>) {
        self.apply_from(Source::Files, specs);
    }

    /// Makes these the groups of one source. Must be called inside the runtime.
    pub fn apply_from(&self, source: Source, specs: Vec<GroupSpec>) {
        let mut sources = self.0.sources.lock();
        if let Some(own) = sources.get_mut(source as usize) {
            *own = specs;
        }
        let all = sources.iter().flatten().cloned().collect();
        self.run_these(all);
    }

    fn run_these(&self, specs: Vec<GroupSpec>) {
        let recorded = specs.iter().flat_map(|spec| &spec.rules).filter(|rule| rule.alerting().is_none());
        let recorded: Arc<HashSet<Arc<str>>> = Arc::new(recorded.map(|rule| Arc::clone(&rule.name)).collect());
        let mut running = self.0.running.lock();
        let mut former: Vec<Running> = running.drain(..).collect();
        let mut restored = self.0.restored.lock();
        // As in Prometheus, only groups of the start look for what another server left in series.
        let is_start = !self.0.is_applied.load(Ordering::Relaxed);
        for spec in specs {
            let old = former.iter().position(|old| old.group.spec.is_same(&spec)).map(|at| former.remove(at));
            if let Some(old) = old {
                if old.group.spec.is_equal(&spec) {
                    old.group.set_recorded(&recorded);
                    running.push(old);
                    continue;
                }
                old.stop.start();
                let group = Group::new(spec);
                group.set_recorded(&recorded);
                running.push(self.start(group, Some(old)));
            } else {
                let group = Group::new(spec);
                group.set_recorded(&recorded);
                if !restored.restore(&group, self.0.world.load().clock.now()) && is_start {
                    group.await_series();
                }
                running.push(self.start(group, None));
            }
        }
        self.0.is_applied.store(true, Ordering::Relaxed);
        self.0.groups.store(Arc::new(running.iter().map(|running| Arc::clone(&running.group)).collect()));
        for gone in former {
            gone.stop.start();
            let rules = self.clone();
            self.0.tasks.spawn(TaskKind::RuleGroup, async move { rules.bury(gone).await });
        }
    }

    fn start(&self, group: Group, former: Option<Running>) -> Running {
        let (group, stop) = (Arc::new(group), self.0.drain.child());
        let life = Life { rules: self.clone(), group: Arc::clone(&group), stop: stop.clone() };
        let task = self.0.tasks.spawn(TaskKind::RuleGroup, async move {
            if let Some(former) = former {
                // Its last iteration must have ended before its state is taken.
                let _ = former.task.await;
                life.group.take_over(&former.group);
            }
            life.run().await;
        });
        Running { group, stop, task }
    }

    /// Marks the series of a group that is gone, two intervals later: until then a renamed one may have taken them over.
    async fn bury(&self, gone: Running) {
        let _ = gone.task.await;
        let wait = u64::try_from(gone.group.spec.interval).unwrap_or(0).saturating_mul(2);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            () = self.0.drain.wait() => return,
        }
        let world = self.0.world.load_full();
        let buried = self.0.tasks.spawn_blocking(TaskKind::RuleGroup, move || {
            let now = world.clock.now();
            gone.group.bury(&world, now);
        });
        let _ = buried.await;
    }

    /// Saves alerts whenever they changed, until the process stops; then once more.
    pub async fn keep_saved(self) {
        loop {
            let draining = tokio::select! {
                () = tokio::time::sleep(SAVE_INTERVAL) => false,
                () = self.0.drain.wait() => true,
            };
            if draining {
                let running = std::mem::take(&mut *self.0.running.lock());
                for ended in running {
                    let _ = ended.task.await;
                }
            }
            let rules = self.clone();
            let saved = self.0.tasks.spawn_blocking(TaskKind::RuleGroup, move || rules.save(draining)).await;
            if let Ok(Err(error)) = saved {
                tracing::warn!(%error, "alerts could not be saved; a restart would lose their state");
            }
            if draining {
                return;
            }
        }
    }

    /// Writes the alerts to disk if any changed since the last time, or `always`.
    pub fn save(&self, always: bool) -> io::Result<()> {
        let Some(file) = self.0.file.as_ref().filter(|_| self.0.is_applied.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let groups = self.groups();
        let changes: u64 = groups.iter().map(|group| group.changes()).sum();
        if self.0.saved_changes.swap(changes, Ordering::Relaxed) == changes && !always {
            return Ok(());
        }
        file.save(&Snapshot::of(groups.iter().map(|group| &**group)))
    }
}

/// The task of one group.
struct Life {
    rules: Rules,
    group: Arc<Group>,
    stop: Drain,
}

impl Life {
    async fn run(self) {
        let spec = &self.group.spec;
        let schedule = Schedule::new(&spec.file, &spec.name, spec.interval);
        let clock = self.rules.0.world.load().clock.clone();
        let mut last = schedule.slot_before(clock.now());
        loop {
            let wait = u64::try_from(schedule.wait(last, clock.now())).unwrap_or(0);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait).min(SLEEP_MAX)) => {}
                () = self.stop.wait() => return,
            }
            if let Some(due) = schedule.due(last, clock.now()) {
                let spec = &self.group.spec;
                let span = tracing::info_span!(
                    target: traces::TARGET, "rule_group", otel.name = %spec.name, rule.file = %spec.file, rule.count = spec.rules.len(),
                );
                self.iterate(due).instrument(span).await;
                last = due.time;
            }
        }
    }

    async fn iterate(&self, due: Due) {
        let _turn = self.group.turn.lock().await;
        let world = self.rules.0.world.load_full();
        let (started_at, begin) = (world.clock.now(), world.clock.monotonic());
        for level in steps(self.group.levels()) {
            let chunks = level.into_iter().map(|chunk| self.evaluate(Arc::clone(&world), chunk, due.time));
            futures_util::future::join_all(chunks).await;
            if self.stop.is_draining() {
                break;
            }
        }
        self.group.end_iteration(&world, due.time);
        if self.group.counted_evaluation() {
            let (group, world) = (Arc::clone(&self.group), Arc::clone(&world));
            let now = due.time;
            let work = self.rules.0.tasks.spawn_blocking(TaskKind::RuleGroup, move || {
                group.restore_from_series(&world, now);
            });
            let _ = work.await;
        }
        let took = world.clock.monotonic().saturating_sub(begin);
        let mut iteration = self.group.last.lock();
        let samples = self.group.series();
        *iteration = Iteration { started_at, time: due.time, took, missed: iteration.missed + due.missed, samples };
        ITERATIONS.get().add(1 + due.missed);
        MISSED.get().add(due.missed);
    }

    /// Evaluates a chunk on a thread that may block. Its parts go one after the other, the rules of a part together.
    async fn evaluate(&self, world: Arc<World>, chunk: Vec<Vec<usize>>, time: Millis) {
        let Ok(permit) = Arc::clone(&self.rules.0.permits).acquire_owned().await else { return };
        let group = Arc::clone(&self.group);
        let work = self.rules.0.tasks.spawn_blocking(TaskKind::RuleGroup, move || {
            let _permit = permit;
            for part in chunk {
                group.evaluate_rules(&world, &part, time);
                for index in part {
                    let told = group.with_state(index, |state| (state.health == Health::Ok, state.took));
                    let (good, took) = told.unwrap_or_default();
                    TOOK.get().observe_seconds(took);
                    EVALUATIONS.with([if good { "ok" } else { "failed" }]).add(1);
                }
            }
        });
        let _ = work.await;
    }
}

/// Rules of one level that are evaluated and written together.
const PART_RULES_MAX: usize = 32;

/// What to do in which order: the chunks of a step run at the same time, the parts of a chunk one after the other.
/// Levels of one rule, which are chains, share a chunk.
fn steps(levels: &[Vec<usize>]) -> Vec<Vec<Vec<Vec<usize>>>> {
    let mut steps: Vec<Vec<Vec<Vec<usize>>>> = Vec::new();
    let mut chain_open = false;
    for level in levels {
        if level.len() == 1 && chain_open {
            if let Some(chunk) = steps.last_mut().and_then(|step| step.first_mut()) {
                chunk.push(level.clone());
            }
            continue;
        }
        chain_open = level.len() == 1;
        steps.push(level.chunks(PART_RULES_MAX).map(|part| vec![part.to_vec()]).collect());
    }
    steps
}

#[cfg(test)]
mod tests;
