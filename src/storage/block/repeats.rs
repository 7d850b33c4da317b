//! Which of the samples that come late a tier has counted already, when the samples that it was made from are gone.
//!
//! A point tells when its first and its last sample were and how many there were between. What is sent again must not
//! count twice, and what is new must count; where both are possible, the point stays as it is. The rules, for samples
//! between the first and the last of a point:
//!
//! 1. With samples at both of these times, and no fewer than the point has, they are what it was made from, and maybe
//!    more: they take its place.
//! 2. Where the point's samples fill a regular grid, those on the grid are known, and those beside it are new.
//! 3. Otherwise they are new if none is at an end of the point and there is room for all of them between its samples.

use crate::model::sample::is_stale;
use crate::promql::source::Column;

use super::columns::push;
use super::points::Points;

/// A run of samples that a point was made from.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: i64,
    last: i64,
    count: i64,
}

/// What is to be done with a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    New,
    Known,
    /// It takes the place of a point, with the others that do.
    Instead,
}

/// What is left of late samples to be rolled up: those that are new, and runs that take the place of a point each.
pub(super) struct Sorted {
    pub new: Column,
    pub instead: Vec<Column>,
}

/// Sorts late samples by what points say that were made before.
pub(super) fn sort(points: &Points, column: &Column) -> Sorted {
    let floats = points.floats.iter().filter(|point| point.count > 0.0);
    let floats = runs(floats.map(|point| (point.first_time, point.last_time, point.count)));
    let histograms = runs(points.histograms.iter().map(|point| (point.first_time, point.last_time, point.count)));
    let is_histogram = |at: usize| column.histograms.get(at).is_some_and(Option::is_some);
    let mut fates = vec![Fate::New; column.len()];
    let mut instead = Vec::new();
    for (runs, histograms) in [(floats, false), (histograms, true)] {
        for run in runs {
            let from = column.times.partition_point(|time| *time < run.first);
            let to = column.times.partition_point(|time| *time <= run.last);
            let inside: Vec<usize> = (from..to).filter(|at| is_histogram(*at) == histograms).collect();
            let fate = run.judge(column, &inside);
            let mut taken = Column::default();
            for at in inside {
                fates[at] = fate(column.times[at]);
                if fates[at] == Fate::Instead {
                    push(&mut taken, column, at);
                }
            }
            instead.extend((!taken.is_empty()).then_some(taken));
        }
    }
    let mut new = Column::default();
    (0..column.len()).filter(|at| fates[*at] == Fate::New).for_each(|at| push(&mut new, column, at));
    Sorted { new, instead }
}

fn runs(points: impl Iterator<Item = (i64, i64, f64)>) -> Vec<Run> {
    points.map(|(first, last, count)| Run { first, last, count: count as i64 }).collect()
}

impl Run {
    /// What becomes of the samples at these places, which lie inside the run, by their times.
    fn judge(self, column: &Column, inside: &[usize]) -> impl Fn(i64) -> Fate + use<> {
        let is_live = |at: &&usize| !column.values.get(**at).is_some_and(|value| is_stale(*value));
        let times: Vec<i64> = inside.iter().filter(is_live).map(|at| column.times[*at]).collect();
        let count = times.len() as i64;
        let ends = (times.first() == Some(&self.first), times.last() == Some(&self.last));
        let span = self.last - self.first;
        let grid = (self.count > 1 && span % (self.count - 1) == 0).then(|| span / (self.count - 1));
        let all = match (ends, grid) {
            ((true, true), _) if count >= self.count => Some(Fate::Instead),
            (_, Some(step)) if step > 0 => None,
            ((true, _) | (_, true), _) => Some(Fate::Known),
            _ => {
                let gap = times.windows(2).map(|pair| pair[1] - pair[0]).min();
                let gap = gap.unwrap_or(span / (self.count - 1).max(1)).max(1);
                let free = span / gap + 1 - self.count;
                Some(if free < count { Fate::Known } else { Fate::New })
            }
        };
        move |time| {
            let on_grid = || grid.is_some_and(|step| (time - self.first) % step == 0);
            all.unwrap_or_else(|| if on_grid() { Fate::Known } else { Fate::New })
        }
    }
}
