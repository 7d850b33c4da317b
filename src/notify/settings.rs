//! What delivery does beyond Alertmanager's file: maintenance, escalation, delayed and digest delivery, flapping,
//! incidents. These settings stand in ours, under `alerting`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::config::SectionError;
use super::config::receivers::Receiver;
use super::matchers;
use crate::base::units::Period;
use crate::model::calendar::Calendar;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;

/// Our settings of alert delivery.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// An alertmanager.yml, relative to the file that names it. The flag `--alertmanager.config-file` goes before.
    pub config_file: Option<PathBuf>,
    /// How long an acknowledgement holds whose sender does not say.
    pub acknowledge_for: Period,
    /// Windows in which alerts are silent.
    pub maintenance: Calendar,
    pub escalations: Vec<Escalation>,
    pub delivery: Vec<Delivery>,
    pub flapping: Flapping,
    pub incidents: Incidents,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config_file: None,
            acknowledge_for: Period::from_secs(4 * 60 * 60),
            maintenance: Calendar::default(),
            escalations: Vec::new(),
            delivery: Vec::new(),
            flapping: Flapping::default(),
            incidents: Incidents::default(),
        }
    }
}

/// Who is told, step by step, while nobody acknowledges.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Escalation {
    pub name: String,
    /// Which alerts, in Alertmanager's syntax; none means all.
    pub matchers: Vec<String>,
    pub steps: Vec<Step>,
    /// The last step comes again after this long; nothing means once.
    pub repeat: Option<Period>,
}

/// One step of an escalation.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// Since the alert fired.
    pub after: Period,
    /// A receiver of the alertmanager.yml.
    pub receiver: String,
}

/// When one receiver is told.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    pub receiver: String,
    /// Only of alerts that have fired for this long.
    pub delay: Period,
    /// Everything in one message, this often; nothing means at once.
    pub digest: Option<Period>,
}

/// When an alert counts as flapping.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flapping {
    /// So many times it fired or was resolved …
    pub changes: usize,
    /// … within this time.
    pub window: Period,
    /// Receivers are not told of a flapping alert's resolutions until it was steady for this long; 0 tells them all.
    pub hold: Period,
}

impl Default for Flapping {
    fn default() -> Self {
        Self { changes: 6, window: Period::from_secs(10 * 60), hold: Period::ZERO }
    }
}

/// Which alerts make one incident.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Incidents {
    /// Alerts that fire within this time of the last change of an incident …
    pub window: Period,
    /// … join it if they share the value of one of these labels, or if their services call each other.
    pub labels: Vec<String>,
}

impl Default for Incidents {
    fn default() -> Self {
        let labels = ["service", "service_name", "job", "cluster", "namespace", "node", "node_id", "instance", "vm_id"];
        Self { window: Period::from_secs(5 * 60), labels: labels.map(str::to_owned).to_vec() }
    }
}

/// A policy that was checked.
#[derive(Clone, Debug)]
pub struct Policy {
    pub escalation: Escalation,
    pub matchers: Vec<Matcher>,
}

/// A maintenance window's alerts, by its position in the calendar.
#[derive(Clone, Debug)]
pub struct Checked {
    pub settings: Settings,
    pub policies: Vec<Policy>,
    windows: Vec<Vec<Matcher>>,
}

impl Checked {
    /// Checks that matchers can be read and receivers exist.
    pub fn build(settings: &Settings, receivers: &[Receiver]) -> Result<Self, SectionError> {
        let fail = |message: String| Err(SectionError(message));
        let knows = |name: &str| receivers.iter().any(|receiver| receiver.name == name);
        let mut policies: Vec<Policy> = Vec::new();
        for escalation in &settings.escalations {
            let name = &escalation.name;
            if policies.iter().any(|known| known.escalation.name == *name) {
                return fail(format!("escalation {name:?} is there twice"));
            }
            if escalation.steps.is_empty() {
                return fail(format!("escalation {name:?} has no steps"));
            }
            for (step, next) in escalation.steps.iter().zip(&escalation.steps[1..]) {
                if next.after < step.after {
                    return fail(format!("escalation {name:?}: steps must be in order of their time"));
                }
            }
            if let Some(step) = escalation.steps.iter().find(|step| !knows(&step.receiver)) {
                return fail(format!("escalation {name:?}: undefined receiver {:?}", step.receiver));
            }
            if escalation.repeat.is_some_and(Period::is_zero) {
                return fail(format!("escalation {name:?}: repeat cannot be zero"));
            }
            policies.push(Policy { escalation: escalation.clone(), matchers: read(&escalation.matchers)? });
        }
        for delivery in &settings.delivery {
            if !knows(&delivery.receiver) {
                return fail(format!("delivery: undefined receiver {:?}", delivery.receiver));
            }
            if delivery.digest.is_some_and(Period::is_zero) {
                return fail(format!("delivery of {:?}: digest cannot be zero", delivery.receiver));
            }
        }
        let windows = settings.maintenance.windows.iter().map(|window| read(&window.matchers));
        Ok(Self { settings: settings.clone(), policies, windows: windows.collect::<Result<_, _>>()? })
    }

    pub fn delivery(&self, receiver: &str) -> Option<&Delivery> {
        self.settings.delivery.iter().find(|delivery| delivery.receiver == receiver)
    }

    /// Names of the windows that hold alerts with these labels back at a time.
    pub fn muted_by(&self, labels: &Labels, now: i64) -> Vec<String> {
        let windows = self.settings.maintenance.windows.iter().zip(&self.windows);
        let covers = windows.filter(|(window, all)| matchers::all_match(all, labels) && window.contains(now));
        covers.map(|(window, _)| window.name.clone()).collect()
    }
}

fn read(lists: &[String]) -> Result<Vec<Matcher>, SectionError> {
    let mut all = Vec::new();
    for list in lists {
        all.extend(matchers::parse(list).map_err(|error| SectionError(error.to_string()))?);
    }
    Ok(all)
}
