//! Inhibition: while a source alert fires, its target alerts stay silent.

use std::collections::HashMap;

use super::alert::{Alert, Fingerprint};
use super::config::{InhibitConfig, SectionError};
use super::matchers::all_match;
use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;

/// All rules with the source alerts that they know.
#[derive(Debug, Default)]
pub struct Inhibitor {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    source: Vec<Matcher>,
    target: Vec<Matcher>,
    equal: Vec<String>,
    /// Firing sources by the fingerprint of their `equal` labels.
    sources: HashMap<Fingerprint, HashMap<Fingerprint, Source>>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    ends_at: Millis,
    /// It also matches the target side; it does not inhibit alerts of which the same is true.
    is_target: bool,
}

impl Inhibitor {
    pub fn build(rules: &[InhibitConfig]) -> Result<Self, SectionError> {
        let rules = rules
            .iter()
            .map(|rule| {
                Ok(Rule {
                    source: rule.sources()?,
                    target: rule.targets()?,
                    equal: rule.equal.clone(),
                    sources: HashMap::new(),
                })
            })
            .collect::<Result<_, SectionError>>()?;
        Ok(Self { rules })
    }

    /// Tells of a new or changed alert.
    pub fn update(&mut self, alert: &Alert) {
        for rule in &mut self.rules {
            if all_match(&rule.source, &alert.labels) {
                let source = Source { ends_at: alert.ends_at, is_target: all_match(&rule.target, &alert.labels) };
                let key = rule.equal_key(&alert.labels);
                rule.sources.entry(key).or_default().insert(alert.fingerprint(), source);
            }
        }
    }

    /// The first alert that inhibits one with these labels.
    pub fn inhibited_by(&self, labels: &Labels, now: Millis) -> Option<Fingerprint> {
        self.rules.iter().filter(|rule| all_match(&rule.target, labels)).find_map(|rule| {
            let is_source = all_match(&rule.source, labels);
            let sources = rule.sources.get(&rule.equal_key(labels))?;
            let inhibits = |source: &Source| source.ends_at > now && !(is_source && source.is_target);
            sources.iter().filter(|(_, source)| inhibits(source)).map(|(fingerprint, _)| *fingerprint).min()
        })
    }

    /// Forgets sources that have ended.
    pub fn forget_resolved(&mut self, now: Millis) {
        for rule in &mut self.rules {
            for sources in rule.sources.values_mut() {
                sources.retain(|_, source| source.ends_at > now);
            }
            rule.sources.retain(|_, sources| !sources.is_empty());
        }
    }
}

impl Rule {
    fn equal_key(&self, labels: &Labels) -> Fingerprint {
        Fingerprint::of_pairs(self.equal.iter().map(|name| (name.as_str(), labels.get(name).unwrap_or(""))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml;

    fn alert(pairs: &[(&str, &str)], ends_at: Millis) -> Alert {
        Alert {
            labels: Labels::from_pairs(pairs.iter().copied()),
            annotations: Labels::empty(),
            generator_url: String::new(),
            starts_at: 0,
            ends_at,
            updated_at: 0,
            is_timeout: false,
        }
    }

    #[test]
    fn a_firing_source_silences_targets_with_equal_labels() {
        let config = "[{source_matchers: [severity=critical], target_match: {severity: warning}, equal: [host]}]";
        let mut inhibitor = Inhibitor::build(&yaml::read_plain::<Vec<_>>("test.yml", config).unwrap()).unwrap();
        let source = alert(&[("severity", "critical"), ("host", "a")], 100);
        inhibitor.update(&source);
        let target = |host| Labels::from_pairs([("severity", "warning"), ("host", host)]);
        assert_eq!(inhibitor.inhibited_by(&target("a"), 50), Some(source.fingerprint()));
        assert_eq!(inhibitor.inhibited_by(&target("b"), 50), None);
        assert_eq!(inhibitor.inhibited_by(&target("a"), 100), None);
        inhibitor.forget_resolved(100);
        assert_eq!(inhibitor.inhibited_by(&target("a"), 50), None);
    }

    #[test]
    fn alerts_on_both_sides_do_not_silence_each_other() {
        let config = "[{source_matchers: [a=b], target_matchers: [a=b]}]";
        let mut inhibitor = Inhibitor::build(&yaml::read_plain::<Vec<_>>("test.yml", config).unwrap()).unwrap();
        inhibitor.update(&alert(&[("a", "b"), ("n", "1")], 100));
        assert_eq!(inhibitor.inhibited_by(&Labels::from_pairs([("a", "b"), ("n", "2")]), 50), None);
    }
}
