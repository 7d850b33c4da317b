//! Up to what time results that were computed before still hold.
//!
//! Whoever keeps a result takes a [`Token`] before computing it. Later, [`Changes::since`] says how far back anything
//! was written in between: what depends only on samples before that time is as it was. So a cache needs no guess about
//! how late data may come; senders in step cost it only the last moments.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// A moment in the order of writes; by default before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(u64);

/// Entries that are kept. When there are more, neighbours are joined, which only makes answers more careful.
const ENTRIES_MAX: usize = 4096;

/// Remembers the oldest time that was written since any moment.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    next: u64,
    /// Ascending in both: an entry says that its time is the oldest from its moment up to now.
    entries: VecDeque<(u64, i64)>,
}

impl Changes {
    /// Now. What is written from here on counts as later.
    pub fn token(&self) -> Token {
        Token(self.0.lock().next)
    }

    /// Notes that data of `oldest` and later times was written, after it became visible.
    pub(super) fn note(&self, oldest: i64) {
        let mut ring = self.0.lock();
        let moment = ring.next;
        ring.next += 1;
        while ring.entries.back().is_some_and(|(_, time)| *time >= oldest) {
            ring.entries.pop_back();
        }
        ring.entries.push_back((moment, oldest));
        if ring.entries.len() > ENTRIES_MAX {
            ring.join_neighbours();
        }
    }

    /// The oldest time that was written since; `i64::MAX` where nothing was.
    pub fn since(&self, token: Token) -> i64 {
        let ring = self.0.lock();
        let at = ring.entries.partition_point(|(moment, _)| *moment < token.0);
        ring.entries.get(at).map_or(i64::MAX, |(_, time)| *time)
    }
}

impl Ring {
    /// Halves the entries. Of two, the later moment and the older time stay, so that every question gets an answer
    /// that is at most too old.
    fn join_neighbours(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        let mut rest = entries.into_iter();
        while let Some((moment, time)) = rest.next() {
            let later = rest.next().map_or(moment, |(later, _)| later);
            self.entries.push_back((later, time));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn the_oldest_since_a_moment_is_what_was_written_after_it() {
        let changes = Changes::default();
        let start = changes.token();
        assert_eq!(changes.since(start), i64::MAX);
        changes.note(100);
        let middle = changes.token();
        changes.note(50);
        changes.note(200);
        assert_eq!((changes.since(start), changes.since(middle)), (50, 50));
        let end = changes.token();
        changes.note(300);
        assert_eq!(changes.since(end), 300);
    }

    #[test]
    fn joined_entries_are_never_too_young() {
        let (changes, rng) = (Changes::default(), Rng::from_seed(3));
        let mut written = Vec::new();
        let mut tokens = Vec::new();
        for n in 0..20_000_i64 {
            tokens.push(changes.token());
            // Mostly in order, so that the list of minima grows beyond its limit.
            let time = n * 10 - if rng.chance(0.001) { 5_000 } else { 0 };
            changes.note(time);
            written.push(time);
        }
        let mut oldest = i64::MAX;
        for (token, time) in tokens.iter().zip(&written).rev() {
            oldest = oldest.min(*time);
            let since = changes.since(*token);
            assert!(since <= oldest, "{since} hides a write at {oldest}");
        }
        assert!(changes.0.lock().entries.len() <= ENTRIES_MAX);
        // The newest moments are still told exactly enough for a cache to be of use.
        assert!(changes.since(tokens[19_990]) > written[19_990] - 100);
    }
}
