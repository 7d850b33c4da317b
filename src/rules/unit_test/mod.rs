//! Unit tests of rules: promtool's files, unchanged, with promtool's verdicts.
//!
//! A test loads series, evaluates the groups at every interval as if time passed, and compares alerts and the results of
//! expressions with what the file expects. Everything is in memory and takes no time but the evaluation's.

mod compare;
pub mod memory;
mod notation;
mod run;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::{Deserialize, Deserializer};

use crate::base::glob;
use crate::base::units::Period;
use crate::base::yaml;

/// Bytes of one test file.
const FILE_BYTES_MAX: u64 = 32 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TestFile {
    rule_files: Option<Vec<String>>,
    evaluation_interval: Period,
    group_eval_order: Option<Vec<String>>,
    tests: Option<Vec<TestGroup>>,
    fuzzy_compare: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TestGroup {
    name: String,
    interval: Period,
    input_series: Option<Vec<InputSeries>>,
    alert_rule_test: Option<Vec<AlertTest>>,
    promql_expr_test: Option<Vec<ExprTest>>,
    external_labels: Option<BTreeMap<String, String>>,
    external_url: String,
    start_timestamp: Option<StartTime>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct InputSeries {
    series: String,
    values: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AlertTest {
    eval_time: Period,
    alertname: String,
    exp_alerts: Option<Vec<ExpectedAlert>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExpectedAlert {
    exp_labels: Option<BTreeMap<String, String>>,
    exp_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExprTest {
    expr: String,
    eval_time: Period,
    exp_samples: Option<Vec<ExpectedSample>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExpectedSample {
    labels: String,
    value: Number,
    histogram: String,
}

/// A float in any of YAML's spellings.
#[derive(Clone, Copy, Debug, Default)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = text.to_ascii_lowercase().replace(".inf", "inf").replace(".nan", "nan");
        notation::number(&plain).map(Self).ok_or_else(|| serde::de::Error::custom(format!("not a number: {text:?}")))
    }
}

/// Milliseconds since 1970; written as RFC 3339 or in seconds.
#[derive(Clone, Copy, Debug)]
struct StartTime(i64);

impl<'de> Deserialize<'de> for StartTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates as far as time goes")]
        let secs = text.parse::<f64>().ok().map(|secs| (secs * 1000.0).round() as i64);
        let millis = secs.or_else(|| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond));
        millis.map(Self).ok_or_else(|| serde::de::Error::custom(format!("cannot parse {text:?} to a valid timestamp")))
    }
}

/// What is wanted of a run.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only tests whose names match.
    pub names: Option<Regex>,
    /// Keys of rule files that are not known are passed over.
    pub ignore_unknown_fields: bool,
    /// Where alerts differ only their differing lines are told apart, in the way of `diff`.
    pub diff: bool,
    /// Each test is named with its time, and everything that it stored is listed.
    pub debug: bool,
}

/// What came of a file: no faults if all tests passed.
#[derive(Debug, Default)]
pub struct Report {
    /// Those of the file itself and of all tests.
    pub faults: Vec<String>,
    pub warnings: Vec<String>,
    /// What `debug` asks for.
    pub notes: Vec<String>,
    /// Each test that ran, with its faults. None where the file itself cannot be used.
    pub cases: Vec<(String, Vec<String>)>,
}

/// Runs all tests of a file.
pub fn run(path: &Path) -> Report {
    run_as(path, &Wanted::default())
}

/// Runs tests of a file.
pub fn run_as(path: &Path, wanted: &Wanted) -> Report {
    let mut report = Report::default();
    match read(path, &mut report) {
        Ok((file, rule_files)) => run::run(&file, &rule_files, wanted, &mut report),
        Err(fault) => report.faults.push(fault),
    }
    report
}

/// The file, and the rule files that it names.
fn read(path: &Path, report: &mut Report) -> Result<(TestFile, Vec<PathBuf>), String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{} has more than {FILE_BYTES_MAX} bytes", path.display()));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: TestFile = yaml::read_plain(&path.display().to_string(), &text).map_err(|error| error.to_string())?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut rule_files = Vec::new();
    for pattern in file.rule_files.iter().flatten() {
        let found: Vec<PathBuf> =
            glob::expand(&folder.join(pattern)).into_iter().filter(|found| found.exists()).collect();
        if found.is_empty() {
            report.warnings.push(format!("no file match pattern {}", folder.join(pattern).display()));
        }
        rule_files.extend(found);
    }
    let mut order = file.group_eval_order.iter().flatten().collect::<Vec<_>>();
    order.sort_unstable();
    if let Some(twice) = order.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("group name repeated in evaluation order: {}", twice[0]));
    }
    Ok((file, rule_files))
}

#[cfg(test)]
mod tests;
