//! `novascope check rules FILES`: what promtool says about rule files, with the place of each fault.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::cli::verdict::Verdict;
use crate::rules::file;
use crate::rules::rule::GroupSpec;

/// Which lints are wanted, as promtool names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Lint {
    All,
    DuplicateRules,
    TooLongScrapeInterval,
    None,
}

impl Lint {
    /// Whether one of the wanted is this.
    pub(super) fn wants(wanted: &[Self], lint: Self) -> bool {
        !wanted.contains(&Self::None) && (wanted.contains(&Self::All) || wanted.contains(&lint))
    }
}

/// Checks files; without any, standard input.
pub(super) fn check(files: &[PathBuf], lints: &[Lint]) -> Vec<Verdict> {
    if files.is_empty() {
        let mut text = String::new();
        let read = std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| vec![crate::base::yaml::YamlError::whole_file("standard input", error.to_string())]);
        let groups = read.and_then(|_| file::read("standard input", &text, 60_000));
        return vec![verdict(Path::new("standard input"), groups, lints)];
    }
    files.iter().map(|path| verdict(path, file::load(path, 60_000), lints)).collect()
}

fn verdict(path: &Path, groups: Result<Vec<GroupSpec>, Vec<crate::base::yaml::YamlError>>, lints: &[Lint]) -> Verdict {
    let mut verdict = Verdict::of(path);
    match groups {
        Ok(groups) => {
            let count: usize = groups.iter().map(|group| group.rules.len()).sum();
            if Lint::wants(lints, Lint::DuplicateRules) {
                verdict.lints = repeated(&groups);
            }
            verdict.summary = format!("{count} rules found");
        }
        Err(faults) => verdict.faults = faults,
    }
    verdict
}

/// Rules with the same name and labels: their series get in each other's way.
pub(super) fn repeated(groups: &[GroupSpec]) -> Vec<String> {
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
