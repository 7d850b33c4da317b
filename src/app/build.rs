//! Puts the daemon together: the store, what feeds it, and the ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::instance::{Instance, Phase, Reload};
use crate::app::alerting;
use crate::app::bind::Bound;
use crate::app::calls::Calls;
use crate::app::collect::Collected;
use crate::app::config::Config;
use crate::app::error::StartError;
use crate::app::options::{Options, Retention};
use crate::app::ports::{Parts, Routers};
use crate::app::pulse::Pulse;
use crate::app::rules::{self, Around};
use crate::app::slo::Slos;
use crate::app::traces::{self, Traces};
use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::drain::Drain;
use crate::base::rng::Rng;
use crate::base::tasks::{TaskKind, Tasks};
use crate::base::{code_pages, heap};
use crate::ingest::otlp;
use crate::ingest::scrape::{self, Scraper};
use crate::metrics::{self, Seams, Store};
use crate::model::labels::Labels;
use crate::notify::notifier::Notifier;
use crate::query::Queries;
use crate::rules::engine::Rules;
use crate::rules::seam::AlertSink;
use crate::server::listen::{self, ListenCounters, ListenLimits, Serving};
use crate::telemetry;

/// A start maps code all the while: ports open, the first requests come.
const BETWEEN_LETTING_GO: Duration = Duration::from_millis(100);

/// Everything that runs.
pub struct Daemon {
    pub store: Arc<Store>,
    pub instance: Arc<Instance>,
    pub rules: Rules,
    slos: Slos,
    notifier: Notifier,
    sink: Arc<alerting::ToNotifier>,
    pub addresses: Addresses,
    scraper: Arc<Scraper>,
    otlp: Arc<otlp::Receiver>,
    traces: Traces,
    clock: Clock,
    tasks: Tasks,
    drain: Drain,
    listeners: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    /// Told when the store has read its log.
    whole: watch::Sender<bool>,
}

/// Where the daemon can be reached.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub main: SocketAddr,
    pub otlp_grpc: Option<SocketAddr>,
    pub otlp_http: Option<SocketAddr>,
}

/// What a daemon is made from.
pub struct Plan<'a> {
    pub options: &'a Options,
    pub config: &'a Config,
    pub bound: Bound,
    pub clock: Clock,
    pub reload: Reload,
}

impl Daemon {
    /// Opens the store and starts everything but what needs to see all that is stored: [`Daemon::read_log`] comes next.
    /// Must run inside the runtime.
    pub fn start(plan: Plan<'_>) -> Result<Self, StartError> {
        let Plan { options, config, bound, clock, reload } = plan;
        let shared = Config { own: config.own.clone().share_memory(), ..config.clone() };
        let config = &shared;
        let addresses = addresses(&bound)?;
        let instance = Arc::new(instance(options, config, &addresses, (clock.now(), reload)));
        let (tasks, drain) = (Tasks::default(), Drain::default());
        let seams = Seams { clock: clock.clone(), disk: Disk::real(), rng: Rng::from_os(), tasks: tasks.clone() };
        let store = Store::begin(store_config(options, config), &options.data, seams)
            .map_err(|error| StartError::Data { path: options.data.clone(), why: error.to_string() })?;
        let (whole, until_whole) = watch::channel(false);
        let queries = Queries::new(clock.clone(), tasks.clone(), config.own.query.clone()).waiting_for(until_whole);
        let limits = config.own.receive.limits();
        let otlp = otlp::Receiver::new(Arc::clone(&store), clock.clone(), limits.clone(), config.otlp.clone());
        let otlp = Arc::new(otlp);
        let scraper = scraper(&store, (&clock, &tasks, &drain));
        let external_url = format!("http://{}", addresses.main);
        let notifier = alerting::open(&config.alerting, &options.data, &external_url, (&clock, &tasks, &drain))
            .map_err(|error| StartError::Alerting(error.to_string()))?;
        let sink = alerting::sink(&notifier, alerting::forwarder((&clock, &tasks, &drain)), &external_url);
        let around = Around {
            store: &store,
            tasks: &tasks,
            drain: &drain,
            clock: &clock,
            data: &options.data,
            sink: Arc::clone(&sink) as Arc<dyn AlertSink>,
        };
        let slos = Slos::new(&store, &clock, (&config.own.slo, rules::options(&config.own.query)));
        let rules = rules::build(&around, &config.own, &slos.engine)
            .map_err(|why| StartError::Data { path: options.data.clone(), why })?;
        let parts = Parts {
            rules: rules.clone(),
            slos: slos.engine.clone(),
            notifier: notifier.clone(),
            forwarder: sink.forwarder.clone(),
            scraper: Arc::clone(&scraper),
            store: Arc::clone(&store),
            queries,
            instance: Arc::clone(&instance),
            otlp: Arc::clone(&otlp),
            clock: clock.clone(),
            tasks: tasks.clone(),
            has_admin: config.own.listen.admin_api.is_enabled(addresses.main.ip()),
        };
        let routers = parts.routers(&config.own, &limits);
        let mut daemon = Self {
            store,
            instance,
            otlp,
            traces: Traces::default(),
            clock: clock.clone(),
            rules,
            slos,
            scraper,
            notifier,
            sink,
            addresses,
            tasks,
            drain,
            listeners: Vec::new(),
            workers: Vec::new(),
            whole,
        };
        daemon.open(bound, routers, (config, &clock));
        daemon.work(options, &clock);
        daemon.apply(config).map_err(StartError::Apply)?;
        Ok(daemon)
    }

    /// Starts reading the log; the handle ends with it.
    pub fn read_log(&self, options: &Options) -> JoinHandle<Result<(), StartError>> {
        let (store, path) = (Arc::clone(&self.store), options.data.clone());
        self.tasks.spawn(TaskKind::Replay, let_code_go(self.whole.subscribe()));
        self.tasks.spawn_blocking(TaskKind::Replay, move || {
            // A start should need no more memory than the run before it had.
            let read = heap::give_back_at_once(|| store.replay());
            read.map_err(|error| StartError::Data { path, why: error.to_string() })
        })
    }

    /// What waits until everything stored can be seen: queries, readiness, and rules, which would take a gap for the
    /// truth.
    pub fn log_is_read(&self, config: &Config) {
        self.whole.send_replace(true);
        self.instance.set_phase(Phase::Ready);
        self.apply_rules(config);
    }

    /// Objectives come before the rules, whose queries they answer.
    fn apply_rules(&self, config: &Config) {
        self.slos.apply(config);
        rules::apply(&self.rules, config, format!("http://{}", self.addresses.main));
    }

    /// Makes the parts of a configuration that may change while running the ones in force. What fails (a file with a
    /// password that is gone) fails before anything changes.
    pub fn apply(&self, config: &Config) -> Result<(), String> {
        let defaults = config.global.scrape_defaults();
        let jobs = self.scraper.prepare(&config.scrape_configs, &defaults, &config.folder);
        let jobs = jobs.map_err(|error| error.to_string())?;
        let traces = traces::prepare(config.tracing.as_ref(), &self.tasks, &self.clock)?;
        self.notifier.reload(&config.alerting).map_err(|error| error.to_string())?;
        self.sink.forwarder.apply(&config.forward).map_err(|error| format!("alertmanagers: {error}"))?;
        self.instance.external_labels.store(Arc::new(config.global.external_labels.clone()));
        self.otlp.reload(config.otlp.clone());
        self.sink.external_labels.store(Arc::new(Labels::from_pairs(&config.global.external_labels)));
        if self.instance.phase() != Phase::Starting {
            self.apply_rules(config);
        }
        self.traces.apply(traces);
        self.scraper.apply(jobs);
        Ok(())
    }

    /// Answers on the bound ports, and lets `/metrics` show everything there is.
    fn open(&mut self, bound: Bound, routers: Routers, (config, clock): (&Config, &Clock)) {
        let limits = ListenLimits { connections_max: config.own.listen.connections_max, ..ListenLimits::default() };
        let mut counters = Vec::new();
        for (name, listener, router) in [
            ("main", Some(bound.main), routers.main),
            ("otlp_grpc", bound.otlp_grpc, routers.otlp_grpc),
            ("otlp_http", bound.otlp_http, routers.otlp_http),
        ] {
            if let Some(listener) = listener {
                counters.push((name, self.listen(listener, router, limits)));
            }
        }
        let collected = Collected { store: Arc::clone(&self.store), tasks: self.tasks.clone(), listeners: counters };
        telemetry::process::collect_into(telemetry::registry(), clock.now() as f64 / 1000.0);
        collected.register(telemetry::registry());
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
        let mut workers = vec![
            self.tasks.spawn(TaskKind::Maintenance, pulse().maintain()),
            self.tasks.spawn(TaskKind::RuleGroup, self.rules.clone().keep_saved()),
            self.tasks.spawn(TaskKind::RuleGroup, self.slos.record(&self.tasks, &self.drain)),
            self.tasks.spawn(TaskKind::Notification, self.notifier.clone().run()),
            self.tasks.spawn(TaskKind::Notification, self.sink.forwarder.clone().run()),
            self.tasks.spawn(TaskKind::Notification, self.calls(clock).feed()),
            self.tasks.spawn(TaskKind::Telemetry, self.traces.clone().run(self.drain.clone())),
        ];
        if options.own {
            let instance = self.addresses.main.to_string();
            workers.push(self.tasks.spawn(TaskKind::HostCollector, pulse().feed(instance)));
        }
        self.workers = workers;
    }

    fn calls(&self, clock: &Clock) -> Calls {
        Calls {
            store: Arc::clone(&self.store),
            notifier: self.notifier.clone(),
            clock: clock.clone(),
            tasks: self.tasks.clone(),
            drain: self.drain.clone(),
        }
    }

    /// Ends everything in order: requests first, then what feeds the store, the store last.
    pub async fn stop(self) {
        self.instance.set_phase(Phase::Stopping);
        self.drain.start();
        for ended in self.listeners.into_iter().chain(self.workers) {
            let _ = ended.await;
        }
        let store = self.store;
        let closed = self.tasks.spawn_blocking(TaskKind::Maintenance, move || store.close()).await;
        if let Ok(Err(error)) = closed {
            tracing::warn!(%error, "the store could not write its columns out; the next start reads the log instead");
        }
    }

    /// Starts a task that lives beside the daemon.
    pub fn spawn(&self, kind: TaskKind, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(kind, future);
    }
}

/// Lets the program's code go, from now on and until the log is read: what the start needed of it would otherwise stand
/// beside all that is read. What runs comes back within microseconds.
async fn let_code_go(mut whole: watch::Receiver<bool>) {
    loop {
        code_pages::let_go();
        tokio::select! {
            _ = whole.changed() => return,
            () = tokio::time::sleep(BETWEEN_LETTING_GO) => {}
        }
    }
}

fn scraper(store: &Arc<Store>, (clock, tasks, drain): (&Clock, &Tasks, &Drain)) -> Arc<Scraper> {
    Arc::new(Scraper::new(scrape::Seams {
        store: Arc::clone(store),
        tasks: tasks.clone(),
        clock: clock.clone(),
        drain: drain.clone(),
    }))
}

fn instance(options: &Options, config: &Config, addresses: &Addresses, (now, reload): (i64, Reload)) -> Instance {
    let text = |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let mut instance = Instance::new(now, config.text.clone(), reload);
    instance.flags = options.flags().into_iter().collect();
    let time = match options.retention.unwrap_or(config.own.store.retention) {
        Retention::Off => None,
        Retention::For(period) => Some(period.to_string()),
    };
    let size = Some(config.own.store.size_max).filter(|size| size.as_u64() > 0).map(|size| size.to_string());
    let share = Some(config.own.store.size_percentage).filter(|share| *share > 0.0).map(|share| format!("{share}%"));
    instance.retention = time.into_iter().chain(size).chain(share).collect::<Vec<_>>().join(" or ");
    instance.listen = addresses.main.to_string();
    instance.otlp_grpc = text(addresses.otlp_grpc);
    instance.otlp_http = text(addresses.otlp_http);
    instance
}

/// The settings of the store: flags before the file's own, which have taken over Prometheus' sections.
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
