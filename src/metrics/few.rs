//! Whether an answer is small, told by the index of memory alone.

use crate::model::matcher::{MatchOp, Matcher};

use super::matching::{Plan, find};
use super::store::Store;

impl Store {
    /// How many series fulfil every matcher, at whatever time. `None` where there are more than `most`, or where blocks
    /// on disk reach to `mint`, so that memory does not know all.
    pub fn count_few(&self, matchers: &[Matcher], mint: i64, most: usize) -> Option<usize> {
        if self.reaches_disk(mint) {
            return None;
        }
        let plans: Vec<Plan<'_>> = matchers.iter().map(Plan::new).collect();
        let exact = |matcher: &&Matcher| matcher.op == MatchOp::Equal && !matcher.value.is_empty();
        let mut count = 0;
        for shard in &self.shared().shards {
            let shard = shard.lock();
            let postings = shard.postings();
            let with = |matcher: &Matcher| {
                postings
                    .values(&matcher.name)
                    .and_then(|values| values.get(&*matcher.value))
                    .map_or(0, |slots| slots.len())
            };
            // The rarest pair bounds the answer; only where it is rare are the sets cut with each other.
            match matchers.iter().filter(exact).map(with).min() {
                Some(0) => continue,
                Some(least) if least <= most * 8 => {}
                _ => return None,
            }
            count += usize::try_from(find(postings, &plans).len()).ok()?;
            if count > most {
                return None;
            }
        }
        Some(count)
    }

    /// Whether there are at most so many label names, or values of one label. False where blocks on disk reach to `mint`.
    pub fn has_few_names(&self, name: Option<&str>, mint: i64, most: usize) -> bool {
        let count = |shard: &super::shard::Shard| match name {
            Some(name) => shard.postings().values(name).map_or(0, |values| values.len()),
            None => shard.postings().names().count(),
        };
        !self.reaches_disk(mint) && self.shared().shards.iter().map(|shard| count(&shard.lock())).sum::<usize>() <= most
    }

    /// Memory does not know all while its log is being read either.
    fn reaches_disk(&self, mint: i64) -> bool {
        if self.is_replaying() {
            return true;
        }
        let newest = self.blocks().and_then(|blocks| blocks.version().bounds()).map(|(_, newest)| newest);
        newest.is_some_and(|newest| newest >= mint)
    }
}
