//! Vectors: series that are ready, or that can be made one at a time.
//!
//! A lazy vector lets an aggregation take in one series after the other, so that the memory of a query follows its
//! groups and not its series. Making series is spread over threads, each with a contiguous part, so that results are
//! the same whatever the timing.

use std::ops::Range;

use crate::model::labels::Labels;

use super::cells::{Bits, Cells, Series};
use super::error::EvalError;
use super::notes::Notes;
use super::query::{Held, Query, Work};

/// Makes series one at a time. Asked from several threads, at most once for each series.
pub(super) trait Lazy: Send + Sync {
    fn len(&self) -> usize;

    fn labels(&self, index: usize) -> &Labels;

    fn drop_name(&self, index: usize) -> bool;

    /// Fills cleared cells with the values of a series.
    fn fill(&self, index: usize, work: &mut Work<'_>, cells: &mut Cells) -> Result<(), EvalError>;

    /// About how many samples one series costs to make: decides whether threads pay.
    fn cost(&self) -> usize;
}

/// The result of an expression of vector type.
pub(super) enum Vector<'a> {
    Ready(Ready),
    Lazy(Box<dyn Lazy + 'a>),
}

/// Series in memory. None is vacant.
pub(super) struct Ready {
    pub(super) series: Vec<Series>,
    pub(super) held: Held,
}

impl Ready {
    /// Takes in series, leaving out vacant ones.
    pub(super) fn new(query: &Query<'_>, mut series: Vec<Series>) -> Result<Self, EvalError> {
        series.retain(|series| !series.cells.is_vacant());
        let mut held = query.held();
        for series in &series {
            held.add(weight(&series.cells))?;
        }
        Ok(Self { series, held })
    }
}

/// What cells count for: sparse columns take half a sample for each slot, filled or not.
fn weight(cells: &Cells) -> u64 {
    cells.samples().max(cells.steps() as u64 / 2)
}

impl<'a> Vector<'a> {
    /// Slots of all its series, filled or not.
    pub(super) fn slots(&self, steps: usize) -> usize {
        let series = match self {
            Self::Ready(ready) => ready.series.len(),
            Self::Lazy(lazy) => lazy.len(),
        };
        series.saturating_mul(steps)
    }

    /// All series in memory.
    pub(super) fn ready(self, query: &Query<'_>, steps: usize, notes: &mut Notes) -> Result<Ready, EvalError> {
        let lazy = match self {
            Self::Ready(ready) => return Ok(ready),
            Self::Lazy(lazy) => lazy,
        };
        let parts = parallel(query, lazy.len(), lazy.cost(), notes, |range, work| {
            let mut series = Vec::new();
            let mut held = query.held();
            let mut cells = Cells::default();
            for index in range {
                query.check()?;
                cells.reset(steps);
                lazy.fill(index, work, &mut cells)?;
                if !cells.is_vacant() {
                    held.add(weight(&cells))?;
                    let cells = std::mem::take(&mut cells);
                    series.push(Series { labels: lazy.labels(index).clone(), drop_name: lazy.drop_name(index), cells });
                }
            }
            Ok((series, held))
        })?;
        let mut ready = Ready { series: Vec::new(), held: query.held() };
        for (series, held) in parts {
            ready.series.extend(series);
            ready.held.join(held);
        }
        Ok(ready)
    }

    /// Changes each series by itself: now if it is there, else when it is made.
    pub(super) fn map(
        self,
        query: &Query<'_>,
        notes: &mut Notes,
        change: impl Fn(&Labels, &mut bool, &mut Cells, &mut Notes) + Send + Sync + 'a,
    ) -> Result<Self, EvalError> {
        match self {
            Self::Ready(mut ready) => {
                for series in &mut ready.series {
                    query.check()?;
                    change(&series.labels, &mut series.drop_name, &mut series.cells, notes);
                }
                ready.series.retain(|series| !series.cells.is_vacant());
                Ok(Self::Ready(ready))
            }
            Self::Lazy(lazy) => Ok(Self::Lazy(Box::new(Mapped { lazy, change: Box::new(change), dropped: None }))),
        }
    }

    /// As [`Self::map`], for changes of values that make the metric name meaningless.
    pub(super) fn map_values(
        self,
        query: &Query<'_>,
        notes: &mut Notes,
        drop_name: bool,
        change: impl Fn(&Labels, &mut Cells, &mut Notes) + Send + Sync + 'a,
    ) -> Result<Self, EvalError> {
        match self {
            Self::Ready(_) => self.map(query, notes, move |labels, dropped, cells, notes| {
                *dropped |= drop_name;
                change(labels, cells, notes);
            }),
            Self::Lazy(lazy) => Ok(Self::Lazy(Box::new(Mapped {
                lazy,
                change: Box::new(move |labels, _, cells, notes| change(labels, cells, notes)),
                dropped: drop_name.then_some(true),
            }))),
        }
    }

    /// Calls `each` with the cells of every series in order, on this thread only.
    pub(super) fn for_each(
        self,
        query: &Query<'_>,
        steps: usize,
        notes: &mut Notes,
        mut each: impl FnMut(&Series, &mut Notes) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let ready = self.ready(query, steps, notes)?;
        for series in &ready.series {
            query.check()?;
            each(series, notes)?;
        }
        Ok(())
    }
}

impl<'a> Vector<'a> {
    /// As something that makes series, also where they are there already.
    pub(super) fn into_lazy(self) -> Box<dyn Lazy + 'a> {
        match self {
            Self::Ready(ready) => Box::new(ready),
            Self::Lazy(lazy) => lazy,
        }
    }

    /// At which steps there is any sample.
    pub(super) fn presence(self, query: &Query<'_>, steps: usize, notes: &mut Notes) -> Result<Bits, EvalError> {
        let lazy = self.into_lazy();
        let parts = parallel(query, lazy.len(), lazy.cost(), notes, |range, work| {
            let mut present = Bits::none(steps);
            let mut cells = Cells::default();
            for index in range {
                query.check()?;
                cells.reset(steps);
                lazy.fill(index, work, &mut cells)?;
                present.or(&cells.present());
            }
            Ok(present)
        })?;
        let mut present = Bits::none(steps);
        parts.iter().for_each(|part| present.or(part));
        Ok(present)
    }
}

impl Lazy for Ready {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.series[index].labels
    }

    fn drop_name(&self, index: usize) -> bool {
        self.series[index].drop_name
    }

    fn fill(&self, index: usize, _: &mut Work<'_>, cells: &mut Cells) -> Result<(), EvalError> {
        cells.clone_from(&self.series[index].cells);
        Ok(())
    }

    fn cost(&self) -> usize {
        self.series.first().map_or(1, |series| series.cells.steps())
    }
}

/// How a series is changed.
type Change<'a> = Box<dyn Fn(&Labels, &mut bool, &mut Cells, &mut Notes) + Send + Sync + 'a>;

struct Mapped<'a> {
    lazy: Box<dyn Lazy + 'a>,
    change: Change<'a>,
    dropped: Option<bool>,
}

impl Lazy for Mapped<'_> {
    fn len(&self) -> usize {
        self.lazy.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        self.lazy.labels(index)
    }

    fn drop_name(&self, index: usize) -> bool {
        self.dropped.unwrap_or_else(|| self.lazy.drop_name(index))
    }

    fn fill(&self, index: usize, work: &mut Work<'_>, cells: &mut Cells) -> Result<(), EvalError> {
        self.lazy.fill(index, work, cells)?;
        let mut dropped = self.drop_name(index);
        (self.change)(self.lazy.labels(index), &mut dropped, cells, &mut work.notes);
        Ok(())
    }

    fn cost(&self) -> usize {
        self.lazy.cost()
    }
}

/// The result of one step, at every step.
pub(super) struct Broadcast {
    pub(super) ready: Ready,
    pub(super) steps: usize,
}

impl Lazy for Broadcast {
    fn len(&self) -> usize {
        self.ready.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.ready.series[index].labels
    }

    fn drop_name(&self, index: usize) -> bool {
        self.ready.series[index].drop_name
    }

    fn fill(&self, index: usize, _: &mut Work<'_>, cells: &mut Cells) -> Result<(), EvalError> {
        let one = &self.ready.series[index].cells;
        if let Some(histogram) = one.histogram(0) {
            cells.histograms.resize(self.steps, Some(histogram.clone()));
        } else if one.floats.get(0) {
            cells.values.fill(one.values[0]);
            cells.floats.reset(self.steps, true);
        }
        Ok(())
    }

    fn cost(&self) -> usize {
        self.steps
    }
}

/// Below this many samples, which take half a millisecond, a second thread costs more than it saves.
const SAMPLES_PER_THREAD: usize = 100_000;

/// Splits `count` items over the threads of the query and gives the results in order. The parts are contiguous.
pub(super) fn parallel<T: Send>(
    query: &Query<'_>,
    count: usize,
    cost: usize,
    notes: &mut Notes,
    part: impl Fn(Range<usize>, &mut Work<'_>) -> Result<T, EvalError> + Sync,
) -> Result<Vec<T>, EvalError> {
    let useful = count.saturating_mul(cost) / SAMPLES_PER_THREAD;
    let threads = query.options.threads.min(useful).min(count).max(1);
    if threads == 1 {
        let mut work = Work::new(query);
        let result = part(0..count, &mut work);
        notes.merge(std::mem::take(&mut work.notes));
        return result.map(|result| vec![result]);
    }
    let run = |index: usize| {
        let mut work = Work::new(query);
        let range = count * index / threads..count * (index + 1) / threads;
        let result = part(range, &mut work);
        (result, std::mem::take(&mut work.notes))
    };
    let results = std::thread::scope(|scope| {
        let run = &run;
        let others: Vec<_> = (1..threads).map(|index| scope.spawn(move || run(index))).collect();
        let mut results = vec![run(0)];
        for other in others {
            match other.join() {
                Ok(result) => results.push(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    let mut parts = Vec::with_capacity(threads);
    for (result, part_notes) in results {
        notes.merge(part_notes);
        parts.push(result?);
    }
    Ok(parts)
}
