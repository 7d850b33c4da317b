//! What the indexes of blocks tell by themselves: label names and values, and whether an answer is small and near.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::model::matcher::Matcher;

use super::index::Index;
use super::reader::{Block, BlockError};
use super::tier::Asked;
use super::version::{Version, Wanted};

/// First and last millisecond, both included.
type Range = (i64, i64);

impl Version {
    /// Calls `visit` with each label name of the series that fulfil every matcher of any set (all series without sets) in
    /// each block that touches the range; names repeat between blocks.
    pub fn label_names(&self, sets: &[Vec<Matcher>], range: Range, mut visit: impl FnMut(&str)) {
        for (place, block) in self.looked_into(range.0, range.1, Asked::RAW) {
            // Damage shows in `select`, which can say so.
            let Ok(index) = block.index() else { continue };
            let _ = match self.listed(place, &index, sets, range) {
                Ok(None) => index.names(&mut visit),
                Ok(Some(found)) => index.names_among(&found, &mut visit),
                Err(_) => continue,
            };
        }
    }

    /// The same for the values of a label.
    pub fn label_values(&self, name: &str, sets: &[Vec<Matcher>], range: Range, mut visit: impl FnMut(&str)) {
        for (place, block) in self.looked_into(range.0, range.1, Asked::RAW) {
            let Ok(index) = block.index() else { continue };
            let _ = match self.listed(place, &index, sets, range) {
                Ok(None) => index.values(name, &mut visit),
                Ok(Some(found)) => index.values_among(name, &found, &mut visit),
                Err(_) => continue,
            };
        }
    }

    /// The series of a block that a listing is about; `None` for all of them, whatever their times.
    fn listed(
        &self,
        place: u32,
        index: &Arc<Index>,
        sets: &[Vec<Matcher>],
        range: Range,
    ) -> Result<Option<RoaringBitmap>, BlockError> {
        if sets.is_empty() {
            let buried = self.is_buried(place);
            return buried.then(|| self.visible(place, index, &[], (i64::MIN, i64::MAX))).transpose();
        }
        let mut found = RoaringBitmap::new();
        for set in sets {
            found |= self.visible(place, index, set, range)?;
        }
        Ok(Some(found))
    }

    /// At least about how many series a selector finds, if they are at most so many and what is read of them is in
    /// memory already, so that nothing waits for the disk. `reads`: samples are asked for, not labels alone.
    pub fn at_hand(&self, matchers: &[Matcher], wanted: Wanted, reads: bool, most: usize) -> Option<usize> {
        let (mut largest, mut parts) = (0, 0);
        for (place, block) in self.looked_into(wanted.mint, wanted.maxt, wanted.asked) {
            let index = block.index_at_hand()?;
            let found = index.find(matchers).ok()?;
            let count = usize::try_from(found.len()).ok()?;
            (largest, parts) = (largest.max(count), parts + count);
            if largest > most || parts > most.saturating_mul(PARTS_MAX) {
                return None;
            }
            if reads && self.is_read(place, wanted.asked) && !are_at_hand(block, &index, &found, wanted) {
                return None;
            }
        }
        Some(largest)
    }

    /// Whether there are at most so many label names, or values of one label, in each block, and all of their indexes are
    /// in memory.
    pub fn has_few_names(&self, name: Option<&str>, range: Range, most: usize) -> bool {
        self.looked_into(range.0, range.1, Asked::RAW).all(|(place, block)| {
            let few = |index: Arc<Index>| index.count_names(name) <= most;
            !self.is_buried(place) && block.index_at_hand().is_some_and(few)
        })
    }
}

/// Blocks that a series may be read from, on average, where few are to be read.
const PARTS_MAX: usize = 4;

fn are_at_hand(block: &Block, index: &Index, found: &RoaringBitmap, wanted: Wanted) -> bool {
    let mut last = None;
    found.iter().all(|number| {
        index.chunks(number, wanted.mint, wanted.maxt).is_ok_and(|chunks| {
            chunks.iter().all(|chunk| {
                // Neighbours share pages.
                let known = last == Some(chunk.page);
                last = Some(chunk.page);
                known || block.has_page(chunk.page)
            })
        })
    })
}
