//! `rules`, `alerts`, `alertmanagers`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::api::prometheus::Prometheus;
use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::form::Form;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::notify::template::go_rfc3339;
use crate::rules::alert::Alert;
use crate::rules::group::{Group, Health, RuleState};
use crate::rules::rule::{OnNoData, Rule, RuleKind};
use crate::server::error::Failure;

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
    let mut data = json!({"groups": []});
    let mut found = Vec::new();
    for group in groups.iter().skip(first) {
        let Some(shown) = filter.group(group) else { continue };
        if page == Some(found.len()) {
            data["groupNextToken"] = json!(next_token(group));
            break;
        }
        found.push(shown);
    }
    data["groups"] = Value::Array(found);
    Ok(answer::success(&data, &Notes::default()))
}

impl Filter<'_> {
    /// The group with the rules that are asked for; `None` where there are none.
    fn group(&self, group: &Group) -> Option<Value> {
        let allows = |set: &HashSet<&str>, name: &str| set.is_empty() || set.contains(name);
        let spec = &group.spec;
        if !allows(&self.groups, &spec.name) || !allows(&self.files, &spec.file) {
            return None;
        }
        let rules: Vec<Value> = group
            .rules()
            .filter(|(rule, _)| {
                let wanted = if rule.alerting().is_some() { self.alerting } else { self.recording };
                wanted && allows(&self.names, &rule.name) && self.matches(rule)
            })
            .map(|(rule, state)| self.rule(rule, &state))
            .collect();
        let last = *group.last.lock();
        (!rules.is_empty()).then(|| {
            json!({
                "name": spec.name,
                "file": spec.file,
                "rules": rules,
                "interval": secs(spec.interval),
                "limit": spec.limit,
                "evaluationTime": last.took.as_secs_f64(),
                "lastEvaluation": moment(last.started_at),
            })
        })
    }

    /// One of the sets must match the labels as they stand in the file.
    fn matches(&self, rule: &Rule) -> bool {
        let value = |name: &str| rule.labels.iter().find(|(label, _)| **label == *name).map_or("", |(_, value)| value);
        let all = |set: &Vec<Matcher>| set.iter().all(|matcher| matcher.matches(value(&matcher.name)));
        self.matchers.is_empty() || self.matchers.iter().any(all)
    }

    fn rule(&self, rule: &Rule, state: &RuleState) -> Value {
        let mut shown = Map::new();
        let pairs = |pairs: &[(Arc<str>, Arc<str>)]| -> Map<String, Value> {
            pairs.iter().map(|(name, value)| (name.to_string(), json!(value))).collect()
        };
        if rule.alerting().is_some() {
            let word = if state.evaluated_at == 0 { "unknown" } else { state.alerts.state().name() };
            shown.insert("state".to_owned(), json!(word));
        }
        shown.insert("name".to_owned(), json!(rule.name));
        shown.insert("query".to_owned(), json!(rule.query));
        if let RuleKind::Alerting(alerting) = &rule.kind {
            shown.insert("duration".to_owned(), secs(alerting.hold));
            shown.insert("keepFiringFor".to_owned(), secs(alerting.keep_firing));
        }
        // A recording rule without labels has none in Prometheus either.
        if rule.alerting().is_some() || !rule.labels.is_empty() {
            shown.insert("labels".to_owned(), Value::Object(pairs(&rule.labels)));
        }
        if let RuleKind::Alerting(alerting) = &rule.kind {
            shown.insert("annotations".to_owned(), Value::Object(pairs(&alerting.annotations)));
            let alerts = self.with_alerts.then(|| state.alerts.active().map(alert_json).collect::<Vec<_>>());
            shown.insert("alerts".to_owned(), json!(alerts));
        }
        shown.insert("health".to_owned(), json!(state.health.name()));
        if let Health::Bad(error) = &state.health {
            shown.insert("lastError".to_owned(), json!(error));
        }
        if !state.unsent.metrics.is_empty() {
            shown.insert("unsentMetrics".to_owned(), json!(state.unsent.metrics));
        }
        if let RuleKind::Alerting(alerting) = &rule.kind
            && alerting.on_no_data != OnNoData::Ok
        {
            shown.insert("onNoData".to_owned(), json!(alerting.on_no_data.name()));
        }
        shown.insert("evaluationTime".to_owned(), json!(state.took.as_secs_f64()));
        shown.insert("lastEvaluation".to_owned(), moment(state.evaluated_at));
        let kind = if rule.alerting().is_some() { "alerting" } else { "recording" };
        shown.insert("type".to_owned(), json!(kind));
        Value::Object(shown)
    }
}

fn alert_json(alert: &Alert) -> Value {
    let pairs = |labels: &Labels| -> Map<String, Value> {
        labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    };
    let mut shown = json!({
        "labels": pairs(&alert.labels),
        "annotations": pairs(&alert.annotations),
        "state": alert.state.name(),
        "activeAt": moment(alert.active_at),
        "value": exponential(alert.value),
    });
    if let Some(since) = alert.keep_firing_since {
        shown["keepFiringSince"] = moment(since);
    }
    shown
}

/// As Go writes a float with `'e'`: `1e+00`.
fn exponential(value: f64) -> String {
    if !value.is_finite() {
        let infinite = if value > 0.0 { "+Inf" } else { "-Inf" };
        return if value.is_nan() { "NaN" } else { infinite }.to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[expect(clippy::cast_precision_loss, reason = "JSON has seconds as floats")]
fn secs(millis: i64) -> Value {
    let secs = millis as f64 / 1000.0;
    // Whole seconds without a fraction, as Go writes them.
    if millis % 1000 == 0 { json!(millis / 1000) } else { json!(secs) }
}

/// A time as Go writes it to JSON; 0 is Go's zero time.
fn moment(millis: i64) -> Value {
    if millis == 0 { json!("0001-01-01T00:00:00Z") } else { json!(go_rfc3339(millis)) }
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
    let mut alerts = Vec::new();
    for group in api.rules.groups().iter() {
        for (_, state) in group.rules() {
            alerts.extend(state.alerts.active().map(alert_json));
        }
    }
    answer::success(&json!({ "alerts": alerts }), &Notes::default())
}

/// Alertmanagers that alerts are sent to.
pub async fn alertmanagers() -> Response {
    answer::success(&json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}), &Notes::default())
}

#[cfg(test)]
mod tests;
