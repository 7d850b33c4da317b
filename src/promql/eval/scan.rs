//! Instant selectors: the latest sample at each step.

use std::sync::Arc;

use crate::model::histogram::{Histogram, ResetHint};
use crate::model::labels::Labels;
use crate::model::sample::is_stale;
use crate::promql::ast::{Edges, Span};
use crate::promql::source::Column;

use super::cells::Cells;
use super::error::EvalError;
use super::extended;
use super::plan::Reference;
use super::query::{Frame, Set, Work};
use super::tally::Tally;
use super::vector::Lazy;

/// What of the sample becomes the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    Value,
    /// Its time in seconds: `timestamp()`.
    Time,
    /// Its start timestamp in seconds: `start_timestamp()`.
    StartTime,
    /// Its time in milliseconds; histograms are an error: `info()`.
    InfoTime,
}

/// The series of an instant selector.
pub(super) struct Scan {
    pub(super) set: Set,
    /// The times that are wanted of the set, where others read it too.
    pub(super) part: Option<(i64, i64)>,
    pub(super) frame: Frame,
    pub(super) reference: Reference,
    pub(super) lookback: i64,
    pub(super) edges: Edges,
    pub(super) stats_only: bool,
    pub(super) pick: Pick,
    pub(super) span: Span,
    pub(super) tally: Option<Arc<Tally>>,
}

impl Lazy for Scan {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        self.set.labels(index)
    }

    fn drop_name(&self, _: usize) -> bool {
        matches!(self.pick, Pick::Time | Pick::StartTime)
    }

    fn fill(&self, index: usize, work: &mut Work<'_>, cells: &mut Cells) -> Result<(), EvalError> {
        let mut column = work.column();
        work.read((&self.set, index), self.part, &mut column)?;
        if self.stats_only {
            keep_statistics(&mut column);
        }
        if self.edges == Edges::Smoothed && self.pick == Pick::Value {
            extended::smooth(self, &column, index, work, cells);
        } else {
            self.latest(&column, cells);
        }
        if let Some(tally) = &self.tally {
            tally.add_cells(cells);
        }
        if self.pick == Pick::InfoTime && cells.has_histograms() {
            let labels = self.labels(index);
            return Err(EvalError::execution(format!("this should be an info metric, with float samples: {labels}")));
        }
        work.return_column(column);
        Ok(())
    }

    fn cost(&self) -> usize {
        let span = self.frame.last().saturating_sub(self.frame.start).saturating_add(self.lookback);
        (span / 1000).unsigned_abs() as usize + self.frame.steps
    }
}

impl Scan {
    fn latest(&self, column: &Column, cells: &mut Cells) {
        let mut cursor = Cursor::default();
        for step in 0..self.frame.steps {
            let time = self.reference.of(self.frame.time(step));
            let Some(at) = cursor.after(&column.times, time).checked_sub(1) else { continue };
            if column.times[at] > time.saturating_sub(self.lookback) {
                self.take(column, at, step, cells);
            }
        }
    }

    #[inline]
    fn take(&self, column: &Column, at: usize, step: usize, cells: &mut Cells) {
        let histogram = column.histograms.get(at).and_then(Option::as_ref);
        let stale = histogram.map_or_else(|| is_stale(column.values[at]), |histogram| histogram.is_stale());
        if stale {
            return;
        }
        match (self.pick, histogram) {
            (Pick::Value, None) => cells.set_float(step, column.values[at]),
            (Pick::Value | Pick::InfoTime, Some(histogram)) => cells.set_histogram(step, histogram.clone()),
            (Pick::Time, _) => cells.set_float(step, column.times[at] as f64 / 1000.0),
            (Pick::InfoTime, None) => cells.set_float(step, column.times[at] as f64),
            (Pick::StartTime, _) => {
                cells.set_float(step, column.starts.get(at).copied().unwrap_or(0) as f64 / 1000.0);
            }
        }
    }
}

/// Finds positions in ascending times, for questions that mostly ascend at an even pace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    position: usize,
    stride: usize,
}

impl Cursor {
    /// How many times are at or before `time`.
    #[inline]
    pub(super) fn after(&mut self, times: &[i64], time: i64) -> usize {
        let guess = self.position + self.stride;
        let holds = |at: usize| (at == 0 || times[at - 1] <= time) && (at == times.len() || times[at] > time);
        if guess <= times.len() && holds(guess) {
            self.position = guess;
            return guess;
        }
        let found = self.search(times, time);
        self.stride = found.saturating_sub(self.position);
        self.position = found;
        found
    }

    fn search(&self, times: &[i64], time: i64) -> usize {
        let mut low = self.position.min(times.len());
        if low > 0 && times[low - 1] > time {
            // A question that goes back in time.
            return times[..low].partition_point(|candidate| *candidate <= time);
        }
        let mut width = 1;
        while low + width <= times.len() && times[low + width - 1] <= time {
            low += width;
            width *= 2;
        }
        let high = (low + width).min(times.len());
        low + times[low..high].partition_point(|candidate| *candidate <= time)
    }
}

/// Leaves only count, sum and the reset hint of histograms. As the buckets go, resets are looked for now.
pub(super) fn keep_statistics(column: &mut Column) {
    let mut before: Option<Arc<Histogram>> = None;
    for slot in &mut column.histograms {
        let Some(histogram) = slot else { continue };
        let mut hint = histogram.reset_hint;
        if !histogram.is_stale() {
            if let (ResetHint::Unknown, Some(before)) = (hint, &before) {
                hint = if histogram.detect_reset(before) { ResetHint::Reset } else { ResetHint::NotReset };
            }
            before = Some(histogram.clone());
        }
        *slot = Some(Arc::new(Histogram {
            reset_hint: hint,
            schema: histogram.schema,
            count: histogram.count,
            sum: histogram.sum,
            ..Histogram::default()
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn a_cursor_finds_what_a_search_finds() {
        let times: Vec<i64> = (0..50).map(|i| i * 10 + i % 3).collect();
        for step in [-7, 0, 1, 3, 10, 25, 400] {
            let mut cursor = Cursor::default();
            for k in 0..60 {
                let time = 100 + step * k;
                assert_eq!(cursor.after(&times, time), times.partition_point(|t| *t <= time), "step {step} at {k}");
            }
        }
    }
}
