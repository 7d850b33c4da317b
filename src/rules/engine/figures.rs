//! Figures about rules: one series for each group, up to a limit, and sums over all.

use std::borrow::Cow;

use crate::rules::alert::AlertState;
use crate::rules::engine::Rules;
use crate::rules::group::Group;
use crate::telemetry::snapshot::{Family, Kind};

/// Groups with series of their own. More would cost every scrape more than they tell; `/api/v1/rules` has them all.
const GROUPS_MAX: usize = 256;

/// A figure of a group: name, help, kind, and how to get it.
type OfGroup = (&'static str, &'static str, Kind, fn(&Group) -> f64);

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds are far below 2^53")]
const OF_GROUP: [OfGroup; 6] = [
    ("novascope_rule_group_rules", "Rules of a group.", Kind::Gauge, |group| group.spec.rules.len() as f64),
    ("novascope_rule_group_interval_seconds", "Interval of a group.", Kind::Gauge, |group| {
        group.spec.interval as f64 / 1000.0
    }),
    ("novascope_rule_group_last_evaluation_timestamp_seconds", "When a group ran last.", Kind::Gauge, |group| {
        group.last.lock().started_at as f64 / 1000.0
    }),
    ("novascope_rule_group_last_duration_seconds", "How long the last run of a group took.", Kind::Gauge, |group| {
        group.last.lock().took.as_secs_f64()
    }),
    (
        "novascope_rule_group_last_evaluation_samples",
        "Samples that the last run of a group wrote.",
        Kind::Gauge,
        |group| group.last.lock().samples as f64,
    ),
    ("novascope_rule_group_missed_total", "Iterations that a group missed.", Kind::Counter, |group| {
        group.last.lock().missed as f64
    }),
];

impl Rules {
    /// Contributes what the groups are doing to each gathering of the registry.
    pub fn collect_into(&self, registry: &crate::telemetry::registry::Registry) {
        let rules = self.clone();
        registry.collect(move |families| rules.figures(families));
    }

    fn figures(&self, families: &mut Vec<Family>) {
        let groups = self.groups();
        if groups.is_empty() {
            return;
        }
        for (name, help, kind, get) in OF_GROUP {
            let mut family = Family::new(name, help, kind);
            for group in groups.iter().take(GROUPS_MAX) {
                let key = format!("{};{}", group.spec.file, group.spec.name);
                family.push(&[("rule_group", &key)], get(group));
            }
            families.push(family);
        }
        let mut alerts = Family::new("novascope_rule_alerts", "Alerts of all rules, by state.", Kind::Gauge);
        let (mut pending, mut firing, mut unsent, mut failing) = (0_u32, 0_u32, 0_u32, 0_u32);
        for group in groups.iter() {
            for (_, state) in group.rules() {
                unsent += u32::from(!state.unsent.metrics.is_empty());
                failing += u32::from(state.health.name() == "err");
                for alert in state.alerts.active() {
                    pending += u32::from(alert.state == AlertState::Pending);
                    firing += u32::from(alert.state == AlertState::Firing);
                }
            }
        }
        alerts.push(&[("state", "firing")], f64::from(firing));
        alerts.push(&[("state", "pending")], f64::from(pending));
        families.push(alerts);
        for (name, help, count) in [
            ("novascope_rules_unsent_metrics", "Rules that name a metric which nobody sends.", unsent),
            ("novascope_rules_failing", "Rules whose last evaluation failed.", failing),
        ] {
            families.push(Family {
                name: Cow::Borrowed(name),
                ..Family::single(name, help, Kind::Gauge, f64::from(count))
            });
        }
    }
}
