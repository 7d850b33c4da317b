//! Commands: `novascope` by itself runs the daemon, a subcommand does one thing and ends. One file a subcommand.
//!
//! Every flag can be given by environment as `NOVASCOPE_…`. Exit codes: 0 done, 1 failed or faults found, 2 wrong use.

mod alerts;
mod cardinality;
mod check;
mod check_config;
mod check_data;
mod check_metrics;
mod check_rules;
mod check_slo;
mod export;
mod import;
mod inspect;
mod junit;
mod promql;
mod query;
mod reading;
mod remote_blocks;
mod repair;
mod restore;
mod rules;
mod serve;
mod server;
mod slo;
mod test_rules;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::app::options::{Listen, Options, Retention};
use crate::base::units::Period;
use crate::telemetry::logs::LogFormat;

/// An observability server in one process: OTLP, Prometheus remote write and scraping in, PromQL out.
///
/// Without arguments it listens on loopback, keeps data in ./novascope-data, scrapes itself and reads its host.
#[derive(Debug, Parser)]
#[command(name = "novascope", version)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List and acknowledge alerts of a running server.
    #[command(subcommand)]
    Alerts(alerts::Alerts),
    /// Say where the series of a running server come from, and which nobody asks for.
    Cardinality(cardinality::Cardinality),
    /// Check a data folder, or files, without running anything.
    Check(check::Check),
    /// Take damaged units out of a data folder and say what is lost. The daemon must not run on it.
    Repair(repair::Repair),
    /// Make a data folder out of a snapshot.
    Restore(restore::Restore),
    /// Say what a data folder holds and what its bytes are spent on. Works beside a running daemon.
    Inspect(inspect::Inspect),
    /// Bring data of other stores into a data folder.
    #[command(subcommand)]
    Import(import::Import),
    /// Take data out of a data folder or a running server.
    #[command(subcommand)]
    Export(export::Export),
    /// Ask a running server.
    #[command(subcommand)]
    Query(query::Query),
    /// Report on service level objectives.
    #[command(subcommand)]
    Slo(slo::Slo),
    /// Format or check queries.
    #[command(subcommand)]
    Promql(promql::Promql),
    /// Evaluate rules over stored history.
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Test rules without running anything.
    Test(test_rules::Tests),
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// A prometheus.yml; our own settings stand under `novascope:` in it or in novascope.yml beside it.
    #[arg(long = "config.file", env = "NOVASCOPE_CONFIG_FILE", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Folder for everything that is kept; made if missing.
    #[arg(long, env = "NOVASCOPE_DATA", value_name = "DIR", default_value = "./novascope-data")]
    data: PathBuf,
    /// An alertmanager.yml: who is told of alerts, and when.
    #[arg(long = "alertmanager.config-file", env = "NOVASCOPE_ALERTMANAGER_CONFIG_FILE", value_name = "FILE")]
    alertmanager_config_file: Option<PathBuf>,
    /// Files of objectives (our form, Sloth, Pyrra, OpenSLO), as a pattern; may be given several times.
    #[arg(long = "slo.files", env = "NOVASCOPE_SLO_FILES", value_name = "GLOB", value_delimiter = ',')]
    slo_files: Vec<PathBuf>,
    /// Main port: every API over HTTP/1.1 and HTTP/2, and gRPC.
    #[arg(long, env = "NOVASCOPE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    listen: Listen,
    /// OTLP over gRPC; `off` closes it.
    #[arg(
        long = "otlp.grpc-listen",
        env = "NOVASCOPE_OTLP_GRPC_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:4317"
    )]
    otlp_grpc_listen: Listen,
    /// OTLP over HTTP; `off` closes it.
    #[arg(
        long = "otlp.http-listen",
        env = "NOVASCOPE_OTLP_HTTP_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:4318"
    )]
    otlp_http_listen: Listen,
    /// Allow addresses that other machines can reach. Nothing asks for a password there.
    #[arg(long = "listen.beyond-loopback", env = "NOVASCOPE_LISTEN_BEYOND_LOOPBACK")]
    beyond_loopback: bool,
    /// Scrape ourselves and read the host, once a second.
    #[arg(long = "self", env = "NOVASCOPE_SELF", value_name = "on|off", default_value = "on")]
    own: Switch,
    /// How long samples are kept, such as 7d; `off` keeps everything, also samples of 1970.
    #[arg(long, env = "NOVASCOPE_RETENTION", value_name = "DURATION")]
    retention: Option<Retention>,
    /// Keep the last sample of a series and source in each window of this length; 0 keeps all.
    #[arg(long, env = "NOVASCOPE_DEDUP_INTERVAL", value_name = "DURATION")]
    dedup_interval: Option<Period>,
    /// error, warn, info, debug, trace, or filters such as info,novascope::ingest=debug.
    #[arg(long = "log.level", env = "NOVASCOPE_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// auto (human on a terminal, else json), human or json.
    #[arg(long = "log.format", env = "NOVASCOPE_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl From<Flags> for Options {
    fn from(flags: Flags) -> Self {
        Self {
            config_file: flags.config_file,
            data: flags.data,
            alertmanager_config_file: flags.alertmanager_config_file,
            slo_files: flags.slo_files,
            listen: flags.listen,
            otlp_grpc_listen: flags.otlp_grpc_listen,
            otlp_http_listen: flags.otlp_http_listen,
            beyond_loopback: flags.beyond_loopback,
            own: flags.own == Switch::On,
            retention: flags.retention,
            dedup_interval: flags.dedup_interval,
            log_level: flags.log_level,
            log_format: flags.log_format,
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => serve::run(cli.flags.into()),
        Some(Command::Alerts(alerts)) => alerts.run(),
        Some(Command::Cardinality(cardinality)) => cardinality.run(),
        Some(Command::Check(check)) => check.run(),
        Some(Command::Repair(repair)) => repair.run(),
        Some(Command::Restore(restore)) => restore.run(),
        Some(Command::Inspect(inspect)) => inspect.run(),
        Some(Command::Import(import)) => import.run(),
        Some(Command::Export(export)) => export.run(),
        Some(Command::Query(query)) => query.run(),
        Some(Command::Slo(slo)) => slo.run(),
        Some(Command::Promql(promql)) => promql.run(),
        Some(Command::Rules(rules)) => rules.run(),
        Some(Command::Test(test)) => test.run(),
    }
}

/// Commands answer on standard output; a reader that went away (`| head`) is no failure.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Faults go to standard error.
fn complain(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_the_documented_ones() {
        Cli::command().debug_assert();
        let command = Cli::command();
        let mut flags: Vec<_> = command.get_arguments().filter_map(|flag| flag.get_long()).collect();
        flags.sort_unstable();
        let expect = [
            "alertmanager.config-file",
            "config.file",
            "data",
            "dedup-interval",
            "listen",
            "listen.beyond-loopback",
            "log.format",
            "log.level",
            "otlp.grpc-listen",
            "otlp.http-listen",
            "retention",
            "self",
            "slo.files",
        ];
        assert_eq!(flags, expect);
        let options = Options::from(Cli::parse_from(["novascope"]).flags);
        let mut listed: Vec<_> = options.flags().into_iter().map(|(name, _)| name).collect();
        listed.sort_unstable();
        assert_eq!(listed, expect, "status/flags lists every flag");
        for flag in command.get_arguments().filter(|flag| flag.get_id() != "help" && flag.get_id() != "version") {
            let name = flag.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            assert!(name.starts_with("NOVASCOPE_"), "{flag}");
        }
    }
}
