//! Groups, digests, delays and escalations over simulated time.

use super::*;
use crate::base::rng::Rng;
use crate::base::yaml;
use crate::notify::matchers;
use crate::notify::settings::Settings;
use crate::notify::silence::Silence;

const SECOND: i64 = 1_000;

fn dispatcher(extra: &str) -> Dispatcher {
    let text = format!(
        "route: {{receiver: hook, group_by: [alertname], group_wait: 10s, group_interval: 60s, repeat_interval: 1h}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:1/'}}]}}]\n{extra}"
    );
    Dispatcher::new(Routing::build(yaml::read_plain("test.yml", &text).unwrap(), &Settings::default()).unwrap())
        .unwrap()
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
    dispatcher
        .reload(Routing::build(yaml::read_plain("t", text).unwrap(), &Settings::default()).unwrap(), 30 * SECOND)
        .unwrap();
    assert_eq!(run(&mut dispatcher, 100 * SECOND), []);
}

/// A dispatcher with our own settings; receivers hook and boss.
fn beyond(settings: &str) -> Dispatcher {
    let text = "route: {receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 60s}\n\
                receivers: [{name: hook, webhook_configs: [{url: u}]}, {name: boss, webhook_configs: [{url: u}]}]";
    let settings: Settings = yaml::read_plain("own.yml", settings).unwrap();
    Dispatcher::new(Routing::build(yaml::read_plain("t", text).unwrap(), &settings).unwrap()).unwrap()
}

/// Delivers what is due; gives receivers, reasons and whether each alert still fires.
fn told(dispatcher: &mut Dispatcher, now: Millis) -> Vec<(String, Reason, Vec<bool>)> {
    let due = dispatcher.due(now);
    due.iter().for_each(|notification| dispatcher.delivered(notification, true, now));
    let fires = |n: &Notification| n.alerts.iter().map(|alert| !alert.is_resolved_at(now)).collect();
    due.iter().map(|n| (n.receiver.clone(), n.reason, fires(n))).collect()
}

fn resolved(instance: &str, starts_at: Millis, ends_at: Millis) -> Alert {
    Alert { updated_at: ends_at, ..alert(instance, starts_at, ends_at) }
}

#[test]
fn a_delayed_receiver_hears_only_of_what_lasts() {
    let mut dispatcher = beyond("delivery: [{receiver: hook, delay: 5m}]");
    let far = 100_000 * SECOND;
    dispatcher.put(alert("a", 0, far), 0);
    dispatcher.put(alert("b", 0, far), 0);
    assert_eq!(told(&mut dispatcher, 0), []);
    dispatcher.put(resolved("b", 0, 100 * SECOND), 100 * SECOND);
    for minute in 1..5 {
        assert_eq!(told(&mut dispatcher, minute * 60 * SECOND), []);
    }
    assert_eq!(told(&mut dispatcher, 300 * SECOND), [("hook".to_owned(), Reason::First, vec![true])]);
    assert_eq!(told(&mut dispatcher, 360 * SECOND), []);
}

#[test]
fn a_digest_tells_everything_at_once_and_what_is_over_too() {
    let mut dispatcher = beyond("delivery: [{receiver: hook, digest: 1h}]");
    let far = 100_000 * SECOND;
    dispatcher.put(alert("a", 0, far), 0);
    let mut other = alert("b", 10 * SECOND, far);
    other.labels = Labels::from_pairs([("alertname", "Other")]);
    dispatcher.put(other.clone(), 10 * SECOND);
    dispatcher.put(Alert { ends_at: 20 * SECOND, updated_at: 20 * SECOND, ..other }, 20 * SECOND);
    assert_eq!(told(&mut dispatcher, 3_599 * SECOND), []);
    assert_eq!(told(&mut dispatcher, 3_600 * SECOND), [("hook".to_owned(), Reason::Digest, vec![true, false])]);
    assert_eq!(told(&mut dispatcher, 7_200 * SECOND), [], "nothing new");
    dispatcher.put(resolved("a", 0, 7_300 * SECOND), 7_300 * SECOND);
    assert_eq!(told(&mut dispatcher, 10_800 * SECOND), [("hook".to_owned(), Reason::Digest, vec![false])]);
    assert_eq!(dispatcher.groups().count(), 0);
}

#[test]
fn an_escalation_goes_on_until_somebody_acknowledges() {
    let mut dispatcher = beyond(
        "escalations: [{name: oncall, matchers: [alertname=Down], repeat: 10m, \
         steps: [{after: 5m, receiver: boss}]}]",
    );
    let far = 100_000 * SECOND;
    dispatcher.put(alert("a", 0, far), 0);
    assert_eq!(told(&mut dispatcher, 0), [("hook".to_owned(), Reason::First, vec![true])]);
    let boss = |reason, fires: bool| [("boss".to_owned(), reason, vec![fires])];
    assert_eq!(dispatcher.next_due(), Some(60 * SECOND));
    assert_eq!(told(&mut dispatcher, 299 * SECOND), []);
    assert_eq!(told(&mut dispatcher, 300 * SECOND), boss(Reason::Escalation, true));
    assert_eq!(told(&mut dispatcher, 900 * SECOND), boss(Reason::Escalation, true));
    let seen = crate::notify::acknowledge::Acknowledgement {
        by: "ada".to_owned(),
        comment: String::new(),
        time: 0,
        until: 4_000 * SECOND,
    };
    dispatcher.acknowledgements.set(alert("a", 0, far).fingerprint(), seen);
    assert_eq!(told(&mut dispatcher, 1_500 * SECOND), []);
    dispatcher.put(resolved("a", 0, 1_600 * SECOND), 1_600 * SECOND);
    let all = told(&mut dispatcher, 1_660 * SECOND);
    assert!(all.contains(&boss(Reason::Escalation, false)[0]), "{all:?}");
    assert_eq!(dispatcher.escalations.iter().count(), 0);
    let (_, events) = dispatcher.drain();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Fired, Kind::Escalated, Kind::Escalated, Kind::Resolved]);
}

#[test]
fn a_step_that_reached_nobody_is_taken_again() {
    let mut dispatcher = beyond("escalations: [{name: e, steps: [{after: 1m, receiver: boss}]}]");
    dispatcher.put(alert("a", 0, 100_000 * SECOND), 0);
    told(&mut dispatcher, 0);
    let due = dispatcher.due(60 * SECOND);
    let step = due.iter().find(|n| n.reason == Reason::Escalation).unwrap();
    dispatcher.delivered(step, false, 61 * SECOND);
    assert_eq!(told(&mut dispatcher, 76 * SECOND), [("boss".to_owned(), Reason::Escalation, vec![true])]);
    assert_eq!(told(&mut dispatcher, 4_000 * SECOND), []);
}

#[test]
fn maintenance_holds_back_what_it_covers_and_lets_it_go_after() {
    let mut dispatcher =
        beyond("maintenance: [{name: w, start: '1970-01-01T00:00:00Z', duration: 10m, matchers: [instance=a]}]");
    let far = 100_000 * SECOND;
    dispatcher.put(alert("a", SECOND, far), SECOND);
    dispatcher.put(alert("b", SECOND, far), SECOND);
    assert_eq!(told(&mut dispatcher, SECOND), [("hook".to_owned(), Reason::First, vec![true])]);
    assert_eq!(dispatcher.muting(&alert("a", 0, far).labels, SECOND).muted_by, ["w"]);
    let late: Vec<_> = (1..=11).flat_map(|minute| told(&mut dispatcher, minute * 60 * SECOND + SECOND)).collect();
    assert_eq!(late, [("hook".to_owned(), Reason::NewAlerts, vec![true, true])]);
}

#[test]
fn a_flapping_alert_is_told_once() {
    let mut dispatcher = beyond("flapping: {changes: 4, window: 10m, hold: 2m}");
    let mut heard = Vec::new();
    for n in 0..10 {
        let at = n * 120 * SECOND;
        dispatcher.put(alert("a", at, at + 100_000 * SECOND), at);
        heard.extend(told(&mut dispatcher, at));
        let end = at + 30 * SECOND;
        dispatcher.put(resolved("a", at, end), end);
        heard.extend(told(&mut dispatcher, at + 60 * SECOND));
    }
    let before = heard.len();
    assert!(before <= 5, "{heard:?}");
    let last = 9 * 120 * SECOND + 30 * SECOND;
    for minute in 0..5 {
        heard.extend(told(&mut dispatcher, last + minute * 60 * SECOND));
    }
    assert_eq!(heard.last().unwrap().2, [false], "when it is steady, its end is told");
    assert_eq!(heard.len(), before + 1, "{heard:?}");
}

#[test]
fn a_group_is_not_sent_twice_while_its_notification_is_under_way() {
    let mut dispatcher = beyond("{}");
    dispatcher.put(alert("a", 0, 100_000 * SECOND), 0);
    let due = dispatcher.due(0);
    assert_eq!(due.len(), 1);
    assert_eq!(dispatcher.due(60 * SECOND).len(), 0);
    dispatcher.delivered(&due[0], false, 70 * SECOND);
    assert_eq!(told(&mut dispatcher, 70 * SECOND), [("hook".to_owned(), Reason::First, vec![true])]);
}

#[test]
fn what_was_kept_is_told_after_a_crash_and_nothing_twice() {
    let settings = "escalations: [{name: e, steps: [{after: 1h, receiver: boss}]}]";
    let mut before = beyond(settings);
    // Both end by themselves while the process is down.
    before.put(alert("told", 0, 240 * SECOND), 0);
    told(&mut before, 0);
    let mut untold = alert("untold", SECOND, 240 * SECOND);
    untold.labels = Labels::from_pairs([("alertname", "Untold")]);
    before.put(untold, SECOND);
    let (records, _) = before.drain();
    let text = serde_json::to_string(&records).unwrap();

    let mut after = beyond(settings);
    let mut history = crate::notify::history::History::default();
    let records: Vec<Record> = serde_json::from_str(&text).unwrap();
    let times = records.into_iter().map(|record| record.restore(&mut after, &mut history).unwrap());
    let last = times.max().unwrap();
    after.restored(last, 600 * SECOND);
    assert_eq!(after.escalations.iter().count(), 2);
    assert_eq!(told(&mut after, 600 * SECOND), [("hook".to_owned(), Reason::First, vec![true])]);
    // Nobody speaks of them any more, so they end after a while.
    let ends: Vec<_> = (1..=10).flat_map(|n| told(&mut after, (600 + n * 60) * SECOND)).map(|one| one.2).collect();
    assert_eq!(ends, [vec![false], vec![false]]);
}
