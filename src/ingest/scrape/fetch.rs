//! One request to one target.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;

use super::config::Job;
use super::target::Target;
use crate::ingest::exposition::{ContentTypeError, Format};
use crate::server::client::{self, ClientError, HttpClient};

/// Why a target gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("GET \"{0}\": context deadline exceeded")]
    Timeout(Uri),
    #[error("server returned HTTP status {0}")]
    Status(StatusCode),
    #[error("body size limit exceeded")]
    TooLarge,
    #[error("{0}")]
    ContentType(#[from] ContentTypeError),
}

/// What a target gave. An empty body has no format.
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    pub(super) format: Option<Format>,
}

/// The request, made once for a target and its settings.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
    body_bytes_max: usize,
    fallback: Option<Format>,
    client: HttpClient,
}

impl Fetcher {
    pub(super) fn new(job: &Job, target: &Target, client: HttpClient) -> Self {
        let mut headers = HeaderMap::new();
        let timeout = target.timeout.as_duration();
        for (name, value) in [
            (ACCEPT, accept(job)),
            (ACCEPT_ENCODING, if job.enable_compression { "gzip" } else { "identity" }.to_owned()),
            (USER_AGENT, concat!("novascope/", env!("CARGO_PKG_VERSION")).to_owned()),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        if let Ok(seconds) = HeaderValue::try_from(timeout.as_secs_f64().to_string()) {
            headers.insert("x-prometheus-scrape-timeout-seconds", seconds);
        }
        Self {
            uri: target.url.clone(),
            headers,
            timeout,
            body_bytes_max: job.limits.body_bytes,
            fallback: job.fallback,
            client,
        }
    }

    /// Asks the target; never takes longer than its timeout.
    pub(super) async fn fetch(&self) -> Result<Fetched, FetchError> {
        match tokio::time::timeout(self.timeout, self.ask()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(FetchError::Timeout(self.uri.clone())),
        }
    }

    async fn ask(&self) -> Result<Fetched, FetchError> {
        let mut request = Request::new(Full::<Bytes>::default());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let (parts, incoming) = self.client.send(request).await?.into_parts();
        if parts.status != StatusCode::OK {
            return Err(FetchError::Status(parts.status));
        }
        let mut body = Vec::new();
        client::read(incoming, self.body_bytes_max, &mut body).await.map_err(too_large)?;
        let body = client::inflated(&parts.headers, body, self.body_bytes_max).map_err(too_large)?;
        if body.is_empty() {
            return Ok(Fetched { body, format: None });
        }
        let content_type = parts.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let format = Format::from_content_type(content_type, self.fallback)?;
        Ok(Fetched { body, format: Some(format) })
    }
}

fn too_large(error: ClientError) -> FetchError {
    match error {
        ClientError::TooLarge(_) => FetchError::TooLarge,
        other => FetchError::Client(other),
    }
}

/// As Prometheus asks: in order of preference, escaping only where the format knows it, anything else last.
fn accept(job: &Job) -> String {
    let mut weight = 6;
    let mut kinds = Vec::with_capacity(job.protocols.len() + 1);
    for format in &job.protocols {
        let escaping = match format {
            Format::Text1 | Format::OpenMetrics1 => format!(";escaping={}", job.escaping.name()),
            _ => String::new(),
        };
        kinds.push(format!("{}{escaping};q=0.{weight}", format.media_type()));
        weight -= 1;
    }
    kinds.push(format!("*/*;q=0.{weight}"));
    kinds.join(",")
}
