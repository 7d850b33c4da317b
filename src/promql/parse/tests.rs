use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::promql::ast::{DurationExpr, ExprKind};
use crate::promql::parse::{MAX_DEPTH, MAX_NESTING, ParseError, parse, parse_selector};

fn corpora() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpora"))
}

fn fault(query: &str) -> ParseError {
    parse(query).expect_err(query)
}

#[test]
fn accepts_and_refuses_what_prometheus_does() {
    let cases = fs::read_to_string(corpora().join("promqlparse/cases.jsonl")).unwrap();
    let mut wrong = String::new();
    for line in cases.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let query = case["query"].as_str().unwrap();
        match (parse(query), case["error"].as_str()) {
            (Ok(_), None) => {}
            (Err(error), Some(message)) => {
                let at = case["at"].as_u64().unwrap();
                if error.message != message || u64::from(error.span.start) != at {
                    _ = writeln!(
                        wrong,
                        "{query}\n  want {at}: {message}\n  got  {}: {}",
                        error.span.start, error.message
                    );
                }
            }
            (Ok(_), Some(message)) => _ = writeln!(wrong, "{query}\n  want {message}\n  got  a tree"),
            (Err(error), None) => _ = writeln!(wrong, "{query}\n  want a tree\n  got  {error}"),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The query of an `eval` line of a test script.
fn query_of(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("eval")?;
    let rest = rest.strip_prefix("_").map_or(rest, |kind| kind.split_once(' ').map_or("", |(_, rest)| rest)).trim();
    if let Some(rest) = rest.strip_prefix("instant at ") {
        return rest.split_once(' ').map(|(_, query)| query);
    }
    rest.strip_prefix("range from ")?.split_once(" step ")?.1.split_once(' ').map(|(_, query)| query)
}

#[test]
fn every_query_of_the_scripts_parses() {
    let mut count = 0;
    let mut wrong = String::new();
    let mut files: Vec<_> =
        fs::read_dir(corpora().join("promqltest")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    assert_eq!(files.len(), 21);
    for file in &files {
        for line in fs::read_to_string(file).unwrap().lines() {
            let Some(query) = query_of(line) else { continue };
            count += 1;
            if let Err(error) = parse(query) {
                _ = writeln!(wrong, "{}: {query}\n  {error}", file.display());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(count, 1415);
}

#[test]
fn nesting_is_limited_before_the_stack_is() {
    let size = 16 << 10;
    for deep in [
        "(".repeat(size),
        "-".repeat(size),
        "sum(".repeat(size / 4),
        "1+".repeat(size / 2) + "1",
        "2^".repeat(size / 2) + "1",
        "a[".to_owned() + &"(".repeat(size),
        "a[".to_owned() + &"-".repeat(size),
        "a offset ".to_owned() + &"-".repeat(size),
        "a".to_owned() + &"[1m:]".repeat(size / 5),
        "a unless ".repeat(size / 9) + "a",
    ] {
        let message = fault(&deep).message;
        assert!(message.starts_with("expression nests deeper than "), "{}: {message}", &deep[..20]);
    }
    let fine = MAX_NESTING as usize - 1;
    parse(&("(".repeat(fine) + "1" + &")".repeat(fine))).unwrap();
    parse(&("abs(".repeat(fine) + "a" + &")".repeat(fine))).unwrap();
    parse(&("sum by (x) (".repeat(fine) + "a" + &")".repeat(fine))).unwrap();
    parse(&("a[".to_owned() + &"(".repeat(fine - 1) + "5m" + &")".repeat(fine - 1) + "]")).unwrap();
    parse(&("a or ".repeat(MAX_DEPTH as usize - 2) + "a")).unwrap();
}

#[test]
fn positions_count_lines() {
    assert_eq!(
        fault("sum(\n  rate(a))").to_string(),
        "2:8: parse error: expected type range vector in call to function \"rate\", got instant vector"
    );
    assert_eq!(fault("").to_string(), "unknown position: parse error: no expression found in input");
    assert_eq!(fault(" # nothing").to_string(), "1:1: parse error: no expression found in input");
}

/// As Prometheus 3.14 answers; letters of more than one byte count by bytes, and are cut by letters.
#[test]
fn words_in_errors_are_cut_as_prometheus_cuts_them() {
    let of = |query: &str| fault(query).message;
    assert_eq!(of("sum(a)\"gr\u{f6}\u{df}e.m\""), "unexpected string \"\\\"gr\u{f6}\u{df}e.m\\\"\"...");
    assert_eq!(of("sum(a)\"abcdefgh\""), "unexpected string \"\\\"abcdefgh\\\"\"");
}

#[test]
fn durations_are_told_without_their_parentheses() {
    let told = |range: &str| {
        let query = format!("x[{range}]");
        let ExprKind::Matrix(matrix) = parse(&query).unwrap().kind else { panic!("{query} is a range") };
        let DurationExpr::Computed(node) = matrix.range else { panic!("{range} is computed") };
        query[node.span.start as usize..node.span.end as usize].to_owned()
    };
    assert_eq!(told("(1m * 2)"), "1m * 2");
    assert_eq!(told("(1m * 2) ^ 3"), "1m * 2) ^ 3");
    assert_eq!(told("max_of(1m, (2m))"), "1m, (2m");
    assert_eq!(told("(1m)"), "(1m");
    assert_eq!(told("step()"), "step()");
}

#[test]
fn selectors_alone() {
    assert_eq!(parse_selector("up{job=~'a.*', \"a b\"!=\"\"}").unwrap().len(), 3);
    assert_eq!(parse_selector("sum").unwrap().len(), 1);
    assert_eq!(parse_selector("{}").unwrap().len(), 0);
    assert_eq!(parse_selector("up[5m]").unwrap_err().to_string(), "1:3: parse error: unexpected \"[\"");
    assert_eq!(parse_selector("").unwrap_err().message, "unexpected end of input");
}
