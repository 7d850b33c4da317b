//! What a group does about data that is not there: rules that name metrics which nobody sends are reported, and
//! alerting rules may keep their alerts, or alert, when their data is gone.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::model::sample::Value;
use crate::rules::absent;
use crate::rules::alert::Firing;
use crate::rules::expansion::Expander;
use crate::rules::group::{Group, World, firing};
use crate::rules::rule::{Alerting, OnNoData, Rule};
use crate::rules::seam::RuleSample;

/// A rule is not looked at before it ran for this long: senders may come later than rules.
const FIRST_LOOK: Millis = 5_000;

/// Between two looks, and how long a metric must be missing before the log says so.
const LOOK_EVERY: Millis = 15_000;
const LOG_AFTER: Millis = 60_000;

/// Metrics of a rule for which the one that was meant is looked for.
const NEAR_MAX: usize = 4;

/// What a rule knows about metrics that it names and nobody sends.
#[derive(Clone, Debug, Default)]
pub struct Unsent {
    pub metrics: Vec<Arc<str>>,
    /// For some of them, the metric that was probably meant.
    pub near: Vec<(Arc<str>, String)>,
    first_at: Option<Millis>,
    looked_at: Option<Millis>,
    is_logged: bool,
}

impl Group {
    /// Adds what [`OnNoData`] asks for to what an expression gives.
    pub(super) fn with_no_data(
        &self,
        world: &World,
        (index, rule, alerting): (usize, &Rule, &Alerting),
        found: &mut Vec<Firing>,
        time: Millis,
    ) -> Result<(), String> {
        let missing = match alerting.on_no_data {
            OnNoData::Ok => return Ok(()),
            OnNoData::Alert if !found.is_empty() => return Ok(()),
            OnNoData::Alert => Vec::new(),
            OnNoData::Keep => {
                let given: HashSet<&Labels> = found.iter().map(|firing| &firing.labels).collect();
                self.with_state(index, |state| {
                    state.alerts.active().filter(|alert| !given.contains(&alert.labels)).cloned().collect::<Vec<_>>()
                })
                .unwrap_or_default()
            }
        };
        if missing.is_empty() && alerting.on_no_data == OnNoData::Keep {
            return Ok(());
        }
        let Some(data) = absent::data(&rule.expr) else { return Ok(()) };
        let there = world.backend.query(&rule.query, &data, self.shifted(world, time))?;
        let expander = Expander::new(&rule.name, &world.backend, &world.surroundings, time);
        if alerting.on_no_data == OnNoData::Alert {
            if there.is_empty() {
                let nothing = RuleSample { labels: Labels::empty(), time, value: Value::Float(f64::NAN) };
                found.push(firing(rule, alerting, &nothing, &expander));
            }
            return Ok(());
        }
        let there: HashSet<Labels> =
            there.iter().map(|sample| firing(rule, alerting, sample, &expander).labels).collect();
        found.extend(missing.into_iter().filter(|alert| !there.contains(&alert.labels)).map(|alert| Firing {
            labels: alert.labels,
            annotations: alert.annotations,
            value: alert.value,
        }));
        Ok(())
    }

    /// Looks whether somebody sends the metrics of a rule that gave nothing.
    pub(super) fn look_for_metrics(&self, world: &World, (index, rule): (usize, &Rule), is_empty: bool, time: Millis) {
        let is_due = self.with_state(index, |state| {
            let unsent = &mut state.unsent;
            let first = *unsent.first_at.get_or_insert(time);
            if !is_empty {
                *unsent = Unsent { first_at: Some(first), ..Unsent::default() };
                return false;
            }
            let is_due = unsent.looked_at.is_none_or(|looked| !(0..LOOK_EVERY).contains(&(time - looked)));
            is_due && time - first >= FIRST_LOOK
        });
        if is_due != Some(true) {
            return;
        }
        let recorded = self.recorded.load();
        let mut names = absent::metrics(&rule.expr);
        names.retain(|name| !recorded.contains(name) && !world.backend.is_sent(name, time));
        let is_new = self.with_state(index, |state| state.unsent.metrics != names) == Some(true);
        let near = |name: &Arc<str>| Some((Arc::clone(name), world.backend.near_metric(name)?));
        let near: Option<Vec<_>> = is_new.then(|| names.iter().take(NEAR_MAX).filter_map(near).collect());
        self.with_state(index, |state| {
            let unsent = &mut state.unsent;
            unsent.looked_at = Some(time);
            if let Some(near) = near {
                unsent.near = near;
            }
            let is_old = unsent.first_at.is_some_and(|first| time - first >= LOG_AFTER);
            if is_old && !names.is_empty() && (unsent.metrics != names || !unsent.is_logged) {
                unsent.is_logged = true;
                tracing::warn!(
                    group = &*self.spec.name,
                    rule = &*rule.name,
                    metrics = names.join(", "),
                    near = unsent.near.iter().map(|(_, near)| near.as_str()).collect::<Vec<_>>().join(", "),
                    "a rule names metrics that nobody sends"
                );
            }
            unsent.metrics = names;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::rules::unit_test::run;

    /// Runs a unit test over a series that ends after two minutes, and one that does not.
    #[track_caller]
    fn check(rule: &str, alerts: &[(&str, &[&str])]) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("rules.yml", &format!("groups: [{{name: g, rules: [{{alert: Hot, {rule}}}]}}]"));
        let mut tests = String::from(
            "rule_files: [rules.yml]\ntests:\n- input_series:\n  - {series: 't{room=\"a\"}', values: '90 90 90 stale'}\n  - {series: 't{room=\"b\"}', values: '90 90 90 90 90 20x60'}\n  - {series: 'u', values: '9 9 9 stale'}\n  alert_rule_test:\n",
        );
        for (time, rooms) in alerts {
            let expected: Vec<String> = rooms
                .iter()
                .map(|room| if room.is_empty() { "{}".into() } else { format!("{{exp_labels: {{room: {room}}}}}") })
                .collect();
            tests += &format!("  - {{eval_time: {time}, alertname: Hot, exp_alerts: [{}]}}\n", expected.join(", "));
        }
        write("test.yml", &tests);
        assert_eq!(run(&folder.path().join("test.yml")).faults, Vec::<String>::new(), "{rule}");
    }

    #[test]
    fn ok_is_what_prometheus_does() {
        check("expr: t > 80", &[("2m", &["a", "b"]), ("4m", &["b"]), ("6m", &[])]);
    }

    #[test]
    fn keep_holds_an_alert_whose_data_is_gone_and_no_other() {
        check("expr: t > 80, on_no_data: keep", &[("2m", &["a", "b"]), ("4m", &["a", "b"]), ("30m", &["a"])]);
        // What is pending goes on counting.
        check("expr: t > 80, for: 3m, on_no_data: keep", &[("2m", &[]), ("4m", &["a", "b"]), ("9m", &["a"])]);
    }

    #[test]
    fn alert_fires_when_nothing_is_there_at_all() {
        check("expr: u > 100, on_no_data: alert", &[("2m", &[]), ("4m", &[""])]);
        check("expr: t > 100, on_no_data: alert", &[("2m", &[]), ("10m", &[])]);
    }
}
