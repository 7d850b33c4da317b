//! From the series of the outermost node to what is answered.

use crate::model::sample::Value as SampleValue;

use super::cells::Series;
use super::error::EvalError;
use super::matching::is_metadata;
use super::outcome::{MatrixSeries, VectorSample};
use super::query::Frame;
use super::relabel::{Both, merge_equal};
use super::vector::Ready;

/// Leaves out empty series, and orders the others by labels. What [`finish`] left apart is joined here, where a series
/// can have a float and a histogram at the same time.
pub(super) fn tidy(matrix: &mut Vec<MatrixSeries>) {
    matrix.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
    matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
    matrix.dedup_by(|second, first| {
        let same = first.labels == second.labels;
        if same {
            first.floats.append(&mut second.floats);
            first.floats.sort_by_key(|(time, _)| *time);
            first.histograms.append(&mut second.histograms);
            first.histograms.sort_by_key(|(time, _)| *time);
        }
        same
    });
}

/// Removes the names that were to be removed, and joins what then is the same series. Where two of them have a float and
/// a histogram at one time, Prometheus gives both, or `at_once`, where a sample has one value only, the histogram.
pub(super) fn finish(mut ready: Ready, at_once: bool) -> Result<Vec<Series>, EvalError> {
    for series in &mut ready.series {
        if series.drop_name {
            series.labels = series.labels.filter(|name| !is_metadata(name));
        }
    }
    merge_equal(std::mem::take(&mut ready.series), if at_once { Both::Histogram } else { Both::Apart })
}

pub(super) fn sample(series: Series, time: i64) -> Option<VectorSample> {
    let value = match series.cells.histogram(0) {
        Some(histogram) => SampleValue::Histogram(histogram.clone()),
        None if series.cells.floats.get(0) => SampleValue::Float(series.cells.values[0]),
        None => return None,
    };
    Some(VectorSample { labels: series.labels, time, value })
}

pub(super) fn points(series: &Series, frame: Frame) -> MatrixSeries {
    let cells = &series.cells;
    let mut floats = Vec::with_capacity(cells.floats.count());
    floats.extend(cells.floats.ones().map(|step| (frame.time(step), cells.values[step])));
    let histograms = cells
        .histograms
        .iter()
        .enumerate()
        .filter_map(|(step, histogram)| Some((frame.time(step), histogram.clone()?)))
        .collect();
    MatrixSeries { labels: series.labels.clone(), floats, histograms }
}
