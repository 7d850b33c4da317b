//! Alertmanager's own webhook (version 4), and incident.io, which takes the same under another
//! number.

use serde_json::{Map, Value, json};

use super::{Compose, ComposeError, Request};
use crate::notify::config::receivers::settings::{Incidentio, Webhook};
use crate::notify::template::Data;

impl Compose<'_> {
    pub(super) fn webhook(&self, config: &Webhook) -> Result<Request, ComposeError> {
        let body = match &config.payload {
            Some(payload) => self.set.expand_json(payload, &self.data)?,
            None => Value::Object(self.webhook_body("4", config.max_alerts)),
        };
        let url = self.text(&self.secret(&[(&config.url, &config.url_file)], "webhook URL")?)?;
        if url.is_empty() {
            return Err(ComposeError::Empty("webhook URL"));
        }
        Ok(Request::json(url, &body))
    }

    pub(super) fn incidentio(&self, config: &Incidentio) -> Result<Request, ComposeError> {
        let url = self.secret(&[(&config.url.as_str().into(), &config.url_file)], "incident.io URL")?;
        let request = Request::json(url, &Value::Object(self.webhook_body("1", config.max_alerts)));
        if config.alert_source_token.is_empty() && config.alert_source_token_file.is_empty() {
            return Ok(request);
        }
        let token = self.secret(&[(&config.alert_source_token, &config.alert_source_token_file)], "token")?;
        Ok(request.header("authorization", format!("Bearer {token}")))
    }

    /// The data of the notification with at most `alerts_max` alerts (0: all).
    fn webhook_body(&self, version: &str, alerts_max: u64) -> Map<String, Value> {
        let alerts = &self.notification.alerts;
        let kept = match usize::try_from(alerts_max) {
            Ok(max) if max > 0 => alerts.len().min(max),
            _ => alerts.len(),
        };
        let mut body = Data::build(&self.notification.receiver, &alerts[..kept], self.now)
            .group(&self.notification.group_labels, &self.notification.route_labels)
            .because(self.notification.reason.name())
            .at(&self.set.external_url)
            .to_json();
        body.insert("version".to_owned(), json!(version));
        body.insert("groupKey".to_owned(), json!(self.notification.group_key));
        body.insert("truncatedAlerts".to_owned(), json!(alerts.len() - kept));
        body
    }
}
