//! Modules stand in rows; a module uses itself and lower rows, never its own row.

use crate::{Source, assert_only_exceptions, sources};

/// Rows from the lowest.
const ROWS: [&[&str]; 11] = [
    &["base", "proto"],
    &["model", "telemetry", "ui"],
    &["codec", "promql", "server", "template"],
    &["storage", "traceql", "logql"],
    &["metrics", "traces", "logs", "profiles", "flows"],
    &["ingest", "export", "query", "notify"],
    &["rules", "analytics"],
    &["slo"],
    &["api"],
    &["app"],
    &["cli"],
];

/// Modules without an async runtime: they are driven from outside, so that a simulation can run them.
const SYNCHRONOUS: [&str; 7] = ["model", "codec", "promql", "template", "storage", "metrics", "traces"];

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// The module that a file belongs to; none for lib.rs and main.rs.
fn module(source: &Source) -> Option<&str> {
    let rest = source.path.strip_prefix("src/")?;
    rest.split_once('/').map(|(module, _)| module).or_else(|| rest.strip_suffix(".rs"))
}

/// Names that follow `crate::` in a line.
fn crosses(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_')?;
        (end > 0).then(|| &rest[..end])
    })
}

#[test]
fn modules_use_lower_rows_only() {
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        let Some(from) = module(&source).filter(|module| !matches!(*module, "lib" | "main")) else { continue };
        let Some(own) = row(from) else { panic!("{} is in no row: add it to tests/tidy/rows.rs", source.path) };
        for (number, line) in source.code() {
            for to in crosses(line).filter(|to| *to != from) {
                if row(to).is_some_and(|row| row >= own) {
                    let fault = format!("{}:{number}: `{from}` (row {own}) may not use `{to}`", source.path);
                    found.push((format!("{} {to}", source.path), fault));
                }
            }
        }
    }
    assert_only_exceptions("row", &found);
}

#[test]
fn modules_are_crossed_in_one_way_only() {
    let mut found = Vec::new();
    for source in sources(&["src"]).into_iter().filter(|source| !source.is_generated()) {
        for (number, line) in source.code() {
            let trimmed = line.trim();
            let glob = trimmed.starts_with("use crate::") && trimmed.ends_with("::*;");
            let export = trimmed.starts_with("pub use crate::")
                && !module(&source).is_some_and(|own| trimmed.starts_with(&format!("pub use crate::{own}::")));
            for (bad, why) in [
                (glob, "no globs across modules"),
                (export, "no re-export of another module"),
                (trimmed.contains("super::super"), "write crate::… instead of super::super"),
            ] {
                if bad {
                    found.push((source.path.clone(), format!("{}:{number}: {why}", source.path)));
                }
            }
        }
    }
    assert_only_exceptions("crossing", &found);
}

#[test]
fn stores_and_languages_know_no_async_runtime() {
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        if !module(&source).is_some_and(|module| SYNCHRONOUS.contains(&module))
            || source.path.ends_with("tests.rs")
            || source.path.contains("/tests/")
        {
            continue;
        }
        for (number, line) in source.code() {
            if line.contains("tokio::") || line.contains("async fn") || line.contains(".await") {
                found.push((source.path.clone(), format!("{}:{number}: no async runtime here", source.path)));
            }
        }
    }
    assert_only_exceptions("async", &found);
}
