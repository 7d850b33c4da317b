//! Whole lives of objectives over synthetic events: budgets against a direct count, alerts against a direct search.

mod shipped;
mod sloth;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::clock::{Clock, Millis, SimClock};
use crate::base::disk::Disk;
use crate::base::rng::Rng;
use crate::promql::ast::Expr;
use crate::promql::eval::QueryOptions;
use crate::rules::alert::Alert;
use crate::rules::group::{Group, World};
use crate::rules::seam::{AlertSink, Backend, RuleSample};
use crate::rules::snapshot::{Snapshot, SnapshotFile};
use crate::slo::alerting::{self, SloBackend};
use crate::slo::engine::{Engine, Limits};
use crate::slo::file;
use crate::slo::fixture::Memory;
use crate::slo::record::{Names, Recorder};
use crate::slo::set::{Set, join};
use crate::slo::status::{Question, Status};

const MINUTE: Millis = 60_000;
const DAY: Millis = 86_400_000;

fn set(text: &str) -> Set {
    let content = file::read("s.yml", text).unwrap_or_else(|faults| panic!("{}", faults[0]));
    join(vec![("s.yml".into(), content)]).unwrap_or_else(|faults| panic!("{}", faults[0]))
}

fn engine(memory: &Arc<Memory>, now: Millis, text: &str) -> (Engine, Arc<SimClock>) {
    let (clock, hand) = Clock::simulated(now);
    let limits = Limits { options: QueryOptions::default(), groups_max: 100 };
    let engine = Engine::new(Arc::clone(memory) as _, clock, limits);
    engine.apply(&set(text));
    (engine, hand)
}

fn status(engine: &Engine, name: &str, time: Millis) -> Vec<Status> {
    let question = Question { time, with_incidents: true };
    engine.statuses(question, |objective| *objective.name == *name).remove(0).1.unwrap()
}

/// Time, good and bad events up to it since the event before.
type Events = Vec<(Millis, u64, u64)>;

/// Uneven traffic for 31 days: nights of almost nothing, bursts, a day without anything, and a restart of the server.
fn traffic(end: Millis) -> (Events, Memory) {
    let rng = Rng::from_seed(11);
    let (mut events, mut memory) = (Events::new(), Memory::default());
    let (mut good_total, mut all_total) = (0_u64, 0_u64);
    let (mut good, mut all) = (Vec::new(), Vec::new());
    let start = end - 31 * DAY;
    let mut time = start;
    while time <= end {
        let hour = time / 3_600_000 % 24;
        let day = (time - start) / DAY;
        let most = if hour < 6 {
            3
        } else if rng.chance(0.01) {
            5_000
        } else {
            200
        };
        let total = if day == 12 { 0 } else { rng.below(most) };
        let bad = (0..total.min(100)).filter(|_| rng.chance(0.002)).count() as u64;
        if day == 20 && hour == 0 && time % 3_600_000 < 2 * MINUTE {
            (good_total, all_total) = (0, 0);
        }
        good_total += total - bad;
        all_total += total;
        events.push((time, total - bad, bad));
        good.push((time, good_total as f64));
        all.push((time, all_total as f64));
        time += 97_300;
    }
    memory.add("good", &[], good);
    memory.add("total", &[], all);
    (events, memory)
}

#[test]
fn budgets_of_thirty_days_are_exact() {
    let end = 1_700_000_000_000;
    let (events, memory) = traffic(end);
    let memory = Arc::new(memory);
    let at = |millis: Millis| jiff::Timestamp::from_millisecond(millis).unwrap();
    let windows = [(end - 20 * DAY, end - 20 * DAY + 5_400_000), (end - 3 * DAY - 1_000, end - 3 * DAY + 777_000)];
    let text = format!(
        "slos:\n- {{name: a, objective: 99.9, windows: [30d, 7d, 1h], sli: {{good: 'sum(rate(good[5m]))', total: total}}}}\n\
         maintenance:\n- {{name: disk, start: '{}', end: '{}'}}\n- {{name: net, start: '{}', end: '{}'}}\n",
        at(windows[0].0),
        at(windows[0].1),
        at(windows[1].0),
        at(windows[1].1),
    );
    let (engine, _hand) = engine(&memory, end, &text);
    for time in [end, end - 1, end - 12_345_678, end - 3 * DAY + 400_000, end - 19 * DAY] {
        for status in status(&engine, "a", time) {
            let counted = |event: Millis| {
                status.from < event
                    && event <= time
                    && !windows.iter().any(|(start, end)| *start < event && event <= *end)
            };
            let of = |count: fn(&(Millis, u64, u64)) -> u64| -> u64 {
                events.iter().filter(|event| counted(event.0)).map(count).sum()
            };
            let (good, bad) = (of(|event| event.1), of(|event| event.2));
            let remaining = if good + bad == 0 { 1.0 } else { 1.0 - bad as f64 / (good + bad) as f64 / 0.001 };
            assert_eq!(
                (status.tally.good, status.tally.total),
                (good as f64, (good + bad) as f64),
                "{} {time}",
                status.window
            );
            assert!((status.remaining() - remaining).abs() < 1e-9, "{} {time}", status.window);
            let inside = |(from, to): (Millis, Millis)| (to.min(time) - from.max(status.from)).max(0);
            assert_eq!(status.excluded_millis, windows.map(inside).iter().sum::<Millis>());
        }
    }
    // The events cannot lie before the history.
    assert!(status(&engine, "a", end)[0].tally.total > 100_000.0);
}

/// A request a millisecond apart from 10 a second, and failures in known seconds.
fn failing(seconds: i64, fails: impl Fn(i64) -> u64) -> (Vec<u64>, Memory) {
    let (mut bad, mut total) = (0_u64, 0_u64);
    let (mut failures, mut bads, mut totals) = (Vec::new(), Vec::new(), Vec::new());
    for second in 0..=seconds {
        let failed = fails(second);
        failures.push(failed);
        bad += failed;
        total += 10;
        bads.push((second * 1_000, bad as f64));
        totals.push((second * 1_000, total as f64));
    }
    let mut memory = Memory::default();
    memory.add("bad", &[], bads);
    memory.add("total", &[], totals);
    (failures, memory)
}

/// Remembers when which alert began and ended.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(Millis, String, bool)>>);

impl AlertSink for Heard {
    fn take(&self, _query: &str, alerts: &[Alert]) {
        for alert in alerts {
            let name = format!("{}/{}", alert.labels.get("long").unwrap_or(""), alert.labels.get("slo").unwrap_or(""));
            let (time, is_on) = (alert.resolved_at.or(alert.fired_at).unwrap_or(0), alert.resolved_at.is_none());
            let mut heard = self.0.lock();
            if !heard.contains(&(time, name.clone(), is_on)) {
                heard.push((time, name, is_on));
            }
        }
    }
}

/// Nothing else is asked for, and what is written is not looked at.
struct Nothing;

impl Backend for Nothing {
    fn query(&self, text: &str, _expr: &Expr, _time: Millis) -> Result<Vec<RuleSample>, String> {
        Err(format!("not a query of an objective: {text}"))
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        vec![Ok(()); batches.len()]
    }
}

/// A process from its start to its end: evaluates every second, saves at the end.
fn live(memory: &Arc<Memory>, text: &str, seconds: std::ops::Range<i64>, file: &SnapshotFile, heard: &Arc<Heard>) {
    let (engine, hand) = engine(memory, seconds.start * 1_000, text);
    let groups = alerting::groups(&set(text).objectives, 1_000);
    let world = World {
        backend: Arc::new(SloBackend { inner: Arc::new(Nothing), engine }),
        sink: Arc::clone(heard) as Arc<dyn AlertSink>,
        surroundings: Arc::default(),
        clock: Clock::real(),
        query_offset: 0,
        resend_delay: MINUTE,
    };
    let groups: Vec<Group> = groups.into_iter().map(Group::new).collect();
    let mut saved = file.load().unwrap();
    for group in &groups {
        saved.restore(group, seconds.start * 1_000);
    }
    for second in seconds {
        hand.jump_to(second * 1_000);
        for group in &groups {
            group.evaluate(&world, second * 1_000);
            group.last.lock().time = second * 1_000;
            for (rule, state) in group.rules() {
                assert_eq!(state.health.name(), "ok", "{} {:?}", rule.query, state.health);
            }
        }
    }
    file.save(&Snapshot::of(groups.iter())).unwrap();
}

#[test]
fn burn_rate_alerts_fire_and_resolve_at_the_computed_seconds_over_a_restart() {
    let fails = |second: i64| if (7_201..=7_500).contains(&second) { 3 } else { u64::from(second % 977 == 0) };
    let (failures, memory) = failing(12_000, fails);
    let memory = Arc::new(memory);
    let text = "slos: [{name: a, objective: 99.9, sli: {bad: bad, total: total}}]";
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| SnapshotFile::open(Disk::real(), &folder.path().join(name)).unwrap();
    let (whole, halves) = (Arc::<Heard>::default(), Arc::<Heard>::default());
    live(&memory, text, 7_150..9_400, &open("whole"), &whole);
    // The restart is in the middle of the fire.
    live(&memory, text, 7_150..7_400, &open("halves"), &halves);
    live(&memory, text, 7_400..9_400, &open("halves"), &halves);

    let rate = |second: i64, length: i64| {
        let from = (second - length + 1).max(0);
        let bad: u64 = (from..=second).map(|at| failures[at as usize]).sum();
        bad as f64 / (10 * (second + 1 - from)) as f64 / 0.001
    };
    let mut expect = Vec::new();
    for (short, long, factor, name) in
        [(300, 3_600, 14.4, "1h/a"), (1_800, 21_600, 6.0, "6h/a"), (7_200, 86_400, 3.0, "1d/a")]
    {
        let mut was_on = false;
        for second in 7_150..9_400 {
            let is_on = rate(second, long) > factor && rate(second, short) > factor;
            if is_on != was_on {
                expect.push((second * 1_000, name.to_owned(), is_on));
            }
            was_on = is_on;
        }
    }
    expect.sort();
    let sorted = |heard: &Heard| {
        let mut heard = heard.0.lock().clone();
        heard.retain(|(_, name, _)| name != "3d/a");
        heard.sort();
        heard
    };
    assert!(expect.len() >= 4, "{expect:?}");
    assert_eq!(sorted(&whole), expect);
    assert_eq!(sorted(&halves), expect);
}

#[test]
fn maintenance_silences_burning_and_little_traffic_does_not_fire() {
    let (_, memory) = failing(7_200, |second| if second > 6_000 { 5 } else { 0 });
    let memory = Arc::new(memory);
    for (more, name, expect) in [
        ("", "fires", 3),
        ("maintenance: [{name: m, start: '1970-01-01T01:40:00Z', end: '1970-01-01T02:00:00Z'}]", "is planned", 0),
        ("", "is little", 0),
    ] {
        let guard = if name == "is little" { ", min_events: 100000" } else { "" };
        let text = format!("slos: [{{name: a, objective: 99.9, sli: {{bad: bad, total: total}}{guard}}}]\n{more}\n");
        let (folder, heard) = (tempfile::tempdir().unwrap(), Arc::<Heard>::default());
        live(&memory, &text, 7_199..7_200, &SnapshotFile::open(Disk::real(), folder.path()).unwrap(), &heard);
        let fired = heard.0.lock().iter().filter(|(_, name, _)| name != "3d/a").count();
        assert_eq!(fired, expect, "{name}: {:?}", heard.0.lock());
    }
}

#[test]
fn composites_weigh_their_parts_and_groups_are_kept_apart() {
    let mut memory = Memory::default();
    for (name, route, last) in [("ok", "a", 90.0), ("ok", "b", 50.0), ("all", "a", 100.0), ("all", "b", 100.0)] {
        memory.add(name, &[("route", route)], [(0, 0.0), (3_000_000, last)]);
    }
    let text = "
slos:
- {name: x, objective: 90, window: 1h, group_by: [route], sli: {good: ok, total: all}}
- {name: a, objective: 90, window: 1h, sli: {good: 'ok{route=\"a\"}', total: 'all{route=\"a\"}'}}
- {name: b, objective: 90, window: 1h, sli: {good: 'ok{route=\"b\"}', total: 'all{route=\"b\"}'}}
- {name: both, objective: 80, window: 1h, composite: [{slo: a, weight: 3}, {slo: b}]}
";
    let memory = Arc::new(memory);
    let (engine, _hand) = engine(&memory, 3_600_000, text);
    let found = status(&engine, "x", 3_600_000);
    assert_eq!(found.iter().map(|status| status.sli().unwrap()).collect::<Vec<_>>(), [0.9, 0.5]);
    assert_eq!(found[1].group.get("route"), Some("b"));
    let both = &status(&engine, "both", 3_600_000)[0];
    assert!((both.sli().unwrap() - 0.8).abs() < 1e-12 && both.remaining().abs() < 1e-9);
    assert!(file::read("s.yml", &text.replace("slo: a,", "slo: aa,")).is_ok());
    let content = file::read("s.yml", &text.replace("slo: a,", "slo: bot,")).unwrap();
    let fault = join(vec![("s.yml".into(), content)]).unwrap_err().remove(0).to_string();
    assert!(fault.contains("no objective is called \"bot\": did you mean \"both\"?"), "{fault}");
}

#[test]
fn incidents_are_where_the_budget_went() {
    let (_, memory) = failing(14_400, |second| if (6_000..6_600).contains(&second) { 2 } else { 0 });
    let memory = Arc::new(memory);
    let text = "slos: [{name: a, objective: 99, window: 4h, sli: {bad: bad, total: total}}]";
    let (engine, _hand) = engine(&memory, 14_400_000, text);
    let found = &status(&engine, "a", 14_400_000)[0];
    let [incident] = &*found.incidents else { panic!("{:?}", found.incidents) };
    assert_eq!((incident.start, incident.end, incident.bad), (6_000_000, 6_600_000, 1_198.0));
    assert!((incident.share - 1_198.0 / 1_440.0).abs() < 1e-3);
    assert_eq!(found.word(), "ok");
}

/// Takes what is recorded.
#[derive(Default)]
struct Notebook(Mutex<Vec<RuleSample>>);

impl Backend for Notebook {
    fn query(&self, _text: &str, _expr: &Expr, _time: Millis) -> Result<Vec<RuleSample>, String> {
        Ok(Vec::new())
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        batches.iter().for_each(|batch| self.0.lock().extend(batch.iter().cloned()));
        vec![Ok(()); batches.len()]
    }
}

#[test]
fn series_are_recorded_under_the_names_of_others() {
    let (_, memory) = failing(7_200, |second| u64::from(second % 10 == 0));
    let text = "
version: prometheus/v1
service: shop
labels: {team: web}
slos:
- {name: a, objective: 99.9, sli: {events: {error_query: 'sum(rate(bad[{{.window}}]))', total_query: 'sum(rate(total[{{.window}}]))'}}, alerting: {name: A}}
";
    let (engine, _hand) = engine(&Arc::new(memory), 7_200_000, text);
    let notebook = Notebook::default();
    Recorder::default().record(&engine, &notebook, &[Names::Novascope, Names::Sloth, Names::Pyrra], 7_200_000).unwrap();
    let mut seen: Vec<String> = notebook.0.lock().iter().map(|sample| sample.labels.to_string()).collect();
    seen.sort();
    let has = |text: &str| assert!(seen.iter().any(|labels| labels.contains(text)), "{text}: {seen:#?}");
    for window in ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"] {
        has(&format!("slo:sli_error:ratio_rate{window}"));
    }
    for name in [
        "slo:objective:ratio",
        "slo:error_budget:ratio",
        "slo:time_period:days",
        "slo:current_burn_rate:ratio",
        "slo:period_burn_rate:ratio",
        "slo:period_error_budget_remaining:ratio",
        "sloth_slo_info",
        "pyrra_objective",
        "pyrra_window",
        "pyrra_availability",
        "pyrra_requests:rate5m",
        "pyrra_errors:rate5m",
        "novascope_slo_error_budget_remaining",
        "sloth_id=\"shop-a\"",
    ] {
        has(name);
    }
    let value = |name: &str| {
        let book = notebook.0.lock();
        let sample = book.iter().find(|sample| sample.labels.metric_name() == name).unwrap();
        match sample.value {
            crate::model::sample::Value::Float(value) => value,
            crate::model::sample::Value::Histogram(_) => f64::NAN,
        }
    };
    assert!((value("slo:sli_error:ratio_rate1h") - 0.01).abs() < 1e-9);
    assert_eq!((value("pyrra_requests:rate5m"), value("slo:time_period:days")), (10.0, 30.0));
}
