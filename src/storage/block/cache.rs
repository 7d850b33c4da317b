//! Pages and indexes of blocks in memory, within a budget of bytes; the longest unused go first.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::index::Index;
use super::ulid::Ulid;

/// What is cached of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Unit {
    Index,
    Page(u32),
}

#[derive(Clone, Debug)]
pub(super) enum Cached {
    Index(Arc<Index>),
    Page(Arc<[u8]>),
}

type Key = (Ulid, Unit);

#[derive(Debug)]
struct Entry {
    value: Cached,
    weight: usize,
    used: u64,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// Uses in order; only the last of an entry counts.
    queue: VecDeque<(Key, u64)>,
    weight: usize,
    tick: u64,
    hits: u64,
    misses: u64,
}

/// A cache shared by all blocks. What a reader holds stays alive though it was evicted, so the budget is exceeded by
/// what queries hold at the time.
#[derive(Debug)]
pub struct Cache {
    state: Mutex<State>,
    budget: usize,
}

/// Uses that the queue remembers for each entry before it is cleaned.
const QUEUE_FACTOR: usize = 8;

impl Cache {
    pub fn new(budget: usize) -> Self {
        Self { state: Mutex::default(), budget }
    }

    /// Bytes held, hits, misses.
    pub fn usage(&self) -> (usize, u64, u64) {
        let state = self.state.lock();
        (state.weight, state.hits, state.misses)
    }

    /// What is there already; neither a use nor a miss.
    pub(super) fn peek(&self, key: Key) -> Option<Cached> {
        self.state.lock().entries.get(&key).map(|entry| entry.value.clone())
    }

    pub(super) fn get(&self, key: Key) -> Option<Cached> {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.tick += 1;
        let Some(entry) = state.entries.get_mut(&key) else {
            state.misses += 1;
            return None;
        };
        state.hits += 1;
        entry.used = state.tick;
        state.queue.push_back((key, state.tick));
        let value = entry.value.clone();
        if state.queue.len() > QUEUE_FACTOR * (state.entries.len() + 16) {
            let entries = &state.entries;
            state.queue.retain(|(key, used)| entries.get(key).is_some_and(|entry| entry.used == *used));
        }
        Some(value)
    }

    pub(super) fn put(&self, key: Key, value: Cached) {
        let weight = 64
            + match &value {
                Cached::Index(index) => index.weight(),
                Cached::Page(page) => page.len(),
            };
        let mut state = self.state.lock();
        let state = &mut *state;
        state.tick += 1;
        state.weight += weight;
        let entry = Entry { value, weight, used: state.tick };
        if let Some(old) = state.entries.insert(key, entry) {
            state.weight -= old.weight;
        }
        state.queue.push_back((key, state.tick));
        while state.weight > self.budget {
            let Some((key, used)) = state.queue.pop_front() else { break };
            if state.entries.get(&key).is_some_and(|entry| entry.used == used)
                && let Some(old) = state.entries.remove(&key)
            {
                state.weight -= old.weight;
            }
        }
    }

    /// Forgets a block that is gone.
    pub(super) fn forget(&self, block: Ulid) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut freed = 0;
        state.entries.retain(|(id, _), entry| {
            let keep = *id != block;
            freed += if keep { 0 } else { entry.weight };
            keep
        });
        state.weight -= freed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_page_goes_first() {
        let cache = Cache::new(3_000);
        let page = || Cached::Page(vec![0; 900].into());
        let key = |number| (Ulid(1), Unit::Page(number));
        for number in 0..3 {
            cache.put(key(number), page());
        }
        assert!(cache.get(key(0)).is_some());
        cache.put(key(3), page());
        assert!(cache.get(key(1)).is_none());
        assert!([0, 2, 3].into_iter().all(|number| cache.get(key(number)).is_some()));
        for _ in 0..10_000 {
            cache.get(key(0));
        }
        assert!(cache.state.lock().queue.len() < 1_000);
        cache.forget(Ulid(1));
        assert_eq!(cache.usage().0, 0);
    }
}
