//! What all forms share: faults with their places, queries, numbers, and the pieces of an objective.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::base::yaml::YamlError;
use crate::promql::ast::{Expr, ExprKind, Span};
use crate::promql::parse::parse;
use crate::rules::file::hint::advice;
use crate::slo::alerting;
use crate::slo::file::Content;
use crate::slo::objective::{Objective, Part};
use crate::slo::terms::{self, Comparison, Condition, Measure, Ratio, Reading as Read, STEP, Term};

/// Line and column.
pub(super) type At = (u64, u64);

/// A file that is being read.
pub(super) struct Reading<'a> {
    pub(super) file: &'a str,
    text: &'a str,
    pub(super) faults: Vec<YamlError>,
    pub(super) content: Content,
}

pub(super) fn place<T>(spanned: &Spanned<T>) -> At {
    (spanned.referenced.line(), spanned.referenced.column())
}

impl<'a> Reading<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, faults: Vec::new(), content: Content::default() }
    }

    /// A place of 0 is one that the reader of YAML does not know.
    pub(super) fn fault(&mut self, at: At, message: impl Into<String>) {
        self.fault_with(at, message, None);
    }

    fn fault_with(&mut self, at: At, message: impl Into<String>, hint: Option<String>) {
        let fault = match at {
            (0, _) => YamlError::whole_file(self.file, message),
            at => YamlError::at(self.file, self.text, at, message.into()),
        };
        self.faults.push(fault.with_hint(hint));
    }

    /// Takes a document's structure, or notes why it has none.
    pub(super) fn structure<T: de::DeserializeOwned>(&mut self, document: &str) -> Option<T> {
        match crate::base::yaml::read_plain(self.file, document) {
            Ok(structure) => Some(structure),
            Err(error) => {
                self.faults.push(error);
                None
            }
        }
    }

    /// A query; placeholders for a range become five minutes, which no count depends on.
    pub(super) fn query(&mut self, query: &Spanned<String>) -> Option<Expr> {
        let text = without_placeholders(&query.value);
        match parse(&text) {
            Ok(expr) => Some(expr),
            Err(error) => {
                let advice = advice(&text, &error);
                let (line, column) = advice.at.map_or((error.line, error.column), |at| {
                    let at = u32::try_from(at).unwrap_or(u32::MAX);
                    Span { start: at, end: at }.position(&text)
                });
                let at = self.inside(query, line, column);
                let why = advice.message.unwrap_or_else(|| error.to_string());
                self.fault_with(at, format!("could not parse the query: {why}"), advice.hint);
                None
            }
        }
    }

    /// A query that counts events. Where it is no sum of counters, its answers at fixed steps are added up.
    pub(super) fn counter(&mut self, query: &Spanned<String>, step: Millis) -> Option<Vec<Term>> {
        let expr = self.query(query)?;
        Some(terms::sum(&expr).unwrap_or_else(|| vec![Term::query(&expr, step, Measure::Sum)]))
    }

    /// A query that gives a share.
    pub(super) fn share(&mut self, query: &Spanned<String>, step: Millis) -> Option<Ratio> {
        let expr = self.query(query)?;
        if let Some(ratio) = terms::ratio(&expr) {
            return Some(ratio);
        }
        if let ExprKind::Selector(_) = unwrapped(&expr).kind {
            let measured = |measure| {
                let mut terms = terms::sum(&expr).unwrap_or_default();
                for term in &mut terms {
                    if let Read::Series { measure: own, .. } = &mut term.reading {
                        *own = measure;
                    }
                }
                terms
            };
            return Some(Ratio {
                numerator: measured(Measure::Sum),
                denominator: measured(Measure::Samples),
                is_complement: false,
            });
        }
        Some(Ratio {
            numerator: vec![Term::query(&expr, step, Measure::Sum)],
            denominator: vec![Term::query(&expr, step, Measure::Samples)],
            is_complement: false,
        })
    }

    /// A query whose values must fulfil a condition: each sample of a selector is an event, else each step.
    pub(super) fn threshold(&mut self, query: &Spanned<String>, condition: Condition, step: Millis) -> Option<Ratio> {
        let expr = self.query(query)?;
        Some(holding(&expr, condition, step))
    }

    /// Where in the file a place inside a query is: exact where that line stands in the file as it is.
    fn inside(&self, query: &Spanned<String>, line: usize, column: usize) -> At {
        let (at_line, at_column) = place(query);
        let below = line.saturating_sub(1);
        let number = usize::try_from(at_line).unwrap_or(usize::MAX).saturating_add(below);
        // A block scalar begins on the line after its key.
        for number in [number, number + 1] {
            let shown = number.checked_sub(1).and_then(|index| self.text.lines().nth(index));
            let wanted = query.value.lines().nth(below).filter(|wanted| !wanted.trim().is_empty());
            if let Some(start) = shown.zip(wanted).and_then(|(shown, wanted)| shown.find(wanted.trim_end())) {
                return (number as u64, (start + column) as u64);
            }
        }
        (at_line, at_column)
    }

    /// Takes an objective that is whole.
    pub(super) fn finish(&mut self, at: At, objective: Objective) {
        if let Err((why, hint)) = alerting::check(&objective) {
            self.fault_with(at, format!("objective {:?}: {why}", objective.name), hint);
        }
        for note in &objective.notes {
            self.content.notes.push(format!("{}:{}:{}: objective {:?}: {note}", self.file, at.0, at.1, objective.name));
        }
        self.content.objectives.push(objective);
        self.content.places.push(at);
    }
}

/// The values of a query, each good where a condition holds.
pub(super) fn holding(expr: &Expr, condition: Condition, step: Millis) -> Ratio {
    let measured = |measure| match &unwrapped(expr).kind {
        ExprKind::Selector(selector) => vec![Term::series(selector.matchers.clone(), measure)],
        _ => vec![Term::query(expr, step, measure)],
    };
    Ratio {
        numerator: measured(Measure::Holding(condition)),
        denominator: measured(Measure::Samples),
        is_complement: false,
    }
}

fn unwrapped(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => unwrapped(inner),
        _ => expr,
    }
}

/// One part from a ratio of good events.
pub(super) fn part(name: &str, ratio: Ratio) -> Part {
    Part {
        name: Arc::from(name),
        weight: 1.0,
        numerator: ratio.numerator,
        denominator: ratio.denominator,
        is_good: !ratio.is_complement,
    }
}

/// `{{.window}}` of Sloth, and what dashboards write.
fn without_placeholders(text: &str) -> String {
    let mut out = text.to_owned();
    for placeholder in ["$__rate_interval", "$__interval", "$__range", "${window}", "$window"] {
        out = out.replace(placeholder, "5m");
    }
    while let Some(start) = out.find("{{") {
        let Some(length) = out[start..].find("}}") else { break };
        if out[start + 2..start + length].trim().trim_matches('-').trim() != ".window" {
            break;
        }
        out.replace_range(start..start + length + 2, "5m");
    }
    out
}

/// A number, also as a text and in per cent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: f64,
    pub(super) is_percent: bool,
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let (digits, is_percent) = trimmed.strip_suffix('%').map_or((trimmed, false), |digits| (digits.trim(), true));
        let value = digits.parse::<f64>().ok().filter(|value| value.is_finite());
        value.map(|value| Self { value, is_percent }).ok_or_else(|| match text.contains("${") {
            true => format!("not a number: {text:?} (variables are not expanded here; write the value)"),
            false => format!("not a number: {text:?}"),
        })
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number such as 99.9")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Number, E> {
        Ok(Number { value, is_percent: false })
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number { value: value as f64, is_percent: false })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number { value: value as f64, is_percent: false })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// A share from a number of per cents.
pub(super) fn percent(value: f64) -> f64 {
    // 99.9 / 100 is not 0.999 in binary; through decimals it is.
    format!("{value}e-2").parse().unwrap_or(value / 100.0)
}

/// A target as a share: 99.9, "99.9%" and 0.999 are the same. It must leave a budget.
pub(super) fn target(number: Number) -> Result<f64, String> {
    let share = if number.is_percent || number.value > 1.0 { percent(number.value) } else { number.value };
    if share > 0.0 && share < 1.0 {
        return Ok(share);
    }
    Err(if share == 1.0 {
        "an objective of 100 % leaves no error budget; write 99.999 or less".to_owned()
    } else {
        format!("an objective of {} is not between 0 and 100 %", number.value)
    })
}

/// A bound for values: `500ms`, `< 200ms`, `>= 85%`, `0.5`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) op: Option<Comparison>,
    pub(super) value: BoundValue,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum BoundValue {
    Time(Period),
    Number(f64),
}

impl BoundValue {
    /// In the unit of a metric, which its name tells.
    pub(super) fn in_unit_of(self, metric: Option<&str>) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Time(period) if metric.is_some_and(is_in_millis) => period.as_millis() as f64,
            Self::Time(period) => period.as_millis() as f64 / 1_000.0,
        }
    }
}

/// Whether a metric counts milliseconds, by its name.
pub(super) fn is_in_millis(metric: &str) -> bool {
    let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| metric.strip_suffix(suffix)).unwrap_or(metric);
    base.ends_with("_ms") || base.ends_with("_milliseconds") || base.ends_with("_millis")
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let symbols = trimmed.find(|c: char| !"<>=!".contains(c)).unwrap_or(trimmed.len());
        let (symbol, rest) = trimmed.split_at(symbols);
        let bad = || format!("not a threshold: {text:?} (write 500ms, < 0.5 or >= 85%)");
        let op = match symbol {
            "" => None,
            symbol => Some(Comparison::from_text(symbol).ok_or_else(bad)?),
        };
        let rest: String = rest.split_whitespace().collect();
        let value = match (rest.parse::<Number>(), rest.parse::<Period>()) {
            (Ok(number), _) if number.is_percent => BoundValue::Number(percent(number.value)),
            (Ok(number), _) => BoundValue::Number(number.value),
            (Err(_), Ok(period)) => BoundValue::Time(period),
            _ => return Err(bad()),
        };
        Ok(Self { op, value })
    }
}

struct BoundVisitor;

impl Visitor<'_> for BoundVisitor {
    type Value = Bound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a threshold such as 500ms or < 0.5")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bound, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Bound, E> {
        Ok(Bound { op: None, value: BoundValue::Number(value) })
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Bound, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Bound, E> {
        self.visit_f64(value as f64)
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BoundVisitor)
    }
}

/// The distance of steps, a minute unless said otherwise.
pub(super) fn step(step: Option<Period>) -> Millis {
    step.filter(|step| !step.is_zero()).map_or(STEP, |step| step.as_millis().max(1_000))
}

/// A text or a list of something, so that faults inside keep their own words.
#[derive(Clone, Debug)]
pub(super) enum OneOrMany<T> {
    One(String),
    Many(Vec<T>),
}

struct OneOrManyVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
        Ok(OneOrMany::One(text.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = seq.next_element()? {
            all.push(one);
        }
        Ok(OneOrMany::Many(all))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(|one| OneOrMany::Many(vec![one]))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(std::marker::PhantomData))
    }
}
