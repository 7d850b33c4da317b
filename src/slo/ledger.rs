//! Counts of one part of an objective, kept as running totals at the edges of a grid.
//!
//! A year at 1 s is 30 million samples a series; nobody reads them at every look. The ledger reads each span once and
//! keeps what was counted up to each grid edge, so that any window is the difference of two totals, each completed by
//! the samples between its edge and the nearest grid edge before it. Late samples take back the totals after them
//! ([`crate::metrics::changes`]), so totals are always those of the samples that are stored.

use std::collections::BTreeMap;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::slo::counts::{Bins, Reader};
use crate::slo::objective::{Budgeting, NoData, Part};

/// Distance of grid edges where events are counted. Points of coarser tiers stand in whole minutes.
const WIDTH: Millis = 300_000;

/// Grid edges are as many as this behind now, so that samples which are a moment late take nothing back.
const LAG: Millis = 30_000;

/// Samples that are read at once: a day.
const PIECE: Millis = 86_400_000;

/// Numerator and denominator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    pub numerator: f64,
    pub denominator: f64,
}

/// By group.
pub type Counts = BTreeMap<Labels, Count>;

/// Running totals of one group, one for each grid edge after the first.
#[derive(Clone, Debug, Default)]
struct Totals {
    numerator: Vec<f64>,
    denominator: Vec<f64>,
}

/// How a ledger counts; changes with the objective only.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    pub budgeting: Budgeting,
    pub no_data: NoData,
}

impl Method {
    /// Whether events are counted, and not slices of time.
    fn is_occurrences(self) -> bool {
        self.budgeting == Budgeting::Occurrences
    }

    fn width(self) -> Millis {
        match self.budgeting {
            Budgeting::Occurrences => WIDTH,
            Budgeting::Timeslices { width, .. } | Budgeting::RatioTimeslices { width } => width.max(1_000),
        }
    }

    /// What a slice counts as.
    fn slice(self, count: Count, is_good: bool) -> Count {
        if count.denominator <= 0.0 {
            let good = f64::from(u8::from(self.no_data == NoData::Good));
            return match self.no_data {
                NoData::Ignore => Count::default(),
                _ => Count { numerator: if is_good { good } else { 1.0 - good }, denominator: 1.0 },
            };
        }
        let ratio = count.numerator / count.denominator;
        let ratio = if is_good { ratio } else { 1.0 - ratio };
        let good = match self.budgeting {
            Budgeting::Timeslices { target, .. } => f64::from(u8::from(ratio >= target)),
            _ => ratio.clamp(0.0, 1.0),
        };
        Count { numerator: if is_good { good } else { 1.0 - good }, denominator: 1.0 }
    }
}

/// The totals.
#[derive(Debug)]
pub struct Ledger {
    method: Method,
    /// The first grid edge.
    start: Millis,
    bins: usize,
    groups: BTreeMap<Labels, Totals>,
    /// Totals at edges that are asked for again and again, as those of maintenance.
    fixed: BTreeMap<Millis, Counts>,
    /// The last time that was asked for: all alerts of an objective ask for the same.
    latest: Option<(Millis, Counts)>,
    /// Totals a moment before it, behind the last grid edge: the next look begins there. Only where nothing that comes
    /// later can change them.
    base: Option<(Millis, Counts)>,
}

impl Ledger {
    pub fn new(method: Method, start: Millis) -> Self {
        let start = start.div_euclid(method.width()) * method.width();
        Self { method, start, bins: 0, groups: BTreeMap::new(), fixed: BTreeMap::new(), latest: None, base: None }
    }

    pub fn start(&self) -> Millis {
        self.start
    }

    /// The last grid edge up to which totals are known.
    pub fn end(&self) -> Millis {
        self.start + self.bins as Millis * self.method.width()
    }

    /// Forgets what a sample of this time, or a later one, may have changed.
    pub fn take_back(&mut self, oldest: Millis) {
        self.latest.take_if(|(time, _)| oldest <= *time);
        self.base.take_if(|(time, _)| oldest <= *time);
        let width = self.method.width();
        let known = oldest.saturating_sub(1).saturating_sub(self.start).div_euclid(width).max(0);
        let bins = usize::try_from(known).unwrap_or(0);
        if bins < self.bins {
            self.bins = bins;
            for totals in self.groups.values_mut() {
                totals.numerator.truncate(bins);
                totals.denominator.truncate(bins);
            }
            let end = self.end();
            self.fixed.retain(|edge, _| *edge <= end);
        }
    }

    /// Forgets groups and totals before a time, so that the ledger does not grow for ever.
    pub fn cut(&mut self, before: Millis) {
        let width = self.method.width();
        let gone = usize::try_from((before - self.start).div_euclid(width)).unwrap_or(0).min(self.bins);
        // Copying all totals for one edge more would cost more than it frees.
        if gone < self.bins / 10 {
            return;
        }
        for totals in self.groups.values_mut() {
            for side in [&mut totals.numerator, &mut totals.denominator] {
                let base = gone.checked_sub(1).and_then(|at| side.get(at)).copied().unwrap_or(0.0);
                side.drain(..gone.min(side.len()));
                side.iter_mut().for_each(|total| *total -= base);
            }
        }
        self.groups.retain(|_, totals| totals.denominator.last().is_none_or(|last| *last != 0.0));
        self.start += gone as Millis * width;
        self.bins -= gone;
        self.fixed.clear();
        (self.latest, self.base) = (None, None);
    }

    /// Reads what is missing up to a time.
    pub fn fill(&mut self, reader: &Reader<'_>, part: &Part, until: Millis) -> Result<(), String> {
        let width = self.method.width();
        let lag = if self.method.is_occurrences() { LAG } else { 0 };
        let last = (until - lag).div_euclid(width) * width;
        while self.end() < last {
            let end = self.end();
            let piece = (PIECE / width).max(1).min((last - end) / width);
            let edges: Vec<Millis> = (0..=piece).map(|number| end + number * width).collect();
            self.append(reader, part, &edges)?;
        }
        Ok(())
    }

    fn append(&mut self, reader: &Reader<'_>, part: &Part, edges: &[Millis]) -> Result<(), String> {
        let new = edges.len() - 1;
        let (counts, _) = both(reader, part, edges)?;
        for group in counts.keys() {
            self.groups
                .entry(group.clone())
                .or_insert_with(|| Totals { numerator: vec![0.0; self.bins], denominator: vec![0.0; self.bins] });
        }
        if self.groups.is_empty() && !self.method.is_occurrences() && self.method.no_data != NoData::Ignore {
            self.groups
                .insert(Labels::empty(), Totals { numerator: vec![0.0; self.bins], denominator: vec![0.0; self.bins] });
        }
        for (group, totals) in &mut self.groups {
            let found = counts.get(group);
            let last = |side: &[f64]| side.last().copied().unwrap_or(0.0);
            let mut total = Count { numerator: last(&totals.numerator), denominator: last(&totals.denominator) };
            for bin in 0..new {
                let mut count = found.and_then(|counts| counts.get(bin)).copied().unwrap_or_default();
                if !self.method.is_occurrences() {
                    count = self.method.slice(count, part.is_good);
                }
                total.numerator += count.numerator;
                total.denominator += count.denominator;
                totals.numerator.push(total.numerator);
                totals.denominator.push(total.denominator);
            }
        }
        self.bins += new;
        Ok(())
    }

    /// Totals at the grid edge at or before a time; zeros before the first.
    pub fn at_edge(&self, time: Millis) -> Counts {
        let bin = (time - self.start).div_euclid(self.method.width());
        let place = usize::try_from(bin).unwrap_or(0).min(self.bins).checked_sub(1);
        let total = |totals: &Totals| {
            let value = |side: &[f64]| place.and_then(|at| side.get(at)).copied().unwrap_or(0.0);
            Count { numerator: value(&totals.numerator), denominator: value(&totals.denominator) }
        };
        self.groups.iter().map(|(group, totals)| (group.clone(), total(totals))).collect()
    }

    /// The grid edge at or before a time, as far as totals are known.
    pub fn edge_before(&self, time: Millis) -> Millis {
        let width = self.method.width();
        (time.div_euclid(width) * width).clamp(self.start, self.end())
    }

    pub fn width(&self) -> Millis {
        self.method.width()
    }

    /// Totals at exactly this time. `is_fixed` says that the same time will be asked for again.
    pub fn at(&mut self, reader: &Reader<'_>, part: &Part, (time, is_fixed): (Millis, bool)) -> Result<Counts, String> {
        let edge = self.edge_before(time);
        // Slices count when they are over.
        if edge >= time || !self.method.is_occurrences() {
            return Ok(self.at_edge(edge));
        }
        if let Some(counts) = self.fixed.get(&time) {
            return Ok(counts.clone());
        }
        if let Some((_, counts)) = self.latest.as_ref().filter(|(known, _)| *known == time) {
            return Ok(counts.clone());
        }
        let base = self.base.as_ref().filter(|(base, _)| edge < *base && *base < time);
        let (from, mut counts) = base.cloned().unwrap_or_else(|| (edge, self.at_edge(edge)));
        // Samples that are a moment late take back what was counted for now, and not where that began.
        let middle = time - LAG;
        let edges = if from < middle { vec![from, middle, time] } else { vec![from, time] };
        let (found, is_settled) = both(reader, part, &edges)?;
        let plus = |counts: &mut Counts, bin: usize| {
            for (group, bins) in &found {
                let (count, more) =
                    (counts.entry(group.clone()).or_default(), bins.get(bin).copied().unwrap_or_default());
                count.numerator += more.numerator;
                count.denominator += more.denominator;
            }
        };
        plus(&mut counts, 0);
        let is_newest = self.latest.as_ref().is_none_or(|(latest, _)| *latest <= time);
        if edges.len() == 3 {
            if is_settled && is_newest && !is_fixed {
                self.base = Some((middle, counts.clone()));
            }
            plus(&mut counts, 1);
        }
        if is_fixed && time <= self.end() {
            self.fixed.insert(time, counts.clone());
        } else if !is_fixed && is_newest {
            self.latest = Some((time, counts.clone()));
        }
        Ok(counts)
    }

    /// Counts of each bin of the grid between two times, for who looks for incidents.
    pub fn between(&self, from: Millis, to: Millis) -> Vec<(Millis, Counts)> {
        let width = self.method.width();
        let (first, last) = (self.edge_before(from + width - 1), self.edge_before(to));
        let mut all = Vec::new();
        let (mut edge, mut before) = (first, self.at_edge(first));
        while edge < last {
            edge += width;
            let here = self.at_edge(edge);
            all.push((edge, difference(&here, &before)));
            before = here;
        }
        all
    }
}

/// What was counted from one time to another.
pub fn difference(later: &Counts, earlier: &Counts) -> Counts {
    let zero = Count::default();
    let minus = |(group, count): (&Labels, &Count)| {
        let before = earlier.get(group).unwrap_or(&zero);
        let (numerator, denominator) = (count.numerator - before.numerator, count.denominator - before.denominator);
        (group.clone(), Count { numerator, denominator })
    };
    later.iter().map(minus).collect()
}

/// Numerators and denominators of each bin, by group, and whether they will stay.
fn both(reader: &Reader<'_>, part: &Part, edges: &[Millis]) -> Result<(BTreeMap<Labels, Vec<Count>>, bool), String> {
    let mut joined: BTreeMap<Labels, Vec<Count>> = BTreeMap::new();
    let bins = edges.len().saturating_sub(1);
    let mut join = |found: Bins, set: fn(&mut Count, f64)| {
        for (group, values) in found {
            let counts = joined.entry(group).or_insert_with(|| vec![Count::default(); bins]);
            counts.iter_mut().zip(values).for_each(|(count, value)| set(count, value));
        }
    };
    let (denominators, all_settled) = reader.settled_bins(&part.denominator, edges)?;
    join(denominators, |count, value| count.denominator = value);
    let (numerators, is_settled) = reader.settled_bins(&part.numerator, edges)?;
    join(numerators, |count, value| count.numerator = value);
    Ok((joined, all_settled && is_settled))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::promql::eval::QueryOptions;
    use crate::promql::parse::parse;
    use crate::slo::fixture::Memory;
    use crate::slo::terms;

    fn part(good: &str, total: &str) -> Part {
        let sum = |query: &str| terms::sum(&parse(query).unwrap()).unwrap();
        Part { name: Arc::from("p"), weight: 1.0, numerator: sum(good), denominator: sum(total), is_good: true }
    }

    /// A good event every second, a bad one at each seventh.
    fn memory(seconds: i64) -> Memory {
        let mut memory = Memory::default();
        let cumulative = |every: i64, s: i64| (s / every) as f64;
        memory.add("total", &[], (0..=seconds).map(|s| (s * 1_000, cumulative(1, s))));
        memory.add("good", &[], (0..=seconds).map(|s| (s * 1_000, cumulative(1, s) - cumulative(7, s))));
        memory
    }

    #[test]
    fn totals_at_any_time_are_those_of_a_direct_count() {
        let (memory, options) = (memory(10_000), QueryOptions::default());
        let reader = Reader { source: &memory, options: &options, group_by: &[], groups_max: 1 };
        let part = part("good", "total");
        let method = Method { budgeting: Budgeting::Occurrences, no_data: NoData::Ignore };
        let mut ledger = Ledger::new(method, 0);
        ledger.fill(&reader, &part, 10_000_000).unwrap();
        assert_eq!(ledger.end(), 9_900_000);
        for seconds in [1, 299, 300, 301, 4_567, 9_899, 9_950, 10_000] {
            let counts = ledger.at(&reader, &part, (seconds * 1_000, false)).unwrap();
            let expect = Count { numerator: (seconds - seconds / 7) as f64, denominator: seconds as f64 };
            assert_eq!(counts[&Labels::empty()], expect, "{seconds}");
        }
        ledger.take_back(5_000_000);
        assert_eq!(ledger.end(), 4_800_000);
        ledger.fill(&reader, &part, 10_000_000).unwrap();
        ledger.cut(2_000_000);
        assert_eq!(ledger.start(), 1_800_000);
        let at = |ledger: &mut Ledger, ms| ledger.at(&reader, &part, (ms, true)).unwrap()[&Labels::empty()];
        assert_eq!(at(&mut ledger, 4_000_500).denominator, 4_000.0 - 1_800.0);
        assert_eq!(ledger.between(3_000_000, 3_900_000).len(), 3);
    }

    /// Counts how many samples are handed out.
    struct Counted(Memory, std::sync::atomic::AtomicUsize);

    impl crate::promql::source::Source for Counted {
        fn select(
            &self,
            select: &crate::promql::source::Select,
        ) -> Result<Box<dyn crate::promql::source::SeriesSet>, crate::promql::source::SourceError> {
            let set = self.0.select(select)?;
            let mut column = crate::promql::source::Column::default();
            for index in 0..set.len() {
                set.read(index, &mut column)?;
                self.1.fetch_add(column.len(), std::sync::atomic::Ordering::Relaxed);
            }
            Ok(set)
        }
    }

    #[test]
    fn looks_every_second_read_what_came_since_also_after_a_gap() {
        let (second, options) = (1_000, QueryOptions::default());
        // Ten hours, then twenty minutes of nothing, then the sender is back; a late second sender is new.
        let mut all = memory(38_000);
        all.0.iter_mut().for_each(|(_, column)| {
            let keep = |time: &i64| !(36_000_000..37_200_000).contains(time);
            column.values = column.times.iter().zip(&column.values).filter(|(t, _)| keep(t)).map(|(_, v)| *v).collect();
            column.times.retain(keep);
        });
        all.add("good", &[("i", "new")], (37_400..=38_000).map(|s| (s * second, (s - 37_390) as f64)));
        all.add("total", &[("i", "new")], (37_400..=38_000).map(|s| (s * second, (s - 37_390) as f64)));
        let source = Counted(all, std::sync::atomic::AtomicUsize::new(0));
        let reader = Reader { source: &source, options: &options, group_by: &[], groups_max: 1 };
        let part = part("good", "total");
        let method = Method { budgeting: Budgeting::Occurrences, no_data: NoData::Ignore };
        let mut ledger = Ledger::new(method, 0);
        let mut read = Vec::new();
        for now in (37_150..38_000).map(|s| s * second + 300) {
            ledger.take_back(now - 2 * second);
            ledger.fill(&reader, &part, now).unwrap();
            source.1.store(0, std::sync::atomic::Ordering::Relaxed);
            let counts = ledger.at(&reader, &part, (now, false)).unwrap();
            if now < 37_400 * second {
                read.push(source.1.load(std::sync::atomic::Ordering::Relaxed));
            }
            let mut fresh = Ledger::new(method, 0);
            if now % 50_000 == 300 {
                fresh.fill(&reader, &part, now).unwrap();
                assert_eq!(counts, fresh.at(&reader, &part, (now, false)).unwrap(), "{now}");
            }
        }
        // A day of history is read while the gap is nearer than samples may be late, and then no more.
        let history = read.iter().filter(|read| **read > 2 * 600).count();
        assert!((1..=40).contains(&history) && read.len() > 200, "{history}: {read:?}");
    }

    #[test]
    fn slices_are_good_or_bad_as_a_whole() {
        let mut memory = memory(600);
        memory.0.iter_mut().for_each(|(_, column)| {
            // Nothing at all in the third minute.
            let keep: Vec<usize> = (0..column.len()).filter(|at| !(121..=180).contains(at)).collect();
            column.times = keep.iter().map(|at| column.times[*at]).collect();
            column.values = keep.iter().map(|at| column.values[*at]).collect();
        });
        let options = QueryOptions::default();
        let reader = Reader { source: &memory, options: &options, group_by: &[], groups_max: 1 };
        let part = part("good", "total");
        let count = |target: f64, no_data| {
            let budgeting = Budgeting::Timeslices { width: 60_000, target };
            let mut ledger = Ledger::new(Method { budgeting, no_data }, 0);
            ledger.fill(&reader, &part, 600_000).unwrap();
            ledger.at(&reader, &part, (599_999, false)).unwrap()[&Labels::empty()]
        };
        // 8 or 9 of 60 are bad; the slice that follows the gap has what was missed.
        assert_eq!(count(0.86, NoData::Ignore), Count { numerator: 3.0, denominator: 8.0 });
        assert_eq!(count(0.85, NoData::Bad), Count { numerator: 8.0, denominator: 9.0 });
        assert_eq!(count(0.99, NoData::Good), Count { numerator: 1.0, denominator: 9.0 });
    }
}
