//! What may come in: the times of samples, and the labels and the number of series.

use std::sync::atomic::Ordering;

use crate::model::labels::Labels;

use super::refusal::Refusal;
use super::store::Shared;

/// The times that samples may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admission {
    pub oldest: i64,
    pub newest: i64,
    pub future_ms: i64,
}

impl Admission {
    #[inline]
    pub(super) fn check(self, time: i64) -> Result<(), Refusal> {
        if time > self.newest {
            return Err(Refusal::TooFarInFuture { time, limit_ms: self.future_ms });
        }
        if time < self.oldest {
            return Err(Refusal::TooOld { time, oldest: self.oldest });
        }
        Ok(())
    }
}

impl Shared {
    /// A wall clock that jumped must not refuse or expire anything: of the clock's time and the time carried on since
    /// the start, the later one bounds the future, the earlier one the past.
    pub(super) fn admission(&self) -> Admission {
        let (low, high) = self.now_bounds();
        let config = &self.config;
        Admission {
            oldest: self.horizon_ms().map_or(i64::MIN, |retention| low.saturating_sub(retention)),
            newest: high.saturating_add(config.future_ms_max),
            future_ms: config.future_ms_max,
        }
    }

    /// Whether a new series with these labels fits the limits.
    pub(super) fn check_limits(&self, labels: &Labels) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        // Samples can leave for a block, series that are alive cannot: they get no more than the head is meant to have.
        let (used, limit) = (self.heap_bytes.load(Ordering::Relaxed), self.config.memory_bytes_max);
        if used > limit.saturating_add(limit / 4) {
            return Err(Refusal::MemoryLimit { used, limit });
        }
        let over = |value: usize, limit: usize| limit > 0 && value > limit;
        let mut count = 0;
        for (name, value) in labels.iter() {
            count += 1;
            if over(name.len(), limits.label_name_bytes_max) {
                return Err(Refusal::LabelNameTooLong { limit: limits.label_name_bytes_max });
            }
            if over(value.len(), limits.label_value_bytes_max) {
                return Err(Refusal::LabelValueTooLong { limit: limits.label_value_bytes_max });
            }
        }
        if count == 0 {
            return Err(Refusal::NoLabels);
        }
        if over(count, limits.labels_per_series_max) {
            return Err(Refusal::TooManyLabels { limit: limits.labels_per_series_max });
        }
        if over(self.series_total.load(Ordering::Relaxed) + 1, limits.series_max) {
            return Err(Refusal::SeriesLimit { limit: limits.series_max });
        }
        if limits.series_per_metric_max > 0 {
            let name = labels.metric_name();
            let count: usize = self.shards.iter().map(|shard| shard.lock().metric_len(name)).sum();
            if count >= limits.series_per_metric_max {
                return Err(Refusal::MetricSeriesLimit { limit: limits.series_per_metric_max });
            }
        }
        Ok(())
    }
}
