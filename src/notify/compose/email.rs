//! Mail by SMTP.

use super::{Compose, ComposeError, first};
use crate::notify::config::receivers::settings::Email;
use crate::server::client::config::Secret;

/// A mail and the server that takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    /// `host:port`.
    pub smarthost: String,
    pub hello: String,
    pub from: String,
    /// Addresses, separated by commas.
    pub to: String,
    /// Besides From and To, in order of names; `Subject` is always there.
    pub headers: Vec<(String, String)>,
    pub html: String,
    pub text: String,
    /// Name and password, where the server asks for them.
    pub login: Option<(String, Secret)>,
    pub require_tls: bool,
    /// TLS from the first byte, as on port 465.
    pub implicit_tls: bool,
}

impl Compose<'_> {
    pub(super) fn email(&self, config: &Email) -> Result<Mail, ComposeError> {
        let global = self.global;
        let smarthost = first(&config.smarthost, &global.smtp_smarthost).to_owned();
        let username = first(&config.auth_username, &global.smtp_auth_username);
        let passwords = [
            (&config.auth_password, config.auth_password_file.as_str()),
            (&global.smtp_auth_password, global.smtp_auth_password_file.as_str()),
        ];
        let login = if username.is_empty() {
            None
        } else {
            Some((username.to_owned(), Secret::new(self.secret(&passwords, "SMTP password")?)))
        };
        let mut headers = vec![("Subject".to_owned(), self.text(r#"{{ template "email.default.subject" . }}"#)?)];
        for (name, template) in &config.headers {
            let value = self.text(template)?;
            match headers.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some((_, slot)) => *slot = value,
                None => headers.push((name.clone(), value)),
            }
        }
        Ok(Mail {
            hello: first(&config.hello, &global.smtp_hello).to_owned(),
            from: self.text(first(&config.from, &global.smtp_from))?,
            to: self.text(&config.to)?,
            html: self.text(&config.html)?,
            text: self.text(&config.text)?,
            require_tls: config.require_tls.unwrap_or(global.smtp_require_tls),
            implicit_tls: config
                .force_implicit_tls
                .or(global.smtp_force_implicit_tls)
                .unwrap_or_else(|| smarthost.ends_with(":465")),
            smarthost,
            headers,
            login,
        })
    }
}
