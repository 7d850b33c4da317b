//! `novascope import …`: bring data of other stores into a data folder. The daemon must not run on that folder.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::app::options::Retention;
use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::cli::{complain, say};
use crate::ingest::prometheus_data;
use crate::metrics::{Seams, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// Take a data folder of Prometheus: blocks and write-ahead log. Stop that Prometheus first, or give a snapshot.
    Prometheus {
        /// The folder that --storage.tsdb.path named.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The data folder to fill; made if missing.
        #[arg(long, value_name = "DIR", default_value = "./novascope-data")]
        data: PathBuf,
        /// Older samples are left out; `off` takes all. Give the daemon the same.
        #[arg(long, value_name = "DURATION")]
        retention: Option<Retention>,
    },
}

impl Import {
    pub(super) fn run(self) -> ExitCode {
        let Self::Prometheus { folder, data, retention } = self;
        let mut own = crate::app::config::own::Own::default().share_memory().store;
        if let Some(retention) = retention {
            own.retention = retention;
        }
        let seams = Seams { clock: Clock::real(), disk: Disk::real(), rng: Rng::from_os(), tasks: Tasks::default() };
        let store = match Store::open(own.to_metrics(), &data, seams) {
            Ok(store) => store,
            Err(error) => {
                complain(&error.to_string());
                return ExitCode::FAILURE;
            }
        };
        let imported = prometheus_data::import(&store, &Disk::real(), &folder, &mut |line| say(line));
        let closed = store.close();
        let outcome = match (imported, closed) {
            (Ok(outcome), Ok(())) => outcome,
            (Err(error), _) => {
                complain(&error.to_string());
                return ExitCode::FAILURE;
            }
            (_, Err(error)) => {
                complain(&format!("the data folder could not be closed: {error}"));
                return ExitCode::FAILURE;
            }
        };
        for line in &outcome.damaged {
            complain(&format!("left out: {line}"));
        }
        for (reason, count) in &outcome.refused {
            complain(&format!("refused {count} samples: {reason}"));
        }
        say(&format!(
            "{} blocks, {} series in them, {} samples, {} histograms taken",
            outcome.blocks, outcome.series, outcome.samples, outcome.histograms
        ));
        ExitCode::SUCCESS
    }
}
