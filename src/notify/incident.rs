//! Incidents: alerts that fire at about the same time and have something to do with each other, as one thing.
//!
//! An alert joins an incident whose last change is not long ago, if both share the value of a label that says where
//! they are from, or if their services call each other as far as traces have shown. An incident ends with its last
//! alert. Everything follows from the events of the history, so it is known again after a restart.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::alert::Fingerprint;
use super::history::{Event, Kind};
use super::settings::Incidents as Settings;
use crate::base::clock::Millis;
use crate::model::labels::Labels;

/// Incidents that are remembered; the oldest go first.
pub const INCIDENTS_MAX: usize = 1_000;
/// Events of one incident that are remembered for its timeline.
const EVENTS_MAX: usize = 1_000;
/// Alerts that one incident lists.
const ALERTS_MAX: usize = 10_000;
/// Labels that name a service, in the order of their word.
const SERVICE_LABELS: [&str; 3] = ["service", "service_name", "job"];

/// Alerts that belong together.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Counts up from 1.
    pub id: u64,
    pub started: Millis,
    /// Nothing while an alert of it fires.
    pub ended: Option<Millis>,
    pub last_change: Millis,
    /// Labels of every alert that fired, by fingerprint, and whether it fires now.
    pub alerts: BTreeMap<Fingerprint, (Labels, bool)>,
    /// What happened, in order.
    pub timeline: Vec<Event>,
    /// Values of the labels that say where alerts are from, as `name=value`.
    places: HashSet<String>,
    services: BTreeSet<String>,
}

/// All incidents that are remembered.
#[derive(Debug, Default)]
pub struct Incidents {
    all: VecDeque<Incident>,
    /// The incident that each alert was last part of.
    of: HashMap<Fingerprint, u64>,
    last_id: u64,
    /// Services that call each other, both ways.
    calls: HashMap<String, BTreeSet<String>>,
}

impl Incidents {
    /// Forgets all incidents, not who calls whom.
    pub fn clear(&mut self) {
        *self = Self { calls: std::mem::take(&mut self.calls), ..Self::default() };
    }

    /// Says which services call which, as pairs of caller and called.
    pub fn set_calls(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        self.calls.clear();
        for (from, to) in pairs {
            self.calls.entry(from.clone()).or_default().insert(to.clone());
            self.calls.entry(to).or_default().insert(from);
        }
    }

    /// Takes what happened to an alert.
    pub fn take(&mut self, event: &Event, settings: &Settings) {
        let id = match event.kind {
            Kind::Fired => self.join(event, settings),
            _ => match self.of.get(&event.fingerprint) {
                Some(id) => *id,
                None => return,
            },
        };
        let Some(incident) = self.get_mut(id) else { return };
        incident.last_change = incident.last_change.max(event.time);
        match event.kind {
            Kind::Fired if incident.alerts.len() < ALERTS_MAX => {
                incident.alerts.insert(event.fingerprint, (event.labels.clone(), true));
                incident.ended = None;
            }
            Kind::Resolved => {
                if let Some(alert) = incident.alerts.get_mut(&event.fingerprint) {
                    alert.1 = false;
                }
                if incident.alerts.values().all(|(_, is_firing)| !is_firing) {
                    incident.ended = Some(event.time);
                }
            }
            _ => {}
        }
        if incident.timeline.len() < EVENTS_MAX {
            incident.timeline.push(event.clone());
        }
    }

    /// The incident that an alert belongs to, which may be a new one.
    fn join(&mut self, event: &Event, settings: &Settings) -> u64 {
        let places: HashSet<String> = settings
            .labels
            .iter()
            .filter_map(|name| event.labels.get(name).map(|value| format!("{name}={value}")))
            .collect();
        let service = SERVICE_LABELS.iter().find_map(|name| event.labels.get(name)).map(str::to_owned);
        let neighbours = service.as_ref().and_then(|service| self.calls.get(service));
        let window = settings.window.as_millis();
        let fits = |incident: &&Incident| {
            event.time.saturating_sub(incident.last_change) <= window
                && (incident.alerts.contains_key(&event.fingerprint)
                    || !incident.places.is_disjoint(&places)
                    || neighbours.is_some_and(|neighbours| !incident.services.is_disjoint(neighbours)))
        };
        let found = self.all.iter().rev().find(fits).map(|incident| incident.id);
        let id = found.unwrap_or_else(|| self.open(event.time));
        self.of.insert(event.fingerprint, id);
        if let Some(incident) = self.get_mut(id) {
            incident.places.extend(places);
            incident.services.extend(service);
        }
        id
    }

    fn open(&mut self, time: Millis) -> u64 {
        self.last_id += 1;
        if self.all.len() >= INCIDENTS_MAX
            && let Some(oldest) = self.all.pop_front()
        {
            self.of.retain(|_, id| *id != oldest.id);
        }
        self.all.push_back(Incident {
            id: self.last_id,
            started: time,
            ended: None,
            last_change: time,
            alerts: BTreeMap::new(),
            timeline: Vec::new(),
            places: HashSet::new(),
            services: BTreeSet::new(),
        });
        self.last_id
    }

    /// Ids count up, so the position follows from the first.
    fn position(&self, id: u64) -> Option<usize> {
        let first = self.all.front()?.id;
        usize::try_from(id.checked_sub(first)?).ok().filter(|at| *at < self.all.len())
    }

    fn get_mut(&mut self, id: u64) -> Option<&mut Incident> {
        let at = self.position(id)?;
        self.all.get_mut(at)
    }

    pub fn get(&self, id: u64) -> Option<&Incident> {
        self.all.get(self.position(id)?)
    }

    /// The incident that an alert is part of.
    pub fn of(&self, fingerprint: Fingerprint) -> Option<&Incident> {
        self.get(*self.of.get(&fingerprint)?)
    }

    /// The newest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Incident> {
        self.all.iter().rev()
    }
}

impl Incident {
    pub fn firing(&self) -> usize {
        self.alerts.values().filter(|(_, is_firing)| *is_firing).count()
    }

    /// Labels that all its alerts share.
    pub fn shared(&self) -> Labels {
        let mut all = self.alerts.values().map(|(labels, _)| labels);
        let Some(first) = all.next() else { return Labels::empty() };
        let mut shared = first.to_builder();
        for labels in all {
            shared.retain(|name, value| labels.get(name) == Some(value));
        }
        shared.build()
    }

    /// What it is about, in a line: the alerts by name, the most frequent first.
    pub fn title(&self) -> String {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (labels, _) in self.alerts.values() {
            *names.entry(labels.get("alertname").unwrap_or("")).or_default() += 1;
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown = names.iter().take(3).map(|(name, count)| match count {
            1 => (*name).to_owned(),
            count => format!("{name} ×{count}"),
        });
        let mut title = shown.collect::<Vec<_>>().join(", ");
        if names.len() > 3 {
            title.push_str(&format!(" and {} more", names.len() - 3));
        }
        title
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::alert::Fingerprint;

    fn event(kind: Kind, time: Millis, pairs: &[(&str, &str)]) -> Event {
        let labels = Labels::from_pairs(pairs.iter().copied());
        Event::of(kind, Fingerprint::of(&labels), labels, time)
    }

    #[test]
    fn related_alerts_are_one_incident_with_a_timeline() {
        let settings = Settings::default();
        let mut incidents = Incidents::default();
        incidents.set_calls([("web".to_owned(), "db".to_owned())]);
        let slow = [("alertname", "Slow"), ("service", "web")];
        let down = [("alertname", "Down"), ("service", "db")];
        let other = [("alertname", "Disk"), ("service", "backup")];
        incidents.take(&event(Kind::Fired, 0, &down), &settings);
        incidents.take(&event(Kind::Fired, 60_000, &slow), &settings);
        incidents.take(&event(Kind::Fired, 61_000, &other), &settings);
        incidents.take(&event(Kind::Acknowledged, 70_000, &down), &settings);
        incidents.take(&event(Kind::Resolved, 80_000, &down), &settings);
        let listed: Vec<_> =
            incidents.iter().map(|one| (one.id, one.title(), one.firing(), one.timeline.len())).collect();
        assert_eq!(listed, [(2, "Disk".to_owned(), 1, 1), (1, "Down, Slow".to_owned(), 1, 4)]);
        incidents.take(&event(Kind::Resolved, 90_000, &slow), &settings);
        assert_eq!(incidents.get(1).unwrap().ended, Some(90_000));
        assert_eq!(incidents.get(1).unwrap().shared(), Labels::empty());
        // Long after, the same alert is a new incident.
        incidents.take(&event(Kind::Fired, 9_000_000, &slow), &settings);
        assert_eq!(incidents.of(event(Kind::Fired, 0, &slow).fingerprint).unwrap().id, 3);
    }
}
