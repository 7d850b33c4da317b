//! Sends messages, and tries again while it makes sense and there is time.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request as HttpRequest, StatusCode};
use http_body_util::Full;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde_json::{Value, json};

use super::compose::{Answer, Jira, Mail, Message, Request};
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

/// Sends until it arrives, is refused for good, or the time is over. Gives the number of tries with the outcome.
pub async fn deliver(client: &HttpClient, message: &Message, timeout: Duration) -> (u32, Result<(), DeliveryError>) {
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

async fn send(client: &HttpClient, message: &Message) -> Result<(), DeliveryError> {
    match message {
        Message::Http(requests) => {
            for request in requests {
                ask(client, request).await?;
            }
            Ok(())
        }
        Message::Wechat { token, send } => {
            let answer = ask(client, token).await?;
            let token = answer["access_token"].as_str().unwrap_or("");
            if token.is_empty() {
                return Err(DeliveryError::permanent("wechat gave no access token"));
            }
            let url = send.url.replace("{token}", token);
            ask(client, &Request { url, ..send.clone() }).await.map(|_| ())
        }
        Message::Jira(jira) => file_issue(client, jira).await,
        Message::Mail(mail) => post(mail).await,
    }
}

/// Sends a request and judges the answer, which is given as JSON where it is any.
async fn ask(client: &HttpClient, request: &Request) -> Result<Value, DeliveryError> {
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
        let is_transient = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err(DeliveryError { message, is_transient });
    }
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let refused = match request.answer {
        Answer::Status => false,
        Answer::Slack => json["ok"] != json!(true) && text.trim() != "ok",
        Answer::Success => json["success"] != json!(true),
        Answer::ErrorCode => json["errcode"].as_i64().is_some_and(|code| code != 0),
    };
    if refused { Err(DeliveryError::permanent(format!("refused: {}", shorten(&text)))) } else { Ok(json) }
}

fn shorten(text: &str) -> String {
    text.trim().chars().take(300).collect()
}

/// Finds the issue of the group; creates, changes, reopens or resolves it.
async fn file_issue(client: &HttpClient, jira: &Jira) -> Result<(), DeliveryError> {
    let found = ask(client, &jira.search).await?;
    let Some(issue) = found["issues"][0]["key"].as_str() else {
        return if jira.is_firing { ask(client, &jira.create).await.map(|_| ()) } else { Ok(()) };
    };
    let about = |request: &Request| Request { url: request.url.replace("{issue}", issue), ..request.clone() };
    ask(client, &about(&jira.update)).await?;
    let Some(wanted) = &jira.transition else { return Ok(()) };
    let status = &found["issues"][0]["fields"]["status"]["statusCategory"]["key"];
    // Reopening is for closed issues, resolving for open ones.
    if (status == "done") != jira.is_firing {
        return Ok(());
    }
    let known = ask(client, &about(&jira.transitions)).await?;
    let transitions = known["transitions"].as_array().map_or(&[][..], Vec::as_slice);
    let id = transitions.iter().find(|one| one["name"] == json!(wanted)).and_then(|one| one["id"].as_str());
    let Some(id) = id else {
        return Err(DeliveryError::permanent(format!("can't find transition {wanted} for issue {issue}")));
    };
    let mut request = about(&jira.transitions);
    request.method = "POST";
    request.body = json!({"transition": {"id": id}}).to_string().into_bytes();
    ask(client, &request).await.map(|_| ())
}

/// Hands a mail to its server.
async fn post(mail: &Mail) -> Result<(), DeliveryError> {
    let bad = |what: &str, error: &dyn std::fmt::Display| DeliveryError::permanent(format!("{what}: {error}"));
    let from: Mailbox = mail.from.parse().map_err(|error| bad("from address", &error))?;
    let mut builder = lettre::Message::builder().from(from);
    for address in mail.to.split(',').map(str::trim).filter(|address| !address.is_empty()) {
        builder = builder.to(address.parse().map_err(|error| bad("to address", &error))?);
    }
    for (name, value) in &mail.headers {
        if name.eq_ignore_ascii_case("subject") {
            builder = builder.subject(value);
        } else {
            let name = HeaderName::new_from_ascii(name.clone()).map_err(|error| bad("header name", &error))?;
            builder = builder.raw_header(HeaderValue::new(name, value.clone()));
        }
    }
    let html = SinglePart::builder().header(ContentType::TEXT_HTML).body(mail.html.clone());
    let text = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(mail.text.clone());
    let message = match (mail.text.is_empty(), mail.html.is_empty()) {
        (true, false) => builder.multipart(MultiPart::alternative().singlepart(html)),
        (false, true) => builder.multipart(MultiPart::alternative().singlepart(text)),
        _ => builder.multipart(MultiPart::alternative().singlepart(text).singlepart(html)),
    };
    let message = message.map_err(|error| bad("mail", &error))?;
    let (host, port) =
        mail.smarthost.rsplit_once(':').ok_or_else(|| DeliveryError::permanent("smarthost has no port"))?;
    let port: u16 = port.parse().map_err(|error| bad("smarthost port", &error))?;
    let parameters = || TlsParameters::new(host.to_owned()).map_err(|error| bad("TLS", &error));
    let tls = match (mail.implicit_tls, mail.require_tls) {
        (true, _) => Tls::Wrapper(parameters()?),
        (false, true) => Tls::Required(parameters()?),
        (false, false) => Tls::Opportunistic(parameters()?),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(port)
        .tls(tls)
        .hello_name(ClientId::Domain(mail.hello.clone()));
    if let Some((name, password)) = &mail.login {
        transport = transport.credentials(Credentials::new(name.clone(), password.expose().to_owned()));
    }
    let sent = transport.build().send(message).await;
    sent.map(|_| ()).map_err(|error| DeliveryError { is_transient: !error.is_permanent(), message: error.to_string() })
}

/// Reads a file that holds a secret.
pub fn read_secret(path: &Path) -> Result<String, String> {
    let bytes =
        crate::base::disk::Disk::real().read(path, ANSWER_BYTES_MAX as u64).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
