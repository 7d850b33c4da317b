//! What notification templates see, the functions they call, and the templates that are always there.

mod data;
mod functions;
mod time;

use std::sync::Arc;

pub use data::Data;
pub use time::{Time, go_rfc3339};

use crate::base::clock::Clock;
use crate::template::strings::one;
use crate::template::{self, Functions, Limits, Run, TemplateError, Templates, Value};

/// The templates that exist without any file, under Alertmanager's names.
const DEFAULTS: &str = include_str!("default.tmpl");

/// All templates of a configuration, ready to run.
#[derive(Clone)]
pub struct TemplateSet {
    templates: Templates,
    functions: Arc<Functions>,
    /// The address under which people reach this server.
    pub external_url: String,
}

impl TemplateSet {
    /// The default templates and those of the given files (name and text).
    pub fn build(files: &[(String, String)], external_url: &str, clock: &Clock) -> Result<Self, TemplateError> {
        let mut templates = Templates::default();
        templates.add("default.tmpl", DEFAULTS)?;
        for (name, text) in files {
            templates.add(name, text)?;
        }
        Ok(Self {
            templates,
            functions: Arc::new(functions::all(clock)),
            external_url: external_url.trim_end_matches('/').to_owned(),
        })
    }

    /// Expands a text of the configuration with the data of a notification.
    pub fn expand(&self, text: &str, data: &Data) -> Result<String, TemplateError> {
        let bound;
        let functions = if !text.contains("routeLabels") || !data.has_route_labels() {
            &self.functions
        } else {
            let own = data.clone();
            let label = move |args: &[Value]| one(args).map(|name| Value::from(own.route_label(&name)));
            let mut all = Functions::clone(&self.functions);
            all.insert("routeLabels", Arc::new(label));
            bound = Arc::new(all);
            &bound
        };
        self.templates.expand(&Run {
            name: "",
            text,
            data: Value::Object(Arc::new(data.clone())),
            variables: &[],
            functions,
            limits: Limits::default(),
        })
    }

    /// Whether a text parses and calls only functions that exist. `name` stands in the error.
    pub fn check(&self, name: &str, text: &str) -> Result<(), TemplateError> {
        template::check(name, text, &self.functions)
    }

    /// The first template that a text calls by name and that neither the files nor the text itself define.
    pub fn unknown_template<'a>(&self, text: &'a str) -> Option<&'a str> {
        let names = |word: &'static str| {
            text.split(word).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        };
        let own: Vec<&str> = names("define").chain(names("block")).collect();
        names("template").find(|name| !own.contains(name) && !self.templates.names().contains(name))
    }

    /// The names of the functions that only notification templates have.
    pub fn function_names() -> Vec<&'static str> {
        functions::all(&Clock::real()).into_keys().collect()
    }

    /// Expands a text that becomes HTML: what comes from labels and annotations cannot become part of the page.
    pub fn expand_page(&self, text: &str, data: &Data) -> Result<String, TemplateError> {
        self.templates.expand_page(&Run {
            name: "",
            text,
            data: Value::Object(Arc::new(data.clone())),
            variables: &[],
            functions: &self.functions,
            limits: Limits::default(),
        })
    }

    /// Expands every string inside a JSON value.
    pub fn expand_json(&self, value: &serde_json::Value, data: &Data) -> Result<serde_json::Value, TemplateError> {
        use serde_json::Value as Json;
        Ok(match value {
            Json::String(text) => Json::String(self.expand(text, data)?),
            Json::Array(items) => {
                Json::Array(items.iter().map(|item| self.expand_json(item, data)).collect::<Result<_, _>>()?)
            }
            Json::Object(map) => Json::Object(
                map.iter()
                    .map(|(key, item)| Ok((self.expand(key, data)?, self.expand_json(item, data)?)))
                    .collect::<Result<_, TemplateError>>()?,
            ),
            other => other.clone(),
        })
    }
}

#[cfg(test)]
mod table;

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::labels::Labels;
    use crate::notify::alert::Alert;

    pub(in crate::notify) fn set() -> TemplateSet {
        let (clock, _) = Clock::simulated(1_700_000_000_000);
        TemplateSet::build(&[], "http://nova:9090/", &clock).unwrap()
    }

    pub(in crate::notify) fn alert(instance: &str, ends_at: i64) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "Down"), ("instance", instance), ("job", "vm")]),
            annotations: Labels::from_pairs([("summary", "It is down")]),
            generator_url: "http://nova:9090/graph".to_owned(),
            starts_at: 1_600_000_000_000,
            ends_at,
            updated_at: 0,
            is_timeout: false,
        }
    }

    pub(in crate::notify) fn data(alerts: &[Alert]) -> Data {
        let group_labels = Labels::from_pairs([("alertname", "Down")]);
        Data::build("team-x", alerts, 1_700_000_000_000).group(&group_labels, &BTreeMap::new()).at("http://nova:9090")
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let data = data(&[alert("a", i64::MAX), alert("b", 1_650_000_000_000)]);
        assert_eq!(set().expand(text, &data).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn data_and_default_templates_are_those_of_alertmanager() {
        check("{{ .Status }} {{ .Receiver }} {{ len .Alerts }} {{ len .Alerts.Firing }}", "firing team-x 2 1");
        check(r#"{{ template "__subject" . }}"#, "[FIRING:1] Down (vm)");
        check(r#"{{ template "slack.default.color" . }}"#, "danger");
        check(r#"{{ template "__alertmanagerURL" . }}"#, "http://nova:9090/#/alerts?receiver=team-x");
        check("{{ .CommonLabels.SortedPairs }}", "alertname=Down, job=vm");
        check(
            "{{ range .Alerts.Resolved }}{{ .Labels.instance }} {{ .EndsAt.Format \"2006-01-02 15:04:05\" }}{{ end }}",
            "b 2022-04-15 05:20:00",
        );
        check("{{ (index .Alerts 0).Labels.Values.Join \"/\" }}", "Down/a/vm");
        check("{{ range .Alerts.Firing }}{{ .StartsAt | since | humanizeDuration }}{{ end }}", "1157d 9h 46m 40s");
        check("{{ .CommonAnnotations.summary }} {{ .CommonAnnotations.none }}", "It is down ");
        check("{{ (index .Alerts 0).StartsAt | tz \"Europe/Berlin\" | date \"15:04 MST\" }}", "14:26 CEST");
    }

    #[test]
    fn every_default_template_runs() {
        let data = data(&[alert("a", i64::MAX)]);
        for name in set().templates.names() {
            if name.contains('.') && name != "default.tmpl" {
                let dot = if name == "pagerduty.default.instances" { ".Alerts" } else { "." };
                let text = format!("{{{{ template {name:?} {dot} }}}}");
                set().expand(&text, &data).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}
