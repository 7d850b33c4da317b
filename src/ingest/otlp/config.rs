//! The `otlp:` block of prometheus.yml.

use serde::Deserialize;

use crate::base::yaml::unless_empty;

/// How OTLP becomes series. Keys, defaults and checks are Prometheus' (3.14), so that its file works unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Plain")]
pub struct Config {
    /// Which resource attributes become labels of every series.
    pub promotion: Promotion,
    pub translation_strategy: Strategy,
    /// Whether `target_info` keeps service.name, service.namespace and service.instance.id beside job and instance.
    pub keep_identifying_resource_attributes: bool,
    /// Whether explicit histograms become native histograms with custom buckets instead of `_bucket` series.
    pub convert_histograms_to_nhcb: bool,
    /// Whether name, version, schema URL and attributes of the scope become `otel_scope_*` labels.
    pub promote_scope_metadata: bool,
    /// Whether label names that start with one `_` get the prefix `key`.
    pub label_name_underscore_sanitization: bool,
    /// Whether runs of `_` in label names are kept.
    pub label_name_preserve_multiple_underscores: bool,
}

/// Which resource attributes become labels of every series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// Those named.
    Only(Vec<String>),
    /// All but those named.
    AllBut(Vec<String>),
}

impl Promotion {
    /// Whether an attribute is promoted.
    pub fn includes(&self, key: &str) -> bool {
        match self {
            Self::Only(keys) => keys.iter().any(|listed| listed == key),
            Self::AllBut(keys) => !keys.iter().any(|listed| listed == key),
        }
    }
}

/// What happens to names on the way from OTLP to series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
pub enum Strategy {
    /// Illegal characters become `_`; unit and type are appended.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Names stay as they are; unit and type are appended.
    #[serde(rename = "NoUTF8EscapingWithSuffixes")]
    NoUtf8EscapingWithSuffixes,
    /// Illegal characters become `_`; nothing is appended.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl Strategy {
    /// Whether characters beyond the classic ones are replaced.
    pub fn escapes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes)
    }

    /// Whether unit and type are appended.
    pub fn adds_suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            promotion: Promotion::Only(Vec::new()),
            translation_strategy: Strategy::default(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

/// The block as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    #[serde(default)]
    promote_all_resource_attributes: bool,
    #[serde(default)]
    promote_resource_attributes: Vec<String>,
    #[serde(default)]
    ignore_resource_attributes: Vec<String>,
    #[serde(default, deserialize_with = "unless_empty")]
    translation_strategy: Option<Strategy>,
    #[serde(default)]
    keep_identifying_resource_attributes: bool,
    #[serde(default)]
    convert_histograms_to_nhcb: bool,
    #[serde(default)]
    promote_scope_metadata: bool,
    #[serde(default = "yes")]
    label_name_underscore_sanitization: bool,
    #[serde(default = "yes")]
    label_name_preserve_multiple_underscores: bool,
}

fn yes() -> bool {
    true
}

/// A block that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously")]
    AllAndList,
    #[error("'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true")]
    IgnoreWithoutAll,
    #[error("empty {0} OTel resource attribute")]
    EmptyAttribute(&'static str),
    #[error("duplicated {0} OTel resource attribute {1:?}")]
    RepeatedAttribute(&'static str, String),
}

impl TryFrom<Plain> for Config {
    type Error = ConfigError;

    fn try_from(plain: Plain) -> Result<Self, ConfigError> {
        let promotion = if plain.promote_all_resource_attributes {
            if !plain.promote_resource_attributes.is_empty() {
                return Err(ConfigError::AllAndList);
            }
            Promotion::AllBut(checked(&plain.ignore_resource_attributes, "ignored")?)
        } else {
            if !plain.ignore_resource_attributes.is_empty() {
                return Err(ConfigError::IgnoreWithoutAll);
            }
            Promotion::Only(checked(&plain.promote_resource_attributes, "promoted")?)
        };
        Ok(Self {
            promotion,
            translation_strategy: plain.translation_strategy.unwrap_or_default(),
            keep_identifying_resource_attributes: plain.keep_identifying_resource_attributes,
            convert_histograms_to_nhcb: plain.convert_histograms_to_nhcb,
            promote_scope_metadata: plain.promote_scope_metadata,
            label_name_underscore_sanitization: plain.label_name_underscore_sanitization,
            label_name_preserve_multiple_underscores: plain.label_name_preserve_multiple_underscores,
        })
    }
}

fn checked(keys: &[String], what: &'static str) -> Result<Vec<String>, ConfigError> {
    let mut kept: Vec<String> = Vec::with_capacity(keys.len());
    for key in keys {
        let key = key.trim();
        if key.is_empty() {
            return Err(ConfigError::EmptyAttribute(what));
        }
        if kept.iter().any(|seen| seen == key) {
            return Err(ConfigError::RepeatedAttribute(what, key.to_owned()));
        }
        kept.push(key.to_owned());
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Config, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_block_is_the_default() {
        assert_eq!(read("{}"), Ok(Config::default()));
    }

    #[test]
    fn lists_are_checked_as_prometheus_does() {
        let config =
            read("promote_resource_attributes: [' k8s.pod.name ']\ntranslation_strategy: NoTranslation").unwrap();
        assert!(config.promotion.includes("k8s.pod.name") && !config.promotion.includes("x"));
        assert_eq!(config.translation_strategy, Strategy::NoTranslation);
        let config = read("promote_all_resource_attributes: true\nignore_resource_attributes: [x]").unwrap();
        assert!(config.promotion.includes("k8s.pod.name") && !config.promotion.includes("x"));
        assert!(read("ignore_resource_attributes: [x]").unwrap_err().contains("unless"));
        assert!(read("promote_resource_attributes: [x, x]").unwrap_err().contains("duplicated promoted"));
        assert!(read("promote_everything: true").unwrap_err().contains("promote_everything"));
    }
}
