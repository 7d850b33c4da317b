//! Groups of alerts and when they are due: the heart of delivery, as plain state that is told the time.
//!
//! [`Dispatcher::due`] gives the groups whose time has come, each with what every receiver of it would be told. The
//! caller sends, then reports back with [`Dispatcher::delivered`]; only then is the log written, so a crash in between
//! sends twice rather than never.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::acknowledge::Acknowledgements;
use super::alert::{Alert, Fingerprint};
use super::config::{Config, SectionError};
use super::inhibit::Inhibitor;
use super::log::{Log, Reason, Rules, State};
use super::route::Route;
use super::silence::Silences;
use crate::base::clock::Millis;
use crate::model::calendar::interval::Interval;
use crate::model::labels::Labels;

/// More alerts than this are refused: the oldest stay, the newcomer is counted.
pub const ALERTS_MAX: usize = 500_000;

/// Everything that delivery remembers.
pub struct Dispatcher {
    routing: Arc<Routing>,
    alerts: HashMap<Fingerprint, Alert>,
    groups: HashMap<GroupId, Group>,
    inhibitor: Inhibitor,
    pub silences: Silences,
    pub log: Log,
    pub acknowledgements: Acknowledgements,
    /// Alerts that were refused because of [`ALERTS_MAX`].
    pub refused: u64,
}

/// What comes from the configuration file.
pub struct Routing {
    pub config: Config,
    pub root: Route,
    intervals: HashMap<String, Vec<Interval>>,
}

/// A node of the tree (by its id) and the group labels.
type GroupId = (String, Labels);

#[derive(Debug)]
struct Group {
    alerts: BTreeMap<Fingerprint, Alert>,
    /// When it is looked at next.
    next: Millis,
    /// Whether it was looked at before.
    is_old: bool,
    /// Receivers that were handed a notification and have not answered.
    in_flight: usize,
}

/// What one receiver is to be told about one group.
#[derive(Clone, Debug)]
pub struct Notification {
    pub receiver: String,
    /// Which place of the receiver, counted over all kinds.
    pub integration: usize,
    pub group_key: String,
    pub group_labels: Labels,
    pub route_labels: BTreeMap<String, String>,
    pub route_id: String,
    /// In the order of notifications; the resolved ones only where the receiver wants them.
    pub alerts: Vec<Alert>,
    pub reason: Reason,
    /// It must be sent by then; the group is looked at again.
    pub timeout: Duration,
    /// Nothing to send, but the log must learn of the state: all resolved, and the receiver does not want to hear it.
    pub is_silent: bool,
    state: State,
}

/// Why an alert is not notified now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muting {
    pub silenced_by: Vec<String>,
    pub inhibited_by: Vec<Fingerprint>,
}

impl Routing {
    /// Builds the tree and checks that everything it names exists.
    pub fn build(config: Config) -> Result<Self, SectionError> {
        config.check()?;
        let root = Route::build(&config.route)?;
        let intervals = config.intervals().map(|named| (named.name.clone(), named.time_intervals.clone())).collect();
        Ok(Self { config, root, intervals })
    }

    fn any_contains(&self, names: &[String], now: Millis) -> bool {
        let intervals = names.iter().filter_map(|name| self.intervals.get(name));
        intervals.flatten().any(|interval| interval.contains(now))
    }

    /// Whether the times of a route let it notify now.
    pub fn is_open(&self, route: &Route, now: Millis) -> bool {
        let is_active = route.active_time_intervals.is_empty() || self.any_contains(&route.active_time_intervals, now);
        is_active && !self.any_contains(&route.mute_time_intervals, now)
    }
}

impl Dispatcher {
    pub fn new(routing: Routing) -> Result<Self, SectionError> {
        let inhibitor = Inhibitor::build(&routing.config.inhibit_rules)?;
        Ok(Self {
            routing: Arc::new(routing),
            alerts: HashMap::new(),
            groups: HashMap::new(),
            inhibitor,
            silences: Silences::default(),
            log: Log::default(),
            acknowledgements: Acknowledgements::default(),
            refused: 0,
        })
    }

    /// Takes a new configuration; alerts are grouped anew, and the log keeps what was told.
    pub fn reload(&mut self, routing: Routing, now: Millis) -> Result<(), SectionError> {
        self.inhibitor = Inhibitor::build(&routing.config.inhibit_rules)?;
        self.routing = Arc::new(routing);
        self.groups.clear();
        let alerts: Vec<_> = self.alerts.values().cloned().collect();
        for alert in alerts {
            self.inhibitor.update(&alert);
            self.group(&alert, now);
        }
        Ok(())
    }

    pub fn routing(&self) -> &Arc<Routing> {
        &self.routing
    }

    /// Takes a report of an alert, merged with what is known of it.
    pub fn put(&mut self, alert: Alert, now: Millis) {
        let fingerprint = alert.fingerprint();
        let alert = match self.alerts.remove(&fingerprint) {
            Some(old) if alert.overlaps(&old) => old.merge(alert, now),
            _ => alert,
        };
        if self.alerts.len() >= ALERTS_MAX {
            self.refused += 1;
            return;
        }
        self.inhibitor.update(&alert);
        self.group(&alert, now);
        self.alerts.insert(fingerprint, alert);
    }

    fn group(&mut self, alert: &Alert, now: Millis) {
        for route in self.routing.root.matching(&alert.labels) {
            let id = (route.id.clone(), route.group_by.of(&alert.labels));
            let group = self.groups.entry(id).or_insert_with(|| {
                // An alert that has waited long enough elsewhere goes out at once.
                let wait = millis(route.group_wait);
                let next = if alert.starts_at.saturating_add(wait) < now { now } else { now.saturating_add(wait) };
                Group { alerts: BTreeMap::new(), next, is_old: false, in_flight: 0 }
            });
            if !group.is_old && alert.starts_at.saturating_add(millis(route.group_wait)) < now {
                group.next = group.next.min(now);
            }
            group.alerts.insert(alert.fingerprint(), alert.clone());
        }
    }

    /// When the next group is due; `None` while there is none.
    pub fn next_due(&self) -> Option<Millis> {
        self.groups.values().map(|group| group.next).min()
    }

    /// What has to be sent now. Groups are put forward by their interval.
    pub fn due(&mut self, now: Millis) -> Vec<Notification> {
        let routing = Arc::clone(&self.routing);
        let mut routes = HashMap::new();
        routing.root.walk(&mut |route| {
            routes.insert(route.id.as_str(), route);
        });
        let mut notifications = Vec::new();
        let due: Vec<_> = self.groups.iter().filter(|(_, group)| group.next <= now).map(|(id, _)| id.clone()).collect();
        for id in due {
            let Some(route) = routes.get(id.0.as_str()) else { continue };
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.next = now.saturating_add(millis(route.group_interval).max(1));
            group.is_old = true;
            let planned = self.plan(&id, route, now);
            if planned.is_empty() {
                self.drop_resolved(&id, now);
            } else if let Some(group) = self.groups.get_mut(&id) {
                group.in_flight = planned.len();
            }
            notifications.extend(planned);
        }
        notifications
    }

    /// What each place of the group's receiver would be told.
    fn plan(&self, id: &GroupId, route: &Route, now: Millis) -> Vec<Notification> {
        let Some(group) = self.groups.get(id) else { return Vec::new() };
        if !self.routing.is_open(route, now) {
            return Vec::new();
        }
        let mut alerts: Vec<Alert> = group
            .alerts
            .values()
            .filter(|alert| self.muting(&alert.labels, now) == Muting::default())
            .cloned()
            .collect();
        alerts.sort_by(Alert::notification_order);
        let (resolved, firing): (Vec<_>, Vec<_>) = alerts.iter().partition(|alert| alert.is_resolved_at(now));
        let set = |alerts: &[&Alert]| alerts.iter().map(|alert| alert.fingerprint()).collect();
        let state = State { firing: set(&firing), resolved: set(&resolved) };
        let Some(receiver) = self.routing.config.receivers.iter().find(|receiver| receiver.name == route.receiver)
        else {
            return Vec::new();
        };
        let group_key = format!("{}:{}", route.key, group_labels_text(&id.1));
        let plan = |(integration, place): (usize, super::config::receivers::Integration<'_>)| {
            let rules = Rules { send_resolved: place.send_resolved(), repeat_interval: route.repeat_interval };
            let log_key = log_key(&receiver.name, integration);
            let reason = self.log.reason((&group_key, &log_key), &state, rules, now)?;
            // Who has acknowledged everything that fires need not be reminded.
            let is_seen = |fingerprint: &Fingerprint| self.acknowledgements.get(*fingerprint, now).is_some();
            if reason == Reason::Repeat && state.firing.iter().all(is_seen) {
                return None;
            }
            let alerts: Vec<_> =
                alerts.iter().filter(|alert| rules.send_resolved || !alert.is_resolved_at(now)).cloned().collect();
            Some(Notification {
                receiver: receiver.name.clone(),
                integration,
                group_key: group_key.clone(),
                group_labels: id.1.clone(),
                route_labels: route.labels.clone(),
                route_id: id.0.clone(),
                is_silent: alerts.is_empty(),
                alerts,
                reason,
                timeout: route.group_interval,
                state: state.clone(),
            })
        };
        receiver.integrations().into_iter().enumerate().filter_map(plan).collect()
    }

    /// Reports what became of a notification. A success is logged, and what it said of resolved alerts is forgotten
    /// once every receiver of the group has been told.
    pub fn delivered(&mut self, notification: &Notification, is_success: bool, now: Millis) {
        if is_success {
            let key = log_key(&notification.receiver, notification.integration);
            self.log.record(&notification.group_key, &key, notification.state.clone(), now);
        }
        let id = (notification.route_id.clone(), notification.group_labels.clone());
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.in_flight = group.in_flight.saturating_sub(1);
        if !is_success {
            return;
        }
        if group.in_flight == 0 {
            let told = &notification.state.resolved;
            group.alerts.retain(|fingerprint, alert| !(told.contains(fingerprint) && alert.is_resolved_at(now)));
            if group.alerts.is_empty() {
                self.groups.remove(&id);
            }
        }
    }

    /// Forgets resolved alerts of a group about which nobody needs to be told.
    fn drop_resolved(&mut self, id: &GroupId, now: Millis) {
        if let Some(group) = self.groups.get_mut(id) {
            group.alerts.retain(|_, alert| !alert.is_resolved_at(now));
            if group.alerts.is_empty() {
                self.groups.remove(id);
            }
        }
    }

    /// Why an alert with these labels would not be notified now.
    pub fn muting(&self, labels: &Labels, now: Millis) -> Muting {
        Muting {
            silenced_by: self.silences.silenced_by(labels, now),
            inhibited_by: self.inhibitor.inhibited_by(labels, now).into_iter().collect(),
        }
    }

    /// All alerts that are known.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// Alerts that are known and not resolved.
    pub fn active(&self, now: Millis) -> impl Iterator<Item = &Alert> {
        self.alerts.values().filter(move |alert| !alert.is_resolved_at(now))
    }

    /// Groups with their route, for `/api/v2/alerts/groups`.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Labels, Vec<&Alert>)> {
        self.groups.iter().map(|((route, labels), group)| (route.as_str(), labels, group.alerts.values().collect()))
    }

    /// Forgets what is over: resolved alerts that are in no group, ended sources, old log entries and silences.
    pub fn maintain(&mut self, now: Millis, retention: Duration) {
        let groups = &self.groups;
        self.alerts.retain(|fingerprint, alert| {
            !alert.is_resolved_at(now) || groups.values().any(|group| group.alerts.contains_key(fingerprint))
        });
        let alerts = &self.alerts;
        self.acknowledgements.retain(now, |fingerprint| alerts.contains_key(&fingerprint));
        self.inhibitor.forget_resolved(now);
        self.silences.forget_expired(now, retention);
        self.log.forget_before(now.saturating_sub(millis(retention)));
    }
}

/// The receiver and the place in it: what the log knows a receiver by.
fn log_key(receiver: &str, integration: usize) -> String {
    format!("{receiver}/{integration}")
}

/// Group labels as Go prints a label set: `{alertname="Down", job="vm"}`.
fn group_labels_text(labels: &Labels) -> String {
    let pairs: Vec<_> =
        labels.iter().map(|(name, value)| format!("{name}={}", crate::model::labels::Quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
impl Dispatcher {
    /// A first notification about these alerts, for tests of what is sent.
    pub(super) fn example(alerts: Vec<Alert>) -> Notification {
        Notification {
            receiver: "RECEIVER".to_owned(),
            integration: 0,
            group_key: r#"{}:{alertname="Down"}"#.to_owned(),
            group_labels: Labels::from_pairs([("alertname", "Down")]),
            route_labels: BTreeMap::new(),
            route_id: "{}".to_owned(),
            alerts,
            reason: Reason::First,
            timeout: Duration::from_secs(1),
            is_silent: false,
            state: State::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::base::yaml;
    use crate::notify::matchers;
    use crate::notify::silence::Silence;

    const SECOND: i64 = 1_000;

    fn dispatcher(extra: &str) -> Dispatcher {
        let text = format!(
            "route: {{receiver: hook, group_by: [alertname], group_wait: 10s, group_interval: 60s, repeat_interval: 1h}}\n\
             receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:1/'}}]}}]\n{extra}"
        );
        Dispatcher::new(Routing::build(yaml::read_plain("test.yml", &text).unwrap()).unwrap()).unwrap()
    }

    fn alert(instance: &str, starts_at: Millis, ends_at: Millis) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "Down"), ("instance", instance)]),
            annotations: Labels::empty(),
            generator_url: String::new(),
            starts_at,
            ends_at,
            updated_at: starts_at,
            is_timeout: false,
        }
    }

    /// Sends whatever is due and reports success; gives reasons and counts of alerts.
    fn run(dispatcher: &mut Dispatcher, now: Millis) -> Vec<(Reason, usize)> {
        let due = dispatcher.due(now);
        for notification in &due {
            dispatcher.delivered(notification, true, now);
        }
        due.iter().map(|notification| (notification.reason, notification.alerts.len())).collect()
    }

    #[test]
    fn a_group_waits_then_tells_changes_and_repeats() {
        let mut dispatcher = dispatcher("");
        let far = 100_000 * SECOND;
        dispatcher.put(alert("a", 0, far), 0);
        dispatcher.put(alert("b", SECOND, far), SECOND);
        assert_eq!(dispatcher.next_due(), Some(10 * SECOND));
        assert_eq!(run(&mut dispatcher, 9 * SECOND), []);
        assert_eq!(run(&mut dispatcher, 10 * SECOND), [(Reason::First, 2)]);
        assert_eq!(run(&mut dispatcher, 70 * SECOND), []);
        dispatcher.put(alert("c", 80 * SECOND, far), 80 * SECOND);
        assert_eq!(run(&mut dispatcher, 130 * SECOND), [(Reason::NewAlerts, 3)]);
        dispatcher.put(Alert { updated_at: 140 * SECOND, ..alert("c", 80 * SECOND, 140 * SECOND) }, 140 * SECOND);
        assert_eq!(run(&mut dispatcher, 190 * SECOND), [(Reason::NewResolved, 3)]);
        assert_eq!(run(&mut dispatcher, 250 * SECOND), []);
        assert_eq!(run(&mut dispatcher, 3_800 * SECOND), [(Reason::Repeat, 2)]);
    }

    #[test]
    fn an_alert_older_than_the_wait_goes_out_at_once_and_a_failure_is_tried_again() {
        let mut dispatcher = dispatcher("");
        let now = 100 * SECOND;
        dispatcher.put(alert("a", 0, 1_000 * SECOND), now);
        let due = dispatcher.due(now);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].group_key, r#"{}:{alertname="Down"}"#);
        dispatcher.delivered(&due[0], false, now);
        assert_eq!(run(&mut dispatcher, now + 60 * SECOND), [(Reason::First, 1)]);
    }

    #[test]
    fn silences_inhibition_and_muted_times_hold_notifications_back() {
        let mut dispatcher = dispatcher(
            "inhibit_rules: [{source_matchers: [alertname=Source], target_matchers: [alertname=Down], equal: [instance]}]",
        );
        let far = 1_000 * SECOND;
        let rng = Rng::from_seed(3);
        let silence = Silence {
            id: String::new(),
            matchers: matchers::parse("instance=a").unwrap(),
            starts_at: 0,
            ends_at: 500 * SECOND,
            updated_at: 0,
            created_by: String::new(),
            comment: String::new(),
        };
        dispatcher.silences.set(silence, 1, &rng).unwrap();
        dispatcher.put(alert("a", 0, far), 20 * SECOND);
        let mut source = alert("b", 0, far);
        source.labels = Labels::from_pairs([("alertname", "Source"), ("instance", "b")]);
        dispatcher.put(source, 20 * SECOND);
        dispatcher.put(alert("b", 0, far), 20 * SECOND);
        let due = dispatcher.due(20 * SECOND);
        assert_eq!(due.iter().map(|n| n.alerts[0].name().to_owned()).collect::<Vec<_>>(), ["Source"]);
    }

    #[test]
    fn what_resolved_before_anybody_was_told_is_forgotten() {
        let mut dispatcher = dispatcher("");
        dispatcher.put(alert("a", 0, 5 * SECOND), 0);
        assert_eq!(run(&mut dispatcher, 10 * SECOND), []);
        dispatcher.maintain(10 * SECOND, Duration::from_secs(1));
        assert_eq!(dispatcher.groups().count(), 0);
        assert_eq!(dispatcher.active(0).count(), 0);
    }

    #[test]
    fn a_reload_does_not_tell_twice() {
        let mut dispatcher = dispatcher("");
        dispatcher.put(alert("a", 0, 10_000 * SECOND), 20 * SECOND);
        assert_eq!(run(&mut dispatcher, 20 * SECOND), [(Reason::First, 1)]);
        let text =
            "{route: {receiver: hook, group_by: [alertname]}, receivers: [{name: hook, webhook_configs: [{url: u}]}]}";
        dispatcher.reload(Routing::build(yaml::read_plain("t", text).unwrap()).unwrap(), 30 * SECOND).unwrap();
        assert_eq!(run(&mut dispatcher, 100 * SECOND), []);
    }
}
