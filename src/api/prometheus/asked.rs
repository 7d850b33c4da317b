//! A request: its parameters and who asks.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequest, Request};
use http::HeaderMap;

use crate::api::prometheus::form::Form;
use crate::query::active::Asker;
use crate::server::error::Failure;

/// Headers by which Grafana says what asks, and their names in the query log.
const ORIGINS: [(&str, &str); 9] = [
    ("x-dashboard-uid", "dashboard"),
    ("x-dashboard-title", "dashboard_title"),
    ("x-panel-id", "panel"),
    ("x-panel-title", "panel_title"),
    ("x-grafana-org-id", "org"),
    ("x-grafana-user", "user"),
    ("fromalert", "from_alert"),
    ("x-rule-name", "rule"),
    ("x-rule-uid", "rule_uid"),
];

/// Bytes of a header that are kept.
const HEADER_MAX: usize = 256;

/// Parameters and asker of a request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub form: Form,
    pub asker: Asker,
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let client = request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map_or_else(|| "unknown".to_owned(), |ConnectInfo(address)| address.ip().to_string());
        let origin = origin(request.headers());
        let form = Form::from_request(request, state).await?;
        Ok(Self { form, asker: Asker { client, origin } })
    }
}

fn origin(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let mut origin = Vec::new();
    for (header, name) in ORIGINS {
        let Some(value) = headers.get(header).and_then(|value| value.to_str().ok()) else { continue };
        // `to_str` admits visible ASCII only, so any byte is a place to cut.
        origin.push((name, value.get(..HEADER_MAX).unwrap_or(value).to_owned()));
    }
    origin
}
