//! Classic histograms as native histograms with custom buckets.

use std::borrow::Cow;

use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span};

/// Converts cumulative buckets in ascending order of bounds. Without a count the highest bucket has it.
pub(super) fn convert(
    bounds: &[(f64, f64)],
    count: Option<f64>,
    sum: f64,
    out: &mut Histogram,
) -> Result<(), Cow<'static, str>> {
    let count = count.or(bounds.last().map(|(_, count)| *count)).unwrap_or(0.0);
    let mut finite = Vec::with_capacity(bounds.len());
    out.positive_buckets.clear();
    let (mut last_bound, mut last_count) = (f64::NEG_INFINITY, 0.0);
    let infinity = (bounds.last().is_none_or(|(bound, _)| *bound != f64::INFINITY)).then_some((f64::INFINITY, count));
    for &(bound, cumulative) in bounds.iter().chain(&infinity) {
        if bound.is_nan() {
            return Err("classic histogram has a bucket with bound NaN".into());
        }
        if bound == last_bound {
            continue;
        }
        if bound < last_bound {
            return Err("classic histogram has buckets that are not in ascending order".into());
        }
        if cumulative.is_nan() || cumulative < last_count {
            return Err(format!("classic histogram is not cumulative: {cumulative} < {last_count}").into());
        }
        out.positive_buckets.push(cumulative - last_count);
        if bound != f64::INFINITY {
            finite.push(bound);
        }
        (last_bound, last_count) = (bound, cumulative);
    }
    if last_count != count {
        return Err(format!("classic histogram has count {count}, its highest bucket {last_count}").into());
    }
    let length = u32::try_from(out.positive_buckets.len()).map_err(|_| "too many buckets")?;
    out.positive_spans.clear();
    out.positive_spans.push(Span { offset: 0, length });
    out.negative_spans.clear();
    out.negative_buckets.clear();
    out.schema = CUSTOM_BUCKETS_SCHEMA;
    (out.count, out.sum) = (count, sum);
    (out.zero_count, out.zero_threshold) = (0.0, 0.0);
    out.reset_hint = ResetHint::Unknown;
    // Bounds rarely change between two metrics of a family.
    if out.custom_values[..] != finite[..] {
        out.custom_values = finite.into();
    }
    Ok(())
}
