//! A slab of series: stable slots in pages, so that growing moves nothing.

use crate::base::prefetch::prefetch;

use super::series::Series;

/// Series in a page. Pages keep the peak low: a growing `Vec` would hold old and new copy at once.
const PAGE: usize = 1_024;

/// The series of a shard by slot.
#[derive(Debug, Default)]
pub(super) struct Slab {
    pages: Vec<Vec<Option<Series>>>,
    free: Vec<u32>,
}

impl Slab {
    /// Adds a series; answers its slot.
    pub(super) fn insert(&mut self, series: Series) -> u32 {
        if let Some(slot) = self.free.pop() {
            if let Some(place) = self.place_mut(slot) {
                *place = Some(series);
            }
            return slot;
        }
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(if self.pages.is_empty() { 16 } else { PAGE }));
        }
        let page = self.pages.len() - 1;
        if let Some(last) = self.pages.last_mut() {
            last.push(Some(series));
            return (page * PAGE + last.len() - 1) as u32;
        }
        unreachable!("a page was pushed above")
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Series> {
        let series = self.place_mut(slot)?.take()?;
        self.free.push(slot);
        Some(series)
    }

    /// Has a place fetched from memory.
    #[inline]
    pub(super) fn prefetch(&self, slot: u32) {
        if let Some(place) = self.pages.get(slot as usize / PAGE).and_then(|page| page.get(slot as usize % PAGE)) {
            prefetch(place);
        }
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Series> {
        self.pages.get(slot as usize / PAGE)?.get(slot as usize % PAGE)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Series> {
        self.place_mut(slot)?.as_mut()
    }

    #[inline]
    fn place_mut(&mut self, slot: u32) -> Option<&mut Option<Series>> {
        self.pages.get_mut(slot as usize / PAGE)?.get_mut(slot as usize % PAGE)
    }

    /// Every series with its slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        self.pages
            .iter()
            .flatten()
            .enumerate()
            .filter_map(|(slot, series)| series.as_ref().map(|series| (slot as u32, series)))
    }

    /// Every series, taken out.
    pub(super) fn into_series(self) -> impl Iterator<Item = Series> {
        self.pages.into_iter().flatten().flatten()
    }

    /// Slots that were ever in use: the bound for walking by slot.
    pub(super) fn slots(&self) -> u32 {
        self.pages.iter().map(Vec::len).sum::<usize>() as u32
    }
}
