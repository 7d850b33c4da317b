//! A hash table whose entries can be fetched from memory before they are looked for.
//!
//! Open addressing with linear probing, where an entry gives way to one that is farther from home ("Robin Hood hashing",
//! Celis 1986): probes stay short up to the load that tables of the standard library have, and an entry is in the line
//! of memory that its key names, or the next.

use crate::base::prefetch::prefetch;

/// An entry, or nothing: then the key means nothing. Apart, so that no byte is needed to say which.
#[derive(Clone, Debug)]
struct Slot<V> {
    key: u128,
    value: Option<V>,
}

const fn empty<V>() -> Slot<V> {
    Slot { key: 0, value: None }
}

/// Slots of the smallest table that has any.
const SLOTS_MIN: usize = 16;

/// Entries are at most so many sixteenths of the slots.
const LOAD_MAX: usize = 14;

/// An entry is at most so far from home, whatever keys an ill-disposed sender finds: the table grows, or forgets.
const PROBES_MAX: usize = 128;

/// Values by keys that are hashes already.
#[derive(Debug)]
pub(super) struct Table<V> {
    /// None, or a power of two.
    slots: Vec<Slot<V>>,
    len: usize,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { slots: Vec::new(), len: 0 }
    }
}

impl<V> Table<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where a key should be. The upper half counts; the lower chose the shard.
    #[inline]
    fn home(&self, key: u128) -> usize {
        (key >> 64) as usize & (self.slots.len().wrapping_sub(1))
    }

    /// How far the entry of a slot is from home.
    #[inline]
    fn distance(&self, at: usize, key: u128) -> usize {
        at.wrapping_sub(self.home(key)) & (self.slots.len() - 1)
    }

    /// Has the place of a key fetched.
    #[inline]
    pub(super) fn prefetch(&self, key: u128) {
        if let Some(slot) = self.slots.get(self.home(key)) {
            prefetch(slot);
        }
    }

    /// The slot of a key.
    #[inline]
    fn find(&self, key: u128) -> Option<usize> {
        let mut at = self.home(key);
        let mut probed = 0;
        loop {
            let slot = self.slots.get(at).filter(|slot| slot.value.is_some())?;
            if slot.key == key {
                return Some(at);
            }
            if probed > self.distance(at, slot.key) {
                return None;
            }
            at = (at + 1) & (self.slots.len() - 1);
            probed += 1;
        }
    }

    #[inline]
    pub(super) fn get(&self, key: u128) -> Option<&V> {
        self.slots[self.find(key)?].value.as_ref()
    }

    pub(super) fn remove(&mut self, key: u128) -> Option<V> {
        let mut at = self.find(key)?;
        let value = self.slots[at].value.take();
        self.len -= 1;
        // Those behind it come one nearer home.
        loop {
            let next = (at + 1) & (self.slots.len() - 1);
            let slot = &self.slots[next];
            if slot.value.is_none() || self.distance(next, slot.key) == 0 {
                return value;
            }
            self.slots.swap(at, next);
            at = next;
        }
    }

    /// Adds or replaces a value. Of keys that all have one home some are forgotten.
    pub(super) fn insert(&mut self, key: u128, value: V) {
        if let Some(at) = self.find(key) {
            self.slots[at].value = Some(value);
            return;
        }
        if (self.len + 1) * 16 > self.slots.len() * LOAD_MAX {
            self.grow();
        }
        if let Some(slot) = self.place(Slot { key, value: Some(value) })
            && self.len * 8 > self.slots.len()
        {
            self.grow();
            // Where it is still too far from home it is forgotten.
            self.place(slot);
        }
    }

    /// Gives the entry back that ends up too far from home.
    fn place(&mut self, mut slot: Slot<V>) -> Option<Slot<V>> {
        let (mut at, mut probed) = (self.home(slot.key), 0);
        while probed <= PROBES_MAX {
            if self.slots[at].value.is_none() {
                self.slots[at] = slot;
                self.len += 1;
                return None;
            }
            let distance = self.distance(at, self.slots[at].key);
            if probed > distance {
                std::mem::swap(&mut slot, &mut self.slots[at]);
                probed = distance;
            }
            at = (at + 1) & (self.slots.len() - 1);
            probed += 1;
        }
        Some(slot)
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, std::iter::repeat_with(empty).take(slots).collect());
        self.len = 0;
        for slot in old.into_iter().filter(|slot| slot.value.is_some()) {
            self.place(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn it_holds_what_a_map_holds() {
        let rng = Rng::from_seed(5);
        let (mut table, mut map) = (Table::default(), HashMap::new());
        for round in 0..200_000_u64 {
            // Two of each home, and homes at random.
            let home = rng.below(6_000).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let key = u128::from(home) << 64 | u128::from(rng.below(2));
            match rng.below(5) {
                0 => assert_eq!(table.remove(key), map.remove(&key)),
                1 | 2 => assert_eq!(table.get(key), map.get(&key)),
                _ => {
                    table.insert(key, round);
                    map.insert(key, round);
                }
            }
            assert_eq!(table.len(), map.len());
        }
        assert!(map.len() > 5_000 && map.iter().all(|(key, value)| table.get(*key) == Some(value)));
        assert!(table.slots.len() <= 16_384, "{} slots for {}", table.slots.len(), map.len());
    }

    #[test]
    fn keys_of_one_home_are_bounded_in_time_and_room() {
        let mut table = Table::default();
        (0..100_000_u128).for_each(|key| table.insert(key, key));
        assert!(table.len() > PROBES_MAX && table.slots.len() < 4_096, "{} of {}", table.len(), table.slots.len());
        let kept = (0..100_000).filter(|key| table.get(*key) == Some(key)).count();
        assert_eq!(kept, table.len());
        assert_eq!(table.get(1 << 64), None);
    }
}
