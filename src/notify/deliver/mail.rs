//! Mail by SMTP, in the order of steps and with the conditions of Alertmanager.

use std::path::PathBuf;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Mailboxes, MultiPart, SinglePart};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, Identity, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::login::log_in;
use super::{DeliveryError, read_secret};
use crate::notify::compose::Mail;
use crate::server::client::config::TlsConfig;

/// The longest wait for a connection; the whole of a delivery has its own limit.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// An encoded word may have 75 characters, of which `=?utf-8?q?` and `?=` take twelve.
const WORD_MAX: usize = 63;

fn bad(what: &str, error: &dyn std::fmt::Display) -> DeliveryError {
    DeliveryError::permanent(format!("{what}: {error}"))
}

/// Hands a mail to its server; gives what the server said.
pub(super) async fn post(mail: &Mail) -> Result<String, DeliveryError> {
    let (envelope, bytes) = (envelope(mail)?, format(mail)?);
    let (host, port) =
        mail.smarthost.rsplit_once(':').ok_or_else(|| DeliveryError::permanent("smarthost has no port"))?;
    let port: u16 = port.parse().map_err(|error| bad("smarthost port", &error))?;
    let transient = |what: &'static str| {
        move |error: lettre::transport::smtp::Error| DeliveryError {
            is_transient: !error.is_permanent(),
            message: format!("{what}: {error}{}", cause(&error)),
        }
    };
    let hello = ClientId::Domain(mail.hello.clone());
    let tls = tls(host, mail.tls.as_ref())?;
    let at_once = mail.implicit_tls.then(|| tls.clone());
    let connecting = AsyncSmtpConnection::connect_tokio1((host, port), Some(CONNECT_MAX), &hello, at_once, None);
    let mut connection = connecting.await.map_err(transient("establish connection to server"))?;
    if mail.require_tls && !mail.implicit_tls {
        if !connection.can_starttls() {
            connection.abort().await;
            let text = format!(
                "'require_tls' is true (default) but {:?} does not advertise the STARTTLS extension",
                mail.smarthost
            );
            return Err(DeliveryError::transient(text));
        }
        connection.starttls(tls, &hello).await.map_err(transient("send STARTTLS command"))?;
    }
    log_in(&mut connection, mail, host).await?;
    let sent = connection.send(&envelope, &bytes).await.map_err(transient("send mail"))?;
    let said = format!("{} {}", sent.code(), sent.message().collect::<Vec<_>>().join(" "));
    // The mail is taken; how the connection ends changes nothing.
    let _ = connection.quit().await;
    Ok(said.trim_end().to_owned())
}

/// The reasons behind an error, which say more than the error itself.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(&format!(": {error}"));
        next = error.source();
    }
    text
}

fn tls(host: &str, config: Option<&TlsConfig>) -> Result<TlsParameters, DeliveryError> {
    let none = TlsConfig::default();
    let config = config.unwrap_or(&none);
    let name = if config.server_name.is_empty() { host } else { &config.server_name };
    let mut builder =
        TlsParameters::builder(name.to_owned()).dangerous_accept_invalid_certs(config.insecure_skip_verify);
    let read = |inline: Option<&str>, file: Option<&PathBuf>| match (inline, file) {
        (Some(text), _) => Ok(Some(text.to_owned())),
        (None, Some(path)) => read_secret(path).map(Some).map_err(|error| bad(&path.display().to_string(), &error)),
        (None, None) => Ok(None),
    };
    if let Some(ca) = read(config.ca.as_deref(), config.ca_file.as_ref())? {
        builder = builder.add_root_certificate(Certificate::from_pem(ca.as_bytes()).map_err(|e| bad("TLS CA", &e))?);
    }
    let cert = read(config.cert.as_deref(), config.cert_file.as_ref())?;
    let key = read(config.key.as_ref().map(|key| key.expose()), config.key_file.as_ref())?;
    if let (Some(cert), Some(key)) = (cert, key) {
        let identity = Identity::from_pem(cert.as_bytes(), key.as_bytes()).map_err(|e| bad("TLS certificate", &e))?;
        builder = builder.identify_with(identity);
    }
    builder.build().map_err(|error| bad("TLS", &error))
}

fn envelope(mail: &Mail) -> Result<Envelope, DeliveryError> {
    let parse = |text: &str, what: &str| -> Result<Vec<lettre::Address>, DeliveryError> {
        let boxes: Mailboxes = text.parse().map_err(|error| bad(&format!("parse '{what}' addresses"), &error))?;
        Ok(boxes.into_iter().map(|one| one.email).collect())
    };
    let from = parse(&mail.from, "from")?;
    let [from] = &from[..] else {
        let text = format!("must be exactly one 'from' address (got: {})", from.len());
        return Err(DeliveryError::permanent(text));
    };
    Envelope::new(Some(from.clone()), parse(&mail.to, "to")?).map_err(|error| bad("addresses", &error))
}

/// The mail as it goes over the wire.
fn format(mail: &Mail) -> Result<Vec<u8>, DeliveryError> {
    let mut head = String::new();
    for (name, value) in &mail.headers {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return Err(DeliveryError::permanent(format!("{name:?} is not a name of a header")));
        }
        head.push_str(&format!("{name}: {}\r\n", encode(value)));
    }
    head.push_str("MIME-Version: 1.0\r\n");
    let part = |kind: ContentType, text: &String| SinglePart::builder().header(kind).body(text.clone());
    let mut parts = Vec::new();
    if !mail.text.is_empty() {
        parts.push(part(ContentType::TEXT_PLAIN, &mail.text));
    }
    if !mail.html.is_empty() || parts.is_empty() {
        parts.push(part(ContentType::TEXT_HTML, &mail.html));
    }
    let mut parts = parts.into_iter();
    let first = parts.next().map(|one| MultiPart::alternative().singlepart(one));
    let body = parts.fold(first, |all, one| all.map(|all| all.singlepart(one)));
    let mut bytes = head.into_bytes();
    bytes.extend(body.map(|body| body.formatted()).unwrap_or_default());
    Ok(bytes)
}

/// A header's value: as it is where it is printable ASCII, else in encoded words.
fn encode(value: &str) -> String {
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return value.to_owned();
    }
    let (mut words, mut word) = (Vec::new(), String::new());
    for c in value.chars() {
        let mut buffer = [0; 4];
        let piece: String = match c {
            ' ' => "_".to_owned(),
            '!'..='~' if !matches!(c, '=' | '?' | '_') => c.to_string(),
            c => c.encode_utf8(&mut buffer).bytes().map(|byte| format!("={byte:02X}")).collect(),
        };
        if word.len() + piece.len() > WORD_MAX {
            words.push(std::mem::take(&mut word));
        }
        word.push_str(&piece);
    }
    words.push(word);
    words.iter().map(|word| format!("=?utf-8?q?{word}?=")).collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_encoded_where_they_must() {
        assert_eq!(encode("[FIRING:1] Down (a)"), "[FIRING:1] Down (a)");
        assert_eq!(encode("Zürich a=b"), "=?utf-8?q?Z=C3=BCrich_a=3Db?=");
        assert_eq!(encode("a\r\nBcc: x@y"), "=?utf-8?q?a=0D=0ABcc:_x@y?=", "no header can be smuggled in");
        let long = encode(&"ü".repeat(30));
        assert!(long.split("\r\n ").all(|word| word.len() <= 75) && long.contains("\r\n "), "{long}");
    }
}
