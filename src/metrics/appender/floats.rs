//! Many floats at once.

use std::ops::Range;

use super::Appender;
use crate::metrics::refusal::Refusal;
use crate::metrics::series::SeriesRef;

/// One float.
#[derive(Clone, Copy, Debug)]
pub struct Float {
    pub time: i64,
    /// When its counting began, in milliseconds; 0 where unknown.
    pub start: i64,
    pub value: f64,
}

/// Floats of one series that is known: where they stand in a list.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub series: SeriesRef,
    from: u32,
    to: u32,
}

impl Run {
    /// A list has at most `u32::MAX` floats; more are a bug of the caller.
    #[inline]
    pub fn new(series: SeriesRef, floats: &Range<usize>) -> Self {
        debug_assert!(u32::try_from(floats.end).is_ok(), "a list of floats is bounded");
        Self { series, from: floats.start as u32, to: floats.end as u32 }
    }

    fn floats(self) -> Range<usize> {
        self.from as usize..self.to as usize
    }
}

impl Appender<'_> {
    /// Appends floats shard by shard; those of one shard in the order given. `refused` hears which were not taken: of
    /// which run, and where in the list.
    ///
    /// A lock orders memory: between two locks the processor waits for each series to come from memory before it looks
    /// for the next. Under one lock it fetches several side by side.
    pub fn runs(&mut self, runs: &[Run], floats: &[Float], mut refused: impl FnMut(usize, usize, Refusal)) {
        let shards = self.shared.shards.len();
        let mut ends = vec![0_usize; shards + 1];
        for run in runs {
            ends[run.series.shard as usize + 1] += 1;
        }
        for at in 1..=shards {
            ends[at] += ends[at - 1];
        }
        let mut order = vec![0_u32; runs.len()];
        let mut next = ends.clone();
        for (at, run) in runs.iter().enumerate() {
            let slot = &mut next[run.series.shard as usize];
            order[*slot] = at as u32;
            *slot += 1;
        }
        self.batch.reserve(floats.len());
        for number in 0..shards {
            let mine = &order[ends[number]..ends[number + 1]];
            if !mine.is_empty() {
                self.runs_of_shard((number, mine), runs, floats, &mut refused);
            }
        }
        self.bound_batch();
    }

    /// `mine` are the places of those runs that are of the shard.
    fn runs_of_shard(
        &mut self,
        (number, mine): (usize, &[u32]),
        runs: &[Run],
        floats: &[Float],
        refused: &mut impl FnMut(usize, usize, Refusal),
    ) {
        let (mut oldest, mut taken) = (self.oldest, 0);
        let mut shard = self.shared.shards[number].lock();
        let series_of = |place: &u32| runs[*place as usize].series;
        shard.prefetch_first(mine.iter().map(|place| series_of(place).slot));
        for (at, place) in mine.iter().enumerate() {
            shard.prefetch_ahead(|on| mine.get(at + on).map(|place| series_of(place).slot));
            let (number, run) = (*place as usize, runs[*place as usize]);
            let mut series = shard.get_mut(run.series);
            if let Some(series) = &mut series {
                series.touched = self.now_secs;
            }
            for at in run.floats() {
                let Float { time, start, value } = floats[at];
                let placed = self.check(time).and_then(|()| {
                    let series = series.as_mut().ok_or(Refusal::UnknownSeries)?;
                    Ok((series.id, series.append_float(time, start, value, self.dedup)?))
                });
                match placed {
                    Ok((id, placed)) => {
                        self.batch.push(id, time, start, value);
                        self.tally.note(placed);
                        oldest = oldest.min(time);
                        taken += 1;
                    }
                    Err(refusal) => {
                        self.tally.refused[refusal.index()] += 1;
                        refused(number, at, refusal);
                    }
                }
            }
        }
        drop(shard);
        self.oldest = oldest;
        self.tally.committed.samples += taken;
    }
}
