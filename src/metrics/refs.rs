//! Where the series of the log live now: from the names that the log uses to places in shards.

use hashbrown::HashMap;

use super::series::SeriesRef;

/// Each run of the process names its series from a place of its own on, and densely: those go to a list for each run.
#[derive(Debug, Default)]
pub(super) struct Refs {
    /// Ascending by run.
    runs: Vec<Run>,
    sparse: HashMap<u64, SeriesRef, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Run {
    number: u64,
    base: u64,
    dense: Vec<SeriesRef>,
}

/// In the place of a name that nobody defined.
const NOWHERE: SeriesRef = SeriesRef { shard: u32::MAX, slot: u32::MAX, generation: 0 };

/// Bits of an id below the number of its run.
pub(super) const RUN_BITS: u32 = 36;

/// Ids that a list reaches below its first and in all.
const DENSE_BELOW: u64 = 1 << 20;
const DENSE_MAX: u64 = 1 << 22;

impl Refs {
    pub(super) fn insert(&mut self, id: u64, reference: SeriesRef) {
        let number = id >> RUN_BITS;
        let at = match self.runs.binary_search_by_key(&number, |run| run.number) {
            Ok(at) => at,
            Err(at) => {
                let base = id.saturating_sub(DENSE_BELOW).max(number << RUN_BITS);
                self.runs.insert(at, Run { number, base, dense: Vec::new() });
                at
            }
        };
        let Some(run) = self.runs.get_mut(at) else { return };
        match id.checked_sub(run.base).filter(|at| *at < DENSE_MAX) {
            Some(at) => {
                let at = at as usize;
                if run.dense.len() <= at {
                    run.dense.resize(at + 1, NOWHERE);
                }
                if let Some(place) = run.dense.get_mut(at) {
                    *place = reference;
                }
            }
            None => {
                self.sparse.insert(id, reference);
            }
        }
    }

    #[inline]
    pub(super) fn get(&self, id: u64) -> Option<SeriesRef> {
        let number = id >> RUN_BITS;
        let run = match self.runs.last() {
            // Most samples are of the last run.
            Some(run) if run.number == number => run,
            _ => self.runs.get(self.runs.binary_search_by_key(&number, |run| run.number).ok()?)?,
        };
        match id.checked_sub(run.base).filter(|at| *at < DENSE_MAX) {
            Some(at) => run.dense.get(at as usize).copied().filter(|place| *place != NOWHERE),
            None => self.sparse.get(&id).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_run_lead_to_their_places_and_others_nowhere() {
        let mut refs = Refs::default();
        let run = 1 << RUN_BITS;
        // Dense ones, one far behind them, one before the first, and one of an earlier run that is found late.
        let ids = [run + 5, run + 6, run + 9, run + DENSE_MAX + 77, run + 1, 3 * run + DENSE_BELOW + 2, 3 * run + 1, 2];
        let place = |at: usize| SeriesRef { shard: 3, slot: at as u32, generation: 7 };
        for (at, id) in ids.iter().enumerate() {
            refs.insert(*id, place(at));
        }
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(refs.get(*id), Some(place(at)), "{id}");
        }
        for id in [0, 1, run, run + 7, run + DENSE_MAX + 76, 2 * run, 3 * run + 2, u64::MAX] {
            assert_eq!(refs.get(id), None, "{id}");
        }
    }
}
