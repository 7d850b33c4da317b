//! Who we are to a mail server: AUTH PLAIN, LOGIN and CRAM-MD5, the first that the server offers and we have words for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::response::Response;
use md5::Md5;

use super::DeliveryError;
use crate::notify::compose::{Login, Mail};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Login,
    CramMd5,
}

/// Says who we are where the server asks for it and we have a name.
pub(super) async fn log_in(connection: &mut AsyncSmtpConnection, mail: &Mail, host: &str) -> Result<(), DeliveryError> {
    let Some(login) = &mail.login else { return Ok(()) };
    // What the server offered is asked once more: the library forgets mechanisms that it does not speak itself.
    let hello = say(connection, &format!("EHLO {}", mail.hello)).await?;
    let offered = hello.message().find_map(|line| line.strip_prefix("AUTH").map(str::to_owned));
    // As with Alertmanager: a server that asks for nothing is given nothing.
    let Some(offered) = offered else { return Ok(()) };
    let mechanism = choose(&offered, login).map_err(DeliveryError::transient)?;
    let is_local = matches!(host, "localhost" | "127.0.0.1" | "::1");
    if mechanism == Mechanism::Plain && !connection.is_encrypted() && !is_local {
        return Err(DeliveryError::transient("PLAIN auth: unencrypted connection"));
    }
    let (name, password) = (login.username.as_str(), login.password.expose());
    match mechanism {
        Mechanism::Plain => {
            let words = STANDARD.encode(format!("{}\0{name}\0{password}", login.identity));
            say(connection, &format!("AUTH PLAIN {words}")).await?;
        }
        Mechanism::Login => {
            let mut asked = say(connection, "AUTH LOGIN").await?;
            while asked.has_code(334) {
                let answer = match challenge(&asked)?.to_ascii_lowercase().as_slice() {
                    b"username:" => name,
                    b"password:" => password,
                    _ => return Err(DeliveryError::transient("LOGIN auth: the server asks for something unknown")),
                };
                asked = say(connection, &STANDARD.encode(answer)).await?;
            }
        }
        Mechanism::CramMd5 => {
            let asked = say(connection, "AUTH CRAM-MD5").await?;
            let answer = format!("{name} {}", digest(login.secret.expose(), &challenge(&asked)?));
            say(connection, &STANDARD.encode(answer)).await?;
        }
    }
    Ok(())
}

/// The first mechanism of the server's list that we have words for.
fn choose(offered: &str, login: &Login) -> Result<Mechanism, String> {
    let mut missing = Vec::new();
    for name in offered.split([' ', '=']).filter(|name| !name.is_empty()) {
        let (mechanism, words, what) = match name {
            "PLAIN" => (Mechanism::Plain, &login.password, "password"),
            "LOGIN" => (Mechanism::Login, &login.password, "password"),
            "CRAM-MD5" => (Mechanism::CramMd5, &login.secret, "secret"),
            other => {
                missing.push(format!("unknown auth mechanism: {other}"));
                continue;
            }
        };
        if !words.is_empty() {
            return Ok(mechanism);
        }
        missing.push(format!("missing {what} for {name} auth mechanism"));
    }
    Err(format!("find auth mechanism: {}", missing.join("; ")))
}

async fn say(connection: &mut AsyncSmtpConnection, line: &str) -> Result<Response, DeliveryError> {
    let failed = |error: Error| DeliveryError::transient(format!("auth: {error}{}", super::mail::cause(&error)));
    let response = connection.command(format!("{line}\r\n")).await.map_err(failed)?;
    if response.is_positive() {
        return Ok(response);
    }
    let said = response.message().collect::<Vec<_>>().join(" ");
    Err(DeliveryError::transient(format!("auth: {} {said}", response.code())))
}

fn challenge(asked: &Response) -> Result<Vec<u8>, DeliveryError> {
    let text = asked.first_line().unwrap_or("");
    STANDARD.decode(text.trim()).map_err(|_| DeliveryError::transient("auth: the server's question is not base64"))
}

/// The keyed hash of the server's question, as hex (RFC 2195).
fn digest(secret: &str, question: &[u8]) -> String {
    let mut mac = <Hmac<Md5>>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(question);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 2195.
    #[test]
    fn the_answer_to_cram_md5_is_that_of_the_standard() {
        let question = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(digest("tanstaaftanstaaf", question), "b913a602c7eda7a495b4e6e7334d3890");
    }

    #[test]
    fn the_first_mechanism_with_words_is_taken() {
        let with = |password: &str, secret: &str| Login {
            identity: String::new(),
            username: "me".to_owned(),
            password: password.into(),
            secret: secret.into(),
        };
        assert_eq!(choose(" CRAM-MD5 LOGIN PLAIN", &with("p", "")), Ok(Mechanism::Login));
        assert_eq!(choose(" CRAM-MD5 LOGIN PLAIN", &with("p", "s")), Ok(Mechanism::CramMd5));
        assert_eq!(choose("=PLAIN", &with("p", "")), Ok(Mechanism::Plain));
        let error = choose(" XOAUTH2 PLAIN", &with("", "s")).unwrap_err();
        assert!(error.contains("XOAUTH2") && error.contains("missing password for PLAIN"), "{error}");
    }
}
