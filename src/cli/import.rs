//! `novascope import …`: bring data of other stores into a data folder, which no daemon may use meanwhile, or into a
//! running server.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::app::options::Retention;
use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::cli::server::{Post, Remote};
use crate::cli::{complain, say};
use crate::ingest::import::file::{Importer, Kind, Parts};
use crate::ingest::prometheus_data;
use crate::metrics::{Seams, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// Take a data folder of Prometheus: blocks, chunks of the head and write-ahead log. Stop that Prometheus first, or
    /// give a snapshot.
    Prometheus {
        /// The folder that --storage.tsdb.path named.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[command(flatten)]
        into: Folder,
    },
    /// Take OpenMetrics; every sample must have a time, and the file end with # EOF.
    Openmetrics {
        /// A file, or - for standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        into: Target,
    },
    /// Take JSON lines, as `novascope export jsonl` and VictoriaMetrics write them.
    Jsonl {
        /// A file, or - for standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        into: Target,
    },
}

#[derive(Debug, Args)]
pub(super) struct Folder {
    /// The data folder to fill; made if missing.
    #[arg(long, value_name = "DIR", default_value = "./novascope-data")]
    data: PathBuf,
    /// Older samples are left out; `off` takes all. Give the daemon the same.
    #[arg(long, value_name = "DURATION")]
    retention: Option<Retention>,
}

#[derive(Debug, Args)]
pub(super) struct Target {
    #[command(flatten)]
    folder: Folder,
    /// A running server instead of a data folder, such as http://127.0.0.1:9090.
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "retention"])]
    url: Option<String>,
}

impl Import {
    pub(super) fn run(self) -> ExitCode {
        let done = match self {
            Self::Prometheus { folder, into } => into.prometheus(&folder),
            Self::Openmetrics { file, into } => into.take(&file, Kind::OpenMetrics),
            Self::Jsonl { file, into } => into.take(&file, Kind::JsonLines),
        };
        match done {
            Ok(summary) => {
                say(&summary);
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

impl Folder {
    fn open(&self) -> Result<Arc<Store>, String> {
        let mut own = crate::app::config::own::Own::default().share_memory().store;
        if let Some(retention) = self.retention {
            own.retention = retention;
        }
        let seams = Seams { clock: Clock::real(), disk: Disk::real(), rng: Rng::from_os(), tasks: Tasks::default() };
        Store::open(own.to_metrics(), &self.data, seams).map_err(|error| error.to_string())
    }

    fn prometheus(&self, folder: &Path) -> Result<String, String> {
        let store = self.open()?;
        let imported = prometheus_data::import(&store, &Disk::real(), folder, &mut |line| say(line));
        let closed = store.close();
        let outcome = imported.map_err(|error| error.to_string())?;
        closed.map_err(|error| format!("the data folder could not be closed: {error}"))?;
        for line in &outcome.damaged {
            complain(&format!("left out: {line}"));
        }
        for (reason, count) in &outcome.refused {
            complain(&format!("refused {count} samples: {reason}"));
        }
        Ok(format!(
            "{} blocks, {} series in them, {} samples, {} histograms taken",
            outcome.blocks, outcome.series, outcome.samples, outcome.histograms
        ))
    }
}

impl Target {
    fn take(&self, path: &Path, kind: Kind) -> Result<String, String> {
        let named = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
        let input: Box<dyn Read> = if path == Path::new("-") {
            Box::new(std::io::stdin().lock())
        } else {
            Box::new(File::open(path).map_err(named)?)
        };
        let mut parts = Parts::new(input, kind);
        if let Some(url) = &self.url {
            return send(&mut parts, kind, url, &named);
        }
        let store = self.folder.open()?;
        let mut importer = Importer::new(&store, kind);
        while let Some(part) = parts.next_part().map_err(named)? {
            importer.take(&part).map_err(|error| format!("the store does not take more: {error}"))?;
        }
        let report = importer.finish();
        store.close().map_err(|error| format!("the data folder could not be closed: {error}"))?;
        let summary = format!("{} samples, {} histograms taken", report.samples, report.histograms);
        if report.is_clean() {
            return Ok(summary);
        }
        Err(format!("{}\n{summary}", report.message("samples", report.samples + report.histograms)))
    }
}

/// Sends a file to a server part by part. What it refuses is said at the end; parts behind it are sent nevertheless.
fn send(
    parts: &mut Parts<Box<dyn Read>>,
    kind: Kind,
    url: &str,
    named: &dyn Fn(std::io::Error) -> String,
) -> Result<String, String> {
    let remote = Remote::new(url)?;
    let (path, media) = match kind {
        Kind::JsonLines => ("/api/v1/import", "application/stream+json"),
        Kind::OpenMetrics => ("/api/v1/import/prometheus", "application/openmetrics-text; version=1.0.0"),
    };
    let (mut sent, mut refused) = (0_u64, 0_u64);
    while let Some(part) = parts.next_part().map_err(named)? {
        let (before, body) = (part.lines_before, part.body);
        let bytes = body.len() as u64;
        match remote.post(Post { path, media, encoding: None, body }, &mut std::io::sink()) {
            Ok(()) => sent += bytes,
            Err(error) if error.contains("answered 400") => {
                refused += 1;
                complain(&format!("in the part behind line {before}: {error}"));
            }
            Err(error) => return Err(format!("{error}; {sent} bytes were stored before")),
        }
    }
    match refused {
        0 => Ok(format!("{sent} bytes stored")),
        parts => Err(format!("{parts} parts had lines that were refused; their other lines were stored")),
    }
}
