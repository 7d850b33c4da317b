//! What an objective of OpenSLO counts: a ratio of metrics, or a threshold, inline or by name.

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::base::yaml::nearest::nearest;
use crate::slo::file::openslo::{Named, ObjectiveText};
use crate::slo::file::text::{At, Reading, holding, part, place};
use crate::slo::objective::Part;
use crate::slo::terms::{Comparison, Condition, Ratio, STEP};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndicatorText {
    #[serde(rename = "metadata", default)]
    _metadata: Option<Value>,
    spec: SliText,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SliText {
    #[serde(rename = "description")]
    _description: Option<Value>,
    #[serde(rename = "thresholdMetric")]
    threshold: Option<MetricText>,
    #[serde(rename = "ratioMetric")]
    ratio: Option<RatioText>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RatioText {
    #[serde(rename = "counter")]
    _counter: Option<bool>,
    good: Option<MetricText>,
    bad: Option<MetricText>,
    total: Option<MetricText>,
    #[serde(rename = "rawType")]
    raw_type: Option<Spanned<String>>,
    raw: Option<MetricText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricText {
    #[serde(rename = "metricSource")]
    source: Spanned<MetricSourceText>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MetricSourceText {
    #[serde(rename = "metricSourceRef")]
    reference: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    spec: QueryText,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct QueryText {
    #[serde(alias = "promql", alias = "expr")]
    query: Option<Spanned<String>>,
}

/// The part that an indicator, inline or by name, gives.
pub(super) fn indicator_part(
    reading: &mut Reading<'_>,
    named: &Named,
    (name, objective): (&str, &ObjectiveText),
    (inline, reference, at): (Option<&IndicatorText>, Option<&Spanned<String>>, At),
) -> Option<Part> {
    let sli = match (inline, reference) {
        (Some(inline), _) => inline.spec.clone(),
        (None, Some(reference)) => match named.indicators.get(&reference.value) {
            Some(sli) => sli.clone(),
            None => {
                let known: Vec<&str> = named.indicators.keys().map(String::as_str).collect();
                let near = nearest_of(&reference.value, &known);
                reading.fault(place(reference), format!("no SLI is called {:?}{near}", reference.value));
                return None;
            }
        },
        (None, None) => {
            reading.fault(at, "an SLO needs indicator or indicatorRef");
            return None;
        }
    };
    let ratio = match (&sli.ratio, &sli.threshold) {
        (Some(ratio), None) => ratio_of(reading, named, ratio, at)?,
        (None, Some(metric)) => {
            let query = query(reading, named, metric)?;
            let expr = reading.query(&query)?;
            let op = objective.op.as_ref().map_or(Some(Comparison::LessEqual), |op| Comparison::from_text(&op.value));
            let (Some(op), Some(value)) = (op, objective.value) else {
                reading.fault(at, "an objective of a thresholdMetric needs op (lt, lte, gt, gte) and value");
                return None;
            };
            holding(&expr, Condition { op, value: value.value }, STEP)
        }
        _ => {
            reading.fault(at, "an SLI has either ratioMetric or thresholdMetric");
            return None;
        }
    };
    Some(part(name, ratio))
}

pub(super) fn nearest_of(name: &str, known: &[&str]) -> String {
    nearest(name, known).map_or(String::new(), |near| format!(": did you mean {near:?}?"))
}

fn ratio_of(reading: &mut Reading<'_>, named: &Named, text: &RatioText, at: At) -> Option<Ratio> {
    let mut terms = |metric: &MetricText| {
        let query = query(reading, named, metric)?;
        reading.counter(&query, STEP)
    };
    match (&text.good, &text.bad, &text.total, &text.raw) {
        (Some(good), None, Some(total), None) => {
            Some(Ratio { numerator: terms(good)?, denominator: terms(total)?, is_complement: false })
        }
        (None, Some(bad), Some(total), None) => {
            Some(Ratio { numerator: terms(bad)?, denominator: terms(total)?, is_complement: true })
        }
        (None, None, None, Some(raw)) => {
            let is_failure = match text.raw_type.as_ref().map(|kind| kind.value.as_str()) {
                Some("success") => false,
                Some("failure") => true,
                _ => {
                    reading.fault(at, "raw needs rawType: success or failure");
                    return None;
                }
            };
            let query = query(reading, named, raw)?;
            let ratio = reading.share(&query, STEP)?;
            Some(Ratio { is_complement: ratio.is_complement != is_failure, ..ratio })
        }
        _ => {
            reading.fault(at, "a ratioMetric has good and total, bad and total, or raw");
            None
        }
    }
}

/// The query of a metric source, if it is one that is understood here.
fn query(reading: &mut Reading<'_>, named: &Named, metric: &MetricText) -> Option<Spanned<String>> {
    let source = &metric.source.value;
    let referred = source.reference.as_ref().and_then(|name| named.sources.get(name));
    let kind = source.kind.as_ref().or(referred).map_or("", String::as_str).to_lowercase();
    let is_known =
        ["", "any", "prometheus", "novascope", "victoriametrics", "thanos", "mimir", "cortex"].contains(&kind.as_str());
    match (&source.spec.query, is_known) {
        (Some(query), true) => Some(query.clone()),
        (_, false) => {
            let kind = source.kind.as_ref().or(referred).map_or("", String::as_str);
            reading.fault(
                place(&metric.source),
                format!("metrics of type {kind:?} are not here; write a Prometheus query"),
            );
            None
        }
        (None, true) => {
            reading.fault(place(&metric.source), "metricSource needs spec.query, a Prometheus query");
            None
        }
    }
}
