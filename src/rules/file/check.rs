//! The checks of a rule file, and what passes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::base::yaml::YamlError;
use crate::model::labels::METRIC_NAME;
use crate::promql::ast::{Expr, Span};
use crate::promql::parse::{ParseError, parse};
use crate::promql::print::format;
use crate::rules::expansion;
use crate::rules::file::hint::{self, advice};
use crate::rules::file::place;
use crate::rules::file::shape::{GroupText, RuleText};
use crate::rules::rule::{Alerting, GroupSpec, Rule, RuleKind};

/// Reads groups and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    /// Whether places are those of the text.
    pub(super) has_places: bool,
    pub(super) faults: Vec<YamlError>,
}

/// Which rule a fault is about.
struct About<'a> {
    group: &'a str,
    number: usize,
    name: &'a str,
}

impl Reader<'_> {
    pub(super) fn fault(&mut self, at: (u64, u64), message: impl Into<String>) {
        self.fault_with(at, message, None);
    }

    pub(super) fn fault_with(&mut self, at: (u64, u64), message: impl Into<String>, hint: Option<String>) {
        let fault = if self.has_places {
            YamlError::at(self.file, self.text, at, message.into())
        } else {
            YamlError::whole_file(self.file, message)
        };
        self.faults.push(fault.with_hint(hint));
    }

    fn rule_fault(&mut self, at: (u64, u64), about: &About<'_>, message: impl AsRef<str>) {
        self.rule_fault_with(at, about, message, None);
    }

    fn rule_fault_with(&mut self, at: (u64, u64), about: &About<'_>, message: impl AsRef<str>, hint: Option<String>) {
        let About { group, number, name } = about;
        self.fault_with(at, format!("group \"{group}\", rule {number}, \"{name}\": {}", message.as_ref()), hint);
    }

    pub(super) fn group(&mut self, group: &GroupText, default_interval: Millis) -> GroupSpec {
        let name = &group.name.value;
        if let Some(labels) = &group.labels {
            for label in labels.keys().filter(|label| !is_label_name(label)) {
                self.fault(place(&group.name), format!("invalid label name: {label}"));
            }
        }
        let mut rules = Vec::new();
        for (index, rule) in group.rules.iter().flatten().enumerate() {
            rules.extend(self.rule(group, index + 1, rule));
        }
        let interval = group.interval.filter(|interval| !interval.is_zero());
        GroupSpec {
            file: Arc::from(self.file),
            name: Arc::from(name.as_str()),
            interval: interval.map_or(default_interval, Period::as_millis),
            query_offset: group.query_offset.map(Period::as_millis),
            limit: group.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
            rules,
        }
    }

    fn rule(&mut self, group: &GroupText, number: usize, spanned: &Spanned<RuleText>) -> Option<Rule> {
        let rule = &spanned.value;
        let faults_before = self.faults.len();
        let set = |field: &Option<Spanned<String>>| field.as_ref().is_some_and(|text| !text.value.is_empty());
        let title = rule.alert.as_ref().filter(|_| set(&rule.alert)).or(rule.record.as_ref());
        let name = title.map_or("", |title| title.value.as_str());
        let about = About { group: &group.name.value, number, name };
        let at = title.map_or(place(spanned), place);
        match (set(&rule.record), set(&rule.alert)) {
            (true, true) => self.rule_fault(at, &about, "only one of 'record' and 'alert' must be set"),
            (false, false) => self.rule_fault(at, &about, "one of 'record' or 'alert' must be set"),
            (true, false) => self.recording(rule, at, &about),
            (false, true) => self.templates(rule, &about),
        }
        for label in rule.labels.iter().flat_map(BTreeMap::keys).filter(|label| !is_label_name(label)) {
            self.rule_fault(at, &about, format!("invalid label name: {label}"));
        }
        for name in rule.annotations.iter().flat_map(BTreeMap::keys).filter(|name| name.is_empty()) {
            self.rule_fault(at, &about, format!("invalid annotation name: {name}"));
        }
        let expr = self.expression(rule, at, &about)?;
        if self.faults.len() > faults_before {
            return None;
        }
        let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in group.labels.iter().flatten() {
            labels.insert(name, value);
        }
        for (name, value) in rule.labels.iter().flatten() {
            labels.insert(name, &value.value);
        }
        // Spans must be those of the text that goes with the expression.
        let query = format(&expr);
        let expr = parse(&query).unwrap_or(expr);
        let pairs = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
        let kind = if set(&rule.record) {
            RuleKind::Recording
        } else {
            RuleKind::Alerting(Alerting {
                hold: rule.hold.map_or(0, Period::as_millis),
                keep_firing: rule.keep_firing_for.map_or(0, Period::as_millis),
                annotations: rule.annotations.iter().flatten().map(|(name, value)| pairs(name, &value.value)).collect(),
                on_no_data: rule.on_no_data.or(group.on_no_data).unwrap_or_default(),
            })
        };
        Some(Rule {
            name: Arc::from(name),
            query: Arc::from(query),
            expr: Arc::new(expr),
            labels: labels.into_iter().map(|(name, value)| pairs(name, value)).collect(),
            kind,
        })
    }

    /// The expression of a rule; `None` where it is missing or wrong, which is noted.
    fn expression(&mut self, rule: &RuleText, at: (u64, u64), about: &About<'_>) -> Option<Expr> {
        let Some(text) = rule.expr.as_ref().filter(|expr| !expr.value.is_empty()) else {
            self.rule_fault(at, about, "field 'expr' must be set in rule");
            return None;
        };
        match parse(&text.value) {
            Ok(expr) => Some(expr),
            Err(error) => {
                let advice = advice(&text.value, &error);
                let (line, column) = advice.at.map_or((error.line, error.column), |at| {
                    let at = u32::try_from(at).unwrap_or(u32::MAX);
                    Span { start: at, end: at }.position(&text.value)
                });
                let error = ParseError { message: advice.message.unwrap_or(error.message), line, column, ..error };
                let at = self.inside(text, line, column);
                let message = format!("could not parse expression: {error}");
                self.rule_fault_with(at, about, message, advice.hint);
                None
            }
        }
    }

    fn recording(&mut self, rule: &RuleText, at: (u64, u64), about: &About<'_>) {
        for (field, given) in [
            ("annotations", rule.annotations.as_ref().is_some_and(|annotations| !annotations.is_empty())),
            ("for", rule.hold.is_some_and(|hold| !hold.is_zero())),
            ("keep_firing_for", rule.keep_firing_for.is_some_and(|keep| !keep.is_zero())),
            ("on_no_data", rule.on_no_data.is_some()),
        ] {
            if given {
                self.rule_fault(at, about, format!("invalid field '{field}' in recording rule"));
            }
        }
        if about.name.contains(['{', '}']) {
            let message = format!("braces present in the recording rule name; should it be in expr?: {}", about.name);
            self.rule_fault(at, about, message);
        }
    }

    fn templates(&mut self, rule: &RuleText, about: &About<'_>) {
        for (what, texts) in [("label", &rule.labels), ("annotation", &rule.annotations)] {
            for (name, text) in texts.iter().flatten() {
                if let Err(error) = expansion::check(about.name, &text.value) {
                    let (line, column) = hint::template_place(&text.value, &error);
                    let at = self.inside(text, line, column);
                    let hint = hint::template_hint(&error);
                    self.rule_fault_with(at, about, format!("{what} \"{name}\": {error}"), hint);
                }
            }
        }
    }

    /// Where in the file a place inside a text is: exact where that line of the text stands in the file as it is, else where
    /// the text begins.
    fn inside(&self, expr: &Spanned<String>, line: usize, column: usize) -> (u64, u64) {
        let (at_line, at_column) = place(expr);
        let below = line.saturating_sub(1);
        let number = usize::try_from(at_line).unwrap_or(usize::MAX).saturating_add(below);
        let shown = number.checked_sub(1).and_then(|index| self.text.lines().nth(index));
        let wanted = expr.value.lines().nth(below);
        match (shown, wanted) {
            (Some(shown), Some(wanted)) if !wanted.is_empty() => match shown.find(wanted) {
                Some(start) => (number as u64, (start + column) as u64),
                None => (at_line, at_column),
            },
            _ => (at_line, at_column),
        }
    }
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty() && name != METRIC_NAME
}
