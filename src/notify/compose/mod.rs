//! What each receiver is sent: a notification and a receiver's settings become HTTP requests or a mail.
//!
//! Everything here is computed from its arguments, so that tests compare whole messages. Sending is elsewhere.

mod chat;
mod email;
mod incident;
mod jira;
mod slack;
mod sns;
mod webhook;

use std::path::Path;

use serde_json::{Map, Value, json};

pub use email::{Login, Mail};
pub use jira::Jira;

use super::config::receivers::Integration;
use super::config::receivers::settings::Global;
use super::dispatch::Notification;
use super::template::{Data, TemplateSet};
use crate::base::clock::Millis;
use crate::server::client::config::Secret;
use crate::template::TemplateError;

/// What is sent to one place for one notification.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Requests in order; each must succeed before the next goes out.
    Http(Vec<Request>),
    Mail(Box<Mail>),
    /// A token is asked for first; it replaces `{token}` in the URL of the second request.
    Wechat {
        token: Request,
        send: Request,
    },
    /// The issue of the group is looked up first.
    Jira(Box<Jira>),
}

/// One HTTP request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub answer: Answer,
}

/// How an answer is judged beyond its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 2xx is success.
    Status,
    /// Slack: `ok` as text, or `{"ok": true}`.
    Slack,
    /// `{"success": true}`.
    Success,
    /// `{"errcode": 0}`.
    ErrorCode,
}

impl Request {
    /// A POST of JSON.
    fn json(url: String, body: &Value) -> Self {
        Self {
            method: "POST",
            url,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string().into_bytes(),
            answer: Answer::Status,
        }
    }

    /// Whether a refusal with this status may pass: the server is busy.
    pub fn is_transient(&self, status: http::StatusCode) -> bool {
        status == http::StatusCode::TOO_MANY_REQUESTS
    }

    fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Why a message cannot be made. It is of no use to try again without a change of configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    #[error("failed to expand template: {0}")]
    Template(#[from] TemplateError),
    #[error("failed to read secret file {0}: {1}")]
    SecretFile(String, String),
    #[error("{0} is empty after templating")]
    Empty(&'static str),
    #[error("{0}")]
    Settings(String),
}

/// Everything that a message is made from.
pub struct Compose<'a> {
    set: &'a TemplateSet,
    global: &'a Global,
    notification: &'a Notification,
    data: Data,
    now: Millis,
    /// Reads a file that holds a secret.
    read: &'a dyn Fn(&Path) -> Result<String, String>,
}

impl<'a> Compose<'a> {
    pub fn new(
        set: &'a TemplateSet,
        global: &'a Global,
        notification: &'a Notification,
        now: Millis,
        read: &'a dyn Fn(&Path) -> Result<String, String>,
    ) -> Self {
        let data = Data::build(&notification.receiver, &notification.alerts, now)
            .group(&notification.group_labels, &notification.route_labels)
            .because(notification.reason.name())
            .at(&set.external_url);
        Self { set, global, notification, data, now, read }
    }

    /// The message for one place of the receiver.
    pub fn message(&self, integration: Integration<'_>) -> Result<Message, ComposeError> {
        let one = |request: Request| Message::Http(vec![request]);
        Ok(match integration {
            Integration::Webhook(config) => one(self.webhook(config)?),
            Integration::Incidentio(config) => one(self.incidentio(config)?),
            Integration::Slack(config) => one(self.slack(config)?),
            Integration::Mattermost(config) => one(self.mattermost(config)?),
            Integration::Rocketchat(config) => one(self.rocketchat(config)?),
            Integration::Discord(config) => one(self.discord(config)?),
            Integration::Teams(config) => one(self.teams(config)?),
            Integration::TeamsV2(config) => one(self.teams_v2(config)?),
            Integration::Telegram(config) => one(self.telegram(config)?),
            Integration::Webex(config) => one(self.webex(config)?),
            Integration::Pushover(config) => one(self.pushover(config)?),
            Integration::Wechat(config) => self.wechat(config)?,
            Integration::Pagerduty(config) => one(self.pagerduty(config)?),
            Integration::Victorops(config) => one(self.victorops(config)?),
            Integration::Opsgenie(config) => Message::Http(self.opsgenie(config)?),
            Integration::Sns(config) => one(self.sns(config)?),
            Integration::Jira(config) => Message::Jira(Box::new(self.jira(config)?)),
            Integration::Email(config) => Message::Mail(Box::new(self.email(config)?)),
        })
    }

    fn text(&self, template: &str) -> Result<String, ComposeError> {
        Ok(self.set.expand(template, &self.data)?)
    }

    fn text_of_page(&self, template: &str) -> Result<String, ComposeError> {
        Ok(self.set.expand_page(template, &self.data)?)
    }

    /// A text cut to a number of characters; the last becomes `…`.
    fn text_within(&self, template: &str, chars_max: usize) -> Result<String, ComposeError> {
        Ok(cut(self.text(template)?, chars_max))
    }

    fn is_firing(&self) -> bool {
        self.data.is_firing()
    }

    /// The group key as a hash, which receivers take for the identity of an incident.
    fn key_hash(&self) -> String {
        hex(ring::digest::digest(&ring::digest::SHA256, self.notification.group_key.as_bytes()).as_ref())
    }

    /// The first secret that is given: inline, from a file, and the same from `global`.
    fn secret(&self, sources: &[(&Secret, &str)], what: &'static str) -> Result<String, ComposeError> {
        for (inline, file) in sources {
            if !inline.is_empty() {
                return Ok(inline.expose().to_owned());
            }
            if !file.is_empty() {
                let read = (self.read)(Path::new(file));
                let content = read.map_err(|error| ComposeError::SecretFile((*file).to_owned(), error))?;
                return Ok(content.trim().to_owned());
            }
        }
        Err(ComposeError::Empty(what))
    }
}

/// A text of at most so many characters; the last of a longer one becomes `…`.
fn cut(text: String, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text;
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// The first that is not empty.
fn first<'a>(own: &'a str, global: &'a str) -> &'a str {
    if own.is_empty() { global } else { own }
}

/// A URL made of a base and a path, with one slash between.
fn join(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keeps the fields that say something: empty strings, false and empty lists are left out, as Go's `omitempty` does.
fn omit_empty(fields: Vec<(&str, Value)>) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let kept = fields.into_iter().filter(|(_, value)| !is_empty(value));
    Value::Object(kept.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// Parts separated by commas, empty ones left out.
fn split_list(text: &str) -> Value {
    json!(text.trim().split(',').filter(|part| !part.is_empty()).collect::<Vec<_>>())
}

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
