//! `rules`, `alerts`.

mod shown;

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use xxhash_rust::xxh3::xxh3_128;

use crate::api::prometheus::Prometheus;
use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::form::Form;
use crate::api::prometheus::rules::shown::{AlertShown, RuleShown, Secs, moment, secs};
use crate::model::matcher::Matcher;
use crate::rules::group::Group;
use crate::rules::rule::Rule;
use crate::server::error::Failure;

/// What `rules` answers.
#[derive(Default, Serialize)]
struct Discovery {
    groups: Vec<GroupShown>,
    #[serde(rename = "groupNextToken", skip_serializing_if = "Option::is_none")]
    group_next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupShown {
    #[serde(serialize_with = "text")]
    name: Arc<str>,
    #[serde(serialize_with = "text")]
    file: Arc<str>,
    rules: Vec<Box<RawValue>>,
    interval: Secs,
    limit: usize,
    evaluation_time: f64,
    last_evaluation: String,
}

fn text<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// Which rules are asked for.
struct Filter<'a> {
    groups: HashSet<&'a str>,
    files: HashSet<&'a str>,
    names: HashSet<&'a str>,
    matchers: Vec<Vec<Matcher>>,
    alerting: bool,
    recording: bool,
    with_alerts: bool,
}

/// Rule groups.
pub async fn rules(State(api): State<Arc<Prometheus>>, form: Form) -> Result<Response, Failure> {
    let matchers = form.matchers().map_err(Failure::bad_data)?;
    let kind = form.get_of_url("type").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(Failure::parameter("type", format!("not supported value {kind:?}")));
    }
    let filter = Filter {
        // The short names are Mimir's, which Grafana uses.
        groups: form.all("rule_group[]").chain(form.all("group[]")).collect(),
        files: form.all("file[]").collect(),
        names: form.all("rule_name[]").chain(form.all("rule[]")).collect(),
        matchers,
        alerting: kind != "record",
        recording: kind != "alert",
        with_alerts: !exclude_alerts(form.get_of_url("exclude_alerts"))?,
    };
    let token = form.get_of_url("group_next_token");
    let page = page(form.get_of_url("group_limit"), token)?;
    let groups = api.rules.groups();
    let first = match groups.iter().position(|group| token.is_empty() || next_token(group) == token) {
        Some(first) => first,
        None if token.is_empty() => 0,
        None => {
            let why = format!("invalid group_next_token '{token}'. were rule groups changed?");
            return Err(Failure::parameter("group_next_token", why));
        }
    };
    let mut data = Discovery::default();
    for group in groups.iter().skip(first) {
        let Some(shown) = filter.group(group) else { continue };
        if page == Some(data.groups.len()) {
            data.group_next_token = Some(next_token(group));
            break;
        }
        data.groups.push(shown);
    }
    Ok(answer::success(&data, &Notes::default()))
}

impl Filter<'_> {
    /// The group with the rules that are asked for; `None` where there are none.
    fn group(&self, group: &Group) -> Option<GroupShown> {
        let allows = |set: &HashSet<&str>, name: &str| set.is_empty() || set.contains(name);
        let spec = &group.spec;
        if !allows(&self.groups, &spec.name) || !allows(&self.files, &spec.file) {
            return None;
        }
        let rules: Vec<Box<RawValue>> = group
            .rules()
            .filter(|(rule, _)| {
                let wanted = if rule.alerting().is_some() { self.alerting } else { self.recording };
                wanted && allows(&self.names, &rule.name) && self.matches(rule)
            })
            .filter_map(|(rule, state)| {
                let shown = RuleShown { rule, state: &state, with_alerts: self.with_alerts };
                // Written while the state is locked, so that no alert is copied.
                to_raw_value(&shown).ok()
            })
            .collect();
        let last = *group.last.lock();
        (!rules.is_empty()).then(|| GroupShown {
            name: Arc::clone(&spec.name),
            file: Arc::clone(&spec.file),
            rules,
            interval: secs(spec.interval),
            limit: spec.limit,
            evaluation_time: last.took.as_secs_f64(),
            last_evaluation: moment(last.started_at),
        })
    }

    /// One of the sets must match the labels as they stand in the file.
    fn matches(&self, rule: &Rule) -> bool {
        let value = |name: &str| rule.labels.iter().find(|(label, _)| **label == *name).map_or("", |(_, value)| value);
        let all = |set: &Vec<Matcher>| set.iter().all(|matcher| matcher.matches(value(&matcher.name)));
        self.matchers.is_empty() || self.matchers.iter().any(all)
    }
}

/// Names a group in a token for the page that begins with it.
fn next_token(group: &Group) -> String {
    format!("{:032x}", xxh3_128(format!("{};{}", group.spec.file, group.spec.name).as_bytes()))
}

fn exclude_alerts(text: &str) -> Result<bool, Failure> {
    // Go's `strconv.ParseBool`, which takes lower case after `strings.ToLower`.
    match text.to_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "" | "0" | "f" | "false" => Ok(false),
        other => Err(Failure::parameter(
            "exclude_alerts",
            format!("error converting exclude_alerts: strconv.ParseBool: parsing {other:?}: invalid syntax"),
        )),
    }
}

/// How many groups a page has.
fn page(limit: &str, token: &str) -> Result<Option<usize>, Failure> {
    if limit.is_empty() {
        return if token.is_empty() {
            Ok(None)
        } else {
            let why = "group_limit needs to be present in order to paginate over the groups";
            Err(Failure::parameter("group_next_token", why))
        };
    }
    match limit.parse::<i32>().map(usize::try_from) {
        Err(_) => {
            let why =
                format!("group_limit needs to be a valid number: strconv.ParseInt: parsing {limit:?}: invalid syntax");
            Err(Failure::parameter("group_limit", why))
        }
        Ok(Err(_) | Ok(0)) => Err(Failure::parameter("group_limit", "group_limit needs to be greater than 0")),
        Ok(Ok(limit)) => Ok(Some(limit)),
    }
}

/// Alerts that are pending or firing.
pub async fn alerts(State(api): State<Arc<Prometheus>>) -> Response {
    let mut data = b"{\"alerts\":[".to_vec();
    let begin = data.len();
    for group in api.rules.groups().iter() {
        for (_, state) in group.rules() {
            for alert in state.alerts.active() {
                if data.len() > begin {
                    data.push(b',');
                }
                // Writing to memory cannot fail.
                let _ = serde_json::to_writer(&mut data, &AlertShown(alert));
            }
        }
    }
    data.extend_from_slice(b"]}");
    answer::raw(&data, &Notes::default())
}

#[cfg(test)]
mod tests;
