use super::bounds::exponential;
use super::trim::Keep;
use super::*;

fn exponential_histogram(schema: i8, offset: i32, counts: &[f64]) -> Histogram {
    Histogram {
        schema,
        count: counts.iter().sum(),
        sum: counts.iter().sum(),
        positive_spans: vec![Span { offset, length: counts.len() as u32 }],
        positive_buckets: counts.to_vec(),
        ..Histogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        custom_values: bounds.into(),
        ..exponential_histogram(CUSTOM_BUCKETS_SCHEMA, 0, counts)
    }
}

fn buckets(histogram: &Histogram) -> Vec<(i32, f64)> {
    side::cells(&histogram.positive_spans, &histogram.positive_buckets).collect()
}

#[test]
fn addition_fills_gaps_and_lowers_the_resolution() {
    let mut left = exponential_histogram(1, -1, &[1.0, 2.0, 3.0, 4.0]);
    left.add(&exponential_histogram(0, 5, &[7.0])).unwrap();
    assert_eq!(left.schema, 0);
    assert_eq!(buckets(&left), [(0, 3.0), (1, 7.0), (5, 7.0)]);
    let mut right = exponential_histogram(0, 5, &[7.0]);
    right.add(&exponential_histogram(1, -1, &[1.0, 2.0, 3.0, 4.0])).unwrap();
    assert_eq!(buckets(&right), buckets(&left));
    right.sub(&exponential_histogram(0, 5, &[7.0])).unwrap();
    right.compact();
    assert_eq!(buckets(&right), [(0, 3.0), (1, 7.0)]);
}

#[test]
fn a_wider_zero_bucket_swallows_what_lies_inside() {
    let mut left = exponential_histogram(0, 0, &[1.0, 2.0, 3.0]);
    let right = Histogram { zero_threshold: 1.5, zero_count: 10.0, count: 10.0, ..exponential_histogram(0, 4, &[1.0]) };
    left.add(&right).unwrap();
    // 1.5 is inside the populated bucket (1, 2], so the zero bucket grows to 2.
    assert_eq!((left.zero_threshold, left.zero_count), (2.0, 13.0));
    assert_eq!(buckets(&left), [(2, 3.0), (4, 1.0)]);
}

#[test]
fn custom_bounds_are_reduced_to_the_common_ones() {
    let mut left = custom(&[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 4.0]);
    let combined = left.add(&custom(&[2.0, 4.0, 5.0], &[10.0, 20.0, 30.0, 40.0])).unwrap();
    assert!(combined.bounds_reconciled);
    assert_eq!(*left.custom_values, [2.0, 5.0]);
    assert_eq!(buckets(&left), [(0, 13.0), (1, 53.0), (2, 44.0)]);
    assert_eq!(left.clone().add(&Histogram::default()), Err(IncompatibleSchema));
}

#[test]
fn resets_are_found_across_layouts() {
    let before = exponential_histogram(0, 0, &[1.0, 2.0, 3.0]);
    let mut after = exponential_histogram(0, 0, &[1.0, 2.0, 4.0]);
    assert!(!after.detect_reset(&before));
    assert!(before.detect_reset(&after));
    after.reset_hint = ResetHint::Reset;
    assert!(after.detect_reset(&before));
    // The same data in a coarser schema is no reset, in a finer one it is.
    let mut coarse = before.clone();
    coarse.reduce_resolution(-1);
    assert!(!coarse.detect_reset(&before));
    assert!(before.detect_reset(&coarse));
    let left = custom(&[1.0, 2.0], &[3.0, 0.0, 1.0]);
    assert!(!custom(&[2.0], &[3.0, 1.0]).detect_reset(&left));
    assert!(custom(&[2.0], &[2.0, 2.0]).detect_reset(&left));
}

#[test]
fn quantiles_interpolate_on_the_scale_of_the_buckets() {
    let histogram = exponential_histogram(0, 1, &[4.0]);
    assert!((histogram.quantile(0.5).value - std::f64::consts::SQRT_2).abs() < 1e-12);
    assert_eq!(custom(&[2.0, 4.0], &[2.0, 2.0, 0.0]).quantile(0.75).value, 3.0);
    assert_eq!(histogram.quantile(1.5).value, f64::INFINITY);
    assert!((histogram.fraction(0.0, std::f64::consts::SQRT_2).value - 0.5).abs() < 1e-12);
}

#[test]
fn trimming_keeps_a_share_of_the_bucket_that_is_cut() {
    let mut histogram = custom(&[2.0, 4.0], &[2.0, 2.0, 1.0]);
    histogram.trim(3.0, Keep::Below);
    assert_eq!((histogram.count, histogram.sum), (3.0, 2.0 * 1.0 + 1.0 * 2.5));
    assert_eq!(buckets(&histogram), [(0, 2.0), (1, 1.0)]);
}

#[test]
fn a_compensated_sum_loses_nothing() {
    let mut sum = sum::HistogramSum::new(&exponential_histogram(0, 0, &[1.0]));
    for count in [1e100, 1.0, -1e100] {
        sum.add(&exponential_histogram(0, 0, &[count])).unwrap();
    }
    assert_eq!(buckets(&sum.total()), [(0, 2.0)]);
}

#[test]
fn classic_buckets_become_custom_ones() {
    let mut classic = classic::ClassicHistogram::default();
    classic.bucket(5.0, 3.0).unwrap();
    classic.bucket(1.0, 1.0).unwrap();
    classic.count(4.0).unwrap();
    assert!(classic.bucket(2.0, 9.0).is_err());
    let histogram = classic.build().unwrap();
    assert_eq!(buckets(&histogram), [(0, 1.0), (1, 2.0), (2, 1.0)]);
    assert_eq!(histogram.check(), Ok(()));
}

#[test]
fn text_is_that_of_prometheus() {
    let histogram = Histogram { zero_count: 1.0, zero_threshold: 0.5, ..exponential_histogram(0, 1, &[2.0]) };
    assert_eq!(histogram.to_string(), "{count:2, sum:2, [-0.5,0.5]:1, (1,2]:2}");
    assert_eq!(exponential(1, 0), 2.0);
}
