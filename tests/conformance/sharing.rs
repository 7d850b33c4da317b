//! What a query has twice is read once.

use novascope::promql::eval::{Outcome, QueryOptions, Window, range};
use novascope::promql::parse::parse;

use crate::generate::{Dice, Kinds, samples};
use crate::store::Store;

fn ask(store: &Store, query: &str, options: &QueryOptions) -> Outcome {
    let window = Window { start: 900_000, end: 1_800_000, step: 15_000 };
    range(store, query, &parse(query).unwrap(), window, options).unwrap()
}

#[test]
fn equal_parts_are_read_once() {
    let store = samples(&mut Dice::new(3), 150, 15_000, Kinds { exotic: false });
    let options = QueryOptions::default();
    let read = |query: &str| ask(&store, query, &options).stats.samples;
    let once = read("sum by (g) (rate(a_total[5m]))");
    assert_eq!(read("sum by (g) (rate(a_total[5m])) / sum by (g) (rate(a_total[5m]))"), once);
    assert_eq!(read("sum(rate(a_total[5m])) / count(rate(a_total[5m]))"), once);
    assert_eq!(read("(rate(a_total[5m]) > 0.5) or -(rate(a_total[5m]))"), once);
    // Another range, another text.
    assert!(read("sum(rate(a_total[5m])) / sum(rate(a_total[5m] offset 5m))") > once);
}

#[test]
fn sharing_changes_no_answer() {
    let store = samples(&mut Dice::new(4), 150, 15_000, Kinds { exotic: true });
    for query in [
        "sum by (g) (rate(a_total[5m])) / on (g) group_right () (rate(a_total[5m]) * rate(a_total[5m]))",
        "topk(2, rate(a_total[5m])) or bottomk(1, rate(a_total[5m]))",
        "histogram_count(rate(h[5m])) / ignoring (x) histogram_count(rate(h[5m]))",
        "histogram_quantile(0.5, rate(h[5m])) * histogram_sum(rate(h[5m]))",
        // It says where it stands, twice.
        "rate(b[5m]) + rate(b[5m])",
        "max_over_time(sum(rate(a_total[5m]))[5m:30s]) - sum(rate(a_total[5m]))",
        "sum(rate(a_total[5m] @ 1200)) - sum(rate(a_total[5m] @ 1200))",
    ] {
        // Whoever counts samples by step gets everything evaluated as it stands.
        let apart = QueryOptions { count_steps: true, ..QueryOptions::default() };
        let (shared, apart) = (ask(&store, query, &QueryOptions::default()), ask(&store, query, &apart));
        assert_eq!(format!("{:?}", shared.value), format!("{:?}", apart.value), "{query}");
        assert_eq!((shared.warnings, shared.infos), (apart.warnings, apart.infos), "{query}");
    }
}

#[test]
fn selectors_of_the_same_series_read_them_once() {
    let store = samples(&mut Dice::new(5), 150, 15_000, Kinds { exotic: false });
    let options = QueryOptions::default();
    let read = |query: &str| ask(&store, query, &options).stats.samples;
    let (long, short) = (read("avg_over_time(a_total[20m])"), read("rate(a_total[5m])"));
    assert!(long > short);
    assert_eq!(read("rate(a_total[5m]) / avg_over_time(a_total[20m])"), long);
    assert_eq!(read("a_total - avg_over_time(a_total[20m])"), long);
    assert_eq!(read("sum(rate(a_total[20m])) > 0 and sum(rate(a_total[5m])) > 0 and count(a_total) > 0"), long);
    // Other times are other samples.
    assert!(read("rate(a_total[5m]) / avg_over_time(a_total[5m] offset 5m)") > short);
    assert!(read("rate(a_total[5m]) / max_over_time(rate(a_total[5m])[5m:1m])") > short);
}

#[test]
fn reading_once_changes_no_answer() {
    let store = samples(&mut Dice::new(6), 150, 15_000, Kinds { exotic: true });
    for query in [
        "rate(a_total[5m]) / avg_over_time(a_total[20m])",
        "a_total - a_total offset 1m + increase(a_total[1m])",
        "sum by (g) (b) / count by (g) (b) - on (g) avg by (g) (b)",
        "predict_linear(b[5m], scalar(max(b))) > stddev_over_time(b[10m]) or b",
        "histogram_count(rate(h[5m])) / histogram_count(rate(h[10m]))",
        "histogram_quantile(0.5, rate(h[5m])) + histogram_quantile(0.5, rate(h[1m]))",
        "absent_over_time(b[1m]) or last_over_time(b[5m]) or timestamp(b) or b",
        "rate(b[5m]) + irate(b[1m]) + deriv(b[2m]) + changes(b[3m])",
        "quantile_over_time(0.9, b[5m]) > bool mad_over_time(b[4m])",
        "sum(a_total @ 1200) - sum(a_total) + sum(rate(a_total[1m:15s]))",
    ] {
        let apart = QueryOptions { count_steps: true, ..QueryOptions::default() };
        let (joint, apart) = (ask(&store, query, &QueryOptions::default()), ask(&store, query, &apart));
        assert_eq!(format!("{:?}", joint.value), format!("{:?}", apart.value), "{query}");
        assert_eq!((joint.warnings, joint.infos), (apart.warnings, apart.infos), "{query}");
    }
}
