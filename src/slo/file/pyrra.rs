//! Pyrra's form: Kubernetes objects `ServiceLevelObjective` of `pyrra.dev/v1alpha1`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::model::labels::METRIC_NAME;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::ast::ExprKind;
use crate::slo::burn::{self, BurnAlert, Pair};
use crate::slo::file::text::{Number, Reading, part, place, target};
use crate::slo::objective::{AbsentAlert, Budgeting, Dialect, NoData, Objective, Pairs, Part};
use crate::slo::terms::{Comparison, Measure, Ratio, Term};
use crate::slo::window::{Window, days};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectText {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    kind: Spanned<String>,
    metadata: MetadataText,
    spec: SpecText,
    #[serde(rename = "status", default)]
    _status: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MetadataText {
    name: Option<Spanned<String>>,
    namespace: String,
    labels: Pairs,
    annotations: Pairs,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecText {
    target: Spanned<Number>,
    window: Spanned<String>,
    #[serde(default)]
    description: String,
    indicator: Spanned<IndicatorText>,
    #[serde(default)]
    alerting: AlertingText,
    // Of earlier versions, and for Pyrra's operator only.
    #[serde(rename = "latency", default)]
    _latency: Option<Value>,
    #[serde(rename = "rulenamespace", default)]
    _rule_namespace: Option<Value>,
    #[serde(rename = "ruleOutput", default)]
    _rule_output: Option<Value>,
    #[serde(rename = "performanceOverAccuracy", alias = "performance_over_accuracy", default)]
    _performance_over_accuracy: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IndicatorText {
    ratio: Option<RatioText>,
    latency: Option<LatencyText>,
    #[serde(rename = "latencyNative")]
    latency_native: Option<NativeText>,
    bool_gauge: Option<GaugeText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricText {
    metric: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RatioText {
    errors: MetricText,
    total: MetricText,
    #[serde(default)]
    grouping: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LatencyText {
    success: MetricText,
    total: MetricText,
    #[serde(default)]
    grouping: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeText {
    total: MetricText,
    latency: Period,
    #[serde(default)]
    grouping: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GaugeText {
    metric: Spanned<String>,
    #[serde(default)]
    grouping: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AlertingText {
    disabled: bool,
    burnrates: bool,
    absent: bool,
    name: Option<String>,
    #[serde(rename = "absentName")]
    absent_name: Option<String>,
    #[serde(rename = "burnRateType")]
    burn_rate_type: Option<String>,
    severities: SeveritiesText,
}

impl Default for AlertingText {
    fn default() -> Self {
        Self {
            disabled: false,
            burnrates: true,
            absent: true,
            name: None,
            absent_name: None,
            burn_rate_type: None,
            severities: SeveritiesText::default(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SeveritiesText {
    #[serde(rename = "fastBurn")]
    fast_burn: Option<String>,
    #[serde(rename = "mediumBurn")]
    medium_burn: Option<String>,
    #[serde(rename = "slowBurn")]
    slow_burn: Option<String>,
    #[serde(rename = "longTermBurn")]
    long_term_burn: Option<String>,
    absent: Option<String>,
}

/// What an indicator comes down to.
struct Found {
    /// Of the objective.
    target: f64,
    part: Part,
    grouping: Vec<String>,
    /// The selector whose exact matchers become labels of alerts.
    total: Vec<Matcher>,
    kind: &'static str,
}

pub(super) fn read(reading: &mut Reading<'_>, document: &str) {
    let Some(object) = reading.structure::<ObjectText>(document) else { return };
    if object.kind.value != "ServiceLevelObjective" {
        let why = format!("unknown kind {:?}: did you mean \"ServiceLevelObjective\"?", object.kind.value);
        return reading.fault(place(&object.kind), why);
    }
    let Some(name) = &object.metadata.name else {
        return reading.fault(place(&object.kind), "an objective needs metadata.name");
    };
    let (at, spec) = (place(name), object.spec);
    // Pyrra's target is always in per cent.
    let number = Number { is_percent: true, ..spec.target.value };
    let target = target(number).map_err(|why| reading.fault(place(&spec.target), why)).ok();
    let window =
        Window::rolling(&spec.window.value).map_err(|error| reading.fault(place(&spec.window), error.to_string())).ok();
    let found = indicator(reading, &name.value, &spec.indicator);
    let (Some(target), Some(window), Some(found)) = (target, window, found) else { return };
    let found = Found { target, ..found };
    let mut labels = propagated(&object.metadata.labels);
    if !object.metadata.namespace.is_empty() {
        labels.insert("namespace".to_owned(), object.metadata.namespace.clone());
    }
    let (alerts, absent) = alerts(&spec.alerting, &object.metadata.annotations, (&found, &window));
    let mut notes = Vec::new();
    if spec.alerting.burn_rate_type.as_deref() == Some("dynamic") {
        notes.push("dynamic burn rates are evaluated as static ones".to_owned());
    }
    let objective = Objective {
        file: Arc::from(reading.file),
        name: Arc::from(name.value.as_str()),
        service: Arc::from(object.metadata.labels.get("pyrra.dev/service").map_or("", String::as_str)),
        description: spec.description,
        labels,
        target,
        windows: vec![window],
        group_by: found.grouping.iter().map(|label| Arc::from(label.as_str())).collect(),
        parts: vec![found.part],
        budgeting: Budgeting::Occurrences,
        min_events: 0.0,
        no_data: NoData::Ignore,
        alerts,
        absent,
        kind: found.kind,
        dialect: Dialect::Pyrra,
        notes,
    };
    reading.finish(at, objective);
}

/// Labels and annotations that Pyrra hands on to alerts.
fn propagated(pairs: &Pairs) -> Pairs {
    let own = |(name, value): (&String, &String)| Some((name.strip_prefix("pyrra.dev/")?.to_owned(), value.clone()));
    pairs.iter().filter_map(own).collect()
}

fn indicator(reading: &mut Reading<'_>, name: &str, text: &Spanned<IndicatorText>) -> Option<Found> {
    match &text.value {
        IndicatorText { ratio: Some(ratio), latency: None, latency_native: None, bool_gauge: None } => {
            let errors = selector(reading, &ratio.errors.metric);
            let total = selector(reading, &ratio.total.metric)?;
            let numerator = Term::series(errors?, Measure::Increase);
            Some(found(name, (numerator, Measure::Increase, true), (total, &ratio.grouping), "availability"))
        }
        IndicatorText { ratio: None, latency: Some(latency), latency_native: None, bool_gauge: None } => {
            let success = selector(reading, &latency.success.metric);
            let total = selector(reading, &latency.total.metric)?;
            let numerator = bucket(success?);
            Some(found(name, (numerator, Measure::Increase, false), (total, &latency.grouping), "latency"))
        }
        IndicatorText { ratio: None, latency: None, latency_native: Some(native), bool_gauge: None } => {
            let total = selector(reading, &native.total.metric)?;
            let bound = native.latency.as_millis() as f64 / 1_000.0;
            let numerator = Term::series(total.clone(), Measure::Below(bound));
            Some(found(name, (numerator, Measure::Increase, false), (total, &native.grouping), "latency"))
        }
        IndicatorText { ratio: None, latency: None, latency_native: None, bool_gauge: Some(gauge) } => {
            let total = selector(reading, &gauge.metric)?;
            let numerator = Term::series(total.clone(), Measure::Sum);
            Some(found(name, (numerator, Measure::Samples, false), (total, &gauge.grouping), "availability"))
        }
        _ => {
            reading.fault(place(text), "indicator needs exactly one of ratio, latency, latencyNative and bool_gauge");
            None
        }
    }
}

fn found(
    name: &str,
    (numerator, measure, is_complement): (Term, Measure, bool),
    (total, grouping): (Vec<Matcher>, &[String]),
    kind: &'static str,
) -> Found {
    let denominator = vec![Term::series(total.clone(), measure)];
    let ratio = Ratio { numerator: vec![numerator], denominator, is_complement };
    Found { target: 0.0, part: part(name, ratio), grouping: grouping.to_vec(), total, kind }
}

/// The bound may be written as 1 where the bucket says 1.0, so it is compared as a number.
fn bucket(mut success: Vec<Matcher>) -> Term {
    let is_bound = |matcher: &Matcher| &*matcher.name == "le" && matcher.op == MatchOp::Equal;
    let bound = success.iter().find(|matcher| is_bound(matcher)).and_then(|le| le.value.parse::<f64>().ok());
    if bound.is_some() {
        success.retain(|matcher| !is_bound(matcher));
    }
    Term::series(success, bound.map_or(Measure::Increase, Measure::Bucket))
}

fn selector(reading: &mut Reading<'_>, metric: &Spanned<String>) -> Option<Vec<Matcher>> {
    match reading.query(metric)?.kind {
        ExprKind::Selector(selector) => Some(selector.matchers),
        _ => {
            reading
                .fault(place(metric), "metric is a selector such as http_requests_total{job=\"a\"}, without functions");
            None
        }
    }
}

fn alerts(
    text: &AlertingText,
    annotations: &Pairs,
    (found, window): (&Found, &Window),
) -> (Vec<BurnAlert>, Option<AbsentAlert>) {
    if text.disabled {
        return (Vec::new(), None);
    }
    let annotations = propagated(annotations);
    let is_label = |matcher: &&Matcher| {
        matcher.op == MatchOp::Equal
            && &*matcher.name != METRIC_NAME
            && !found.grouping.iter().any(|g| **g == *matcher.name)
    };
    let common: Pairs =
        found.total.iter().filter(is_label).map(|m| (m.name.to_string(), m.value.to_string())).collect();
    let SeveritiesText { fast_burn, medium_burn, slow_burn, long_term_burn, absent } = &text.severities;
    let severities = [fast_burn, medium_burn, slow_burn, long_term_burn];
    let length = window.length();
    let mut alerts = Vec::new();
    for ((hold, (short, long, factor, default)), severity) in burn::pyrra(length).into_iter().zip(severities) {
        let written = |millis: Millis| days(Period::from_millis(millis));
        let mut labels = common.clone();
        for (name, value) in [
            ("short", Period::from_millis(short).to_string()),
            ("long", Period::from_millis(long).to_string()),
            ("severity", severity.clone().unwrap_or_else(|| default.to_owned())),
            ("exhaustion", written((length as f64 / factor) as Millis)),
        ] {
            labels.insert(name.to_owned(), value);
        }
        alerts.push(BurnAlert {
            name: text.name.clone().unwrap_or_else(|| "ErrorBudgetBurn".to_owned()),
            hold,
            pairs: vec![Pair { short, long, factor, op: Comparison::Greater }],
            labels,
            annotations: annotations.clone(),
        });
    }
    let absent = text.absent.then(|| {
        let severity = absent.clone().unwrap_or_else(|| "critical".to_owned());
        let mut labels = common.clone();
        labels.insert("severity".to_owned(), severity);
        AbsentAlert {
            name: text.absent_name.clone().unwrap_or_else(|| "SLOMetricAbsent".to_owned()),
            hold: absent_after(length, found.target),
            labels,
            annotations,
        }
    });
    (if text.burnrates { alerts } else { Vec::new() }, absent)
}

/// How long nothing may come: as long as the fastest alert would take if everything failed.
fn absent_after(window: Millis, target: f64) -> Millis {
    let (hold, (_, long, factor, _)) = burn::pyrra(window)[0];
    let secs = (factor * (1.0 - target) * long as f64 / 1_000.0).floor() as Millis;
    (secs * 1_000 + hold + 30_000) / 60_000 * 60_000
}
