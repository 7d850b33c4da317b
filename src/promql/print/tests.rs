use std::fmt::Write;
use std::fs;

use proptest::prelude::*;

use crate::promql::parse::parse;
use crate::promql::print::pretty::break_lines;
use crate::promql::print::{format, pretty, short_number};

fn corpus(name: &str) -> Vec<serde_json::Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpora/promqlparse/").to_owned() + name;
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn prints_what_prometheus_prints() {
    let mut wrong = String::new();
    for case in corpus("printed.jsonl") {
        let (query, want) = (case["query"].as_str().unwrap(), case["printed"].as_str().unwrap());
        let expr = parse(query).unwrap();
        let got = match case["width"].as_u64() {
            Some(width) => break_lines(&expr, usize::try_from(width).unwrap(), 0),
            None => format(&expr),
        };
        if got != want {
            _ = writeln!(wrong, "{query}\n--- want\n{want}\n--- got\n{got}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[track_caller]
fn check_round_trip(query: &str) {
    let expr = parse(query).unwrap();
    let line = format(&expr);
    let again = parse(&line).unwrap_or_else(|error| panic!("{query}\n{line}\n{error}"));
    assert_eq!(format(&again), line, "{query}");
    let broken = break_lines(&expr, 10, 0);
    let again = parse(&broken).unwrap_or_else(|error| panic!("{query}\n{broken}\n{error}"));
    assert_eq!(format(&again), line, "{query}");
}

#[test]
fn what_is_printed_parses_to_the_same() {
    for case in corpus("cases.jsonl") {
        if case["error"].is_null() {
            check_round_trip(case["query"].as_str().unwrap());
        }
    }
}

#[test]
fn numbers_as_go_writes_them() {
    for (value, text) in [(0.0, "0"), (1e21, "1e+21"), (-2.5e-7, "-2.5e-07"), (1e20, "100000000000000000000")] {
        assert_eq!(short_number(value), text);
    }
    let round_trip = |query: &str| format(&parse(query).unwrap());
    assert_eq!(round_trip("1e3 + 1e-7 + Inf - -inf"), "1000 + 0.0000001 + +Inf - -Inf");
    assert_eq!(round_trip("90s * -0.5"), "1m30s * -0.5");
    assert_eq!(round_trip("info(a, {})"), "info(a, {})");
}

#[test]
fn short_expressions_stay_on_one_line() {
    let expr = parse("sum(rate(a[5m]))by(b)").unwrap();
    assert_eq!(pretty(&expr), "sum by (b) (rate(a[5m]))");
}

/// Random expressions that are well typed: vectors of every shape.
fn vectors() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("a"), Just("sum"), Just("offset"), Just("job:rate5m"), Just("start"), Just("inf_x")];
    let matcher = prop_oneof![
        Just("{}"),
        Just("{x=\"\\\"\\\\\"}"),
        Just("{x=~'a|b', y!~\"\"}"),
        Just("{`ü b`!='\\n'}"),
        Just("{x='',}")
    ];
    let modifier = prop_oneof![
        Just(""),
        Just(" offset 5m"),
        Just(" offset -1h30m"),
        Just(" @ start()"),
        Just(" @ -1.5 offset (1m+step())"),
        Just(" offset -max_of(1s, 2) @ end()"),
        Just(" smoothed")
    ];
    let leaf = (name, matcher, modifier).prop_map(|(name, matcher, modifier)| format!("{name}{matcher}{modifier}"));
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop_oneof![
            Just("+"),
            Just("- on()"),
            Just("^ ignoring(x) group_left(y)"),
            Just("</"),
            Just("== bool"),
            Just("> on(x) group_right()"),
            Just("and on(x)"),
            Just("unless"),
            Just("or"),
            Just("/ fill(0)"),
            Just("* fill_left(-1e-9) fill_right(2)")
        ];
        let call = prop_oneof![
            Just(("abs(", ")")),
            Just(("sum by (x, `y z`) (", ")")),
            Just(("topk without (x) (2, ", ")")),
            Just(("-", "")),
            Just(("(", ")")),
            Just(("rate((", ")[5m:])")),
            Just(("max_over_time(abs(", ")[1h:step() * 2] @ 3 offset 1w)")),
            Just(("label_join(", ", \"d\", '-', `\\`)")),
            Just(("round(", ", -1.5e300)"))
        ];
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            (call, inner).prop_map(|((before, after), inner)| format!("{before}{inner}{after}")),
        ]
    })
}

proptest! {
    #[test]
    fn random_expressions_survive_printing(query in vectors()) {
        check_round_trip(&query);
    }
}
