//! Faults of sections that are found after reading, with the way to their place, and what Prometheus checks across
//! sections.

use crate::app::config::file::{File, Global};
use crate::app::config::remote;
use crate::base::yaml::{self, YamlError};
use crate::ingest::relabel::NameValidation;
use crate::server::client::config::is_reserved;

/// What is wrong, and the keys and positions that lead there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub path: Vec<String>,
    pub message: String,
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), message: message.into(), hint: None }
    }

    /// The same fault seen from one level above: behind this key or position.
    #[must_use]
    pub fn below(mut self, step: &str) -> Self {
        self.path.insert(0, step.to_owned());
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the section's name in front of the message.
    #[must_use]
    pub fn prefixed(mut self, section: &str) -> Self {
        self.message = format!("{section}: {}", self.message);
        self
    }

    /// The fault in the file's text.
    pub fn locate(self, file: &str, text: &str) -> YamlError {
        let error = match yaml::place_of(text, &self.path) {
            Some(at) => YamlError::at(file, text, at, self.message),
            None => YamlError::whole_file(file, self.message),
        };
        error.with_hint(self.hint)
    }
}

/// Whether a file may set a header; `authorization` says why it may not set that one.
pub fn check_header(name: &str, authorization: &str) -> Result<(), Fault> {
    let lower = name.to_ascii_lowercase();
    if lower == "authorization" {
        return Err(Fault::new(authorization).below(name));
    }
    if is_reserved(&lower) && lower != "x-prometheus-scrape-timeout-seconds" {
        return Err(Fault::new(format!("{name} is a reserved header: it must not be changed")).below(name));
    }
    Ok(())
}

impl File {
    /// What Prometheus checks when it has read a file, beside scrape jobs.
    pub(super) fn check_sections(&self, is_agent: bool) -> Result<(), Fault> {
        let has_alerting = self.alerting.as_ref().is_some_and(|alerting| !alerting.is_empty());
        for (section, is_there) in [
            ("alerting", has_alerting),
            ("rule_files", !self.rule_files.is_empty()),
            ("remote_read", !self.remote_read.is_empty()),
        ] {
            if is_agent && is_there {
                return Err(Fault::new(format!("field {section} is not allowed in agent mode")).below(section));
            }
        }
        self.global.check().map_err(|fault| fault.prefixed("global").below("global"))?;
        check_patterns("rule_files", &self.rule_files)?;
        check_patterns("scrape_config_files", &self.scrape_config_files)?;
        let names = self.global.metric_name_validation_scheme.unwrap_or_default();
        if let Some(otlp) = &self.otlp
            && names == NameValidation::Legacy
            && !otlp.translation_strategy.escapes()
        {
            let why =
                "otlp: translation_strategy keeps names that metric_name_validation_scheme: legacy does not allow";
            let fault = Fault::new(why).below("translation_strategy").below("otlp");
            return Err(fault.with_hint("write UnderscoreEscapingWithSuffixes or UnderscoreEscapingWithoutSuffixes"));
        }
        for name in self.tracing.iter().flat_map(|tracing| tracing.headers.keys()) {
            let why = "the authorization header cannot be set here yet";
            let checked = check_header(name, why);
            checked.map_err(|fault| fault.prefixed("tracing").below("headers").below("tracing"))?;
        }
        remote::check_writes(&self.remote_write, names)?;
        remote::check_reads(&self.remote_read)
    }
}

/// Patterns have their stars in the last part of the path only.
fn check_patterns(section: &str, patterns: &[String]) -> Result<(), Fault> {
    for (number, pattern) in patterns.iter().enumerate() {
        let behind = pattern.split_once('*').map_or("", |(_, behind)| behind);
        if behind.contains('/') {
            let fault = Fault::new(format!("{section}: invalid path {pattern:?}"));
            let hint = "a star may stand in the last part of a path only, as in rules/*.yml";
            return Err(fault.below(&number.to_string()).below(section).with_hint(hint));
        }
    }
    Ok(())
}

impl Global {
    fn check(&self) -> Result<(), Fault> {
        let names = self.metric_name_validation_scheme.unwrap_or_default();
        if let Some((name, _)) = self.external_labels.iter().find(|(name, _)| !names.accepts_label(name)) {
            return Err(Fault::new(format!("{name:?} is not a valid label name")).below(name).below("external_labels"));
        }
        let (interval, timeout) = (self.scrape_interval, self.scrape_timeout.unwrap_or_default());
        if timeout > interval && !interval.is_zero() {
            let why = format!("scrape timeout {timeout} is greater than scrape interval {interval}");
            return Err(Fault::new(why).below("scrape_timeout"));
        }
        let protocols = self.scrape_protocols.as_deref();
        if protocols.is_some_and(<[_]>::is_empty) {
            return Err(Fault::new("scrape_protocols cannot be empty").below("scrape_protocols"));
        }
        let protocols = protocols.unwrap_or_default();
        let twice =
            protocols.iter().enumerate().find(|(at, protocol)| protocols.iter().take(*at).any(|p| p == *protocol));
        twice.map_or(Ok(()), |(at, protocol)| {
            let why = format!("duplicated protocol {} in scrape_protocols", protocol.name());
            Err(Fault::new(why).below(&at.to_string()).below("scrape_protocols"))
        })
    }
}
