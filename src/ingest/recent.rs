//! What was looked up lately: a bounded map that many requests share.
//!
//! Push protocols repeat the labels of a series with every sample. Their raw bytes, hashed to 128 bits, find here what
//! they resolved to the last time, so that a known series costs neither a decode nor a comparison of labels. Losing an
//! entry costs one slow look-up, nothing else.
//!
//! Each shard keeps two generations. A hit in the older one moves the entry to the younger; when the younger is full,
//! or fifteen minutes old, the older one is dropped and the younger takes its place.

mod table;

use parking_lot::Mutex;

use table::Table;

const SHARDS: usize = 32;

/// After this long a generation is old, full or not, so that what nobody sends any more is let go.
const GENERATION_SECS: u64 = 900;

/// Keys that are fetched from memory before the first of them is looked for.
const AHEAD: usize = 8;

/// A bounded map from the hash of raw bytes to what they mean.
pub struct Recent<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    /// Entries of one generation of one shard.
    capacity: usize,
}

struct Shard<V> {
    young: Table<V>,
    old: Table<V>,
    turned_secs: u64,
}

impl<V: Clone> Recent<V> {
    /// Holds at most twice `entries`.
    pub fn new(entries: usize) -> Self {
        let shard = || Mutex::new(Shard { young: Table::default(), old: Table::default(), turned_secs: 0 });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), capacity: entries.div_ceil(SHARDS).max(1) }
    }

    /// What is known of a key. `now_secs` is monotonic.
    #[inline]
    pub fn get(&self, key: u128, now_secs: u64) -> Option<V> {
        let mut shard = self.shard(key).lock();
        shard.age(now_secs);
        shard.find(key)
    }

    /// As [`Recent::get`] for many keys: `found` gets an entry for each. Each lock is taken once, and what lies behind
    /// it is fetched from memory side by side.
    pub fn get_many(&self, keys: &[u128], now_secs: u64, found: &mut Vec<Option<V>>) {
        found.clear();
        found.resize(keys.len(), None);
        let mut ends = [0_usize; SHARDS + 1];
        for key in keys {
            ends[shard_of(*key) + 1] += 1;
        }
        for at in 1..=SHARDS {
            ends[at] += ends[at - 1];
        }
        let mut order = vec![0_u32; keys.len()];
        let mut next = ends;
        for (at, key) in keys.iter().enumerate() {
            let slot = &mut next[shard_of(*key)];
            order[*slot] = at as u32;
            *slot += 1;
        }
        for (number, shard) in self.shards.iter().enumerate() {
            let mine = &order[ends[number]..ends[number + 1]];
            if mine.is_empty() {
                continue;
            }
            let mut shard = shard.lock();
            shard.age(now_secs);
            mine.iter().take(AHEAD).for_each(|at| shard.young.prefetch(keys[*at as usize]));
            for (place, at) in mine.iter().enumerate() {
                if let Some(next) = mine.get(place + AHEAD) {
                    shard.young.prefetch(keys[*next as usize]);
                }
                found[*at as usize] = shard.find(keys[*at as usize]);
            }
        }
    }

    /// Notes a value.
    pub fn insert(&self, key: u128, value: V, now_secs: u64) {
        let mut shard = self.shard(key).lock();
        if shard.young.len() >= self.capacity {
            shard.turn(now_secs);
        }
        shard.young.insert(key, value);
    }

    /// What is known of a key, or else what `make` says.
    pub fn get_or_insert_with(&self, key: u128, now_secs: u64, make: impl FnOnce() -> V) -> V {
        let mut shard = self.shard(key).lock();
        if now_secs.saturating_sub(shard.turned_secs) > GENERATION_SECS || shard.young.len() >= self.capacity {
            shard.turn(now_secs);
        }
        if let Some(value) = shard.find(key) {
            return value;
        }
        let value = make();
        shard.young.insert(key, value.clone());
        value
    }

    /// Forgets a key.
    pub fn remove(&self, key: u128) {
        let mut shard = self.shard(key).lock();
        shard.young.remove(key);
        shard.old.remove(key);
    }

    #[inline]
    fn shard(&self, key: u128) -> &Mutex<Shard<V>> {
        &self.shards[shard_of(key)]
    }
}

#[inline]
fn shard_of(key: u128) -> usize {
    key as usize % SHARDS
}

impl<V: Clone> Shard<V> {
    fn age(&mut self, now_secs: u64) {
        if now_secs.saturating_sub(self.turned_secs) > GENERATION_SECS {
            self.turn(now_secs);
        }
    }

    #[inline]
    fn find(&mut self, key: u128) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.young.insert(key, value.clone());
        Some(value)
    }

    fn turn(&mut self, now_secs: u64) {
        self.old = std::mem::take(&mut self.young);
        self.turned_secs = now_secs;
    }
}

impl<V> std::fmt::Debug for Recent<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of the first shard.
    fn key(n: u128) -> u128 {
        n << 64
    }

    #[test]
    fn what_is_used_survives_and_what_is_not_goes() {
        let recent = Recent::new(2 * SHARDS);
        for n in 0..2 {
            recent.insert(key(n), n, 0);
        }
        recent.insert(key(2), 2, 0);
        assert_eq!(recent.get(key(0), 0), Some(0));
        // The generation of 0, 1 is gone, but 0 had moved on.
        recent.insert(key(3), 3, 0);
        assert_eq!([0, 1, 2, 3].map(|n| recent.get(key(n), 0)), [Some(0), None, Some(2), Some(3)]);
    }

    #[test]
    fn many_keys_are_found_as_each_alone() {
        let recent = Recent::new(1000);
        let keys: Vec<u128> = (0..500).map(|n| n * 0x1_0000_0000_0000_0001).collect();
        for key in keys.iter().step_by(3) {
            recent.insert(*key, *key, 0);
        }
        let mut found = Vec::new();
        recent.get_many(&keys, 0, &mut found);
        assert_eq!(found, keys.iter().map(|key| recent.get(*key, 0)).collect::<Vec<_>>());
        assert_eq!(found.iter().flatten().count(), 167);
    }

    #[test]
    fn time_alone_lets_go() {
        let recent = Recent::new(1000);
        recent.insert(key(1), 1, 0);
        assert_eq!(recent.get(key(9), GENERATION_SECS + 1), None);
        assert_eq!(recent.get(key(9), 2 * GENERATION_SECS + 2), None);
        assert_eq!(recent.get(key(1), 2 * GENERATION_SECS + 2), None);
    }
}
