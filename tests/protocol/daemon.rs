//! A running novascope: its process, its log, its addresses.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use novascope::base::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::{self, Answer};

/// The longest that anything here may take. Far above what is right, because machines under test are busy.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

/// A daemon of this test. It is killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    /// The log so far.
    pub(crate) log: Vec<Value>,
    pub(crate) main: SocketAddr,
    pub(crate) otlp_grpc: Option<SocketAddr>,
    pub(crate) otlp_http: Option<SocketAddr>,
}

/// What a daemon said before it ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_novascope"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NOVASCOPE_")) {
        command.env_remove(name);
    }
    command.arg("--data").arg(data).args(["--log.format", "json"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Daemon {
    /// Starts on free ports and waits until it is ready.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_in(data, arguments, &[])
    }

    /// As [`Self::start`], with variables in its environment.
    pub(crate) fn start_in(data: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let free =
            ["--listen", "127.0.0.1:0", "--otlp.grpc-listen", "127.0.0.1:0", "--otlp.http-listen", "127.0.0.1:0"];
        let mut child = command(data, &[&free, arguments].concat()).envs(variables.iter().copied()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        // Ends with the pipe, which ends with the child.
        std::thread::Builder::new()
            .spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)))
            .unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut daemon = Self { child, lines, log: Vec::new(), main: nowhere, otlp_grpc: None, otlp_http: None };
        daemon.wait_for_log("ready");
        daemon.main = daemon.address("main").expect("the log names the main port");
        daemon.otlp_grpc = daemon.address("otlp_grpc");
        daemon.otlp_http = daemon.address("otlp_http");
        daemon
    }

    fn address(&self, port: &str) -> Option<SocketAddr> {
        self.log.iter().find(|line| line["port"] == port).map(|line| line["address"].as_str().unwrap().parse().unwrap())
    }

    /// Reads the log up to a line that begins so.
    pub(crate) fn wait_for_log(&mut self, beginning: &str) -> Value {
        let clock = Clock::real();
        loop {
            let left = WAIT_MAX.saturating_sub(clock.monotonic());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let line: Value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                    self.log.push(line.clone());
                    if line["message"].as_str().is_some_and(|message| message.starts_with(beginning)) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no line {beginning:?} in {:#?}", self.log),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended: {:#?}", self.log),
            }
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        http::request(self.main, &format!("GET {path} HTTP/1.1\r\n"), b"")
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        http::request(self.main, &format!("POST {path} HTTP/1.1\r\n{headers}"), body)
    }

    /// The result of an instant query.
    pub(crate) fn query(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/query?query={}", http::escape(query)));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()["data"]["result"].as_array().unwrap().clone()
    }

    /// Asks until the answer is not empty.
    pub(crate) fn query_until_found(&self, query: &str) -> Vec<Value> {
        let clock = Clock::real();
        loop {
            let result = self.query(query);
            if !result.is_empty() {
                return result;
            }
            assert!(clock.monotonic() < WAIT_MAX, "nothing for {query}");
            // A pause between questions, not a guess at how long something takes.
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let clock = Clock::real();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(clock.monotonic() < WAIT_MAX, "still running");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one that is expected to end by itself, soon.
#[track_caller]
pub(crate) fn run_to_end(data: &Path, arguments: &[&str]) -> Ended {
    let off = ["--otlp.grpc-listen", "off", "--otlp.http-listen", "off"];
    wait_for_end(&mut command(data, &[&off, arguments].concat()))
}

/// Runs a subcommand.
#[track_caller]
pub(crate) fn run_command(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_novascope"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    wait_for_end(&mut command)
}

#[track_caller]
fn wait_for_end(command: &mut Command) -> Ended {
    let mut child = command.spawn().unwrap();
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        let read_all = move || {
            let mut text = String::new();
            let _ = pipe.map(|mut pipe| pipe.read_to_string(&mut text));
            text
        };
        std::thread::Builder::new().spawn(read_all).unwrap()
    };
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let clock = Clock::real();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if clock.monotonic() > WAIT_MAX {
            let _ = child.kill();
            panic!("it runs instead of ending: {}", stderr.join().unwrap());
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    Ended { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// A data folder inside a temporary one.
pub(crate) fn data_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    (folder, data)
}
