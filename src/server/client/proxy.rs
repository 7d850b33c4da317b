//! Which requests go through a proxy, and how: plain ones are handed to it whole, those over TLS get a tunnel (CONNECT).
//! A SOCKS5 proxy gives every request a tunnel, and looks the host's name up itself, as with Go's client.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{HeaderMap, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::Service;

use super::config::{ProxyConfig, TlsConfig};
use super::exempt::Exempt;
use super::{ClientError, connector, innermost, tls};

/// Where SOCKS proxies listen.
const SOCKS_PORT: u16 = 1080;

/// The head of a proxy's answer.
const HEAD_BYTES_MAX: usize = 16 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A proxy, and who we say we are.
#[derive(Clone, Debug)]
struct Gate {
    uri: Uri,
    login: Option<HeaderValue>,
    /// It speaks SOCKS5; with name and password where the URL has them.
    socks: Option<Option<(String, String)>>,
}

/// Which proxy each request takes.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    http: Option<Gate>,
    https: Option<Gate>,
    exempt: Exempt,
    /// Said when a tunnel is asked for.
    headers: HeaderMap,
}

impl Proxies {
    /// The proxies that a configuration names, or that the environment does where it says so.
    pub(super) fn new(config: &ProxyConfig<'_>) -> Result<Self, ClientError> {
        let mut proxies = Self::default();
        if config.from_environment {
            let variable = |names: [&str; 2]| names.into_iter().find_map(|name| std::env::var(name).ok());
            proxies.http = gate(variable(["HTTP_PROXY", "http_proxy"]).as_deref())?;
            proxies.https = gate(variable(["HTTPS_PROXY", "https_proxy"]).as_deref())?;
            proxies.exempt = Exempt::read(variable(["NO_PROXY", "no_proxy"]).as_deref().unwrap_or(""));
        } else {
            proxies.http = gate(config.url)?;
            proxies.https.clone_from(&proxies.http);
            // As with Prometheus: without a list even loopback goes through the proxy.
            proxies.exempt = config.no_proxy.map_or_else(Exempt::default, Exempt::read);
        }
        for (name, values) in config.connect_header.into_iter().flatten() {
            let bad = |_| ClientError::Proxy(format!("proxy_connect_header {name:?} cannot be sent"));
            let known = HeaderName::try_from(name.as_str()).map_err(|error| bad(http::Error::from(error)))?;
            for value in values {
                let mut value = HeaderValue::try_from(value.expose()).map_err(|error| bad(http::Error::from(error)))?;
                value.set_sensitive(true);
                proxies.headers.append(&known, value);
            }
        }
        Ok(proxies)
    }

    fn gate(&self, uri: &Uri) -> Option<&Gate> {
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let gate = if is_tls { self.https.as_ref() } else { self.http.as_ref() }?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        (!self.exempt.contains(uri.host().unwrap_or(""), port)).then_some(gate)
    }

    /// Says who we are to the proxy that gets a plain request whole.
    pub(super) fn sign(&self, uri: &Uri, headers: &mut HeaderMap) {
        if uri.scheme() != Some(&Scheme::HTTPS)
            && let Some(login) = self.gate(uri).and_then(|gate| gate.login.clone())
        {
            headers.insert(PROXY_AUTHORIZATION, login);
        }
    }

    fn is_tls(&self) -> bool {
        [&self.http, &self.https].into_iter().flatten().any(|gate| gate.uri.scheme() == Some(&Scheme::HTTPS))
    }
}

/// Reads the URL of a proxy; one without a scheme is spoken to in the clear.
fn gate(url: Option<&str>) -> Result<Option<Gate>, ClientError> {
    let Some(url) = url.map(str::trim).filter(|url| !url.is_empty()) else { return Ok(None) };
    // The URL may hold a password.
    let bad = |what: &str| ClientError::Proxy(format!("the URL of the proxy {what}"));
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let (scheme, rest) = whole.split_once("://").unwrap_or(("http", url));
    let is_socks = matches!(scheme, "socks5" | "socks5h");
    if !is_socks && !matches!(scheme, "http" | "https") {
        return Err(bad("must begin with http://, https:// or socks5://"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let (login, host) = authority.rsplit_once('@').map_or((None, authority), |(login, host)| (Some(login), host));
    let mut uri: Uri = format!("{scheme}://{host}/").parse().map_err(|_| bad("is not a URL"))?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(bad("has no host"));
    }
    if is_socks {
        if uri.port().is_none() {
            uri = format!("{scheme}://{host}:{SOCKS_PORT}/").parse().map_err(|_| bad("is not a URL"))?;
        }
        let text = |text: &str| String::from_utf8(unescape(text)).map_err(|_| bad("has a login that cannot be sent"));
        let login = login.map(|login| {
            let (name, password) = login.split_once(':').unwrap_or((login, ""));
            Ok::<_, ClientError>((text(name)?, text(password)?))
        });
        return Ok(Some(Gate { uri, login: None, socks: Some(login.transpose()?) }));
    }
    let login = login.map(|login| -> Result<_, ClientError> {
        let (name, password) = login.split_once(':').unwrap_or((login, ""));
        let text = format!("Basic {}", STANDARD.encode([unescape(name), b":".to_vec(), unescape(password)].concat()));
        let mut value = HeaderValue::try_from(text).map_err(|_| bad("has a login that cannot be sent"))?;
        value.set_sensitive(true);
        Ok(value)
    });
    Ok(Some(Gate { uri, login: login.transpose()?, socks: None }))
}

/// Undoes percent-encoding; what is none stays.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Connects to hosts, or to the proxy that stands before them.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    /// Where a proxy itself speaks TLS.
    secure: Option<HttpsConnector<HttpConnector>>,
    proxies: Arc<Proxies>,
}

impl Connector {
    pub(super) fn new(proxies: Arc<Proxies>, config: &TlsConfig) -> Result<Self, ClientError> {
        let mut tcp = connector();
        tcp.enforce_http(false);
        let secure = if proxies.is_tls() {
            let builder = HttpsConnectorBuilder::new().with_tls_config(tls::build(config)?).https_or_http();
            Some(builder.enable_http1().wrap_connector(tcp.clone()))
        } else {
            None
        };
        Ok(Self { tcp, secure, proxies })
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(gate) = self.proxies.gate(&uri).cloned() else {
            let connecting = self.tcp.call(uri);
            return Box::pin(async move { Ok(Stream { io: Io::Http(connecting.await?), is_proxied: false }) });
        };
        let mut this = self.clone();
        Box::pin(async move {
            let at_proxy = |error: BoxError| format!("proxy {}: {}", gate.uri, innermost(&*error));
            if let Some(login) = gate.socks {
                let mut socks = SocksV5::new(gate.uri.clone(), this.tcp);
                if let Some((name, password)) = login {
                    socks = socks.with_auth(name, password);
                }
                let io = socks.call(with_port(&uri)).await.map_err(|error| at_proxy(error.into()))?;
                return Ok(Stream { io: Io::Http(io), is_proxied: false });
            }
            let secure = this.secure.as_mut().filter(|_| gate.uri.scheme() == Some(&Scheme::HTTPS));
            let io = match secure {
                Some(secure) => secure.call(gate.uri.clone()).await.map_err(at_proxy)?,
                None => Io::Http(this.tcp.call(gate.uri.clone()).await.map_err(|error| at_proxy(error.into()))?),
            };
            if uri.scheme() != Some(&Scheme::HTTPS) {
                return Ok(Stream { io, is_proxied: true });
            }
            let mut headers = this.proxies.headers.clone();
            if let Some(login) = gate.login.clone() {
                headers.insert(PROXY_AUTHORIZATION, login);
            }
            let io = tunnel(io, &uri, &headers).await.map_err(|error| at_proxy(error.into()))?;
            Ok(Stream { io, is_proxied: false })
        })
    }
}

/// The same place with its port, which SOCKS has to be told.
fn with_port(uri: &Uri) -> Uri {
    let (scheme, host) = (uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or(""));
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    format!("{scheme}://{host}:{port}/").parse().unwrap_or_else(|_| uri.clone())
}

/// Asks a proxy for a way through.
async fn tunnel(io: Io, uri: &Uri, headers: &HeaderMap) -> io::Result<Io> {
    let target = format!("{}:{}", uri.host().unwrap_or(""), uri.port_u16().unwrap_or(443));
    let mut asked = format!("CONNECT {target} HTTP/1.1\r\n").into_bytes();
    if !headers.contains_key(HOST) {
        asked.extend_from_slice(format!("Host: {target}\r\n").as_bytes());
    }
    for (name, value) in headers {
        asked.extend_from_slice(name.as_str().as_bytes());
        asked.extend_from_slice(b": ");
        asked.extend_from_slice(value.as_bytes());
        asked.extend_from_slice(b"\r\n");
    }
    asked.extend_from_slice(b"\r\n");
    let mut io = TokioIo::new(io);
    io.write_all(&asked).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(io::Error::other("its answer to CONNECT is too long"));
        }
        // By byte: what follows the head belongs to the tunnel.
        head.push(io.read_u8().await?);
    }
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    match line.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()) {
        Some(200..=299) => Ok(io.into_inner()),
        _ => Err(io::Error::other(format!("it refused CONNECT {target}: {line}"))),
    }
}

/// A connection to a host, or to a proxy that gets requests whole.
#[derive(Debug)]
pub(super) struct Stream {
    io: Io,
    is_proxied: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_proxied)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }
}

#[cfg(test)]
mod tests;
