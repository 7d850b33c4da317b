//! `novascope slo …`: how objectives stand, from a running server or from a data folder that no server has open.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::app::config::{self, Config};
use crate::base::clock::{Clock, Millis};
use crate::cli::{complain, query, reading, say};
use crate::promql::eval::QueryOptions;
use crate::slo::engine::{Engine, Limits, StoreHistory};
use crate::slo::status::Question;
use crate::slo::{report, set};

#[derive(Debug, Subcommand)]
pub(super) enum Slo {
    /// What was promised, achieved, excluded and spent, with incidents.
    Report(Report),
}

#[derive(Debug, Args)]
pub(super) struct Report {
    /// A running server, such as http://127.0.0.1:9090.
    #[arg(long, value_name = "URL", required_unless_present = "data", conflicts_with = "data")]
    url: Option<String>,
    /// A data folder that no server has open; needs --slo.files or --config.file. Nothing in it changes.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration of the server of --data: its objectives, its maintenance, its look-back.
    #[arg(long = "config.file", value_name = "FILE", requires = "data")]
    config: Option<PathBuf>,
    /// Files of objectives, for --data; with those of --config.file.
    #[arg(long = "slo.files", value_name = "GLOB", value_delimiter = ',', id = "files")]
    files: Vec<PathBuf>,
    /// Seconds since 1970 or RFC 3339; now if absent.
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Only objectives of this name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only objectives of this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    #[arg(long, short = 'f', default_value = "html")]
    format: Format,
    /// Where to write; standard output if absent.
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Html,
    Csv,
    Json,
}

impl Slo {
    pub(super) fn run(self) -> ExitCode {
        let Self::Report(report) = self;
        match report.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

impl Report {
    fn run(&self) -> Result<(), String> {
        let clock = Clock::real();
        let time = match &self.time {
            None => clock.now(),
            Some(text) => (query::seconds(text)? * 1_000.0).round() as Millis,
        };
        let rows = match (&self.url, &self.data) {
            (Some(url), _) => self.asked(url, time)?,
            (None, Some(data)) => self.counted(data, time, &clock)?,
            (None, None) => return Err("give --url or --data".to_owned()),
        };
        let text = match self.format {
            Format::Html => report::html(&rows, time),
            Format::Csv => report::csv(&rows),
            Format::Json => serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?,
        };
        match &self.output {
            None => say(text.trim_end()),
            Some(path) => fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?,
        }
        Ok(())
    }

    fn asked(&self, url: &str, time: Millis) -> Result<Vec<Value>, String> {
        let mut parameters = vec![("time", (time as f64 / 1_000.0).to_string()), ("incidents", "1".to_owned())];
        parameters.extend(self.name.clone().map(|name| ("name", name)));
        parameters.extend(self.service.clone().map(|service| ("service", service)));
        let answer = query::fetch(url, "/api/v1/slos", &parameters)?;
        answer["data"].as_array().cloned().ok_or_else(|| format!("{url} answered without a list of objectives"))
    }

    fn counted(&self, data: &Path, time: Millis, clock: &Clock) -> Result<Vec<Value>, String> {
        if self.files.is_empty() && self.config.is_none() {
            return Err("--data needs --slo.files or --config.file".to_owned());
        }
        let loaded = self.config.as_deref().map(config::load).transpose().map_err(|error| error.to_string())?;
        let Config { own, folder, .. } = loaded.unwrap_or_default().config;
        let configured = own.slo.files.iter().map(|pattern| folder.join(pattern));
        let patterns: Vec<PathBuf> = configured.chain(self.files.iter().cloned()).collect();
        let mut set = set::load(&patterns)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        set.notes.iter().for_each(|note| complain(note));
        set.maintenance.windows.extend(own.alerting.maintenance.windows);
        let store = reading::open(data, own.store.to_metrics(), clock)?;
        let options = QueryOptions { lookback: own.query.lookback.as_millis(), ..QueryOptions::default() };
        let limits = Limits { options, groups_max: own.slo.groups_max.max(1) };
        let engine = Engine::new(Arc::new(StoreHistory(Arc::clone(&store))), clock.clone(), limits);
        engine.apply(&set);
        let allows = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
        let question = Question { time, with_incidents: true };
        let mut rows = Vec::new();
        for (objective, found) in
            engine.statuses(question, |o| allows(&self.name, &o.name) && allows(&self.service, &o.service))
        {
            let statuses = found.map_err(|error| format!("{}: {error}", objective.id()))?;
            rows.extend(statuses.iter().map(|status| report::row(&objective, status, true)));
        }
        Ok(rows)
    }
}
