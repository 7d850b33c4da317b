//! Slack, and Mattermost and Rocket.Chat, which take much the same.

use serde_json::{Value, json};

use super::{Answer, Compose, ComposeError, Request, first, omit_empty};
use crate::notify::config::receivers::settings::{Mattermost, Rocketchat, Slack, SlackField};

impl Compose<'_> {
    pub(super) fn slack(&self, config: &Slack) -> Result<Request, ComposeError> {
        let text = |template: &str| self.text(template).map(Value::from);
        let markdown: Vec<&str> = if config.mrkdwn_in.is_empty() {
            vec!["fallback", "pretext", "text"]
        } else {
            config.mrkdwn_in.iter().map(String::as_str).collect()
        };
        let mut attachment = omit_empty(vec![
            ("title", self.text_within(&config.title, 1024)?.into()),
            ("title_link", text(&config.title_link)?),
            ("pretext", text(&config.pretext)?),
            ("fields", self.slack_fields(&config.fields, config.short_fields)?),
            ("actions", self.set.expand_json(&json!(config.actions), &self.data)?),
            ("image_url", text(&config.image_url)?),
            ("thumb_url", text(&config.thumb_url)?),
            ("color", text(&config.color)?),
            ("mrkdwn_in", json!(markdown)),
        ]);
        // These stand in the message also when they are empty.
        attachment["text"] = text(&config.text)?;
        attachment["fallback"] = text(&config.fallback)?;
        attachment["callback_id"] = text(&config.callback_id)?;
        attachment["footer"] = text(&config.footer)?;
        let mut body = omit_empty(vec![
            ("channel", text(&config.channel)?),
            ("username", text(&config.username)?),
            ("icon_emoji", text(&config.icon_emoji)?),
            ("icon_url", text(&config.icon_url)?),
            ("link_names", config.link_names.into()),
            ("text", text(&config.message_text)?),
        ]);
        body["attachments"] = json!([attachment]);
        let mut request = self.slack_target(config, &body)?;
        request.answer = Answer::Slack;
        Ok(request)
    }

    /// An incoming webhook where one is given, else the Web API with the app's token.
    fn slack_target(&self, config: &Slack, body: &Value) -> Result<Request, ComposeError> {
        let has_webhook = !config.api_url.is_empty() || !config.api_url_file.is_empty();
        let tokens = [
            (&config.app_token, config.app_token_file.as_str()),
            (&self.global.slack_app_token, self.global.slack_app_token_file.as_str()),
        ];
        if !has_webhook && let Ok(token) = self.secret(&tokens, "Slack app token") {
            let url = first(&config.app_url, &self.global.slack_app_url).to_owned();
            return Ok(Request::json(url, body).header("authorization", format!("Bearer {token}")));
        }
        let urls = [
            (&config.api_url, config.api_url_file.as_str()),
            (&self.global.slack_api_url, self.global.slack_api_url_file.as_str()),
        ];
        Ok(Request::json(self.secret(&urls, "Slack API URL")?, body))
    }

    fn slack_fields(&self, fields: &[SlackField], short: bool) -> Result<Value, ComposeError> {
        let field = |field: &SlackField| {
            Ok(json!({
                "title": self.text(&field.title)?,
                "value": self.text(&field.value)?,
                "short": field.short.unwrap_or(short),
            }))
        };
        fields.iter().map(field).collect::<Result<Vec<_>, ComposeError>>().map(Value::Array)
    }

    pub(super) fn mattermost(&self, config: &Mattermost) -> Result<Request, ComposeError> {
        let text = |template: &str| self.text(template).map(Value::from);
        let own = omit_empty(vec![
            ("fallback", text(&config.fallback)?),
            ("color", text(&config.color)?),
            ("pretext", text(&config.pretext)?),
            ("text", text(&config.text)?),
            ("author_name", text(&config.author_name)?),
            ("author_link", text(&config.author_link)?),
            ("author_icon", text(&config.author_icon)?),
            ("title", text(&config.title)?),
            ("title_link", text(&config.title_link)?),
            ("fields", self.slack_fields(&config.fields, false)?),
            ("thumb_url", text(&config.thumb_url)?),
            ("footer", text(&config.footer)?),
            ("footer_icon", text(&config.footer_icon)?),
            ("image_url", text(&config.image_url)?),
        ]);
        let expand = |value: &Option<Value>| {
            value.as_ref().map_or(Ok(Value::Null), |value| self.set.expand_json(value, &self.data))
        };
        let attachments = if config.attachments.is_empty() {
            json!([own])
        } else {
            self.set.expand_json(&json!(config.attachments), &self.data)?
        };
        let body = omit_empty(vec![
            ("channel", text(&config.channel)?),
            ("username", text(&config.username)?),
            ("icon_url", text(&config.icon_url)?),
            ("icon_emoji", text(&config.icon_emoji)?),
            ("attachments", attachments),
            ("type", text(&config.r#type)?),
            ("props", expand(&config.props)?),
            ("priority", expand(&config.priority)?),
        ]);
        let urls = [
            (&config.webhook_url, config.webhook_url_file.as_str()),
            (&self.global.mattermost_webhook_url, self.global.mattermost_webhook_url_file.as_str()),
        ];
        Ok(Request::json(self.secret(&urls, "Mattermost webhook URL")?, &body))
    }

    pub(super) fn rocketchat(&self, config: &Rocketchat) -> Result<Request, ComposeError> {
        let text = |template: &str| self.text(template).map(Value::from);
        let attachment = omit_empty(vec![
            ("title", self.text_within(&config.title, 1024)?.into()),
            ("title_link", text(&config.title_link)?),
            ("text", text(&config.text)?),
            ("image_url", text(&config.image_url)?),
            ("thumb_url", text(&config.thumb_url)?),
            ("color", text(&config.color)?),
            ("fields", self.slack_fields(&config.fields, config.short_fields)?),
            ("actions", self.set.expand_json(&rocketchat_actions(&config.actions), &self.data)?),
        ]);
        let body = omit_empty(vec![
            ("channel", text(&config.channel)?),
            ("emoji", text(&config.emoji)?),
            ("avatar", text(&config.icon_url)?),
            ("attachments", json!([attachment])),
        ]);
        let global = self.global;
        let token = self.secret(
            &[(&config.token, &config.token_file), (&global.rocketchat_token, &global.rocketchat_token_file)],
            "Rocketchat token",
        )?;
        let user = self.secret(
            &[
                (&config.token_id, &config.token_id_file),
                (&global.rocketchat_token_id, &global.rocketchat_token_id_file),
            ],
            "Rocketchat token id",
        )?;
        let url = super::join(first(&config.api_url, &global.rocketchat_api_url), "api/v1/chat.postMessage");
        let mut request = Request::json(url, &body).header("x-auth-token", token).header("x-user-id", user);
        request.answer = Answer::Success;
        Ok(request)
    }
}

/// Buttons with the two answers that are always there.
fn rocketchat_actions(actions: &[Value]) -> Value {
    let whole = |action: &Value| {
        let mut action = action.clone();
        for name in ["is_webview", "msg_in_chat_window"] {
            if action.is_object() && action[name].is_null() {
                action[name] = json!(false);
            }
        }
        action
    };
    actions.iter().map(whole).collect()
}
