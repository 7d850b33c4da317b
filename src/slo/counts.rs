//! Exact counts: what terms add up to between given times.
//!
//! A span is (from, to]. A counter's increase over it is the sum of what it rose from sample to sample, each rise counted
//! at the later sample; a fall is a reset and counts the new value. The first sample of the span counts against the last
//! one before it, however long ago (a day is looked back), so that spans side by side add up to the whole. Nothing is
//! extrapolated; staleness markers and NaN are no samples.
//!
//! A series without an earlier sample was born in the span. Its first value counts in full where its start time or
//! another series of the same target says that it began while it was watched; else it does unless it is out of
//! proportion to all that follows: then its counter began long before, and counting starts with it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::model::histogram::Histogram;
use crate::model::labels::Labels;
use crate::promql::ast::Expr;
use crate::promql::eval::{self, QueryOptions, QueryValue, Window};
use crate::promql::source::{Column, Hints, Select, SeriesSet, Source};
use crate::slo::terms::{Measure, Reading, Term};

/// How far back the sample before a span is looked for at once, and again where none is found.
const LOOK_BACK: Millis = 300_000;
const LOOK_BACK_MAX: Millis = 86_400_000;

/// A first value this many times the greatest rise that follows is not of this span.
const PROPORTION: f64 = 10.0;

/// Points of one range query.
const POINTS_MAX: Millis = 10_000;

/// Where counts come from.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub source: &'a dyn Source,
    pub options: &'a QueryOptions,
    /// Labels that counts are kept apart by.
    pub group_by: &'a [Arc<str>],
    /// Groups of one objective; what comes beyond goes into one that has no labels.
    pub groups_max: usize,
}

/// For each group a count between each two neighbouring edges.
pub type Bins = BTreeMap<Labels, Vec<f64>>;

/// Job and instance.
type Target = (String, String);

/// Edges ascend; there are at least two.
struct Collector<'a> {
    edges: &'a [Millis],
    /// Edges stand in whole minutes, so that points of a tier may stand for samples.
    is_aligned: bool,
    bins: Bins,
    groups_max: usize,
    /// No series of the span was without an earlier sample. What the first value of such a series counts for depends on
    /// what follows, also behind the span.
    is_settled: bool,
}

impl Collector<'_> {
    fn group(&mut self, labels: Labels) -> &mut Vec<f64> {
        let full = self.bins.len() >= self.groups_max && !self.bins.contains_key(&labels);
        let (labels, bins) = (if full { Labels::empty() } else { labels }, self.edges.len().saturating_sub(1));
        self.bins.entry(labels).or_insert_with(|| vec![0.0; bins])
    }

    fn first(&self) -> Millis {
        self.edges.first().copied().unwrap_or(0)
    }

    fn last(&self) -> Millis {
        self.edges.last().copied().unwrap_or(0)
    }
}

impl Reader<'_> {
    /// Adds up terms between edges, which ascend strictly. Every group that has a series is there, if only with zeros.
    pub fn bins(&self, terms: &[Term], edges: &[Millis]) -> Result<Bins, String> {
        self.settled_bins(terms, edges).map(|(bins, _)| bins)
    }

    /// As [`Self::bins`]; says too whether what comes later cannot change the counts.
    pub fn settled_bins(&self, terms: &[Term], edges: &[Millis]) -> Result<(Bins, bool), String> {
        let is_aligned = edges.iter().all(|edge| edge.rem_euclid(60_000) == 0);
        let mut collector =
            Collector { edges, is_aligned, bins: Bins::new(), groups_max: self.groups_max, is_settled: true };
        if edges.len() < 2 {
            return Ok((collector.bins, true));
        }
        let mut found = 0;
        for term in terms {
            if term.is_fallback && found > 0 {
                continue;
            }
            found = match &term.reading {
                Reading::Series { .. } => self.series(term, &mut collector)?,
                Reading::Query { expr, text, step, measure } => {
                    self.query(term, (text, expr), (*step, *measure), &mut collector)?
                }
            };
        }
        Ok((collector.bins, collector.is_settled))
    }

    fn key(&self, term: &Term, labels: &Labels) -> Labels {
        if self.group_by.is_empty() {
            return Labels::empty();
        }
        labels.filter(|name| self.group_by.iter().any(|label| **label == *name) && term.keeps(name))
    }

    /// Answers how many series there are.
    fn series(&self, term: &Term, collector: &mut Collector<'_>) -> Result<usize, String> {
        let Reading::Series { matchers, measure, offset } = &term.reading else { return Ok(0) };
        let (from, to) = (collector.first() - offset, collector.last() - offset);
        let is_aligned = collector.is_aligned && offset % 60_000 == 0;
        let hints = measure.hints(if is_aligned { LOOK_BACK } else { 1 });
        let select = Select { matchers: matchers.clone(), mint: from - LOOK_BACK + 1, maxt: to, hints };
        let set = self.source.select(&select).map_err(|error| error.to_string())?;
        let chosen = chosen(&*set, *measure);
        let (mut column, mut births) = (Column::default(), Vec::new());
        let mut known = HashSet::new();
        for index in &chosen {
            column.clear();
            set.read(*index, &mut column).map_err(|error| error.to_string())?;
            let key = self.key(term, set.labels(*index));
            let mut count = Count { from, edges: collector.edges, offset: *offset, measure: *measure, before: None };
            count.before = count.sample_before(&column);
            if count.before.is_some() {
                known.insert(target(set.labels(*index)));
            } else if measure.is_cumulative() && count.has_samples(&column) {
                births.push((*index, key));
                continue;
            }
            count.add(&column, term.factor, collector.group(key));
        }
        self.born(term, &*set, (births, known), collector)?;
        Ok(chosen.len())
    }

    /// Counts series that have no sample shortly before the span.
    fn born(
        &self,
        term: &Term,
        set: &dyn SeriesSet,
        (births, mut known): (Vec<(usize, Labels)>, HashSet<Target>),
        collector: &mut Collector<'_>,
    ) -> Result<(), String> {
        let Reading::Series { matchers, measure, offset } = &term.reading else { return Ok(()) };
        if births.is_empty() {
            return Ok(());
        }
        let (from, mut column) = (collector.first() - offset, Column::default());
        let hints = measure.hints(1);
        let select =
            Select { matchers: matchers.clone(), mint: from - LOOK_BACK_MAX + 1, maxt: from - LOOK_BACK, hints };
        let earlier = self.source.select(&select).map_err(|error| error.to_string())?;
        let mut places: HashMap<Labels, usize> = HashMap::new();
        for index in 0..earlier.len() {
            places.insert(earlier.labels(index).clone(), index);
        }
        let mut first_of: Vec<(Millis, usize, Labels, Option<Before>)> = Vec::new();
        for (index, key) in births {
            let labels = set.labels(index);
            let mut before = None;
            if let Some(place) = places.get(labels) {
                column.clear();
                earlier.read(*place, &mut column).map_err(|error| error.to_string())?;
                before = Before::last(&column, from, *measure);
            }
            column.clear();
            set.read(index, &mut column).map_err(|error| error.to_string())?;
            let first = column.times.iter().position(|time| *time > from).map_or(Millis::MAX, |at| column.times[at]);
            if before.is_some() {
                known.insert(target(labels));
            } else {
                collector.is_settled = false;
            }
            first_of.push((first, index, key, before));
        }
        // Oldest first: a series that came before makes its target known.
        first_of.sort_by_key(|(first, ..)| *first);
        let mut since: HashMap<Target, Millis> = HashMap::new();
        for (first, index, key, before) in first_of {
            column.clear();
            set.read(index, &mut column).map_err(|error| error.to_string())?;
            let target = target(set.labels(index));
            let is_watched = known.contains(&target) || since.get(&target).is_some_and(|since| *since < first);
            since.entry(target).or_insert(first);
            let mut count = Count { from, edges: collector.edges, offset: *offset, measure: *measure, before };
            if count.before.is_none() && (is_watched || count.begins_here(&column)) {
                count.before = Some(Before::zero());
            }
            count.add(&column, term.factor, collector.group(key));
        }
        Ok(())
    }

    /// Answers how many series came out of the query.
    fn query(
        &self,
        term: &Term,
        (text, expr): (&str, &Expr),
        (step, measure): (Millis, Measure),
        collector: &mut Collector<'_>,
    ) -> Result<usize, String> {
        let (mut start, last) = ((collector.first().div_euclid(step) + 1) * step, collector.last());
        let mut found = 0;
        while start <= last {
            let end = last.min(start.saturating_add(step * (POINTS_MAX - 1)));
            let window = Window { start, end, step };
            let outcome = eval::range(self.source, text, expr, window, self.options).map_err(|e| e.to_string())?;
            if let QueryValue::Matrix(matrix) = outcome.value {
                found += matrix.len();
                for series in matrix {
                    let key = self.key(term, &series.labels);
                    let edges = collector.edges;
                    let bins = collector.group(key);
                    for (time, value) in series.floats.into_iter().filter(|(_, value)| !value.is_nan()) {
                        add(bins, edges, time, term.factor * measure.of_sample(value));
                    }
                }
            }
            start = end.div_euclid(step) * step + step;
        }
        Ok(found)
    }
}

/// The series that a measure reads: all of them, or of the buckets of each histogram one.
fn chosen(set: &dyn SeriesSet, measure: Measure) -> Vec<usize> {
    let Measure::Bucket(bound) = measure else { return (0..set.len()).collect() };
    let mut best: BTreeMap<Labels, (f64, usize)> = BTreeMap::new();
    for index in 0..set.len() {
        let labels = set.labels(index);
        let Some(le) = labels.get("le").and_then(|le| le.parse::<f64>().ok()) else { continue };
        // Bounds pass through text and units: 0.1 is meant where 100 ms were written.
        if le > bound && (le - bound).abs() > bound.abs() * 1e-9 {
            continue;
        }
        let others = labels.filter(|name| name != "le");
        let entry = best.entry(others).or_insert((le, index));
        if le > entry.0 {
            *entry = (le, index);
        }
    }
    best.into_values().map(|(_, index)| index).collect()
}

/// What makes two series come from the same place.
fn target(labels: &Labels) -> Target {
    let value = |name: &str| labels.get(name).unwrap_or_default().to_owned();
    (value("job"), value("instance"))
}

fn add(bins: &mut [f64], edges: &[Millis], time: Millis, count: f64) {
    let at = edges.partition_point(|edge| *edge < time);
    if let Some(bin) = at.checked_sub(1).and_then(|at| bins.get_mut(at)) {
        *bin += count;
    }
}

impl Measure {
    /// What of samples has to stay where points of a tier stand for them. With a step of 1 they do only where samples
    /// are gone.
    fn hints(self, step: Millis) -> Hints {
        let (function, raw) = match self {
            Self::Increase | Self::Bucket(_) | Self::Below(_) => ("increase", false),
            Self::Sum => ("sum_over_time", false),
            Self::Samples => ("count_over_time", false),
            Self::Holding(_) => ("", true),
        };
        Hints { step, range: LOOK_BACK, function, raw, ..Hints::default() }
    }

    /// Counts rises, so that the sample before matters.
    fn is_cumulative(self) -> bool {
        matches!(self, Self::Increase | Self::Bucket(_) | Self::Below(_))
    }

    fn of_sample(self, value: f64) -> f64 {
        match self {
            Self::Samples => 1.0,
            Self::Holding(condition) => f64::from(u8::from(condition.holds(value))),
            _ => value,
        }
    }

    /// The cumulative count that a histogram stands for.
    fn of_histogram(self, histogram: &Histogram) -> f64 {
        match self {
            Self::Below(bound) if histogram.count > 0.0 => {
                histogram.fraction(f64::NEG_INFINITY, bound).value * histogram.count
            }
            Self::Below(_) => 0.0,
            _ => histogram.count,
        }
    }
}

/// The last sample before a span.
#[derive(Clone, Debug)]
struct Before {
    value: f64,
    histogram: Option<Arc<Histogram>>,
}

impl Before {
    fn zero() -> Self {
        Self { value: 0.0, histogram: None }
    }

    /// The last sample up to a time.
    fn last(column: &Column, until: Millis, measure: Measure) -> Option<Self> {
        let end = column.times.partition_point(|time| *time <= until);
        (0..end).rev().find_map(|at| Self::at(column, at, measure))
    }

    /// The sample at a place; `None` where it says nothing.
    fn at(column: &Column, at: usize, measure: Measure) -> Option<Self> {
        match column.histograms.get(at) {
            Some(Some(histogram)) => (!histogram.is_stale())
                .then(|| Self { value: measure.of_histogram(histogram), histogram: Some(Arc::clone(histogram)) }),
            _ if matches!(measure, Measure::Below(_)) => None,
            _ => column.values.get(at).filter(|value| !value.is_nan()).map(|v| Self { value: *v, histogram: None }),
        }
    }

    /// How far the counter rose since `former`.
    fn rise(&self, former: &Self) -> f64 {
        let is_reset = match (&self.histogram, &former.histogram) {
            (Some(new), Some(old)) => new.detect_reset(old),
            _ => self.value < former.value,
        };
        if is_reset { self.value } else { (self.value - former.value).max(0.0) }
    }
}

/// The count of one series.
struct Count<'a> {
    from: Millis,
    edges: &'a [Millis],
    /// Samples stand this much before the edges that they count between.
    offset: Millis,
    measure: Measure,
    before: Option<Before>,
}

impl Count<'_> {
    fn sample_before(&self, column: &Column) -> Option<Before> {
        Before::last(column, self.from, self.measure)
    }

    fn places<'c>(&'c self, column: &'c Column) -> impl Iterator<Item = (Millis, Before)> + 'c {
        let first = column.times.partition_point(|time| *time <= self.from);
        (first..column.len()).filter_map(|at| Some((*column.times.get(at)?, Before::at(column, at, self.measure)?)))
    }

    fn has_samples(&self, column: &Column) -> bool {
        self.places(column).next().is_some()
    }

    /// Whether the first value of a series counts in full.
    fn begins_here(&self, column: &Column) -> bool {
        let first = column.times.partition_point(|time| *time <= self.from);
        if let Some(start) = column.starts.get(first).copied().filter(|start| *start != 0) {
            return start > self.from;
        }
        let mut samples = self.places(column);
        let Some((_, first)) = samples.next() else { return false };
        let (mut former, mut greatest) = (first.clone(), 0.0_f64);
        for (_, sample) in samples {
            greatest = greatest.max(sample.rise(&former));
            former = sample;
        }
        first.value <= PROPORTION * (greatest + 1.0)
    }

    fn add(self, column: &Column, factor: f64, bins: &mut [f64]) {
        if !self.measure.is_cumulative() {
            for (time, sample) in self.places(column) {
                add(bins, self.edges, time + self.offset, factor * self.measure.of_sample(sample.value));
            }
            return;
        }
        let mut former = self.before.clone();
        let mut edge = 1;
        for (time, sample) in self.places(column) {
            if let Some(former) = &former {
                let rise = sample.rise(former);
                if rise != 0.0 {
                    // Samples ascend, so the edge is looked for from where the last one was.
                    while self.edges.get(edge).is_some_and(|edge| *edge < time + self.offset) {
                        edge += 1;
                    }
                    if let Some(bin) = bins.get_mut(edge - 1) {
                        *bin += factor * rise;
                    }
                }
            }
            former = Some(sample);
        }
    }
}

#[cfg(test)]
mod tests;
