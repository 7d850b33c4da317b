//! What was looked up lately: a bounded map that many requests share.
//!
//! Push protocols repeat the labels of a series with every sample. Their raw bytes, hashed to 128 bits, find here what
//! they resolved to the last time, so that a known series costs neither a decode nor a comparison of labels. Losing an
//! entry costs one slow look-up, nothing else.
//!
//! Each shard keeps two generations. A hit in the older one moves the entry to the younger; when the younger is full,
//! or fifteen minutes old, the older one is dropped and the younger takes its place.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// A key is a hash already.
#[derive(Default)]
pub struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        // The upper half; the shard comes from the lower.
        self.0 = (key >> 64) as u64;
    }
}

type Map<V> = HashMap<u128, V, BuildHasherDefault<Folded>>;

const SHARDS: usize = 64;

/// After this long a generation is old, full or not, so that what nobody sends any more is let go.
const GENERATION_SECS: u64 = 900;

/// A bounded map from the hash of raw bytes to what they mean.
pub struct Recent<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    /// Entries of one generation of one shard.
    capacity: usize,
}

struct Shard<V> {
    young: Map<V>,
    old: Map<V>,
    turned_secs: u64,
}

impl<V: Clone> Recent<V> {
    /// Holds at most twice `entries`.
    pub fn new(entries: usize) -> Self {
        let shard = || Mutex::new(Shard { young: Map::default(), old: Map::default(), turned_secs: 0 });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), capacity: entries.div_ceil(SHARDS).max(1) }
    }

    /// What is known of a key. `now_secs` is monotonic.
    #[inline]
    pub fn get(&self, key: u128, now_secs: u64) -> Option<V> {
        let mut shard = self.shard(key).lock();
        if now_secs.saturating_sub(shard.turned_secs) > GENERATION_SECS {
            shard.turn(now_secs);
        }
        if let Some(value) = shard.young.get(&key) {
            return Some(value.clone());
        }
        let value = shard.old.remove(&key)?;
        shard.young.insert(key, value.clone());
        Some(value)
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
        let shard = &mut *shard;
        let old = &mut shard.old;
        shard.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_else(make)).clone()
    }

    /// Forgets a key.
    pub fn remove(&self, key: u128) {
        let mut shard = self.shard(key).lock();
        shard.young.remove(&key);
        shard.old.remove(&key);
    }

    #[inline]
    fn shard(&self, key: u128) -> &Mutex<Shard<V>> {
        &self.shards[key as usize % SHARDS]
    }
}

impl<V> Shard<V> {
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
    fn time_alone_lets_go() {
        let recent = Recent::new(1000);
        recent.insert(key(1), 1, 0);
        assert_eq!(recent.get(key(9), GENERATION_SECS + 1), None);
        assert_eq!(recent.get(key(9), 2 * GENERATION_SECS + 2), None);
        assert_eq!(recent.get(key(1), 2 * GENERATION_SECS + 2), None);
    }
}
