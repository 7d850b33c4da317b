//! `novascope alerts …`: what fires, and who works on it. Asks a running server.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::base::clock::Clock;
use crate::base::tasks::Tasks;
use crate::cli::{complain, say};
use crate::server::client::config::ClientConfig;
use crate::server::client::{self, HttpClient};

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(super) enum Alerts {
    /// List alerts that fire, the oldest first.
    List {
        #[command(flatten)]
        server: Server,
        /// Such as severity=critical; several must all hold.
        #[arg(value_name = "MATCHER")]
        matchers: Vec<String>,
        /// Only alerts that nobody acknowledged.
        #[arg(long)]
        open: bool,
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Say that somebody works on alerts: they are not repeated, and escalation stops.
    Ack {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        which: Which,
        /// Who; the user of this machine if absent.
        #[arg(long, env = "USER")]
        by: String,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
        /// Until when, as RFC 3339.
        #[arg(long, value_name = "TIME", conflicts_with = "period")]
        until: Option<String>,
        /// For how long, such as 2h.
        #[arg(long = "for", value_name = "DURATION")]
        period: Option<String>,
    },
    /// Take acknowledgements back.
    Unack {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        which: Which,
        #[arg(long, env = "USER", default_value = "")]
        by: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Server {
    /// Such as http://127.0.0.1:9090.
    #[arg(
        long,
        visible_alias = "url",
        alias = "alertmanager.url",
        value_name = "URL",
        default_value = "http://127.0.0.1:9090"
    )]
    server: String,
}

/// Alerts by fingerprint or by matchers.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Fingerprints (16 hexadecimal digits) or matchers such as alertname=Down.
    #[arg(required = true, value_name = "ALERT")]
    alerts: Vec<String>,
}

impl Which {
    /// The fingerprints and the matchers among them.
    fn split(&self) -> (Vec<&str>, Vec<&str>) {
        let is_fingerprint = |text: &&str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.alerts.iter().map(String::as_str).partition(is_fingerprint)
    }
}

impl Alerts {
    pub(super) fn run(&self) -> ExitCode {
        run(self)
    }
}

fn run(command: &Alerts) -> ExitCode {
    let answer = match command {
        Alerts::List { server, matchers, open, limit } => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", &limit.to_string());
            for matcher in matchers {
                query.append_pair("filter", matcher);
            }
            if *open {
                query.append_pair("acknowledged", "false");
            }
            ask(server, Method::GET, &format!("/alerts?{}", query.finish()), None).map(|answer| list(&answer))
        }
        Alerts::Ack { server, which, by, comment, until, period } => {
            let (fingerprints, matchers) = which.split();
            let mut body = json!({"fingerprints": fingerprints, "matchers": matchers, "by": by, "comment": comment});
            if let Some(until) = until {
                body["until"] = json!(until);
            }
            if let Some(period) = period {
                body["for"] = json!(period);
            }
            let text = |answer: Value| {
                let until = answer["until"].as_str().unwrap_or("").to_owned();
                say(&format!("{} acknowledged by {by} until {until}", answer["acknowledged"]));
            };
            ask(server, Method::POST, "/alerts/acknowledge", Some(&body)).map(text)
        }
        Alerts::Unack { server, which, by } => {
            let (fingerprints, matchers) = which.split();
            let body = json!({"fingerprints": fingerprints, "matchers": matchers, "by": by});
            let text = |answer: Value| say(&format!("{} taken back", answer["removed"]));
            ask(server, Method::DELETE, "/alerts/acknowledge", Some(&body)).map(text)
        }
    };
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn list(answer: &Value) {
    for row in answer["alerts"].as_array().into_iter().flatten() {
        let labels = row["labels"].as_object().into_iter().flatten().filter(|(name, _)| *name != "alertname");
        let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or(""))).collect();
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let state = match row["acknowledgement"]["by"].as_str() {
            Some(by) => format!("acknowledged by {by}"),
            None => text(&row["status"]["state"]),
        };
        let (id, name) = (text(&row["fingerprint"]), text(&row["labels"]["alertname"]));
        say(&format!("{id}  {}  {name}  {{{}}}  {state}", text(&row["startsAt"]), labels.join(", ")));
    }
    say(&format!("{} alerts", answer["total"]));
}

fn ask(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let url = format!("{}{path}", server.server.trim_end_matches('/'));
    let asking = async {
        let client = HttpClient::new(&ClientConfig::default(), &Tasks::default(), &Clock::real())
            .map_err(|error| error.to_string())?;
        let request = Request::builder().method(method).uri(&url);
        let request = request.header("content-type", "application/json").header("accept", "application/json");
        let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = request.body(Full::new(Bytes::from(bytes))).map_err(|error| format!("{url}: {error}"))?;
        let response = client.send(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let mut bytes = Vec::new();
        client::read(response.into_body(), ANSWER_BYTES_MAX, &mut bytes).await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.as_str().map_or_else(|| String::from_utf8_lossy(&bytes).into_owned(), str::to_owned);
        Err(format!("{url}: {status}: {text}"))
    };
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, asking).await })
        .unwrap_or_else(|_| Err(format!("{url}: no answer within {} s", PATIENCE.as_secs())))
}
