//! Relabelling: rules that rewrite a label set or say that its owner is dropped.
//!
//! Owns the rules of `relabel_configs`, `metric_relabel_configs` and their kin, with Prometheus' semantics: regular
//! expressions are anchored, templates know `$1` and `${name}`, a label set to the empty value is gone. Promises: a
//! [`Rule`] that exists is valid; applying it cannot fail. Does not know what a target or a sample is.

mod md5;

use std::sync::Arc;

use serde::Deserialize;

use crate::model::labels::{LabelsBuilder, is_classic_label_name};
use crate::model::re2::Pattern;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    #[default]
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// Which label names are legal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameValidation {
    #[default]
    Utf8,
    Legacy,
}

/// A rule as it is written in a configuration file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    pub source_labels: Option<Vec<String>>,
    pub separator: Option<String>,
    pub regex: Option<String>,
    pub modulus: Option<u64>,
    pub target_label: Option<String>,
    pub replacement: Option<String>,
    pub action: Option<String>,
}

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("unknown relabel action {0:?}")]
    UnknownAction(String),
    #[error("source_labels: \"\" is not a valid label name")]
    EmptySource,
    #[error("invalid regex {regex:?}: {message}")]
    Regex { regex: String, message: String },
    #[error("relabel configuration for hashmod requires non-zero modulus")]
    NoModulus,
    #[error("relabel configuration for {0} action requires 'target_label' value")]
    NoTarget(&'static str),
    #[error("{label:?} is invalid 'target_label' for {action} action")]
    InvalidTarget { label: String, action: &'static str },
    #[error("{0:?} is invalid 'replacement' for labelmap action")]
    InvalidReplacement(String),
    #[error("'replacement' can not be set for {0} action")]
    ReplacementSet(&'static str),
    #[error("{0} action requires only 'source_labels' and `target_label`, and no other fields")]
    OnlyLabels(&'static str),
    #[error("{0} action requires only 'regex', and no other fields")]
    OnlyRegex(&'static str),
}

/// A valid rule, ready to apply. Clones share the compiled expression.
#[derive(Clone, Debug)]
pub struct Rule {
    source_labels: Vec<String>,
    separator: String,
    regex: Pattern,
    /// The regex is the default, `(.*)`.
    any: bool,
    modulus: u64,
    target_label: String,
    replacement: String,
    action: Action,
    names: NameValidation,
}

const ANY: &str = "(.*)";
const WHOLE_MATCH: &str = "$1";

impl Action {
    const ALL: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];

    fn from_name(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        Self::ALL.iter().find(|(candidate, _)| *candidate == name).map(|(_, action)| *action)
    }

    /// The name in configuration files.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| *name)
    }
}

impl NameValidation {
    /// Whether a label may have this name.
    pub fn accepts_label(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_classic_label_name(name),
        }
    }
}

impl RuleConfig {
    /// Compiles and checks a rule.
    pub fn compile(&self, names: NameValidation) -> Result<Rule, RuleError> {
        let action = match &self.action {
            None => Action::Replace,
            Some(name) => Action::from_name(name).ok_or_else(|| RuleError::UnknownAction(name.clone()))?,
        };
        self.check_fields(action)?;
        if self.source_labels.iter().flatten().any(String::is_empty) {
            return Err(RuleError::EmptySource);
        }
        let text = self.regex.as_deref().unwrap_or(ANY);
        let regex = Pattern::new(text)
            .map_err(|error| RuleError::Regex { regex: text.to_owned(), message: error.to_string() })?;
        let rule = Rule {
            source_labels: self.source_labels.clone().unwrap_or_default(),
            separator: self.separator.clone().unwrap_or_else(|| ";".to_owned()),
            regex,
            any: text == ANY,
            modulus: self.modulus.unwrap_or(0),
            target_label: self.target_label.clone().unwrap_or_default(),
            replacement: self.replacement.clone().unwrap_or_else(|| WHOLE_MATCH.to_owned()),
            action,
            names,
        };
        rule.check_names()?;
        Ok(rule)
    }

    /// Fields that an action needs, or that mean nothing to it.
    fn check_fields(&self, action: Action) -> Result<(), RuleError> {
        let name = action.name();
        let has_target = self.target_label.as_ref().is_some_and(|label| !label.is_empty());
        let has_modulus = self.modulus.is_some_and(|modulus| modulus != 0);
        let has_replacement = self.replacement.as_deref().is_some_and(|text| text != WHOLE_MATCH);
        let has_separator = self.separator.as_deref().is_some_and(|text| text != ";");
        match action {
            Action::HashMod if !has_modulus => Err(RuleError::NoModulus),
            Action::Replace | Action::HashMod | Action::Lowercase | Action::Uppercase if !has_target => {
                Err(RuleError::NoTarget(name))
            }
            Action::KeepEqual | Action::DropEqual if !has_target => Err(RuleError::NoTarget(name)),
            Action::Lowercase | Action::Uppercase | Action::KeepEqual | Action::DropEqual if has_replacement => {
                Err(RuleError::ReplacementSet(name))
            }
            Action::KeepEqual | Action::DropEqual if self.regex.is_some() || has_modulus || has_separator => {
                Err(RuleError::OnlyLabels(name))
            }
            Action::LabelDrop | Action::LabelKeep
                if self.source_labels.is_some() || has_target || has_modulus || has_separator || has_replacement =>
            {
                Err(RuleError::OnlyRegex(name))
            }
            _ => Ok(()),
        }
    }
}

impl Rule {
    fn check_names(&self) -> Result<(), RuleError> {
        let action = self.action.name();
        let invalid = || RuleError::InvalidTarget { label: self.target_label.clone(), action };
        let template_is_valid = |text: &str| match self.names {
            NameValidation::Utf8 => !text.is_empty(),
            // Variables stand for legal characters.
            NameValidation::Legacy => is_classic_label_name(&text.replace(['$', '{', '}'], "_")),
        };
        let is_template = self.target_label.contains('$');
        match self.action {
            Action::Replace if is_template && !template_is_valid(&self.target_label) => Err(invalid()),
            Action::Replace if is_template => Ok(()),
            Action::Replace
            | Action::Lowercase
            | Action::Uppercase
            | Action::KeepEqual
            | Action::DropEqual
            | Action::HashMod
                if !self.names.accepts_label(&self.target_label) =>
            {
                Err(invalid())
            }
            Action::LabelMap if !template_is_valid(&self.replacement) => {
                Err(RuleError::InvalidReplacement(self.replacement.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Rewrites the labels; false where the rule says to drop their owner.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let value = self.source_value(labels);
        match self.action {
            Action::Drop => return !self.regex.is_match(&value),
            Action::Keep => return self.regex.is_match(&value),
            Action::DropEqual => return labels.get(&self.target_label).unwrap_or("") != value,
            Action::KeepEqual => return labels.get(&self.target_label).unwrap_or("") == value,
            Action::Replace => self.replace(labels, &value),
            Action::Lowercase => {
                labels.set(&self.target_label, &value.to_lowercase());
            }
            Action::Uppercase => {
                labels.set(&self.target_label, &value.to_uppercase());
            }
            Action::HashMod => {
                let hash = md5::digest(value.as_bytes());
                // The last half of the digest, as Prometheus takes it.
                let half = hash.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                labels.set(&self.target_label, &half.checked_rem(self.modulus).unwrap_or(0).to_string());
            }
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => {
                labels.retain(|name, _| !self.regex.is_match(name));
            }
            Action::LabelKeep => {
                labels.retain(|name, _| self.regex.is_match(name));
            }
        }
        true
    }

    fn source_value(&self, labels: &LabelsBuilder) -> String {
        let mut value = String::new();
        for (index, name) in self.source_labels.iter().enumerate() {
            if index > 0 {
                value.push_str(&self.separator);
            }
            value.push_str(labels.get(name).unwrap_or(""));
        }
        value
    }

    fn replace(&self, labels: &mut LabelsBuilder, value: &str) {
        // Constant labels are the commonest rules: no match is needed.
        if self.any && value.is_empty() && !self.target_label.contains('$') && !self.replacement.contains('$') {
            labels.set(&self.target_label, &self.replacement);
            return;
        }
        let Some([target, replacement]) = self.regex.expand_all(value, [&self.target_label, &self.replacement]) else {
            return;
        };
        if self.names.accepts_label(&target) {
            labels.set(&target, &replacement);
        }
    }

    fn map_names(&self, labels: &mut LabelsBuilder) {
        let mut mapped = Vec::new();
        for (name, value) in labels.iter() {
            if let Some(target) = self.regex.expand(name, &self.replacement) {
                mapped.push((target, value.to_owned()));
            }
        }
        for (target, value) in mapped {
            if !target.is_empty() {
                labels.set(&target, &value);
            }
        }
    }
}

/// Compiles a list of rules; the error names the rule by its place, from 1.
pub fn compile(configs: &[RuleConfig], names: NameValidation) -> Result<Arc<[Rule]>, (usize, RuleError)> {
    let compile = |(index, config): (usize, &RuleConfig)| config.compile(names).map_err(|error| (index + 1, error));
    configs.iter().enumerate().map(compile).collect()
}

/// Applies rules in order; false, at once, where one says to drop the labels' owner.
pub fn process(rules: &[Rule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

#[cfg(test)]
mod tests;
