//! A rule group that finds alerts which another server left as series.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::promql::eval::QueryOptions;
use crate::rules::file::read;
use crate::rules::group::{Group, World};
use crate::rules::seam::{Backend, NoSink};
use crate::rules::unit_test::memory::Memory;

const MINUTE: i64 = 60_000;

#[test]
fn a_pending_alert_goes_on_where_another_server_left_it() {
    let memory = Arc::new(Memory::new(QueryOptions::default()));
    memory.set_now(i64::MAX);
    // It was active since minute 10, was seen last in minute 40, and has another server's external label.
    let left = Labels::from_pairs([
        ("__name__", "ALERTS_FOR_STATE"),
        ("alertname", "A"),
        ("i", "a"),
        ("replica", "r1"),
        ("severity", "page"),
    ]);
    memory.put(&left, 40 * MINUTE, Value::Float(600.0));
    let up = Labels::from_pairs([("__name__", "x"), ("i", "a")]);
    (50..60).for_each(|minute| memory.put(&up, minute * MINUTE, Value::Float(1.0)));
    let world = World {
        backend: Arc::clone(&memory) as Arc<dyn Backend>,
        sink: Arc::new(NoSink),
        surroundings: Arc::default(),
        clock: Clock::simulated(0).0,
        query_offset: 0,
        resend_delay: MINUTE,
    };
    let text = "groups: [{name: g, rules: [{alert: A, expr: x, for: 1h, labels: {severity: page}}, {alert: B, expr: x, for: 5m}]}]";
    let group = Group::new(read("r.yml", text, MINUTE).unwrap().remove(0));
    group.await_series();
    for minute in [50, 51] {
        group.evaluate(&world, minute * MINUTE);
    }
    let series = |name: &str| {
        let expr =
            crate::promql::parse::parse(&format!("ALERTS_FOR_STATE{{alertname=\"{name}\",replica=\"\"}}")).unwrap();
        memory.query("", &expr, 51 * MINUTE).unwrap().len()
    };
    assert_eq!((series("A"), series("B")), (0, 1), "what may be restored is not written before");
    assert!(!group.counted_evaluation() && group.counted_evaluation());
    group.restore_from_series(&world, 51 * MINUTE);
    let since = |index| group.with_state(index, |state| state.alerts.iter().next().unwrap().active_at / MINUTE);
    // 30 of 60 minutes were left, and still are.
    assert_eq!((since(0), since(1)), (Some(21), Some(50)));
    group.evaluate(&world, 52 * MINUTE);
    assert_eq!(series("A"), 0);
    let expr = crate::promql::parse::parse("ALERTS_FOR_STATE{alertname=\"A\",replica=\"\"}").unwrap();
    let written = memory.query("", &expr, 52 * MINUTE).unwrap();
    assert!(matches!(written[0].value, Value::Float(since) if since == 21.0 * 60.0), "{written:?}");
}
