//! All objectives of a process with their ledgers.
//!
//! A reload keeps the ledger of an objective whose counting did not change. Whoever asks brings the ledgers up to date,
//! on the thread that asks; nothing runs by itself here.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::base::clock::{Clock, Millis};
use crate::metrics::Store;
use crate::metrics::changes::Token;
use crate::model::calendar::Calendar;
use crate::promql::eval::QueryOptions;
use crate::promql::source::Source;
use crate::slo::alerting::{Rule, rules_of};
use crate::slo::counts::Reader;
use crate::slo::maintenance;
use crate::slo::objective::Objective;
use crate::slo::set::Set;
use crate::slo::status::{self, Question, Status};
use crate::slo::view::{History, Kept, Moment, View};

/// A time asked for may be this far ahead of the clock.
const AHEAD_MAX: Millis = 600_000;

/// An objective with its ledgers.
#[derive(Debug)]
pub struct Live {
    pub objective: Arc<Objective>,
    /// Windows that do not count.
    pub maintenance: Calendar,
    /// One for each part.
    kept: Arc<Vec<Mutex<Kept>>>,
    /// Whatever decides over counting.
    counting: String,
}

/// What is in force.
#[derive(Debug, Default)]
pub struct State {
    pub objectives: Vec<Arc<Live>>,
    /// Alerts by the query that stands for them in the API.
    pub rules: HashMap<String, Rule>,
}

/// An objective and how it stands, or why that is not known.
pub type Found = (Arc<Objective>, Result<Vec<Status>, String>);

/// What an engine works with.
#[derive(Clone, Debug)]
pub struct Limits {
    pub options: QueryOptions,
    pub groups_max: usize,
}

/// The objectives. Clones are the same ones.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    history: Arc<dyn History>,
    clock: Clock,
    limits: Limits,
    state: ArcSwap<State>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("objectives", &self.state().objectives.len()).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without objectives.
    pub fn new(history: Arc<dyn History>, clock: Clock, limits: Limits) -> Self {
        Self(Arc::new(Inner { history, clock, limits, state: ArcSwap::default() }))
    }

    pub fn state(&self) -> Arc<State> {
        self.0.state.load_full()
    }

    pub fn now(&self) -> Millis {
        self.0.clock.now()
    }

    /// Makes these the objectives.
    pub fn apply(&self, set: &Set) {
        let former = self.state();
        let live = |objective: &Arc<Objective>| {
            let o = &**objective;
            let counting = format!("{:?}", (&o.parts, &o.group_by, o.budgeting, o.no_data, o.horizon()));
            let same = |old: &&Arc<Live>| old.counting == counting && old.objective.id() == o.id();
            let kept = former.objectives.iter().find(same).map(|old| Arc::clone(&old.kept));
            let kept = kept.unwrap_or_else(|| Arc::new(o.parts.iter().map(|_| Kept::none()).collect()));
            let maintenance = maintenance::of(&set.maintenance, o);
            Arc::new(Live { objective: Arc::clone(objective), maintenance, kept, counting })
        };
        let objectives: Vec<Arc<Live>> = set.objectives.iter().map(live).collect();
        let mut rules = HashMap::new();
        for live in &objectives {
            rules.extend(rules_of(live).into_iter().map(|rule| (rule.query.clone(), rule)));
        }
        self.0.state.store(Arc::new(State { objectives, rules }));
    }

    /// A look at an objective; reads what is missing.
    pub fn view<'a>(&'a self, live: &'a Live, time: Millis, oldest: Millis) -> Result<View<'a>, String> {
        let now = self.now();
        let moment = Moment { time: time.min(now.saturating_add(AHEAD_MAX)), oldest, now };
        let reader = Reader {
            source: self.0.history.source(),
            options: &self.0.limits.options,
            group_by: &live.objective.group_by,
            groups_max: self.0.limits.groups_max,
        };
        View::open(reader, &*self.0.history, (&live.objective, &live.kept), moment)
    }

    /// How objectives stand that `wanted` chooses, in the order of their files.
    pub fn statuses(&self, question: Question, wanted: impl Fn(&Objective) -> bool) -> Vec<Found> {
        let state = self.state();
        let time = question.time.min(self.now().saturating_add(AHEAD_MAX));
        let question = Question { time, ..question };
        let chosen = state.objectives.iter().filter(|live| wanted(&live.objective));
        chosen.map(|live| (Arc::clone(&live.objective), status::of(self, live, question))).collect()
    }
}

/// The store of this process.
#[derive(Debug)]
pub struct StoreHistory(pub Arc<Store>);

impl History for StoreHistory {
    fn source(&self) -> &dyn Source {
        &*self.0
    }

    fn changed_since(&self, mark: &mut Option<Token>) -> Millis {
        let changes = self.0.changes();
        let now = changes.token();
        let former = mark.replace(now);
        former.map_or(Millis::MIN, |former| changes.since(former))
    }
}
