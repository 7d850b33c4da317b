//! `novascope test rules FILES`: unit tests of rules, from promtool's files.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use regex::Regex;

use crate::cli::{complain, say};
use crate::rules::unit_test;

#[derive(Debug, Subcommand)]
pub(super) enum Test {
    /// Run unit tests of rules; the files are those of promtool.
    Rules {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Only tests whose name matches one of these regular expressions.
        #[arg(long, value_name = "REGEX")]
        run: Vec<String>,
    },
}

impl Test {
    pub(super) fn run(self) -> ExitCode {
        let Self::Rules { files, run } = self;
        let names = match (!run.is_empty()).then(|| Regex::new(&run.join("|"))).transpose() {
            Ok(names) => names,
            Err(error) => {
                complain(&format!("--run: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let mut failed = false;
        for path in files {
            say(&format!("Unit Testing:  {}", path.display()));
            let report = unit_test::run_named(&path, names.as_ref());
            for warning in &report.warnings {
                complain(&format!("  WARNING: {warning}"));
            }
            if report.faults.is_empty() {
                say("  SUCCESS");
            } else {
                failed = true;
                complain("  FAILED:");
                for fault in &report.faults {
                    complain(&format!("{fault}\n"));
                }
            }
            say("");
        }
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
