//! Puts the daemon together: the store, what feeds it, and the ports.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::app::bind::Bound;
use crate::app::collect::Collected;
use crate::app::config::Config;
use crate::app::error::StartError;
use crate::app::options::Options;
use crate::app::pulse::Pulse;
use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::drain::Drain;
use crate::base::rng::Rng;
use crate::base::tasks::{TaskKind, Tasks};
use crate::metrics::{self, Seams, Store};
use crate::server::listen::{self, ListenCounters, ListenLimits, Serving};
use crate::telemetry;
use crate::telemetry::text::Format;

/// Everything that runs.
#[derive(Debug)]
pub struct Daemon {
    pub store: Arc<Store>,
    pub addresses: Addresses,
    tasks: Tasks,
    drain: Drain,
    listeners: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
}

/// Where the daemon can be reached.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub main: SocketAddr,
    pub otlp_grpc: Option<SocketAddr>,
    pub otlp_http: Option<SocketAddr>,
}

impl Daemon {
    /// Opens the store and starts everything. Must run inside the runtime.
    pub fn start(options: &Options, config: &Config, bound: Bound, clock: Clock) -> Result<Self, StartError> {
        let tasks = Tasks::default();
        let seams = Seams { clock: clock.clone(), disk: Disk::real(), rng: Rng::from_os(), tasks: tasks.clone() };
        let store = Store::open(store_config(options, config), &options.data, seams)
            .map_err(|error| StartError::Data { path: options.data.clone(), why: error.to_string() })?;
        let addresses = addresses(&bound)?;
        let mut daemon =
            Self { store, addresses, tasks, drain: Drain::default(), listeners: Vec::new(), workers: Vec::new() };
        let limits = ListenLimits { connections_max: config.own.listen.connections_max, ..ListenLimits::default() };
        let main = Router::new().route("/metrics", get(own_metrics));
        let ports = [
            ("main", Some(bound.main), main.clone()),
            ("otlp_grpc", bound.otlp_grpc, main.clone()),
            ("otlp_http", bound.otlp_http, main),
        ];
        let mut counters = Vec::new();
        for (name, listener, router) in ports {
            if let Some(listener) = listener {
                counters.push((name, daemon.listen(listener, router, limits)));
            }
        }
        let collected =
            Collected { store: Arc::clone(&daemon.store), tasks: daemon.tasks.clone(), listeners: counters };
        telemetry::process::collect_into(telemetry::registry(), clock.now() as f64 / 1000.0);
        collected.register(telemetry::registry());
        daemon.work(options, &clock);
        Ok(daemon)
    }

    fn listen(&mut self, listener: TcpListener, router: Router, limits: ListenLimits) -> Arc<ListenCounters> {
        let counters = Arc::<ListenCounters>::default();
        let serving =
            Serving { tasks: self.tasks.clone(), drain: self.drain.clone(), limits, counters: Arc::clone(&counters) };
        self.listeners.push(self.tasks.spawn(TaskKind::Listener, listen::serve(listener, router, serving)));
        counters
    }

    fn work(&mut self, options: &Options, clock: &Clock) {
        let pulse = || Pulse {
            store: Arc::clone(&self.store),
            clock: clock.clone(),
            tasks: self.tasks.clone(),
            drain: self.drain.clone(),
        };
        let mut workers = vec![self.tasks.spawn(TaskKind::Maintenance, pulse().maintain())];
        if options.own {
            let instance = self.addresses.main.to_string();
            workers.push(self.tasks.spawn(TaskKind::HostCollector, pulse().feed(instance)));
        }
        self.workers = workers;
    }

    /// Ends everything in order: requests first, then what feeds the store, the store last.
    pub async fn stop(self) {
        self.drain.start();
        for ended in self.listeners.into_iter().chain(self.workers) {
            let _ = ended.await;
        }
    }

    /// Starts a task that lives beside the daemon.
    pub fn spawn(&self, kind: TaskKind, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(kind, future);
    }
}

/// The settings of the store: flags before the file's own before Prometheus' sections.
fn store_config(options: &Options, config: &Config) -> metrics::config::Config {
    let mut own = config.own.store.clone();
    if let Some(retention) = options.retention {
        own.retention = retention;
    }
    if let Some(interval) = options.dedup_interval {
        own.dedup_interval = interval;
    }
    own.to_metrics()
}

fn addresses(bound: &Bound) -> Result<Addresses, StartError> {
    let address = |listener: &TcpListener| listener.local_addr().map_err(StartError::Runtime);
    Ok(Addresses {
        main: address(&bound.main)?,
        otlp_grpc: bound.otlp_grpc.as_ref().map(address).transpose()?,
        otlp_http: bound.otlp_http.as_ref().map(address).transpose()?,
    })
}

async fn own_metrics(headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = Format::negotiate(accept);
    let body = telemetry::text::render(&telemetry::registry().gather(), format);
    ([(CONTENT_TYPE, format.content_type())], body)
}
