//! A listener that speaks HTTP/1.1, HTTP/2 with prior knowledge (h2c) and gRPC on one port.
//!
//! Limits: connections (those beyond are closed at once and counted), time for request headers, concurrent streams
//! per connection, size of headers. On drain it stops accepting, lets running requests finish within a grace period,
//! and then closes what is left.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::base::drain::Drain;
use crate::base::tasks::{TaskKind, Tasks};

/// What one listener may use.
#[derive(Clone, Copy, Debug)]
pub struct ListenLimits {
    /// Connections at the same time. One costs some 20 KiB while idle.
    pub connections_max: usize,
    /// From accepting, or from the end of the last request, to the end of the next request's headers. Also how long an
    /// idle connection is kept, so it is longer than Grafana's and Prometheus' pauses between requests.
    pub header_silence_max: Duration,
    /// How long running requests may take after the drain began.
    pub grace: Duration,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self { connections_max: 4096, header_silence_max: Duration::from_secs(120), grace: Duration::from_secs(3) }
    }
}

/// HTTP/2 streams at the same time on one connection.
const STREAMS_MAX: u32 = 1024;

/// Bytes of an HTTP/2 header list. HTTP/1 has its read buffer as limit.
const HEADER_BYTES_MAX: u32 = 64 << 10;

/// HTTP/1 reads heads into this much at most; queries of GET requests must fit.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// Where data may be in flight to us on one HTTP/2 stream and connection; sized for gRPC senders with big batches.
const WINDOW_BYTES: u32 = 1 << 20;

/// What every HTTP/2 connection begins with.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a listener saw since its start.
#[derive(Debug, Default)]
pub struct ListenCounters {
    pub accepted: AtomicU64,
    /// Closed at once, because the limit of connections was reached.
    pub refused: AtomicU64,
    /// Accepting failed (no file descriptors, mostly).
    pub failed: AtomicU64,
}

/// What a listener runs with.
#[derive(Clone, Debug)]
pub struct Serving {
    pub tasks: Tasks,
    pub drain: Drain,
    pub limits: ListenLimits,
    pub counters: Arc<ListenCounters>,
}

/// Accepts connections until the drain starts, then waits for running requests. Resolves when all are gone.
/// Handlers find the sender's address as `ConnectInfo<SocketAddr>` in the request's extensions.
pub async fn serve(listener: TcpListener, router: Router, serving: Serving) {
    let Serving { tasks, drain, limits, counters } = serving;
    let seats = u32::try_from(limits.connections_max).unwrap_or(u32::MAX);
    let free = Arc::new(Semaphore::new(limits.connections_max));
    let cut = CancellationToken::new();
    let builder = Arc::new(builder(&tasks, &limits));
    loop {
        let accepted = tokio::select! {
            () = drain.wait() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "cannot accept a connection");
                // Out of descriptors: trying again at once would burn a core until one is free.
                tokio::select! { () = drain.wait() => break, () = tokio::time::sleep(Duration::from_millis(50)) => continue }
            }
        };
        let Ok(seat) = Arc::clone(&free).try_acquire_owned() else {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        let connection = Connection {
            stream,
            peer,
            seat,
            cut: cut.clone(),
            drain: drain.clone(),
            header_silence_max: limits.header_silence_max,
        };
        tasks.spawn(TaskKind::Connection, connection.run(Arc::clone(&builder), router.clone()));
    }
    drop(listener);
    if tokio::time::timeout(limits.grace, free.acquire_many(seats)).await.is_err() {
        cut.cancel();
        // Cut connections end at their next poll; the semaphore says when the last one has.
        let _ = tokio::time::timeout(Duration::from_secs(1), free.acquire_many(seats)).await;
    }
}

fn builder(tasks: &Tasks, limits: &ListenLimits) -> auto::Builder<Executor> {
    let mut builder = auto::Builder::new(Executor(tasks.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_silence_max)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 4)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Held until the connection ends.
    seat: OwnedSemaphorePermit,
    cut: CancellationToken,
    drain: Drain,
    header_silence_max: Duration,
}

impl Connection {
    async fn run(self, builder: Arc<auto::Builder<Executor>>, router: Router) {
        let Self { stream, peer, seat, cut, drain, header_silence_max } = self;
        // Small answers leave at once; without this a dashboard waits 40 ms for each delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        tokio::select! {
            () = drain.wait() => return,
            began = tokio::time::timeout(header_silence_max, begins(&stream)) => {
                let Ok(true) = began else { return };
            }
        }
        let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.map(axum::body::Body::new)
        });
        let connection =
            builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = drain.wait() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! { ended = connection => ended, () = cut.cancelled() => Ok(()) }
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%peer, %error, "connection ended");
        }
        drop(seat);
    }
}

/// Waits until it is clear which protocol the client speaks; false where it left before. Telling the protocols apart is
/// the one phase in which hyper has no clock, so a silent client would hold its seat for ever.
async fn begins(stream: &TcpStream) -> bool {
    let mut head = [0; HTTP2_PREFACE.len()];
    loop {
        match stream.peek(&mut head).await {
            Ok(0) | Err(_) => return false,
            Ok(read) if read < head.len() && HTTP2_PREFACE.starts_with(head.get(..read).unwrap_or(&[])) => {
                // Bytes that were peeked at keep the socket readable: look again later, not at once.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(_) => return true,
        }
    }
}

/// Lets hyper start its HTTP/2 streams through [`Tasks`].
#[derive(Clone, Debug)]
struct Executor(Tasks);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(TaskKind::Connection, future);
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Running {
        url: String,
        address: SocketAddr,
        drain: Drain,
        counters: Arc<ListenCounters>,
        ended: tokio::task::JoinHandle<()>,
    }

    async fn start(router: Router, limits: ListenLimits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, counters, tasks) = (Drain::default(), Arc::<ListenCounters>::default(), Tasks::default());
        let serving = Serving { tasks: tasks.clone(), drain: drain.clone(), limits, counters: Arc::clone(&counters) };
        let ended = tasks.spawn(TaskKind::Listener, serve(listener, router, serving));
        Running { url: format!("http://{address}/"), address, drain, counters, ended }
    }

    async fn fetch(url: &str, http2: bool) -> (http::Version, String) {
        let client: Client<_, Empty<bytes::Bytes>> =
            Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        let response = client.get(url.parse().unwrap()).await.unwrap();
        let version = response.version();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (version, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn one_port_speaks_http_1_and_http_2_and_knows_the_sender() {
        let router = Router::new()
            .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }));
        let running = start(router, ListenLimits::default()).await;
        assert_eq!(fetch(&running.url, false).await, (http::Version::HTTP_11, "127.0.0.1".to_owned()));
        assert_eq!(fetch(&running.url, true).await, (http::Version::HTTP_2, "127.0.0.1".to_owned()));
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_is_closed_and_counted() {
        let running = start(Router::new(), ListenLimits { connections_max: 1, ..ListenLimits::default() }).await;
        let _first = TcpStream::connect(running.address).await.unwrap();
        let mut second = TcpStream::connect(running.address).await.unwrap();
        let read = second.read(&mut [0; 1]).await;
        assert!(matches!(read, Ok(0) | Err(_)));
        assert_eq!(running.counters.refused.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_silent_client_loses_its_seat() {
        let limits = ListenLimits { header_silence_max: Duration::from_millis(20), ..ListenLimits::default() };
        let running = start(Router::new(), limits).await;
        for opening in ["", "P", "GET / HTTP/1.1\r\n"] {
            let mut client = TcpStream::connect(running.address).await.unwrap();
            client.write_all(opening.as_bytes()).await.unwrap();
            let read = tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut Vec::new())).await;
            assert!(read.is_ok(), "{opening:?} kept the connection");
        }
    }

    #[tokio::test]
    async fn a_drain_waits_for_running_requests_and_cuts_those_that_hang() {
        let started = Arc::new(tokio::sync::Notify::new());
        let (slow, tell) = (Arc::new(tokio::sync::Notify::new()), Arc::clone(&started));
        let wait = Arc::clone(&slow);
        let router = Router::new()
            .route(
                "/",
                get(move || async move {
                    tell.notify_one();
                    wait.notified().await;
                    "done"
                }),
            )
            .route("/hang", get(std::future::pending::<()>));
        let running =
            start(router, ListenLimits { grace: Duration::from_millis(200), ..ListenLimits::default() }).await;
        let tasks = Tasks::default();
        let url = running.url.clone();
        let request = tasks.spawn(TaskKind::Connection, async move { fetch(&url, false).await });
        let _hanging = TcpStream::connect(running.address).await.unwrap();
        started.notified().await;
        running.drain.start();
        slow.notify_one();
        assert_eq!(request.await.unwrap().1, "done");
        tokio::time::timeout(Duration::from_secs(5), running.ended).await.unwrap().unwrap();
    }
}
