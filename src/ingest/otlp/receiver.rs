//! From the bytes of a request to what its sender is told, whatever carried them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::config::Config;
use super::context::Caches;
use super::delta::Deltas;
use super::json;
use super::translate::Translator;
use crate::base::clock::Clock;
use crate::ingest::counters::ProtocolCounters;
use crate::ingest::report::Report;
use crate::metrics::{Commit, Origin, Store};
use crate::proto::wire::{WireError, put_bytes, put_uint};
use crate::server::body::BodyLimits;
use crate::server::error::{Failure, Kind};

/// Who carried a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

impl Carrier {
    const NAMES: [&str; 3] = ["otlp_grpc", "otlp_http", "otlp_http_json"];
}

/// Takes OTLP metrics into a store.
#[derive(Debug)]
pub struct Receiver {
    store: Arc<Store>,
    clock: Clock,
    pub(super) limits: BodyLimits,
    settings: ArcSwap<Settings>,
    generations: AtomicU64,
    caches: Caches,
    deltas: Deltas,
    counters: [ProtocolCounters; 3],
}

#[derive(Debug)]
struct Settings {
    config: Config,
    generation: u64,
}

/// What a sender is told of points that were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartialSuccess {
    pub rejected: u64,
    pub message: String,
}

impl PartialSuccess {
    /// `ExportMetricsServiceResponse`.
    pub(super) fn response(partial: Option<&Self>) -> Vec<u8> {
        let mut response = Vec::new();
        if let Some(partial) = partial {
            let mut inner = Vec::new();
            put_uint(&mut inner, 1, partial.rejected);
            put_bytes(&mut inner, 2, partial.message.as_bytes());
            put_bytes(&mut response, 1, &inner);
        }
        response
    }
}

/// What became of a body, before it is durable.
struct Taken {
    report: Report,
    accepted: u64,
    broken: Option<WireError>,
    commit: Commit,
}

impl Receiver {
    pub fn new(store: Arc<Store>, clock: Clock, limits: BodyLimits, config: Config) -> Self {
        Self {
            store,
            clock,
            limits,
            settings: ArcSwap::from_pointee(Settings { config, generation: 0 }),
            generations: AtomicU64::new(0),
            caches: Caches::default(),
            deltas: Deltas::default(),
            counters: Carrier::NAMES.map(ProtocolCounters::new),
        }
    }

    /// Changes the settings for requests that come from now on.
    pub fn reload(&self, config: Config) {
        if self.settings.load().config != config {
            let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
            self.settings.store(Arc::new(Settings { config, generation }));
        }
    }

    pub(super) fn counters(&self, carrier: Carrier) -> &ProtocolCounters {
        &self.counters[carrier as usize]
    }

    /// Stores the message of a request. `None` where every point was taken.
    ///
    /// # Errors
    /// Where the body is no request, nothing of it could be taken, or the store takes nothing now.
    pub(super) async fn export(&self, carrier: Carrier, body: &[u8]) -> Result<Option<PartialSuccess>, Failure> {
        let Taken { report, accepted, broken, commit } = match carrier {
            Carrier::HttpJson => {
                let body = json::to_protobuf(body, self.limits.bytes_max)
                    .map_err(|error| Failure::bad_data(format!("cannot decode the request: {error}")))?;
                self.take(carrier, &body)
            }
            Carrier::Grpc | Carrier::HttpProtobuf => self.take(carrier, body),
        };
        // What was appended before the bytes broke off is visible, so it is made durable too.
        commit.await.map_err(|error| Failure::new(Kind::Unavailable, error.to_string()))?;
        self.counters(carrier).stored(&report);
        if let Some(error) = broken {
            return Err(Failure::bad_data(format!("cannot decode the request: {error}")));
        }
        if let Some(kind) = report.again() {
            return Err(Failure::new(kind, report.message("data points", accepted)));
        }
        if report.is_clean() {
            return Ok(None);
        }
        let message = report.message("data points", accepted);
        if accepted == 0 {
            return Err(Failure::bad_data(message));
        }
        Ok(Some(PartialSuccess { rejected: report.rejected(), message }))
    }

    fn take(&self, carrier: Carrier, body: &[u8]) -> Taken {
        let settings = self.settings.load();
        let mut translator = Translator {
            config: &settings.config,
            caches: &self.caches,
            deltas: &self.deltas,
            appender: self.store.appender(Origin::new(Carrier::NAMES[carrier as usize])),
            seed: settings.generation,
            now_secs: self.clock.monotonic().as_secs(),
            report: Report::default(),
            accepted: 0,
            scratch: super::histograms::Scratch::default(),
            families: super::context::Families::default(),
        };
        let broken = translator.take(body).err();
        let Translator { appender, report, accepted, .. } = translator;
        Taken { report, accepted, broken, commit: appender.commit() }
    }
}
