//! Looks between two evaluations whether an alert without `for` fires already.
//!
//! A group of an interval of a second waits half a second on average before it sees a bad sample. Where a rule has no
//! `for`, nothing is gained by the wait: so such rules are looked at whenever the store was written to, as often as a small
//! share of one core allows. This only ever lets an alert fire; all else, and all series, are left to the evaluations on
//! the grid.

use std::time::Duration;

use crate::base::tasks::TaskKind;
use crate::rules::engine::Rules;

/// Between two looks at the store.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How often it is asked whether there is a group to look at.
const IDLE_EVERY: Duration = Duration::from_secs(1);

/// After a pass, this many times its length is rested: at most a sixteenth of one core goes into looking.
const REST: u32 = 15;

impl Rules {
    /// Looks until the process stops.
    pub async fn watch(self) {
        let mut rest = LOOK_EVERY;
        loop {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.0.drain.wait() => return,
            }
            rest = LOOK_EVERY;
            let groups = self.groups();
            if !groups.iter().any(|group| group.may_be_early()) {
                rest = IDLE_EVERY;
                continue;
            }
            let world = self.0.world.load_full();
            if !world.backend.has_changed() {
                continue;
            }
            let pass = move || {
                let begin = world.clock.monotonic();
                groups.iter().filter(|group| group.may_be_early()).for_each(|group| group.look_early(&world));
                world.clock.monotonic().saturating_sub(begin)
            };
            if let Ok(took) = self.0.tasks.spawn_blocking(TaskKind::RuleGroup, pass).await {
                rest = rest.max(took * REST);
            }
        }
    }
}
