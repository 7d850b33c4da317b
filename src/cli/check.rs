//! `novascope check …`: say whether files would be accepted, and why not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::app::config;
use crate::cli::check_rules::{self, Lint, Wanted};
use crate::cli::verdict::{self, Answer, Verdict};
use crate::cli::{check_data, complain};
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
        /// all, duplicate-rules, too-long-scrape-interval, none; several with commas.
        #[arg(long, value_enum, value_delimiter = ',', default_value = "duplicate-rules")]
        lint: Vec<Lint>,
        #[command(flatten)]
        answer: Answer,
    },
    /// Check files of recording and alerting rules; without files, standard input.
    Rules {
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// all, duplicate-rules, none; several with commas.
        #[arg(long, value_enum, value_delimiter = ',', default_value = "duplicate-rules")]
        lint: Vec<Lint>,
        /// A running server, such as http://127.0.0.1:9090: also name metrics that it does not have.
        #[arg(long = "metrics-from", value_name = "URL")]
        metrics_from: Option<String>,
        #[command(flatten)]
        answer: Answer,
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
            What::Config { files, lint, answer } => {
                let verdicts: Vec<Verdict> = files.iter().map(|file| config_verdict(file, &lint)).collect();
                verdict::tell(&verdicts, answer)
            }
            What::Rules { files, lint, metrics_from, answer } => {
                if lint.contains(&Lint::TooLongScrapeInterval) {
                    complain("--lint too-long-scrape-interval is for check config");
                    return ExitCode::from(2);
                }
                let wanted = Wanted { lints: &lint, metrics_from: metrics_from.as_deref() };
                match check_rules::check(&files, wanted) {
                    Ok(verdicts) => verdict::tell(&verdicts, answer),
                    Err(error) => {
                        complain(&error);
                        ExitCode::FAILURE
                    }
                }
            }
            What::Alertmanager { files, answer } => {
                let verdicts: Vec<Verdict> = files.iter().map(|file| alertmanager_verdict(file)).collect();
                verdict::tell(&verdicts, answer)
            }
            What::Slo { files, answer } => verdict::tell(&crate::cli::check_slo::check(&files), answer),
            What::Data { folder } => check_data::run(&folder),
        }
    }
}

fn config_verdict(file: &Path, lints: &[Lint]) -> Verdict {
    let mut verdict = Verdict::of(file);
    match config::check(file) {
        Ok(loaded) => {
            verdict.notes = loaded.notes;
            let config = loaded.config;
            let rules: usize = config.rule_groups.iter().map(|group| group.rules.len()).sum();
            verdict.summary = format!("{} scrape configs, {rules} rules", config.scrape_configs.len());
            if Lint::wants(lints, Lint::DuplicateRules) {
                verdict.lints = check_rules::repeated(&config.rule_groups);
            }
            if Lint::wants(lints, Lint::TooLongScrapeInterval) {
                let lookback = config.own.query.lookback;
                for job in &config.scrape_configs {
                    let interval = job.scrape_interval.unwrap_or(config.global.scrape_interval);
                    if interval.as_millis() >= lookback.as_millis() {
                        let name = &job.job_name;
                        verdict.lints.push(format!(
                            "job {name}: a scrape_interval of {interval} leaves gaps, because queries look back {lookback}"
                        ));
                    }
                }
            }
        }
        Err(config::Faults(faults)) => verdict.faults = faults,
    }
    verdict
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
