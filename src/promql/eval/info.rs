//! `info()`: labels of info series (`target_info` and its kin) joined to the series that they describe.

use std::sync::Arc;

use hashbrown::HashMap;
use indexmap::IndexMap;

use crate::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::ast::{Edges, Span};
use crate::promql::source::{Hints, Select};

use super::cells::{Cells, Series};
use super::error::EvalError;
use super::matching::braces;
use super::notes::Notes;
use super::plan::{Plan, PlanKind, Reference};
use super::query::{Frame, Query};
use super::scan::{Pick, Scan};
use super::vector::{Ready, Vector};

/// The labels that say which target a series belongs to.
const IDENTITY: [&str; 2] = ["instance", "job"];

/// `info(base, {matchers})`.
pub(super) struct Info<'a> {
    pub(super) query: &'a Query<'a>,
    pub(super) frame: Frame,
    /// At which time the info series are looked at.
    pub(super) reference: Reference,
    /// Of the second argument.
    pub(super) matchers: Option<&'a [Matcher]>,
    pub(super) span: Span,
}

/// The time that the first argument looks at governs the info series too: that of its first selector, moved by the
/// subqueries around it up to the first with an `@`.
pub(super) fn reference_of(plan: &Plan) -> Reference {
    first_selector(plan).unwrap_or(Reference { at: None, offset: 0 })
}

fn first_selector(plan: &Plan) -> Option<Reference> {
    match &plan.kind {
        PlanKind::Number(_) | PlanKind::Text(_) => None,
        PlanKind::Group(inner) | PlanKind::Negate(inner) => first_selector(inner),
        PlanKind::Binary(binary) => first_selector(&binary.left).or_else(|| first_selector(&binary.right)),
        PlanKind::Aggregate(aggregate) => {
            first_selector(&aggregate.expr).or_else(|| aggregate.param.as_ref().and_then(first_selector))
        }
        PlanKind::Call(call) => call.args.iter().find_map(first_selector),
        PlanKind::Select(selector) => Some(selector.reference),
        PlanKind::Range(range) => Some(range.selector.reference),
        PlanKind::Subquery(subquery) => first_selector(&subquery.expr).map(|inner| match inner.at {
            Some(_) => inner,
            None => {
                Reference { at: subquery.reference.at, offset: inner.offset.saturating_add(subquery.reference.offset) }
            }
        }),
    }
}

impl Info<'_> {
    pub(super) fn join(&self, base: &Ready, notes: &mut Notes) -> Result<Ready, EvalError> {
        let names = self.name_matchers();
        let is_info: Vec<bool> = base
            .series
            .iter()
            .map(|series| names.iter().all(|name| name.matches(series.labels.metric_name())))
            .collect();
        let infos = self.fetch(&base.series, &is_info, &names, notes)?;
        let data: Vec<&Matcher> =
            self.matchers.unwrap_or(&[]).iter().filter(|matcher| *matcher.name != *METRIC_NAME).collect();
        let joiner = Joiner { infos: &infos, data: &data };
        joiner.check(&base.series, self.frame.steps)?;
        let mut outputs: IndexMap<Labels, (bool, Cells)> = IndexMap::new();
        for (series, is_info) in base.series.iter().zip(is_info) {
            self.query.check()?;
            let candidates = if is_info { Vec::new() } else { joiner.candidates(&series.labels) };
            let mut known: HashMap<Vec<usize>, Option<Labels>> = HashMap::new();
            for step in series.cells.present().ones() {
                let chosen = joiner.choose(&candidates, step);
                let labels = match known.get(&chosen) {
                    Some(labels) => labels.clone(),
                    None => {
                        let labels = if is_info {
                            Some(series.labels.clone())
                        } else {
                            joiner.labels(&series.labels, &chosen)?
                        };
                        known.insert(chosen, labels.clone());
                        labels
                    }
                };
                let Some(labels) = labels else { continue };
                let (_, cells) =
                    outputs.entry(labels).or_insert_with(|| (series.drop_name, Cells::empty(self.frame.steps)));
                if cells.floats.get(step) || cells.histogram(step).is_some() {
                    return Err(EvalError::same_labels());
                }
                match series.cells.histogram(step) {
                    Some(histogram) => cells.set_histogram(step, histogram.clone()),
                    None => cells.set_float(step, series.cells.values[step]),
                }
            }
        }
        let series =
            outputs.into_iter().map(|(labels, (drop_name, cells))| Series { labels, drop_name, cells }).collect();
        Ready::new(self.query, series)
    }

    /// The conditions on the name of info series.
    fn name_matchers(&self) -> Vec<Matcher> {
        let mut names: Vec<Matcher> =
            self.matchers.unwrap_or(&[]).iter().filter(|matcher| *matcher.name == *METRIC_NAME).cloned().collect();
        let positive = names.iter().any(|name| matches!(name.op, MatchOp::Equal | MatchOp::Regex));
        if !positive {
            let (op, value) =
                if names.is_empty() { (MatchOp::Equal, "target_info") } else { (MatchOp::Regex, ".+_info") };
            names.extend(Matcher::new(op, METRIC_NAME, value).ok());
        }
        names
    }

    /// The info series of the targets that the base series belong to. Values are the times of samples.
    fn fetch(
        &self,
        base: &[Series],
        is_info: &[bool],
        names: &[Matcher],
        notes: &mut Notes,
    ) -> Result<Vec<Series>, EvalError> {
        let mut matchers: Vec<Matcher> = Vec::new();
        for label in IDENTITY {
            let mut values: Vec<String> = base
                .iter()
                .zip(is_info)
                .filter(|(_, is_info)| !**is_info)
                .filter_map(|(series, _)| series.labels.get(label))
                .map(regex::escape)
                .collect();
            values.sort_unstable();
            values.dedup();
            if !values.is_empty() {
                let pattern = values.join("|");
                let matcher = Matcher::new(MatchOp::Regex, label, &pattern)
                    .map_err(|error| EvalError::execution(error.to_string()))?;
                matchers.push(matcher);
            }
        }
        if matchers.is_empty() {
            return Ok(Vec::new());
        }
        matchers.extend(self.matchers.unwrap_or(&[]).iter().filter(|matcher| *matcher.name != *METRIC_NAME).cloned());
        matchers.extend(names.iter().cloned());
        let lookback = self.query.options.lookback;
        let select = Select {
            matchers,
            mint: self.reference.of(self.frame.start).saturating_sub(lookback).saturating_add(1),
            maxt: self.reference.of(self.frame.last()),
            hints: Hints { step: self.frame.step, function: "info", raw: true, ..Hints::default() },
        };
        let scan = Scan {
            set: self.query.open(&select, notes)?,
            part: None,
            frame: self.frame,
            reference: self.reference,
            lookback,
            edges: Edges::Plain,
            stats_only: false,
            pick: Pick::InfoTime,
            span: self.span,
            tally: None,
        };
        let ready = Vector::Lazy(Box::new(scan)).ready(self.query, self.frame.steps, notes)?;
        Ok(ready.series)
    }
}

struct Joiner<'a> {
    infos: &'a [Series],
    data: &'a [&'a Matcher],
}

fn identity(labels: &Labels) -> Labels {
    labels.filter(|name| IDENTITY.contains(&name))
}

impl Joiner<'_> {
    /// Two info samples of one name, target and time contradict each other.
    fn check(&self, base: &[Series], steps: usize) -> Result<(), EvalError> {
        let mut groups: IndexMap<(Arc<str>, Labels), Vec<&Series>> = IndexMap::new();
        for series in self.infos {
            let key = (Arc::from(series.labels.metric_name()), identity(&series.labels));
            groups.entry(key).or_default().push(series);
        }
        let asked = |step: usize| {
            base.iter().any(|series| series.cells.floats.get(step) || series.cells.histogram(step).is_some())
        };
        for group in groups.values().filter(|group| group.len() > 1) {
            for step in (0..steps).filter(|step| asked(*step)) {
                let mut newest: Option<(f64, &Series)> = None;
                for series in group.iter().filter(|series| series.cells.floats.get(step)) {
                    let time = series.cells.values[step];
                    if let Some((known, existing)) = newest.filter(|(known, _)| *known == time) {
                        return Err(EvalError::execution(format!(
                            "found duplicate series for info metric: existing {} @ {known}, new {} @ {time}",
                            braces(&existing.labels),
                            braces(&series.labels)
                        )));
                    }
                    if newest.is_none_or(|(known, _)| time > known) {
                        newest = Some((time, series));
                    }
                }
            }
        }
        Ok(())
    }

    /// The info series of a base series' target.
    fn candidates(&self, labels: &Labels) -> Vec<usize> {
        let target = identity(labels);
        (0..self.infos.len()).filter(|index| identity(&self.infos[*index].labels) == target).collect()
    }

    /// The newest info series of each name that is there at a step.
    fn choose(&self, candidates: &[usize], step: usize) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::new();
        for index in candidates.iter().copied().filter(|index| self.infos[*index].cells.floats.get(step)) {
            let info = &self.infos[index];
            let name = info.labels.metric_name();
            match chosen.iter_mut().find(|other| self.infos[**other].labels.metric_name() == name) {
                Some(other) if self.infos[*other].cells.values[step] < info.cells.values[step] => *other = index,
                Some(_) => {}
                None => chosen.push(index),
            }
        }
        chosen
    }

    /// The labels of a base series with those of its info series. None if the series is to be left out, because a
    /// condition on an info label cannot hold.
    fn labels(&self, base: &Labels, chosen: &[usize]) -> Result<Option<Labels>, EvalError> {
        if chosen.is_empty() && !self.data.iter().all(|matcher| matcher.matches("")) {
            return Ok(None);
        }
        let mut added = LabelsBuilder::default();
        for index in chosen {
            for (name, value) in self.infos[*index].labels.iter() {
                let wanted = self.data.is_empty() || self.data.iter().any(|matcher| *matcher.name == *name);
                if name == METRIC_NAME || !wanted {
                    continue;
                }
                if added.get(name).is_some_and(|known| known != value) {
                    return Err(EvalError::execution(format!("conflicting label: {name}")));
                }
                if base.get(name).is_none() {
                    added.set(name, value);
                }
            }
        }
        let mut labels = base.to_builder();
        for (name, value) in added.iter() {
            labels.set(name, value);
        }
        Ok(Some(labels.build()))
    }
}
