//! What should be in the store: a plain map.

use std::collections::BTreeMap;

/// One thing that was handed to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) bits: u64,
    /// Whether a commit said that it is durable.
    pub(crate) acknowledged: bool,
    /// Whether it was deleted, durably, and not sent since.
    pub(crate) deleted: bool,
}

/// Samples by series and time. Values are bits of a float, or the count of a native histogram with its top bit set.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    samples: BTreeMap<(u32, i64), Expected>,
}

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) lost: usize,
    pub(crate) invented: Vec<String>,
}

impl Oracle {
    pub(crate) fn tried(&mut self, series: u32, time: i64, bits: u64) {
        let new = Expected { bits, acknowledged: false, deleted: false };
        self.samples.entry((series, time)).or_insert(new).deleted = false;
    }

    /// A deletion; one that nobody was promised may be done in part.
    pub(crate) fn delete(&mut self, series: u32, (mint, maxt): (i64, i64), acknowledged: bool) {
        for (_, sample) in self.samples.range_mut((series, mint)..=(series, maxt)) {
            sample.acknowledged = false;
            sample.deleted |= acknowledged;
        }
    }

    /// What was deleted may be there again.
    pub(crate) fn forgive(&mut self) {
        self.samples.values_mut().for_each(|sample| sample.deleted = false);
    }

    pub(crate) fn acknowledged(&mut self, series: u32, time: i64) {
        if let Some(sample) = self.samples.get_mut(&(series, time)) {
            sample.acknowledged = true;
        }
    }

    /// Compares with what was read. A sample that nobody was promised may be there or not.
    pub(crate) fn compare(&self, read: &BTreeMap<(u32, i64), u64>) -> Difference {
        let mut difference = Difference::default();
        for (key, expected) in &self.samples {
            match read.get(key) {
                Some(bits) if *bits != expected.bits => {
                    difference.invented.push(format!("{key:?}: {bits:x} instead of {:x}", expected.bits));
                }
                Some(_) if expected.deleted => difference.invented.push(format!("{key:?} was deleted")),
                None if expected.acknowledged => difference.lost += 1,
                _ => {}
            }
        }
        for (key, bits) in read.iter().filter(|(key, _)| !self.samples.contains_key(key)) {
            difference.invented.push(format!("{key:?}: {bits:x} was never sent"));
        }
        difference
    }

    /// After damage that was reported: what is there now is what there is.
    pub(crate) fn accept(&mut self, read: &BTreeMap<(u32, i64), u64>) {
        for (key, sample) in &mut self.samples {
            sample.acknowledged = read.contains_key(key);
        }
    }
}
