//! Sends spans about our own work to the OTLP receiver that `tracing` of the configuration names.
//!
//! One task looks once a second for finished spans and sends them in batches; what cannot be sent is counted and gone,
//! since an observability server must not queue for its own sake. A reload changes receiver and fraction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use opentelemetry_http::{HttpClient as OtlpClient, HttpError};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::trace::SpanExporter as _;

use crate::app::config::tracing::{Carrier, Compression, Config};
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::tasks::Tasks;
use crate::server::client::config::{ClientConfig, TlsConfig};
use crate::server::client::{HttpClient, read};
use crate::telemetry::traces;

/// Spans of one request.
const BATCH: usize = 512;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The exporter in force.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    exporter: Arc<ArcSwapOption<SpanExporter>>,
}

/// An exporter that is ready, and the fraction of requests that it is for.
#[derive(Debug)]
pub struct Prepared(Option<(SpanExporter, f64)>);

/// Makes what a configuration asks for; changes nothing.
pub fn prepare(config: Option<&Config>, tasks: &Tasks, clock: &Clock) -> Result<Prepared, String> {
    let Some(config) = config else { return Ok(Prepared(None)) };
    let exporter = match config.client_type {
        Carrier::Grpc => over_grpc(config),
        Carrier::Http => over_http(config, tasks, clock),
    };
    let mut exporter = exporter.map_err(|why| format!("tracing: {why}"))?;
    exporter.set_resource(&traces::resource());
    Ok(Prepared(Some((exporter, config.sampling_fraction))))
}

impl Traces {
    /// Puts an exporter in force, or none.
    pub fn apply(&self, prepared: Prepared) {
        match prepared.0 {
            Some((exporter, fraction)) => {
                self.exporter.store(Some(Arc::new(exporter)));
                traces::turn_on(fraction);
            }
            None => {
                traces::turn_off();
                self.exporter.store(None);
            }
        }
    }

    /// Sends what there is once a second, and a last time when the drain starts.
    pub async fn run(self, drain: Drain) {
        let mut was_good = true;
        loop {
            let stops = tokio::select! {
                () = drain.wait() => true,
                () = tokio::time::sleep(Duration::from_secs(1)) => false,
            };
            if let Some(exporter) = self.exporter.load_full() {
                let sent = send(&exporter);
                let is_good = if stops {
                    // The stop waits for this; what is not sent in a moment is lost.
                    tokio::time::timeout(Duration::from_millis(500), sent).await.unwrap_or(false)
                } else {
                    sent.await
                };
                was_good = is_good || {
                    if was_good && !stops {
                        tracing::warn!(
                            "spans about our own work cannot be sent; novascope_own_spans_total counts them"
                        );
                    }
                    false
                };
            }
            if stops {
                return;
            }
        }
    }
}

/// Sends all that waits; false where something was lost.
async fn send(exporter: &SpanExporter) -> bool {
    let mut is_good = true;
    loop {
        let batch = traces::take(BATCH);
        if batch.is_empty() {
            return is_good;
        }
        let count = batch.len();
        let sent = exporter.export(batch).await;
        if let Err(error) = &sent {
            tracing::debug!(%error, "spans not sent");
        }
        traces::count(count, sent.is_ok());
        is_good &= sent.is_ok();
    }
}

fn over_grpc(config: &Config) -> Result<SpanExporter, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("header {name:?} is not valid"))?;
        let value =
            HeaderValue::from_str(value.expose()).map_err(|_| format!("value of header {name} is not valid"))?;
        headers.insert(name, value);
    }
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(config.url())
        .with_timeout(config.timeout.as_duration())
        .with_metadata(MetadataMap::from_headers(headers));
    if config.compression == Some(Compression::Gzip) {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    if !config.insecure {
        builder = builder.with_tls_config(grpc_tls(&config.tls_config.clone().unwrap_or_default())?);
    }
    builder.build().map_err(|error| error.to_string())
}

fn grpc_tls(config: &TlsConfig) -> Result<ClientTlsConfig, String> {
    if config.insecure_skip_verify {
        return Err("insecure_skip_verify needs `client_type: http`, or `insecure: true` for no TLS".to_owned());
    }
    let mut tls = ClientTlsConfig::new().with_enabled_roots();
    let files = config.read_pem().map_err(|error| error.to_string())?;
    if let Some(ca) = files.ca {
        tls = tls.ca_certificate(Certificate::from_pem(ca));
    }
    if let Some((cert, key)) = files.identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    if !config.server_name.is_empty() {
        tls = tls.domain_name(&config.server_name);
    }
    Ok(tls)
}

fn over_http(config: &Config, tasks: &Tasks, clock: &Clock) -> Result<SpanExporter, String> {
    let client = ClientConfig { tls_config: config.tls_config.clone(), ..ClientConfig::default() };
    let client = HttpClient::new(&client, tasks, clock).map_err(|error| error.to_string())?;
    let headers: HashMap<String, String> =
        config.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    let timeout = config.timeout.as_duration();
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_http_client(OverHttp { client, timeout })
        .with_endpoint(format!("{}/v1/traces", config.url()))
        .with_timeout(timeout)
        .with_headers(headers);
    if config.compression == Some(Compression::Gzip) {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    builder.build().map_err(|error| error.to_string())
}

/// Our HTTP client as the exporter wants one.
#[derive(Clone, Debug)]
struct OverHttp {
    client: HttpClient,
    timeout: Duration,
}

impl OverHttp {
    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.client.send(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        read(body, ANSWER_BYTES_MAX, &mut bytes).await?;
        Ok(Response::from_parts(parts, bytes.into()))
    }
}

#[async_trait::async_trait]
impl OtlpClient for OverHttp {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        tokio::time::timeout(self.timeout, self.ask(request)).await?
    }
}
