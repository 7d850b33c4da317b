//! Which paths each port answers.
//!
//! The main port answers everything; the two OTLP ports only what their names say, so that one can be opened to
//! senders without opening the API.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::api::alertmanager::{self, Alertmanager};
use crate::api::instance::Instance;
use crate::api::prometheus::{Prometheus, admin, alertmanagers, targets};
use crate::app::config::own::Own;
use crate::base::clock::Clock;
use crate::base::tasks::Tasks;
use crate::ingest::scrape::Scraper;
use crate::ingest::{import, otlp, remote_write};
use crate::metrics::Store;
use crate::notify::notifier::Notifier;
use crate::query::Queries;
use crate::rules::engine::Rules;
use crate::rules::forward::Forwarder;
use crate::server::body::BodyLimits;
use crate::server::cors::Cors;
use crate::server::layers::{self, Layers};
use crate::server::rate::SampleRate;
use crate::slo::engine::Engine;
use crate::telemetry;
use crate::telemetry::text::Format;

/// What the ports answer from.
#[derive(Clone)]
pub struct Parts {
    pub store: Arc<Store>,
    pub queries: Queries,
    pub instance: Arc<Instance>,
    pub otlp: Arc<otlp::Receiver>,
    pub clock: Clock,
    pub tasks: Tasks,
    /// Whether stored data can be changed and copied over HTTP.
    pub has_admin: bool,
    pub rules: Rules,
    pub slos: Engine,
    pub notifier: Notifier,
    pub forwarder: Forwarder,
    pub scraper: Arc<Scraper>,
}

/// A router for each port.
#[derive(Debug)]
pub struct Routers {
    pub main: Router,
    pub otlp_grpc: Router,
    pub otlp_http: Router,
}

impl Parts {
    fn admin(&self) -> admin::Admin {
        admin::Admin {
            store: Arc::clone(&self.store),
            tasks: self.tasks.clone(),
            clock: self.clock.clone(),
            is_enabled: self.has_admin,
        }
    }

    /// Builds the routers of all ports.
    pub fn routers(&self, own: &Own, limits: &BodyLimits) -> Routers {
        let receive = &own.receive;
        let rate = SampleRate::new(self.clock.clone(), receive.sender_samples_per_second, receive.sender_burst);
        let rate = Arc::new(rate);
        let limited = |router: Router| {
            let rate = Arc::clone(&rate);
            router.layer(from_fn(move |request, next| Arc::clone(&rate).limit(request, next)))
        };
        let prometheus = Prometheus {
            store: Arc::clone(&self.store),
            queries: self.queries.clone(),
            instance: Arc::clone(&self.instance),
            rules: self.rules.clone(),
        };
        let write = remote_write::Receiver::new(Arc::clone(&self.store), self.clock.clone(), limits.clone());
        let import = import::Receiver::new(Arc::clone(&self.store), self.clock.clone(), limits.clone());
        let alertmanager = Alertmanager { notifier: self.notifier.clone(), instance: Arc::clone(&self.instance) };
        let main = crate::api::router(prometheus)
            .merge(alertmanager::routes(alertmanager))
            .merge(crate::api::slo::routes(self.objectives()))
            .merge(alertmanagers::routes(self.forwarder.clone()))
            .merge(limited(remote_write::routes(Arc::new(write))))
            .merge(targets::routes(Arc::clone(&self.scraper)))
            .merge(limited(import::routes(Arc::new(import))))
            .merge(limited(otlp::routes(Arc::clone(&self.otlp))))
            .merge(admin::routes(self.admin()))
            .route("/metrics", get(own_metrics));
        let wrap = |router| layers::wrap(router, Layers { clock: self.clock.clone(), cors: Cors::Any });
        // Both ports take both transports: a sender with the wrong port of the two still gets through.
        let otlp = || wrap(limited(otlp::routes(Arc::clone(&self.otlp))));
        Routers { main: wrap(main), otlp_grpc: otlp(), otlp_http: otlp() }
    }
}

impl Parts {
    fn objectives(&self) -> crate::api::slo::Slo {
        crate::api::slo::Slo { engine: self.slos.clone(), queries: self.queries.clone() }
    }
}

async fn own_metrics(headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = Format::negotiate(accept);
    let body = telemetry::text::render(&telemetry::registry().gather(), format);
    ([(CONTENT_TYPE, format.content_type())], body)
}
