//! `novascope check …`: say whether files would be accepted, and why not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::app::config;
use crate::cli::check_config::{self, Wanted};
use crate::cli::check_rules::{self, Lint};
use crate::cli::verdict::{self, Answer, Verdict};
use crate::cli::{check_data, check_metrics, complain};
use crate::notify::settings::Settings;

/// A data folder, or one of the commands below.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(super) struct Check {
    /// A data folder: everything in it is read and verified, as `check data` does.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check configuration files and everything that they name.
    Config {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        answer: Answer,
    },
    /// Check files of recording and alerting rules; without files, standard input.
    Rules {
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// all, duplicate-rules, none; several with commas.
        #[arg(long, value_delimiter = ',', default_value = "duplicate-rules")]
        lint: Vec<String>,
        /// Pass over keys that are not known.
        #[arg(long)]
        ignore_unknown_fields: bool,
        /// A running server, such as http://127.0.0.1:9090: also name metrics that it does not have.
        #[arg(long = "metrics-from", value_name = "URL")]
        metrics_from: Option<String>,
        #[command(flatten)]
        answer: Answer,
    },
    /// Check metrics in the text format on standard input against Prometheus' guide to naming.
    Metrics {
        #[command(flatten)]
        wanted: check_metrics::Wanted,
    },
    /// Check alertmanager.yml files: routes, receivers, time intervals, and all templates in them and beside them.
    Alertmanager {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        answer: Answer,
    },
    /// Check files of service level objectives: our form, Sloth's, Pyrra's, OpenSLO's.
    Slo {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        answer: Answer,
    },
    /// Read everything in a data folder (log, snapshot of columns, blocks, manifest, deletions) and verify checksums and
    /// contents. Changes nothing; beside a running daemon, what that is writing may look damaged.
    Data {
        #[arg(value_name = "DIR", default_value = "./novascope-data")]
        folder: PathBuf,
    },
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        let what = match (self.what, self.folder) {
            (Some(what), _) => what,
            (None, Some(folder)) => What::Data { folder },
            // Without anything clap shows the help.
            (None, None) => return ExitCode::from(2),
        };
        match what {
            What::Config { files, wanted, answer } => verdict::tell(&check_config::check(&files, &wanted), answer),
            What::Rules { files, lint, ignore_unknown_fields, metrics_from, answer } => {
                let lints = Lint::read(&lint, &[Lint::DuplicateRules]);
                let metrics_from = metrics_from.as_deref();
                let wanted = check_rules::Wanted { lints: &lints, ignore_unknown_fields, metrics_from };
                match check_rules::check(&files, wanted) {
                    Ok(verdicts) => verdict::tell(&verdicts, answer),
                    Err(error) => {
                        complain(&error);
                        ExitCode::FAILURE
                    }
                }
            }
            What::Metrics { wanted } => check_metrics::run(&wanted),
            What::Alertmanager { files, answer } => {
                let verdicts: Vec<Verdict> = files.iter().map(|file| alertmanager_verdict(file)).collect();
                verdict::tell(&verdicts, answer)
            }
            What::Slo { files, answer } => verdict::tell(&crate::cli::check_slo::check(&files), answer),
            What::Data { folder } => check_data::run(&folder),
        }
    }
}

fn alertmanager_verdict(file: &Path) -> Verdict {
    let mut verdict = Verdict::of(file);
    match config::alerting::load(file, &Settings::default()) {
        Ok(loaded) => {
            let (receivers, templates) = (loaded.config.receivers.len(), loaded.templates.len());
            verdict.summary = format!("{receivers} receivers, {templates} template files");
        }
        Err(fault) => verdict.faults.push(fault),
    }
    verdict
}
