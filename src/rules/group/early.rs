//! Alerts that fire before their group's next evaluation. When this is done is `engine::early`'s.

use crate::base::clock::Millis;
use crate::rules::expansion::Expander;
use crate::rules::group::{Group, World, firing};
use crate::rules::rule::{Alerting, OnNoData, Rule};

/// Groups that are evaluated less often did not ask for haste.
const INTERVAL_MAX: Millis = 1_000;

/// So close before an evaluation it is waited for.
const MARGIN: Millis = 10;

impl Group {
    /// Whether the group has rules that may fire between evaluations.
    pub fn may_be_early(&self) -> bool {
        self.spec.interval <= INTERVAL_MAX
            && self.spec.interval > 2 * MARGIN
            && self.spec.rules.iter().any(|rule| rule.alerting().is_some_and(is_hasty))
    }

    /// Lets alerts fire whose rules have no `for`, unless an evaluation runs or is due.
    pub fn look_early(&self, world: &World) {
        let Ok(_turn) = self.turn.try_lock() else { return };
        for (index, rule) in self.spec.rules.iter().enumerate() {
            let Some(alerting) = rule.alerting().filter(|alerting| is_hasty(alerting)) else { continue };
            // An evaluation for an earlier time would not see the sample and resolve the alert again.
            let (now, last) = (world.clock.now(), self.last.lock().time);
            if last == 0 || !(last..last + self.spec.interval - MARGIN).contains(&now) {
                return;
            }
            if self.shifted(world, now) == now {
                self.look_at(world, (index, rule, alerting), now);
            }
        }
    }

    fn look_at(&self, world: &World, (index, rule, alerting): (usize, &Rule, &Alerting), now: Millis) {
        // What goes wrong here goes wrong in the next evaluation too, which tells.
        let Ok(vector) = world.backend.query(&rule.query, &rule.expr, now) else { return };
        if vector.is_empty() {
            return;
        }
        let expander = Expander::new(&rule.name, &world.backend, &world.surroundings, now);
        let found = vector.iter().map(|sample| firing(rule, alerting, sample, &expander)).collect();
        let due = self.with_state(index, |state| {
            if state.alerts.fire_early(found, now, self.spec.limit) {
                state.alerts.to_send(now, world.resend_delay, self.spec.interval)
            } else {
                Vec::new()
            }
        });
        let due = due.unwrap_or_default();
        if !due.is_empty() {
            world.sink.take(&rule.query, &due);
        }
    }
}

fn is_hasty(alerting: &Alerting) -> bool {
    alerting.hold == 0 && alerting.on_no_data != OnNoData::Alert
}
