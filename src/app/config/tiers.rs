//! How long samples and their rolled-up windows are kept, for all series and by matcher.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::app::config::own::Store;
use crate::app::options::Retention;
use crate::base::units::Period;
use crate::metrics::config as metrics;
use crate::model::matcher::Matcher;
use crate::promql::parse::parse_selector;
use crate::storage::block::CLASSES_MAX;

/// Tiers that may be kept: each costs a pass over all samples.
const TIERS_MAX: usize = 8;

/// Windows narrower than this have hardly fewer numbers than the samples in them.
const RESOLUTION_MIN: Period = Period::from_secs(2);

/// Windows of one width.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    pub resolution: Period,
    pub retention: Retention,
}

/// Series that are kept longer or shorter than others.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    #[serde(rename = "match")]
    pub selector: Selector,
    /// Of their samples, where it is not that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// The tiers that are kept of them, where it is not those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<Tier>>,
    /// Nothing is kept of them longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_after: Option<Period>,
}

/// A series selector, `{job="debug"}`.
#[derive(Clone, Debug)]
pub struct Selector {
    text: String,
    matchers: Vec<Matcher>,
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let matchers = parse_selector(&text).map_err(serde::de::Error::custom)?;
        Ok(Self { text, matchers })
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl Tier {
    pub(super) fn of(tier: &metrics::Tier) -> Self {
        let resolution = Period::from_millis(tier.resolution_ms);
        Self { resolution, retention: Retention::from_millis(tier.retention_ms) }
    }

    pub(super) fn to_metrics(&self) -> metrics::Tier {
        metrics::Tier { resolution_ms: self.resolution.as_millis(), retention_ms: self.retention.as_millis() }
    }
}

impl RetentionRule {
    /// In the store's own terms, with what it does not name taken from the settings of all series.
    pub(super) fn to_metrics(&self, store: &Store) -> metrics::RetentionRule {
        let cap = |retention: Option<i64>| match self.drop_after.map(Period::as_millis) {
            Some(most) => Some(retention.map_or(most, |retention| retention.min(most))),
            None => retention,
        };
        let tier = |tier: &Tier| match &self.tiers {
            None => cap(tier.retention.as_millis()),
            Some(own) => {
                let own = own.iter().find(|own| own.resolution == tier.resolution);
                own.map_or(Some(0), |own| cap(own.retention.as_millis()))
            }
        };
        metrics::RetentionRule {
            matchers: self.selector.matchers.clone(),
            retention_ms: cap(self.retention.unwrap_or(store.retention).as_millis()),
            tier_retention_ms: store.tiers.iter().map(tier).collect(),
        }
    }
}

/// What is wrong with the tiers, limits and rules of a configuration.
pub(super) fn check(store: &Store) -> Result<(), String> {
    if !(0.0..=100.0).contains(&store.size_percentage) {
        return Err(format!("store.size_percentage has to be from 0 to 100, not {}", store.size_percentage));
    }
    let tiers = &store.tiers;
    if tiers.len() > TIERS_MAX {
        return Err(format!("store.tiers: {} tiers are more than {TIERS_MAX}", tiers.len()));
    }
    if let Some(tier) = tiers.iter().find(|tier| tier.resolution < RESOLUTION_MIN) {
        return Err(format!("store.tiers: a resolution of {} is finer than {RESOLUTION_MIN}", tier.resolution));
    }
    if !tiers.is_sorted_by(|a, b| a.resolution < b.resolution) {
        return Err("store.tiers: resolutions have to ascend".to_owned());
    }
    if store.retention_rules.len() >= CLASSES_MAX {
        let (count, most) = (store.retention_rules.len(), CLASSES_MAX - 1);
        return Err(format!("store.retention_rules: {count} rules are more than {most}"));
    }
    for rule in &store.retention_rules {
        let known = |own: &&Tier| tiers.iter().all(|tier| tier.resolution != own.resolution);
        if let Some(tier) = rule.tiers.iter().flatten().find(known) {
            let (text, resolution) = (&rule.selector.text, tier.resolution);
            return Err(format!("store.retention_rules: {text}: there is no tier of {resolution} in store.tiers"));
        }
        if rule.drop_after.is_some_and(Period::is_zero) {
            return Err(format!("store.retention_rules: {}: drop_after 0 would keep nothing", rule.selector.text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml;

    fn store(text: &str) -> Result<Store, String> {
        let store: Store = yaml::read("novascope.yml", text).map_err(|error| error.to_string())?;
        check(&store).map(|()| store)
    }

    #[test]
    fn rules_take_over_what_they_do_not_name() {
        let rules = "
tiers:
  - {resolution: 10s, retention: 30d}
  - {resolution: 1m, retention: off}
retention_rules:
  - {match: '{__name__=~\"dwcp_consensus.*\"}', retention: 30d}
  - {match: '{job=\"debug\"}', drop_after: 1d}
  - {match: up, tiers: [{resolution: 1m, retention: 2d}]}
";
        let day = 86_400_000;
        let metrics = store(rules).unwrap().to_metrics();
        let kept = |at: usize| {
            let rule: &metrics::RetentionRule = &metrics.retention_rules[at];
            (rule.retention_ms.map(|ms| ms / day), rule.tier_retention_ms.clone())
        };
        assert_eq!(kept(0), (Some(30), vec![Some(30 * day), None]));
        assert_eq!(kept(1), (Some(1), vec![Some(day), Some(day)]));
        assert_eq!(kept(2), (Some(7), vec![Some(0), Some(2 * day)]));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        let refused = |text: &str| store(text).unwrap_err();
        assert!(refused("tiers: [{resolution: 1s, retention: 1d}]").contains("finer than 2s"));
        let descending = "tiers: [{resolution: 1m, retention: 1d}, {resolution: 10s, retention: 1d}]";
        assert!(refused(descending).contains("ascend"));
        let unknown = "retention_rules: [{match: up, tiers: [{resolution: 5m, retention: 1d}]}]";
        assert!(refused(unknown).contains("no tier of 5m"));
        assert!(refused("retention_rules: [{match: '{job=', retention: 1d}]").contains("1:"));
    }
}
