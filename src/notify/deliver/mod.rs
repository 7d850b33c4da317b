//! Sends messages, and tries again while it makes sense and there is time.

mod login;
mod mail;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request as HttpRequest;
use http_body_util::Full;
use serde_json::{Value, json};

use super::compose::{Answer, Jira, Message, Request};
use crate::server::client::{self, HttpClient};

/// More of an answer is of no use in an error.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The first pause between tries; each is one and a half times the one before.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Why a message did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DeliveryError {
    pub message: String,
    /// The same message may arrive when it is sent again.
    pub is_transient: bool,
}

impl DeliveryError {
    fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_transient: false }
    }

    fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_transient: true }
    }
}

/// Sends until it arrives, is refused for good, or the time is over. Gives the number of tries with the outcome: what
/// the receiver answered, or what went wrong.
pub async fn deliver(
    client: &HttpClient,
    message: &Message,
    timeout: Duration,
) -> (u32, Result<String, DeliveryError>) {
    let mut tries = 0;
    let mut pause = BACKOFF_FIRST;
    let mut last = None;
    let sending = async {
        loop {
            tries += 1;
            match send(client, message).await {
                Err(error) if error.is_transient => last = Some(error),
                outcome => break outcome,
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(1.5).min(BACKOFF_MAX);
        }
    };
    let outcome = tokio::time::timeout(timeout, sending).await;
    let outcome = outcome.unwrap_or_else(|_| {
        let why = last.map_or_else(|| "no answer".to_owned(), |error: DeliveryError| error.message);
        Err(DeliveryError::transient(format!("gave up after {} tries in {timeout:?}: {why}", tries.max(1))))
    });
    (tries, outcome)
}

async fn send(client: &HttpClient, message: &Message) -> Result<String, DeliveryError> {
    match message {
        Message::Http(requests) => {
            let mut said = String::new();
            for request in requests {
                said = ask(client, request).await?.said;
            }
            Ok(said)
        }
        Message::Wechat { token, send } => {
            let answer = ask(client, token).await?.json;
            let token = answer["access_token"].as_str().unwrap_or("");
            if token.is_empty() {
                return Err(DeliveryError::permanent("wechat gave no access token"));
            }
            let url = send.url.replace("{token}", token);
            ask(client, &Request { url, ..send.clone() }).await.map(|answer| answer.said)
        }
        Message::Jira(jira) => file_issue(client, jira).await,
        Message::Mail(mail) => mail::post(mail).await,
    }
}

/// What a server answered.
struct Said {
    /// Null where it is no JSON.
    json: Value,
    /// Status and the beginning of the body, for the log.
    said: String,
}

/// Sends a request and judges the answer.
async fn ask(client: &HttpClient, request: &Request) -> Result<Said, DeliveryError> {
    let mut http = HttpRequest::builder().method(request.method).uri(&request.url);
    for (name, value) in &request.headers {
        http = http.header(*name, value);
    }
    let http = http
        .body(Full::new(Bytes::from(request.body.clone())))
        .map_err(|error| DeliveryError::permanent(format!("no request can be made: {error}")))?;
    let response = client.send(http).await.map_err(|error| DeliveryError::transient(error.to_string()))?;
    let status = response.status();
    let mut body = Vec::new();
    // An answer that breaks off is judged by its status.
    let _ = client::read(response.into_body(), ANSWER_BYTES_MAX, &mut body).await;
    let text = String::from_utf8_lossy(&body);
    if !status.is_success() {
        let message = format!("unexpected status code {}: {}", status.as_u16(), shorten(&text));
        let is_transient = status.is_server_error() || request.is_transient(status);
        return Err(DeliveryError { message, is_transient });
    }
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let refused = match request.answer {
        Answer::Status => false,
        Answer::Slack => json["ok"] != json!(true) && text.trim() != "ok" && !text.trim().is_empty(),
        Answer::Success => json["success"] != json!(true),
        Answer::ErrorCode => json["errcode"].as_i64().is_some_and(|code| code != 0),
    };
    if refused {
        return Err(DeliveryError::permanent(format!("refused: {}", shorten(&text))));
    }
    let said = format!("{} {}", status.as_u16(), shorten(&text));
    Ok(Said { said: said.trim_end().to_owned(), json })
}

fn shorten(text: &str) -> String {
    text.trim().chars().take(300).collect()
}

/// Finds the issue of the group; creates, changes, reopens or resolves it.
async fn file_issue(client: &HttpClient, jira: &Jira) -> Result<String, DeliveryError> {
    let found = ask(client, &jira.search).await?.json;
    let Some(issue) = found["issues"][0]["key"].as_str() else {
        return if jira.is_firing {
            ask(client, &jira.create).await.map(|answer| answer.said)
        } else {
            Ok("no issue to resolve".to_owned())
        };
    };
    let about = |request: &Request| Request { url: request.url.replace("{issue}", issue), ..request.clone() };
    let updated = ask(client, &about(&jira.update)).await?.said;
    let Some(wanted) = &jira.transition else { return Ok(updated) };
    let status = &found["issues"][0]["fields"]["status"]["statusCategory"]["key"];
    // Reopening is for closed issues, resolving for open ones.
    if (status == "done") != jira.is_firing {
        return Ok(updated);
    }
    let known = ask(client, &about(&jira.transitions)).await?.json;
    let transitions = known["transitions"].as_array().map_or(&[][..], Vec::as_slice);
    let id = transitions.iter().find(|one| one["name"] == json!(wanted)).and_then(|one| one["id"].as_str());
    let Some(id) = id else {
        return Err(DeliveryError::permanent(format!("can't find transition {wanted} for issue {issue}")));
    };
    let mut request = about(&jira.transitions);
    request.method = "POST";
    request.body = json!({"transition": {"id": id}}).to_string().into_bytes();
    ask(client, &request).await.map(|answer| answer.said)
}

/// Reads a file that holds a secret.
pub fn read_secret(path: &Path) -> Result<String, String> {
    let bytes =
        crate::base::disk::Disk::real().read(path, ANSWER_BYTES_MAX as u64).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
