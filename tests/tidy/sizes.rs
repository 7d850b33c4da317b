//! Files and functions that a reader can hold in the head.

use crate::{assert_only_exceptions, sources};

/// Lines of a file.
const FILE_LINES_MAX: usize = 500;

/// Lines of a function, from its name to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX && !source.is_generated() {
            let fault = format!("{} has {lines} lines, more than {FILE_LINES_MAX}: split it by noun", source.path);
            found.push((source.path, fault));
        }
    }
    assert_only_exceptions("file", &found);
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for source in sources(&["src", "benches"]) {
        if source.is_generated() {
            continue;
        }
        // rustfmt puts the closing brace of an item under its first letter.
        let mut open: Option<(usize, String, String)> = None;
        for (number, line) in source.code() {
            if let Some((start, name, end)) = &open {
                if line.trim_end() == *end {
                    let lines = number - start + 1;
                    if lines > FUNCTION_LINES_MAX {
                        let fault = format!("{}:{start}: `{name}` has {lines} lines", source.path);
                        found.push((format!("{} {name}", source.path), fault));
                    }
                    open = None;
                }
            } else if let Some(name) = function(line).filter(|_| !line.trim_end().ends_with(['}', ';'])) {
                let indent = line.len() - line.trim_start().len();
                open = Some((number, name.to_owned(), format!("{}}}", &line[..indent])));
            }
        }
    }
    assert_only_exceptions("function", &found);
}

/// The name of the function that a line begins to define.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
    let is_item = before.split_whitespace().all(|word| words.contains(&word) || word.starts_with('"'));
    let end = after.find(['(', '<'])?;
    is_item.then(|| &after[..end])
}
