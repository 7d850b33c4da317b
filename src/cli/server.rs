//! Talking to a running server from a command: where it is, and one request at a time.

use std::io::Write;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use tokio::runtime::Runtime;

use crate::base::clock::Clock;
use crate::base::tasks::Tasks;
use crate::server::client::config::ClientConfig;
use crate::server::client::{HttpClient, read};

/// Bytes of an error that are shown.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// Bytes of a JSON answer.
const JSON_BYTES_MAX: usize = 256 << 20;

/// A server and the means to ask it.
pub(super) struct Remote {
    base: String,
    client: HttpClient,
    runtime: Runtime,
}

/// Where a server is: by itself, or after `--url` as commands have it that also read data folders.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Such as http://127.0.0.1:9090.
    #[arg(value_name = "SERVER", required_unless_present = "url")]
    server: Option<String>,
    /// The same as SERVER.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    url: Option<String>,
}

impl Place {
    pub(super) fn url(&self) -> &str {
        self.server.as_deref().or(self.url.as_deref()).unwrap_or_default()
    }
}

/// A request with a body.
pub(super) struct Post<'a> {
    pub path: &'a str,
    pub media: &'static str,
    pub encoding: Option<&'static str>,
    pub body: Vec<u8>,
}

impl Remote {
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let base = url.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
        let client = {
            let _inside = runtime.enter();
            HttpClient::new(&ClientConfig::default(), &Tasks::default(), &Clock::real())
        };
        Ok(Self { base, client: client.map_err(|error| error.to_string())?, runtime })
    }

    /// Posts, and gives the body of a good answer to `out` as it comes.
    pub(super) fn post(&self, post: Post<'_>, out: &mut dyn Write) -> Result<(), String> {
        let Post { path, media, encoding, body } = post;
        let url = format!("{}{path}", self.base);
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
        if let Some(encoding) = encoding {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        self.runtime.block_on(async {
            let response = self.client.send(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let mut body = response.into_body();
            if !status.is_success() {
                let mut text = Vec::new();
                let _ = read(body, ERROR_BYTES_MAX, &mut text).await;
                return Err(format!("{url} answered {status}: {}", String::from_utf8_lossy(&text).trim()));
            }
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| format!("{url}: the answer was cut short: {error}"))?;
                if let Some(data) = frame.data_ref() {
                    out.write_all(data).map_err(|error| format!("cannot write: {error}"))?;
                }
            }
            Ok(())
        })
    }

    /// Asks with GET and reads JSON.
    pub(super) fn get_json(&self, path: &str) -> Result<serde_json::Value, String> {
        let url = format!("{}{path}", self.base);
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let answer = self.runtime.block_on(self.client.get(&uri, http::HeaderMap::new(), JSON_BYTES_MAX));
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status();
        if !status.is_success() {
            let text = String::from_utf8_lossy(answer.body());
            return Err(format!("{url} answered {status}: {}", text.trim()));
        }
        serde_json::from_slice(answer.body()).map_err(|error| format!("{url}: {error}"))
    }
}

/// A posted form.
pub(super) fn form<'a>(path: &'a str, parameters: &[(&str, &str)]) -> Post<'a> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish().into_bytes();
    Post { path, media: "application/x-www-form-urlencoded", encoding: None, body }
}
