//! The delimited protobuf exposition format.

use prost::Message as _;

use crate::api::federate::{Last, classic_buckets, lacks_instance};
use crate::model::histogram::{self, ResetHint, Span};
use crate::model::sample::Value;
use crate::proto::exposition::{Bucket, BucketSpan, Histogram, LabelPair, Metric, MetricFamily, MetricType, Untyped};

/// Writes all families. One name with floats and histograms makes several families, which a Prometheus can read.
pub(super) fn encode(list: &[Last]) -> Vec<u8> {
    let mut out = Vec::with_capacity(list.len() * 64);
    let mut family = MetricFamily::default();
    for last in list {
        let kind = kind(&last.value);
        if family.name.as_deref() != Some(&last.name) || family.r#type != Some(kind as i32) {
            push(&mut out, &family);
            family = MetricFamily { name: Some(last.name.clone()), ..MetricFamily::default() };
            family.set_type(kind);
        }
        family.metric.push(metric(last));
    }
    push(&mut out, &family);
    out
}

fn push(out: &mut Vec<u8>, family: &MetricFamily) {
    if !family.metric.is_empty() {
        out.extend_from_slice(&family.encode_length_delimited_to_vec());
    }
}

fn kind(value: &Value) -> MetricType {
    match value {
        Value::Float(_) => MetricType::Untyped,
        Value::Histogram(histogram) if histogram.reset_hint == ResetHint::Gauge => MetricType::GaugeHistogram,
        Value::Histogram(_) => MetricType::Histogram,
    }
}

fn metric(last: &Last) -> Metric {
    let instance = lacks_instance(&last.labels).then_some(("instance", ""));
    let pair = |(name, value): (&str, &str)| LabelPair { name: Some(name.to_owned()), value: Some(value.to_owned()) };
    let mut metric = Metric {
        label: last.labels.iter().chain(instance).map(pair).collect(),
        timestamp_ms: Some(last.time),
        ..Metric::default()
    };
    match &last.value {
        Value::Float(value) => metric.untyped = Some(Untyped { value: Some(*value) }),
        Value::Histogram(histogram) if histogram.uses_custom_buckets() => metric.histogram = Some(classic(histogram)),
        Value::Histogram(histogram) => metric.histogram = Some(native(histogram)),
    }
    metric
}

fn classic(histogram: &histogram::Histogram) -> Histogram {
    Histogram {
        sample_count_float: Some(histogram.count),
        sample_sum: Some(histogram.sum),
        bucket: classic_buckets(histogram)
            .into_iter()
            .map(|(bound, count)| Bucket {
                upper_bound: Some(bound),
                cumulative_count_float: Some(count),
                ..Bucket::default()
            })
            .collect(),
        ..Histogram::default()
    }
}

fn native(histogram: &histogram::Histogram) -> Histogram {
    let spans = |spans: &[Span]| -> Vec<BucketSpan> {
        spans.iter().map(|span| BucketSpan { offset: Some(span.offset), length: Some(span.length) }).collect()
    };
    Histogram {
        sample_count_float: Some(histogram.count),
        sample_sum: Some(histogram.sum),
        schema: Some(i32::from(histogram.schema)),
        zero_threshold: Some(histogram.zero_threshold),
        zero_count_float: Some(histogram.zero_count),
        negative_span: spans(&histogram.negative_spans),
        negative_count: histogram.negative_buckets.clone(),
        positive_span: spans(&histogram.positive_spans),
        positive_count: histogram.positive_buckets.clone(),
        ..Histogram::default()
    }
}
