//! The life of the daemon: build, serve, reload, drain.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::app::bind::{self, Bound};
use crate::app::config::{self, Config, Loaded};
use crate::app::error::StartError;
use crate::app::options::Options;
use crate::app::stop::{Order, Signals};
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::tasks::{TaskKind, Tasks};
use crate::server::listen::{self, ListenCounters, ListenLimits, Serving};
use crate::telemetry;
use crate::telemetry::text::Format;

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
    Ok(options.config_file.as_deref().map(config::load).transpose()?.unwrap_or_default())
}

async fn live(options: Options, loaded: Loaded, clock: Clock) -> Result<(), StartError> {
    // Before anything else: a signal during the start must not kill a half-written folder.
    let mut signals = Signals::listen().map_err(StartError::Runtime)?;
    let config = &loaded.config;
    let bound = bind::bind(&options, options.beyond_loopback || config.own.listen.beyond_loopback).await?;
    telemetry::process::collect_into(telemetry::registry(), clock.now() as f64 / 1000.0);
    let daemon = Daemon::start(config, bound, clock.clone());
    for note in &loaded.notes {
        tracing::info!("{note}");
    }
    tracing::info!(ms = clock.monotonic().as_secs_f64() * 1e3, "ready");
    while signals.next().await == Order::Reload {
        tracing::info!("told to reload");
    }
    daemon.stop(signals).await;
    Ok(())
}

/// Everything that runs.
struct Daemon {
    tasks: Tasks,
    drain: Drain,
    listeners: Vec<JoinHandle<()>>,
}

impl Daemon {
    fn start(config: &Config, bound: Bound, _clock: Clock) -> Self {
        let mut daemon = Self { tasks: Tasks::default(), drain: Drain::default(), listeners: Vec::new() };
        let limits = ListenLimits { connections_max: config.own.listen.connections_max, ..ListenLimits::default() };
        daemon.listen(bound.main, Router::new().route("/metrics", get(metrics)), limits);
        daemon
    }

    fn listen(&mut self, listener: TcpListener, router: Router, limits: ListenLimits) {
        let counters = Arc::<ListenCounters>::default();
        let serving = Serving { tasks: self.tasks.clone(), drain: self.drain.clone(), limits, counters };
        self.listeners.push(self.tasks.spawn(TaskKind::Listener, listen::serve(listener, router, serving)));
    }

    async fn stop(self, signals: Signals) {
        tracing::info!("stopping");
        self.tasks.spawn(TaskKind::Signal, signals.force());
        self.drain.start();
        for listener in self.listeners {
            let _ = listener.await;
        }
        tracing::info!("stopped");
    }
}

async fn metrics(headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = Format::negotiate(accept);
    let body = telemetry::text::render(&telemetry::registry().gather(), format);
    ([(CONTENT_TYPE, format.content_type())], body)
}
