//! What files configure: a prometheus.yml as it is, and our own settings beside it.
//!
//! The file that `--config.file` names has the shape of Prometheus' own. Our settings ([`own::Own`]) stand under its
//! key `novascope`, or in a file `novascope.yml` in the same folder where Prometheus reads the first one too; not in
//! both. `${VAR}` is expanded in all of them. Relative paths are relative to the file that names them.
//!
//! Loading reads and checks everything and changes nothing, so a reload that fails leaves the running daemon as it
//! was. Sections that are accepted without being acted upon are said in [`Loaded::notes`].

pub mod alerting;
pub mod file;
pub mod own;
pub mod redact;
pub mod remote;
pub mod section;
pub mod tiers;
pub mod tracing;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::app::config::file::{File, Global, ScrapeFile};
use crate::app::config::own::Own;
use crate::base::glob;
use crate::base::yaml::{self, YamlError};
use crate::ingest::{otlp, scrape};
use crate::notify::notifier;
use crate::rules::file as rules;
use crate::rules::forward::config as forward;
use crate::rules::rule::GroupSpec;
use crate::slo::set::{self as slo, Set};

/// The file beside the one that `--config.file` names.
pub const OWN_FILE: &str = "novascope.yml";

/// Bytes of one configuration file. File-based targets are read elsewhere; nobody writes this by hand.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Everything that files configure.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub global: Global,
    /// All scrape jobs, checked.
    pub scrape_configs: Vec<scrape::config::Config>,
    /// Where relative paths start from.
    pub folder: PathBuf,
    /// Groups of all rule files, checked.
    pub rule_groups: Vec<GroupSpec>,
    pub otlp: otlp::config::Config,
    pub storage: file::Storage,
    /// Who is told of alerts.
    pub alerting: notifier::Loaded,
    /// The Alertmanagers elsewhere that are told too.
    pub forward: forward::Checked,
    /// Where spans about our own work go.
    pub tracing: Option<tracing::Config>,
    /// Objectives of all files, checked.
    pub slo: Set,
    pub own: Own,
    /// The main file with secrets hidden, for `/api/v1/status/config`.
    pub text: String,
}

/// A configuration and what its reader should know.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub config: Config,
    pub notes: Vec<String>,
}

/// All that is wrong with a configuration; never empty.
#[derive(Clone, Debug)]
pub struct Faults(pub Vec<YamlError>);

impl From<YamlError> for Faults {
    fn from(error: YamlError) -> Self {
        Self(vec![error])
    }
}

/// Reads a configuration file and all that it names. The first fault is given; [`check`] gives them all.
pub fn load(path: &Path) -> Result<Loaded, YamlError> {
    check(path).map_err(|Faults(faults)| {
        let nothing = || YamlError::whole_file(&path.display().to_string(), "cannot be read");
        faults.into_iter().next().unwrap_or_else(nothing)
    })
}

/// How a configuration is checked; what is not set is done as a start does it.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Only this file is looked at, none that it names.
    pub syntax_only: bool,
    /// Keys of rule files that are not known are passed over.
    pub ignore_unknown_fields: bool,
    /// Refuse what Prometheus as an agent does.
    pub is_agent: bool,
}

/// As [`load`], with every fault that can be found at once: those of all rule files.
pub fn check(path: &Path) -> Result<Loaded, Faults> {
    check_as(path, How::default())
}

/// As [`check`], in another way than a start does it.
pub fn check_as(path: &Path, how: How) -> Result<Loaded, Faults> {
    let name = path.display().to_string();
    let text = read(path)?;
    let mut file: File = yaml::read(&name, &text).map_err(|error| {
        let hint = flag_hint(&error.message);
        error.with_hint(hint)
    })?;
    file.global.settle();
    file.check_sections(how.is_agent).map_err(|fault| fault.locate(&name, &text))?;
    if how.syntax_only {
        (file.rule_files, file.scrape_config_files) = (Vec::new(), Vec::new());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut notes = Vec::new();
    let rule_groups = load_rules(&file, (folder, how), &mut notes)?;
    let mut scrape_configs = file.scrape_configs;
    for pattern in &file.scrape_config_files {
        let found = glob::expand(&folder.join(pattern));
        if found.is_empty() {
            notes.push(format!("scrape_config_files: nothing matches {pattern}"));
        }
        for found in found {
            let more: ScrapeFile = yaml::read(&found.display().to_string(), &read(&found)?)?;
            scrape_configs.extend(more.scrape_configs);
        }
    }
    scrape::check(&scrape_configs, &file.global.scrape_defaults(), folder)
        .map_err(|error| job_fault(&name, &text, &error))?;
    let mut own = load_own(&name, folder, file.novascope)?;
    file.storage.apply(&mut own.store, &mut notes);
    tiers::check(&own.store).map_err(|why| YamlError::whole_file(&name, why))?;
    let forward = file.alerting.unwrap_or_default().check(folder);
    let forward = forward.map_err(|error| forward_fault(&name, &text, &format!("alerting: {error}")))?;
    notes.extend(forward.notes.iter().cloned());
    let mut tracing = file.tracing;
    let settled = tracing.as_mut().map_or(Ok(()), |tracing| tracing.settle(folder));
    settled.map_err(|error| YamlError::whole_file(&name, error))?;
    for (section, present) in
        [("remote_write", !file.remote_write.is_empty()), ("remote_read", !file.remote_read.is_empty())]
    {
        if present {
            notes.push(format!(
                "{section} is checked and has no effect: what is stored here is not sent on or asked for elsewhere"
            ));
        }
    }
    let config = Config {
        global: file.global,
        scrape_configs,
        folder: folder.to_owned(),
        rule_groups,
        otlp: file.otlp.unwrap_or_default(),
        storage: file.storage,
        alerting: load_alerting(&own, folder)?,
        forward,
        tracing,
        slo: load_slo(&own, folder, &mut notes)?,
        own,
        text: redact::secrets(&text),
    };
    Ok(Loaded { config, notes })
}

/// A fault of the section `alerting`, at what it quotes, or where the section begins.
fn forward_fault(name: &str, text: &str, why: &str) -> YamlError {
    let quoted = why.split('"').nth(1).unwrap_or_default();
    let section = text.lines().position(|line| line.starts_with("alerting:")).unwrap_or(0);
    let quote = text.lines().enumerate().skip(section).find_map(|(number, line)| {
        let column = line.find(quoted).filter(|_| !quoted.is_empty())?;
        Some((number, column))
    });
    let (line, column) = quote.unwrap_or((section, 0));
    YamlError::at(name, text, (line as u64 + 1, column as u64 + 1), why.to_owned())
}

/// A fault of a scrape job, at its name.
fn job_fault(name: &str, text: &str, error: &scrape::config::ConfigError) -> YamlError {
    let places = |job: &str| alerting::places_of(text, "job_name:", job).collect::<Vec<_>>();
    let (at, hint) = match error {
        scrape::config::ConfigError::NoName => (None, None),
        scrape::config::ConfigError::SameName(job) => {
            (places(job).last().copied(), Some("give one of them another name".to_owned()))
        }
        scrape::config::ConfigError::Job { job, .. } => (places(job).first().copied(), None),
    };
    match at {
        Some(at) => YamlError::at(name, text, at, error.to_string()).with_hint(hint),
        None => YamlError::whole_file(name, error.to_string()).with_hint(hint),
    }
}

/// For keys that people write because Prometheus has flags of that name, or a newer section.
fn flag_hint(message: &str) -> Option<String> {
    let key = message.strip_prefix("unknown key \"")?.split('"').next()?;
    let hint = match key {
        "path" => "where data is kept is the flag --data",
        "retention.time" | "retention_time" => {
            "how long data is kept is the flag --retention, or store.retention of novascope's settings"
        }
        "retention.size" | "retention_size" | "max_bytes" => {
            "how much disk blocks take is store.blocks_max of novascope's settings"
        }
        "wal_compression" | "min_block_duration" | "max_block_duration" => {
            "there is no such setting here; leave it out"
        }
        "enabled" => "leave the section out to turn it off",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The groups of all rule files, or the faults of all.
fn load_rules(file: &File, (folder, how): (&Path, How), notes: &mut Vec<String>) -> Result<Vec<GroupSpec>, Faults> {
    let load = if how.ignore_unknown_fields { rules::load_leniently } else { rules::load };
    let mut groups = Vec::new();
    let mut faults = Vec::new();
    for pattern in &file.rule_files {
        let found = glob::expand(&folder.join(pattern));
        if found.is_empty() {
            notes.push(format!("rule_files: nothing matches {pattern}"));
        }
        for path in found {
            match load(&path, file.global.evaluation_interval.as_millis()) {
                Ok(read) => groups.extend(read),
                Err(found) => faults.extend(found),
            }
        }
    }
    if faults.is_empty() { Ok(groups) } else { Err(Faults(faults)) }
}

/// Objectives of the files that our settings name.
fn load_slo(own: &Own, folder: &Path, notes: &mut Vec<String>) -> Result<Set, YamlError> {
    let patterns: Vec<PathBuf> = own.slo.files.iter().map(|pattern| folder.join(pattern)).collect();
    objectives(&patterns, own, notes)
}

/// Objectives of files, with the maintenance that our settings and the files name. The first fault is given; `novascope
/// check slo` gives them all.
pub fn objectives(patterns: &[PathBuf], own: &Own, notes: &mut Vec<String>) -> Result<Set, YamlError> {
    let mut set = slo::load(patterns).map_err(|faults| {
        let nothing = || YamlError::whole_file("slo.files", "cannot be read");
        faults.into_iter().next().unwrap_or_else(nothing)
    })?;
    notes.append(&mut set.notes);
    set.maintenance.windows.extend(own.alerting.maintenance.windows.iter().cloned());
    Ok(set)
}

/// The alertmanager.yml that our settings name, relative to the file that names it.
fn load_alerting(own: &Own, folder: &Path) -> Result<notifier::Loaded, YamlError> {
    match &own.alerting.config_file {
        Some(file) => alerting::load(&folder.join(file), &own.alerting),
        None => Ok(notifier::Loaded { settings: own.alerting.clone(), ..notifier::Loaded::default() }),
    }
}

/// Our settings from the key `novascope` or from the file beside.
fn load_own(name: &str, folder: &Path, inside: Option<Own>) -> Result<Own, YamlError> {
    let beside = folder.join(OWN_FILE);
    match (inside, beside.exists()) {
        (Some(_), true) => {
            let beside = beside.display();
            Err(YamlError::whole_file(
                name,
                format!("settings stand under novascope: and in {beside}; keep one of them"),
            ))
        }
        (Some(own), false) => Ok(own),
        (None, true) => {
            let own: Option<Own> = yaml::read(&beside.display().to_string(), &read(&beside)?)?;
            Ok(own.unwrap_or_default())
        }
        (None, false) => Ok(Own::default()),
    }
}

fn read(path: &Path) -> Result<String, YamlError> {
    let name = path.display().to_string();
    let fault = |error: std::io::Error| YamlError::whole_file(&name, format!("cannot read it: {error}"));
    let bytes = fs::metadata(path).map_err(fault)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(YamlError::whole_file(&name, format!("{bytes} bytes are more than the limit of {FILE_BYTES_MAX}")));
    }
    fs::read_to_string(path).map_err(fault)
}

/// A list in which nothing (`rule_files:` with only comments below) is an empty one.
fn list<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
