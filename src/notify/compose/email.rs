//! Mail by SMTP.

use super::{Compose, ComposeError, first, hex};
use crate::notify::config::receivers::settings::Email;
use crate::notify::template::go_rfc3339;
use crate::server::client::config::{Secret, TlsConfig};

/// A mail and the server that takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    /// `host:port`.
    pub smarthost: String,
    pub hello: String,
    /// The sender for the server; a header `From` of its own may say something else.
    pub from: String,
    /// Addresses for the server, separated by commas.
    pub to: String,
    /// All headers but those of the body.
    pub headers: Vec<(String, String)>,
    pub html: String,
    pub text: String,
    pub login: Option<Login>,
    pub require_tls: bool,
    /// TLS from the first byte, as on port 465.
    pub implicit_tls: bool,
    pub tls: Option<TlsConfig>,
}

/// Who we are, where the server asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    pub identity: String,
    pub username: String,
    /// For PLAIN and LOGIN; empty where there is none.
    pub password: Secret,
    /// For CRAM-MD5; empty where there is none.
    pub secret: Secret,
}

impl Compose<'_> {
    pub(super) fn email(&self, config: &Email) -> Result<Mail, ComposeError> {
        let global = self.global;
        let smarthost = first(&config.smarthost, &global.smtp_smarthost).to_owned();
        let hello = first(&config.hello, &global.smtp_hello).to_owned();
        let from = self.text(first(&config.from, &global.smtp_from))?;
        let to = self.text(&config.to)?;
        let html = self.text_of_page(&config.html)?;
        Ok(Mail {
            headers: self.mail_headers(config, (&from, &to, &hello))?,
            text: self.text(&config.text)?,
            require_tls: config.require_tls.unwrap_or(global.smtp_require_tls),
            implicit_tls: config
                .force_implicit_tls
                .or(global.smtp_force_implicit_tls)
                .unwrap_or_else(|| smarthost.ends_with(":465")),
            tls: config.tls_config.clone().or_else(|| global.smtp_tls_config.clone()),
            hello,
            from,
            to,
            html,
            smarthost,
            login: self.login(config)?,
        })
    }

    fn login(&self, config: &Email) -> Result<Option<Login>, ComposeError> {
        let global = self.global;
        let username = first(&config.auth_username, &global.smtp_auth_username);
        if username.is_empty() {
            return Ok(None);
        }
        // Which of the two is needed, the server says.
        let words = |sources: [(&Secret, &str); 2]| match self.secret(&sources, "SMTP password") {
            Ok(word) => Ok(Secret::new(word)),
            Err(ComposeError::Empty(_)) => Ok(Secret::default()),
            Err(error) => Err(error),
        };
        Ok(Some(Login {
            identity: first(&config.auth_identity, &global.smtp_auth_identity).to_owned(),
            username: username.to_owned(),
            password: words([
                (&config.auth_password, &config.auth_password_file),
                (&global.smtp_auth_password, &global.smtp_auth_password_file),
            ])?,
            secret: words([
                (&config.auth_secret, &config.auth_secret_file),
                (&global.smtp_auth_secret, &global.smtp_auth_secret_file),
            ])?,
        }))
    }

    /// From, To and Subject unless the settings say otherwise, what they add, and what every mail has.
    fn mail_headers(
        &self,
        config: &Email,
        (from, to, hello): (&str, &str, &str),
    ) -> Result<Vec<(String, String)>, ComposeError> {
        let subject = self.text(r#"{{ template "email.default.subject" . }}"#)?;
        let mut headers = vec![
            ("From".to_owned(), from.to_owned()),
            ("To".to_owned(), to.to_owned()),
            ("Subject".to_owned(), subject),
        ];
        for (name, template) in &config.headers {
            let value = self.text(template)?;
            match headers.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some((_, slot)) => *slot = value,
                None => headers.push((name.clone(), value)),
            }
        }
        let has = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let hash = hex(ring::digest::digest(&ring::digest::SHA256, self.notification.group_key.as_bytes()).as_ref());
        let short = hash.get(..16).unwrap_or("");
        let mut more = Vec::new();
        if !has("Message-Id") {
            more.push(("Message-Id".to_owned(), format!("<{}.{short}@{hello}>", self.now)));
        }
        if !has("Date") {
            more.push(("Date".to_owned(), date(self.now)));
        }
        if config.threading.as_ref().is_some_and(|threading| threading["enabled"] == true) {
            // All mails of a group (of a day, unless the settings say otherwise) answer one that was never sent.
            let by_day = config.threading.as_ref().is_none_or(|threading| threading["thread_by_date"] != "none");
            let day = if by_day { go_rfc3339(self.now).get(..10).unwrap_or("").to_owned() } else { String::new() };
            for name in ["References", "In-Reply-To"] {
                more.push((name.to_owned(), format!("<alert-{short}-{day}@alertmanager>")));
            }
        }
        headers.extend(more);
        Ok(headers)
    }
}

/// A time as mails write it.
fn date(now: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}
