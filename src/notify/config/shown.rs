//! The configuration as Alertmanager shows it in `/api/v2/status`: what was read with the defaults filled in, secrets
//! hidden, as YAML that Alertmanager's own tools read again.
//!
//! Keys that Alertmanager 0.25 does not know are left out while they have their default, so that its amtool, which
//! refuses unknown keys, works with a file that it could have read.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::receivers::Receiver;
use super::receivers::settings::Global;
use super::{Config, InhibitConfig, RouteConfig};
use crate::base::units::Period;
use crate::notify::matchers;
use crate::server::client::config::{Authorization, BasicAuth, ClientConfig, OAuth2, Secret, TlsConfig};

/// What stands for a secret.
const HIDDEN: &str = "<secret>";

/// Something that can be shown; `None` where it says nothing.
pub(super) trait Shown {
    fn shown(&self) -> Option<Value>;
}

/// A URL as Go shows it where it holds a password.
fn without_password(url: &str) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    match parts.map(|(scheme, (login, host))| (scheme, login.split_once(':'), host)) {
        Some((scheme, Some((name, _)), host)) => format!("{scheme}://{name}:xxxxx@{host}"),
        _ => url.to_owned(),
    }
}

impl Shown for String {
    fn shown(&self) -> Option<Value> {
        (!self.is_empty()).then(|| json!(self))
    }
}

impl Shown for Secret {
    fn shown(&self) -> Option<Value> {
        (!self.is_empty()).then(|| json!(HIDDEN))
    }
}

impl Shown for bool {
    fn shown(&self) -> Option<Value> {
        Some(Value::Bool(*self))
    }
}

impl Shown for u64 {
    fn shown(&self) -> Option<Value> {
        (*self != 0).then(|| json!(self))
    }
}

impl Shown for i64 {
    fn shown(&self) -> Option<Value> {
        (*self != 0).then(|| json!(self))
    }
}

impl Shown for Period {
    fn shown(&self) -> Option<Value> {
        Some(json!(self.to_string()))
    }
}

impl Shown for Value {
    fn shown(&self) -> Option<Value> {
        (!self.is_null()).then(|| self.clone())
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> Option<Value> {
        self.as_ref().and_then(Shown::shown)
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> Option<Value> {
        let items: Vec<_> = self.iter().map(|item| item.shown().unwrap_or(json!({}))).collect();
        (!items.is_empty()).then_some(Value::Array(items))
    }
}

impl<T: Shown> Shown for BTreeMap<String, T> {
    fn shown(&self) -> Option<Value> {
        let items: Map<_, _> =
            self.iter().map(|(key, item)| (key.clone(), item.shown().unwrap_or(json!("")))).collect();
        (!items.is_empty()).then_some(Value::Object(items))
    }
}

/// An object of the keys that say something.
fn object(pairs: Vec<(&str, Option<Value>)>) -> Option<Value> {
    let said = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Some(Value::Object(said.collect()))
}

fn path(file: Option<&std::path::PathBuf>) -> Option<Value> {
    file.map(|file| json!(file.display().to_string()))
}

impl Shown for BasicAuth {
    fn shown(&self) -> Option<Value> {
        object(vec![
            ("username", self.username.shown()),
            ("username_file", path(self.username_file.as_ref())),
            ("password", self.password.shown()),
            ("password_file", path(self.password_file.as_ref())),
        ])
    }
}

impl Shown for Authorization {
    fn shown(&self) -> Option<Value> {
        object(vec![
            ("type", Some(json!(self.scheme.as_deref().unwrap_or("Bearer")))),
            ("credentials", self.credentials.shown()),
            ("credentials_file", path(self.credentials_file.as_ref())),
        ])
    }
}

impl Shown for OAuth2 {
    fn shown(&self) -> Option<Value> {
        object(vec![
            ("client_id", self.client_id.shown()),
            ("client_secret", self.client_secret.shown()),
            ("client_secret_file", path(self.client_secret_file.as_ref())),
            ("scopes", self.scopes.shown()),
            ("token_url", self.token_url.shown()),
            ("endpoint_params", self.endpoint_params.shown()),
            ("tls_config", self.tls_config.shown()),
            ("proxy_url", self.proxy_url.as_deref().map(without_password).shown()),
        ])
    }
}

impl Shown for TlsConfig {
    fn shown(&self) -> Option<Value> {
        object(vec![
            ("ca", self.ca.shown()),
            ("ca_file", path(self.ca_file.as_ref())),
            ("cert", self.cert.shown()),
            ("cert_file", path(self.cert_file.as_ref())),
            ("key", self.key.shown()),
            ("key_file", path(self.key_file.as_ref())),
            ("server_name", self.server_name.shown()),
            ("insecure_skip_verify", Some(json!(self.insecure_skip_verify))),
        ])
    }
}

impl Shown for ClientConfig {
    fn shown(&self) -> Option<Value> {
        // The old key for a token is read into the new one.
        let bearer = Authorization {
            scheme: None,
            credentials: self.bearer_token.clone(),
            credentials_file: self.bearer_token_file.clone(),
        };
        let is_old = self.bearer_token.is_some() || self.bearer_token_file.is_some();
        let authorization = self.authorization.as_ref().or(is_old.then_some(&bearer));
        object(vec![
            ("basic_auth", self.basic_auth.shown()),
            ("authorization", authorization.and_then(Shown::shown)),
            ("oauth2", self.oauth2.shown()),
            ("tls_config", self.tls_config.shown()),
            ("follow_redirects", Some(json!(self.follow_redirects))),
            ("enable_http2", Some(json!(self.enable_http2))),
            ("proxy_url", self.proxy_url.as_deref().map(without_password).shown()),
        ])
    }
}

impl Shown for RouteConfig {
    fn shown(&self) -> Option<Value> {
        let mut printed = Vec::new();
        for list in &self.matchers {
            // The list was read before; it is shown one by one.
            printed.extend(matchers::parse(list).into_iter().flatten().map(|matcher| matchers::print(&matcher)));
        }
        object(vec![
            ("receiver", self.receiver.shown()),
            ("group_by", self.group_by.shown()),
            ("match", self.match_equal.shown()),
            ("match_re", self.match_re.shown()),
            ("matchers", printed.shown()),
            ("mute_time_intervals", self.mute_time_intervals.shown()),
            ("active_time_intervals", self.active_time_intervals.shown()),
            ("continue", Some(json!(self.continues))),
            ("routes", self.routes.shown()),
            ("group_wait", self.group_wait.shown()),
            ("group_interval", self.group_interval.shown()),
            ("repeat_interval", self.repeat_interval.shown()),
            ("labels", self.labels.shown()),
        ])
    }
}

impl Shown for InhibitConfig {
    fn shown(&self) -> Option<Value> {
        let print = |lists: &Vec<String>| {
            let all = lists.iter().flat_map(|list| matchers::parse(list).into_iter().flatten());
            all.map(|matcher| matchers::print(&matcher)).collect::<Vec<_>>()
        };
        object(vec![
            ("name", self.name.shown()),
            ("source_match", self.source_match.shown()),
            ("source_match_re", self.source_match_re.shown()),
            ("source_matchers", print(&self.source_matchers).shown()),
            ("target_match", self.target_match.shown()),
            ("target_match_re", self.target_match_re.shown()),
            ("target_matchers", print(&self.target_matchers).shown()),
            ("equal", self.equal.shown()),
        ])
    }
}

impl Config {
    /// The text of `config.original`.
    pub fn shown(&self) -> String {
        let mut global = self.global.clone();
        let http = global.http_config.get_or_insert_default().clone();
        global.resolve_timeout.get_or_insert(Period::from_secs(5 * 60));
        let receivers: Vec<_> = self.receivers.iter().map(|one| receiver(one, &global, &http)).collect();
        let intervals = |all: &Vec<_>| (!all.is_empty()).then(|| serde_json::to_value(all).unwrap_or_default());
        let all = object(vec![
            ("global", global.shown()),
            ("route", self.route.shown()),
            ("inhibit_rules", self.inhibit_rules.shown()),
            ("receivers", Some(Value::Array(receivers))),
            ("templates", Some(json!(self.templates))),
            ("mute_time_intervals", intervals(&self.mute_time_intervals)),
            ("time_intervals", intervals(&self.time_intervals)),
        ]);
        let mut text = String::new();
        write(&all.unwrap_or_default(), 0, &mut text);
        text
    }
}

/// A receiver with what it has from `global`.
fn receiver(receiver: &Receiver, global: &Global, http: &ClientConfig) -> Value {
    let global = global.shown().unwrap_or_default();
    let mut shown = json!({"name": receiver.name});
    for (key, mut places) in receiver.shown_places() {
        for (place, webhook) in places.iter_mut().zip(&receiver.webhook_configs) {
            if key == "webhook_configs" && !webhook.url.is_empty() {
                // Alertmanager 0.25 does not take it for a secret, and its amtool reads nothing else.
                place["url"] = json!(webhook.url.expose());
            }
        }
        for place in &mut places {
            inherit(key, place, &global);
            if key != "email_configs" && place.get("http_config").is_none() {
                place["http_config"] = http.shown().unwrap_or_default();
            }
        }
        shown[key] = Value::Array(places);
    }
    shown
}

/// Keys of receivers that `global` gives: the kind, the key there, the key in `global`.
const INHERITED: [(&str, &str, &str); 19] = [
    ("email_configs", "from", "smtp_from"),
    ("email_configs", "hello", "smtp_hello"),
    ("email_configs", "smarthost", "smtp_smarthost"),
    ("email_configs", "auth_username", "smtp_auth_username"),
    ("email_configs", "auth_password", "smtp_auth_password"),
    ("email_configs", "auth_password_file", "smtp_auth_password_file"),
    ("email_configs", "auth_secret", "smtp_auth_secret"),
    ("email_configs", "auth_identity", "smtp_auth_identity"),
    ("email_configs", "require_tls", "smtp_require_tls"),
    ("slack_configs", "api_url", "slack_api_url"),
    ("pagerduty_configs", "url", "pagerduty_url"),
    ("opsgenie_configs", "api_url", "opsgenie_api_url"),
    ("opsgenie_configs", "api_key", "opsgenie_api_key"),
    ("wechat_configs", "api_url", "wechat_api_url"),
    ("wechat_configs", "corp_id", "wechat_api_corp_id"),
    ("victorops_configs", "api_url", "victorops_api_url"),
    ("victorops_configs", "api_key", "victorops_api_key"),
    ("telegram_configs", "api_url", "telegram_api_url"),
    ("webex_configs", "api_url", "webex_api_url"),
];

fn inherit(kind: &str, place: &mut Value, global: &Value) {
    for (_, key, from) in INHERITED.iter().filter(|(of, ..)| *of == kind) {
        // A file of its own goes before what is common.
        let is_given = place.get(*key).is_some() || place.get(format!("{key}_file")).is_some();
        if let (false, Some(value)) = (is_given, global.get(*from)) {
            place[*key] = value.clone();
        }
    }
    let mail_addresses = [("From", place["from"].clone()), ("To", place["to"].clone())];
    let mut put = |key: &str, name: &str, value: Value| {
        let map = place.as_object_mut().map(|place| place.entry(key).or_insert(json!({})));
        if let Some(Value::Object(map)) = map
            && !map.contains_key(name)
        {
            map.insert(name.to_owned(), value);
        }
    };
    match kind {
        "pagerduty_configs" => {
            for (name, template) in super::receivers::settings::PAGERDUTY_DETAILS {
                put("details", name, json!(template));
            }
        }
        "email_configs" => {
            put("headers", "Subject", json!(r#"{{ template "email.default.subject" . }}"#));
            for (name, value) in mail_addresses {
                put("headers", name, value);
            }
        }
        _ => {}
    }
}

/// Writes YAML in blocks. Strings are quoted unless they are plain words.
fn write(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                out.push_str(&format!("{indent}{}:", scalar(&json!(key))));
                write_below(value, depth + 1, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut inner = String::new();
                write(item, depth + 1, &mut inner);
                // The first line of the item stands behind the dash.
                let first = inner.trim_start();
                out.push_str(&format!("{indent}- {first}"));
            }
        }
        other => out.push_str(&format!("{}\n", scalar(other))),
    }
}

fn write_below(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::Array(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Object(_) => {
            out.push('\n');
            write(value, depth, out);
        }
        // Lists stand at the depth of their key, as Go writes them.
        Value::Array(_) => {
            out.push('\n');
            write(value, depth.saturating_sub(1), out);
        }
        other => out.push_str(&format!(" {}\n", scalar(other))),
    }
}

fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.' | '@' | ':');
    let is_duration = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(['s', 'm', 'h', 'd', 'w', 'y'])
        && text.chars().all(|c| c.is_ascii_alphanumeric());
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with(':')
        && text.chars().all(is_plain)
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&text.to_lowercase().as_str());
    if is_word || is_duration || text == HIDDEN {
        return text.clone();
    }
    // What has line feeds and the like is a JSON string, which is one of YAML's double-quoted strings.
    let is_printable = !text.is_empty() && text.chars().all(|c| matches!(c, ' '..='~'));
    if is_printable { format!("'{}'", text.replace('\'', "''")) } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml;

    #[test]
    fn what_is_shown_is_read_again_and_says_the_same() {
        let text = "
global: {smtp_smarthost: 'localhost:25', smtp_from: a@b.c, slack_api_url: 'http://127.0.0.1/secret-path'}
templates: ['*.tmpl']
route:
  receiver: all
  group_by: ['...']
  routes: [{matchers: ['team=~\"a|b\", x!=y'], mute_time_intervals: [weekend], repeat_interval: 7d, group_wait: 0s}]
inhibit_rules: [{source_match: {severity: critical}, target_matchers: ['severity=\"warning\"'], equal: [job]}]
time_intervals: [{name: weekend, time_intervals: [{weekdays: ['monday:friday', sunday], years: [2026], times: [{start_time: '09:00', end_time: '24:00'}], days_of_month: ['-3:-1', '5'], months: ['january:3'], location: Europe/Berlin}]}]
receivers:
  - name: all
    webhook_configs: [{url: 'http://127.0.0.1:1/'}]
    email_configs: [{to: x@y.z}]
    slack_configs: [{channel: '#a', fields: [{title: t, value: 'no'}]}]
    pagerduty_configs: [{routing_key: hush, details: {firing: mine}}]
";
        let config: Config = yaml::read_plain("a.yml", text).unwrap();
        let shown = config.shown();
        assert!(!shown.contains("hush") && !shown.contains("secret-path"), "{shown}");
        let again: Config = yaml::read_plain("shown.yml", &shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
        assert_eq!(again.check(), Ok(()));
        let tree = |text: &str| yaml::read_plain::<Value>("shown.yml", text).unwrap();
        assert_eq!(tree(&again.shown()), tree(&shown));
        for line in [
            "  resolve_timeout: 5m",
            "  - matchers:\n    - 'team=~\"a|b\"'\n    - 'x!=\"y\"'",
            "      firing: mine",
            "    api_url: <secret>",
            "    smarthost: localhost:25",
            "      end_time: '24:00'",
            "    repeat_interval: 1w",
            "    location: Europe/Berlin",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
    }
}
