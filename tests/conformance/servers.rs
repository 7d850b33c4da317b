//! A real Prometheus and a novascope, both over HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::http::{escape, request};
use crate::load::Request;

/// The times of a query in milliseconds; one of step 0 is instant, at `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
}

fn path(query: &str, window: Window) -> String {
    let seconds = |millis: i64| millis as f64 / 1000.0;
    let (start, end, step) = (seconds(window.start), seconds(window.end), seconds(window.step));
    let query = escape(query);
    if window.step == 0 {
        return format!("/api/v1/query?query={query}&time={end}&stats=all");
    }
    format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}&stats=all")
}

fn ask(address: SocketAddr, query: &str, window: Window) -> Value {
    request(address, &format!("GET {} HTTP/1.1\r\n", path(query, window)), b"").json()
}

fn write(address: SocketAddr, posted: &Request) {
    let headers: String = posted.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let answer = request(address, &format!("POST {} HTTP/1.1\r\n{headers}", posted.path), &posted.body);
    assert!(matches!(answer.status, 200 | 204), "{}: {} {}", posted.path, answer.status, answer.text());
}

/// A novascope of its own that keeps everything.
pub(crate) struct Novascope(Daemon);

impl Novascope {
    pub(crate) fn start(folder: &Path) -> Self {
        let arguments = ["--self", "off", "--retention", "off", "--dedup-interval", "0s"];
        Self(Daemon::start(&folder.join("novascope"), &arguments))
    }

    pub(crate) fn write(&self, posted: &Request) {
        write(self.0.main, posted);
    }

    pub(crate) fn ask(&self, query: &str, window: Window) -> Value {
        ask(self.0.main, query, window)
    }
}

/// A Prometheus of its own. It is killed when dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    /// As new as the language that we know: 3.14, with all its features on.
    pub(crate) is_newest: bool,
}

/// What 3.14 has behind flags.
const FEATURES: &str = "promql-experimental-functions,promql-delayed-name-removal,promql-extended-range-selectors,\
                        promql-binop-fill-modifiers,use-start-timestamps,promql-per-step-stats,st-storage,\
                        xor2-encoding,histograms-st-encoding";

impl Prometheus {
    pub(crate) fn start(program: &Path, folder: &Path) -> Self {
        let version = Command::new(program).arg("--version").output().expect("Prometheus tells its version");
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let is_newest = newest(&version);
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, "global:\n  scrape_interval: 1h\n").unwrap();
        // Prometheus does not tell which port it got, so a free one is looked for first.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--storage.tsdb.retention.time=200y", "--log.level=error", "--web.enable-remote-write-receiver"]);
        if is_newest {
            command.args([format!("--enable-feature={FEATURES}"), "--web.enable-otlp-receiver".to_owned()]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("Prometheus starts");
        let mut server = Self { child, address, is_newest };
        for _ in 0..600 {
            assert!(server.child.try_wait().unwrap().is_none(), "Prometheus ended by itself");
            if server.is_ready() {
                return server;
            }
            // There is no event to wait for but the answer itself; the number of attempts is bounded.
            std::thread::park_timeout(Duration::from_millis(100));
        }
        panic!("Prometheus is not ready after a minute");
    }

    /// A port that is open may still not answer.
    fn is_ready(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        ask().is_ok_and(|answer: String| answer.starts_with("HTTP/1.1 200"))
    }

    pub(crate) fn write(&self, posted: &Request) {
        write(self.address, posted);
    }

    pub(crate) fn ask(&self, query: &str, window: Window) -> Value {
        ask(self.address, query, window)
    }
}

/// Whether `prometheus, version 3.14.0 (…)` is new enough. One that was built without telling its version is.
fn newest(text: &str) -> bool {
    let Some(version) = text.split("version ").nth(1) else { return true };
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    major == 0 || (major, minor) >= (3, 14)
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
