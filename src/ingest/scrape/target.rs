//! Targets: what discovery found, with the labels and the address that relabelling gave it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::config::Job;
use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::ingest::discovery::Group;
use crate::ingest::discovery::config::check_address;
use crate::ingest::exposition;
use crate::ingest::relabel;
use crate::model::labels::{Labels, LabelsBuilder};
use crate::model::metadata::Metadata;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";
const META: &str = "__meta_";
const CONVERT: &str = "__convert_classic_histograms_to_nhcb__";
const CLASSIC: &str = "__always_scrape_classic_histograms__";
const NATIVE: &str = "__scrape_native_histograms__";

/// Families whose metadata is kept for one target.
const FAMILIES_MAX: usize = 100_000;

/// Whether the last scrape went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    /// The word in `/api/v1/targets`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// How the last scrape went.
#[derive(Clone, Debug, Default)]
pub struct LastScrape {
    pub health: Health,
    /// Empty where it went well.
    pub error: String,
    /// When it was due; 0 before the first.
    pub time: Millis,
    pub duration: Duration,
}

/// Something to be scraped.
#[derive(Debug)]
pub struct Target {
    /// As discovery gave them, with the job's defaults, before relabelling.
    pub discovered: Labels,
    /// The labels of its series.
    pub labels: Labels,
    pub url: Uri,
    pub interval: Period,
    pub timeout: Period,
    /// How its bodies are read: as the job says, or as its own labels do.
    pub reading: exposition::Options,
    /// Tells targets apart and spreads them over the interval: labels (hidden ones too) and URL.
    pub hash: u64,
    last: Mutex<LastScrape>,
    families: Mutex<BTreeMap<Arc<str>, Metadata>>,
}

/// Why something discovered is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("no address")]
    NoAddress,
    #[error("{0}")]
    Address(String),
    #[error("error parsing scrape {what}: {error}")]
    Period { what: &'static str, error: String },
    #[error("scrape {0} cannot be 0")]
    Zero(&'static str),
    #[error("scrape timeout cannot be greater than scrape interval ({timeout} > {interval})")]
    Timeout { timeout: Period, interval: Period },
    #[error("{0:?} is not a URL")]
    Url(String),
}

/// What relabelling made of something discovered.
#[derive(Debug)]
pub enum Outcome {
    Target(Box<Target>),
    /// Relabelling dropped it; these are its labels before.
    Dropped(Labels),
}

impl Target {
    /// Builds a target from the labels that discovery gave it and its group.
    pub fn build(
        job: &Job,
        own: &BTreeMap<String, String>,
        group: &BTreeMap<String, String>,
    ) -> Result<Outcome, TargetError> {
        let discovered = discovered(job, own, group);
        let mut labels = discovered.clone();
        if !relabel::process(&job.relabel, &mut labels) {
            return Ok(Outcome::Dropped(discovered.build()));
        }
        let address = labels.get(ADDRESS).ok_or(TargetError::NoAddress)?.to_owned();
        check_address(&address).map_err(|error| TargetError::Address(error.to_string()))?;
        let interval = period(&labels, INTERVAL, "interval")?;
        let timeout = period(&labels, TIMEOUT, "timeout")?;
        if timeout > interval {
            return Err(TargetError::Timeout { timeout, interval });
        }
        labels.retain(|name, _| !name.starts_with(META));
        if labels.get("instance").is_none() {
            labels.set("instance", &address);
        }
        let whole = labels.build();
        let url = url(job, &whole)?;
        let hash = whole.stable_hash() ^ xxh3_64(url.to_string().as_bytes()).rotate_left(1);
        Ok(Outcome::Target(Box::new(Self {
            discovered: discovered.build(),
            labels: whole.filter(|name| !name.starts_with("__")),
            url,
            interval,
            timeout,
            reading: exposition::Options {
                created_as_series: job.reading.created_as_series,
                ignore_native_histograms: whole.get(NATIVE) == Some("false"),
                keep_classic_histograms: whole.get(CLASSIC) == Some("true"),
                convert_classic_histograms: whole.get(CONVERT) == Some("true"),
            },
            hash,
            last: Mutex::default(),
            families: Mutex::default(),
        })))
    }

    /// How the last scrape went.
    pub fn last(&self) -> LastScrape {
        self.last.lock().clone()
    }

    pub(super) fn report(&self, last: LastScrape) {
        *self.last.lock() = last;
    }

    /// What the target last said of its metric families, by name.
    pub fn metadata(&self) -> Vec<(Arc<str>, Metadata)> {
        self.families.lock().iter().map(|(family, metadata)| (Arc::clone(family), metadata.clone())).collect()
    }

    /// Changes what is known of a family; gives it back where that is news.
    pub(super) fn describe(&self, family: &str, change: impl FnOnce(&mut Metadata)) -> Option<Metadata> {
        let mut families = self.families.lock();
        if let Some(known) = families.get_mut(family) {
            let before = known.clone();
            change(known);
            return (*known != before).then(|| known.clone());
        }
        if families.len() >= FAMILIES_MAX {
            return None;
        }
        let mut metadata = Metadata::default();
        change(&mut metadata);
        families.insert(Arc::from(family), metadata.clone());
        Some(metadata)
    }
}

/// The labels before relabelling: the target's own, its group's, and the job's where neither says otherwise.
fn discovered(job: &Job, own: &BTreeMap<String, String>, group: &BTreeMap<String, String>) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    for (name, value) in group.iter().chain(own) {
        labels.set(name, value);
    }
    let yes_or_no = |yes: bool| if yes { "true" } else { "false" };
    for (name, value) in [
        ("job", job.name.as_str()),
        (INTERVAL, &job.interval.to_string()),
        (TIMEOUT, &job.timeout.to_string()),
        (METRICS_PATH, &job.metrics_path),
        (SCHEME, &job.scheme),
        (CONVERT, yes_or_no(job.reading.convert_classic_histograms)),
        (CLASSIC, yes_or_no(job.reading.keep_classic_histograms)),
        (NATIVE, yes_or_no(!job.reading.ignore_native_histograms)),
    ] {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
    for (name, values) in &job.params {
        let label = format!("{PARAM}{name}");
        if let Some(value) = values.first()
            && labels.get(&label).is_none()
        {
            labels.set(&label, value);
        }
    }
    labels
}

fn period(labels: &LabelsBuilder, name: &str, what: &'static str) -> Result<Period, TargetError> {
    let text = labels.get(name).unwrap_or_default();
    let period: Period = text
        .parse()
        .map_err(|error: crate::base::units::UnitError| TargetError::Period { what, error: error.to_string() })?;
    if period.is_zero() { Err(TargetError::Zero(what)) } else { Ok(period) }
}

fn url(job: &Job, labels: &Labels) -> Result<Uri, TargetError> {
    let mut params = job.params.clone();
    for (name, value) in labels.iter() {
        if let Some(param) = name.strip_prefix(PARAM) {
            let values = params.entry(param.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => value.clone_into(first),
                None => values.push(value.to_owned()),
            }
        }
    }
    let get = |name| labels.get(name).unwrap_or_default();
    let path = get(METRICS_PATH);
    let slash = if path.starts_with('/') || path.is_empty() { "" } else { "/" };
    let pairs: Vec<String> = params
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{}={}", encode(name), encode(value))))
        .collect();
    let question = if pairs.is_empty() { "" } else { "?" };
    let text = format!("{}://{}{slash}{path}{question}{}", get(SCHEME), get(ADDRESS), pairs.join("&"));
    text.parse().map_err(|_| TargetError::Url(text))
}

/// Percent-encoding for a query, as Go's `url.QueryEscape`.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// All targets of one job, and what was dropped.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) targets: Vec<Target>,
    pub(super) dropped: Vec<Labels>,
    pub(super) dropped_total: usize,
    pub(super) errors: Vec<String>,
}

/// Builds the targets of all groups; each once, however often it was discovered.
pub(super) fn build_all(job: &Job, groups: &[Group]) -> Built {
    let mut built = Built::default();
    let mut seen = std::collections::HashSet::new();
    for group in groups {
        for own in &group.targets {
            match Target::build(job, own, &group.labels) {
                Ok(Outcome::Target(target)) => {
                    if seen.insert(target.hash) {
                        built.targets.push(*target);
                    }
                }
                Ok(Outcome::Dropped(labels)) => {
                    built.dropped_total += 1;
                    if job.dropped_max == 0 || (built.dropped.len() as u64) < job.dropped_max {
                        built.dropped.push(labels);
                    }
                }
                Err(error) => built.errors.push(error.to_string()),
            }
        }
    }
    built
}
