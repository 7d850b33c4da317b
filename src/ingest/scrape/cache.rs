//! What one target showed last time: each series by its text, so that a stable target costs no label work.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::metrics::SeriesRef;
use crate::model::labels::Labels;
use crate::model::metadata::MetricType;

/// One text of a series, and what it means.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) raw: Box<[u8]>,
    hash: u64,
    pub(super) meaning: Meaning,
    /// The type of its family, which the labels depend on.
    pub(super) kind: MetricType,
    /// Its place in the order of the body before.
    position: u32,
    /// The last round in which the body had it.
    pub(super) seen: u32,
    /// Its last sample came with the scrape's own time and no staleness marker followed.
    pub(super) live: bool,
    pub(super) histogram: bool,
}

/// What becomes of a series.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Relabelling drops it.
    Dropped,
    /// Not handed to the store yet.
    New(Labels),
    Known(SeriesRef),
}

/// Index of a slot.
pub(super) type SlotId = u32;

#[derive(Debug, Default)]
pub(super) struct Cache {
    slots: Vec<Option<Slot>>,
    free: Vec<SlotId>,
    table: HashTable<SlotId>,
    /// The slots in the order of the last good body, and of the one being read.
    order: Vec<SlotId>,
    reading: Vec<SlotId>,
    /// Slots made in this round: taken back if it fails.
    fresh: Vec<SlotId>,
    cursor: usize,
    pub(super) round: u32,
}

impl Cache {
    /// Begins to read a body.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.cursor = 0;
        self.reading.clear();
        self.fresh.clear();
    }

    /// The text of the series that comes next if the body is as it was.
    #[inline]
    pub(super) fn expected(&self) -> &[u8] {
        self.order.get(self.cursor).and_then(|id| self.get(*id)).map_or(&[], |slot| &slot.raw)
    }

    /// The slot that [`Cache::expected`] showed; the parser met its text.
    #[inline]
    pub(super) fn met(&mut self) -> Option<SlotId> {
        let id = *self.order.get(self.cursor)?;
        self.cursor += 1;
        Some(id)
    }

    /// Looks a text up. What follows it in the body is then expected to be what followed it before.
    pub(super) fn find(&mut self, raw: &[u8]) -> Option<SlotId> {
        let hash = xxh3_64(raw);
        let slots = &self.slots;
        let same = |id: &SlotId| matches!(slots.get(*id as usize), Some(Some(slot)) if *slot.raw == *raw);
        let id = *self.table.find(hash, same)?;
        if let Some(slot) = self.get(id)
            && self.order.get(slot.position as usize) == Some(&id)
        {
            self.cursor = slot.position as usize + 1;
        }
        Some(id)
    }

    /// Remembers a new text.
    pub(super) fn insert(&mut self, raw: &[u8], kind: MetricType, meaning: Meaning) -> SlotId {
        let hash = xxh3_64(raw);
        let slot = Slot {
            raw: raw.into(),
            hash,
            meaning,
            kind,
            position: u32::MAX,
            // Never the current round: the caller has not seen it yet.
            seen: self.round.wrapping_sub(1),
            live: false,
            histogram: false,
        };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                // A body has fewer than 2^30 bytes, so fewer series.
                (self.slots.len() - 1) as SlotId
            }
        };
        if let Some(place) = self.slots.get_mut(id as usize) {
            *place = Some(slot);
        }
        let slots = &self.slots;
        self.table.insert_unique(hash, id, |id| hash_of(slots, *id));
        self.fresh.push(id);
        id
    }

    #[inline]
    pub(super) fn get(&self, id: SlotId) -> Option<&Slot> {
        self.slots.get(id as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// Notes that the body has this series; false where it has it a second time.
    #[inline]
    pub(super) fn see(&mut self, id: SlotId) -> bool {
        let round = self.round;
        let Some(slot) = self.get_mut(id) else { return false };
        let first = slot.seen != round;
        slot.seen = round;
        if first {
            self.reading.push(id);
        }
        first
    }

    /// The body could not be used: what it brought is forgotten.
    pub(super) fn abandon(&mut self) {
        for id in std::mem::take(&mut self.fresh) {
            self.remove(id);
        }
        self.reading.clear();
    }

    /// Series that were live and that this round's body, if there was one, does not have.
    pub(super) fn vanished(&mut self) -> Vec<(SeriesRef, bool)> {
        let round = self.round;
        let mut vanished = Vec::new();
        for index in 0..self.order.len() {
            let id = self.order[index];
            let Some(slot) = self.get_mut(id) else { continue };
            if slot.live && slot.seen != round {
                slot.live = false;
                if let Meaning::Known(series) = slot.meaning {
                    vanished.push((series, slot.histogram));
                }
            }
        }
        vanished
    }

    /// The body was used: what it does not have is forgotten.
    pub(super) fn finish(&mut self) {
        let round = self.round;
        for id in std::mem::take(&mut self.order) {
            if self.get(id).is_some_and(|slot| slot.seen != round) {
                self.remove(id);
            }
        }
        std::mem::swap(&mut self.order, &mut self.reading);
        for index in 0..self.order.len() {
            let id = self.order[index];
            if let Some(slot) = self.get_mut(id) {
                slot.position = index as u32;
            }
        }
        self.fresh.clear();
    }

    /// The series that this round's body has.
    pub(super) fn present(&self) -> std::collections::HashSet<SeriesRef> {
        let slots = self.reading.iter().filter_map(|id| self.get(*id));
        slots.filter_map(|slot| if let Meaning::Known(series) = slot.meaning { Some(series) } else { None }).collect()
    }

    /// Forgets everything and gives the live series back.
    pub(super) fn clear(&mut self) -> Vec<(SeriesRef, bool)> {
        let live = self.slots.iter().flatten().filter(|slot| slot.live);
        let live = live.filter_map(|slot| match slot.meaning {
            Meaning::Known(series) => Some((series, slot.histogram)),
            _ => None,
        });
        let live = live.collect();
        *self = Self { round: self.round, ..Self::default() };
        live
    }

    fn remove(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(id as usize).and_then(Option::take) else { return };
        if let Ok(entry) = self.table.find_entry(slot.hash, |candidate| *candidate == id) {
            entry.remove();
        }
        self.free.push(id);
    }
}

fn hash_of(slots: &[Option<Slot>], id: SlotId) -> u64 {
    slots.get(id as usize).and_then(Option::as_ref).map_or(0, |slot| slot.hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cache: &mut Cache, body: &[&str]) {
        cache.begin();
        for raw in body {
            let id = if cache.expected() == raw.as_bytes() {
                cache.met().unwrap()
            } else {
                cache
                    .find(raw.as_bytes())
                    .unwrap_or_else(|| cache.insert(raw.as_bytes(), MetricType::Gauge, Meaning::Dropped))
            };
            assert!(cache.see(id));
        }
    }

    #[test]
    fn a_stable_body_is_predicted_and_a_changed_one_found_again() {
        let mut cache = Cache::default();
        read(&mut cache, &["a", "b", "c"]);
        cache.finish();
        cache.begin();
        assert_eq!(cache.expected(), b"a");
        // `a` is gone: `b` is looked up, and `c` is expected again.
        let b = cache.find(b"b").unwrap();
        assert!(cache.see(b) && !cache.see(b));
        assert_eq!(cache.expected(), b"c");
        cache.finish();
        assert!(cache.find(b"a").is_none() && cache.find(b"c").is_none() && cache.find(b"b").is_some());
    }

    #[test]
    fn an_abandoned_body_leaves_no_trace() {
        let mut cache = Cache::default();
        read(&mut cache, &["a"]);
        cache.finish();
        read(&mut cache, &["a", "x"]);
        cache.abandon();
        assert!(cache.find(b"x").is_none());
        read(&mut cache, &["a"]);
        cache.finish();
        assert_eq!(cache.slots.iter().flatten().count(), 1);
    }
}
