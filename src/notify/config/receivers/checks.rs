//! Whether a receiver says enough to be reached.

use super::settings::Global;
use super::{Integration, Receiver};
use crate::server::client::config::Secret;

/// Something that has to be given in one of several places, and what is said where it is in none.
struct Need<'a> {
    given: Vec<bool>,
    otherwise: &'a str,
}

fn need(given: impl IntoIterator<Item = bool>, otherwise: &str) -> Need<'_> {
    Need { given: given.into_iter().collect(), otherwise }
}

/// A secret that stands in the file or in a file of its own, here or in `global`.
fn secret(pairs: &[(&Secret, &String)]) -> Vec<bool> {
    pairs.iter().flat_map(|(inline, file)| [!inline.is_empty(), !file.is_empty()]).collect()
}

const WEBHOOK_URL: &str = "one of webhook_url or webhook_url_file must be configured";
const URL: &str = "one of url or url_file must be configured";

impl Receiver {
    /// Whether every place says enough to be reached, with the defaults of `global`.
    pub fn check(&self, global: &Global) -> Result<(), String> {
        for integration in self.integrations() {
            let needs = needs(integration, global);
            if let Some(missing) = needs.iter().find(|need| !need.given.iter().any(|given| *given)) {
                return Err(format!("receiver {:?}: {}: {}", self.name, integration.name(), missing.otherwise));
            }
        }
        Ok(())
    }
}

fn needs<'a>(integration: Integration<'_>, global: &Global) -> Vec<Need<'a>> {
    match integration {
        Integration::Webhook(c) => vec![need(secret(&[(&c.url, &c.url_file)]), URL)],
        Integration::Incidentio(c) => vec![need([!c.url.is_empty(), !c.url_file.is_empty()], URL)],
        Integration::Email(c) => vec![
            need([!c.to.is_empty()], "missing to address in email config"),
            need([!c.smarthost.is_empty(), !global.smtp_smarthost.is_empty()], "no global SMTP smarthost set"),
            need([!c.from.is_empty(), !global.smtp_from.is_empty()], "no global SMTP from set"),
        ],
        Integration::Slack(c) => vec![need(
            secret(&[
                (&c.api_url, &c.api_url_file),
                (&c.app_token, &c.app_token_file),
                (&global.slack_api_url, &global.slack_api_url_file),
                (&global.slack_app_token, &global.slack_app_token_file),
            ]),
            "no Slack API URL nor App token set either inline or in a file",
        )],
        Integration::Discord(c) => vec![need(secret(&[(&c.webhook_url, &c.webhook_url_file)]), WEBHOOK_URL)],
        Integration::Teams(c) => vec![need(secret(&[(&c.webhook_url, &c.webhook_url_file)]), WEBHOOK_URL)],
        Integration::TeamsV2(c) => vec![need(secret(&[(&c.webhook_url, &c.webhook_url_file)]), WEBHOOK_URL)],
        Integration::Mattermost(c) => vec![need(
            secret(&[
                (&c.webhook_url, &c.webhook_url_file),
                (&global.mattermost_webhook_url, &global.mattermost_webhook_url_file),
            ]),
            WEBHOOK_URL,
        )],
        Integration::Rocketchat(c) => vec![need(
            secret(&[(&c.token, &c.token_file), (&global.rocketchat_token, &global.rocketchat_token_file)]),
            "no global Rocketchat Token set either inline or in a file",
        )],
        Integration::Webex(c) => {
            let has_authorization = c.http_config.as_ref().is_some_and(|config| config.authorization.is_some());
            vec![
                need([!c.room_id.is_empty()], "missing room_id on webex_config"),
                need([has_authorization], "missing webex_configs.http_config.authorization"),
            ]
        }
        Integration::Telegram(c) => vec![
            need(
                secret(&[
                    (&c.bot_token, &c.bot_token_file),
                    (&global.telegram_bot_token, &global.telegram_bot_token_file),
                ]),
                "missing bot_token or bot_token_file on telegram_config",
            ),
            need([c.chat_id != 0, !c.chat_id_file.is_empty()], "missing chat_id or chat_id_file on telegram_config"),
        ],
        other => needs_of_trackers(other, global),
    }
}

/// The same for places that keep incidents or ask for keys.
fn needs_of_trackers<'a>(integration: Integration<'_>, global: &Global) -> Vec<Need<'a>> {
    match integration {
        Integration::Pagerduty(c) => vec![need(
            secret(&[(&c.service_key, &c.service_key_file), (&c.routing_key, &c.routing_key_file)]),
            "missing service or routing key in PagerDuty config",
        )],
        Integration::Opsgenie(c) => vec![need(
            secret(&[(&c.api_key, &c.api_key_file), (&global.opsgenie_api_key, &global.opsgenie_api_key_file)]),
            "no global OpsGenie API Key set either inline or in a file",
        )],
        Integration::Wechat(c) => vec![
            need(
                secret(&[
                    (&c.api_secret, &c.api_secret_file),
                    (&global.wechat_api_secret, &global.wechat_api_secret_file),
                ]),
                "no global Wechat Api Secret set either inline or in a file",
            ),
            need([!c.corp_id.is_empty(), !global.wechat_api_corp_id.is_empty()], "no global Wechat CorpID set"),
        ],
        Integration::Victorops(c) => vec![
            need([!c.routing_key.is_empty()], "missing Routing key in VictorOps config"),
            need(
                secret(&[(&c.api_key, &c.api_key_file), (&global.victorops_api_key, &global.victorops_api_key_file)]),
                "no global VictorOps API Key set",
            ),
        ],
        Integration::Pushover(c) => vec![
            need(secret(&[(&c.user_key, &c.user_key_file)]), "one of user_key or user_key_file must be configured"),
            need(secret(&[(&c.token, &c.token_file)]), "one of token or token_file must be configured"),
        ],
        Integration::Sns(c) => vec![need(
            [&c.topic_arn, &c.phone_number, &c.target_arn].map(|arn| !arn.is_empty()),
            "must provide either a Target ARN, Topic ARN, or Phone Number for SNS config",
        )],
        Integration::Jira(c) => vec![
            need([!c.project.is_empty()], "missing project in jira_config"),
            need([!c.issue_type.is_empty()], "missing issue_type in jira_config"),
            need([!c.api_url.is_empty(), !global.jira_api_url.is_empty()], "no global Jira Cloud URL set"),
        ],
        _ => Vec::new(),
    }
}
