//! `novascope check rules FILES`: what promtool says about rule files, with the place of each fault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{complain, say};
use crate::rules::file;
use crate::rules::rule::GroupSpec;

pub(super) fn run(files: &[PathBuf]) -> ExitCode {
    let mut failed = false;
    for path in files {
        say(&format!("Checking {}", path.display()));
        match file::load(path, 60_000) {
            Ok(groups) => {
                let count: usize = groups.iter().map(|group| group.rules.len()).sum();
                for note in repeated(&groups) {
                    say(&format!("  note: {note}"));
                }
                say(&format!("  SUCCESS: {count} rules found"));
            }
            Err(faults) => {
                failed = true;
                complain("  FAILED:");
                for fault in faults {
                    complain(&fault.to_string());
                }
            }
        }
        say("");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Rules with the same name and labels: their series get in each other's way.
fn repeated(groups: &[GroupSpec]) -> Vec<String> {
    let mut seen = BTreeMap::new();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        *seen.entry((rule.name.clone(), rule.labels.clone())).or_insert(0) += 1;
    }
    let repeated = seen.into_iter().filter(|(_, count)| *count > 1);
    repeated
        .map(|((name, labels), count)| {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            format!("{count} rules are called {name} with the labels {{{}}}", labels.join(", "))
        })
        .collect()
}
