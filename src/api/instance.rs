//! What the process says of itself over its APIs: build, flags, configuration, readiness, and how to reload.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

use arc_swap::ArcSwap;

/// The version of Prometheus whose API and language we speak; clients switch features on by it.
pub const PROMETHEUS_VERSION: &str = "3.14.0";

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The log is being replayed.
    Starting = 0,
    Ready = 1,
    Stopping = 2,
}

/// Reads the configuration again, all or nothing.
pub type Reload = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// One for the process, made by `app`.
pub struct Instance {
    /// Wall time of the start in milliseconds.
    pub started: i64,
    /// Flags and their values, as given or by default.
    pub flags: BTreeMap<String, String>,
    /// Such as `15d or 20GiB`; empty where nothing expires.
    pub retention: String,
    /// The address of the main port, such as `127.0.0.1:9090`.
    pub listen: String,
    /// Where OTLP is taken, for the snippets of the status page; empty where the port is closed.
    pub otlp_grpc: String,
    pub otlp_http: String,
    /// Labels that federation adds.
    pub external_labels: ArcSwap<BTreeMap<String, String>>,
    pub reload: Reload,
    config: ArcSwap<String>,
    phase: AtomicU8,
    reload_ok: AtomicBool,
    reloaded: AtomicI64,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("listen", &self.listen).field("phase", &self.phase()).finish_non_exhaustive()
    }
}

impl Instance {
    /// An instance that starts at `started` with the configuration `yaml`.
    pub fn new(started: i64, yaml: String, reload: Reload) -> Self {
        Self {
            started,
            flags: BTreeMap::new(),
            retention: String::new(),
            listen: String::new(),
            otlp_grpc: String::new(),
            otlp_http: String::new(),
            external_labels: ArcSwap::default(),
            reload,
            config: ArcSwap::from_pointee(yaml),
            phase: AtomicU8::new(Phase::Starting as u8),
            reload_ok: AtomicBool::new(true),
            reloaded: AtomicI64::new(started),
        }
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }

    /// A process that stops never becomes ready again.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// The configuration that runs, as YAML.
    pub fn config(&self) -> String {
        self.config.load().as_ref().clone()
    }

    /// Notes the end of a reload: the new configuration, or that the old one stays.
    pub fn reloaded(&self, now: i64, yaml: Option<String>) {
        self.reload_ok.store(yaml.is_some(), Ordering::Relaxed);
        if let Some(yaml) = yaml {
            self.config.store(yaml.into());
            self.reloaded.store(now, Ordering::Relaxed);
        }
    }

    /// Whether the last reload worked, and when the configuration that runs was read.
    pub fn last_reload(&self) -> (bool, i64) {
        (self.reload_ok.load(Ordering::Relaxed), self.reloaded.load(Ordering::Relaxed))
    }
}

/// A time as RFC 3339 in UTC with milliseconds; Go's zero time where it is unknown (0).
pub fn rfc3339(ms: i64) -> String {
    if ms == 0 {
        return "0001-01-01T00:00:00Z".to_owned();
    }
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}
