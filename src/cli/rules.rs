//! `novascope rules replay`: rules over stored history, of a data folder or of a running server.

mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::base::clock::{Clock, Millis};
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::base::units::Period;
use crate::cli::rules::server::Server;
use crate::cli::verdict::Format;
use crate::cli::{complain, query, reading, say};
use crate::metrics::{Seams, Store};
use crate::model::labels::Labels;
use crate::notify::template::go_rfc3339;
use crate::promql::eval::QueryOptions;
use crate::rules::expansion::Surroundings;
use crate::rules::file;
use crate::rules::replay::history::{History, StoreHistory};
use crate::rules::replay::{Episode, Replay, Told};
use crate::rules::rule::GroupSpec;
use crate::rules::seam::Backend;
use crate::rules::store::StoreBackend;

#[derive(Debug, Subcommand)]
pub(super) enum Rules {
    /// Evaluate rules over stored history: recording rules backfill, alerting rules say when they would have fired.
    Replay(ReplayFlags),
}

#[derive(Debug, clap::Args)]
pub(super) struct ReplayFlags {
    /// Rule files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// First time: seconds since 1970 or RFC 3339.
    #[arg(long, value_name = "TIME")]
    start: String,
    /// Last time; now if absent.
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// A running server, such as http://127.0.0.1:9090. Anything that speaks Prometheus' API and remote write will do.
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    url: Option<String>,
    /// A data folder that no daemon uses.
    #[arg(long, value_name = "DIR", required_unless_present = "url")]
    data: Option<PathBuf>,
    /// Interval of groups that have none.
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    interval: Period,
    /// Write nothing; say what would be written.
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Rules {
    pub(super) fn run(self) -> ExitCode {
        let Self::Replay(flags) = self;
        match flags.run() {
            Ok(told) => tell(&told, &flags),
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

impl ReplayFlags {
    fn run(&self) -> Result<Vec<Told>, String> {
        let groups = self.groups()?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates as far as time goes")]
        let millis = |text: &str| query::seconds(text).map(|secs| (secs * 1000.0).round() as Millis);
        let start = millis(&self.start)?;
        let end = self.end.as_deref().map_or(Ok(Clock::real().now()), millis)?;
        if end < start {
            return Err("--end lies before --start".to_owned());
        }
        match (&self.url, &self.data) {
            (Some(url), _) => {
                let server = Arc::new(Server::new(url)?);
                let backend = Arc::clone(&server) as Arc<dyn Backend>;
                Ok(self.replay(&*server, backend, (start, end)).run(&groups))
            }
            (None, Some(folder)) => {
                let mut own = crate::app::config::own::Own::default().store;
                // History is wanted, however old.
                own.retention = crate::app::options::Retention::Off;
                if self.dry_run {
                    let store = reading::open(folder, own.to_metrics(), &Clock::real())?;
                    return Ok(self.replay_store(&store, (start, end), &groups));
                }
                let seams =
                    Seams { clock: Clock::real(), disk: Disk::real(), rng: Rng::from_os(), tasks: Tasks::default() };
                let store = Store::open(own.to_metrics(), folder, seams).map_err(|error| error.to_string())?;
                let told = self.replay_store(&store, (start, end), &groups);
                store.close().map_err(|error| format!("the data folder could not be closed: {error}"))?;
                Ok(told)
            }
            (None, None) => Err("give --data or --url".to_owned()),
        }
    }

    fn replay_store(&self, store: &Arc<Store>, range: (Millis, Millis), groups: &[GroupSpec]) -> Vec<Told> {
        let options = QueryOptions::default();
        let backend: Arc<dyn Backend> = Arc::new(StoreBackend::new(Arc::clone(store), options.clone()));
        let history = StoreHistory { store: Arc::clone(store), options };
        self.replay(&history, backend, range).run(groups)
    }

    fn replay<'a>(&self, history: &'a dyn History, backend: Arc<dyn Backend>, range: (Millis, Millis)) -> Replay<'a> {
        let (surroundings, writes) = (Surroundings::default(), !self.dry_run);
        Replay { history, backend, surroundings, range, writes, query_offset: 0 }
    }

    fn groups(&self) -> Result<Vec<GroupSpec>, String> {
        let mut groups = Vec::new();
        for path in &self.files {
            let read = file::load(path, self.interval.as_millis());
            groups
                .extend(read.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?);
        }
        Ok(groups)
    }
}

fn tell(told: &[Told], flags: &ReplayFlags) -> ExitCode {
    if flags.format == Format::Json {
        let rules: Vec<Value> = told.iter().map(json_of).collect();
        say(&json!({"ok": told.iter().all(|told| told.faults.is_empty()), "rules": rules}).to_string());
    } else {
        told.iter().for_each(|told| say_rule(told, flags.dry_run));
    }
    if told.iter().all(|told| told.faults.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say_rule(told: &Told, is_dry: bool) {
    let Told { group, rule, evaluations, .. } = told;
    if told.is_alerting {
        let (fired, pending) = (told.episodes.len(), told.never_fired);
        say(&format!(
            "{group} / {rule}: {evaluations} evaluations, fired {fired} times, {pending} times pending without firing"
        ));
    } else {
        let verb = if is_dry { "would be written" } else { "written" };
        let (samples, series) = (told.samples, told.series);
        say(&format!("{group} / {rule}: {evaluations} evaluations, {samples} samples of {series} series {verb}"));
    }
    for episode in &told.episodes {
        let resolved =
            episode.resolved_at.map_or("still firing".to_owned(), |time| format!("resolved {}", go_rfc3339(time)));
        let (active, fired) = (go_rfc3339(episode.active_at), go_rfc3339(episode.fired_at));
        say(&format!("  {} active {active}, fired {fired}, {resolved}, value {}", episode.labels, episode.value));
    }
    for fault in &told.faults {
        complain(&format!("  {group} / {rule}: {fault}"));
    }
    if told.faults_more > 0 {
        complain(&format!("  {group} / {rule}: and {} more", told.faults_more));
    }
}

fn json_of(told: &Told) -> Value {
    let pairs = |labels: &Labels| -> Map<String, Value> {
        labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    };
    let episode = |episode: &Episode| {
        json!({
            "labels": pairs(&episode.labels),
            "annotations": pairs(&episode.annotations),
            "value": episode.value.to_string(),
            "activeAt": go_rfc3339(episode.active_at),
            "firedAt": go_rfc3339(episode.fired_at),
            "resolvedAt": episode.resolved_at.map(go_rfc3339),
        })
    };
    json!({
        "group": told.group,
        "rule": told.rule,
        "type": if told.is_alerting { "alerting" } else { "recording" },
        "evaluations": told.evaluations,
        "samples": told.samples,
        "series": told.series,
        "fired": told.episodes.iter().map(episode).collect::<Vec<_>>(),
        "pendingWithoutFiring": told.never_fired,
        "faults": told.faults,
        "moreFaults": told.faults_more,
    })
}
