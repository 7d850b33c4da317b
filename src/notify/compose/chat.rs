//! Chats and phones: Discord, Teams, Telegram, Webex, Pushover, WeChat.

use serde_json::{Value, json};

use super::{Answer, Compose, ComposeError, Message, Request, first, join, omit_empty};
use crate::base::units::Period;
use crate::notify::config::receivers::settings::{Discord, Pushover, Teams, TeamsV2, Telegram, Webex, Wechat};
use crate::server::client::config::Secret;

/// Telegram refuses longer messages.
const TELEGRAM_CHARS_MAX: usize = 4096;
/// Webex counts bytes.
const WEBEX_BYTES_MAX: usize = 7439;

impl Compose<'_> {
    pub(super) fn discord(&self, config: &Discord) -> Result<Request, ComposeError> {
        let color = if self.is_firing() { 10_038_562 } else { 3_066_993 };
        let mut body = json!({
            "content": self.text_within(&config.content, 2000)?,
            "embeds": [{
                "title": self.text_within(&config.title, 256)?,
                "description": self.text_within(&config.message, 4096)?,
                "color": color,
            }],
        });
        for (name, value) in [("username", &config.username), ("avatar_url", &config.avatar_url)] {
            if !value.is_empty() {
                body[name] = json!(value);
            }
        }
        Ok(Request::json(self.webhook_url(&config.webhook_url, &config.webhook_url_file)?, &body))
    }

    pub(super) fn teams(&self, config: &Teams) -> Result<Request, ComposeError> {
        let body = json!({
            "@context": "http://schema.org/extensions",
            "type": "MessageCard",
            "title": self.text(&config.title)?,
            "summary": self.text(&config.summary)?,
            "text": self.text(&config.text)?,
            "themeColor": if self.is_firing() { "8C1A1A" } else { "2DC72D" },
        });
        Ok(Request::json(self.webhook_url(&config.webhook_url, &config.webhook_url_file)?, &body))
    }

    pub(super) fn teams_v2(&self, config: &TeamsV2) -> Result<Request, ComposeError> {
        let color = if self.is_firing() { "Attention" } else { "Good" };
        let heading = json!({
            "type": "TextBlock",
            "text": self.text(&config.title)?,
            "weight": "Bolder",
            "size": "Medium",
            "wrap": true,
            "style": "heading",
            "color": color,
        });
        let body = json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.2",
                    "body": [heading, {"type": "TextBlock", "text": self.text(&config.text)?, "wrap": true}],
                    "msteams": {"width": "full"},
                },
            }],
        });
        Ok(Request::json(self.webhook_url(&config.webhook_url, &config.webhook_url_file)?, &body))
    }

    pub(super) fn telegram(&self, config: &Telegram) -> Result<Request, ComposeError> {
        let global = self.global;
        let token = self.secret(
            &[
                (&config.bot_token, &config.bot_token_file),
                (&global.telegram_bot_token, &global.telegram_bot_token_file),
            ],
            "Telegram bot token",
        )?;
        let chat = if config.chat_id != 0 {
            config.chat_id.to_string()
        } else {
            self.secret(&[(&Secret::default(), &config.chat_id_file)], "Telegram chat id")?
        };
        let mut body = json!({
            "chat_id": chat,
            "text": self.telegram_text(config)?,
            "disable_web_page_preview": "true",
        });
        if !config.parse_mode.is_empty() {
            body["parse_mode"] = json!(config.parse_mode);
        }
        if config.disable_notifications {
            body["disable_notification"] = json!("true");
        }
        if config.message_thread_id != 0 {
            body["message_thread_id"] = json!(config.message_thread_id.to_string());
        }
        let url = join(first(&config.api_url, &global.telegram_api_url), &format!("bot{token}/sendMessage"));
        Ok(Request::json(url, &body))
    }

    /// In HTML nothing of labels and annotations may become markup.
    fn telegram_text(&self, config: &Telegram) -> Result<String, ComposeError> {
        let is_page = config.parse_mode == "HTML";
        let text = if is_page { self.text_of_page(&config.message)? } else { self.text(&config.message)? };
        Ok(super::cut(text, TELEGRAM_CHARS_MAX))
    }

    pub(super) fn webex(&self, config: &Webex) -> Result<Request, ComposeError> {
        let mut markdown = self.text(&config.message)?;
        if markdown.len() > WEBEX_BYTES_MAX {
            let end = (0..=WEBEX_BYTES_MAX - 3).rev().find(|at| markdown.is_char_boundary(*at)).unwrap_or(0);
            markdown.truncate(end);
            markdown.push_str("...");
        }
        let body = json!({"markdown": markdown, "roomId": self.text(&config.room_id)?});
        Ok(Request::json(first(&config.api_url, &self.global.webex_api_url).to_owned(), &body))
    }

    pub(super) fn pushover(&self, config: &Pushover) -> Result<Request, ComposeError> {
        let seconds = |period: Option<Period>, default: u64| {
            period.map_or(default, |period| period.as_duration().as_secs()).to_string()
        };
        // In HTML nothing of labels and annotations may become markup.
        let message = match config.html {
            true => super::cut(self.text_of_page(&config.message)?, 1024),
            false => self.text_within(&config.message, 1024)?,
        };
        let message = if message.trim().is_empty() { "(no details)" } else { message.trim() };
        let mut fields = vec![
            ("token", self.text(&self.secret(&[(&config.token, &config.token_file)], "Pushover token")?)?),
            ("user", self.text(&self.secret(&[(&config.user_key, &config.user_key_file)], "Pushover user key")?)?),
            ("title", self.text_within(&config.title, 250)?),
            ("message", message.to_owned()),
            ("url", self.text_within(&config.url, 512)?),
            ("url_title", self.text(&config.url_title)?),
            ("priority", self.text(&config.priority)?),
            ("retry", seconds(config.retry, 60)),
            ("expire", seconds(config.expire, 3600)),
            ("device", self.text(&config.device)?),
            ("sound", self.text(&config.sound)?),
        ];
        for (name, is_set) in [("html", config.html), ("monospace", config.monospace)] {
            if is_set {
                fields.push((name, "1".to_owned()));
            }
        }
        if config.ttl.is_some() {
            fields.push(("ttl", seconds(config.ttl, 0)));
        }
        let query: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}={}", gotmpl::url_encode(value))).collect();
        Ok(Request {
            method: "POST",
            url: "https://api.pushover.net/1/messages.json".to_owned(),
            headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
            body: query.join("&").into_bytes(),
            answer: Answer::Status,
        })
    }

    pub(super) fn wechat(&self, config: &Wechat) -> Result<Message, ComposeError> {
        let global = self.global;
        let secret = self.secret(
            &[
                (&config.api_secret, &config.api_secret_file),
                (&global.wechat_api_secret, &global.wechat_api_secret_file),
            ],
            "Wechat API secret",
        )?;
        let base = first(&config.api_url, &global.wechat_api_url);
        let corporation = first(&config.corp_id, &global.wechat_api_corp_id);
        let query = format!(
            "gettoken?corpid={}&corpsecret={}",
            gotmpl::url_encode(&self.text(corporation)?),
            gotmpl::url_encode(&self.text(&secret)?)
        );
        let content = json!({"content": self.text(&config.message)?});
        let empty = json!({"content": ""});
        let is_markdown = config.message_type == "markdown";
        let (text, markdown) = if is_markdown { (empty, content) } else { (content, empty) };
        let body = omit_empty(vec![
            ("text", text),
            ("touser", self.text(&config.to_user)?.into()),
            ("toparty", self.text(&config.to_party)?.into()),
            ("totag", self.text(&config.to_tag)?.into()),
            ("agentid", self.text(&config.agent_id)?.into()),
            ("safe", "0".into()),
            ("msgtype", config.message_type.as_str().into()),
            ("markdown", markdown),
        ]);
        let mut send = Request::json(join(base, "message/send?access_token={token}"), &body);
        send.answer = Answer::ErrorCode;
        let token =
            Request { method: "GET", answer: Answer::ErrorCode, ..Request::json(join(base, &query), &Value::Null) };
        Ok(Message::Wechat { token: Request { body: Vec::new(), headers: Vec::new(), ..token }, send })
    }

    fn webhook_url(&self, inline: &Secret, file: &str) -> Result<String, ComposeError> {
        self.secret(&[(inline, file)], "webhook URL")
    }
}
