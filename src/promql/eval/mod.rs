//! Evaluation by column.
//!
//! A query is planned once its times are known ([`plan`]): durations are computed, `@` resolved, parts that do not
//! change over steps marked. Every node then gives all of its steps at once: a scalar column, or series with a column
//! each ([`cells`]). Selectors read each series once; windows slide over its samples ([`windows`], [`sliding`]);
//! aggregations take series in one by one ([`vector`], [`rows`]), so memory follows groups and not series; label work is
//! done once for each series ([`matching`]). Series are spread over the threads of the query.
//!
//! Results, annotations and errors are those of Prometheus 3.14 with every feature on, of which delayed removal of the
//! metric name is the one that shows most: a name stays until the end, flagged.
//!
//! Promises: nothing is evaluated twice; the sample budget and the cancel flag are looked at for each series; no
//! panics on any data. Not done here: parsing, limits on time (somebody sets the cancel flag), formatting of answers.

mod aggregate;
mod call;
mod cells;
mod changes;
mod choose;
mod classic;
mod elements;
mod elementwise;
mod error;
mod evaluate;
mod extended;
mod extrapolate;
mod info;
mod instants;
mod joint;
mod matching;
mod memo;
mod notes;
mod order;
mod outcome;
mod over_time;
mod plan;
mod query;
mod rates;
mod relabel;
mod results;
mod rows;
mod scan;
mod shared;
mod sliding;
mod tally;
mod trace;
mod trend;
mod vector;
mod windows;

pub use error::{ErrorKind, EvalError};
pub use memo::{Common, Memo, Parts};
pub use outcome::{
    Explained, MatrixSeries, Outcome, Pool, QueryOptions, QueryValue, Stats, StepSamples, VectorSample, Window,
};

use crate::promql::ast::Expr;
use crate::promql::source::Source;

/// Evaluates at one time (milliseconds). `query` is the text that `expr` was parsed from.
pub fn instant(
    source: &dyn Source,
    query: &str,
    expr: &Expr,
    time: i64,
    options: &QueryOptions,
) -> Result<Outcome, EvalError> {
    evaluate::instant(source, (query, expr), time, options)
}

/// Evaluates at each step of a window. `query` is the text that `expr` was parsed from.
pub fn range(
    source: &dyn Source,
    query: &str,
    expr: &Expr,
    window: Window,
    options: &QueryOptions,
) -> Result<Outcome, EvalError> {
    evaluate::range(source, (query, expr), window, options)
}
