//! What the rules of a group have in common: evaluated by the first rule of an iteration that needs it.

use std::sync::Arc;

use crate::base::clock::Millis;
use crate::promql::eval::{Common, Memo, Parts};
use crate::rules::dependency::reads_written;
use crate::rules::group::{Group, World};
use crate::rules::rule::{GroupSpec, Rule};
use crate::rules::seam::RuleSample;
use crate::telemetry::Counters;

static SAVED: Counters<0> = Counters::new(
    "novascope_rule_parts_reused_total",
    "Parts of rule expressions that were not evaluated, because another rule of the same iteration had.",
    [],
);

/// Makes the counter known, so that it begins at zero.
pub(in crate::rules) fn announce() {
    SAVED.get();
}

/// What the expressions of a group have in common.
pub(super) fn parts(spec: &GroupSpec) -> Parts {
    let queries = spec.rules.iter().map(|rule| (&*rule.query, &*rule.expr));
    Parts::of(queries, |expr| reads_written(expr, &spec.rules))
}

impl Group {
    pub(super) fn query(
        &self,
        world: &World,
        (index, rule): (usize, &Rule),
        time: Millis,
    ) -> Result<Vec<RuleSample>, String> {
        match self.memo_of(time) {
            Some(memo) => {
                // Rules of one level see the same of what the group writes; see `dependency`.
                let level = self.levels.iter().position(|level| level.contains(&index)).unwrap_or(0);
                let generation = u32::try_from(level).unwrap_or(u32::MAX);
                world.backend.query_in_common((&rule.query, &rule.expr), time, &Common { memo, generation })
            }
            None => world.backend.query(&rule.query, &rule.expr, time),
        }
    }

    fn memo_of(&self, time: Millis) -> Option<Arc<Memo>> {
        if self.parts.is_empty() {
            return None;
        }
        let mut memo = self.memo.lock();
        if memo.as_ref().is_none_or(|(of, _)| *of != time) {
            *memo = Some((time, Memo::new(Arc::clone(&self.parts))));
        }
        memo.as_ref().map(|(_, memo)| Arc::clone(memo))
    }

    /// Ends an iteration: lets go of what its rules had in common, and marks series of rules that are gone. Answers how
    /// many evaluations of parts were saved.
    pub fn end_iteration(&self, world: &World, time: Millis) -> u64 {
        let saved = self.memo.lock().take().map_or(0, |(_, memo)| memo.reused());
        SAVED.get().add(saved);
        self.bury_orphans(world, time);
        saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::model::labels::Labels;
    use crate::model::sample::Value;
    use crate::promql::eval::QueryOptions;
    use crate::rules::file::read;
    use crate::rules::seam::{Backend, NoSink};
    use crate::rules::unit_test::memory::Memory;

    const TEXT: &str = "
groups:
- name: g
  rules:
  - {alert: Early, expr: 'job:m > 0'}
  - {record: 'job:m', expr: 'sum by (job) (rate(m[5m]))'}
  - {alert: Fast, expr: 'sum  by(job)(rate(m[5m])) > 5'}
  - {alert: Slow, expr: 'rate(m[5m]) < 5'}
  - {alert: High, expr: 'm > 1'}
  - {record: 'all', expr: 'sum(m) + count(m)'}
  - {alert: Recorded, expr: 'job:m > 1'}
  - {alert: RecordedMore, expr: 'job:m > 20'}
  - {record: 'unit', expr: 'histogram_count(m) or vector(1)'}
";

    fn alerts(group: &Group) -> Vec<(String, usize)> {
        let alerting = group.rules().filter(|(rule, _)| rule.alerting().is_some());
        alerting.map(|(rule, state)| (rule.name.to_string(), state.alerts.active().count())).collect()
    }

    #[test]
    fn what_rules_have_in_common_is_evaluated_once_and_gives_the_same() {
        let memory = Arc::new(Memory::new(QueryOptions::default()));
        for (instance, per_second) in [("a", 2), ("b", 4), ("c", 8)] {
            let labels = Labels::from_pairs([("__name__", "m"), ("job", "j"), ("instance", instance)]);
            (0..60).for_each(|k| memory.put(&labels, k * 10_000, Value::Float((k * 10 * per_second) as f64)));
        }
        memory.set_now(590_000);
        let world = World {
            backend: Arc::clone(&memory) as Arc<dyn Backend>,
            sink: Arc::new(NoSink),
            surroundings: Arc::default(),
            clock: Clock::simulated(0).0,
            query_offset: 0,
            resend_delay: 60_000,
        };
        let group = Group::new(read("r.yml", TEXT, 60_000).unwrap().remove(0));
        // The sum, the rate, `m` three times, and what was recorded.
        let mut saved = Vec::new();
        for time in [580_000, 590_000] {
            for index in 0..group.spec.rules.len() {
                group.evaluate_rules(&world, &[index], time);
            }
            if saved.is_empty() {
                let early = alerts(&group)[0].clone();
                assert_eq!(early, ("Early".to_owned(), 0), "nothing was recorded when it looked");
            }
            saved.push(group.end_iteration(&world, time));
        }
        assert_eq!(saved, [5, 5]);
        let expect = [("Early", 1), ("Fast", 1), ("Slow", 2), ("High", 3), ("Recorded", 1), ("RecordedMore", 0)];
        assert_eq!(alerts(&group), expect.map(|(name, count)| (name.to_owned(), count)));
        for rule in &group.spec.rules {
            let alone = memory.query(&rule.query, &rule.expr, 590_000).unwrap();
            let (recorded, alerts) = (rule.alerting().is_none(), alone.len());
            if recorded {
                let name = crate::promql::parse::parse(&rule.name).unwrap();
                let written = memory.query(&rule.name, &name, 590_000).unwrap();
                let values =
                    |samples: &[RuleSample]| samples.iter().map(|s| format!("{:?}", s.value)).collect::<Vec<_>>();
                assert_eq!(values(&written), values(&alone), "{}", rule.name);
            } else {
                let state = group.rules().find(|(other, _)| other.name == rule.name).unwrap().1;
                assert_eq!(state.alerts.active().count(), alerts, "{}", rule.name);
            }
        }
    }

    #[test]
    fn spans_are_those_of_the_canonical_text() {
        let text = "groups: [{name: g, rules: [{record: a, expr: 'sum( x )  /   sum(y)'}]}]";
        let spec = read("r.yml", text, 60_000).unwrap().remove(0);
        let parts = spec.rules[0].expr.parts();
        let texts = parts.iter().map(|part| &spec.rules[0].query[part.span.start as usize..part.span.end as usize]);
        assert_eq!(texts.collect::<Vec<_>>(), ["sum(x)", "sum(y)"]);
    }
}
