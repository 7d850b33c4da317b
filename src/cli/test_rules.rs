//! `novascope test rules FILES`: unit tests of rules, from promtool's files.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use regex::Regex;

use crate::cli::{complain, junit, say};
use crate::rules::unit_test::{self, Wanted};

#[derive(Debug, Subcommand)]
pub(super) enum Test {
    /// Run unit tests of rules; the files are those of promtool.
    Rules {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Only tests whose name matches one of these regular expressions.
        #[arg(long, value_name = "REGEX")]
        run: Vec<String>,
        /// Where alerts differ: tell the lines that are missing from those that came.
        #[arg(long)]
        diff: bool,
        /// Name each test with its time, and list all that it stored.
        #[arg(long)]
        debug: bool,
        /// Pass over keys of rule files that are not known.
        #[arg(long)]
        ignore_unknown_fields: bool,
    },
}

/// Tests, and where their results go.
#[derive(Debug, clap::Args)]
pub(super) struct Tests {
    /// Write results as JUnit's XML to this file.
    #[arg(long, value_name = "FILE", global = true)]
    junit: Option<PathBuf>,
    #[command(subcommand)]
    test: Test,
}

impl Tests {
    pub(super) fn run(self) -> ExitCode {
        let Test::Rules { files, run, diff, debug, ignore_unknown_fields } = self.test;
        let names = match (!run.is_empty()).then(|| Regex::new(&run.join("|"))).transpose() {
            Ok(names) => names,
            Err(error) => {
                complain(&format!("--run: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let wanted = Wanted { names, ignore_unknown_fields, diff, debug };
        let mut suites = Vec::new();
        let mut failed = false;
        for path in &files {
            say(&format!("Unit Testing:  {}", path.display()));
            let report = unit_test::run_as(path, &wanted);
            failed |= !report.faults.is_empty();
            tell(&report);
            suites.push((path.display().to_string(), report));
        }
        if let Some(path) = &self.junit
            && let Err(error) = std::fs::write(path, junit::document(&suites))
        {
            complain(&format!("--junit: {}: {error}", path.display()));
            failed = true;
        }
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn tell(report: &unit_test::Report) {
    report.warnings.iter().for_each(|warning| complain(&format!("  WARNING: {warning}")));
    report.notes.iter().for_each(|note| complain(note));
    if report.faults.is_empty() {
        say("  SUCCESS");
    } else {
        complain("  FAILED:");
        report.faults.iter().for_each(|fault| complain(&format!("{fault}\n")));
    }
    say("");
}
