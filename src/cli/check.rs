//! `novascope check …`: say whether files would be accepted, and why not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::app::config;
use crate::cli::{check_data, check_rules, complain, say};

#[derive(Debug, Subcommand)]
pub(super) enum Check {
    /// Check configuration files and everything that they name.
    Config {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check files of recording and alerting rules.
    Rules {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Read every block of a data folder and verify checksums and contents. Changes nothing; works beside a running
    /// daemon.
    Data {
        #[arg(value_name = "DIR", default_value = "./novascope-data")]
        folder: PathBuf,
    },
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        let files = match self {
            Self::Config { files } => files,
            Self::Rules { files } => return check_rules::run(&files),
            Self::Data { folder } => return check_data::run(&folder),
        };
        let mut failed = false;
        for file in files {
            match config::load(&file) {
                Ok(loaded) => {
                    for note in &loaded.notes {
                        say(&format!("{}: note: {note}", file.display()));
                    }
                    let jobs = loaded.config.scrape_configs.len();
                    say(&format!("{}: good, {jobs} scrape configs", file.display()));
                }
                Err(error) => {
                    failed = true;
                    complain(&error.to_string());
                }
            }
        }
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
