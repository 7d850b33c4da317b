//! What random queries have found to differ from Prometheus 3.14, each with what it answers.

use novascope::promql::eval::{QueryOptions, Window, range};
use novascope::promql::parse::parse;

use crate::generate::{Dice, Kinds, samples};
use crate::run;

const LOAD: &str = "load 1m
  b{i=\"0\"} 1 1 1
  m{i=\"0\"} 2 2 2
  h{i=\"0\"} {{count:2 sum:3 buckets:[1 1]}}x2

";

#[track_caller]
fn holds(case: &str) {
    for (line, outcome) in run::file(&format!("{LOAD}{case}")) {
        assert!(outcome.is_ok(), "{case}line {line}: {outcome:?}");
    }
}

/// A histogram stood between two floats of the same labels, so that these did not meet.
#[test]
fn three_series_of_one_name_meet_each_other() {
    for names in ["b|h|m", "b|m", "h|m|b"] {
        holds(&format!("eval instant at 1m sum_over_time({{__name__=~\"{names}\"}}[1m])\n  expect fail\n"));
        holds(&format!("eval range from 0 to 2m step 1m -({{__name__=~\"{names}\"}})\n  expect fail\n"));
    }
}

/// Nobody asked for the labels of what the scalar was made of. A single evaluation of Prometheus does not either.
#[test]
fn one_quantile_twice_is_one_series_twice() {
    let store = samples(&mut Dice::new(3), 100, 15_000, Kinds { exotic: true });
    let window = Window { start: 300_000, end: 600_000, step: 15_000 };
    let query = "vector(scalar(histogram_quantiles(h, \"q\", 0.5, 0.5)))";
    let error = range(&store, query, &parse(query).unwrap(), window, &QueryOptions::default()).unwrap_err();
    assert_eq!(error.message, "vector cannot contain metrics with the same labelset");
    holds("eval instant at 1m histogram_quantiles(h, \"q\", 0.5, 0.5)\n  expect fail\n");
    holds("eval instant at 1m sum(histogram_quantiles(h, \"q\", 0, 1))\n  {} 2.5\n");
}

#[test]
fn a_quantile_that_is_no_number_at_a_step_hides_those_beyond_0_and_1() {
    let store = samples(&mut Dice::new(3), 100, 15_000, Kinds { exotic: false });
    let window = Window { start: 0, end: 1_800_000, step: 15_000 };
    let query = "quantile(scalar(c{i=\"0\"}), b)";
    let outcome = range(&store, query, &parse(query).unwrap(), window, &QueryOptions::default()).unwrap();
    let warning = "PromQL warning: quantile value should be between 0 and 1, got NaN (1:10)";
    assert_eq!(outcome.warnings, [warning]);
}

/// The first histogram is gone with its reset, and the layout of the next still counts.
#[test]
fn a_rate_after_a_reset_has_the_bounds_of_what_comes_next() {
    let load = "load 1m
  n {{schema:-53 count:9 sum:9 custom_values:[1 5] buckets:[3 3 3]}} \
{{schema:-53 count:3 sum:3 custom_values:[1 5] buckets:[1 1 1]}} \
{{schema:-53 count:6 sum:6 custom_values:[1 3] buckets:[2 2 2]}}

";
    let expected = "{} {{schema:-53 count:6.05 sum:6.05 custom_values:[1] buckets:[2.0166666667 4.0333333333]}}";
    let case = format!("eval instant at 2m increase(n[121s])\n  expect info\n  {expected}\n");
    let outcome = run::file(&format!("{load}{case}"));
    assert!(outcome[0].1.is_ok(), "{:?}", outcome[0].1);
}
