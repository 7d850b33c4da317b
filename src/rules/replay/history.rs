//! Stored history as a replay sees it.

use std::sync::Arc;

use crate::base::clock::Millis;
use crate::metrics::Store;
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::promql::eval::{self, QueryOptions, QueryValue, Window};
use crate::promql::source::Source;
use crate::rules::rule::Rule;
use crate::rules::seam::{Backend as _, RuleSample};
use crate::rules::store::StoreBackend;

/// One series of a result, with its points ascending in time.
#[derive(Clone, Debug)]
pub struct Track {
    pub labels: Labels,
    pub points: Vec<(Millis, Value)>,
}

/// A place with history: a data folder, or a server.
pub trait History {
    /// What the expression of a rule gives at each step of a range, both ends included where they are on it.
    fn range(&self, rule: &Rule, range: (Millis, Millis), step: Millis) -> Result<Vec<Track>, String>;

    /// Writes samples; they can be queried on return.
    fn write(&self, samples: &[RuleSample]) -> Result<(), String>;
}

/// The store of this process.
pub struct StoreHistory {
    pub store: Arc<Store>,
    pub options: QueryOptions,
}

impl History for StoreHistory {
    fn range(&self, rule: &Rule, range: (Millis, Millis), step: Millis) -> Result<Vec<Track>, String> {
        tracks(&*self.store, rule, range, (step, &self.options))
    }

    fn write(&self, samples: &[RuleSample]) -> Result<(), String> {
        let backend = StoreBackend::new(Arc::clone(&self.store), self.options.clone());
        backend.append(&[samples.to_vec()]).into_iter().collect()
    }
}

/// The tracks of a rule over any source.
pub fn tracks(
    source: &dyn Source,
    rule: &Rule,
    (start, end): (Millis, Millis),
    (step, options): (Millis, &QueryOptions),
) -> Result<Vec<Track>, String> {
    let window = Window { start, end, step };
    let outcome = eval::range(source, &rule.query, &rule.expr, window, options).map_err(|error| error.to_string())?;
    let QueryValue::Matrix(series) = outcome.value else {
        return Err("rule result is not a vector or scalar".to_owned());
    };
    let track = |series: eval::MatrixSeries| {
        let floats = series.floats.into_iter().map(|(time, value)| (time, Value::Float(value)));
        let histograms = series.histograms.into_iter().map(|(time, value)| (time, Value::Histogram(value)));
        let mut points: Vec<(Millis, Value)> = floats.chain(histograms).collect();
        points.sort_by_key(|(time, _)| *time);
        Track { labels: series.labels, points }
    };
    Ok(series.into_iter().map(track).collect())
}
