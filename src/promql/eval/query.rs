//! The state of a running query: its source, its budget, its steps.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::base::priority;
use crate::promql::ast::{Edges, Span};
use crate::promql::source::{Column, Hints, Select, SeriesSet, Source};

use super::cells::Cells;
use super::error::EvalError;
use super::joint::Joint;
use super::notes::Notes;
use super::outcome::{Pool, QueryOptions};
use super::plan::{Plan, Selector};
use super::shared::Shared;
use super::tally::Tallies;
use super::trace::{Trace, WatchedSet};

/// The times at which a node is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) start: i64,
    /// Not necessarily a step.
    pub(super) end: i64,
    /// Above 0.
    pub(super) step: i64,
    pub(super) steps: usize,
}

impl Frame {
    pub(super) fn new(start: i64, end: i64, step: i64) -> Self {
        let steps = if end < start { 0 } else { (end.saturating_sub(start) / step) as usize + 1 };
        Self { start, end, step, steps }
    }

    pub(super) fn instant(time: i64) -> Self {
        Self { start: time, end: time, step: 1, steps: 1 }
    }

    #[inline]
    pub(super) fn time(&self, step: usize) -> i64 {
        self.start + step as i64 * self.step
    }

    /// The time of the last step.
    pub(super) fn last(&self) -> i64 {
        self.time(self.steps.saturating_sub(1))
    }

    /// One evaluation only: the order of series means something.
    pub(super) fn is_instant(&self) -> bool {
        self.start == self.end
    }
}

/// Counts samples in memory.
#[derive(Debug, Default)]
pub(super) struct Budget {
    held: AtomicU64,
    peak: AtomicU64,
    limit: u64,
    pool: Option<Arc<Pool>>,
}

impl Budget {
    fn take(&self, samples: u64) -> Result<(), EvalError> {
        let held = self.held.fetch_add(samples, Ordering::Relaxed) + samples;
        self.peak.fetch_max(held, Ordering::Relaxed);
        // Both count before either refuses, because what was added is given back to both.
        let shared = self.pool.as_ref().is_none_or(|pool| pool.take(samples));
        if held > self.limit {
            Err(EvalError::too_many_samples())
        } else if !shared {
            Err(EvalError::no_memory_left())
        } else {
            Ok(())
        }
    }
}

/// Samples that were counted as in memory; gives them back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Arc<Budget>,
    samples: u64,
}

impl Held {
    /// Of no query.
    #[cfg(test)]
    pub(super) fn of_nobody() -> Self {
        let (held, peak) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { budget: Arc::new(Budget { held, peak, limit: 0, pool: None }), samples: 0 }
    }

    pub(super) fn add(&mut self, samples: u64) -> Result<(), EvalError> {
        self.samples += samples;
        self.budget.take(samples)
    }

    /// Counts for at least this many samples.
    pub(super) fn grow_to(&mut self, samples: u64) -> Result<(), EvalError> {
        if samples > self.samples { self.add(samples - self.samples) } else { Ok(()) }
    }

    pub(super) fn join(&mut self, mut other: Self) {
        self.samples += std::mem::take(&mut other.samples);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.samples, Ordering::Relaxed);
        if let Some(pool) = &self.budget.pool {
            pool.give_back(self.samples);
        }
    }
}

/// A set of series that selectors of one query share.
pub(super) type Set = Arc<dyn SeriesSet>;

/// What selectors have asked for so far. Few enough for a list.
type Selections = Vec<((String, i64, i64), Set)>;

/// A running query.
pub(super) struct Query<'a> {
    source: &'a dyn Source,
    pub(super) text: &'a str,
    pub(super) options: &'a QueryOptions,
    budget: Arc<Budget>,
    selections: Mutex<Selections>,
    series: AtomicU64,
    samples: AtomicU64,
    /// Where the samples of steps are counted.
    pub(super) tallies: Option<Tallies>,
    /// Where the query is to be explained.
    pub(super) trace: Option<Trace>,
    pub(super) shared: Shared,
    pub(super) joint: Joint<'a>,
}

impl<'a> Query<'a> {
    pub(super) fn new(source: &'a dyn Source, (text, plan): (&'a str, &'a Plan), options: &'a QueryOptions) -> Self {
        let written = |plan: &Plan| text.get(plan.span.start as usize..plan.span.end as usize).unwrap_or("");
        let budget = Budget { limit: options.max_samples, pool: options.pool.clone(), ..Budget::default() };
        Self {
            source,
            text,
            options,
            budget: Arc::new(budget),
            selections: Mutex::default(),
            series: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            tallies: options.count_steps.then(Tallies::default),
            trace: options.explain.clone().map(Trace::new),
            shared: if options.count_steps {
                Shared::default()
            } else {
                Shared::of(plan, written, options.common.as_ref())
            },
            joint: if options.count_steps || options.explain.is_some() {
                Joint::default()
            } else {
                Joint::of(plan, written)
            },
        }
    }

    /// A part of the query as it was written.
    pub(super) fn written(&self, span: Span) -> &'a str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    pub(super) fn held(&self) -> Held {
        Held { budget: self.budget.clone(), samples: 0 }
    }

    pub(super) fn check(&self) -> Result<(), EvalError> {
        if self.options.slow.load(Ordering::Relaxed) {
            priority::lower();
        }
        if self.options.cancel.load(Ordering::Relaxed) { Err(EvalError::cancelled()) } else { Ok(()) }
    }

    /// Series and samples read so far, and the most samples held at one time.
    pub(super) fn cost(&self) -> (u64, u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.series), load(&self.samples), load(&self.budget.peak))
    }

    /// The same set, watched where the query is to be explained.
    pub(super) fn watched(&self, plan: &Plan, set: Set) -> Set {
        match &self.trace {
            Some(trace) => Arc::new(WatchedSet::new(set, plan, trace)),
            None => set,
        }
    }

    /// The series for a selector over `range` milliseconds (0 for an instant selector). The same question is asked of
    /// the source once.
    pub(super) fn select(
        &self,
        selector: &Selector,
        frame: Frame,
        range: i64,
        notes: &mut Notes,
    ) -> Result<Set, EvalError> {
        self.open(&self.selection(selector, frame, range), notes)
    }

    /// How wide the windows are from which a selection would be answered; 0 for samples.
    pub(super) fn window(&self, select: &Select) -> i64 {
        self.source.window(select)
    }

    /// What a selector asks of the source.
    pub(super) fn selection(&self, selector: &Selector, frame: Frame, range: i64) -> Select {
        let (first, last) = (selector.reference.of(frame.start), selector.reference.of(frame.last()));
        let lookback = self.options.lookback;
        let back = match (range, selector.edges) {
            (0, _) => lookback,
            (range, Edges::Plain) => range,
            (range, _) => range.saturating_add(lookback),
        };
        let ahead = if selector.edges == Edges::Smoothed { lookback } else { 0 };
        let hints = Hints {
            step: if frame.is_instant() { 0 } else { frame.step },
            range,
            function: selector.function,
            labels_only: false,
            raw: selector.edges != Edges::Plain,
            // Statistics of a histogram depend on the one before.
            newest: range == 0 && first == last && selector.edges == Edges::Plain && !selector.stats_only,
        };
        Select {
            matchers: selector.matchers.clone(),
            mint: first.saturating_sub(back).saturating_add(1),
            maxt: last.saturating_add(ahead),
            hints,
        }
    }

    pub(super) fn open(&self, select: &Select, notes: &mut Notes) -> Result<Set, EvalError> {
        self.check()?;
        // Tiers are chosen by the hints, so selections with other hints do not share a set.
        let text = format!("{:?}{:?}", select.matchers, select.hints);
        let key = (text, select.mint, select.maxt);
        if let Some((_, set)) = self.selections.lock().iter().find(|(candidate, _)| *candidate == key) {
            return Ok(set.clone());
        }
        let set: Set = Arc::from(self.source.select(select)?);
        self.series.fetch_add(set.len() as u64, Ordering::Relaxed);
        notes.source(set.notes());
        self.selections.lock().push((key, set.clone()));
        Ok(set)
    }

    /// What sources found while their series were read: a damaged part shows only then.
    pub(super) fn note_sources(&self, notes: &mut Notes) {
        for (_, set) in self.selections.lock().iter() {
            notes.source(set.notes());
        }
    }
}

/// What one thread needs to work on series.
pub(super) struct Work<'q> {
    pub(super) query: &'q Query<'q>,
    pub(super) notes: Notes,
    pub(super) scratch: Scratch,
    columns: Vec<Column>,
    /// The series that was read last for selectors that are evaluated together: its number and all of its samples.
    joint: Option<(usize, Column)>,
    spare: Vec<Cells>,
    samples: u64,
    /// Counts the largest column: its memory is kept.
    held: Held,
}

/// Buffers of the window functions.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) floats: super::windows::FloatSamples,
    pub(super) histograms: super::windows::HistogramSamples,
    pub(super) float_bounds: KnownBounds,
    pub(super) histogram_bounds: Vec<Range<u32>>,
    pub(super) buffers: Buffers,
}

/// Windows over the times of the series before: series of one target share their times.
#[derive(Default)]
pub(super) struct KnownBounds {
    /// Which selector they are of.
    pub(super) owner: usize,
    pub(super) times: Vec<i64>,
    pub(super) bounds: Vec<Range<u32>>,
}

/// Memory that window functions keep from series to series.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) numbers: Vec<f64>,
    /// By how much differences are extrapolated at each step; depends on times only.
    pub(super) shapes: Vec<super::extrapolate::Shape>,
    /// They depend on start timestamps or weights as well, and so hold for one series only.
    pub(super) shapes_are_own: bool,
    /// Whether the windows are those of the series before, so that `shapes` hold.
    pub(super) same_windows: bool,
}

impl<'q> Work<'q> {
    pub(super) fn new(query: &'q Query<'q>) -> Self {
        Self {
            query,
            notes: Notes::default(),
            scratch: Scratch::default(),
            columns: Vec::new(),
            joint: None,
            spare: Vec::new(),
            samples: 0,
            held: query.held(),
        }
    }

    /// A column to read into. Give it back with [`Self::return_column`].
    pub(super) fn column(&mut self) -> Column {
        let mut column = self.columns.pop().unwrap_or_default();
        column.clear();
        column
    }

    pub(super) fn return_column(&mut self, column: Column) {
        self.columns.push(column);
    }

    /// Reads a series into a cleared column: all of it, or the part that one of several readers wants. Such readers take
    /// turns with each series.
    pub(super) fn read(
        &mut self,
        (set, index): (&Set, usize),
        part: Option<(i64, i64)>,
        column: &mut Column,
    ) -> Result<(), EvalError> {
        let Some((mint, maxt)) = part else {
            set.read(index, column)?;
            return self.count(column);
        };
        let (known, mut whole) = self.joint.take().unwrap_or((usize::MAX, Column::default()));
        if known != index {
            whole.clear();
            set.read(index, &mut whole)?;
            self.count(&whole)?;
        }
        column.copy_range(&whole, mint, maxt);
        self.joint = Some((index, whole));
        Ok(())
    }

    /// Counts the samples of a column that was just read.
    pub(super) fn count(&mut self, column: &Column) -> Result<(), EvalError> {
        let samples = column.len() as u64;
        self.samples += samples;
        self.held.grow_to(samples)
    }

    /// Counts memory that this thread keeps, in samples.
    pub(super) fn reserve(&mut self, samples: u64) -> Result<(), EvalError> {
        self.held.grow_to(samples)
    }

    pub(super) fn cells(&mut self) -> Cells {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn return_cells(&mut self, cells: Cells) {
        self.spare.push(cells);
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.query.samples.fetch_add(self.samples, Ordering::Relaxed);
    }
}
