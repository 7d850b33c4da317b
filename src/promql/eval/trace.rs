//! What each node of a query took, for `explain`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock::Clock;
use crate::model::labels::Labels;
use crate::promql::source::{Column, SeriesSet, SourceError};

use super::cells::Cells;
use super::error::EvalError;
use super::outcome::Explained;
use super::plan::{Plan, PlanKind, aggregate_name};
use super::query::{Query, Set, Work};
use super::vector::{Lazy, Vector};

/// Counts of one node.
#[derive(Debug, Default)]
pub(super) struct Node {
    nanos: AtomicU64,
    series: AtomicU64,
    points: AtomicU64,
    samples: AtomicU64,
    bytes: AtomicU64,
    tiers: Mutex<Vec<&'static str>>,
}

/// The nodes of a query that is to be explained, by the address of their plan, which stays where it is.
#[derive(Debug)]
pub(super) struct Trace {
    clock: Clock,
    nodes: Mutex<HashMap<usize, Arc<Node>>>,
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl Trace {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, nodes: Mutex::default() }
    }

    pub(super) fn node(&self, plan: &Plan) -> Arc<Node> {
        self.nodes.lock().entry(std::ptr::from_ref(plan).addr()).or_default().clone()
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(super) fn took(&self, node: &Node, since: Duration) {
        let nanos = self.now().saturating_sub(since).as_nanos();
        add(&node.nanos, u64::try_from(nanos).unwrap_or(u64::MAX));
    }

    /// The tree of a plan. Samples, bytes and time of a node include those of the nodes below.
    pub(super) fn explain(&self, plan: &Plan, query: &Query<'_>) -> Explained {
        let children: Vec<Explained> = plan.parts().into_iter().map(|part| self.explain(part, query)).collect();
        let node = self.node(plan);
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let below = |of: fn(&Explained) -> u64| children.iter().map(of).sum::<u64>();
        let mut tiers: Vec<&'static str> = children.iter().flat_map(|child| child.tiers.iter().copied()).collect();
        tiers.extend(node.tiers.lock().iter());
        tiers.sort_unstable();
        tiers.dedup();
        let below_seconds = children.iter().map(|child| child.seconds).sum::<f64>();
        Explained {
            node: name(plan),
            expr: query.written(plan.span).to_owned(),
            invariant: plan.invariant,
            tiers,
            series: load(&node.series),
            points: load(&node.points),
            samples: load(&node.samples) + below(|child| child.samples),
            bytes: load(&node.bytes) + below(|child| child.bytes),
            // A node that is evaluated as part of another has no time of its own.
            seconds: (load(&node.nanos) as f64 / 1e9).max(below_seconds),
            children,
        }
    }
}

fn name(plan: &Plan) -> String {
    match &plan.kind {
        PlanKind::Number(_) => "number".to_owned(),
        PlanKind::Text(_) => "string".to_owned(),
        PlanKind::Group(_) => "parentheses".to_owned(),
        PlanKind::Negate(_) => "negation".to_owned(),
        PlanKind::Binary(binary) => format!("binary {}", binary.op.symbol()),
        PlanKind::Aggregate(aggregate) => format!("aggregation {}", aggregate_name(aggregate.op)),
        PlanKind::Call(call) => format!("function {}", call.function),
        PlanKind::Select(_) => "selector".to_owned(),
        PlanKind::Range(_) => "range selector".to_owned(),
        PlanKind::Subquery(_) => "subquery".to_owned(),
    }
}

/// Counts what goes through a vector.
pub(super) fn watch<'a>(query: &'a Query<'a>, node: Arc<Node>, vector: Vector<'a>) -> Vector<'a> {
    match vector {
        Vector::Ready(ready) => {
            add(&node.series, ready.series.len() as u64);
            add(&node.points, ready.series.iter().map(|series| series.cells.samples()).sum());
            Vector::Ready(ready)
        }
        Vector::Lazy(lazy) => Vector::Lazy(Box::new(Watched { query, node, lazy })),
    }
}

struct Watched<'a> {
    query: &'a Query<'a>,
    node: Arc<Node>,
    lazy: Box<dyn Lazy + 'a>,
}

impl Lazy for Watched<'_> {
    fn len(&self) -> usize {
        self.lazy.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        self.lazy.labels(index)
    }

    fn drop_name(&self, index: usize) -> bool {
        self.lazy.drop_name(index)
    }

    fn fill(&self, index: usize, work: &mut Work<'_>, cells: &mut Cells) -> Result<(), EvalError> {
        let Some(trace) = &self.query.trace else { return self.lazy.fill(index, work, cells) };
        let began = trace.now();
        let result = self.lazy.fill(index, work, cells);
        trace.took(&self.node, began);
        add(&self.node.series, u64::from(!cells.is_vacant()));
        add(&self.node.points, cells.samples());
        result
    }

    fn cost(&self) -> usize {
        self.lazy.cost()
    }
}

/// Counts what is read from a set.
pub(super) struct WatchedSet {
    set: Set,
    node: Arc<Node>,
    clock: Clock,
    /// Nobody else takes the time of the node.
    is_timed: bool,
}

impl WatchedSet {
    pub(super) fn new(set: Set, plan: &Plan, trace: &Trace) -> Self {
        let node = trace.node(plan);
        // Range selectors are read by the function around them.
        let is_timed = matches!(plan.kind, PlanKind::Range(_));
        if is_timed {
            add(&node.series, set.len() as u64);
        }
        Self { set, node, clock: trace.clock.clone(), is_timed }
    }
}

impl SeriesSet for WatchedSet {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        self.set.labels(index)
    }

    fn read(&self, index: usize, column: &mut Column) -> Result<(), SourceError> {
        let began = self.clock.monotonic();
        self.set.read(index, column)?;
        if self.is_timed {
            let took = self.clock.monotonic().saturating_sub(began).as_nanos();
            add(&self.node.nanos, u64::try_from(took).unwrap_or(u64::MAX));
            add(&self.node.points, column.len() as u64);
        }
        add(&self.node.samples, column.len() as u64);
        add(&self.node.bytes, column.bytes());
        let tier = self.set.tier();
        let mut tiers = self.node.tiers.lock();
        if !tiers.contains(&tier) {
            tiers.push(tier);
        }
        Ok(())
    }

    fn tier(&self) -> &'static str {
        self.set.tier()
    }

    fn notes(&self) -> crate::promql::source::Notes {
        self.set.notes()
    }
}
