//! Incident trackers: PagerDuty (events 1 and 2), Opsgenie, VictorOps.

use serde_json::{Map, Value, json};

use super::{Compose, ComposeError, Request, first, join, omit_empty, split_list};
use crate::notify::config::receivers::settings::{
    Opsgenie, OpsgenieResponder, PAGERDUTY_DETAILS, Pagerduty, Victorops,
};

/// PagerDuty refuses larger events.
const PAGERDUTY_BYTES_MAX: usize = 512_000;

impl Compose<'_> {
    pub(super) fn pagerduty(&self, config: &Pagerduty) -> Result<Request, ComposeError> {
        let details = self.pagerduty_details(config)?;
        let is_v1 = !config.service_key.is_empty() || !config.service_key_file.is_empty();
        let (url, mut body, place) = if is_v1 {
            let url = "https://events.pagerduty.com/generic/2010-04-15/create_event.json".to_owned();
            (url, self.pagerduty_v1(config, &details)?, "/details")
        } else {
            let url = first(&config.url, &self.global.pagerduty_url).to_owned();
            (url, self.pagerduty_v2(config, &details)?, "/payload/custom_details")
        };
        if body.to_string().len() > PAGERDUTY_BYTES_MAX
            && let Some(slot) = body.pointer_mut(place)
        {
            let text = "Custom details have been removed because the original event exceeds the maximum size of 512KB";
            *slot = json!({"error": text});
        }
        Ok(Request::json(url, &body))
    }

    fn pagerduty_v2(&self, config: &Pagerduty, details: &Value) -> Result<Value, ComposeError> {
        let keys = [(&config.routing_key, config.routing_key_file.as_str())];
        let key = self.text(&self.secret(&keys, "PagerDuty routing key")?)?;
        if key.is_empty() {
            return Err(ComposeError::Empty("PagerDuty routing key"));
        }
        let text = |template: &str| self.text(template).map(Value::from);
        let mut payload = omit_empty(vec![
            ("class", text(&config.class)?),
            ("component", text(&config.component)?),
            ("group", text(&config.group)?),
            ("custom_details", details.clone()),
        ]);
        payload["summary"] = self.text_within(&config.description, 1024)?.into();
        // Without a source PagerDuty refuses the event; Alertmanager falls back to its own address.
        let source = self.text(first(&config.source, &config.client))?;
        payload["source"] = source.into();
        payload["severity"] = self.text(first(&config.severity, "error"))?.into();
        let images = config.images.iter().map(|image| {
            Ok(json!({"src": self.text(&image.src)?, "alt": self.text(&image.alt)?, "href": self.text(&image.href)?}))
        });
        let images = images.collect::<Result<Vec<_>, ComposeError>>()?.into_iter().filter(|image| image["src"] != "");
        let links =
            config.links.iter().map(|link| Ok(json!({"href": self.text(&link.href)?, "text": self.text(&link.text)?})));
        let links = links.collect::<Result<Vec<_>, ComposeError>>()?.into_iter().filter(|link| link["href"] != "");
        let mut body = omit_empty(vec![
            ("client", text(&config.client)?),
            ("client_url", text(&config.client_url)?),
            ("images", images.collect()),
            ("links", links.collect()),
        ]);
        body["routing_key"] = key.into();
        body["event_action"] = self.pagerduty_action().into();
        body["dedup_key"] = self.key_hash().into();
        body["payload"] = payload;
        Ok(body)
    }

    fn pagerduty_v1(&self, config: &Pagerduty, details: &Value) -> Result<Value, ComposeError> {
        let keys = [(&config.service_key, config.service_key_file.as_str())];
        let key = self.text(&self.secret(&keys, "PagerDuty service key")?)?;
        if key.is_empty() {
            return Err(ComposeError::Empty("PagerDuty service key"));
        }
        let mut body = json!({
            "service_key": key,
            "incident_key": self.key_hash(),
            "event_type": self.pagerduty_action(),
            "description": self.text_within(&config.description, 1024)?,
            "details": details,
        });
        if self.is_firing() {
            body["client"] = self.text(&config.client)?.into();
            body["client_url"] = self.text(&config.client_url)?.into();
        }
        Ok(body)
    }

    fn pagerduty_action(&self) -> &'static str {
        if self.is_firing() { "trigger" } else { "resolve" }
    }

    /// The configured details over the defaults.
    fn pagerduty_details(&self, config: &Pagerduty) -> Result<Value, ComposeError> {
        let defaults = PAGERDUTY_DETAILS.iter().map(|(name, template)| ((*name).to_owned(), json!(template)));
        let mut details = Value::Object(defaults.collect());
        for (name, value) in &config.details {
            details[name] = value.clone();
        }
        Ok(self.set.expand_json(&details, &self.data)?)
    }

    pub(super) fn opsgenie(&self, config: &Opsgenie) -> Result<Vec<Request>, ComposeError> {
        let global = self.global;
        let key = self.secret(
            &[(&config.api_key, &config.api_key_file), (&global.opsgenie_api_key, &global.opsgenie_api_key_file)],
            "Opsgenie API key",
        )?;
        let key = self.text(&key)?;
        let base = first(&config.api_url, &global.opsgenie_api_url);
        let alias = self.key_hash();
        let request = |path: &str, body: &Value| {
            Request::json(join(base, path), body).header("authorization", format!("GenieKey {key}"))
        };
        if !self.is_firing() {
            let body = json!({"source": self.text(&config.source)?});
            return Ok(vec![request(&format!("v2/alerts/{alias}/close?identifierType=alias"), &body)]);
        }
        let mut details: Map<String, Value> =
            self.data.common_labels().iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        for (name, template) in &config.details {
            details.insert(name.clone(), self.text(template)?.into());
        }
        let message = self.text_within(&config.message, 130)?;
        let description = self.text(&config.description)?;
        let mut body = omit_empty(vec![
            ("description", description.as_str().into()),
            ("responders", self.opsgenie_responders(&config.responders)?),
            ("tags", split_list(&self.text(&config.tags)?)),
            ("note", self.text(&config.note)?.into()),
            ("priority", self.text(&config.priority)?.into()),
            ("entity", self.text(&config.entity)?.into()),
            ("actions", split_list(&self.text(&config.actions)?)),
        ]);
        body["alias"] = alias.as_str().into();
        body["message"] = message.as_str().into();
        body["details"] = Value::Object(details);
        body["source"] = self.text(&config.source)?.into();
        let mut requests = vec![request("v2/alerts", &body)];
        if config.update_alerts {
            for (path, update) in
                [("message", json!({"message": message})), ("description", json!({"description": description}))]
            {
                let update = request(&format!("v2/alerts/{alias}/{path}?identifierType=alias"), &update);
                requests.push(Request { method: "PUT", ..update });
            }
        }
        Ok(requests)
    }

    fn opsgenie_responders(&self, responders: &[OpsgenieResponder]) -> Result<Value, ComposeError> {
        let mut all = Vec::new();
        for responder in responders {
            let kind = self.text(&responder.r#type)?;
            let name = self.text(&responder.name)?;
            if kind == "teams" {
                let teams = name.split(',').filter(|team| !team.is_empty());
                all.extend(teams.map(|team| json!({"name": team, "type": "team"})));
                continue;
            }
            let fields = omit_empty(vec![
                ("id", self.text(&responder.id)?.into()),
                ("name", name.into()),
                ("username", self.text(&responder.username)?.into()),
                ("type", kind.into()),
            ]);
            if fields != json!({}) {
                all.push(fields);
            }
        }
        Ok(Value::Array(all))
    }

    pub(super) fn victorops(&self, config: &Victorops) -> Result<Request, ComposeError> {
        let global = self.global;
        let key = self.secret(
            &[(&config.api_key, &config.api_key_file), (&global.victorops_api_key, &global.victorops_api_key_file)],
            "VictorOps API key",
        )?;
        let wanted = self.text(&config.message_type)?;
        let message_type = match wanted.as_str() {
            _ if !self.is_firing() => "RECOVERY",
            "INFO" | "WARNING" | "CRITICAL" => wanted.as_str(),
            _ => "CRITICAL",
        };
        let mut body = json!({
            "message_type": message_type,
            "entity_id": self.key_hash(),
            "entity_display_name": self.text(&config.entity_display_name)?,
            "state_message": self.text_within(&config.state_message, 20_480)?,
            "monitoring_tool": self.text(&config.monitoring_tool)?,
        });
        for (name, template) in &config.custom_fields {
            body[name] = self.text(template)?.into();
        }
        let path = format!("{key}/{}", self.text(&config.routing_key)?);
        Ok(Request::json(join(first(&config.api_url, &global.victorops_api_url), &path), &body))
    }
}
