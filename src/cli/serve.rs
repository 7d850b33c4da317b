//! `novascope` without a command: run the daemon until it is told to stop.

use std::process::ExitCode;

use crate::app::options::Options;
use crate::app::run;
use crate::base::huge_pages;
use crate::cli::complain;
use crate::telemetry::logs;

pub(super) fn run(options: Options) -> ExitCode {
    if let Err(error) = logs::set_up(&options.log_level, options.log_format) {
        complain(&format!("novascope: {error}"));
        return ExitCode::from(2);
    }
    // Before any thread exists: memory touched later is what the setting is for.
    huge_pages::allow(false);
    match run::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // On standard error as it is: a caret line means nothing inside a JSON string.
            complain(&format!("novascope: {error}"));
            ExitCode::FAILURE
        }
    }
}
