//! `novascope check metrics`: what promtool says of an exposition on standard input.
//!
//! Exit codes are promtool's: 0 good, 1 cannot be read, 3 against the guide to naming.

use std::io::Read as _;
use std::process::ExitCode;

use crate::cli::{complain, say};
use crate::ingest::exposition::lint::{Found, lint};

/// The exit code where something is against the guide.
const LINTED: u8 = 3;

/// Bytes of an exposition.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// What is told.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Also list families with their numbers of series.
    #[arg(long)]
    extended: bool,
    /// all or none.
    #[arg(long, default_value = "all")]
    lint: String,
}

pub(super) fn run(wanted: &Wanted) -> ExitCode {
    if !wanted.extended && wanted.lint == "none" {
        complain("nothing is asked for: give --extended, or leave --lint=none out");
        return ExitCode::FAILURE;
    }
    let mut body = Vec::new();
    let read = std::io::stdin().take(BODY_BYTES_MAX).read_to_end(&mut body).map_err(|error| error.to_string());
    match read.and_then(|_| lint(&body)) {
        Ok(found) => tell(&found, wanted),
        Err(error) => {
            complain(&format!("error while linting: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn tell(found: &Found, wanted: &Wanted) -> ExitCode {
    let problems = if wanted.lint == "none" { &[][..] } else { &found.problems };
    problems.iter().for_each(|(metric, why)| complain(&format!("{metric} {why}")));
    if wanted.extended {
        let total: usize = found.series.iter().map(|(_, series)| series).sum();
        let width = found.series.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("Metric".len()) + 4;
        say(&format!("{:width$}Cardinality    Percentage", "Metric"));
        for (name, series) in &found.series {
            let share = 100.0 * *series as f64 / total.max(1) as f64;
            say(&format!("{name:width$}{series:<15}{share:.2}%"));
        }
        say(&format!("{:width$}{total:<15}100%", "Total"));
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(LINTED) }
}
