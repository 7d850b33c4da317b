//! One side (positive or negative) of the buckets: spans that say where, cells that say how many.

use super::{Span, bounds};

/// What a bucket holds while it is computed with: a plain float, or a float with its compensation.
pub(super) trait Cell: Copy + From<f64> {
    fn add(&mut self, other: Self);
    /// Whether the bucket counts as empty.
    fn is_empty(&self) -> bool;
    fn change(&mut self, change: impl FnMut(&mut f64));
}

impl Cell for f64 {
    #[inline]
    fn add(&mut self, other: Self) {
        *self += other;
    }

    #[inline]
    fn is_empty(&self) -> bool {
        *self == 0.0
    }

    fn change(&mut self, mut change: impl FnMut(&mut f64)) {
        change(self);
    }
}

/// Index and cell of each bucket, ascending. Stops where spans and cells disagree.
pub(super) fn cells<'a, C: Copy>(spans: &'a [Span], cells: &'a [C]) -> impl Iterator<Item = (i32, C)> + use<'a, C> {
    indices(spans).zip(cells.iter().copied())
}

/// The index of each bucket that the spans cover, ascending.
pub(super) fn indices(spans: &[Span]) -> impl Iterator<Item = i32> {
    let mut next = 0_i32;
    spans.iter().flat_map(move |span| {
        let first = next.saturating_add(span.offset);
        next = first.saturating_add_unsigned(span.length);
        first..next
    })
}

/// Builds a side from buckets in ascending order of their index.
pub(super) struct SideBuilder<C> {
    spans: Vec<Span>,
    cells: Vec<C>,
    /// The index after the last bucket.
    next: i32,
}

impl<C: Cell> SideBuilder<C> {
    pub(super) fn with_capacity(cells: usize) -> Self {
        Self { spans: Vec::with_capacity(1), cells: Vec::with_capacity(cells), next: 0 }
    }

    pub(super) fn push(&mut self, index: i32, cell: C) {
        let offset = index.saturating_sub(self.next);
        match self.spans.last_mut() {
            Some(last) if offset == 0 => last.length += 1,
            _ => self.spans.push(Span { offset, length: 1 }),
        }
        self.cells.push(cell);
        self.next = index.saturating_add(1);
    }

    /// Adds to the last bucket if it has this index, else appends.
    pub(super) fn merge(&mut self, index: i32, cell: C) {
        match self.cells.last_mut() {
            Some(last) if self.next == index.saturating_add(1) => last.add(cell),
            _ => self.push(index, cell),
        }
    }

    pub(super) fn finish(self) -> (Vec<Span>, Vec<C>) {
        (self.spans, self.cells)
    }
}

/// Adds the buckets of `other` (ascending) to a side.
pub(super) fn add<C: Cell>(spans: &mut Vec<Span>, counts: &mut Vec<C>, other: impl Iterator<Item = (i32, C)>) {
    let mut other = other.peekable();
    let mut built = SideBuilder::with_capacity(counts.len());
    for (index, mut cell) in cells(spans, counts) {
        while let Some(&(other_index, other_cell)) = other.peek() {
            if other_index > index {
                break;
            }
            if other_index == index {
                cell.add(other_cell);
            } else {
                built.push(other_index, other_cell);
            }
            other.next();
        }
        built.push(index, cell);
    }
    other.for_each(|(index, cell)| built.push(index, cell));
    (*spans, *counts) = built.finish();
}

/// Keeps the buckets for which `keep` holds.
pub(super) fn retain<C: Cell>(spans: &mut Vec<Span>, counts: &mut Vec<C>, mut keep: impl FnMut(i32, &C) -> bool) {
    let mut built = SideBuilder::with_capacity(counts.len());
    for (index, cell) in cells(spans, counts) {
        if keep(index, &cell) {
            built.push(index, cell);
        }
    }
    (*spans, *counts) = built.finish();
}

/// Removes empty buckets and joins adjacent spans.
pub(super) fn compact<C: Cell>(spans: &mut Vec<Span>, counts: &mut Vec<C>) {
    let dense = counts.iter().all(|cell| !cell.is_empty());
    let tidy = spans.iter().skip(1).all(|span| span.offset != 0) && spans.iter().all(|span| span.length != 0);
    if !dense || !tidy {
        retain(spans, counts, |_, cell| !cell.is_empty());
    }
}

/// Merges buckets down from schema `origin` to the coarser schema `target`.
pub(super) fn reduce<C: Cell>(spans: &mut Vec<Span>, counts: &mut Vec<C>, origin: i8, target: i8) {
    let mut built = SideBuilder::with_capacity(counts.len());
    for (index, cell) in cells(spans, counts) {
        built.merge(bounds::merged_index(index, origin, target), cell);
    }
    (*spans, *counts) = built.finish();
}
