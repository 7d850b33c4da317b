//! How differences of samples are extrapolated to the edges of their window.

use std::ops::Range;

use super::windows::{Windows, samples_in};

/// How the samples of a window lie in it: all that the extrapolation needs besides values. Seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    sampled: f64,
    /// From the edges of the window to the samples next to them, as far as it is extrapolated.
    to_start: f64,
    to_end: f64,
    /// By what a difference is multiplied if nothing is below 0.
    pub(super) factor: f64,
    /// A start timestamp inside the window says that the counter was 0 then.
    pub(super) starts_inside: bool,
}

impl Shape {
    /// A difference is extrapolated up to an edge that is about as far away as samples are from each other, else half
    /// that far.
    pub(super) fn new(
        windows: &Windows<'_>,
        step: usize,
        window: &Range<usize>,
        (times, starts, before): (&[i64], &[i64], &[u64]),
    ) -> Self {
        let end = windows.end(step);
        let begin = end - windows.range;
        let (first, last) = (times[window.start], times[window.end - 1]);
        let mut to_start = (first - begin) as f64 / 1000.0;
        let mut to_end = (end - last) as f64 / 1000.0;
        let mut sampled = (last - first) as f64 / 1000.0;
        let more = samples_in(window, before).saturating_sub(1);
        let between = if more > 0 { sampled / more as f64 } else { 0.0 };
        let threshold = between * 1.1;
        let start = starts.get(window.start).filter(|start| **start != 0 && **start > begin && **start < first);
        if let Some(start) = start {
            to_start = 0.0;
            sampled = (last - start) as f64 / 1000.0;
        } else if to_start >= threshold {
            to_start = between / 2.0;
        }
        if to_end >= threshold {
            to_end = between / 2.0;
        }
        let mut shape = Self { sampled, to_start, to_end, factor: 0.0, starts_inside: start.is_some() };
        shape.factor = shape.factor_from(to_start);
        shape
    }

    fn factor_from(&self, to_start: f64) -> f64 {
        if self.sampled == 0.0 { 1.0 } else { (self.sampled + to_start + self.to_end) / self.sampled }
    }

    /// The factor for a counter that rose by `increase` from `first`: never from where it would be below 0.
    #[inline]
    pub(super) fn counter_factor(&self, first: f64, increase: f64) -> f64 {
        let falls_below =
            !self.starts_inside && increase > 0.0 && first >= 0.0 && first * self.sampled < self.to_start * increase;
        if falls_below { self.factor_from((self.sampled * (first / increase)).min(self.to_start)) } else { self.factor }
    }
}
