//! The series that may have start timestamps, as requests of OTLP.

use std::ops::Range;

use novascope::model::histogram::{Histogram, Span};
use novascope::model::labels::Labels;
use novascope::model::sample::is_stale;
use novascope::proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use novascope::proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use novascope::proto::opentelemetry::proto::metrics::v1::exponential_histogram_data_point::Buckets;
use novascope::proto::opentelemetry::proto::metrics::v1::metric::Data;
use novascope::proto::opentelemetry::proto::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use prost::Message as _;

use crate::load::Request;
use crate::store::{Store, Value};

/// The flag of a point that says that its series has ended.
const NO_RECORDED_VALUE: u32 = 1;

/// Of counters the suffix that servers append.
const TOTAL: &str = "_total";

/// Whether a series goes this way: counters, and exponential histograms of whole numbers that have no bucket of zeros, of
/// which Prometheus ignores the width.
pub(crate) fn takes(labels: &Labels) -> bool {
    matches!(labels.metric_name(), "a_total" | "ah")
}

/// The samples of a stretch of time. Times are not before 1 ms, since 0 stands for one that is not known.
pub(crate) fn request(store: &Store, window: Range<i64>) -> Request {
    let mut metrics: Vec<Metric> = Vec::new();
    for (labels, samples) in store.within(window.start.max(1)..window.end).filter(|(labels, _)| takes(labels)) {
        let name = labels.metric_name();
        let data = if name.ends_with(TOTAL) { counter(labels, &samples) } else { histogram(labels, &samples) };
        let name = name.strip_suffix(TOTAL).unwrap_or(name).to_owned();
        metrics.push(Metric { name, data: Some(data), ..Metric::default() });
    }
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    Request {
        path: "/api/v1/otlp/v1/metrics",
        headers: &[("Content-Type", "application/x-protobuf")],
        body: ExportMetricsServiceRequest { resource_metrics }.encode_to_vec(),
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let text = |value: &str| Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    let pairs = labels.iter().filter(|(name, _)| *name != "__name__");
    pairs.map(|(key, value)| KeyValue { key: key.to_owned(), value: text(value) }).collect()
}

fn nanos(millis: i64) -> u64 {
    u64::try_from(millis).unwrap_or(0) * 1_000_000
}

fn counter(labels: &Labels, samples: &[(i64, i64, &Value)]) -> Data {
    let point = |(time, start, value): &(i64, i64, &Value)| {
        let Value::Float(value) = value else { panic!("a counter holds floats") };
        let stale = is_stale(*value);
        NumberDataPoint {
            attributes: attributes(labels),
            time_unix_nano: nanos(*time),
            start_time_unix_nano: nanos(*start),
            flags: if stale { NO_RECORDED_VALUE } else { 0 },
            value: Some(number_data_point::Value::AsDouble(*value)).filter(|_| !stale),
            ..NumberDataPoint::default()
        }
    };
    Data::Sum(Sum {
        data_points: samples.iter().map(point).collect(),
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        is_monotonic: true,
    })
}

fn histogram(labels: &Labels, samples: &[(i64, i64, &Value)]) -> Data {
    let point = |(time, start, value): &(i64, i64, &Value)| {
        let Value::Histogram(histogram) = value else { panic!("a histogram holds no floats") };
        let Histogram { count, sum, .. } = **histogram;
        ExponentialHistogramDataPoint {
            attributes: attributes(labels),
            time_unix_nano: nanos(*time),
            start_time_unix_nano: nanos(*start),
            count: count as u64,
            sum: Some(sum),
            scale: i32::from(histogram.schema),
            positive: Some(buckets(&histogram.positive_spans, &histogram.positive_buckets)),
            negative: Some(buckets(&histogram.negative_spans, &histogram.negative_buckets)),
            ..ExponentialHistogramDataPoint::default()
        }
    };
    Data::ExponentialHistogram(ExponentialHistogram {
        data_points: samples.iter().map(point).collect(),
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
    })
}

/// Buckets without holes. Those of OTLP are numbered by their lower bound, those of Prometheus by their upper one.
fn buckets(spans: &[Span], counts: &[f64]) -> Buckets {
    let offset = spans.first().map_or(0, |span| span.offset) - 1;
    let (mut bucket_counts, mut counts) = (Vec::new(), counts.iter());
    for (at, span) in spans.iter().enumerate() {
        let hole = if at > 0 { usize::try_from(span.offset).unwrap_or(0) } else { 0 };
        bucket_counts.extend(std::iter::repeat_n(0, hole));
        bucket_counts.extend(counts.by_ref().take(span.length as usize).map(|count| *count as u64));
    }
    Buckets { offset, bucket_counts }
}
