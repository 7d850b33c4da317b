//! Which queries are answered on the spot: those that surely take less than handing them to another thread does.
//!
//! Decided by what indexes in memory say, before anything is read. Whatever may be slow is not quick: what has to come
//! from disk, subqueries, long texts, regular expressions.

use crate::metrics::Store;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::ast::{DurationExpr, Expr, ExprKind, VectorSelector};
use crate::promql::functions::lookup;
use crate::promql::source::{Hints, Select};
use crate::query::evaluate::Request;
use crate::query::{Lane, walk};

/// Bytes of a query text.
const TEXT_MAX: usize = 512;

/// Series of one query.
const SERIES_MAX: usize = 128;

/// Samples that one query looks at, at one a second. They take about a quarter of a millisecond.
const SAMPLES_MAX: i64 = 50_000;

/// Steps, and seconds that a window may look back at each of them.
const STEPS_MAX: i64 = 300;
const WINDOW_SECS_MAX: i64 = 600;

/// Label names or values in a listing.
const NAMES_MAX: usize = 2_000;

/// How a query comes to its turn. `lookback` in milliseconds.
pub fn lane(store: &Store, request: &Request, lookback: i64) -> Lane {
    if is_quick(store, request, lookback).unwrap_or(false) { Lane::AtOnce } else { Lane::Seat }
}

fn is_quick(store: &Store, request: &Request, lookback: i64) -> Option<bool> {
    let Request { query, expr, window, .. } = request;
    let span = window.end.checked_sub(window.start)?;
    let steps = if window.step > 0 { span / window.step + 1 } else { 1 };
    if query.len() > TEXT_MAX || steps > STEPS_MAX || !walk::nodes(expr).into_iter().all(|node| is_plain(node, steps)) {
        return Some(false);
    }
    let (mut series, mut samples) = (0, 0_i64);
    for Read { selector, range, function } in reads(expr)? {
        let (back, newest) = if range > 0 { (range, false) } else { (lookback, steps == 1) };
        let first = window.start.checked_sub(back)?;
        let select = Select {
            matchers: selector.matchers.clone(),
            mint: first.saturating_add(1),
            maxt: window.start.checked_add((steps - 1).checked_mul(window.step)?)?,
            hints: Hints { step: window.step, range, function, newest, ..Hints::default() },
        };
        let found = count(store, &select, SERIES_MAX.checked_sub(series)?)?;
        series += found;
        let each = if newest { 1 } else { back.checked_add(span)? / 1000 + 1 };
        samples = samples.checked_add(each.checked_mul(found as i64)?)?;
    }
    Some(series <= SERIES_MAX && samples <= SAMPLES_MAX)
}

/// Whether a node costs no more than its series have samples.
fn is_plain(node: &Expr, steps: i64) -> bool {
    match &node.kind {
        ExprKind::Subquery(_) => false,
        // Regular expressions are compiled for these; others join.
        ExprKind::Call(call) => !matches!(&*call.function, "label_replace" | "info"),
        ExprKind::Selector(selector) => is_fixed(selector),
        ExprKind::Matrix(matrix) => {
            let short = |range: i64| steps == 1 || range / 1000 <= WINDOW_SECS_MAX;
            is_fixed(&matrix.selector) && matches!(matrix.range, DurationExpr::Literal(range) if short(range))
        }
        _ => true,
    }
}

/// Looks back from the steps of the query.
fn is_fixed(selector: &VectorSelector) -> bool {
    selector.at.is_none() && selector.offset.is_none()
}

/// A selector and what it is for.
struct Read<'a> {
    selector: &'a VectorSelector,
    /// 0 for an instant selector.
    range: i64,
    function: &'static str,
}

/// Every selector; `None` where that is not plain to see.
fn reads(expr: &Expr) -> Option<Vec<Read<'_>>> {
    let mut reads = Vec::new();
    let mut function = "";
    for node in walk::nodes(expr) {
        match &node.kind {
            ExprKind::Selector(selector) => reads.push(Read { selector, range: 0, function: "" }),
            // Range selectors come right behind their call, but for scalars before them.
            ExprKind::Matrix(matrix) => match matrix.range {
                DurationExpr::Literal(range) => reads.push(Read { selector: &matrix.selector, range, function }),
                DurationExpr::Computed(_) => return None,
            },
            ExprKind::Call(call) => function = lookup(&call.function)?.name,
            _ => {}
        }
    }
    Some(reads)
}

/// How many series a selector finds, if that is known at once.
fn count(store: &Store, select: &Select, most: usize) -> Option<usize> {
    let exact = select.matchers.iter().all(|matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::NotEqual));
    exact.then(|| store.count_few(select, most))?
}

/// How a listing of series comes to its turn.
pub fn lane_of_series(store: &Store, sets: &[Vec<Matcher>], (mint, maxt): (i64, i64)) -> Lane {
    let few = |set: &Vec<Matcher>| {
        let hints = Hints { labels_only: true, ..Hints::default() };
        count(store, &Select { matchers: set.clone(), mint, maxt, hints }, SERIES_MAX).is_some()
    };
    if sets.len() == 1 && sets.iter().all(few) { Lane::AtOnce } else { Lane::Seat }
}

/// How a listing of label names comes to its turn, or of the values of one.
pub fn lane_of_labels(store: &Store, name: Option<&str>, sets: &[Vec<Matcher>], range: (i64, i64)) -> Lane {
    let few = sets.is_empty() || lane_of_series(store, sets, range) == Lane::AtOnce;
    if few && store.has_few_names(name, range, NAMES_MAX) { Lane::AtOnce } else { Lane::Seat }
}
