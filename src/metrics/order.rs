//! The order of all series by labels, kept as a rank for each, so that a selection sorts numbers instead of labels.
//!
//! Ranks are brought up to date when a large selection finds many series without one; until then those few are sorted
//! by labels and merged in. A rank belongs to a slot and the generation of its series, so a slot that was given to
//! another series has none.

use parking_lot::RwLock;

use crate::base::heap;
use crate::model::labels::Labels;

use super::series::SeriesRef;
use super::store::Shared;

/// Selections of fewer series are sorted by labels: that costs less than looking at all series.
const SMALL: usize = 256;

/// Ranks of the series.
#[derive(Debug, Default)]
pub(super) struct Order(RwLock<Ranks>);

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
        let mut places = Vec::with_capacity(shared.shards.len());
        for shard in &shared.shards {
            let shard = shard.lock();
            places.push(vec![UNRANKED; shard.slots() as usize]);
            for (slot, series) in shard.iter() {
                let Some(reference) = shard.reference(slot) else { continue };
                match self.get(reference) {
                    Some(rank) => live.push((rank, (series.labels.clone(), reference))),
                    None => fresh.push((series.labels.clone(), reference)),
                }
            }
        }
        self.0 = places;
        merged(live, fresh).enumerate().for_each(|(rank, (_, SeriesRef { shard, slot, generation }))| {
            if let Some(place) = self.0.get_mut(shard as usize).and_then(|places| places.get_mut(slot as usize)) {
                *place = Place { generation, rank: rank as u32 };
            }
        });
    }
}

/// Series with a rank and others, ascending by labels.
fn merged(
    mut ranked: Vec<(u32, (Labels, SeriesRef))>,
    mut fresh: Vec<(Labels, SeriesRef)>,
) -> impl Iterator<Item = (Labels, SeriesRef)> {
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    fresh.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut ranked = ranked.into_iter().map(|(_, entry)| entry).peekable();
    let mut fresh = fresh.into_iter().peekable();
    std::iter::from_fn(move || match (ranked.peek(), fresh.peek()) {
        (Some(ranked), Some(before)) if before.0 < ranked.0 => fresh.next(),
        (Some(_), _) => ranked.next(),
        (None, _) => fresh.next(),
    })
}

impl Shared {
    /// Sorts series by labels.
    pub(super) fn sort(&self, mut found: Vec<(Labels, SeriesRef)>) -> Vec<(Labels, SeriesRef)> {
        if found.len() < SMALL {
            found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            return found;
        }
        let unranked = {
            let ranks = self.order.0.read();
            found.iter().filter(|(_, reference)| ranks.get(*reference).is_none()).count()
        };
        // Whoever comes while somebody else ranks waits for it: that is faster than to sort by labels.
        if unranked * 8 > found.len() {
            self.order.0.write().refresh(self);
            // It took some thirty bytes of every series.
            heap::give_back();
        }
        let ranks = self.order.0.read();
        let (mut ranked, mut fresh) = (Vec::with_capacity(found.len()), Vec::new());
        for entry in found {
            match ranks.get(entry.1) {
                Some(rank) => ranked.push((rank, entry)),
                None => fresh.push(entry),
            }
        }
        let mut sorted = Vec::with_capacity(ranked.len() + fresh.len());
        sorted.extend(merged(ranked, fresh));
        sorted
    }
}
