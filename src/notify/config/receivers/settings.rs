//! The settings of each kind of receiver, with Alertmanager's keys and defaults.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::base::units::Period;
use crate::notify::config::shown::Shown;
use crate::server::client::config::{ClientConfig, Secret, TlsConfig};

/// Shown although they say no.
const SHOWN_ALWAYS: [&str; 4] = ["send_resolved", "smtp_require_tls", "short_fields", "link_names"];
/// Keys that came after Alertmanager 0.25 and have a default: shown only where they differ from it.
const LATE: [&str; 3] = ["slack_app_url", "rocketchat_api_url", "content"];

/// What PagerDuty is told beside what the settings add, by key.
pub const PAGERDUTY_DETAILS: [(&str, &str); 4] = [
    ("firing", r#"{{ template "pagerduty.default.instances" .Alerts.Firing }}"#),
    ("num_firing", "{{ .Alerts.Firing | len }}"),
    ("num_resolved", "{{ .Alerts.Resolved | len }}"),
    ("resolved", r#"{{ template "pagerduty.default.instances" .Alerts.Resolved }}"#),
];

/// The key's name and whether it is a plain flag.
fn shown_field(
    (name, is_flag): (&str, bool),
    value: Option<Value>,
    fallback: impl Fn() -> Option<Value>,
) -> Option<Value> {
    match value {
        Some(Value::Bool(false)) if is_flag && !SHOWN_ALWAYS.contains(&name) => None,
        Some(value) if LATE.contains(&name) && Some(&value) == fallback().as_ref() => None,
        value => value,
    }
}

/// Declares a section whose keys all have defaults.
macro_rules! section {
    // What every receiver has: whether it hears of ends, and how it is reached.
    (receiver $name:ident, send_resolved: $told:expr, { $($rest:tt)* }) => {
        section!($name {
            send_resolved: bool = $told,
            http_config: Option<ClientConfig> = None,
            $($rest)*
        });
    };
    ($(#[$doc:meta])* $name:ident { $($field:ident : $type:ty = $default:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $(pub $field: $type),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default.into()),* }
            }
        }

        impl Shown for $name {
            fn shown(&self) -> Option<Value> {
                let fallback = Self::default();
                let mut map = Map::new();
                $(
                    let name = stringify!($field).trim_start_matches("r#");
                    let key = (name, stringify!($type) == "bool");
                    if let Some(value) = shown_field(key, self.$field.shown(), || fallback.$field.shown()) {
                        map.insert(name.to_owned(), value);
                    }
                )*
                Some(Value::Object(map))
            }
        }
    };
}

section!(
    /// `global`: defaults for all receivers.
    Global {
        resolve_timeout: Option<Period> = None,
        http_config: Option<ClientConfig> = None,
        smtp_from: String = "",
        smtp_hello: String = "localhost",
        smtp_smarthost: String = "",
        smtp_auth_username: String = "",
        smtp_auth_password: Secret = "",
        smtp_auth_password_file: String = "",
        smtp_auth_secret: Secret = "",
        smtp_auth_secret_file: String = "",
        smtp_auth_identity: String = "",
        smtp_require_tls: bool = true,
        smtp_tls_config: Option<TlsConfig> = None,
        smtp_force_implicit_tls: Option<bool> = None,
        slack_api_url: Secret = "",
        slack_api_url_file: String = "",
        slack_app_token: Secret = "",
        slack_app_token_file: String = "",
        slack_app_url: String = "https://slack.com/api/chat.postMessage",
        pagerduty_url: String = "https://events.pagerduty.com/v2/enqueue",
        opsgenie_api_url: String = "https://api.opsgenie.com/",
        opsgenie_api_key: Secret = "",
        opsgenie_api_key_file: String = "",
        wechat_api_url: String = "https://qyapi.weixin.qq.com/cgi-bin/",
        wechat_api_secret: Secret = "",
        wechat_api_secret_file: String = "",
        wechat_api_corp_id: String = "",
        victorops_api_url: String = "https://alert.victorops.com/integrations/generic/20131114/alert/",
        victorops_api_key: Secret = "",
        victorops_api_key_file: String = "",
        telegram_api_url: String = "https://api.telegram.org",
        telegram_bot_token: Secret = "",
        telegram_bot_token_file: String = "",
        webex_api_url: String = "https://webexapis.com/v1/messages",
        rocketchat_api_url: String = "https://open.rocket.chat/",
        rocketchat_token: Secret = "",
        rocketchat_token_file: String = "",
        rocketchat_token_id: Secret = "",
        rocketchat_token_id_file: String = "",
        mattermost_webhook_url: Secret = "",
        mattermost_webhook_url_file: String = "",
        jira_api_url: String = "",
    }
);

section!(receiver Webhook, send_resolved: true, {
    url: Secret = "",
    url_file: String = "",
    max_alerts: u64 = 0_u64,
    timeout: Option<Period> = None,
    payload: Option<Value> = None,
});

section!(Email {
    send_resolved: bool = false,
    to: String = "",
    from: String = "",
    hello: String = "",
    smarthost: String = "",
    auth_username: String = "",
    auth_password: Secret = "",
    auth_password_file: String = "",
    auth_secret: Secret = "",
    auth_secret_file: String = "",
    auth_identity: String = "",
    headers: BTreeMap<String, String> = BTreeMap::new(),
    html: String = r#"{{ template "email.default.html" . }}"#,
    text: String = "",
    require_tls: Option<bool> = None,
    tls_config: Option<TlsConfig> = None,
    force_implicit_tls: Option<bool> = None,
    threading: Option<Value> = None,
});

section!(SlackField { title: String = "", value: String = "", short: Option<bool> = None });

section!(receiver Slack, send_resolved: false, {
    api_url: Secret = "",
    api_url_file: String = "",
    app_token: Secret = "",
    app_token_file: String = "",
    app_url: String = "",
    channel: String = "",
    username: String = r#"{{ template "slack.default.username" . }}"#,
    color: String = r#"{{ template "slack.default.color" . }}"#,
    title: String = r#"{{ template "slack.default.title" . }}"#,
    title_link: String = r#"{{ template "slack.default.titlelink" . }}"#,
    pretext: String = r#"{{ template "slack.default.pretext" . }}"#,
    text: String = r#"{{ template "slack.default.text" . }}"#,
    message_text: String = "",
    fields: Vec<SlackField> = Vec::new(),
    short_fields: bool = false,
    footer: String = r#"{{ template "slack.default.footer" . }}"#,
    fallback: String = r#"{{ template "slack.default.fallback" . }}"#,
    callback_id: String = r#"{{ template "slack.default.callbackid" . }}"#,
    icon_emoji: String = r#"{{ template "slack.default.iconemoji" . }}"#,
    icon_url: String = r#"{{ template "slack.default.iconurl" . }}"#,
    image_url: String = "",
    thumb_url: String = "",
    link_names: bool = false,
    mrkdwn_in: Vec<String> = Vec::new(),
    actions: Vec<Value> = Vec::new(),
    update_message: bool = false,
    timeout: Option<Period> = None,
});

section!(PagerdutyLink { href: String = "", text: String = "" });
section!(PagerdutyImage { href: String = "", src: String = "", alt: String = "" });

section!(receiver Pagerduty, send_resolved: true, {
    service_key: Secret = "",
    service_key_file: String = "",
    routing_key: Secret = "",
    routing_key_file: String = "",
    url: String = "",
    client: String = r#"{{ template "pagerduty.default.client" . }}"#,
    client_url: String = r#"{{ template "pagerduty.default.clientURL" . }}"#,
    description: String = r#"{{ template "pagerduty.default.description" .}}"#,
    details: BTreeMap<String, Value> = BTreeMap::new(),
    images: Vec<PagerdutyImage> = Vec::new(),
    links: Vec<PagerdutyLink> = Vec::new(),
    source: String = "",
    severity: String = "",
    class: String = "",
    component: String = "",
    group: String = "",
    timeout: Option<Period> = None,
});

section!(OpsgenieResponder { id: String = "", name: String = "", username: String = "", r#type: String = "" });

section!(receiver Opsgenie, send_resolved: true, {
    api_key: Secret = "",
    api_key_file: String = "",
    api_url: String = "",
    message: String = r#"{{ template "opsgenie.default.message" . }}"#,
    description: String = r#"{{ template "opsgenie.default.description" . }}"#,
    source: String = r#"{{ template "opsgenie.default.source" . }}"#,
    details: BTreeMap<String, String> = BTreeMap::new(),
    entity: String = "",
    responders: Vec<OpsgenieResponder> = Vec::new(),
    actions: String = "",
    tags: String = "",
    note: String = "",
    priority: String = "",
    update_alerts: bool = false,
});

section!(receiver Telegram, send_resolved: true, {
    api_url: String = "",
    bot_token: Secret = "",
    bot_token_file: String = "",
    chat_id: i64 = 0_i64,
    chat_id_file: String = "",
    message_thread_id: i64 = 0_i64,
    message: String = r#"{{ template "telegram.default.message" . }}"#,
    disable_notifications: bool = false,
    parse_mode: String = "HTML",
});

section!(receiver Discord, send_resolved: true, {
    webhook_url: Secret = "",
    webhook_url_file: String = "",
    content: String = r#"{{ template "discord.default.content" . }}"#,
    title: String = r#"{{ template "discord.default.title" . }}"#,
    message: String = r#"{{ template "discord.default.message" . }}"#,
    username: String = "",
    avatar_url: String = "",
});

section!(receiver Teams, send_resolved: true, {
    webhook_url: Secret = "",
    webhook_url_file: String = "",
    title: String = r#"{{ template "msteams.default.title" . }}"#,
    summary: String = r#"{{ template "msteams.default.summary" . }}"#,
    text: String = r#"{{ template "msteams.default.text" . }}"#,
});

section!(receiver TeamsV2, send_resolved: true, {
    webhook_url: Secret = "",
    webhook_url_file: String = "",
    title: String = r#"{{ template "msteamsv2.default.title" . }}"#,
    text: String = r#"{{ template "msteamsv2.default.text" . }}"#,
});

section!(receiver Mattermost, send_resolved: true, {
    webhook_url: Secret = "",
    webhook_url_file: String = "",
    channel: String = "",
    username: String = r#"{{ template "mattermost.default.username" . }}"#,
    text: String = r#"{{ template "mattermost.default.text" . }}"#,
    fallback: String = r#"{{ template "mattermost.default.fallback" . }}"#,
    color: String = r#"{{ template "mattermost.default.color" . }}"#,
    pretext: String = r#"{{ template "mattermost.default.pretext" . }}"#,
    author_name: String = r#"{{ template "mattermost.default.authorname" . }}"#,
    author_link: String = r#"{{ template "mattermost.default.authorlink" . }}"#,
    author_icon: String = "",
    title: String = r#"{{ template "mattermost.default.title" . }}"#,
    title_link: String = r#"{{ template "mattermost.default.titlelink" . }}"#,
    fields: Vec<SlackField> = Vec::new(),
    thumb_url: String = "",
    footer: String = "",
    footer_icon: String = "",
    image_url: String = "",
    icon_url: String = "",
    icon_emoji: String = "",
    attachments: Vec<Value> = Vec::new(),
    r#type: String = "",
    props: Option<Value> = None,
    priority: Option<Value> = None,
});

section!(receiver Pushover, send_resolved: true, {
    user_key: Secret = "",
    user_key_file: String = "",
    token: Secret = "",
    token_file: String = "",
    title: String = r#"{{ template "pushover.default.title" . }}"#,
    message: String = r#"{{ template "pushover.default.message" . }}"#,
    url: String = r#"{{ template "pushover.default.url" . }}"#,
    url_title: String = "",
    device: String = "",
    sound: String = "",
    priority: String = r#"{{ if eq .Status "firing" }}2{{ else }}0{{ end }}"#,
    retry: Option<Period> = None,
    expire: Option<Period> = None,
    ttl: Option<Period> = None,
    html: bool = false,
    monospace: bool = false,
});

section!(receiver Victorops, send_resolved: true, {
    api_key: Secret = "",
    api_key_file: String = "",
    api_url: String = "",
    routing_key: String = "",
    message_type: String = "CRITICAL",
    state_message: String = r#"{{ template "victorops.default.state_message" . }}"#,
    entity_display_name: String = r#"{{ template "victorops.default.entity_display_name" . }}"#,
    monitoring_tool: String = r#"{{ template "victorops.default.monitoring_tool" . }}"#,
    custom_fields: BTreeMap<String, String> = BTreeMap::new(),
});

section!(Sigv4 {
    region: String = "",
    access_key: String = "",
    secret_key: Secret = "",
    profile: String = "",
    role_arn: String = "",
    external_id: String = "",
    use_fips_sts_endpoint: bool = false,
});

section!(receiver Sns, send_resolved: true, {
    api_url: String = "",
    sigv4: Sigv4 = Sigv4::default(),
    topic_arn: String = "",
    phone_number: String = "",
    target_arn: String = "",
    subject: String = r#"{{ template "sns.default.subject" . }}"#,
    message: String = r#"{{ template "sns.default.message" . }}"#,
    attributes: BTreeMap<String, String> = BTreeMap::new(),
    use_aws_http_client: bool = false,
});

section!(receiver Wechat, send_resolved: false, {
    api_secret: Secret = "",
    api_secret_file: String = "",
    corp_id: String = "",
    api_url: String = "",
    message: String = r#"{{ template "wechat.default.message" . }}"#,
    to_user: String = r#"{{ template "wechat.default.to_user" . }}"#,
    to_party: String = r#"{{ template "wechat.default.to_party" . }}"#,
    to_tag: String = r#"{{ template "wechat.default.to_tag" . }}"#,
    agent_id: String = r#"{{ template "wechat.default.agent_id" . }}"#,
    message_type: String = "text",
});

section!(receiver Webex, send_resolved: true, {
    api_url: String = "",
    room_id: String = "",
    message: String = r#"{{ template "webex.default.message" . }}"#,
});

section!(receiver Jira, send_resolved: true, {
    api_url: String = "",
    api_type: String = "auto",
    project: String = "",
    summary: Value = Value::String(r#"{{ template "jira.default.summary" . }}"#.to_owned()),
    description: Value = Value::String(r#"{{ template "jira.default.description" . }}"#.to_owned()),
    labels: Vec<String> = Vec::new(),
    priority: String = r#"{{ template "jira.default.priority" . }}"#,
    issue_type: String = "",
    reopen_transition: String = "",
    resolve_transition: String = "",
    wont_fix_resolution: String = "",
    reopen_duration: Option<Period> = None,
    fields: BTreeMap<String, Value> = BTreeMap::new(),
});

section!(receiver Rocketchat, send_resolved: false, {
    api_url: String = "",
    token_id: Secret = "",
    token_id_file: String = "",
    token: Secret = "",
    token_file: String = "",
    channel: String = "",
    color: String = r#"{{ if eq .Status "firing" }}red{{ else }}green{{ end }}"#,
    title: String = r#"{{ template "rocketchat.default.title" . }}"#,
    title_link: String = r#"{{ template "rocketchat.default.titlelink" . }}"#,
    text: String = r#"{{ template "rocketchat.default.text" . }}"#,
    fields: Vec<SlackField> = Vec::new(),
    short_fields: bool = false,
    emoji: String = r#"{{ template "rocketchat.default.emoji" . }}"#,
    icon_url: String = r#"{{ template "rocketchat.default.iconurl" . }}"#,
    image_url: String = "",
    thumb_url: String = "",
    link_names: bool = false,
    actions: Vec<Value> = Vec::new(),
});

section!(receiver Incidentio, send_resolved: true, {
    url: String = "",
    url_file: String = "",
    alert_source_token: Secret = "",
    alert_source_token_file: String = "",
    max_alerts: u64 = 0_u64,
    timeout: Option<Period> = None,
});
