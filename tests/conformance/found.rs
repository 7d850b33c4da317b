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
    let one = "{i=\"0\"} {{count:2 sum:3 buckets:[1 1]}}";
    holds(&format!("eval instant at 1m sum_over_time({{__name__=~\"b|h\"}}[1m])\n  {one}\n"));
}

/// Nobody asked for the labels of what the scalar was made of.
#[test]
fn one_quantile_twice_is_one_series_twice() {
    holds("eval instant at 1m vector(scalar(histogram_quantiles(h, \"q\", 0.5, 0.5)))\n  expect fail\n");
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
