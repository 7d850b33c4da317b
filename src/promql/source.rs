//! Where samples come from: the only door from the language to a store.

use std::sync::Arc;

use crate::model::histogram::Histogram;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;

/// What a selector of a query will need.
#[derive(Clone, Debug)]
pub struct Select {
    pub matchers: Vec<Matcher>,
    /// First and last millisecond that may be read, both included.
    pub mint: i64,
    pub maxt: i64,
    pub hints: Hints,
}

/// What the selector is for, so that a store may answer from a coarser tier or without decoding.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Milliseconds between evaluations; 0 for an instant query.
    pub step: i64,
    /// Width of the range selector in milliseconds; 0 for an instant selector.
    pub range: i64,
    /// The function or aggregation directly around the selector, or empty.
    pub function: &'static str,
    /// Only labels are asked for: `read` will not be called.
    pub labels_only: bool,
    /// Every sample is looked at by itself: none may stand for others.
    pub raw: bool,
    /// Only the newest sample of each series is looked at: older ones may be left out.
    pub newest: bool,
}

/// A store, seen by the language.
pub trait Source: Send + Sync {
    /// The series that match and may have samples in the range, in ascending order of labels. The set is a snapshot:
    /// what is appended later may or may not be seen by `read`, but nothing that was there at the call goes missing.
    fn select(&self, select: &Select) -> Result<Box<dyn SeriesSet>, SourceError>;

    /// How wide the windows are that would mostly answer a selection in place of samples, in milliseconds; 0 for none.
    fn window(&self, _: &Select) -> i64 {
        0
    }
}

/// The series that a [`Select`] found. `read` may be called from several threads at once.
pub trait SeriesSet: Send + Sync {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Labels of series `index`, which is below `len()`.
    fn labels(&self, index: usize) -> &Labels;

    /// Appends the samples of series `index` inside the range of the select, ascending in time, to a cleared column; the
    /// newest at least, where no others were asked for.
    fn read(&self, index: usize, column: &mut Column) -> Result<(), SourceError>;

    /// Where the samples read so far came from, for `explain`.
    fn tier(&self) -> &'static str {
        "raw"
    }

    /// What the answer lacks or was made from, as texts for `warnings` and `infos` of the API.
    fn notes(&self) -> Notes {
        Notes::default()
    }
}

/// Texts that go with an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
}

/// The samples of one series, by column. Reused between series to keep its allocations.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Milliseconds, ascending, without repeats.
    pub times: Vec<i64>,
    /// One for each time; unspecified where `histograms` has one. Staleness markers are kept bit for bit.
    pub values: Vec<f64>,
    /// Empty where the series has only floats, else one entry for each time.
    pub histograms: Vec<Option<Arc<Histogram>>>,
    /// Start timestamps, 0 where unknown. Empty where none is known, else one for each time.
    pub starts: Vec<i64>,
    /// How many samples each entry stands for; empty where each is a sample. An entry may stand for its neighbours only
    /// where `Hints::function` is one of those that keep the answer: a sum for `sum_over_time`, `avg_over_time` and
    /// `count_over_time`, the first and the last for `rate`, `increase` and `delta`, and so on.
    pub weights: Vec<u32>,
}

impl Column {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Bytes that the samples take.
    pub fn bytes(&self) -> u64 {
        let histograms =
            self.histograms.iter().flatten().map(|histogram| histogram.size_in_samples() * 16).sum::<u64>();
        ((self.times.len() + self.values.len() + self.starts.len()) * 8) as u64 + histograms
    }

    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
        self.weights.clear();
    }

    /// Appends the samples of another column, which are all later. It is left empty.
    pub fn append(&mut self, later: &mut Self) {
        let (before, added) = (self.len(), later.len());
        fill(&mut self.histograms, &mut later.histograms, (before, added), None);
        fill(&mut self.starts, &mut later.starts, (before, added), 0);
        fill(&mut self.weights, &mut later.weights, (before, added), 1);
        self.times.append(&mut later.times);
        self.values.append(&mut later.values);
    }

    /// Takes the samples from place `at` on away.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        fn tail<T>(all: &mut Vec<T>, at: usize) -> Vec<T> {
            if at < all.len() { all.split_off(at) } else { Vec::new() }
        }
        Self {
            times: tail(&mut self.times, at),
            values: tail(&mut self.values, at),
            histograms: tail(&mut self.histograms, at),
            starts: tail(&mut self.starts, at),
            weights: tail(&mut self.weights, at),
        }
    }

    /// Takes the place of a cleared column with the entries of another in `mint..=maxt`.
    pub fn copy_range(&mut self, other: &Self, mint: i64, maxt: i64) {
        fn copy<T: Clone>(to: &mut Vec<T>, from: &[T], range: &std::ops::Range<usize>) {
            to.extend_from_slice(from.get(range.clone()).unwrap_or(&[]));
        }
        let range = other.times.partition_point(|time| *time < mint)..other.times.partition_point(|time| *time <= maxt);
        copy(&mut self.times, &other.times, &range);
        copy(&mut self.values, &other.values, &range);
        copy(&mut self.histograms, &other.histograms, &range);
        copy(&mut self.starts, &other.starts, &range);
        copy(&mut self.weights, &other.weights, &range);
    }

    /// Lets the last entry stand for `weight` samples.
    pub fn weigh_last(&mut self, weight: u32) {
        if weight != 1 || !self.weights.is_empty() {
            self.weights.resize(self.times.len(), 1);
            if let Some(last) = self.weights.last_mut() {
                *last = weight;
            }
        }
    }

    /// Appends a float. `start` is 0 where unknown.
    pub fn push_float(&mut self, time: i64, start: i64, value: f64) {
        self.push_start(start);
        self.times.push(time);
        self.values.push(value);
        if !self.histograms.is_empty() {
            self.histograms.push(None);
        }
        if !self.weights.is_empty() {
            self.weights.push(1);
        }
    }

    /// Appends a native histogram. `start` is 0 where unknown.
    pub fn push_histogram(&mut self, time: i64, start: i64, histogram: Arc<Histogram>) {
        self.push_start(start);
        self.histograms.resize(self.times.len(), None);
        self.histograms.push(Some(histogram));
        self.times.push(time);
        self.values.push(0.0);
        if !self.weights.is_empty() {
            self.weights.push(1);
        }
    }

    fn push_start(&mut self, start: i64) {
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
            self.starts.push(start);
        }
    }
}

/// Appends a part of a column that may be left out, which is said by its being empty, on either side.
fn fill<T: Clone>(part: &mut Vec<T>, later: &mut Vec<T>, (before, added): (usize, usize), absent: T) {
    if part.is_empty() && later.is_empty() {
        return;
    }
    part.resize(before, absent.clone());
    part.append(later);
    part.resize(before + added, absent);
}

/// Why a store could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    Storage(String),
    #[error("query was cancelled")]
    Cancelled,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_after_floats_fills_the_column() {
        let mut column = Column::default();
        column.push_float(1, 0, 2.0);
        column.push_histogram(2, 1, Arc::new(Histogram::default()));
        column.push_float(3, 0, 4.0);
        assert_eq!(column.histograms.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(column.starts, [0, 1, 0]);
    }

    #[test]
    fn parts_that_one_side_leaves_out_are_filled_when_columns_are_joined() {
        let mut all = Column::default();
        all.push_float(1, 0, 1.0);
        let mut later = Column::default();
        later.push_histogram(2, 1, Arc::new(Histogram::default()));
        later.weigh_last(3);
        all.append(&mut later);
        let mut last = Column::default();
        last.push_float(3, 0, 3.0);
        all.append(&mut last);
        assert!(later.is_empty() && later.histograms.is_empty());
        assert_eq!((&*all.times, &*all.starts, &*all.weights), (&[1, 2, 3][..], &[0, 1, 0][..], &[1, 3, 1][..]));
        assert_eq!(all.histograms.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
        let tail = all.split_off(1);
        assert_eq!((&*all.times, &*tail.times, &*tail.weights), (&[1][..], &[2, 3][..], &[3, 1][..]));
    }
}
