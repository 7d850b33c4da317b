//! The HTTP client of scrapes, discovery and notifications: HTTP/1.1 and h2, TLS, credentials, bodies with limits.
//!
//! Promises: connections are kept and reused; a body costs no more memory than its limit, whatever its encoding
//! claims; credentials are sent only to the host that they were configured for, not to where it redirects. Sets no
//! timeout of its own: callers know how long they may wait, and dropping the future ends the request. Requests
//! take a proxy where one is configured. Credential files are read at each request; TLS files when a client is made, and
//! again when one has changed, so that rotated certificates need no reload.

mod auth;
pub mod config;
mod exempt;
mod proxy;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;

use super::inflate::{Encoding, inflate};
use crate::base::clock::Clock;
use crate::base::tasks::{TaskKind, Tasks};

use auth::Auth;
use config::{ClientConfig, ClientConfigError, TlsConfig};
use proxy::{Connector, Proxies};

/// As many as Prometheus follows.
const REDIRECTS_MAX: usize = 10;

/// As long as Prometheus keeps a connection that nobody uses.
const IDLE: Duration = Duration::from_secs(300);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Config(#[from] ClientConfigError),
    #[error("{}: {message}", file.display())]
    File { file: PathBuf, message: String },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("{0:?} is not a URL that can be asked")]
    Url(String),
    #[error("{method} \"{url}\": {message}")]
    Send { method: Method, url: String, message: String },
    #[error("stopped after {REDIRECTS_MAX} redirects")]
    Redirects,
    #[error("proxy: {0}")]
    Proxy(String),
    #[error("OAuth2 token: {0}")]
    Token(String),
    #[error("reading the body: {0}")]
    Body(String),
    #[error("body exceeds {0} bytes")]
    TooLarge(usize),
}

/// A client with one configuration. Clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plain: Client<Connector, Full<Bytes>>,
    /// Made at the first `https` request: certificates of the system take time and memory.
    secure: ArcSwapOption<Secure>,
    tls: TlsConfig,
    proxies: Arc<Proxies>,
    enable_http2: bool,
    follow_redirects: bool,
    auth: Auth,
    tasks: Tasks,
}

/// A client that speaks TLS, and what its files looked like when they were read.
#[derive(Debug)]
struct Secure {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    stamps: Vec<tls::Stamp>,
}

/// Starts the tasks that drive connections.
#[derive(Clone, Debug)]
struct Executor(Tasks);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: std::future::Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.0.spawn(TaskKind::Connection, future));
    }
}

impl HttpClient {
    /// Checks the configuration and, where it configures TLS, reads its files.
    pub fn new(config: &ClientConfig, tasks: &Tasks, clock: &Clock) -> Result<Self, ClientError> {
        config.validate()?;
        let tls = config.tls_config.clone().unwrap_or_default();
        let proxies = Arc::new(Proxies::new(&config.proxy())?);
        let inner = Inner {
            plain: builder(tasks).build(Connector::new(Arc::clone(&proxies), &tls)?),
            secure: ArcSwapOption::empty(),
            tls,
            proxies,
            enable_http2: config.enable_http2,
            follow_redirects: config.follow_redirects,
            auth: Auth::new(config, tasks, clock)?,
            tasks: tasks.clone(),
        };
        if config.tls_config.is_some() {
            inner.secure()?;
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Sends a request with its credentials and follows redirects (as GET, as browsers and Go do) where configured.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let inner = &*self.0;
        inner.auth.apply(request.headers_mut()).await?;
        if !inner.follow_redirects {
            return inner.send(request).await;
        }
        for _ in 0..=REDIRECTS_MAX {
            let next = Redirect::of(&request);
            let response = inner.send(request).await?;
            match next.follow(&response)? {
                Some(redirected) => request = redirected,
                None => return Ok(response),
            }
        }
        Err(ClientError::Redirects)
    }

    /// Asks with GET and reads the whole body, inflated, of at most `limit` bytes (also before inflating).
    pub async fn get(&self, uri: &Uri, headers: HeaderMap, limit: usize) -> Result<Response<Bytes>, ClientError> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        self.whole(request, limit).await
    }

    /// Posts encoded parameters; reads the answer as [`Self::get`] does.
    pub async fn post_form(&self, uri: &Uri, form: String, limit: usize) -> Result<Response<Bytes>, ClientError> {
        let mut request = Request::new(Full::new(form.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        self.whole(request, limit).await
    }

    async fn whole(&self, request: Request<Full<Bytes>>, limit: usize) -> Result<Response<Bytes>, ClientError> {
        let response = self.send(request).await?;
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        read(body, limit, &mut bytes).await?;
        let body = inflated(&parts.headers, bytes, limit)?;
        Ok(Response::from_parts(parts, body.into()))
    }
}

impl Inner {
    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let (method, url) = (request.method().clone(), request.uri().clone());
        let sent = if url.scheme() == Some(&Scheme::HTTPS) {
            self.secure()?.client.request(request).await
        } else {
            self.proxies.sign(&url, request.headers_mut());
            self.plain.request(request).await
        };
        sent.map_err(|error| ClientError::Send { method, url: url.to_string(), message: innermost(&error) })
    }

    /// The client for `https`, made anew where a file of its configuration has changed. While the new files cannot be
    /// used (a certificate is there before its key), the old ones go on.
    fn secure(&self) -> Result<Arc<Secure>, ClientError> {
        let stamps = tls::stamps(&self.tls);
        let known = self.secure.load_full();
        if let Some(known) = known.as_ref().filter(|known| known.stamps == stamps) {
            return Ok(Arc::clone(known));
        }
        match (self.connect(stamps), known) {
            (Ok(made), _) => {
                let made = Arc::new(made);
                self.secure.store(Some(Arc::clone(&made)));
                Ok(made)
            }
            (Err(error), Some(known)) => {
                tracing::warn!(%error, "changed TLS files cannot be used; the ones before stay in force");
                Ok(known)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn connect(&self, stamps: Vec<tls::Stamp>) -> Result<Secure, ClientError> {
        let tls = HttpsConnectorBuilder::new().with_tls_config(tls::build(&self.tls)?).https_or_http();
        let tls = match tls::server_name(&self.tls)? {
            Some(name) => tls.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => tls,
        };
        let way = Connector::new(Arc::clone(&self.proxies), &self.tls)?;
        let connector = if self.enable_http2 {
            tls.enable_all_versions().wrap_connector(way)
        } else {
            tls.enable_http1().wrap_connector(way)
        };
        Ok(Secure { client: builder(&self.tasks).build(connector), stamps })
    }
}

fn connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp
}

fn builder(tasks: &Tasks) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(Executor(tasks.clone()));
    builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
    builder
}

/// What a redirect needs of the request that is on its way.
struct Redirect {
    uri: Uri,
    headers: HeaderMap,
}

impl Redirect {
    fn of(request: &Request<Full<Bytes>>) -> Self {
        Self { uri: request.uri().clone(), headers: request.headers().clone() }
    }

    fn follow(mut self, response: &Response<Incoming>) -> Result<Option<Request<Full<Bytes>>>, ClientError> {
        let redirected = matches!(
            response.status(),
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let Some(location) = response.headers().get(LOCATION).filter(|_| redirected) else { return Ok(None) };
        let location = location.to_str().map_err(|_| ClientError::Url(format!("{location:?}")))?;
        let target = join(&self.uri, location)?;
        if target.authority() != self.uri.authority() {
            // Credentials are for the configured host alone.
            self.headers.remove(http::header::AUTHORIZATION);
            self.headers.remove(http::header::COOKIE);
        }
        self.headers.remove(HOST);
        let mut request = Request::new(Full::default());
        *request.uri_mut() = target;
        *request.headers_mut() = self.headers;
        Ok(Some(request))
    }
}

/// A location as seen from where it was met: absolute, from the root, or beside.
fn join(base: &Uri, location: &str) -> Result<Uri, ClientError> {
    let bad = || ClientError::Url(location.to_owned());
    let (scheme, authority) = (base.scheme_str().ok_or_else(bad)?, base.authority().ok_or_else(bad)?);
    let absolute = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    absolute.parse().map_err(|_| bad())
}

/// Appends a body of at most `limit` bytes to `into`.
pub async fn read(mut body: Incoming, limit: usize, into: &mut Vec<u8>) -> Result<(), ClientError> {
    let start = into.len();
    let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    if let Some(size) = announced {
        if size > limit {
            return Err(ClientError::TooLarge(limit));
        }
        // An announcement is believed only so far.
        into.reserve(size.min(1 << 20));
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ClientError::Body(innermost(&error)))?;
        if let Some(data) = frame.data_ref() {
            if into.len() - start + data.len() > limit {
                return Err(ClientError::TooLarge(limit));
            }
            into.extend_from_slice(data);
        }
    }
    Ok(())
}

/// Undoes the `Content-Encoding` of a body.
pub fn inflated(headers: &HeaderMap, body: Vec<u8>, limit: usize) -> Result<Vec<u8>, ClientError> {
    let Some(name) = headers.get(CONTENT_ENCODING) else { return Ok(body) };
    let name = name.to_str().unwrap_or("?");
    match Encoding::from_name(name) {
        Some(Encoding::Identity) => Ok(body),
        Some(encoding) => inflate(encoding, &body, limit).map_err(|failure| {
            if failure.kind == super::error::Kind::TooLarge {
                ClientError::TooLarge(limit)
            } else {
                ClientError::Body(failure.to_string())
            }
        }),
        None => Err(ClientError::Body(format!("unknown Content-Encoding {name:?}"))),
    }
}

/// The cause that says what happened; what wraps it only says where.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
