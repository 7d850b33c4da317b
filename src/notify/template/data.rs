//! The data of a notification, with the methods that templates call on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::time::{Time, go_rfc3339};
use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::notify::alert::Alert;
use crate::template::{Object, Value};

/// Dot of a notification template.
#[derive(Clone, Debug)]
pub struct Data {
    receiver: String,
    alerts: Vec<AlertData>,
    reason: &'static str,
    group_labels: KeyValues,
    common_labels: KeyValues,
    common_annotations: KeyValues,
    route_labels: KeyValues,
    external_url: String,
}

/// One alert as templates see it.
#[derive(Clone, Debug)]
struct AlertData {
    is_firing: bool,
    labels: KeyValues,
    annotations: KeyValues,
    starts_at: Millis,
    /// 0 while it fires.
    ends_at: Millis,
    generator_url: String,
    fingerprint: String,
}

/// A set of names and values (Alertmanager: `KV`).
#[derive(Clone, Debug, Default)]
struct KeyValues(BTreeMap<String, String>);

/// Names and values in order (Alertmanager: `Pairs`).
#[derive(Clone, Debug)]
struct Pairs(Vec<(String, String)>);

/// A list of strings with `Join`.
#[derive(Clone, Debug)]
struct Strings(Vec<String>);

/// A list of alerts with `Firing` and `Resolved`.
#[derive(Clone, Debug)]
struct Alerts(Vec<AlertData>);

impl Data {
    /// The data for these alerts, in their order. `now` decides which of them fire.
    pub fn build(receiver: &str, alerts: &[Alert], now: Millis) -> Self {
        let common = |labels: fn(&Alert) -> &Labels| {
            let mut common = alerts.first().map(|first| KeyValues::of(labels(first))).unwrap_or_default();
            for alert in alerts {
                common.0.retain(|name, value| labels(alert).get(name) == Some(value.as_str()));
            }
            common
        };
        Self {
            receiver: regex::escape(receiver).replace("\\-", "-"),
            alerts: alerts.iter().map(|alert| AlertData::of(alert, now)).collect(),
            reason: "unknown",
            group_labels: KeyValues::default(),
            common_labels: common(|alert| &alert.labels),
            common_annotations: common(|alert| &alert.annotations),
            route_labels: KeyValues::default(),
            external_url: String::new(),
        }
    }

    /// With the labels of the group and of the route.
    #[must_use]
    pub fn group(mut self, labels: &Labels, route_labels: &BTreeMap<String, String>) -> Self {
        self.group_labels = KeyValues::of(labels);
        self.route_labels = KeyValues(route_labels.clone());
        self
    }

    /// With the address of this server.
    #[must_use]
    pub fn at(mut self, external_url: &str) -> Self {
        external_url.clone_into(&mut self.external_url);
        self
    }

    /// With the reason of the notification.
    #[must_use]
    pub fn because(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    pub fn is_firing(&self) -> bool {
        self.alerts.iter().any(|alert| alert.is_firing)
    }

    fn status(&self) -> &'static str {
        status(self.is_firing())
    }

    /// The labels that all alerts share, for receivers that send them as fields.
    pub fn common_labels(&self) -> &BTreeMap<String, String> {
        &self.common_labels.0
    }

    pub(super) fn has_route_labels(&self) -> bool {
        !self.route_labels.0.is_empty()
    }

    /// A label of the route, for `routeLabels`; empty where there is none.
    pub(super) fn route_label(&self, name: &str) -> &str {
        self.route_labels.0.get(name).map_or("", String::as_str)
    }

    /// The body of Alertmanager's webhook, without the parts that belong to the group.
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let body = json!({
            "receiver": self.receiver,
            "status": self.status(),
            "alerts": self.alerts.iter().map(AlertData::to_json).collect::<Vec<_>>(),
            "notification_reason": self.reason,
            "groupLabels": self.group_labels.0,
            "commonLabels": self.common_labels.0,
            "commonAnnotations": self.common_annotations.0,
            "routeLabels": self.route_labels.0,
            "externalURL": self.external_url,
        });
        match body {
            serde_json::Value::Object(map) => map,
            _ => serde_json::Map::new(),
        }
    }
}

fn status(is_firing: bool) -> &'static str {
    if is_firing { "firing" } else { "resolved" }
}

fn object(value: impl Object + 'static) -> Value {
    Value::Object(Arc::new(value))
}

fn no_args(value: Value, args: &[Value]) -> Result<Value, String> {
    if args.is_empty() { Ok(value) } else { Err(format!("wrong number of args: want 0 got {}", args.len())) }
}

impl Object for Data {
    fn type_name(&self) -> &'static str {
        "*template.Data"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let value = match name {
            "Receiver" => Value::from(self.receiver.as_str()),
            "Status" => Value::from(self.status()),
            "Alerts" => object(Alerts(self.alerts.clone())),
            "NotificationReason" => Value::from(self.reason),
            "GroupLabels" => object(self.group_labels.clone()),
            "CommonLabels" => object(self.common_labels.clone()),
            "CommonAnnotations" => object(self.common_annotations.clone()),
            "RouteLabels" => object(self.route_labels.clone()),
            "ExternalURL" => Value::from(self.external_url.as_str()),
            _ => return None,
        };
        Some(no_args(value, args))
    }

    fn text(&self) -> String {
        format!("{{{} {}}}", self.receiver, self.status())
    }
}

impl AlertData {
    fn to_json(&self) -> serde_json::Value {
        let ends_at = if self.ends_at == 0 { "0001-01-01T00:00:00Z".to_owned() } else { go_rfc3339(self.ends_at) };
        json!({
            "status": status(self.is_firing),
            "labels": self.labels.0,
            "annotations": self.annotations.0,
            "startsAt": go_rfc3339(self.starts_at),
            "endsAt": ends_at,
            "generatorURL": self.generator_url,
            "fingerprint": self.fingerprint,
        })
    }

    fn of(alert: &Alert, now: Millis) -> Self {
        let is_firing = !alert.is_resolved_at(now);
        Self {
            is_firing,
            labels: KeyValues::of(&alert.labels),
            annotations: KeyValues::of(&alert.annotations),
            starts_at: alert.starts_at,
            ends_at: if is_firing { 0 } else { alert.ends_at },
            generator_url: alert.generator_url.clone(),
            fingerprint: alert.fingerprint().to_string(),
        }
    }
}

impl Object for AlertData {
    fn type_name(&self) -> &'static str {
        "template.Alert"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let value = match name {
            "Status" => Value::from(status(self.is_firing)),
            "Labels" => object(self.labels.clone()),
            "Annotations" => object(self.annotations.clone()),
            "StartsAt" => object(Time::utc(self.starts_at)),
            "EndsAt" => object(if self.ends_at == 0 { Time::zero() } else { Time::utc(self.ends_at) }),
            "GeneratorURL" => Value::from(self.generator_url.as_str()),
            "Fingerprint" => Value::from(self.fingerprint.as_str()),
            _ => return None,
        };
        Some(no_args(value, args))
    }

    fn text(&self) -> String {
        format!("{{{} {}}}", status(self.is_firing), self.labels.text())
    }

    fn json(&self) -> Option<serde_json::Value> {
        Some(self.to_json())
    }
}

impl Object for Alerts {
    fn type_name(&self) -> &'static str {
        "template.Alerts"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let wanted = match name {
            "Firing" => true,
            "Resolved" => false,
            _ => return None,
        };
        let alerts = self.0.iter().filter(|alert| alert.is_firing == wanted).cloned().collect();
        Some(no_args(object(Self(alerts)), args))
    }

    fn text(&self) -> String {
        format!("[{}]", self.0.iter().map(Object::text).collect::<Vec<_>>().join(" "))
    }

    fn items(&self) -> Option<Vec<(Value, Value)>> {
        Some(self.0.iter().enumerate().map(|(at, alert)| (Value::Int(at as i64), object(alert.clone()))).collect())
    }
}

impl KeyValues {
    fn of(labels: &Labels) -> Self {
        Self(labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Sorted by name, `alertname` first.
    fn sorted(&self) -> Pairs {
        let (first, rest): (Vec<_>, Vec<_>) =
            self.0.iter().map(|(name, value)| (name.clone(), value.clone())).partition(|(name, _)| name == "alertname");
        Pairs(first.into_iter().chain(rest).collect())
    }
}

impl Object for KeyValues {
    fn type_name(&self) -> &'static str {
        "template.KV"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        Some(match (name, args) {
            ("SortedPairs", []) => Ok(object(self.sorted())),
            ("Names", []) => Ok(object(self.sorted().names())),
            ("Values", []) => Ok(object(self.sorted().values())),
            ("Remove", [names]) => names.items().map(|names| {
                let mut rest = self.clone();
                for (_, name) in names {
                    rest.0.remove(&name.text());
                }
                object(rest)
            }),
            (key, []) => Ok(Value::from(self.0.get(key).map_or("", String::as_str))),
            _ => return None,
        })
    }

    fn text(&self) -> String {
        self.sorted().text()
    }

    fn items(&self) -> Option<Vec<(Value, Value)>> {
        Some(self.0.iter().map(|(name, value)| (Value::from(name.as_str()), Value::from(value.as_str()))).collect())
    }
}

impl Pairs {
    fn names(&self) -> Strings {
        Strings(self.0.iter().map(|(name, _)| name.clone()).collect())
    }

    fn values(&self) -> Strings {
        Strings(self.0.iter().map(|(_, value)| value.clone()).collect())
    }
}

impl Object for Pairs {
    fn type_name(&self) -> &'static str {
        "template.Pairs"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let list = match name {
            "Names" => self.names(),
            "Values" => self.values(),
            _ => return None,
        };
        Some(no_args(object(list), args))
    }

    fn text(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    }

    fn items(&self) -> Option<Vec<(Value, Value)>> {
        let pair = |(name, value): &(String, String)| {
            let fields = [("Name", name), ("Value", value)];
            Value::Map(Arc::new(
                fields.into_iter().map(|(key, text)| (Arc::from(key), Value::from(text.as_str()))).collect(),
            ))
        };
        Some(self.0.iter().enumerate().map(|(at, item)| (Value::Int(at as i64), pair(item))).collect())
    }
}

impl Object for Strings {
    fn type_name(&self) -> &'static str {
        "template.Strings"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        match (name, args) {
            ("Join", [separator]) => Some(Ok(Value::from(self.0.join(&separator.text())))),
            _ => None,
        }
    }

    fn text(&self) -> String {
        format!("[{}]", self.0.join(" "))
    }

    fn items(&self) -> Option<Vec<(Value, Value)>> {
        Some(self.0.iter().enumerate().map(|(at, text)| (Value::Int(at as i64), Value::from(text.as_str()))).collect())
    }
}
