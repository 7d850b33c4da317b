use std::sync::Arc;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::promql::eval::QueryOptions;
use crate::promql::parse::parse;
use crate::rules::expansion::Surroundings;
use crate::rules::file::read;
use crate::rules::replay::Replay;
use crate::rules::replay::history::{History, Track, tracks};
use crate::rules::rule::Rule;
use crate::rules::seam::{Backend, RuleSample};
use crate::rules::unit_test::memory::Memory;

impl History for Memory {
    fn range(&self, rule: &Rule, range: (Millis, Millis), step: Millis) -> Result<Vec<Track>, String> {
        tracks(self, rule, range, (step, &QueryOptions::default()))
    }

    fn write(&self, samples: &[RuleSample]) -> Result<(), String> {
        self.append(&[samples.to_vec()]).into_iter().collect()
    }
}

const TEXT: &str = "
groups:
- name: g
  interval: 1m
  rules:
  - {record: twice, expr: 2 * t}
  - {record: fourfold, expr: 2 * twice, labels: {from: twice}}
  - alert: Hot
    expr: fourfold > 100
    for: 2m
    keep_firing_for: 1m
    labels: {severity: page}
    annotations: {summary: '{{ $labels.room }} has {{ $value }}'}
  - {alert: Never, expr: t == 40, for: 5m}
";

#[test]
fn recording_rules_backfill_and_alerting_rules_say_when_they_would_have_fired() {
    let memory = Arc::new(Memory::new(QueryOptions::default()));
    memory.set_now(Millis::MAX);
    let labels = Labels::from_pairs([("__name__", "t"), ("room", "a")]);
    // Minute by minute: 10 until 9, 30 until 19, 40 in 20, then nothing.
    for minute in 0..=20 {
        let value = if minute < 10 {
            10.0
        } else if minute < 20 {
            30.0
        } else {
            40.0
        };
        memory.put(&labels, minute * 60_000, Value::Float(value));
    }
    let groups = read("r.yml", TEXT, 60_000).unwrap();
    let replay = Replay {
        history: &*memory,
        backend: Arc::clone(&memory) as Arc<dyn Backend>,
        surroundings: Surroundings::default(),
        range: (30_000, 60 * 60_000),
        writes: true,
        query_offset: 0,
    };
    let told = replay.run(&groups);
    assert!(told.iter().all(|told| told.faults.is_empty()), "{told:?}");
    // 20 samples are looked at for five minutes longer, the last one within them.
    assert_eq!((told[0].evaluations, told[0].samples, told[0].series), (60, 24, 1));
    let hot = &told[2].episodes;
    assert_eq!(hot.len(), 1, "{hot:?}");
    let minutes = |time: Millis| time / 60_000;
    assert_eq!((minutes(hot[0].active_at), minutes(hot[0].fired_at)), (10, 12));
    // The sample of minute 20 is seen until 24; at 25 it is kept, at 26 it is resolved.
    assert_eq!(hot[0].resolved_at.map(minutes), Some(26));
    assert_eq!(hot[0].annotations.get("summary"), Some("a has 120"));
    assert_eq!(hot[0].labels.get("from"), Some("twice"));
    assert_eq!((told[3].episodes.len(), told[3].never_fired), (0, 1));
    let backfilled = memory.query("", &parse("fourfold").unwrap(), 15 * 60_000).unwrap();
    assert!(matches!(backfilled[0].value, Value::Float(value) if value == 120.0), "{backfilled:?}");
    // The series ends where its source does.
    assert!(memory.query("", &parse("twice").unwrap(), 26 * 60_000).unwrap().is_empty());
}
