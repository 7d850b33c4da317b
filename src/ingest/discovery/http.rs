//! Targets from an HTTP endpoint that answers with JSON.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::config::{HttpConfig, StaticConfig};
use super::{DiscoveryError, Group};
use crate::server::client::{ClientError, HttpClient};

/// A list of targets. Larger ones are refused.
const BODY_BYTES_MAX: usize = 256 << 20;

pub(super) struct HttpSource {
    url: String,
    client: HttpClient,
    interval: Duration,
}

impl HttpSource {
    pub(super) fn new(config: &HttpConfig, client: HttpClient) -> Self {
        Self { url: config.url.clone(), client, interval: config.refresh_interval.as_duration() }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) async fn refresh(&self) -> Result<Vec<Group>, DiscoveryError> {
        let uri: Uri = self.url.parse().map_err(|_| ClientError::Url(self.url.clone()))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("novascope/", env!("CARGO_PKG_VERSION"))));
        if let Ok(seconds) = HeaderValue::try_from(self.interval.as_secs_f64().to_string()) {
            headers.insert("x-prometheus-refresh-interval-seconds", seconds);
        }
        let answer = self.client.get(&uri, headers, BODY_BYTES_MAX).await?;
        if answer.status() != StatusCode::OK {
            return Err(DiscoveryError::Status(self.url(), answer.status()));
        }
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media = content_type.split(';').next().unwrap_or("").trim();
        if !media.eq_ignore_ascii_case("application/json") {
            return Err(DiscoveryError::ContentType(self.url(), content_type.to_owned()));
        }
        let configs: Vec<StaticConfig> = serde_json::from_slice(answer.body())
            .map_err(|error| DiscoveryError::Content(self.url(), error.to_string()))?;
        let labelled = |config| {
            let mut group = Group::from_static(config);
            group.labels.insert("__meta_url".to_owned(), self.url());
            group
        };
        Ok(configs.into_iter().map(labelled).collect())
    }
}
