//! The order of all series by labels, kept as a rank for each, so that a selection sorts numbers instead of labels.
//!
//! Ranks are brought up to date when selections have sorted as many series without one by labels as there are series:
//! from then on ranks would have cost less. Series without a rank are sorted by labels and merged in. A rank belongs to a
//! slot and the generation of its series, so a slot that was given to another series has none.

use std::cmp::Ordering;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::RwLock;

use crate::base::heap;
use crate::model::labels::Labels;

use super::series::SeriesRef;
use super::store::Shared;
use super::symbols::Copied;

/// Selections of fewer series are sorted by labels: that costs less than looking at all series.
const SMALL: usize = 256;

/// Ranks of the series.
#[derive(Debug, Default)]
pub(super) struct Order {
    ranks: RwLock<Ranks>,
    /// Series that were sorted by labels in selections of which most had no rank, since series were ranked.
    by_labels: AtomicUsize,
}

#[cfg(test)]
impl Order {
    pub(super) fn is_ranked(&self) -> bool {
        !self.ranks.read().0.is_empty()
    }
}

/// By shard and slot.
#[derive(Debug, Default)]
struct Ranks(Vec<Vec<Place>>);

#[derive(Clone, Copy, Debug)]
struct Place {
    generation: u32,
    /// Ascends with the labels.
    rank: u32,
}

/// Of a slot without a series; there are never so many series that one has this rank.
const UNRANKED: Place = Place { generation: 0, rank: u32::MAX };

impl Ranks {
    fn get(&self, reference: SeriesRef) -> Option<u32> {
        let Place { generation, rank } = *self.0.get(reference.shard as usize)?.get(reference.slot as usize)?;
        (generation == reference.generation && rank != UNRANKED.rank).then_some(rank)
    }

    /// Ranks every series that lives, knowing the order of those that had a rank.
    fn refresh(&mut self, shared: &Shared) {
        let count = shared.shards.iter().map(|shard| shard.lock().len()).sum();
        // Mostly all of them are one or the other; a list that grows leaves twice its size behind.
        let (fresh_count, live_count) = if self.0.is_empty() { (count, 0) } else { (0, count) };
        let (mut fresh, mut live) = (Vec::with_capacity(fresh_count), Vec::with_capacity(live_count));
        let (mut places, mut copies) = (Vec::new(), Vec::new());
        for shard in &shared.shards {
            let shard = shard.lock();
            let before = fresh.len();
            places.push(vec![UNRANKED; shard.slots() as usize]);
            for (number, (slot, _)) in shard.iter().enumerate() {
                let Some(reference) = shard.reference(slot) else { continue };
                match self.get(reference) {
                    Some(rank) => live.push((rank, (reference, number))),
                    None => fresh.push((reference, number)),
                }
            }
            let copied = Copied::of(shard.symbols(), shard.iter().map(|(_, series)| &series.labels));
            drop(shard);
            // Labels of one shard are compared faster than those of two: those only have to be merged then.
            let labels = |(_, number): &(SeriesRef, usize)| copied.encoded(*number);
            fresh[before..].sort_unstable_by(|a, b| labels(a).compare(labels(b)));
            copies.push(copied);
        }
        self.0 = places;
        live.sort_unstable_by_key(|(rank, _)| *rank);
        let live = live.into_iter().map(|(_, entry)| entry);
        let labels = |(reference, number): &(SeriesRef, usize)| copies[reference.shard as usize].encoded(*number);
        let order = merged(live, fresh, |a, b| labels(a).compare(labels(b)));
        order.enumerate().for_each(|(rank, (SeriesRef { shard, slot, generation }, _))| {
            if let Some(place) = self.0.get_mut(shard as usize).and_then(|places| places.get_mut(slot as usize)) {
                *place = Place { generation, rank: rank as u32 };
            }
        });
    }
}

/// Entries that are in order and others, all in order.
fn merged<T>(
    ranked: impl Iterator<Item = T>,
    mut fresh: Vec<T>,
    compare: impl Fn(&T, &T) -> Ordering,
) -> impl Iterator<Item = T> {
    // The stable sort merges runs that are in order.
    fresh.sort_by(&compare);
    let (mut ranked, mut fresh) = (ranked.peekable(), fresh.into_iter().peekable());
    std::iter::from_fn(move || match (ranked.peek(), fresh.peek()) {
        (Some(ranked), Some(before)) if compare(before, ranked).is_lt() => fresh.next(),
        (Some(_), _) => ranked.next(),
        (None, _) => fresh.next(),
    })
}

/// The place in a key.
fn place(key: u64) -> usize {
    key as u32 as usize
}

/// A series, with whatever goes with it.
pub(super) type Named<T> = (Labels, SeriesRef, T);

impl Shared {
    /// Series ascending by labels.
    pub(super) fn sorted<T>(&self, found: Vec<Named<T>>) -> impl Iterator<Item = Named<T>> {
        let references = || found.iter().map(|(_, reference, _)| *reference);
        let mut keys = Vec::new();
        if found.len() >= SMALL {
            keys = self.keys(references());
            let unranked = found.len() - keys.len();
            if unranked > found.len() / 8
                && self.order.by_labels.fetch_add(unranked, Relaxed) + unranked >= self.series_total.load(Relaxed)
            {
                self.rank();
                keys = self.keys(references());
            }
        }
        let mut found: Vec<_> = found.into_iter().map(Some).collect();
        let mut ranked = keys.iter().map(|key| place(*key)).peekable();
        let entries = found.iter_mut().enumerate();
        let fresh = entries.filter(|(at, _)| ranked.next_if_eq(at).is_none()).filter_map(|(_, entry)| entry.take());
        let fresh = fresh.collect();
        // A number each: what it stands for is moved once.
        keys.sort_unstable();
        let ranked = keys.into_iter().filter_map(move |key| found.get_mut(place(key))?.take());
        merged(ranked, fresh, |a, b| a.0.cmp(&b.0))
    }

    /// Series ascending by labels, but for those that are gone.
    pub(super) fn sorted_references(&self, found: Vec<SeriesRef>) -> Vec<SeriesRef> {
        if found.len() < SMALL.max(self.series_total.load(Relaxed) / 8) {
            let mut buffer = Vec::new();
            let mut labels = |reference: SeriesRef| {
                let labels = self.shards[reference.shard as usize].lock().labels(reference, &mut buffer)?;
                Some((labels, reference, ()))
            };
            let found = found.into_iter().filter_map(&mut labels).collect();
            return self.sorted(found).map(|(_, reference, ())| reference).collect();
        }
        // Labels of nearly all series at once would take a quarter of a kilobyte each.
        let mut keys = self.keys(found.iter().copied());
        if keys.len() < found.len() {
            self.rank();
            keys = self.keys(found.iter().copied());
        }
        keys.sort_unstable();
        keys.into_iter().filter_map(|key| found.get(place(key)).copied()).collect()
    }

    /// Of each of these that has a rank, the rank with its place among them.
    fn keys(&self, found: impl Iterator<Item = SeriesRef>) -> Vec<u64> {
        let ranks = self.order.ranks.read();
        let key = |(place, reference)| ranks.get(reference).map(|rank| u64::from(rank) << 32 | place as u64);
        let mut keys = Vec::with_capacity(found.size_hint().0);
        keys.extend(found.enumerate().filter_map(key));
        keys
    }

    /// Ranks all series anew.
    fn rank(&self) {
        // Whoever comes while somebody else ranks waits for it: that is faster than to sort by labels.
        self.order.ranks.write().refresh(self);
        self.order.by_labels.store(0, Relaxed);
        // It took some fifty bytes of every series.
        heap::give_back();
    }
}
