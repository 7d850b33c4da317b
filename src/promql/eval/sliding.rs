//! Folding the samples of each window, in time proportional to samples plus steps.
//!
//! Windows that overlap a lot are folded with two stacks: one holds the folds of all suffixes of older samples, the
//! other the fold of newer samples, and a window is the join of one of the former with the latter. Nothing is ever
//! subtracted, so that no error accumulates from window to window. Windows that overlap little are folded one by one
//! from left to right, which gives the same bits as Prometheus.

use std::ops::Range;

/// From this many visits a sample on, two stacks are cheaper than a fold for each window.
const VISITS_MAX: usize = 4;

/// Whether folding each window by itself is cheap.
pub(super) fn is_sparse(samples: usize, bounds: &[Range<u32>]) -> bool {
    let visits: usize = bounds.iter().map(|window| (window.end - window.start) as usize).sum();
    visits <= samples.saturating_mul(VISITS_MAX)
}

/// Folds each window that is not empty and calls `emit` with its step. `bounds` ascend at both ends.
pub(super) fn fold_windows<S: Copy>(
    samples: usize,
    bounds: &[Range<u32>],
    lift: impl Fn(usize) -> S,
    join: impl Fn(S, S) -> S,
    emit: impl FnMut(usize, S),
) {
    let fold = |run: Range<usize>| (run.start + 1..run.end).fold(lift(run.start), |state, at| join(state, lift(at)));
    fold_runs(samples, bounds, fold, &join, emit);
}

/// As [`fold_windows`], with a function that folds a run of samples at a time, of which there is at least one.
pub(super) fn fold_runs<S: Copy>(
    samples: usize,
    bounds: &[Range<u32>],
    fold: impl Fn(Range<usize>) -> S,
    join: impl Fn(S, S) -> S,
    mut emit: impl FnMut(usize, S),
) {
    if is_sparse(samples, bounds) {
        for (step, window) in bounds.iter().enumerate() {
            let (first, last) = (window.start as usize, window.end as usize);
            if first < last {
                emit(step, fold(first..last));
            }
        }
        return;
    }
    let segments = Segments::new(bounds);
    if segments.edges.len() * 2 > samples {
        two_stacks(bounds, |at| fold(at..at + 1), join, emit);
        return;
    }
    // Between the edges of windows samples always go together: they are folded once, and windows are of folds.
    let folds: Vec<S> = segments.edges.windows(2).map(|edge| fold(edge[0] as usize..edge[1] as usize)).collect();
    two_stacks(&segments.bounds, |at| folds[at], join, emit);
}

/// The pieces into which the edges of windows cut the samples.
struct Segments {
    /// Where pieces begin, and where the last one ends.
    edges: Vec<u32>,
    /// The pieces of each window.
    bounds: Vec<Range<u32>>,
}

impl Segments {
    fn new(windows: &[Range<u32>]) -> Self {
        let filled = || windows.iter().filter(|window| window.start < window.end);
        let mut edges = Vec::with_capacity(windows.len() + 2);
        // Starts and ends ascend each by itself: merging them keeps them in order.
        let mut ends = filled().map(|window| window.end).peekable();
        for start in filled().map(|window| window.start) {
            while let Some(end) = ends.next_if(|end| *end <= start) {
                push_new(&mut edges, end);
            }
            push_new(&mut edges, start);
        }
        ends.for_each(|end| push_new(&mut edges, end));
        let (mut from, mut to) = (0, 0);
        let bounds = windows
            .iter()
            .map(|window| {
                if window.start >= window.end {
                    return 0..0;
                }
                while edges[from] < window.start {
                    from += 1;
                }
                while edges[to] < window.end {
                    to += 1;
                }
                from as u32..to as u32
            })
            .collect();
        Self { edges, bounds }
    }
}

fn push_new(edges: &mut Vec<u32>, edge: u32) {
    if edges.last() != Some(&edge) {
        edges.push(edge);
    }
}

/// Folds windows with two stacks: suffixes of older items, and one running fold of newer ones.
fn two_stacks<S: Copy>(
    bounds: &[Range<u32>],
    lift: impl Fn(usize) -> S,
    join: impl Fn(S, S) -> S,
    mut emit: impl FnMut(usize, S),
) {
    // Folds of `[at, middle)` for each `at` from `base` on, and of `[middle, end)`.
    let mut suffixes: Vec<S> = Vec::new();
    let (mut base, mut middle, mut end) = (0, 0, 0);
    let mut newer: Option<S> = None;
    for (step, window) in bounds.iter().enumerate() {
        let (first, last) = (window.start as usize, window.end as usize);
        if first >= last {
            continue;
        }
        if first >= middle {
            suffixes.clear();
            let mut state = lift(last - 1);
            suffixes.push(state);
            for at in (first..last - 1).rev() {
                state = join(lift(at), state);
                suffixes.push(state);
            }
            suffixes.reverse();
            (base, middle, end, newer) = (first, last, last, None);
        }
        for at in end..last {
            newer = Some(newer.map_or_else(|| lift(at), |state| join(state, lift(at))));
        }
        end = end.max(last);
        let older = suffixes[first - base];
        emit(step, newer.map_or(older, |newer| join(older, newer)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_stacks_agree_with_a_fold_for_each_window() {
        let samples = 200_u32;
        for (width, stride) in [(1, 1), (7, 1), (50, 3), (50, 60), (200, 1)] {
            let bounds: Vec<Range<u32>> = (0..150)
                .map(|step| {
                    let last = (step * stride + 5).min(samples);
                    last.saturating_sub(width)..last
                })
                .collect();
            // Concatenation is associative but not commutative: the order shows.
            let mut seen = Vec::new();
            let join = |a: (usize, usize), b: (usize, usize)| {
                assert_eq!(a.1, b.0);
                (a.0, b.1)
            };
            fold_windows(samples as usize, &bounds, |at| (at, at + 1), join, |step, state| seen.push((step, state)));
            let expected: Vec<_> = bounds
                .iter()
                .enumerate()
                .filter(|(_, window)| !window.is_empty())
                .map(|(step, window)| (step, (window.start as usize, window.end as usize)))
                .collect();
            assert_eq!(seen, expected, "width {width}, stride {stride}");
        }
    }
}
