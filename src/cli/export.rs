//! `novascope export …`: take data out of a data folder or of a running server, in forms that others read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::cli::complain;
use crate::cli::reading::{self, Reading};
use crate::cli::remote_blocks::Server;
use crate::cli::server::{Remote, form};
use crate::export::blocks::{self, BlockError, Target};
use crate::export::open_metrics::{self, Families, Tally};
use crate::export::{Window, each_series, json_lines};
use crate::metrics::config::Config;
use crate::model::labels::METRIC_NAME;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::parse::parse_selector;

#[derive(Debug, Subcommand)]
pub(super) enum Export {
    /// Write blocks of Prometheus' store, two hours each, into a folder. Start times and exemplars stay behind.
    Prometheus {
        #[command(flatten)]
        from: Wanted,
        /// A folder, made if missing.
        #[arg(value_name = "OUT")]
        folder: PathBuf,
    },
    /// Write OpenMetrics with times. Staleness markers and native histograms stay behind.
    Openmetrics {
        #[command(flatten)]
        from: Wanted,
        /// A file that does not exist yet, or - for standard output.
        #[arg(value_name = "OUT")]
        file: PathBuf,
    },
    /// Write JSON lines, as VictoriaMetrics exports and imports them; nothing but exemplars stays behind.
    Jsonl {
        #[command(flatten)]
        from: Wanted,
        /// A file that does not exist yet, or - for standard output.
        #[arg(value_name = "OUT")]
        file: PathBuf,
    },
}

/// Where the data is, and which of it is wanted.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// A data folder that no daemon uses.
    #[arg(long, value_name = "DIR", required_unless_present = "url", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// A running server, such as http://127.0.0.1:9090.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A selector; several are joined by "or". All series if absent.
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    /// Seconds since 1970 or RFC 3339; the oldest sample if absent.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// The newest sample if absent.
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
}

/// What is wanted of a data folder.
struct Chosen {
    store: Reading,
    sets: Vec<Vec<Matcher>>,
    start: i64,
    end: i64,
}

impl Export {
    pub(super) fn run(self) -> ExitCode {
        let done = match self {
            Self::Prometheus { from, folder } => to_blocks(&from, &folder),
            Self::Openmetrics { from, file } => into_file(&file, |out| to_openmetrics(&from, out)),
            Self::Jsonl { from, file } => into_file(&file, |out| to_json_lines(&from, out)),
        };
        match done {
            Ok(summary) => {
                complain(&summary);
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

impl Wanted {
    /// First and last millisecond.
    pub(super) fn times(&self) -> Result<(i64, i64), String> {
        let time = |text: &Option<String>, default: i64| match text {
            None => Ok(default),
            Some(text) => super::query::seconds(text).map(|seconds| (seconds * 1000.0).round() as i64),
        };
        Ok((time(&self.start, i64::MIN)?, time(&self.end, i64::MAX)?))
    }

    /// Selectors; all series where none was given.
    pub(super) fn selectors(&self) -> Vec<String> {
        if self.matches.is_empty() { vec!["{__name__!=\"\"}".to_owned()] } else { self.matches.clone() }
    }

    fn open(&self, folder: &Path) -> Result<Chosen, String> {
        let sets =
            self.selectors().into_iter().map(|text| parse_selector(&text).map_err(|error| format!("{text}: {error}")));
        let sets = sets.collect::<Result<Vec<_>, _>>()?;
        let (start, end) = self.times()?;
        let store = reading::open(folder, Config::default(), &Clock::real())?;
        Ok(Chosen { store, sets, start, end })
    }

    /// Parameters of `/api/v1/export`.
    fn parameters(&self) -> Result<Vec<(&'static str, String)>, String> {
        let (start, end) = self.times()?;
        let mut parameters: Vec<_> = self.selectors().into_iter().map(|text| ("match[]", text)).collect();
        for (name, time) in [("start", start), ("end", end)] {
            if time != i64::MIN && time != i64::MAX {
                parameters.push((name, format!("{}", time as f64 / 1000.0)));
            }
        }
        Ok(parameters)
    }

    fn download(&self, url: &str, path: &str, out: &mut dyn Write) -> Result<(), String> {
        let parameters = self.parameters()?;
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Remote::new(url)?.post(form(path, &parameters), out)
    }
}

impl Chosen {
    /// Calls `visit` with each window of each series once.
    fn walk(
        &self,
        extra: Option<&Matcher>,
        visit: &mut dyn FnMut(&Window<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        for (number, set) in self.sets.iter().enumerate() {
            let matchers: Vec<Matcher> = set.iter().chain(extra).cloned().collect();
            let selection = self.store.select(&matchers, self.start, self.end);
            let walked = each_series(&selection, |window| {
                let matches = |set: &Vec<Matcher>| {
                    set.iter().all(|matcher| matcher.matches(window.labels.get(&matcher.name).unwrap_or("")))
                };
                if self.sets[..number].iter().any(matches) {
                    return ControlFlow::Continue(());
                }
                visit(&window).map_or_else(ControlFlow::Break, ControlFlow::Continue)
            });
            if let ControlFlow::Break(error) = walked.map_err(|error| error.to_string())? {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Runs `work` over a new file; one that could not be written whole is removed.
fn into_file(path: &Path, work: impl FnOnce(&mut dyn Write) -> Result<String, String>) -> Result<String, String> {
    if path == Path::new("-") {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let summary = work(&mut out)?;
        return out.flush().map_err(|error| format!("cannot write: {error}")).map(|()| summary);
    }
    let named = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let file = File::create_new(path).map_err(named)?;
    let mut out = BufWriter::new(file);
    let done = work(&mut out).and_then(|summary| {
        let file = out.into_inner().map_err(|error| named(error.into_error()))?;
        file.sync_all().map_err(named)?;
        Ok(summary)
    });
    if done.is_err() {
        let _ = std::fs::remove_file(path);
    }
    done
}

fn to_json_lines(from: &Wanted, out: &mut dyn Write) -> Result<String, String> {
    let Some(folder) = &from.data else {
        from.download(from.url.as_deref().unwrap_or_default(), "/api/v1/export", out)?;
        return Ok("done".to_owned());
    };
    let mut buffer = Vec::new();
    let (mut samples, mut series) = (0, 0_u64);
    from.open(folder)?.walk(None, &mut |window| {
        samples += window.column.len();
        series += u64::from(window.is_first);
        buffer.clear();
        json_lines::push(&mut buffer, window, json_lines::ROWS_DEFAULT);
        out.write_all(&buffer).map_err(|error| format!("cannot write: {error}"))
    })?;
    Ok(format!("{samples} samples of {series} series"))
}

fn to_openmetrics(from: &Wanted, out: &mut dyn Write) -> Result<String, String> {
    let Some(folder) = &from.data else {
        from.download(from.url.as_deref().unwrap_or_default(), "/api/v1/export/openmetrics", out)?;
        return Ok("done".to_owned());
    };
    let chosen = from.open(folder)?;
    let names = chosen.store.label_values(METRIC_NAME, &chosen.sets, (chosen.start, chosen.end), 0).items;
    let names: BTreeSet<String> = names.into_iter().collect();
    let families = Families::new(&names, |name| chosen.store.metadata_of(name));
    let mut tally = Tally::default();
    let mut buffer = Vec::new();
    let failed = |error: std::io::Error| format!("cannot write: {error}");
    for name in &names {
        families.push(&mut buffer, name);
        let matcher = Matcher::new(MatchOp::Equal, METRIC_NAME, name).map_err(|error| error.to_string())?;
        chosen.walk(Some(&matcher), &mut |window| {
            open_metrics::push(&mut buffer, window, &mut tally);
            out.write_all(&buffer).map_err(failed)?;
            buffer.clear();
            Ok(())
        })?;
    }
    out.write_all(&buffer).and_then(|()| out.write_all(open_metrics::EOF)).map_err(failed)?;
    let Tally { samples, stale_markers, histograms, .. } = tally;
    Ok(format!(
        "{samples} samples of {} metrics; left out: {stale_markers} staleness markers, {histograms} native histograms",
        names.len()
    ))
}

fn to_blocks(from: &Wanted, folder: &Path) -> Result<String, String> {
    let (disk, clock, rng) = (Disk::real(), Clock::real(), Rng::from_os());
    let named = |error: std::io::Error| format!("cannot make {}: {error}", folder.display());
    disk.create_dir_all(folder).map_err(named)?;
    let target = Target { disk: &disk, folder, clock: &clock, rng: &rng };
    let mut total = (0_u64, 0_u64);
    let mut tell = |written: Result<Option<(String, crate::storage::tsdb::write::Written)>, BlockError>| {
        if let Some((name, written)) = written.map_err(|error| error.to_string())? {
            let samples = written.floats + written.histograms;
            total = (total.0 + 1, total.1 + samples);
            complain(&format!("block {name}: {} series, {samples} samples", written.series));
        }
        Ok::<_, String>(())
    };
    if let Some(data) = &from.data {
        let chosen = from.open(data)?;
        let [set] = chosen.sets.as_slice() else { return Err("blocks take one --match at most".to_owned()) };
        let Some((first, last)) = chosen.store.select(set, chosen.start, chosen.end).bounds() else {
            return Err("there are no samples in this range".to_owned());
        };
        for range in blocks::ranges(first, last) {
            let selection = chosen.store.select(set, range.0.max(chosen.start), range.1.min(chosen.end));
            tell(blocks::write(target, &selection, range))?;
        }
    } else {
        let server = Server::new(from)?;
        for range in blocks::ranges(server.first, server.last) {
            let set = server.read(range.0.max(server.first), range.1.min(server.last))?;
            tell(blocks::write(target, &set, range))?;
        }
    }
    Ok(format!("{} blocks, {} samples in {}", total.0, total.1, folder.display()))
}

impl Wanted {
    /// The server, where one was given.
    pub(super) fn server(&self) -> &str {
        self.url.as_deref().unwrap_or_default()
    }
}
