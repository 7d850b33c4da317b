//! Results of range queries, kept for the next refresh of the same dashboard.
//!
//! A kept result holds for every step before the oldest time that was written since ([`crate::metrics::changes`]), so
//! a refresh evaluates only its tail, and late data, whenever it comes, takes back exactly what it touches. Who asks for
//! an earlier begin gets the steps before what is kept evaluated, and those after it; of the same query the widest
//! window that was asked for stays, so that two panels of one query do not push each other out. Only
//! queries whose value at a step depends on nothing after that step are kept: no `@`, no negative offsets, nothing
//! `smoothed`, nothing that asks for the range or step of the query.
//!
//! Kept within a budget of bytes; what was used longest ago goes first.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::metrics::changes::{Changes, Token};
use crate::promql::ast::{DurationExpr, Edges, Expr, ExprKind};
use crate::promql::eval::{MatrixSeries, Window};
use crate::query::walk;
use crate::telemetry::{Counters, Gauges};

static LOOKUPS: Counters<1> = Counters::new(
    "novascope_query_cache_total",
    "Range queries by what the cache had: all of the answer, its beginning, another part, or nothing; or that it was not asked.",
    ["result"],
);
static BYTES: Gauges<0> = Gauges::new("novascope_query_cache_bytes", "Bytes of kept results.", []);

/// Queries that read less are as quick to evaluate as to keep.
const SAMPLES_MIN: u64 = 2_000;

/// One result may take this share of the budget.
const SHARE: usize = 8;

/// What an entry costs beside its points.
const SERIES_BYTES: usize = 256;
const POINT_BYTES: usize = size_of::<(i64, f64)>();
const HISTOGRAM_BYTES: usize = 512;

/// What is kept in the middle of a window is of use if it is at least one in so many of its steps.
const SPLIT_SHARE: i64 = 4;

/// What makes two queries the same but for their window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    query: Arc<str>,
    lookback: i64,
    step: i64,
    /// Where the steps stand: start modulo step.
    phase: i64,
}

impl Key {
    /// The key of a query that may be kept; `None` where a later step could change what an earlier one gave.
    pub fn new(query: &str, expr: &Expr, window: Window, lookback: i64) -> Option<Self> {
        (window.step > 0 && is_steady(expr)).then(|| Self {
            query: query.into(),
            lookback,
            step: window.step,
            phase: window.start.rem_euclid(window.step),
        })
    }
}

/// Whether the value at each step depends only on that step and on samples up to it.
fn is_steady(expr: &Expr) -> bool {
    let behind = |offset: &Option<DurationExpr>| match offset {
        None => true,
        Some(DurationExpr::Literal(ms)) => *ms >= 0,
        Some(DurationExpr::Computed(_)) => false,
    };
    let literal = |duration: &DurationExpr| matches!(duration, DurationExpr::Literal(_));
    walk::nodes(expr).iter().all(|node| match &node.kind {
        ExprKind::Selector(selector) => {
            selector.at.is_none() && selector.edges == Edges::Plain && behind(&selector.offset)
        }
        ExprKind::Matrix(matrix) => {
            let selector = &matrix.selector;
            selector.at.is_none()
                && selector.edges == Edges::Plain
                && behind(&selector.offset)
                && literal(&matrix.range)
        }
        ExprKind::Subquery(subquery) => {
            subquery.at.is_none()
                && behind(&subquery.offset)
                && literal(&subquery.range)
                && subquery.step.as_ref().is_none_or(literal)
        }
        ExprKind::Call(call) => !matches!(&*call.function, "start" | "end" | "range" | "step"),
        _ => true,
    })
}

/// A result and what it is worth.
#[derive(Debug)]
struct Kept {
    /// First and last step, both included.
    start: i64,
    end: i64,
    /// The widest window that was asked for, in milliseconds: no more is kept.
    span: i64,
    /// From before the evaluation.
    token: Token,
    series: Arc<Vec<MatrixSeries>>,
    warnings: Vec<String>,
    infos: Vec<String>,
    bytes: usize,
    used: u64,
}

/// A part of an answer.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Ascending by labels, cut to the steps asked for.
    pub series: Vec<MatrixSeries>,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    /// First and last step, both included: what lies before and after is still to be evaluated.
    pub first: i64,
    pub last: i64,
}

impl Found {
    /// The steps of a window that are still to be evaluated, before and after.
    pub fn missing(&self, window: Window) -> [Option<Window>; 2] {
        let head = Window { end: self.first.saturating_sub(window.step), ..window };
        let tail = Window { start: self.last.saturating_add(window.step), ..window };
        [head, tail].map(|part| Some(part).filter(|part| part.start <= part.end))
    }
}

/// Kept results. Clones share them.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Mutex<Shelf>>);

#[derive(Debug)]
struct Shelf {
    kept: HashMap<Key, Kept>,
    bytes: usize,
    budget: usize,
    clock: u64,
}

impl Cache {
    /// A cache of at most `budget` bytes; 0 keeps nothing.
    pub fn new(budget: usize) -> Self {
        Self(Arc::new(Mutex::new(Shelf { kept: HashMap::new(), bytes: 0, budget, clock: 0 })))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// Notes a query that could not be kept or must not be.
    pub fn skip(&self) {
        LOOKUPS.with(["skipped"]).inc();
    }

    /// The part of the answer that is kept and still holds.
    pub fn find(&self, key: &Key, window: Window, changes: &Changes) -> Option<Found> {
        let found = self.find_uncounted(key, window, changes);
        let missing = found.as_ref().map(|found| found.missing(window));
        let result = match missing {
            None => "nothing",
            Some([None, None]) => "all",
            Some([None, Some(_)]) => "beginning",
            Some([Some(_), _]) => "part",
        };
        LOOKUPS.with([result]).inc();
        found
    }

    fn find_uncounted(&self, key: &Key, window: Window, changes: &Changes) -> Option<Found> {
        let (series, mut found) = {
            let mut shelf = self.0.lock();
            shelf.clock += 1;
            let used = shelf.clock;
            let kept = shelf.kept.get_mut(key)?;
            let first = window.start.max(kept.start);
            // The result at a step reads samples up to that step: those before the oldest change are as they were.
            let last = kept.end.min(window.end).min(changes.since(kept.token).saturating_sub(1));
            if last < first {
                return None;
            }
            let steps = (last - first) / window.step;
            let last = first + steps * window.step;
            let is_split = first > window.start && last < window.end;
            // Two evaluations read what ranges reach back for twice.
            if is_split && (last - first).saturating_mul(SPLIT_SHARE) < window.end - window.start {
                return None;
            }
            kept.used = used;
            let (warnings, infos) = (kept.warnings.clone(), kept.infos.clone());
            (Arc::clone(&kept.series), Found { series: Vec::new(), warnings, infos, first, last })
        };
        found.series = series.iter().filter_map(|series| cut(series, found.first, found.last)).collect();
        Some(found)
    }

    /// Keeps a whole answer, and what was kept around it as far as that still holds. The token of the answer is from
    /// before [`Self::find`]: what was found then held for every write before it, and the rest was evaluated after it.
    pub fn keep(&self, key: Key, window: Window, answer: Answer<'_>, changes: &Changes) {
        if !answer.was_found && answer.samples < SAMPLES_MIN {
            return;
        }
        let Answer { series, warnings, infos, token, .. } = answer;
        let steps = (window.end - window.start) / window.step;
        let (start, end) = (window.start, window.start + steps * window.step);
        let mut kept = Kept {
            start,
            end,
            span: end - start,
            token,
            series: Arc::new(Vec::new()),
            warnings: warnings.to_vec(),
            infos: infos.to_vec(),
            bytes: 0,
            used: 0,
        };
        let mut shelf = self.0.lock();
        let around = shelf.kept.get(&key).map(|old| old.around(&mut kept, (window.step, changes)));
        let [before, after] = around.unwrap_or_default();
        let own = size(series);
        kept.bytes = own + size(&before) + size(&after);
        let limit = shelf.budget / SHARE;
        if own > limit {
            return;
        }
        if kept.bytes > limit {
            (kept.start, kept.end, kept.bytes) = (start, end, own);
            kept.series = Arc::new(series.to_vec());
        } else {
            kept.series = Arc::new(join(join(before, series.to_vec()), after));
        }
        shelf.clock += 1;
        kept.used = shelf.clock;
        shelf.insert(key, kept);
        BYTES.get().set(shelf.bytes as f64);
    }
}

impl Kept {
    /// What it has before and after another result of the same query, as far as it holds and joins on; the other takes
    /// the times and the notes over.
    fn around(&self, new: &mut Self, (step, changes): (i64, &Changes)) -> [Vec<MatrixSeries>; 2] {
        let (start, end) = (new.start, new.end);
        let holds = self.end.min(changes.since(self.token).saturating_sub(1));
        if self.start > end.saturating_add(step) || holds < start.saturating_sub(step) {
            return [Vec::new(), Vec::new()];
        }
        // The window that was asked for last stays whole; of the rest no more than was asked for at one time.
        new.span = new.span.max(self.span);
        let last = holds - (holds - self.start).rem_euclid(step);
        new.start = start.min(self.start).max(end - new.span);
        new.end = end.max(last).min(new.start + new.span);
        new.warnings = join_notes(std::mem::take(&mut new.warnings), &self.warnings);
        new.infos = join_notes(std::mem::take(&mut new.infos), &self.infos);
        let part = |from: i64, to: i64| self.series.iter().filter_map(|series| cut(series, from, to)).collect();
        [part(new.start, start - step), part(end + step, new.end)]
    }
}

/// A whole answer, to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub series: &'a [MatrixSeries],
    pub warnings: &'a [String],
    pub infos: &'a [String],
    /// Samples that were read for it.
    pub samples: u64,
    /// Its beginning came from the cache.
    pub was_found: bool,
    /// From before the look-up and the evaluation.
    pub token: Token,
}

impl Shelf {
    fn insert(&mut self, key: Key, kept: Kept) {
        self.bytes += kept.bytes;
        if let Some(old) = self.kept.insert(key, kept) {
            self.bytes -= old.bytes;
        }
        while self.bytes > self.budget {
            // Some hundred entries at most: a walk is quicker than a list kept in order would be at each look-up.
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| self.kept.remove(&key)) else { break };
            self.bytes -= gone.bytes;
        }
    }
}

fn size(series: &[MatrixSeries]) -> usize {
    let one = |series: &MatrixSeries| {
        SERIES_BYTES
            + series.labels.as_encoded().len()
            + series.floats.len() * POINT_BYTES
            + series.histograms.len() * HISTOGRAM_BYTES
    };
    series.iter().map(one).sum()
}

/// The part of a series between two times, both included.
fn cut(series: &MatrixSeries, start: i64, end: i64) -> Option<MatrixSeries> {
    fn part<T: Clone>(points: &[(i64, T)], start: i64, end: i64) -> Vec<(i64, T)> {
        let from = points.partition_point(|(time, _)| *time < start);
        let to = points.partition_point(|(time, _)| *time <= end);
        points.get(from..to).unwrap_or(&[]).to_vec()
    }
    let floats = part(&series.floats, start, end);
    let histograms = part(&series.histograms, start, end);
    let is_empty = floats.is_empty() && histograms.is_empty();
    (!is_empty).then(|| MatrixSeries { labels: series.labels.clone(), floats, histograms })
}

/// Joins the beginning of an answer and its rest, both ascending by labels, into one that is too.
pub fn join(beginning: Vec<MatrixSeries>, rest: Vec<MatrixSeries>) -> Vec<MatrixSeries> {
    let mut joined = Vec::with_capacity(beginning.len().max(rest.len()));
    let mut right = rest.into_iter().peekable();
    for mut series in beginning {
        while let Some(earlier) = right.next_if(|other| other.labels < series.labels) {
            joined.push(earlier);
        }
        if let Some(same) = right.next_if(|other| other.labels == series.labels) {
            series.floats.extend(same.floats);
            series.histograms.extend(same.histograms);
        }
        joined.push(series);
    }
    joined.extend(right);
    joined
}

/// Both lists, each text once.
pub fn join_notes(mut notes: Vec<String>, more: &[String]) -> Vec<String> {
    for note in more {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse::parse;

    #[test]
    fn only_queries_that_look_back_are_kept() {
        let window = Window { start: 0, end: 10_000, step: 1_000 };
        let steady = |query: &str| Key::new(query, &parse(query).unwrap(), window, 0).is_some();
        for query in ["sum(rate(x[5m]))", "x offset 5m", "max_over_time(rate(x[1m])[1h:30s])", "time() - x"] {
            assert!(steady(query), "{query}");
        }
        for query in [
            "x @ 100",
            "x @ end()",
            "x offset -5m",
            "rate(x[5m] smoothed)",
            "rate(x[5m] anchored)",
            "rate(x[step()])",
            "sum_over_time(x[1h:step()])",
            "x - end()",
        ] {
            assert!(!steady(query), "{query}");
        }
    }

    #[test]
    fn joining_keeps_the_order_of_labels() {
        use crate::model::labels::Labels;
        let series = |name: &str, floats: &[(i64, f64)]| MatrixSeries {
            labels: Labels::from_pairs([("a", name)]),
            floats: floats.to_vec(),
            histograms: Vec::new(),
        };
        let joined = join(
            vec![series("b", &[(1, 1.0)]), series("d", &[(1, 2.0)])],
            vec![series("a", &[(2, 3.0)]), series("b", &[(2, 4.0)]), series("e", &[(2, 5.0)])],
        );
        let names: String = joined.iter().filter_map(|series| series.labels.get("a")).collect();
        assert_eq!(names, "abde");
        assert_eq!(joined[1].floats, [(1, 1.0), (2, 4.0)]);
    }
}
