//! The order of all series by labels, kept as a rank for each, so that a selection sorts numbers instead of labels.
//!
//! Ranks are brought up to date when a large selection finds many series without one; until then those few are sorted
//! by labels and merged in. A rank belongs to a slot and the generation of its series, so a slot that was given to
//! another series has none.

use parking_lot::RwLock;

use crate::model::labels::Labels;

use super::series::SeriesRef;
use super::store::Shared;

/// Selections of fewer series are sorted by labels: that costs less than looking at all series.
const SMALL: usize = 256;

/// Ranks of the series.
#[derive(Debug, Default)]
pub(super) struct Order(RwLock<Ranks>);

#[derive(Debug, Default)]
struct Ranks {
    /// Ascending by labels.
    sorted: Vec<(Labels, SeriesRef)>,
    /// By shard and slot: generation of the series, and its place in `sorted`.
    places: Vec<Vec<Option<(u32, u32)>>>,
}

impl Ranks {
    fn get(&self, reference: SeriesRef) -> Option<u32> {
        let place = (*self.places.get(reference.shard as usize)?.get(reference.slot as usize)?)?;
        (place.0 == reference.generation).then_some(place.1)
    }

    /// Ranks every series that lives, knowing the order of those that had a rank.
    fn refresh(&mut self, shared: &Shared) {
        let (mut fresh, mut live) = (Vec::new(), Vec::new());
        for shard in &shared.shards {
            let shard = shard.lock();
            for (slot, series) in shard.iter() {
                let Some(reference) = shard.reference(slot) else { continue };
                match self.get(reference) {
                    Some(rank) => live.push((rank, reference)),
                    None => fresh.push((series.labels.clone(), reference)),
                }
            }
        }
        live.sort_unstable_by_key(|(rank, _)| *rank);
        fresh.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let old = std::mem::take(&mut self.sorted);
        let mut known = live.iter().filter_map(|(rank, _)| old.get(*rank as usize)).peekable();
        self.sorted.reserve_exact(live.len() + fresh.len());
        for entry in fresh {
            while let Some(before) = known.next_if(|known| known.0 < entry.0) {
                self.sorted.push(before.clone());
            }
            self.sorted.push(entry);
        }
        self.sorted.extend(known.cloned());
        self.places.clear();
        self.places.resize(shared.shards.len(), Vec::new());
        for (rank, (_, reference)) in self.sorted.iter().enumerate() {
            let Some(places) = self.places.get_mut(reference.shard as usize) else { continue };
            let slot = reference.slot as usize;
            if places.len() <= slot {
                places.resize(slot + 1, None);
            }
            if let Some(place) = places.get_mut(slot) {
                *place = Some((reference.generation, rank as u32));
            }
        }
    }
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
        }
        let ranks = self.order.0.read();
        let (mut ranked, mut fresh) = (Vec::with_capacity(found.len()), Vec::new());
        for entry in found {
            match ranks.get(entry.1) {
                Some(rank) => ranked.push((rank, entry)),
                None => fresh.push(entry),
            }
        }
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        fresh.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut sorted = Vec::with_capacity(ranked.len() + fresh.len());
        let mut ranked = ranked.into_iter().map(|(_, entry)| entry).peekable();
        for entry in fresh {
            while let Some(before) = ranked.next_if(|ranked| ranked.0 < entry.0) {
                sorted.push(before);
            }
            sorted.push(entry);
        }
        sorted.extend(ranked);
        sorted
    }
}
