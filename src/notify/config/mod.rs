//! Alertmanager's configuration file, read as it is.

pub mod receivers;
mod shown;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use self::receivers::Receiver;
use self::receivers::settings::Global;
use super::matchers;
use crate::base::units::Period;
use crate::model::calendar::interval::NamedIntervals;
use crate::model::matcher::{MatchOp, Matcher};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub global: Global,
    #[serde(default)]
    pub templates: Vec<String>,
    pub route: RouteConfig,
    #[serde(default)]
    pub receivers: Vec<Receiver>,
    #[serde(default)]
    pub inhibit_rules: Vec<InhibitConfig>,
    /// The old name of `time_intervals`.
    #[serde(default)]
    pub mute_time_intervals: Vec<NamedIntervals>,
    #[serde(default)]
    pub time_intervals: Vec<NamedIntervals>,
    /// Accepted and not used: tracing is a setting of the whole process.
    #[serde(default)]
    pub tracing: Option<serde_json::Value>,
    /// Accepted and not used: alert history is kept without it.
    #[serde(default)]
    pub event_recorder: Option<serde_json::Value>,
}

/// Something in a section that its own type cannot refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SectionError(pub String);

/// A node of the routing tree.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteConfig {
    pub receiver: Option<String>,
    pub group_by: Option<Vec<String>>,
    #[serde(rename = "continue")]
    pub continues: bool,
    #[serde(rename = "match")]
    pub match_equal: BTreeMap<String, String>,
    pub match_re: BTreeMap<String, String>,
    pub matchers: Vec<String>,
    pub mute_time_intervals: Vec<String>,
    pub active_time_intervals: Vec<String>,
    pub group_wait: Option<Period>,
    pub group_interval: Option<Period>,
    pub repeat_interval: Option<Period>,
    pub labels: BTreeMap<String, String>,
    pub routes: Vec<RouteConfig>,
}

/// One inhibition rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InhibitConfig {
    pub name: String,
    pub source_match: BTreeMap<String, String>,
    pub source_match_re: BTreeMap<String, String>,
    pub source_matchers: Vec<String>,
    pub target_match: BTreeMap<String, String>,
    pub target_match_re: BTreeMap<String, String>,
    pub target_matchers: Vec<String>,
    pub equal: Vec<String>,
}

impl InhibitConfig {
    pub fn sources(&self) -> Result<Vec<Matcher>, SectionError> {
        join_matchers(&self.source_match, &self.source_match_re, &self.source_matchers)
    }

    pub fn targets(&self) -> Result<Vec<Matcher>, SectionError> {
        join_matchers(&self.target_match, &self.target_match_re, &self.target_matchers)
    }
}

impl RouteConfig {
    /// Matchers of the old and the new form, sorted as Alertmanager sorts them.
    pub fn all_matchers(&self) -> Result<Vec<Matcher>, SectionError> {
        let mut all = join_matchers(&self.match_equal, &self.match_re, &self.matchers)?;
        let rank = |op| match op {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        all.sort_by(|a, b| (&a.name, &a.value, rank(a.op)).cmp(&(&b.name, &b.value, rank(b.op))));
        Ok(all)
    }

    fn has_matchers(&self) -> bool {
        !(self.match_equal.is_empty() && self.match_re.is_empty() && self.matchers.is_empty())
    }
}

fn join_matchers(
    equal: &BTreeMap<String, String>,
    regex: &BTreeMap<String, String>,
    lists: &[String],
) -> Result<Vec<Matcher>, SectionError> {
    let mut all = Vec::new();
    for (op, pairs) in [(MatchOp::Equal, equal), (MatchOp::Regex, regex)] {
        for (name, value) in pairs {
            all.push(Matcher::new(op, name, value).map_err(|error| SectionError(format!("{name}: {error}")))?);
        }
    }
    for list in lists {
        all.extend(matchers::parse(list).map_err(|error| SectionError(error.to_string()))?);
    }
    Ok(all)
}

impl Config {
    /// What Alertmanager checks after reading: names that are used exist, names that are defined are defined once.
    pub fn check(&self) -> Result<(), SectionError> {
        let fail = |message: String| Err(SectionError(message));
        let mut receivers = BTreeSet::new();
        for receiver in &self.receivers {
            if receiver.name.is_empty() {
                return fail("missing name in receiver".to_owned());
            }
            if !receivers.insert(receiver.name.as_str()) {
                return fail(format!("notification config name {:?} is not unique", receiver.name));
            }
            receiver.check(&self.global).map_err(SectionError)?;
        }
        let mut intervals = BTreeSet::new();
        for interval in self.intervals() {
            if interval.name.is_empty() {
                return fail("missing name in time interval".to_owned());
            }
            if !intervals.insert(interval.name.as_str()) {
                return fail(format!("time interval {:?} is not unique", interval.name));
            }
        }
        if self.route.receiver.as_deref().unwrap_or("").is_empty() {
            return fail("root route must specify a default receiver".to_owned());
        }
        if self.route.has_matchers() {
            return fail("root route must not have any matchers".to_owned());
        }
        if !self.route.mute_time_intervals.is_empty() {
            return fail("root route must not have any mute time intervals".to_owned());
        }
        if !self.route.active_time_intervals.is_empty() {
            return fail("root route must not have any active time intervals".to_owned());
        }
        check_route(&self.route, &receivers, &intervals)
    }

    /// Intervals of the old and the new section.
    pub fn intervals(&self) -> impl Iterator<Item = &NamedIntervals> {
        self.mute_time_intervals.iter().chain(&self.time_intervals)
    }
}

fn check_route(
    route: &RouteConfig,
    receivers: &BTreeSet<&str>,
    intervals: &BTreeSet<&str>,
) -> Result<(), SectionError> {
    let fail = |message: String| Err(SectionError(message));
    if let Some(receiver) = &route.receiver
        && !receivers.contains(receiver.as_str())
    {
        return fail(format!("undefined receiver {receiver:?} used in route"));
    }
    for name in route.mute_time_intervals.iter().chain(&route.active_time_intervals) {
        if !intervals.contains(name.as_str()) {
            return fail(format!("undefined time interval {name:?} used in route"));
        }
    }
    if let Some(group_by) = &route.group_by {
        let unique: BTreeSet<_> = group_by.iter().collect();
        if unique.len() < group_by.len() {
            return fail("duplicated label in group_by".to_owned());
        }
        if group_by.len() > 1 && group_by.iter().any(|label| label == "...") {
            return fail("cannot have wildcard group_by (`...`) and other labels at the same time".to_owned());
        }
    }
    let zero = |period: Option<Period>| period.is_some_and(|period| period.as_duration().is_zero());
    if zero(route.group_interval) {
        return fail("group_interval cannot be zero".to_owned());
    }
    if zero(route.repeat_interval) {
        return fail("repeat_interval cannot be zero".to_owned());
    }
    route.all_matchers()?;
    route.routes.iter().try_for_each(|child| check_route(child, receivers, intervals))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let config: Config = yaml::read_plain("alertmanager.yml", text).unwrap();
        let message = config.check().err().map_or(String::new(), |error| error.0);
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    }

    #[test]
    fn mistakes_are_named() {
        check("{route: {receiver: a}, receivers: [{name: a}]}", "");
        check("{route: {receiver: b}, receivers: [{name: a}]}", "undefined receiver \"b\"");
        check("{route: {}, receivers: [{name: a}]}", "default receiver");
        check("{route: {receiver: a, matchers: [a=b]}, receivers: [{name: a}]}", "must not have any matchers");
        check("{route: {receiver: a}, receivers: [{name: a}, {name: a}]}", "not unique");
        check(
            "{route: {receiver: a, routes: [{mute_time_intervals: [x]}]}, receivers: [{name: a}]}",
            "undefined time interval \"x\"",
        );
        check("{route: {receiver: a, group_by: [a, '...']}, receivers: [{name: a}]}", "wildcard");
        check("{route: {receiver: a, group_interval: 0s}, receivers: [{name: a}]}", "group_interval cannot be zero");
        check("{route: {receiver: a}, receivers: [{name: a, webhook_configs: [{}]}]}", "url");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let text = "{route: {receiver: a}, receivers: [{name: a, webhook_configs: [{urls: x}]}]}";
        let error = yaml::read_plain::<Config>("alertmanager.yml", text).unwrap_err().to_string();
        assert!(error.contains("urls"), "{error}");
    }

    #[test]
    fn a_file_with_every_receiver_is_read() {
        let text = "
global: {resolve_timeout: 5m, smtp_smarthost: 'localhost:25', smtp_from: a@b.c, slack_api_url: 'http://127.0.0.1/', smtp_require_tls: false}
route: {receiver: all, group_by: [alertname, job], group_wait: 0s}
receivers:
  - name: all
    webhook_configs: [{url: 'http://127.0.0.1:1/', max_alerts: 3}]
    email_configs: [{to: x@y.z, headers: {Subject: s}}]
    slack_configs: [{channel: '#a', fields: [{title: t, value: v, short: true}]}]
    pagerduty_configs: [{routing_key: k, details: {a: b}}]
    opsgenie_configs: [{api_key: k, responders: [{name: t, type: team}]}]
    telegram_configs: [{bot_token: t, chat_id: -1}]
    discord_configs: [{webhook_url: 'http://127.0.0.1/'}]
    msteams_configs: [{webhook_url: 'http://127.0.0.1/'}]
    msteamsv2_configs: [{webhook_url: 'http://127.0.0.1/'}]
    mattermost_configs: [{webhook_url: 'http://127.0.0.1/'}]
    pushover_configs: [{user_key: u, token: t}]
    victorops_configs: [{api_key: k, routing_key: r}]
    sns_configs: [{topic_arn: 'arn:aws:sns:us-east-2:1:t', sigv4: {region: us-east-2}}]
    wechat_configs: [{api_secret: s, corp_id: c}]
    webex_configs: [{room_id: r, http_config: {authorization: {credentials: c}}}]
    jira_configs: [{api_url: 'http://127.0.0.1/', project: P, issue_type: Bug}]
    rocketchat_configs: [{token: t, token_id: i}]
    incidentio_configs: [{url: 'http://127.0.0.1/', alert_source_token: t}]
";
        let config: Config = yaml::read_plain("alertmanager.yml", text).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.receivers[0].integrations().len(), 18);
    }
}
