use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::clock::{Clock, Millis};
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::promql::ast::Expr;
use crate::rules::alert::Alert;
use crate::rules::file::read;
use crate::rules::group::{Group, Health, World};
use crate::rules::seam::{AlertSink, Backend, RuleSample};

/// Answers by the text of the query, and remembers what was written.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<BTreeMap<String, Result<Vec<&'static str>, String>>>,
    written: Mutex<Vec<String>>,
    told: Mutex<Vec<String>>,
}

impl Script {
    fn answer(&self, query: &str, instances: &[&'static str]) {
        self.answers.lock().insert(query.to_owned(), Ok(instances.to_vec()));
    }

    fn fail(&self, query: &str) {
        self.answers.lock().insert(query.to_owned(), Err("boom".to_owned()));
    }

    fn written(&self) -> Vec<String> {
        std::mem::take(&mut self.written.lock())
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock())
    }
}

impl Backend for Script {
    fn query(&self, text: &str, _expr: &Expr, time: Millis) -> Result<Vec<RuleSample>, String> {
        let instances = self.answers.lock().get(text).cloned().unwrap_or_else(|| Ok(Vec::new()))?;
        let labels = |instance| Labels::from_pairs([("__name__", "x"), ("instance", instance)]);
        Ok(instances.into_iter().map(|i| RuleSample { labels: labels(i), time, value: Value::Float(1.0) }).collect())
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        for sample in batches.iter().flatten() {
            let Value::Float(value) = sample.value else { panic!("{sample:?}") };
            let value = if crate::model::sample::is_stale(value) { "stale".to_owned() } else { value.to_string() };
            self.written.lock().push(format!("{} {value} @{}", sample.labels, sample.time));
        }
        self.written.lock().sort();
        vec![Ok(()); batches.len()]
    }
}

impl AlertSink for Script {
    fn take(&self, _query: &str, alerts: &[Alert]) {
        let told = alerts.iter().map(|alert| format!("{} {} {}", alert.labels, alert.annotations, alert.state.name()));
        self.told.lock().extend(told);
    }
}

fn world() -> (Arc<Script>, World) {
    let script = Arc::new(Script::default());
    let world = World {
        backend: Arc::clone(&script) as Arc<dyn Backend>,
        sink: Arc::clone(&script) as Arc<dyn AlertSink>,
        surroundings: Arc::default(),
        clock: Clock::simulated(0).0,
        query_offset: 0,
        resend_delay: 60_000,
    };
    (script, world)
}

fn group(text: &str) -> Group {
    Group::new(read("r.yml", text, 60_000).unwrap().remove(0))
}

#[test]
fn a_recording_rule_writes_and_marks_what_is_gone() {
    let (script, world) = world();
    let group = group(
        "groups: [{name: g, query_offset: 1s, rules: [{record: 'a:b', expr: x, labels: {team: t, instance: ''}}]}]",
    );
    script.answer("x", &["a"]);
    group.evaluate(&world, 10_000);
    assert_eq!(script.written(), [r#"a:b{team="t"} 1 @9000"#]);
    script.answer("x", &[]);
    group.evaluate(&world, 20_000);
    assert_eq!(script.written(), [r#"a:b{team="t"} stale @19000"#]);
    // The label is taken away by the rule, so two elements become one.
    script.answer("x", &["a", "b"]);
    group.evaluate(&world, 30_000);
    let (_, state) = group.rules().next().unwrap();
    assert_eq!(
        state.health,
        Health::Bad("vector contains metrics with the same labelset after applying rule labels".into())
    );
}

#[test]
fn a_failed_query_marks_nothing_stale() {
    let (script, world) = world();
    let group = group("groups: [{name: g, rules: [{record: r, expr: x}]}]");
    script.answer("x", &["a"]);
    group.evaluate(&world, 1_000);
    script.written();
    script.fail("x");
    group.evaluate(&world, 2_000);
    assert_eq!(script.written(), Vec::<String>::new());
    script.answer("x", &[]);
    group.evaluate(&world, 3_000);
    assert_eq!(script.written(), [r#"r{instance="a"} stale @3000"#]);
}

#[test]
fn an_alert_from_first_sight_to_its_end() {
    let (script, world) = world();
    let group = group(
        "groups: [{name: g, rules: [{alert: Down, expr: x, for: 10s, labels: {where: '{{ $labels.instance }}!'}, annotations: {text: 'is {{ $value }}'}}]}]",
    );
    script.answer("x", &["a"]);
    group.evaluate(&world, 0);
    assert_eq!(
        script.written(),
        [
            r#"ALERTS_FOR_STATE{alertname="Down", instance="a", where="a!"} 0 @0"#,
            r#"ALERTS{alertname="Down", alertstate="pending", instance="a", where="a!"} 1 @0"#,
        ]
    );
    assert_eq!(script.told(), Vec::<String>::new());
    group.evaluate(&world, 10_000);
    assert_eq!(
        script.written(),
        [
            r#"ALERTS_FOR_STATE{alertname="Down", instance="a", where="a!"} 0 @10000"#,
            r#"ALERTS{alertname="Down", alertstate="firing", instance="a", where="a!"} 1 @10000"#,
            r#"ALERTS{alertname="Down", alertstate="pending", instance="a", where="a!"} stale @10000"#,
        ]
    );
    assert_eq!(script.told(), [r#"{alertname="Down", instance="a", where="a!"} {text="is 1"} firing"#]);
    script.answer("x", &[]);
    group.evaluate(&world, 20_000);
    assert_eq!(script.written().len(), 2);
    assert_eq!(script.told(), [r#"{alertname="Down", instance="a", where="a!"} {text="is 1"} inactive"#]);
}

#[test]
fn a_reload_keeps_what_stays_and_marks_what_goes() {
    let (script, world) = world();
    let old =
        group("groups: [{name: g, rules: [{record: a, expr: x}, {record: b, expr: x}, {alert: C, expr: x, for: 5s}]}]");
    script.answer("x", &["i"]);
    script.answer("y", &["i"]);
    old.evaluate(&world, 1_000);
    script.written();
    let new = group("groups: [{name: g, rules: [{alert: C, expr: y, for: 2s}, {record: b, expr: x}]}]");
    new.take_over(&old);
    new.evaluate(&world, 3_000);
    assert_eq!(
        script.written(),
        [
            r#"ALERTS_FOR_STATE{alertname="C", instance="i"} 1 @3000"#,
            r#"ALERTS{alertname="C", alertstate="firing", instance="i"} 1 @3000"#,
            r#"ALERTS{alertname="C", alertstate="pending", instance="i"} stale @3000"#,
            r#"a{instance="i"} stale @3000"#,
            r#"b{instance="i"} 1 @3000"#,
        ]
    );
    new.bury(&world, 4_000);
    assert_eq!(script.written().len(), 3);
}

#[test]
fn limits_are_errors() {
    let (script, world) = world();
    let group = group("groups: [{name: g, limit: 1, rules: [{record: a, expr: x}, {alert: B, expr: x}]}]");
    script.answer("x", &["i", "j"]);
    group.evaluate(&world, 1_000);
    let health: Vec<_> = group.rules().map(|(_, state)| state.health.clone()).collect();
    assert_eq!(
        health,
        [
            Health::Bad("exceeded limit of 1 with 2 series".into()),
            Health::Bad("exceeded limit of 1 with 2 alerts".into())
        ]
    );
    assert_eq!(script.written(), Vec::<String>::new());
}

#[test]
fn an_alert_without_for_fires_before_the_next_evaluation() {
    let (script, world) = world();
    let (clock, hand) = Clock::simulated(1_000);
    let world = World { clock, ..world };
    let group = group(
        "groups: [{name: g, interval: 1s, rules: [{alert: A, expr: x}, {alert: B, expr: x, for: 1s}, {record: r, expr: x}]}]",
    );
    assert!(group.may_be_early());
    group.look_early(&world);
    group.evaluate(&world, 1_000);
    group.last.lock().time = 1_000;
    script.answer("x", &["i"]);
    script.written();
    hand.advance(std::time::Duration::from_millis(300));
    group.look_early(&world);
    group.look_early(&world);
    assert_eq!(script.told(), [r#"{alertname="A", instance="i"} {} firing"#]);
    assert_eq!(script.written(), Vec::<String>::new(), "series are written on the grid only");
    // The evaluation is due: it goes first.
    script.answer("x", &["i", "j"]);
    hand.advance(std::time::Duration::from_millis(695));
    group.look_early(&world);
    assert_eq!(script.told(), Vec::<String>::new());
    group.evaluate(&world, 2_000);
    assert_eq!(script.told(), [r#"{alertname="A", instance="j"} {} firing"#]);
    script.answer("x", &[]);
    group.evaluate(&world, 3_000);
    assert_eq!(script.told().len(), 2, "both are resolved");
}
