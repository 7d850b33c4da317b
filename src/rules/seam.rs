//! What rules need of the world: a place to query and write, and somebody who takes alerts.

use std::fmt::Debug;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::model::sample::Value;
use crate::promql::ast::Expr;
use crate::promql::eval::Common;
use crate::rules::alert::Alert;

/// One series of a result, or one sample to write.
#[derive(Clone, Debug)]
pub struct RuleSample {
    pub labels: Labels,
    pub time: Millis,
    pub value: Value,
}

/// A store that rules read and write. Calls block; they come from threads that may.
pub trait Backend: Send + Sync {
    /// The instant vector that an expression gives at a time; a scalar is one sample without labels. `text` is what the
    /// expression was parsed from, for annotations and logs.
    fn query(&self, text: &str, expr: &Expr, time: Millis) -> Result<Vec<RuleSample>, String>;

    /// As [`Self::query`], for one of several queries of the same time that have parts in common.
    fn query_in_common(
        &self,
        (text, expr): (&str, &Expr),
        time: Millis,
        _common: &Common,
    ) -> Result<Vec<RuleSample>, String> {
        self.query(text, expr, time)
    }

    /// Writes samples and staleness markers of several rules; one result for each. On return, what was accepted can be
    /// queried. The error is the first that matters; samples that were refused because the series already has another one
    /// at that time, or is newer, matter only where they are no staleness markers.
    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>>;

    /// Whether somebody sent a sample of the metric in the time before that a query looks back over. What cannot say so
    /// says yes.
    fn is_sent(&self, _metric: &str, _time: Millis) -> bool {
        true
    }

    /// The metric that somebody sends and that comes nearest to a name.
    fn near_metric(&self, _name: &str) -> Option<String> {
        None
    }

    /// Whether anything was written since this was last asked. What cannot say so says no.
    fn has_changed(&self) -> bool {
        false
    }

    /// The newest sample of each series that match in a range, both ends included.
    fn last_samples(&self, _matchers: &[Matcher], _range: (Millis, Millis)) -> Result<Vec<RuleSample>, String> {
        Ok(Vec::new())
    }
}

/// Takes alerts that fire or were resolved; called after each evaluation of a rule, from threads that may block.
/// Delivery, grouping and repetition are the sink's. An alert comes again every minute while it fires and for 15 minutes
/// after it was resolved, so that a sink that forgot it learns of it again.
pub trait AlertSink: Send + Sync + Debug {
    /// `query` is the rule's expression, for links back to a graph.
    fn take(&self, query: &str, alerts: &[Alert]);
}

/// Nobody is interested.
#[derive(Clone, Copy, Debug)]
pub struct NoSink;

impl AlertSink for NoSink {
    fn take(&self, _query: &str, _alerts: &[Alert]) {}
}
