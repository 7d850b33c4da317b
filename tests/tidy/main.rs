//! House rules as tests: which module may use which, sizes, words, and that documents name what the code has.
//!
//! Reads text, compiles nothing, takes well under a second. Exceptions stand in `exceptions.txt` and may only shrink:
//! one that is not needed any more fails as well.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod rows;
mod settings;
mod sizes;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// One file of ours, by its path from the root of the repository.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines with their numbers, comments cut off. A `//` inside a string is cut too, which hides nothing we look for.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or("")))
    }

    /// Written by a generator: only its producer is held to the rules.
    fn is_generated(&self) -> bool {
        self.path.contains("/generated/")
    }
}

/// Every Rust file below the folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut found);
    }
    assert!(folders != ["src"] || found.len() > 50, "the walk found {} files only", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares what was found with the exceptions of one rule, which are lines `rule path…`.
#[track_caller]
fn assert_only_exceptions(rule: &str, found: &[(String, String)]) {
    let exceptions: Vec<String> = include_str!("exceptions.txt")
        .lines()
        .filter_map(|line| line.strip_prefix(rule)?.strip_prefix(' ').map(str::to_owned))
        .collect();
    let faults: Vec<&str> =
        found.iter().filter(|(key, _)| !exceptions.contains(key)).map(|(_, fault)| fault.as_str()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let spare: Vec<&String> =
        exceptions.iter().filter(|exception| !found.iter().any(|(key, _)| key == *exception)).collect();
    assert!(spare.is_empty(), "take these out of exceptions.txt, they are not needed any more: {spare:?}");
}

#[test]
fn the_top_level_has_only_what_is_agreed() {
    // What git knows, where there is a repository: build products and editors' files are nobody's business.
    let listed = std::process::Command::new("git").args(["ls-files"]).current_dir(root()).output();
    let Ok(listed) = listed else { return };
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut top: Vec<&str> = text.lines().filter_map(|path| path.split('/').next()).collect();
    top.dedup();
    let agreed = [
        ".ci",
        ".clippy.toml",
        ".gitignore",
        ".rustfmt.toml",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "benches",
        "config",
        "dashboards",
        "docs",
        "fuzz",
        "proto",
        "src",
        "tests",
        "ui",
    ];
    let strange: Vec<&&str> = top.iter().filter(|name| !agreed.contains(name)).collect();
    assert!(strange.is_empty(), "not agreed at the top level: {strange:?}");
}
