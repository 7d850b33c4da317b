//! How many samples each step looks at, as Prometheus counts them for `stats`.
//!
//! Two counts: what a step would look at if it were asked alone, and what of it was not looked at by the step before. A
//! selector counts at its own steps. What a subquery or a part that does not change counts, is carried over to the steps
//! around it when everything is evaluated, because series are made late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::cells::Cells;
use super::outcome::StepSamples;
use super::query::Frame;
use super::windows::{HistogramSamples, Windows};

/// Counts at each step of a frame.
#[derive(Debug)]
pub(super) struct Tally {
    frame: Frame,
    total: Vec<AtomicU64>,
    read: Vec<AtomicU64>,
}

/// How the counts of a part reach those of what is around it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carry {
    /// It is the same at every step, and read once.
    Everywhere,
    /// A subquery under a function, which counts what it takes out of it.
    Windows { range: i64, offset: i64 },
    /// A subquery that is the whole query.
    Whole,
}

/// All tallies of a query, in the order in which they were opened: parts after what is around them.
#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<Vec<Opened>>);

/// A tally, and what it is carried over to.
type Opened = (Arc<Tally>, Option<(Arc<Tally>, Carry)>);

impl Tallies {
    /// Opens one and gives its number. `around` is the number of what it is carried over to.
    pub(super) fn open(&self, frame: Frame, around: Option<(usize, Carry)>) -> usize {
        let zeros = || (0..frame.steps).map(|_| AtomicU64::new(0)).collect();
        let tally = Arc::new(Tally { frame, total: zeros(), read: zeros() });
        let mut tallies = self.0.lock();
        let around = around.and_then(|(number, carry)| Some((tallies.get(number)?.0.clone(), carry)));
        tallies.push((tally, around));
        tallies.len() - 1
    }

    pub(super) fn get(&self, number: usize) -> Option<Arc<Tally>> {
        self.0.lock().get(number).map(|(tally, _)| tally.clone())
    }

    /// The counts of the whole query.
    pub(super) fn finish(&self) -> Option<StepSamples> {
        let tallies = self.0.lock();
        for (part, around) in tallies.iter().rev() {
            if let Some((around, carry)) = around {
                part.carry(around, *carry);
            }
        }
        tallies.first().map(|(whole, _)| {
            let counts = |counts: &[AtomicU64]| counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            StepSamples {
                start: whole.frame.start,
                step: whole.frame.step,
                total: counts(&whole.total),
                read: counts(&whole.read),
            }
        })
    }
}

fn add(counts: &[AtomicU64], step: usize, samples: u64) {
    if let Some(count) = counts.get(step) {
        count.fetch_add(samples, Ordering::Relaxed);
    }
}

impl Tally {
    /// A sample at one step.
    pub(super) fn add(&self, step: usize, samples: u64) {
        add(&self.total, step, samples);
        add(&self.read, step, samples);
    }

    /// What an instant selector found for a series.
    pub(super) fn add_cells(&self, cells: &Cells) {
        cells.floats.ones().for_each(|step| self.add(step, 1));
        for (step, histogram) in cells.histograms.iter().enumerate() {
            if let Some(histogram) = histogram {
                self.add(step, histogram.size_in_samples());
            }
        }
    }

    /// The windows of a series. Those of a subquery count here, but were read by its own selectors.
    pub(super) fn add_windows(&self, windows: &Windows<'_>, of_subquery: bool) {
        let sizes = Sizes::new(windows.histograms);
        for step in 0..windows.frame.steps {
            let (floats, histograms) = (windows.floats_at(step), windows.histograms_at(step));
            let all = floats.len() as u64 + sizes.between(histograms.start, histograms.end);
            add(&self.total, step, all);
            if of_subquery || (step > 0 && windows.reference.at.is_some()) {
                continue;
            }
            let known = windows.last_seen(step).saturating_sub(windows.frame.step);
            let new_floats = windows.floats.times[floats.clone()].partition_point(|time| *time <= known);
            let new_histograms = windows.histograms.times[histograms.clone()].partition_point(|time| *time <= known);
            let new =
                (floats.len() - new_floats) as u64 + sizes.between(histograms.start + new_histograms, histograms.end);
            add(&self.read, step, if step == 0 { all } else { new });
        }
    }

    fn sum(counts: &[AtomicU64]) -> u64 {
        counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn carry(&self, around: &Self, carry: Carry) {
        match carry {
            Carry::Everywhere => {
                let total = Self::sum(&self.total);
                (0..around.frame.steps).for_each(|step| add(&around.total, step, total));
                add(&around.read, 0, Self::sum(&self.read));
            }
            Carry::Whole => {
                let last = around.frame.steps.saturating_sub(1);
                add(&around.total, last, Self::sum(&self.total));
                add(&around.read, last, Self::sum(&self.read));
            }
            Carry::Windows { range, offset } => self.carry_read(around, range, offset),
        }
    }

    /// Each step of a subquery was read for the first step around it that can see it, if any does.
    fn carry_read(&self, around: &Self, range: i64, offset: i64) {
        let steps = around.frame.steps;
        if steps <= 1 {
            add(&around.read, 0, Self::sum(&self.read));
            return;
        }
        for (at, read) in self.read.iter().enumerate() {
            let time = self.frame.time(at).saturating_add(offset);
            let behind = time.saturating_sub(around.frame.start).max(0);
            let step = (behind as u64).div_ceil(around.frame.step as u64) as usize;
            let step = step.min(steps - 1);
            if time > around.frame.time(step).saturating_sub(range) {
                add(&around.read, step, read.load(Ordering::Relaxed));
            }
        }
    }
}

/// Sizes of histograms, added up from the first.
struct Sizes(Vec<u64>);

impl Sizes {
    fn new(histograms: &HistogramSamples) -> Self {
        let mut sum = 0;
        let sums = histograms.values.iter().map(|histogram| {
            sum += histogram.size_in_samples();
            sum
        });
        Self(std::iter::once(0).chain(sums).collect())
    }

    fn between(&self, start: usize, end: usize) -> u64 {
        let at = |position: usize| self.0.get(position).copied().unwrap_or(0);
        at(end).saturating_sub(at(start))
    }
}
