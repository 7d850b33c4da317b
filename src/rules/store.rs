//! The store of this process as rules use it.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::clock::Millis;
use crate::metrics::changes::Token;
use crate::metrics::refusal::Refusal;
use crate::metrics::{Appender, Origin, Store};
use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::matcher::{MatchOp, Matcher};
use crate::model::sample::{self, Value};
use crate::promql::ast::Expr;
use crate::promql::eval::{self, Common, QueryOptions, QueryValue};
use crate::promql::source::{Column, Hints, Select, SeriesSet as _, Source};
use crate::rules::near::near_metric;
use crate::rules::seam::{Backend, RuleSample};

/// Names among which the nearest is looked for.
const NAMES_MAX: usize = 100_000;

/// Evaluates over the store and writes to it. Rules are the operator's own work, so they do not wait behind the queries
/// of dashboards; they have the same limit on samples.
#[derive(Debug)]
pub struct StoreBackend {
    store: Arc<Store>,
    options: QueryOptions,
    /// When it was last asked whether anything changed.
    seen: Mutex<Token>,
}

impl StoreBackend {
    pub fn new(store: Arc<Store>, options: QueryOptions) -> Self {
        let seen = Mutex::new(store.changes().token());
        Self { store, options, seen }
    }
}

impl Backend for StoreBackend {
    fn query(&self, text: &str, expr: &Expr, time: Millis) -> Result<Vec<RuleSample>, String> {
        vector(&*self.store, (text, expr), time, &self.options)
    }

    fn query_in_common(&self, query: (&str, &Expr), time: Millis, common: &Common) -> Result<Vec<RuleSample>, String> {
        let options = QueryOptions { common: Some(common.clone()), ..self.options.clone() };
        vector(&*self.store, query, time, &options)
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        if batches.iter().all(Vec::is_empty) {
            return vec![Ok(()); batches.len()];
        }
        // The interval of a group may be shorter than the dedup window.
        let mut appender = self.store.appender(Origin::new("rules").without_dedup());
        let mut results = Vec::with_capacity(batches.len());
        for batch in batches {
            let mut result = Ok(());
            for sample in batch {
                let appended = appender.series(sample.labels.as_encoded()).and_then(|series| match &sample.value {
                    Value::Float(value) => appender.float(series, sample.time, 0, *value),
                    Value::Histogram(histogram) => appender.histogram(series, sample.time, 0, histogram),
                });
                if let Err(refusal) = appended
                    && matters(&refusal, sample)
                    && result.is_ok()
                {
                    result = Err(refusal.to_string());
                }
            }
            results.push(result);
        }
        Self::commit(appender, results)
    }

    fn is_sent(&self, metric: &str, time: Millis) -> bool {
        let Ok(matcher) = Matcher::new(MatchOp::Equal, METRIC_NAME, metric) else { return true };
        !self.store.select(&[matcher], time - self.options.lookback, time).is_empty()
    }

    fn near_metric(&self, name: &str) -> Option<String> {
        let known = self.store.label_values(METRIC_NAME, &[], (i64::MIN, i64::MAX), NAMES_MAX).items;
        near_metric(name, known.iter().map(String::as_str)).map(str::to_owned)
    }

    fn has_changed(&self) -> bool {
        let now = self.store.changes().token();
        std::mem::replace(&mut *self.seen.lock(), now) != now
    }

    fn last_samples(&self, matchers: &[Matcher], range: (Millis, Millis)) -> Result<Vec<RuleSample>, String> {
        last_samples(&*self.store, matchers, range)
    }
}

impl StoreBackend {
    fn commit(appender: Appender<'_>, results: Vec<Result<(), String>>) -> Vec<Result<(), String>> {
        match appender.commit().wait() {
            Ok(_) => results,
            Err(error) => results.into_iter().map(|result| result.and(Err(error.to_string()))).collect(),
        }
    }
}

/// The newest sample of each series that a source has in a range.
pub fn last_samples(
    source: &dyn Source,
    matchers: &[Matcher],
    (mint, maxt): (Millis, Millis),
) -> Result<Vec<RuleSample>, String> {
    let select = Select { matchers: matchers.to_vec(), mint, maxt, hints: Hints::default() };
    let found = source.select(&select).map_err(|error| error.to_string())?;
    let mut column = Column::default();
    let mut samples = Vec::new();
    for index in 0..found.len() {
        column.clear();
        found.read(index, &mut column).map_err(|error| error.to_string())?;
        // A marker that the series ended says nothing about when it was last seen.
        let last = column.times.iter().zip(&column.values).rev().find(|(_, value)| !sample::is_stale(**value));
        if let Some((time, value)) = last {
            let labels = found.labels(index).clone();
            samples.push(RuleSample { labels, time: *time, value: Value::Float(*value) });
        }
    }
    Ok(samples)
}

/// A staleness marker may be refused because another rule writes the series now.
fn matters(refusal: &Refusal, sample: &RuleSample) -> bool {
    let is_marker = matches!(sample.value, Value::Float(value) if sample::is_stale(value));
    !(is_marker && matches!(refusal, Refusal::DuplicateTimestamp { .. } | Refusal::TooOld { .. }))
}

/// The instant vector that an expression gives over any source; a scalar becomes an element without labels.
pub fn vector(
    source: &dyn Source,
    (text, expr): (&str, &Expr),
    time: Millis,
    options: &QueryOptions,
) -> Result<Vec<RuleSample>, String> {
    let outcome = eval::instant(source, text, expr, time, options).map_err(|error| error.to_string())?;
    match outcome.value {
        QueryValue::Vector(samples) => Ok(samples
            .into_iter()
            .map(|sample| RuleSample { labels: sample.labels, time: sample.time, value: sample.value })
            .collect()),
        QueryValue::Scalar { time, value } => {
            Ok(vec![RuleSample { labels: Labels::empty(), time, value: Value::Float(value) }])
        }
        QueryValue::String { .. } | QueryValue::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}
