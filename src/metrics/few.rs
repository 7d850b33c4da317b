//! Whether an answer is small, told by indexes in memory alone.

use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::source::Select;
use crate::storage::block::{Wanted, asked_of};

use super::matching::{Plan, find};
use super::store::Store;

impl Store {
    /// About how many series a selector finds. `None` where there are more than `most`, where what is read of them is not
    /// in memory, or where that is not known at once.
    pub fn count_few(&self, select: &Select, most: usize) -> Option<usize> {
        if self.is_replaying() {
            return None;
        }
        let in_blocks = match self.blocks() {
            Some(blocks) => {
                let wanted = Wanted { mint: select.mint, maxt: select.maxt, asked: asked_of(select) };
                blocks.version().at_hand(&select.matchers, wanted, !select.hints.labels_only, most)?
            }
            None => 0,
        };
        // Most series are in both.
        Some(in_blocks.max(self.count_few_in_head(&select.matchers, most)?))
    }

    fn count_few_in_head(&self, matchers: &[Matcher], most: usize) -> Option<usize> {
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

    /// Whether there are at most so many label names, or values of one label, and the indexes that tell them are in
    /// memory.
    pub fn has_few_names(&self, name: Option<&str>, range: (i64, i64), most: usize) -> bool {
        let count = |shard: &super::shard::Shard| match name {
            Some(name) => shard.postings().values(name).map_or(0, |values| values.len()),
            None => shard.postings().names().count(),
        };
        let in_blocks = || self.blocks().is_none_or(|blocks| blocks.version().has_few_names(name, range, most));
        !self.is_replaying()
            && in_blocks()
            && self.shared().shards.iter().map(|shard| count(&shard.lock())).sum::<usize>() <= most
    }
}
