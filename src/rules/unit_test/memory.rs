//! A store in memory, in which nobody sees what is later than the time of the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::model::sample::Value;
use crate::promql::ast::Expr;
use crate::promql::eval::{Common, QueryOptions};
use crate::promql::source::{Column, Select, SeriesSet, Source, SourceError};
use crate::rules::seam::{Backend, RuleSample};
use crate::rules::store::{last_samples, vector};

type Samples = BTreeMap<Millis, Value>;

#[derive(Default)]
pub struct Memory {
    series: Mutex<BTreeMap<Labels, Arc<Samples>>>,
    /// The last time that can be seen.
    now: AtomicI64,
    options: QueryOptions,
}

impl Memory {
    pub fn new(options: QueryOptions) -> Self {
        Self { options, ..Self::default() }
    }

    pub fn put(&self, labels: &Labels, time: Millis, value: Value) {
        let mut series = self.series.lock();
        if !series.contains_key(labels) {
            series.insert(labels.clone(), Arc::default());
        }
        if let Some(samples) = series.get_mut(labels) {
            Arc::make_mut(samples).insert(time, value);
        }
    }

    /// Everything that is stored, as Go prints a matrix.
    pub fn listed(&self) -> Vec<String> {
        let series = self.series.lock();
        let lines = |(labels, samples): (&Labels, &Arc<Samples>)| {
            let points = samples.iter().map(|(time, value)| {
                let value = match value {
                    Value::Float(value) => crate::model::float_text::plain(*value),
                    Value::Histogram(histogram) => histogram.to_string(),
                };
                format!("{value} @[{time}]")
            });
            std::iter::once(format!("{labels} =>")).chain(points).collect::<Vec<_>>()
        };
        series.iter().flat_map(lines).collect()
    }

    pub fn set_now(&self, now: Millis) {
        self.now.store(now, Ordering::Relaxed);
    }
}

impl Backend for Memory {
    fn query(&self, text: &str, expr: &Expr, time: Millis) -> Result<Vec<RuleSample>, String> {
        vector(self, (text, expr), time, &self.options)
    }

    fn query_in_common(&self, query: (&str, &Expr), time: Millis, common: &Common) -> Result<Vec<RuleSample>, String> {
        let options = QueryOptions { common: Some(common.clone()), ..self.options.clone() };
        vector(self, query, time, &options)
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        for sample in batches.iter().flatten() {
            self.put(&sample.labels, sample.time, sample.value.clone());
        }
        vec![Ok(()); batches.len()]
    }

    fn last_samples(&self, matchers: &[Matcher], range: (Millis, Millis)) -> Result<Vec<RuleSample>, String> {
        last_samples(self, matchers, range)
    }
}

impl Source for Memory {
    fn select(&self, select: &Select) -> Result<Box<dyn SeriesSet>, SourceError> {
        let maxt = select.maxt.min(self.now.load(Ordering::Relaxed));
        let mint = select.mint;
        let fits = |labels: &Labels| {
            select.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
        };
        let series = self.series.lock();
        let found = series
            .iter()
            .filter(|(labels, samples)| mint <= maxt && samples.range(mint..=maxt).next().is_some() && fits(labels))
            .map(|(labels, samples)| (labels.clone(), Arc::clone(samples)))
            .collect();
        Ok(Box::new(Found { series: found, mint, maxt }))
    }
}

struct Found {
    series: Vec<(Labels, Arc<Samples>)>,
    mint: Millis,
    maxt: Millis,
}

impl SeriesSet for Found {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        // The contract: `index` is below `len()`.
        &self.series[index].0
    }

    fn read(&self, index: usize, column: &mut Column) -> Result<(), SourceError> {
        let Some((_, samples)) = self.series.get(index) else { return Ok(()) };
        for (time, value) in samples.range(self.mint..=self.maxt) {
            match value {
                Value::Float(value) => column.push_float(*time, 0, *value),
                Value::Histogram(histogram) => column.push_histogram(*time, 0, Arc::clone(histogram)),
            }
        }
        Ok(())
    }
}
