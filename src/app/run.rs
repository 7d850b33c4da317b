//! The life of the daemon: load, bind, build, serve, read the log, reload, drain.

use std::time::Duration;

use std::path::PathBuf;

use crate::app::bind;
use crate::app::build::{Daemon, Plan};
use crate::app::config::{self, Config, Loaded};
use crate::app::error::StartError;
use crate::app::options::Options;
use crate::app::reload;
use crate::app::stop::{Order, Signals};
use crate::base::clock::Clock;
use crate::base::tasks::TaskKind;

/// Runs until a signal says stop. Blocks the calling thread.
pub fn run(options: Options) -> Result<(), StartError> {
    let clock = Clock::real();
    let loaded = load(&options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("novascope")
        .build()
        .map_err(StartError::Runtime)?;
    runtime.block_on(live(options, loaded, clock))
}

fn load(options: &Options) -> Result<Loaded, StartError> {
    let mut loaded = options.config_file.as_deref().map(config::load).transpose()?.unwrap_or_default();
    if let Some(path) = &options.alertmanager_config_file {
        loaded.config.alerting = config::alerting::load(path, &loaded.config.own.alerting)?;
    }
    if !options.slo_files.is_empty() {
        // With those of the configuration, whose paths are relative to its file.
        let config = &loaded.config;
        let configured = config.own.slo.files.iter().map(|pattern| config.folder.join(pattern));
        let patterns: Vec<PathBuf> = configured.chain(options.slo_files.iter().cloned()).collect();
        let mut notes = Vec::new();
        loaded.config.slo = config::objectives(&patterns, &config.own, &mut notes)?;
        loaded.notes.append(&mut notes);
    }
    Ok(loaded)
}

async fn live(options: Options, loaded: Loaded, clock: Clock) -> Result<(), StartError> {
    // Before anything else: a signal during the start must not leave a half-made folder.
    let mut signals = Signals::listen().map_err(StartError::Runtime)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "novascope starts");
    for note in &loaded.notes {
        tracing::info!("{note}");
    }
    let config = &loaded.config;
    let bound = bind::bind(&options, options.beyond_loopback || config.own.listen.beyond_loopback).await?;
    let (reload, mut reloads) = reload::channel();
    let daemon = Daemon::start(Plan { options: &options, config, bound, clock: clock.clone(), reload })?;
    say_where(&daemon);
    let mut log = daemon.read_log(&options);
    let mut is_read = false;
    let mut told = tokio::time::interval_at(tokio::time::Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
    let mut running = loaded.config;
    loop {
        tokio::select! {
            ended = &mut log, if !is_read => {
                ended.map_err(|error| StartError::Runtime(std::io::Error::other(error)))??;
                is_read = true;
                daemon.log_is_read(&running);
                say_ready(&options, &daemon, clock.monotonic());
            }
            _ = told.tick(), if !is_read => {
                let replay = daemon.store.replaying();
                let (percent, read, of) = (replay.percent(), replay.bytes_done, replay.bytes_total);
                tracing::info!(percent, read, of, "reading the log; samples are taken meanwhile");
            }
            order = signals.next() => match order {
                Order::Stop => break,
                // Whoever sent the signal reads the log.
                Order::Reload => drop(read_again(&options, &daemon, &mut running, clock.now())),
            },
            Some(request) = reloads.recv() => {
                let result = read_again(&options, &daemon, &mut running, clock.now());
                // A caller that left does not need the answer.
                let _ = request.0.send(result);
            }
        }
    }
    tracing::info!("stopping: requests that run may end");
    daemon.spawn(TaskKind::Signal, signals.force());
    daemon.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Between two lines that say how far the reading of a long log is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// One reload, all or nothing.
fn read_again(options: &Options, daemon: &Daemon, running: &mut Config, now: i64) -> Result<(), String> {
    let read = load(options).map_err(|error| error.to_string());
    match read.and_then(|loaded| daemon.apply(&loaded.config).map(|()| loaded)) {
        Ok(loaded) => {
            for note in &loaded.notes {
                tracing::info!("{note}");
            }
            let waiting = reload::needs_restart(running, &loaded.config);
            if !waiting.is_empty() {
                tracing::warn!(settings = waiting.join(", "), "these settings change at the next start");
            }
            daemon.instance.reloaded(now, Some(loaded.config.text.clone()));
            *running = loaded.config;
            tracing::info!("configuration read again");
            Ok(())
        }
        Err(error) => {
            daemon.instance.reloaded(now, None);
            tracing::error!(error, "configuration not read again: the one before stays in force");
            Err(error)
        }
    }
}

/// A line for each port and one for the data: what a newcomer needs to know, and what scripts look for.
fn say_where(daemon: &Daemon) {
    let addresses = &daemon.addresses;
    let main = addresses.main;
    tracing::info!(port = "main", address = %main, "listening: Prometheus API, remote write, OTLP on http://{main}");
    if let Some(address) = addresses.otlp_grpc {
        tracing::info!(port = "otlp_grpc", %address, "listening: OTLP over gRPC on http://{address}");
    }
    if let Some(address) = addresses.otlp_http {
        tracing::info!(port = "otlp_http", %address, "listening: OTLP over HTTP on http://{address}");
    }
}

/// What was found, and that it can be asked for.
fn say_ready(options: &Options, daemon: &Daemon, took: Duration) {
    let folder = options.data.canonicalize().unwrap_or_else(|_| options.data.clone());
    let found = daemon.store.recovery();
    tracing::info!(folder = %folder.display(), series = found.series, read_ms = found.millis, "data");
    if found.frames_lost + found.damages + found.orphans > 0 {
        let (lost, damages, orphans) = (found.frames_lost, found.damages, found.orphans);
        tracing::warn!(lost, damages, orphans, "parts of the log are damaged; what could be read was kept");
    }
    if options.own {
        tracing::info!(
            "scraping itself and reading this host once a second: try the query rate(node_cpu_seconds_total[5s])"
        );
    }
    let (ms, url) = (took.as_millis() as u64, format!("http://{}", daemon.addresses.main));
    tracing::info!(ms, "ready: open {url}/ in a browser, or give {url} to Grafana as a Prometheus data source");
}
