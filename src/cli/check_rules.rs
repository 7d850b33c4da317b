//! `novascope check rules FILES`: what promtool says about rule files, with the place of each fault.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::yaml::YamlError;
use crate::cli::verdict::Verdict;
use crate::cli::{complain, query};
use crate::rules::near::near_metric;
use crate::rules::rule::GroupSpec;
use crate::rules::{absent, file};

/// What is looked for beside faults, as promtool names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lint {
    DuplicateRules,
    TooLongScrapeInterval,
}

impl Lint {
    /// The lints that words ask for, of those that there are here. A word that is not known is warned of, as promtool does.
    pub(super) fn read(words: &[String], here: &[Self]) -> Vec<Self> {
        let mut wanted = Vec::new();
        for word in words {
            let lint = match word.as_str() {
                "" | "none" => continue,
                "all" => {
                    wanted.extend(here);
                    continue;
                }
                "duplicate-rules" => Self::DuplicateRules,
                "too-long-scrape-interval" if here.contains(&Self::TooLongScrapeInterval) => {
                    Self::TooLongScrapeInterval
                }
                _ => {
                    complain(&format!("WARNING: unknown lint option: {word:?}"));
                    continue;
                }
            };
            wanted.push(lint);
        }
        let is_config = here.contains(&Self::TooLongScrapeInterval);
        if is_config && words.iter().any(|word| word == "none") { Vec::new() } else { wanted }
    }
}

/// What rules are checked for beside their form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) lints: &'a [Lint],
    pub(super) ignore_unknown_fields: bool,
    /// A server that must know every metric that rules name.
    pub(super) metrics_from: Option<&'a str>,
}

/// Checks files; without any, standard input. An error where the server cannot be asked.
pub(super) fn check(files: &[PathBuf], wanted: Wanted<'_>) -> Result<Vec<Verdict>, String> {
    let mut read = read_all(files, wanted.ignore_unknown_fields);
    if let Some(server) = wanted.metrics_from {
        let answer = query::fetch(server, "/api/v1/label/__name__/values", &[])?;
        let sent = answer["data"].as_array().into_iter().flatten().filter_map(|name| name.as_str());
        let mut known: BTreeSet<String> = sent.map(str::to_owned).collect();
        let rules =
            || read.iter().filter_map(|(_, groups)| groups.as_ref().ok()).flatten().flat_map(|group| &group.rules);
        known.extend(rules().filter(|rule| rule.alerting().is_none()).map(|rule| rule.name.to_string()));
        known.extend(["ALERTS".to_owned(), "ALERTS_FOR_STATE".to_owned()]);
        return Ok(read
            .drain(..)
            .map(|(path, groups)| {
                let unsent = groups.as_ref().map(|groups| unsent(groups, &known)).unwrap_or_default();
                let mut verdict = verdict(&path, groups, wanted.lints);
                verdict.lints.extend(unsent);
                verdict
            })
            .collect());
    }
    Ok(read.into_iter().map(|(path, groups)| verdict(&path, groups, wanted.lints)).collect())
}

/// Metrics that rules name and the server does not know, each with the rules that name it.
fn unsent(groups: &[GroupSpec], known: &BTreeSet<String>) -> Vec<String> {
    let mut named: BTreeMap<Arc<str>, Vec<&str>> = BTreeMap::new();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        for metric in absent::metrics(&rule.expr).into_iter().filter(|metric| !known.contains(&**metric)) {
            named.entry(metric).or_default().push(&rule.name);
        }
    }
    named
        .into_iter()
        .map(|(metric, rules)| {
            let near = near_metric(&metric, known.iter().map(String::as_str));
            let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            format!("nobody sends the metric {metric}, which {} names{near}", rules.join(", "))
        })
        .collect()
}

type Read = (PathBuf, Result<Vec<GroupSpec>, Vec<YamlError>>);

fn read_all(files: &[PathBuf], is_lenient: bool) -> Vec<Read> {
    if files.is_empty() {
        let mut text = String::new();
        let read = std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| vec![crate::base::yaml::YamlError::whole_file("standard input", error.to_string())]);
        let groups = read.and_then(|_| file::read_as("standard input", &text, 60_000, is_lenient));
        return vec![(PathBuf::from("standard input"), groups)];
    }
    let load = if is_lenient { file::load_leniently } else { file::load };
    files.iter().map(|path| (path.clone(), load(path, 60_000))).collect()
}

fn verdict(path: &Path, groups: Result<Vec<GroupSpec>, Vec<YamlError>>, lints: &[Lint]) -> Verdict {
    let mut verdict = Verdict::of(path);
    match groups {
        Ok(groups) => {
            let count: usize = groups.iter().map(|group| group.rules.len()).sum();
            if lints.contains(&Lint::DuplicateRules) {
                verdict.lints = repeated(&groups);
            }
            verdict.summary = format!("{count} rules found");
        }
        Err(faults) => verdict.faults = faults,
    }
    verdict
}

/// Rules of one file with the same name and labels: their series get in each other's way.
pub(super) fn repeated<'a>(groups: impl IntoIterator<Item = &'a GroupSpec>) -> Vec<String> {
    let mut seen = BTreeMap::new();
    for rule in groups.into_iter().flat_map(|group| &group.rules) {
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
