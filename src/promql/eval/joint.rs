//! Selectors that read the same series are evaluated together, so that each series is decoded once: `rate(x[5m]) /
//! avg_over_time(x[5m])`, or a burn rate over several windows of one metric.
//!
//! They are found before the evaluation. The first one that is asked for evaluates all of them, series by series; what
//! they give waits for the others to be asked for. Not together are those in subqueries, which look at other times;
//! those of which one alone would be answered from wider windows than all together; and those whose results would take
//! much memory. Where samples are counted step by step, or the query is explained, each is evaluated by itself.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::promql::ast::Edges;
use crate::promql::source::Select;

use super::call::over_windows;
use super::cells::Series;
use super::error::EvalError;
use super::evaluate::Evaluator;
use super::notes::Notes;
use super::plan::{CallPlan, Plan, PlanKind, Reference, Selector};
use super::query::{Frame, Query, Set};
use super::scan::Pick;
use super::shared;
use super::vector::{Lazy, Ready, Vector, parallel};

/// Functions that do not read a selector among their arguments as a plain one.
const READ_OTHERWISE: [&str; 3] = ["timestamp", "start_timestamp", "info"];

/// One of those that read the same series.
#[derive(Clone, Copy)]
enum Member<'a> {
    /// A function of a range.
    Call {
        call: &'a CallPlan,
        selector: &'a Selector,
        range: i64,
    },
    Select {
        plan: &'a Plan,
        selector: &'a Selector,
    },
}

impl<'a> Member<'a> {
    /// The calls of functions of ranges and the instant selectors, told by where they stand in memory.
    fn address(self) -> usize {
        match self {
            Self::Call { call, .. } => std::ptr::from_ref(call).addr(),
            Self::Select { selector, .. } => std::ptr::from_ref(selector).addr(),
        }
    }

    fn selector(self) -> (&'a Selector, i64) {
        match self {
            Self::Call { selector, range, .. } => (selector, range),
            Self::Select { selector, .. } => (selector, 0),
        }
    }

    fn of(plan: &'a Plan) -> Option<Self> {
        let member = match &plan.kind {
            PlanKind::Select(selector) => Self::Select { plan, selector },
            PlanKind::Call(call) => {
                over_windows(call.function)?;
                let range = call.args.iter().find_map(|arg| match &arg.kind {
                    PlanKind::Range(range) => Some(range),
                    _ => None,
                })?;
                Self::Call { call, selector: &range.selector, range: range.range }
            }
            _ => return None,
        };
        let (selector, _) = member.selector();
        (selector.edges == Edges::Plain && !selector.stats_only && selector.reference.at.is_none()).then_some(member)
    }
}

struct Group<'a> {
    reference: Reference,
    members: Vec<Member<'a>>,
    /// Of each member, until it is asked for; `None` until the first one is.
    results: Mutex<Option<Vec<Option<Ready>>>>,
}

/// The groups of a query.
#[derive(Default)]
pub(super) struct Joint<'a>(Vec<Group<'a>>);

impl<'a> Joint<'a> {
    /// Looks a plan through. `written` gives the text of a part.
    pub(super) fn of<'t>(plan: &'a Plan, written: impl Fn(&Plan) -> &'t str) -> Self {
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut texts: Vec<&str> = Vec::new();
        let mut open = vec![plan];
        while let Some(plan) = open.pop() {
            if plan.invariant || matches!(plan.kind, PlanKind::Subquery(_)) {
                continue;
            }
            if !matches!(&plan.kind, PlanKind::Call(call) if READ_OTHERWISE.contains(&call.function)) {
                open.extend(plan.parts());
            }
            let Some(member) = Member::of(plan) else { continue };
            // What is written twice is evaluated once anyway.
            let text = written(plan);
            if matches!(member, Member::Call { .. }) && !text.is_empty() {
                if texts.contains(&text) {
                    continue;
                }
                texts.push(text);
            }
            let (selector, _) = member.selector();
            let same = |group: &&mut Group<'_>| {
                let other = group.members.first().map(|member| member.selector().0);
                group.reference == selector.reference && other.is_some_and(|other| other.matchers == selector.matchers)
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.members.push(member),
                None => {
                    let (reference, members) = (selector.reference, vec![member]);
                    groups.push(Group { reference, members, results: Mutex::default() });
                }
            }
        }
        groups.retain(|group| group.members.len() > 1);
        Self(groups)
    }

    fn find(&self, address: usize) -> Option<(&Group<'a>, usize)> {
        self.0.iter().find_map(|group| {
            let place = group.members.iter().position(|member| member.address() == address)?;
            Some((group, place))
        })
    }
}

/// What a member reads of a set that it shares.
pub(super) struct Part {
    pub(super) set: Set,
    pub(super) mint: i64,
    pub(super) maxt: i64,
}

impl<'q> Evaluator<'q> {
    /// The result of a call, if it is evaluated together with others.
    pub(super) fn joint_call(
        self,
        call: &CallPlan,
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Option<Vector<'q>>, EvalError> {
        self.joint(std::ptr::from_ref(call).addr(), frame, notes)
    }

    /// The result of an instant selector, if it is evaluated together with others.
    pub(super) fn joint_select(
        self,
        selector: &Selector,
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Option<Vector<'q>>, EvalError> {
        self.joint(std::ptr::from_ref(selector).addr(), frame, notes)
    }

    fn joint(self, address: usize, frame: Frame, notes: &mut Notes) -> Result<Option<Vector<'q>>, EvalError> {
        let query: &'q Query<'q> = self.query;
        let Some((group, place)) = query.joint.find(address) else { return Ok(None) };
        let is_first = {
            let mut results = group.results.lock();
            let is_first = results.is_none();
            // Empty while they are made: a member inside the arguments of another is evaluated by itself.
            results.get_or_insert_default();
            is_first
        };
        if is_first && let Some(made) = self.evaluate_group(group, frame, notes)? {
            *group.results.lock() = Some(made.into_iter().map(Some).collect());
        }
        let mut results = group.results.lock();
        let own = results.as_mut().and_then(|results| results.get_mut(place)).and_then(Option::take);
        Ok(own.map(Vector::Ready))
    }

    /// What all members together read; `None` where they are better off alone.
    fn union(self, group: &Group<'q>, frame: Frame) -> Option<Select> {
        let selects = group.members.iter().map(|member| {
            let (selector, range) = member.selector();
            self.query.selection(selector, frame, range)
        });
        let selects: Vec<Select> = selects.collect();
        let mut union = selects.first()?.clone();
        for select in &selects {
            union.mint = union.mint.min(select.mint);
            union.maxt = union.maxt.max(select.maxt);
            let (mine, all) = (&select.hints, union.hints.clone());
            let same = mine.function == all.function || mine.range == 0;
            union.hints.raw |= (mine.range == 0) != (all.range == 0) || !same;
            // Windows may lie across an edge of the only range of a query, but not of one among several.
            union.hints.raw |= mine.step == 0 && mine.range != all.range;
            union.hints.newest &= mine.newest;
            union.hints.range = gcd(union.hints.range, select.hints.range);
        }
        let width = self.query.window(&union);
        selects.iter().all(|select| self.query.window(select) <= width).then_some(union)
    }

    fn evaluate_group(
        self,
        group: &'q Group<'q>,
        frame: Frame,
        notes: &mut Notes,
    ) -> Result<Option<Vec<Ready>>, EvalError> {
        let Some(union) = self.union(group, frame) else { return Ok(None) };
        let set = self.query.open(&union, notes)?;
        let slots = set.len().saturating_mul(frame.steps).saturating_mul(group.members.len());
        if slots > shared::SLOTS_MAX {
            return Ok(None);
        }
        let mut members: Vec<Box<dyn Lazy + 'q>> = Vec::new();
        for member in &group.members {
            let (selector, range) = member.selector();
            let Select { mint, maxt, .. } = self.query.selection(selector, frame, range);
            let part = Part { set: set.clone(), mint, maxt };
            members.push(match member {
                Member::Call { call, .. } => self.windowed_over_part(call, part, frame, notes)?,
                Member::Select { plan, selector } => {
                    let scan = self.scan((plan, selector), Arc::clone(&set), frame, Pick::Value);
                    Box::new(super::scan::Scan { part: Some((mint, maxt)), ..scan })
                }
            });
        }
        let cost = members.iter().map(|member| member.cost()).sum();
        let parts = parallel(self.query, set.len(), cost, notes, |range, work| {
            let mut made: Vec<Vec<Series>> = members.iter().map(|_| Vec::new()).collect();
            for index in range {
                self.query.check()?;
                for (member, made) in members.iter().zip(&mut made) {
                    let mut cells = work.cells();
                    cells.reset(frame.steps);
                    member.fill(index, work, &mut cells)?;
                    if cells.is_vacant() {
                        work.return_cells(cells);
                        continue;
                    }
                    let (labels, drop_name) = (member.labels(index).clone(), member.drop_name(index));
                    made.push(Series { labels, drop_name, cells });
                }
            }
            Ok(made)
        })?;
        let mut made: Vec<Vec<Series>> = members.iter().map(|_| Vec::new()).collect();
        for part in parts {
            made.iter_mut().zip(part).for_each(|(made, part)| made.extend(part));
        }
        made.into_iter().map(|series| Ready::new(self.query, series)).collect::<Result<_, _>>().map(Some)
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
