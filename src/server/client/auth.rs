//! Who the client says it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use parking_lot::Mutex;
use serde::Deserialize;

use super::config::{Authorization, BasicAuth, ClientConfig, Header, OAuth2, Secret};
use super::{ClientError, HttpClient, read};
use crate::base::clock::Clock;
use crate::base::tasks::{TaskKind, Tasks};

/// Tokens and their errors are small.
const TOKEN_BYTES_MAX: usize = 1 << 20;

/// A token is fetched again this long before it ends.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Auth {
    way: Way,
    headers: BTreeMap<String, Header>,
    tasks: Tasks,
}

#[derive(Debug)]
enum Way {
    None,
    Basic(BasicAuth),
    Scheme { scheme: String, credentials: Credentials },
    OAuth2(Box<TokenSource>),
}

/// A secret as such, or in a file that may change while we run.
#[derive(Clone, Debug)]
enum Credentials {
    Inline(Secret),
    File(PathBuf),
}

#[derive(Debug)]
struct TokenSource {
    config: OAuth2,
    client: HttpClient,
    clock: Clock,
    /// The header value, and when on the monotonic clock it must be fetched again.
    token: Mutex<Option<(HeaderValue, Option<Duration>)>>,
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct Token {
    access_token: String,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Auth {
    pub(super) fn new(config: &ClientConfig, tasks: &Tasks, clock: &Clock) -> Result<Self, ClientError> {
        let bearer = |credentials| Way::Scheme { scheme: "Bearer".to_owned(), credentials };
        let way = if let Some(basic) = &config.basic_auth {
            Way::Basic(basic.clone())
        } else if let Some(authorization) = &config.authorization {
            scheme(authorization)
        } else if let Some(token) = &config.bearer_token {
            bearer(Credentials::Inline(token.clone()))
        } else if let Some(file) = &config.bearer_token_file {
            bearer(Credentials::File(file.clone()))
        } else if let Some(oauth2) = &config.oauth2 {
            let client = HttpClient::new(&oauth2.client(), tasks, clock)?;
            let source = TokenSource { config: oauth2.clone(), client, clock: clock.clone(), token: Mutex::new(None) };
            Way::OAuth2(Box::new(source))
        } else {
            Way::None
        };
        Ok(Self { way, headers: config.http_headers.clone(), tasks: tasks.clone() })
    }

    /// Adds the configured headers. One that the request has already stays.
    pub(super) async fn apply(&self, headers: &mut HeaderMap) -> Result<(), ClientError> {
        for (name, header) in &self.headers {
            self.apply_header(name, header, headers).await?;
        }
        if headers.contains_key(AUTHORIZATION) {
            return Ok(());
        }
        let value = match &self.way {
            Way::None => return Ok(()),
            Way::Basic(basic) => self.basic(basic).await?,
            Way::Scheme { scheme, credentials } => {
                let secret = self.expose(credentials).await?;
                secret_value(&format!("{scheme} {secret}"))?
            }
            Way::OAuth2(source) => source.value(self).await?,
        };
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    async fn apply_header(&self, name: &str, header: &Header, headers: &mut HeaderMap) -> Result<(), ClientError> {
        let name = HeaderName::try_from(name).map_err(|_| ClientError::Url(name.to_owned()))?;
        let inline = header.values.iter().map(String::as_str).chain(header.secrets.iter().map(Secret::expose));
        for value in inline {
            headers.append(&name, secret_value(value)?);
        }
        for file in &header.files {
            let value = self.expose(&Credentials::File(file.clone())).await?;
            headers.append(&name, secret_value(&value)?);
        }
        Ok(())
    }

    async fn basic(&self, basic: &BasicAuth) -> Result<HeaderValue, ClientError> {
        let username = match &basic.username_file {
            Some(file) => self.expose(&Credentials::File(file.clone())).await?,
            None => basic.username.clone(),
        };
        let password = match (&basic.password, &basic.password_file) {
            (Some(password), _) => password.expose().to_owned(),
            (None, Some(file)) => self.expose(&Credentials::File(file.clone())).await?,
            (None, None) => String::new(),
        };
        basic_value(&username, &password)
    }

    async fn expose(&self, credentials: &Credentials) -> Result<String, ClientError> {
        let file = match credentials {
            Credentials::Inline(secret) => return Ok(secret.expose().to_owned()),
            Credentials::File(file) => file.clone(),
        };
        let reading = file.clone();
        let text = self.tasks.spawn_blocking(TaskKind::Connection, move || std::fs::read_to_string(reading)).await;
        match text {
            Ok(Ok(text)) => Ok(text.trim().to_owned()),
            Ok(Err(error)) => Err(ClientError::File { file, message: error.to_string() }),
            Err(error) => Err(ClientError::File { file, message: error.to_string() }),
        }
    }
}

fn scheme(authorization: &Authorization) -> Way {
    let scheme = authorization.scheme.as_deref().map(str::trim).filter(|scheme| !scheme.is_empty());
    let credentials = match (&authorization.credentials, &authorization.credentials_file) {
        (_, Some(file)) => Credentials::File(file.clone()),
        (Some(secret), None) => Credentials::Inline(secret.clone()),
        (None, None) => return Way::None,
    };
    Way::Scheme { scheme: scheme.unwrap_or("Bearer").to_owned(), credentials }
}

fn basic_value(username: &str, password: &str) -> Result<HeaderValue, ClientError> {
    secret_value(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn secret_value(text: &str) -> Result<HeaderValue, ClientError> {
    let mut value =
        HeaderValue::try_from(text).map_err(|_| ClientError::Token("credentials hold a control character".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl TokenSource {
    async fn value(&self, auth: &Auth) -> Result<HeaderValue, ClientError> {
        if let Some((value, until)) = &*self.token.lock()
            && until.is_none_or(|until| self.clock.monotonic() < until)
        {
            return Ok(value.clone());
        }
        let token = self.fetch(auth).await?;
        // Endpoints write "bearer" in any case, servers want it with a capital.
        let scheme = match token.token_type.as_str() {
            "" => "Bearer",
            kind if kind.eq_ignore_ascii_case("bearer") => "Bearer",
            kind => kind,
        };
        let value = secret_value(&format!("{scheme} {}", token.access_token))?;
        let until = token
            .expires_in
            .map(|seconds| self.clock.monotonic() + Duration::from_secs(seconds).saturating_sub(TOKEN_MARGIN));
        *self.token.lock() = Some((value.clone(), until));
        Ok(value)
    }

    async fn fetch(&self, auth: &Auth) -> Result<Token, ClientError> {
        let secret = match (&self.config.client_secret, &self.config.client_secret_file) {
            (Some(secret), _) => secret.expose().to_owned(),
            (None, Some(file)) => auth.expose(&Credentials::File(file.clone())).await?,
            (None, None) => String::new(),
        };
        let uri: Uri = self.config.token_url.parse().map_err(|_| ClientError::Url(self.config.token_url.clone()))?;
        // Most endpoints read the header; those that refuse it read the form, as Go's client finds out too.
        let answer = self.ask(&uri, &secret, true).await?;
        let (status, body) = match answer.0 {
            StatusCode::OK => answer,
            _ => self.ask(&uri, &secret, false).await?,
        };
        if status != StatusCode::OK {
            return Err(ClientError::Token(format!("{uri} answered {status}")));
        }
        serde_json::from_slice(&body).map_err(|error| ClientError::Token(format!("{uri}: {error}")))
    }

    async fn ask(&self, uri: &Uri, secret: &str, in_header: bool) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        if !self.config.scopes.is_empty() {
            form.push(("scope", self.config.scopes.join(" ")));
        }
        if !in_header {
            form.push(("client_id", self.config.client_id.clone()));
            form.push(("client_secret", secret.to_owned()));
        }
        let extra = self.config.endpoint_params.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let body = encode_form(form.into_iter().chain(extra));
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if in_header {
            headers.insert(AUTHORIZATION, basic_value(&encode(&self.config.client_id), &encode(secret))?);
        }
        // Boxed, because a client with credentials would otherwise contain its own future.
        let response = Box::pin(self.client.send(request)).await?;
        let (parts, incoming) = response.into_parts();
        let mut body = Vec::new();
        read(incoming, TOKEN_BYTES_MAX, &mut body).await?;
        Ok((parts.status, body))
    }
}

/// Pairs as `application/x-www-form-urlencoded`.
pub(super) fn encode_form<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{}={}", encode(name), encode(&value))).collect();
    pairs.join("&")
}

fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            // Writing to a string cannot fail.
            other => drop(write!(out, "%{other:02X}")),
        }
    }
    out
}
