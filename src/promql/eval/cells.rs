//! The results of one series over all steps of a query, by column.

use std::ops::Range;
use std::sync::Arc;

use crate::model::histogram::Histogram;
use crate::model::labels::Labels;

/// One bit for each step.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    pub(super) fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    pub(super) fn all(len: usize) -> Self {
        let mut bits = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        bits.trim();
        bits
    }

    /// Sets all bits for `len` steps, reusing the allocation.
    pub(super) fn reset(&mut self, len: usize, value: bool) {
        self.words.clear();
        self.words.resize(len.div_ceil(64), if value { u64::MAX } else { 0 });
        self.len = len;
        self.trim();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> bool {
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    #[inline]
    pub(super) fn set(&mut self, at: usize) {
        self.words[at / 64] |= 1 << (at % 64);
    }

    #[inline]
    pub(super) fn unset(&mut self, at: usize) {
        self.words[at / 64] &= !(1 << (at % 64));
    }

    pub(super) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn first(&self) -> Option<usize> {
        self.words.iter().position(|word| *word != 0).map(|at| at * 64 + self.words[at].trailing_zeros() as usize)
    }

    pub(super) fn last(&self) -> Option<usize> {
        let at = self.words.iter().rposition(|word| *word != 0)?;
        Some(at * 64 + 63 - self.words[at].leading_zeros() as usize)
    }

    /// Positions of the bits that are set, ascending.
    pub(super) fn ones(&self) -> impl Iterator<Item = usize> + use<'_> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    at * 64 + bit
                })
            })
        })
    }

    /// Runs of bits that are set, ascending; of full words neighbours are one run.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<'_> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = self.next(from, 0)?;
            let end = self.next(start, u64::MAX).unwrap_or(self.len);
            from = end;
            Some(start..end)
        })
    }

    /// The first bit from `from` on that is set, or with `flip` of all ones is not.
    fn next(&self, from: usize, flip: u64) -> Option<usize> {
        let mut mask = u64::MAX << (from % 64);
        self.words.iter().enumerate().skip(from / 64).find_map(|(at, word)| {
            let found = (word ^ flip) & std::mem::replace(&mut mask, u64::MAX);
            (found != 0).then(|| at * 64 + found.trailing_zeros() as usize)
        })
    }

    pub(super) fn and(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine &= theirs);
    }

    pub(super) fn or(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    pub(super) fn and_not(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine &= !theirs);
    }

    /// The first position that is set in both.
    pub(super) fn first_common(&self, other: &Self) -> Option<usize> {
        let at = self.words.iter().zip(&other.words).position(|(mine, theirs)| mine & theirs != 0)?;
        Some(at * 64 + (self.words[at] & other.words[at]).trailing_zeros() as usize)
    }

    /// Keeps a bit where `keep` holds for its position.
    #[inline]
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        for (at, word) in self.words.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if !keep(at * 64 + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    fn trim(&mut self) {
        let rest = self.len % 64;
        if let Some(last) = self.words.last_mut().filter(|_| rest != 0) {
            *last &= (1 << rest) - 1;
        }
    }
}

/// Values of one series, one slot for each step. A slot holds a float, a histogram or nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    /// Anything where `floats` has no bit.
    pub(super) values: Vec<f64>,
    /// Which slots hold floats.
    pub(super) floats: Bits,
    /// Empty where the series has no histogram at all, else one entry for each step.
    pub(super) histograms: Vec<Option<Arc<Histogram>>>,
}

impl Cells {
    /// Slots without anything.
    pub(super) fn empty(steps: usize) -> Self {
        Self { values: vec![0.0; steps], floats: Bits::none(steps), histograms: Vec::new() }
    }

    /// A float in each slot.
    pub(super) fn full(values: Vec<f64>) -> Self {
        Self { floats: Bits::all(values.len()), values, histograms: Vec::new() }
    }

    /// Empties all slots, for `steps` steps, keeping allocations.
    pub(super) fn reset(&mut self, steps: usize) {
        self.values.resize(steps, 0.0);
        self.floats.reset(steps, false);
        self.histograms.clear();
    }

    pub(super) fn steps(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub(super) fn set_float(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.floats.set(step);
    }

    pub(super) fn set_histogram(&mut self, step: usize, histogram: Arc<Histogram>) {
        if self.histograms.is_empty() {
            self.histograms.resize(self.values.len(), None);
        }
        self.histograms[step] = Some(histogram);
    }

    #[inline]
    pub(super) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(step).and_then(Option::as_ref)
    }

    /// Empties a slot.
    pub(super) fn remove(&mut self, step: usize) {
        self.floats.unset(step);
        if let Some(slot) = self.histograms.get_mut(step) {
            *slot = None;
        }
    }

    pub(super) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Which slots hold anything.
    pub(super) fn present(&self) -> Bits {
        let mut bits = self.floats.clone();
        for (step, slot) in self.histograms.iter().enumerate() {
            if slot.is_some() {
                bits.set(step);
            }
        }
        bits
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.floats.is_empty() && self.histograms.iter().all(Option::is_none)
    }

    /// Empties the slots that are not in `keep`.
    pub(super) fn mask(&mut self, keep: &Bits) {
        self.floats.and(keep);
        for (step, slot) in self.histograms.iter_mut().enumerate() {
            if !keep.get(step) {
                *slot = None;
            }
        }
    }

    /// Drops histograms, as functions of floats do.
    pub(super) fn only_floats(&mut self) {
        self.histograms.clear();
    }

    /// Copies the slots of `other` that hold something over this column's.
    pub(super) fn overlay(&mut self, other: &Self) {
        for step in other.floats.ones() {
            self.set_float(step, other.values[step]);
        }
        for (step, slot) in other.histograms.iter().enumerate() {
            if let Some(histogram) = slot {
                self.set_histogram(step, histogram.clone());
            }
        }
    }

    /// Whether a slot holds a float in both, or a histogram in both.
    pub(super) fn shares_kind(&self, other: &Self) -> bool {
        let histograms = |(mine, theirs): (&Option<_>, &Option<_>)| mine.is_some() && theirs.is_some();
        self.floats.first_common(&other.floats).is_some()
            || self.histograms.iter().zip(&other.histograms).any(histograms)
    }

    /// As [`Self::overlay`], but a histogram stays whichever side it is on.
    pub(super) fn overlay_histograms(&mut self, other: &Self) {
        for step in other.floats.ones() {
            if self.histogram(step).is_none() {
                self.set_float(step, other.values[step]);
            }
        }
        for (step, slot) in other.histograms.iter().enumerate() {
            if let Some(histogram) = slot {
                self.floats.unset(step);
                self.set_histogram(step, histogram.clone());
            }
        }
    }

    /// How many samples of 16 bytes the slots count for.
    pub(super) fn samples(&self) -> u64 {
        let histograms: u64 = self.histograms.iter().flatten().map(|histogram| histogram.size_in_samples()).sum();
        self.floats.count() as u64 + histograms
    }
}

/// A series of a result.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    /// The metric name is to be removed when the query is done.
    pub(super) drop_name: bool,
    pub(super) cells: Cells,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_last_step_stay_clear() {
        let bits = Bits::all(70);
        assert_eq!((bits.count(), bits.last()), (70, Some(69)));
        let mut odd = bits.clone();
        odd.retain(|at| at % 2 == 1);
        assert_eq!(odd.ones().count(), 35);
        assert_eq!(odd.first_common(&bits), Some(1));
    }

    #[test]
    fn runs_are_neighbours_that_are_set() {
        let runs = |len: usize, clear: &[usize]| {
            let mut bits = Bits::all(len);
            clear.iter().for_each(|at| bits.unset(*at));
            bits.runs().map(|run| (run.start, run.end)).collect::<Vec<_>>()
        };
        assert!(runs(0, &[]).is_empty());
        assert_eq!(runs(64, &[]), [(0, 64)]);
        assert_eq!(runs(300, &[]), [(0, 300)]);
        assert_eq!(runs(200, &[0, 63, 64, 130, 199]), [(1, 63), (65, 130), (131, 199)]);
        assert_eq!(runs(128, &[5]), [(0, 5), (6, 128)]);
        assert_eq!(Bits::none(128).runs().count(), 0);
    }

    #[test]
    fn a_slot_holds_a_float_or_a_histogram() {
        let mut cells = Cells::empty(3);
        cells.set_float(0, 1.0);
        cells.set_histogram(2, Arc::new(Histogram::default()));
        assert_eq!(cells.present().ones().collect::<Vec<_>>(), [0, 2]);
        cells.remove(2);
        assert_eq!(cells.present().ones().collect::<Vec<_>>(), [0]);
    }
}
