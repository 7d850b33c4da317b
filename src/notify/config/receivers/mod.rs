//! The receivers: 18 kinds of places that notifications go to.

mod checks;
pub mod settings;

use serde::Deserialize;
use serde_json::Value;

use self::settings::{
    Discord, Email, Incidentio, Jira, Mattermost, Opsgenie, Pagerduty, Pushover, Rocketchat, Slack, Sns, Teams,
    TeamsV2, Telegram, Victorops, Webex, Webhook, Wechat,
};
use crate::notify::config::shown::Shown;
use crate::server::client::config::ClientConfig;

/// Declares a receiver with a list of each kind, and one type for any kind.
macro_rules! kinds {
    ($($field:ident, $kind:ident, $name:literal;)*) => {
        /// A named set of places.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Receiver {
            pub name: String,
            $(pub $field: Vec<$kind>,)*
        }

        /// One place of a receiver.
        #[derive(Clone, Copy, Debug)]
        pub enum Integration<'a> { $($kind(&'a $kind),)* }

        impl Receiver {
            /// All places, in Alertmanager's order of kinds.
            pub fn integrations(&self) -> Vec<Integration<'_>> {
                let mut all = Vec::new();
                $(all.extend(self.$field.iter().map(Integration::$kind));)*
                all
            }

            /// The places as they are shown, by key.
            pub(super) fn shown_places(&self) -> Vec<(&'static str, Vec<Value>)> {
                let mut all = Vec::new();
                $(if !self.$field.is_empty() {
                    all.push((stringify!($field), self.$field.iter().filter_map(Shown::shown).collect()));
                })*
                all
            }
        }

        impl Integration<'_> {
            /// The kind, as in the label `integration` of Alertmanager's metrics.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => $name,)* }
            }

            /// Whether it wants to hear of resolved alerts.
            pub fn send_resolved(&self) -> bool {
                match self { $(Self::$kind(config) => config.send_resolved,)* }
            }
        }
    };
}

impl<'a> Integration<'a> {
    /// How its server is reached, where it says so itself. Mail has settings of its own.
    pub fn http_config(&self) -> Option<&'a ClientConfig> {
        match self {
            Self::Webhook(config) => config.http_config.as_ref(),
            Self::Email(_) => None,
            Self::Pagerduty(config) => config.http_config.as_ref(),
            Self::Opsgenie(config) => config.http_config.as_ref(),
            Self::Wechat(config) => config.http_config.as_ref(),
            Self::Slack(config) => config.http_config.as_ref(),
            Self::Victorops(config) => config.http_config.as_ref(),
            Self::Pushover(config) => config.http_config.as_ref(),
            Self::Sns(config) => config.http_config.as_ref(),
            Self::Telegram(config) => config.http_config.as_ref(),
            Self::Discord(config) => config.http_config.as_ref(),
            Self::Webex(config) => config.http_config.as_ref(),
            Self::Teams(config) => config.http_config.as_ref(),
            Self::TeamsV2(config) => config.http_config.as_ref(),
            Self::Incidentio(config) => config.http_config.as_ref(),
            Self::Jira(config) => config.http_config.as_ref(),
            Self::Rocketchat(config) => config.http_config.as_ref(),
            Self::Mattermost(config) => config.http_config.as_ref(),
        }
    }
}

kinds! {
    webhook_configs, Webhook, "webhook";
    email_configs, Email, "email";
    pagerduty_configs, Pagerduty, "pagerduty";
    opsgenie_configs, Opsgenie, "opsgenie";
    wechat_configs, Wechat, "wechat";
    slack_configs, Slack, "slack";
    victorops_configs, Victorops, "victorops";
    pushover_configs, Pushover, "pushover";
    sns_configs, Sns, "sns";
    telegram_configs, Telegram, "telegram";
    discord_configs, Discord, "discord";
    webex_configs, Webex, "webex";
    msteams_configs, Teams, "msteams";
    msteamsv2_configs, TeamsV2, "msteamsv2";
    incidentio_configs, Incidentio, "incidentio";
    jira_configs, Jira, "jira";
    rocketchat_configs, Rocketchat, "rocketchat";
    mattermost_configs, Mattermost, "mattermost";
}
