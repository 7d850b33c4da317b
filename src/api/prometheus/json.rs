//! Prometheus' JSON of samples, written by hand: a vector of a fleet has thousands of them.

use crate::api::prometheus::number::{push_point, push_time, push_value};
use crate::model::histogram::Histogram;
use crate::model::json_text::push_labels;
use crate::model::labels::Labels;
use crate::model::sample::Value;

/// Appends `[time,{histogram}]`.
pub fn push_histogram_point(out: &mut Vec<u8>, time: i64, histogram: &Histogram) {
    out.push(b'[');
    push_time(out, time);
    out.push(b',');
    push_histogram(out, histogram);
    out.push(b']');
}

/// Appends one sample of a vector.
pub fn push_sample(out: &mut Vec<u8>, labels: &Labels, time: i64, value: &Value) {
    out.extend_from_slice(b"{\"metric\":");
    push_labels(out, labels);
    match value {
        Value::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            push_point(out, time, *value);
        }
        Value::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":");
            push_histogram_point(out, time, histogram);
        }
    }
    out.push(b'}');
}

/// Appends a histogram with its buckets that are not empty: bounds kind, lower, upper, count.
pub fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(b"{\"count\":");
    push_value(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    push_value(out, histogram.sum);
    let mut separator: &[u8] = b",\"buckets\":[";
    let custom = histogram.uses_custom_buckets();
    let buckets = histogram.all();
    for bucket in buckets.iter().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(separator);
        separator = b",";
        let lower_included = if custom { bucket.lower == f64::NEG_INFINITY } else { bucket.lower < 0.0 };
        let upper_included = custom || bucket.upper > 0.0;
        let is_zero_bucket = bucket.lower == -bucket.upper;
        out.extend_from_slice(match (lower_included, upper_included) {
            _ if is_zero_bucket && !custom => b"[3,",
            (false, true) => b"[0,",
            (true, false) => b"[1,",
            (false, false) => b"[2,",
            (true, true) => b"[3,",
        });
        push_value(out, bucket.lower);
        out.push(b',');
        push_value(out, bucket.upper);
        out.push(b',');
        push_value(out, bucket.count);
        out.push(b']');
    }
    if separator == b"," {
        out.push(b']');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_say_which_bounds_they_include() {
        use crate::model::histogram::Span;
        let one = vec![Span { offset: 0, length: 1 }];
        let histogram = Histogram {
            count: 6.0,
            sum: 2.5,
            zero_threshold: 0.001,
            zero_count: 3.0,
            positive_spans: one.clone(),
            positive_buckets: vec![2.0],
            negative_spans: one,
            negative_buckets: vec![1.0],
            ..Histogram::default()
        };
        let expect =
            r#"{"count":"6","sum":"2.5","buckets":[[1,"-1","-0.5","1"],[3,"-0.001","0.001","3"],[0,"0.5","1","2"]]}"#;
        let empty = (Histogram::default(), r#"{"count":"0","sum":"0"}"#);
        for (histogram, expect) in [(histogram, expect), empty] {
            let mut out = Vec::new();
            push_histogram(&mut out, &histogram);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }
}
