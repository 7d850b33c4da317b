//! When a group is evaluated: on a grid of its interval, shifted so that groups do not all run at once.

use xxhash_rust::xxh3::xxh3_64;

use crate::base::clock::Millis;

/// The grid of one group. Evaluations carry grid times, so that results stand on the grid however late they ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval: Millis,
    shift: Millis,
}

/// An evaluation that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub time: Millis,
    /// Grid times that passed without an evaluation.
    pub missed: u64,
}

impl Schedule {
    pub fn new(file: &str, group: &str, interval: Millis) -> Self {
        let interval = interval.max(1);
        let hash = xxh3_64(format!("{file};{group}").as_bytes());
        let shift = Millis::try_from(hash % interval.unsigned_abs()).unwrap_or(0);
        Self { interval, shift }
    }

    /// The last grid time that is not after `now`.
    pub fn slot_before(self, now: Millis) -> Millis {
        now - (now - self.shift).rem_euclid(self.interval)
    }

    /// How long to wait after the evaluation for `last`.
    pub fn wait(self, last: Millis, now: Millis) -> Millis {
        // A clock that was set back would let the group wait for hours: start over on the grid.
        if now < last - self.interval {
            return self.slot_before(now) + self.interval - now;
        }
        (last + self.interval - now).max(0)
    }

    /// The evaluation that is due now, if one is, after that for `last`.
    pub fn due(self, last: Millis, now: Millis) -> Option<Due> {
        if now < last - self.interval {
            return Some(Due { time: self.slot_before(now), missed: 0 });
        }
        let passed = (now - last) / self.interval;
        if passed < 1 {
            return None;
        }
        Some(Due { time: last + passed * self.interval, missed: (passed - 1).unsigned_abs() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_on_the_grid_and_counts_what_it_missed() {
        let schedule = Schedule { interval: 100, shift: 30 };
        assert_eq!(schedule.slot_before(1_029), 930);
        assert_eq!(schedule.slot_before(1_030), 1_030);
        assert_eq!(schedule.wait(930, 1_000), 30);
        assert_eq!(schedule.due(930, 1_029), None);
        assert_eq!(schedule.due(930, 1_041), Some(Due { time: 1_030, missed: 0 }));
        assert_eq!(schedule.due(930, 1_335), Some(Due { time: 1_330, missed: 3 }));
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_group() {
        let schedule = Schedule { interval: 100, shift: 0 };
        assert_eq!(schedule.wait(50_000, 1_010), 90);
        assert_eq!(schedule.due(50_000, 1_110), Some(Due { time: 1_100, missed: 0 }));
        assert!(Schedule::new("f", "g", 60_000).slot_before(1_000_000) <= 1_000_000);
    }
}
