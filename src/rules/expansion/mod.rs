//! Templates of labels and annotations: Prometheus' variables and functions over our template engine.

mod functions;
mod sample;
mod variables;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::sample as model;
use crate::rules::seam::Backend;
use crate::template::{self, Functions, Limits, Prepared, Run, TemplateError, Templates, Value};

/// What all templates of this process share.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub external_labels: BTreeMap<String, String>,
    /// Where people reach this server, without a slash at the end.
    pub external_url: String,
}

/// Expands the templates of one rule at one time.
pub struct Expander {
    /// `__alert_NAME`, for errors.
    name: String,
    functions: Functions,
    external_labels: Value,
    external_url: Value,
    /// Texts that were parsed, by themselves: a rule expands the same few for each of its elements.
    parsed: Mutex<HashMap<String, Result<Prepared, TemplateError>>>,
}

/// Whether a text is a template that parses and names only functions that exist. `alert` stands in the error.
pub fn check(alert: &str, text: &str) -> Result<(), String> {
    template::check(&template_name(alert), text, unbound()).map_err(|error| error.to_string())?;
    match variables::undeclared(text) {
        Some(name) => Err(format!("template: {}: undefined variable \"${name}\"", template_name(alert))),
        None => Ok(()),
    }
}

/// The functions without anything behind them, for checks.
fn unbound() -> &'static Functions {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let backend: Arc<dyn Backend> = Arc::new(functions::NoBackend);
        functions::all(&backend, &Surroundings::default(), 0)
    })
}

/// The names of all functions that templates of rules can call, without Go's own.
pub fn function_names() -> Vec<&'static str> {
    unbound().keys().copied().collect()
}

fn template_name(alert: &str) -> String {
    format!("__alert_{alert}")
}

impl Expander {
    pub fn new(alert: &str, backend: &Arc<dyn Backend>, surroundings: &Surroundings, time: Millis) -> Self {
        let labels = surroundings.external_labels.iter();
        Self {
            name: template_name(alert),
            functions: functions::all(backend, surroundings, time),
            external_labels: map(labels.map(|(name, value)| (name.as_str(), value.as_str()))),
            external_url: Value::from(surroundings.external_url.as_str()),
            parsed: Mutex::default(),
        }
    }

    fn prepared(&self, text: &str) -> Result<Prepared, TemplateError> {
        let mut parsed = self.parsed.lock();
        if let Some(known) = parsed.get(text) {
            return known.clone();
        }
        let prepared = Templates::default().prepare(&self.name, text);
        parsed.insert(text.to_owned(), prepared.clone());
        prepared
    }

    /// The variables for one element of a rule's result.
    pub fn element(&self, labels: &Labels, value: &model::Value) -> Element<'_> {
        Element { expander: self, labels: map(labels.iter()), value: sample::number_or_text(value) }
    }
}

/// The variables of one element.
pub struct Element<'a> {
    expander: &'a Expander,
    labels: Value,
    value: Value,
}

impl Element<'_> {
    /// The text with its templates expanded. What is wrong with one stands in its place, because an alert with a bad
    /// annotation is better than none.
    pub fn expand(&self, text: &str) -> String {
        if !text.contains("{{") {
            return text.to_owned();
        }
        let Expander { name, functions, external_labels, external_url, .. } = self.expander;
        let data = BTreeMap::from([
            (Arc::from("Labels"), self.labels.clone()),
            (Arc::from("ExternalLabels"), external_labels.clone()),
            (Arc::from("ExternalURL"), external_url.clone()),
            (Arc::from("Value"), self.value.clone()),
        ]);
        let run = Run {
            name,
            text,
            data: Value::Map(Arc::new(data)),
            variables: &[
                ("$labels", self.labels.clone()),
                ("$externalLabels", external_labels.clone()),
                ("$externalURL", external_url.clone()),
                ("$value", self.value.clone()),
            ],
            functions,
            limits: Limits::default(),
        };
        match self.expander.prepared(text).and_then(|prepared| prepared.expand(&run)) {
            Ok(text) => text,
            Err(error) => format!("<error expanding template: error executing template {name}: {error}>"),
        }
    }
}

fn map<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Map(Arc::new(pairs.map(|(name, value)| (Arc::from(name), Value::from(value))).collect()))
}

#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
