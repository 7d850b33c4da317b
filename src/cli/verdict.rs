//! What a check found, told to people or to programs: one shape for every `novascope check`.
//!
//! Exit codes are promtool's: 0 good, 1 faults, 3 only lints and `--lint-fatal`.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::base::yaml::YamlError;
use crate::cli::{complain, say};

/// The exit code where nothing but lints was found and they are to be fatal.
const LINTED: u8 = 3;

/// How a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON document on standard output.
    Json,
}

/// How every check answers.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Answer {
    /// text for people, json for programs.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
    /// End with code 3 when there are lints.
    #[arg(long = "lint-fatal")]
    pub(super) lint_fatal: bool,
}

/// What was found in one file.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) file: String,
    pub(super) faults: Vec<YamlError>,
    /// What is allowed and hardly meant.
    pub(super) lints: Vec<String>,
    pub(super) notes: Vec<String>,
    /// What the file holds, where it is good.
    pub(super) summary: String,
}

/// Tells all verdicts and gives the exit code that goes with them.
pub(super) fn tell(verdicts: &[Verdict], answer: Answer) -> ExitCode {
    match answer.format {
        Format::Text => verdicts.iter().for_each(Verdict::say),
        Format::Json => {
            let good = verdicts.iter().all(|verdict| verdict.faults.is_empty());
            let files: Vec<Value> = verdicts.iter().map(Verdict::json).collect();
            say(&json!({"ok": good, "files": files}).to_string());
        }
    }
    if verdicts.iter().any(|verdict| !verdict.faults.is_empty()) {
        ExitCode::FAILURE
    } else if answer.lint_fatal && verdicts.iter().any(|verdict| !verdict.lints.is_empty()) {
        ExitCode::from(LINTED)
    } else {
        ExitCode::SUCCESS
    }
}

impl Verdict {
    pub(super) fn of(file: &std::path::Path) -> Self {
        Self { file: file.display().to_string(), ..Self::default() }
    }

    fn say(&self) {
        say(&format!("Checking {}", self.file));
        for note in &self.notes {
            say(&format!("  note: {note}"));
        }
        if !self.faults.is_empty() || !self.lints.is_empty() {
            complain("  FAILED:");
        }
        for fault in &self.faults {
            complain(&fault.to_string());
        }
        for lint in &self.lints {
            complain(&format!("lint error {lint}"));
        }
        if self.faults.is_empty() && self.lints.is_empty() {
            say(&format!("  SUCCESS: {}", self.summary));
        }
        say("");
    }

    fn json(&self) -> Value {
        let faults: Vec<Value> = self.faults.iter().map(fault_json).collect();
        json!({
            "file": self.file,
            "ok": self.faults.is_empty(),
            "faults": faults,
            "lints": self.lints,
            "notes": self.notes,
            "summary": self.summary,
        })
    }
}

fn fault_json(fault: &YamlError) -> Value {
    json!({
        "file": fault.file,
        "line": fault.at.map(|at| at.0),
        "column": fault.at.map(|at| at.1),
        "severity": "error",
        "message": fault.message,
        "hint": fault.hint,
        "source": fault.source_line(),
    })
}
