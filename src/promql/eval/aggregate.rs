//! Aggregations into groups: series stream in one by one, groups come out.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::model::labels::{Labels, METRIC_NAME};
use crate::promql::ast::AggregateOp;

use super::cells::{Bits, Cells, Series};
use super::error::EvalError;
use super::notes::Notes;
use super::plan::{AggregatePlan, aggregate_name};
use super::query::{Frame, Held, Query};
use super::rows::{AvgRow, Context, CountRow, ExtremeRow, QuantileRow, Row, SpreadRow, SumRow};
use super::vector::{Ready, Vector, parallel};

/// Which series go together.
pub(super) struct Grouping<'a> {
    pub(super) labels: &'a [Arc<str>],
    pub(super) without: bool,
}

impl Grouping<'_> {
    /// The labels of the group of a series.
    pub(super) fn of(&self, labels: &Labels) -> Labels {
        if !self.without && self.labels.is_empty() {
            return Labels::empty();
        }
        labels.filter(|name| {
            let listed = self.labels.iter().any(|label| **label == *name);
            if self.without { !listed && name != METRIC_NAME } else { listed }
        })
    }
}

/// Groups of series, in the order in which they come up.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) labels: Vec<Labels>,
    /// The group of each series.
    pub(super) of_series: Vec<u32>,
}

impl Groups {
    pub(super) fn new<'a>(series: impl Iterator<Item = &'a Labels>, grouping: &Grouping<'_>) -> Self {
        let mut groups = Self::default();
        let mut known: HashMap<Labels, u32, foldhash::fast::FixedState> = HashMap::default();
        for labels in series {
            let labels = grouping.of(labels);
            let next = groups.labels.len() as u32;
            let group = *known.entry(labels).or_insert_with_key(|labels| {
                groups.labels.push(labels.clone());
                next
            });
            groups.of_series.push(group);
        }
        groups
    }
}

/// Whether the name of a group is to be dropped: if that holds for any of its series at its last step.
#[derive(Clone, Copy, Default)]
struct NameFlag {
    last: Option<usize>,
    drop: bool,
}

impl NameFlag {
    fn add(&mut self, cells: &Cells, drop: bool) {
        let histogram = cells.histograms.iter().rposition(Option::is_some);
        self.join(Self { last: cells.floats.last().max(histogram), drop });
    }

    fn join(&mut self, other: Self) {
        if other.last > self.last {
            *self = other;
        } else if other.last == self.last && other.last.is_some() {
            self.drop |= other.drop;
        }
    }
}

/// Evaluates an aggregation that gives one series for each group, but `count_values`.
pub(super) fn aggregate<'a>(
    query: &Query<'_>,
    plan: &AggregatePlan,
    (vector, frame): (Vector<'a>, Frame),
    param: &[f64],
    notes: &mut Notes,
) -> Result<Vector<'a>, EvalError> {
    let context = Context { steps: frame.steps, span: plan.expr.span, name: aggregate_name(plan.op), param };
    let fold = Fold { query, plan, context };
    match plan.op {
        AggregateOp::Sum => fold.run::<SumRow>(vector, notes),
        AggregateOp::Avg => fold.run::<AvgRow>(vector, notes),
        AggregateOp::Min => fold.run::<ExtremeRow<false>>(vector, notes),
        AggregateOp::Max => fold.run::<ExtremeRow<true>>(vector, notes),
        AggregateOp::Stddev | AggregateOp::Stdvar => fold.run::<SpreadRow>(vector, notes),
        AggregateOp::Quantile => fold.run::<QuantileRow>(vector, notes),
        AggregateOp::Count | AggregateOp::Group => fold.run::<CountRow>(vector, notes),
        _ => Err(EvalError::execution(format!("unexpected aggregation {}", context.name))),
    }
}

struct Fold<'a> {
    query: &'a Query<'a>,
    plan: &'a AggregatePlan,
    context: Context<'a>,
}

/// A group of one part of the series.
type Part<R> = Vec<Option<(R, NameFlag, Held)>>;

impl Fold<'_> {
    fn run<'v, R: Row>(&self, vector: Vector<'v>, notes: &mut Notes) -> Result<Vector<'v>, EvalError> {
        let grouping = Grouping { labels: &self.plan.grouping, without: self.plan.without };
        let (groups, parts) = match vector {
            Vector::Ready(ready) => {
                let groups = Groups::new(ready.series.iter().map(|series| &series.labels), &grouping);
                let parts = parallel(self.query, ready.series.len(), self.context.steps, notes, |range, work| {
                    let mut part = Part::<R>::new();
                    part.resize_with(groups.labels.len(), || None);
                    for index in range {
                        let series = &ready.series[index];
                        let slot = &mut part[groups.of_series[index] as usize];
                        self.add(slot, (&series.labels, series.drop_name), &series.cells, &mut work.notes)?;
                    }
                    Ok(part)
                })?;
                (groups, parts)
            }
            Vector::Lazy(lazy) => {
                let groups = Groups::new((0..lazy.len()).map(|index| lazy.labels(index)), &grouping);
                let cost = lazy.cost() + self.context.steps;
                let parts = parallel(self.query, lazy.len(), cost, notes, |range, work| {
                    let mut part = Part::<R>::new();
                    part.resize_with(groups.labels.len(), || None);
                    let mut cells = work.cells();
                    for index in range {
                        self.query.check()?;
                        cells.reset(self.context.steps);
                        lazy.fill(index, work, &mut cells)?;
                        if !cells.is_vacant() {
                            let slot = &mut part[groups.of_series[index] as usize];
                            let about = (lazy.labels(index), lazy.drop_name(index));
                            self.add(slot, about, &cells, &mut work.notes)?;
                        }
                    }
                    work.return_cells(cells);
                    Ok(part)
                })?;
                (groups, parts)
            }
        };
        self.finish(groups, parts, notes)
    }

    fn add<R: Row>(
        &self,
        slot: &mut Option<(R, NameFlag, Held)>,
        (labels, drop_name): (&Labels, bool),
        cells: &Cells,
        notes: &mut Notes,
    ) -> Result<(), EvalError> {
        let steps = self.context.steps as u64;
        if slot.is_none() {
            let mut held = self.query.held();
            held.add(steps * 2)?;
            *slot = Some((R::new(&self.context), NameFlag::default(), held));
        }
        let Some((row, name, held)) = slot else { return Ok(()) };
        if R::GROWS {
            held.add(steps)?;
        }
        let metric = if cells.has_histograms() { labels.metric_name() } else { "" };
        row.add(cells, metric, &self.context, notes);
        name.add(cells, drop_name);
        Ok(())
    }

    fn finish<'v, R: Row>(
        &self,
        groups: Groups,
        parts: Vec<Part<R>>,
        notes: &mut Notes,
    ) -> Result<Vector<'v>, EvalError> {
        let mut parts = parts.into_iter();
        let mut merged = parts.next().unwrap_or_default();
        for part in parts {
            for (mine, theirs) in merged.iter_mut().zip(part) {
                match (&mut *mine, theirs) {
                    (Some((row, name, held)), Some((other, other_name, other_held))) => {
                        row.merge(other, &self.context, notes);
                        name.join(other_name);
                        if R::GROWS {
                            held.join(other_held);
                        }
                    }
                    (empty, Some(theirs)) => *empty = Some(theirs),
                    _ => {}
                }
            }
        }
        let mut series = Vec::with_capacity(merged.len());
        for (labels, group) in groups.labels.into_iter().zip(merged) {
            let Some((row, name, _)) = group else { continue };
            series.push(Series { labels, drop_name: name.drop, cells: row.finish(&self.context, notes) });
        }
        Ok(Vector::Ready(Ready::new(self.query, series)?))
    }
}

/// `count_values`: one series for each value that comes up in a group.
pub(super) fn count_values<'a>(
    query: &Query<'_>,
    plan: &AggregatePlan,
    label: &Arc<str>,
    (vector, frame): (Vector<'a>, Frame),
    notes: &mut Notes,
) -> Result<Vector<'a>, EvalError> {
    let mut names = plan.grouping.clone();
    if !plan.without {
        names.push(label.clone());
    }
    let grouping = Grouping { labels: &names, without: plan.without };
    let mut rows: indexmap::IndexMap<Labels, (Vec<f64>, Bits)> = indexmap::IndexMap::new();
    let mut held = query.held();
    vector.for_each(query, frame.steps, notes, |series, _| {
        // A series repeats its values: labels are made once for each.
        let mut known: HashMap<String, usize> = HashMap::new();
        query.check()?;
        for step in series.cells.present().ones() {
            let text = match series.cells.histogram(step) {
                Some(histogram) => histogram.to_string(),
                None => crate::model::float_text::plain(series.cells.values[step]),
            };
            let row = *known.entry(text).or_insert_with_key(|text| {
                let labels = grouping.of(&series.labels.to_builder().set(label, text).build());
                let entry = rows.entry(labels);
                let index = entry.index();
                entry.or_insert_with(|| (vec![0.0; frame.steps], Bits::none(frame.steps)));
                index
            });
            held.grow_to(rows.len() as u64 * (frame.steps as u64 / 2 + 16))?;
            let (counts, present) = &mut rows[row];
            counts[step] += 1.0;
            present.set(step);
        }
        Ok(())
    })?;
    let series = rows
        .into_iter()
        .map(|(labels, (values, floats))| Series {
            labels,
            drop_name: false,
            cells: Cells { values, floats, histograms: Vec::new() },
        })
        .collect();
    Ok(Vector::Ready(Ready::new(query, series)?))
}
