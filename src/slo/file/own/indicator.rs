//! What an objective of our form counts.

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::promql::ast::Expr;
use crate::slo::file::own::SloText;
use crate::slo::file::text::{self, At, Bound, BoundValue, Number, Reading, place, step, target};
use crate::slo::objective::Part;
use crate::slo::terms::{self, Comparison, Condition, Ratio, Reading as Read, Term};

/// The share that is asked for where an objective of latency has only a bound.
const LATENCY_TARGET: f64 = 0.99;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SliText {
    #[serde(rename = "type")]
    kind: Option<Kind>,
    query: Option<Spanned<String>>,
    good: Option<Spanned<String>>,
    #[serde(alias = "errors")]
    bad: Option<Spanned<String>>,
    total: Option<Spanned<String>>,
    threshold: Option<Spanned<Bound>>,
    op: Option<Spanned<String>>,
    /// Distance of evaluations where a query has to be evaluated.
    step: Option<Period>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Availability,
    Latency,
    #[serde(alias = "gauge")]
    Threshold,
    #[serde(alias = "events")]
    Ratio,
}

/// What was found.
pub(super) struct Indicator {
    pub(super) parts: Vec<Part>,
    pub(super) target: f64,
    pub(super) kind: &'static str,
    pub(super) notes: Vec<String>,
}

/// Parts of a composite are filled in when all files are read.
pub(super) fn composite(reading: &mut Reading<'_>, slo: &SloText, (name, at): (&str, At)) -> Option<Indicator> {
    if slo.sli.is_some() || slo.indicator.is_some() {
        reading.fault(at, format!("objective {name:?}: give sli or composite, not both"));
    }
    let target = shared_target(reading, slo, (name, at))?;
    Some(Indicator { parts: Vec::new(), target, kind: "composite", notes: Vec::new() })
}

pub(super) fn read(reading: &mut Reading<'_>, slo: &SloText, (name, at): (&str, At)) -> Option<Indicator> {
    let nothing = SliText::default();
    let sli = slo.sli.as_ref().map_or(&nothing, |sli| &sli.value);
    let step = step(sli.step);
    let query = sli.query.as_ref().or(slo.indicator.as_ref());
    if sli.good.is_some() || sli.bad.is_some() || sli.total.is_some() {
        if let Some(query) = query {
            reading.fault(place(query), "give query, or good or bad with total, not both");
            return None;
        }
        let ratio = counted(reading, sli, (at, step))?;
        let target = shared_target(reading, slo, (name, at))?;
        return Some(indicator(name, ratio, target, "availability"));
    }
    let Some(query) = query else {
        let why = format!("objective {name:?} needs sli: with query, or good or bad with total");
        reading.fault(slo.sli.as_ref().map_or(at, place), why);
        return None;
    };
    let bound = bound(reading, sli, slo);
    let is_latency = sli.kind == Some(Kind::Latency);
    let expr = reading.query(query)?;
    if is_latency {
        return latency(reading, (slo, &expr, step), (query, bound), (name, at));
    }
    let target = shared_target(reading, slo, (name, at))?;
    if let Some(bound) = bound {
        let op = bound.op.unwrap_or(if sli.kind == Some(Kind::Availability) {
            Comparison::GreaterEqual
        } else {
            Comparison::LessEqual
        });
        let condition = Condition { op, value: bound.value.in_unit_of(metric(&expr).as_deref()) };
        let ratio = reading.threshold(query, condition, step)?;
        return Some(indicator(name, ratio, target, "threshold"));
    }
    if sli.kind == Some(Kind::Threshold) {
        reading.fault(place(query), "a threshold indicator needs threshold:, such as \"< 0.1\"");
        return None;
    }
    availability(reading, query, (&expr, step), (name, target))
}

fn indicator(name: &str, ratio: Ratio, target: f64, kind: &'static str) -> Indicator {
    let mut notes = Vec::new();
    let is_evaluated = |terms: &[Term]| terms.iter().any(|term| matches!(term.reading, Read::Query { .. }));
    if is_evaluated(&ratio.numerator) || is_evaluated(&ratio.denominator) {
        notes.push(
            "the query is no quotient of counters, so it is evaluated at fixed steps and its answers are counted"
                .to_owned(),
        );
    }
    Indicator { parts: vec![text::part(name, ratio)], target, kind, notes }
}

/// Good or bad events with all events, or good with bad.
fn counted(reading: &mut Reading<'_>, sli: &SliText, (at, step): (At, Millis)) -> Option<Ratio> {
    let mut terms = |query: &Option<Spanned<String>>| query.as_ref().map(|query| reading.counter(query, step));
    let (good, bad, total) = (terms(&sli.good), terms(&sli.bad), terms(&sli.total));
    match (good, bad, total) {
        (Some(good), None, Some(total)) => Some(Ratio { numerator: good?, denominator: total?, is_complement: false }),
        (None, Some(bad), Some(total)) => Some(Ratio { numerator: bad?, denominator: total?, is_complement: true }),
        (Some(good), Some(bad), None) => {
            let (good, bad) = (good?, bad?);
            let denominator = good.iter().cloned().chain(bad).collect();
            Some(Ratio { numerator: good, denominator, is_complement: false })
        }
        _ => {
            reading.fault(at, "give good with total, bad with total, or good with bad");
            None
        }
    }
}

fn availability(
    reading: &mut Reading<'_>,
    query: &Spanned<String>,
    (expr, step): (&Expr, Millis),
    (name, target): (&str, f64),
) -> Option<Indicator> {
    let is_selector = matches!(expr.kind, crate::promql::ast::ExprKind::Selector(_));
    let is_counter = metric(expr).is_some_and(|metric| metric.ends_with("_total") || metric.ends_with("_count"));
    if is_counter && (is_selector || terms::sum(expr).is_some()) && terms::ratio(expr).is_none() {
        let why = "this counts events, and an objective needs a share of them: write good: and total:, or a query that divides";
        reading.fault(place(query), why);
        return None;
    }
    let ratio = reading.share(query, step)?;
    Some(indicator(name, ratio, target, "availability"))
}

/// The bound of values, with its operator.
fn bound(reading: &mut Reading<'_>, sli: &SliText, slo: &SloText) -> Option<Bound> {
    let mut bound = sli.threshold.as_ref().or(slo.threshold.as_ref())?.value.clone();
    if let Some(op) = &sli.op {
        match Comparison::from_text(&op.value) {
            Some(known) => bound.op = Some(known),
            None => reading.fault(place(op), format!("unknown operator {:?}: write <, <=, > or >=", op.value)),
        }
    }
    Some(bound)
}

/// The target of an objective that is a share.
fn shared_target(reading: &mut Reading<'_>, slo: &SloText, (name, at): (&str, At)) -> Option<f64> {
    let Some(number) = slo.objective.as_ref().or(slo.target.as_ref()) else {
        reading.fault(at, format!("objective {name:?} needs objective:, such as 99.9"));
        return None;
    };
    match target(number.value) {
        Ok(target) => Some(target),
        Err(why) => {
            reading.fault(place(number), why);
            None
        }
    }
}

/// Requests or time below a bound. An objective above 100 is the bound, in milliseconds.
fn latency(
    reading: &mut Reading<'_>,
    (slo, expr, step): (&SloText, &Expr, Millis),
    (query, bound): (&Spanned<String>, Option<Bound>),
    (name, at): (&str, At),
) -> Option<Indicator> {
    let quantile = terms::quantile(expr);
    let over = |number: &&Spanned<Number>| !number.value.is_percent && number.value.value > 100.0;
    if let Some(number) = slo.objective.as_ref().filter(over) {
        let target = match (&slo.target, &quantile) {
            (Some(_), _) => shared_target(
                reading,
                &SloText { objective: None, target: slo.target.clone(), ..SloText::default() },
                (name, at),
            )?,
            (None, Some((quantile, _))) => *quantile,
            (None, None) => LATENCY_TARGET,
        };
        let millis = number.value.value;
        let bound = BoundValue::Time(Period::from_millis(millis.round() as Millis));
        let matchers = quantile.map_or_else(|| histogram(expr), |(_, matchers)| Some(matchers));
        let ratio = below(reading, (query, expr, step), matchers, &Bound { op: None, value: bound })?;
        let mut found = indicator(name, ratio, target, "latency");
        found.notes.push(format!(
            "objective {millis} is no percentage, so it is taken as a threshold of {millis} ms for {} % of the requests; \
             write objective: {} and threshold: {millis}ms if that is meant",
            target * 100.0,
            target * 100.0,
        ));
        return Some(found);
    }
    let target = shared_target(reading, slo, (name, at))?;
    let Some(bound) = bound.or_else(|| bucket_bound(expr)) else {
        if terms::ratio(expr).is_some() {
            return Some(indicator(name, reading.share(query, step)?, target, "latency"));
        }
        reading.fault(place(query), "a latency indicator needs threshold:, such as 500ms");
        return None;
    };
    // A quantile with a bound and a share: so much of the time the quantile must be below it.
    let matchers = if quantile.is_some() { None } else { histogram(expr) };
    let ratio = below(reading, (query, expr, step), matchers, &bound)?;
    Some(indicator(name, ratio, target, "latency"))
}

/// Observations of a histogram below a bound, or times at which a query is.
fn below(
    reading: &mut Reading<'_>,
    (query, expr, step): (&Spanned<String>, &Expr, Millis),
    matchers: Option<Vec<crate::model::matcher::Matcher>>,
    bound: &Bound,
) -> Option<Ratio> {
    let name = metric(expr);
    let value = bound.value.in_unit_of(name.as_deref());
    match matchers {
        Some(matchers) => {
            if let Some(op) = bound.op.filter(|op| !matches!(op, Comparison::Less | Comparison::LessEqual)) {
                reading.fault(
                    place(query),
                    format!("latency is good below its threshold, not where it is {} it", op.symbol()),
                );
                return None;
            }
            let ratio = terms::latency(&matchers, value);
            if ratio.is_none() {
                reading.fault(place(query), "name the histogram, such as http_request_duration_seconds");
            }
            let keep = terms::sum(expr).and_then(|terms| terms.into_iter().next()).map(|term| term.keep);
            ratio.map(|mut ratio| {
                let all = ratio.numerator.iter_mut().chain(&mut ratio.denominator);
                all.for_each(|term| term.keep = keep.clone().unwrap_or_default());
                ratio
            })
        }
        None => {
            let op = bound.op.unwrap_or(Comparison::LessEqual);
            reading.threshold(query, Condition { op, value }, step)
        }
    }
}

/// The selector of a histogram that a query sums up; `None` for anything else.
fn histogram(expr: &Expr) -> Option<Vec<crate::model::matcher::Matcher>> {
    let terms = terms::sum(expr)?;
    match &*terms {
        [Term { reading: Read::Series { matchers, offset: 0, .. }, .. }] => Some(matchers.clone()),
        _ => None,
    }
}

/// The bound of a bucket that the query names.
fn bucket_bound(expr: &Expr) -> Option<Bound> {
    let matchers = histogram(expr)?;
    let le = matchers
        .iter()
        .find(|matcher| &*matcher.name == "le" && matcher.op == crate::model::matcher::MatchOp::Equal)?;
    let value = le.value.parse().ok()?;
    Some(Bound { op: None, value: BoundValue::Number(value) })
}

/// The metric of the first selector in a query.
fn metric(expr: &Expr) -> Option<String> {
    if let Some((_, matchers)) = terms::quantile(expr) {
        return terms::metric_name(&matchers).map(str::to_owned);
    }
    let first = terms::sum(expr)?.into_iter().next()?;
    match &first.reading {
        Read::Series { matchers, .. } => terms::metric_name(matchers).map(str::to_owned),
        Read::Query { .. } => None,
    }
}
