//! The walk over a selection: series by series, each in windows of time.

use std::ops::ControlFlow;

use crate::metrics::Selection;
use crate::model::labels::Labels;
use crate::promql::source::{Column, SeriesSet as _, SourceError};

/// Four days: at one sample a second 5 MiB of column.
const WINDOW_MS: i64 = 4 * 24 * 3_600_000;

/// Samples of one series in one window; never empty.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    pub labels: &'a Labels,
    pub column: &'a Column,
    /// Whether it is the first of its series.
    pub is_first: bool,
}

fn walk<B>(
    selection: &Selection,
    index: usize,
    (first, last): (i64, i64),
    column: &mut Column,
    visit: &mut impl FnMut(Window<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, SourceError> {
    let labels = selection.labels(index);
    let mut is_first = true;
    let mut from = first;
    loop {
        let to = from.saturating_add(WINDOW_MS - 1).min(last);
        column.clear();
        selection.read_between(index, (from, to), column)?;
        if !column.is_empty() {
            let window = Window { labels, column, is_first };
            is_first = false;
            if let ControlFlow::Break(value) = visit(window) {
                return Ok(ControlFlow::Break(value));
            }
        }
        match to.checked_add(1) {
            Some(next) if next <= last => from = next,
            _ => return Ok(ControlFlow::Continue(())),
        }
    }
}

/// Calls `visit` with each window of each series, series ascending by labels.
pub fn each_series<B>(
    selection: &Selection,
    mut visit: impl FnMut(Window<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, SourceError> {
    let Some(bounds) = selection.bounds() else { return Ok(ControlFlow::Continue(())) };
    let mut column = Column::default();
    for index in 0..selection.len() {
        if let ControlFlow::Break(value) = walk(selection, index, bounds, &mut column, &mut visit)? {
            return Ok(ControlFlow::Break(value));
        }
    }
    Ok(ControlFlow::Continue(()))
}
