//! How samples leave a series for a block: copied and marked first, dropped when the block is read instead.

use super::column::Points;
use super::late::push_pieces;
use super::series::Series;
use super::view::Snapshot;

/// What a flush took of a series, besides its marked chunks.
#[derive(Clone, Debug, Default)]
pub(super) struct Flushed {
    /// The last float, which stays in the open column, was taken too: the series has nothing newer.
    tail: Option<i64>,
}

impl Series {
    /// Copies everything before a cut, for a block, and marks it; samples of after the cut do not share chunks with it
    /// then. `None` where there is nothing.
    pub(super) fn copy_before(&mut self, before: i64) -> Option<(Snapshot, Flushed)> {
        self.bounds().filter(|(first, _)| *first < before)?;
        self.split_at(before);
        let mut snapshot = self.outside_blocks(i64::MIN, before.saturating_sub(1));
        snapshot.chunks.retain(|chunk| chunk.last < before);
        for chunk in &mut self.sealed {
            chunk.flushed = chunk.last < before;
        }
        let tail = (!self.open.is_empty() && self.open.last() < before).then(|| self.open.last());
        Some((snapshot, Flushed { tail }))
    }

    /// What a reader of blocks needs besides: not the newest sample where a block has it, which would stand beside the
    /// window that counts it.
    pub(super) fn outside_blocks(&self, mint: i64, maxt: i64) -> Snapshot {
        let mut snapshot = self.snapshot(mint, maxt);
        if self.open.is_flushed() {
            snapshot.open.clear();
        }
        snapshot
    }

    /// Seals the floats before a cut, but for the very last of the series.
    fn split_at(&mut self, before: i64) {
        if !self.open.is_empty() && self.open.first() < before {
            if self.open.last() < before {
                self.seal_idle();
            } else {
                let mut points = Points::default();
                self.open.read(i64::MIN, i64::MAX, &mut points);
                self.open.clear();
                self.push_split(&points, before, true);
            }
        }
        let end = if self.open.is_empty() { before } else { self.open.first() };
        if let Some(side) = &mut self.side {
            side.late.settle(end, &mut self.sealed);
            side.histograms.mark_before(before);
        }
        self.drop_empty_side();
        let at = self.sealed.partition_point(|chunk| chunk.last < before);
        if self.sealed.get(at).is_some_and(|chunk| chunk.first < before) {
            let mut points = Points::default();
            let rest = self.sealed.split_off(at);
            if rest.first().is_some_and(|chunk| chunk.read(i64::MIN, i64::MAX, &mut points).is_ok()) {
                self.push_split(&points, before, false);
                self.sealed.extend(rest.into_iter().skip(1));
            } else {
                // It cannot be read: it stays, for those who ask for it to be told.
                self.sealed.extend(rest);
            }
        }
    }

    /// Seals the points before a cut; the others go to the open column or are sealed behind.
    fn push_split(&mut self, points: &Points, before: i64, reopen: bool) {
        let (mut old, mut new) = (Points::default(), Points::default());
        for at in 0..points.len() {
            let to = if points.times[at] < before { &mut old } else { &mut new };
            to.push(points.times[at], points.start(at), points.values[at]);
        }
        push_pieces(&old, &mut self.sealed);
        if reopen {
            for at in 0..new.len() {
                self.open.push(new.times[at], new.start(at), new.values[at]);
            }
        } else {
            push_pieces(&new, &mut self.sealed);
        }
    }

    /// Drops what a flush took; answers whether anything is left that is not in a block. A chunk that late samples have
    /// changed since has lost its mark, and stays.
    pub(super) fn drop_flushed(&mut self, flushed: &Flushed) -> bool {
        self.sealed.retain(|chunk| !chunk.flushed);
        self.sealed.shrink_to_fit();
        if let Some(side) = &mut self.side {
            side.histograms.drop_flushed();
        }
        self.drop_empty_side();
        let is_tail = self.open.len() == 1 && flushed.tail == Some(self.open.last());
        if is_tail {
            self.open.set_flushed();
        }
        let only_tail = self.open.is_empty() || is_tail;
        !(only_tail && self.sealed.is_empty() && self.side.is_none())
    }

    /// Bytes of chunks before a cut: what a flush would take out of memory.
    pub(super) fn bytes_before(&self, before: i64) -> usize {
        let floats: usize =
            self.sealed.iter().take_while(|chunk| chunk.first < before).map(|chunk| chunk.heap_bytes()).sum();
        let histograms = self.side.as_ref().map_or(0, |side| side.histograms.bytes_before(before));
        let open = usize::from(!self.open.is_empty() && self.open.first() < before);
        floats + open + histograms
    }

    /// What a flush would take where that is in a block already: the newest sample, which is kept for the next.
    pub(super) fn all_flushed(&self, before: i64) -> Option<Flushed> {
        let only_tail = self.open.is_flushed() && self.sealed.is_empty() && self.side.is_none();
        (only_tail && self.open.last() < before).then(|| Flushed { tail: Some(self.open.last()) })
    }
}
