//! Many floats at once.

use super::Appender;
use crate::metrics::refusal::Refusal;
use crate::metrics::series::SeriesRef;

/// One float of a series that is known.
#[derive(Clone, Copy, Debug)]
pub struct Float {
    pub series: SeriesRef,
    pub time: i64,
    /// When its counting began, in milliseconds; 0 where unknown.
    pub start: i64,
    pub value: f64,
}

impl Appender<'_> {
    /// Appends floats shard by shard; those of one shard in the order given. `refused` hears which were not taken.
    ///
    /// A lock orders memory: between two locks the processor waits for each series to come from memory before it looks
    /// for the next. Under one lock it fetches several side by side.
    pub fn floats(&mut self, floats: &[Float], mut refused: impl FnMut(usize, Refusal)) {
        let shards = self.shared.shards.len();
        let mut ends = vec![0_usize; shards + 1];
        for float in floats {
            ends[float.series.shard as usize + 1] += 1;
        }
        for at in 1..=shards {
            ends[at] += ends[at - 1];
        }
        let mut order = vec![0_u32; floats.len()];
        let mut next = ends.clone();
        for (at, float) in floats.iter().enumerate() {
            let slot = &mut next[float.series.shard as usize];
            order[*slot] = at as u32;
            *slot += 1;
        }
        for number in 0..shards {
            let mine = &order[ends[number]..ends[number + 1]];
            if !mine.is_empty() {
                self.floats_of_shard(number, (floats, mine), &mut refused);
            }
        }
        self.bound_batch();
    }

    fn floats_of_shard(
        &mut self,
        number: usize,
        (floats, mine): (&[Float], &[u32]),
        refused: &mut impl FnMut(usize, Refusal),
    ) {
        let mut shard = self.shared.shards[number].lock();
        for at in mine {
            let at = *at as usize;
            let Float { series, time, start, value } = floats[at];
            let placed = self.check(time).and_then(|()| {
                let series = shard.get_mut(series).ok_or(Refusal::UnknownSeries)?;
                series.touched = self.now_secs;
                Ok((series.id, series.append_float(time, start, value, self.dedup)?))
            });
            match placed {
                Ok((id, placed)) => {
                    self.batch.push(id, time, start, value);
                    self.tally.note(placed);
                    self.tally.committed.samples += 1;
                }
                Err(refusal) => {
                    self.tally.refused[refusal.index()] += 1;
                    refused(at, refusal);
                }
            }
        }
    }
}
