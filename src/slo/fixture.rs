//! A store in memory for tests: series with their samples.

use crate::base::clock::Millis;
use crate::metrics::changes::Token;
use crate::model::labels::Labels;
use crate::promql::source::{Column, Select, SeriesSet, Source, SourceError};
use crate::slo::view::History;

/// Series ascend by labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(pub(super) Vec<(Labels, Column)>);

struct Found(Vec<(Labels, Column)>);

impl Memory {
    /// Adds a series; times in milliseconds.
    pub(super) fn add(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        samples: impl IntoIterator<Item = (Millis, f64)>,
    ) {
        let pairs = labels.iter().copied().chain([("__name__", name)]);
        let mut column = Column::default();
        samples.into_iter().for_each(|(time, value)| column.push_float(time, 0, value));
        self.0.push((Labels::from_pairs(pairs), column));
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
    }
}

impl Source for Memory {
    fn select(&self, select: &Select) -> Result<Box<dyn SeriesSet>, SourceError> {
        let matches = |labels: &Labels| {
            select.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or_default()))
        };
        let cut = |column: &Column| {
            let mut part = Column::default();
            let first = column.times.partition_point(|time| *time < select.mint);
            let end = column.times.partition_point(|time| *time <= select.maxt);
            for at in first..end.max(first) {
                let time = column.times[at];
                match column.histograms.get(at) {
                    Some(Some(histogram)) => part.push_histogram(time, 0, histogram.clone()),
                    _ => part.push_float(time, column.starts.get(at).copied().unwrap_or(0), column.values[at]),
                }
            }
            part
        };
        let found = self.0.iter().filter(|(labels, _)| matches(labels)).map(|(labels, c)| (labels.clone(), cut(c)));
        Ok(Box::new(Found(found.filter(|(_, column)| !column.is_empty()).collect())))
    }
}

impl SeriesSet for Found {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.0[index].0
    }

    fn read(&self, index: usize, column: &mut Column) -> Result<(), SourceError> {
        *column = self.0[index].1.clone();
        Ok(())
    }
}

/// Nothing is written after it was made.
impl History for Memory {
    fn source(&self) -> &dyn Source {
        self
    }

    fn changed_since(&self, _mark: &mut Option<Token>) -> Millis {
        Millis::MAX
    }
}
