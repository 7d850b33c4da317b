//! Floats out of the log, gathered and then appended series by series.
//!
//! In the log the samples of a series lie a request apart, and by the next one the series has left the caches of the
//! processor. Gathered, a series is fetched once for several samples. What it has already (a snapshot is written
//! while samples come, so those are in both) is read once, and not looked for sample by sample.

use parking_lot::MutexGuard;

use super::column::Points;
use super::shard::Shard;

/// Floats that are gathered: six megabytes.
const FLOATS_MAX: usize = 1 << 18;

/// Floats of one width of dedup windows, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Floats {
    dedup: i64,
    items: Vec<Item>,
    /// Empty, or one for each.
    starts: Vec<i64>,
    /// What a series has already.
    known: Points,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    shard: u32,
    slot: u32,
    time: i64,
    value: f64,
}

/// The shards that a thread may change.
pub(super) type Locked<'a> = [Option<MutexGuard<'a, Shard>>];

impl Floats {
    /// Whether one more, with this width, has to wait until these are appended.
    #[inline]
    pub(super) fn is_full_for(&self, dedup: i64) -> bool {
        self.items.len() >= FLOATS_MAX || (dedup != self.dedup && !self.items.is_empty())
    }

    #[inline]
    pub(super) fn push(&mut self, (shard, slot): (u32, u32), dedup: i64, (time, start, value): (i64, i64, f64)) {
        self.dedup = dedup;
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(self.items.len(), 0);
            self.starts.push(start);
        }
        self.items.push(Item { shard, slot, time, value });
    }

    /// Appends them all, each series' in order.
    pub(super) fn append_to(&mut self, shards: &mut Locked<'_>) {
        let Self { dedup, items, starts, known } = self;
        if items.is_empty() {
            return;
        }
        // Where the series of a shard begin, when all stand one behind the other.
        let mut bases = Vec::with_capacity(shards.len());
        let mut total = 0_usize;
        for shard in shards.iter() {
            bases.push(total);
            total += shard.as_ref().map_or(0, |shard| shard.slots() as usize);
        }
        let place = |item: &Item| bases.get(item.shard as usize).map_or(0, |base| base + item.slot as usize);
        let mut ends = vec![0_u32; total + 1];
        items.iter().for_each(|item| ends[place(item) + 1] += 1);
        (1..ends.len()).for_each(|at| ends[at] += ends[at - 1]);
        let mut order = vec![0_u32; items.len()];
        for (at, item) in items.iter().enumerate() {
            let end = &mut ends[place(item)];
            order[*end as usize] = at as u32;
            *end += 1;
        }
        let run = |rest: &[u32]| {
            let first = items[rest[0] as usize];
            let same = |at: &&u32| (items[**at as usize].shard, items[**at as usize].slot) == (first.shard, first.slot);
            (first, rest.iter().take_while(same).count())
        };
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let (first, len) = run(rest);
            let (mine, others) = rest.split_at(len);
            rest = others;
            let shard = shards.get_mut(first.shard as usize).and_then(Option::as_deref_mut);
            let Some(series) = shard.and_then(|shard| shard.by_slot_mut(first.slot)) else { continue };
            let times = || mine.iter().map(|at| items[*at as usize].time);
            let (oldest, newest) = times().fold((i64::MAX, i64::MIN), |(a, b), time| (a.min(time), b.max(time)));
            known.clear();
            if series.bounds().is_some_and(|(_, last)| oldest <= last) {
                series.read_floats(oldest, newest, known);
            }
            for at in mine {
                let (Item { time, value, .. }, at) = (items[*at as usize], *at as usize);
                // At a time that is taken nothing changes, whatever the value.
                if known.times.binary_search(&time).is_err() {
                    // What the store refuses now it has already, or it would not have logged it.
                    let _ = series.append_float(time, starts.get(at).copied().unwrap_or(0), value, *dedup);
                }
            }
        }
        items.clear();
        starts.clear();
    }
}
