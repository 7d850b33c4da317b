use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::clock::{Clock, Millis};
use crate::base::disk::Disk;
use crate::base::drain::Drain;
use crate::base::tasks::Tasks;
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::promql::ast::Expr;
use crate::rules::alert::AlertState;
use crate::rules::engine::{Rules, Seams, steps};
use crate::rules::file::read;
use crate::rules::group::World;
use crate::rules::seam::{Backend, NoSink, RuleSample};
use crate::rules::snapshot::SnapshotFile;

/// Every query gives one element; remembers the times it was asked for.
#[derive(Debug, Default)]
struct One {
    asked: Mutex<Vec<Millis>>,
    notify: tokio::sync::Notify,
}

impl Backend for One {
    fn query(&self, _text: &str, _expr: &Expr, time: Millis) -> Result<Vec<RuleSample>, String> {
        self.asked.lock().push(time);
        self.notify.notify_one();
        Ok(vec![RuleSample { labels: Labels::from_pairs([("i", "a")]), time, value: Value::Float(f64::NAN) }])
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        vec![Ok(()); batches.len()]
    }
}

fn rules(backend: &Arc<One>, clock: &Clock, folder: &Path) -> Rules {
    let world = World {
        backend: Arc::clone(backend) as Arc<dyn Backend>,
        sink: Arc::new(NoSink),
        surroundings: Arc::default(),
        clock: clock.clone(),
        query_offset: 0,
        resend_delay: 60_000,
    };
    let file = SnapshotFile::open(Disk::real(), folder).unwrap();
    Rules::new(Seams { world, tasks: Tasks::default(), drain: Drain::default(), file: Some(file), namespaces: None })
}

const TEXT: &str = "groups: [{name: g, interval: 1ms, rules: [{alert: A, expr: x, for: 1h}]}]";

#[tokio::test(flavor = "multi_thread")]
async fn a_group_runs_on_its_grid_and_a_reload_keeps_its_alerts() {
    let backend = Arc::<One>::default();
    let folder = tempfile::tempdir().unwrap();
    let rules = rules(&backend, &Clock::real(), folder.path());
    rules.apply(read("r.yml", TEXT, 1).unwrap());
    backend.notify.notified().await;
    backend.notify.notified().await;
    let same = rules.groups();
    rules.apply(read("r.yml", TEXT, 1).unwrap());
    assert!(Arc::ptr_eq(&same[0], &rules.groups()[0]), "an unchanged group goes on");
    let first = backend.asked.lock()[0];
    rules.apply(read("r.yml", &TEXT.replace("1h", "2h"), 1).unwrap());
    let changed = Arc::clone(&rules.groups()[0]);
    assert!(!Arc::ptr_eq(&same[0], &changed));
    while changed.last.lock().time <= same[0].last.lock().time {
        backend.notify.notified().await;
    }
    let (_, state) = changed.rules().next().unwrap();
    assert_eq!(state.alerts.iter().next().unwrap().active_at, first, "the alert is the one from before");
    rules.apply(Vec::new());
    assert!(rules.groups().is_empty());
}

#[test]
fn alerts_survive_a_restart() {
    let (clock, hand) = Clock::simulated(1_000_000);
    let backend = Arc::<One>::default();
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let text = "groups: [{name: g, interval: 1m, rules: [{alert: P, expr: x, for: 10m, labels: {a: b}}, {alert: F, expr: x}]}]";
    let before = rules(&backend, &clock, folder.path());
    before.apply(read("r.yml", text, 1).unwrap());
    let group = Arc::clone(&before.groups()[0]);
    group.evaluate(&before.0.world.load(), 1_000_000);
    group.last.lock().time = 1_000_000;
    before.save(false).unwrap();

    hand.advance(std::time::Duration::from_secs(60));
    let soon = rules(&backend, &clock, folder.path());
    soon.apply(read("r.yml", text, 1).unwrap());
    let since = soon.groups()[0].with_state(0, |state| state.alerts.iter().next().unwrap().active_at);
    assert_eq!(since, Some(1_000_000), "a short restart changes nothing");
    hand.advance(std::time::Duration::from_secs(300));
    // A process that is stopped before it read its rules leaves the file alone.
    rules(&backend, &clock, folder.path()).save(true).unwrap();
    let after = rules(&backend, &clock, folder.path());
    after.apply(read("r.yml", text, 1).unwrap());
    let group = Arc::clone(&after.groups()[0]);
    let alert = |index: usize| group.with_state(index, |state| state.alerts.iter().next().unwrap().clone()).unwrap();
    // Six minutes in which nobody looked do not count for `for`.
    assert_eq!((alert(0).state, alert(0).active_at), (AlertState::Pending, 1_360_000));
    assert_eq!((alert(1).state, alert(1).fired_at), (AlertState::Firing, Some(1_000_000)));
    assert!(alert(1).value.is_nan());

    hand.advance(std::time::Duration::from_secs(4_000));
    let late = rules(&backend, &clock, folder.path());
    late.apply(read("r.yml", text, 1).unwrap());
    assert!(late.groups()[0].rules().all(|(_, state)| state.alerts.iter().next().is_none()));
}

#[test]
fn chains_share_a_thread_and_strangers_do_not() {
    assert_eq!(steps(&[vec![0], vec![1], vec![2]]), [[[[0], [1], [2]]]]);
    let wide: Vec<usize> = (0..40).collect();
    let steps = steps(&[wide, vec![40], vec![41]]);
    assert_eq!(steps[0].len(), 2);
    assert_eq!(steps[1], [[[40], [41]]]);
}
