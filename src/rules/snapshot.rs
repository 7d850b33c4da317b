//! The alerts of all groups, kept over a restart.
//!
//! One JSON file, replaced whole. Restoring puts every alert back as it was, except for the time during which nobody
//! evaluated, where that is longer than selectors look back: a pending alert must hold for what remained of its `for`.
//! After [`OUTAGE_MAX`] nothing is restored, because what held an hour ago says nothing about now.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::clock::Millis;
use crate::base::disk::{Disk, sealed};
use crate::model::labels::Labels;
use crate::rules::alert::{Alert, AlertState};
use crate::rules::group::Group;

/// Version of the file's form.
const VERSION: u32 = 2;

/// Longest outage over which alerts are restored (Prometheus: `--rules.alert.for-outage-tolerance`).
const OUTAGE_MAX: Millis = 3_600_000;

/// Outages up to this change nothing: it is how far back selectors look.
const BRIDGED_MAX: Millis = 300_000;

/// Largest file that is read: some hundred thousand alerts.
const BYTES_MAX: u64 = 512 << 20;

/// The file in its folder.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    disk: Disk,
    path: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    groups: Vec<GroupState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GroupState {
    file: String,
    name: String,
    /// What the last iteration evaluated for.
    time: Millis,
    rules: Vec<RuleAlerts>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RuleAlerts {
    name: String,
    labels: Vec<(String, String)>,
    alerts: Vec<AlertText>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AlertText {
    state: String,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    /// The bits of the float: JSON has no NaN.
    value_bits: u64,
    active_at: Millis,
    fired_at: Option<Millis>,
    resolved_at: Option<Millis>,
    last_sent_at: Option<Millis>,
    valid_until: Millis,
    keep_firing_since: Option<Millis>,
}

impl SnapshotFile {
    /// Makes the folder if need be.
    pub fn open(disk: Disk, folder: &Path) -> io::Result<Self> {
        disk.create_dir_all(folder)?;
        Ok(Self { disk, path: folder.join("alerts.json") })
    }

    /// What was saved last; nothing where there is no file. A file that cannot be read is an error, which the caller
    /// reports: alerts then start anew.
    pub fn load(&self) -> io::Result<Snapshot> {
        let read = match self.disk.read(&self.path, BYTES_MAX) {
            Ok(bytes) => parse(&bytes).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Snapshot::default()),
            Err(error) => Err(error),
        };
        read.inspect_err(|_| {
            crate::telemetry::damage::note("rules/alerts.json");
            match self.disk.set_aside(&self.path) {
                Ok(aside) => tracing::warn!(aside = %aside.display(), "damaged alerts were set aside"),
                Err(error) => tracing::warn!(%error, "damaged alerts could not be set aside"),
            }
        })
    }

    pub fn save(&self, snapshot: &Snapshot) -> io::Result<()> {
        self.disk.publish(&self.path, &sealed::seal(&serde_json::to_vec(snapshot)?))
    }
}

fn parse(bytes: &[u8]) -> Result<Snapshot, String> {
    let snapshot: Snapshot = serde_json::from_slice(sealed::unseal(bytes)?).map_err(|error| error.to_string())?;
    match snapshot.version {
        1 | VERSION => Ok(snapshot),
        other => Err(format!("version {other} of alerts.json is not known")),
    }
}

/// Checks the bytes of such a file; answers what it holds.
///
/// # Errors
/// Says what is damaged.
pub fn verify(bytes: &[u8]) -> Result<String, String> {
    let snapshot = parse(bytes)?;
    let alerts = snapshot.groups.iter().flat_map(|group| &group.rules).map(|rule| rule.alerts.len()).sum::<usize>();
    Ok(format!("{} groups, {alerts} alerts", snapshot.groups.len()))
}

impl Snapshot {
    /// The alerts of these groups as they are now.
    pub fn of<'a>(groups: impl Iterator<Item = &'a Group>) -> Self {
        let groups = groups.map(|group| GroupState {
            file: group.spec.file.to_string(),
            name: group.spec.name.to_string(),
            time: group.last.lock().time,
            rules: group
                .rules()
                .filter(|(_, state)| state.alerts.iter().next().is_some())
                .map(|(rule, state)| RuleAlerts {
                    name: rule.name.to_string(),
                    labels: rule.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
                    alerts: state.alerts.iter().map(AlertText::of).collect(),
                })
                .collect(),
        });
        Self { version: VERSION, groups: groups.collect() }
    }

    /// Puts alerts back into a group that starts now, once. False where the last run did not know the group.
    pub fn restore(&mut self, group: &Group, now: Millis) -> bool {
        let same = |saved: &&GroupState| *saved.file == *group.spec.file && *saved.name == *group.spec.name;
        let Some(at) = self.groups.iter().position(|saved| same(&saved)) else { return false };
        let saved = self.groups.swap_remove(at);
        let outage = now - saved.time;
        if !(0..=OUTAGE_MAX).contains(&outage) {
            return true;
        }
        for (index, rule) in group.spec.rules.iter().enumerate() {
            let labels = |saved: &&RuleAlerts| {
                *saved.name == *rule.name
                    && saved.labels.len() == rule.labels.len()
                    && saved
                        .labels
                        .iter()
                        .zip(&rule.labels)
                        .all(|(saved, own)| *saved.0 == *own.0 && *saved.1 == *own.1)
            };
            let Some(saved) = saved.rules.iter().find(labels) else { continue };
            group.with_state(index, |state| {
                for alert in saved.alerts.iter().filter_map(AlertText::restored) {
                    state.alerts.restore(after_outage(alert, outage));
                }
            });
        }
        true
    }
}

/// The time during which nobody looked does not count as holding, unless it was so short that an evaluation in it would
/// have seen the last samples before it.
fn after_outage(mut alert: Alert, outage: Millis) -> Alert {
    if alert.state == AlertState::Pending && outage > BRIDGED_MAX {
        alert.active_at += outage;
    }
    alert
}

impl AlertText {
    fn of(alert: &Alert) -> Self {
        let pairs = |labels: &Labels| labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self {
            state: alert.state.name().to_owned(),
            labels: pairs(&alert.labels),
            annotations: pairs(&alert.annotations),
            value_bits: alert.value.to_bits(),
            active_at: alert.active_at,
            fired_at: alert.fired_at,
            resolved_at: alert.resolved_at,
            last_sent_at: alert.last_sent_at,
            valid_until: alert.valid_until,
            keep_firing_since: alert.keep_firing_since,
        }
    }

    fn restored(&self) -> Option<Alert> {
        let states = [AlertState::Inactive, AlertState::Pending, AlertState::Firing];
        Some(Alert {
            state: states.into_iter().find(|state| state.name() == self.state)?,
            labels: Labels::from_pairs(self.labels.iter().map(|(name, value)| (name, value))),
            annotations: Labels::from_pairs(self.annotations.iter().map(|(name, value)| (name, value))),
            value: f64::from_bits(self.value_bits),
            active_at: self.active_at,
            fired_at: self.fired_at,
            resolved_at: self.resolved_at,
            last_sent_at: self.last_sent_at,
            valid_until: self.valid_until,
            keep_firing_since: self.keep_firing_since,
        })
    }
}
