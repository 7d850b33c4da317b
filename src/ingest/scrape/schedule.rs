//! When a target is due: at the same phase of its interval for ever, whatever happened before.

use std::time::Duration;

use crate::base::clock::Millis;

/// How late a timer may fire and still mean the same due time; at most a tenth of the interval.
const TOLERANCE_MILLIS_MAX: i64 = 10;

/// Due times at `offset`, `offset + interval`, … since the epoch. A target keeps its phase over restarts, and targets
/// with different hashes are spread over the interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    interval: i64,
    offset: i64,
}

impl Schedule {
    pub(super) fn new(interval: i64, hash: u64) -> Self {
        let interval = interval.max(1);
        let offset = hash % interval.unsigned_abs();
        Self { interval, offset: offset.cast_signed() }
    }

    /// The last due time up to `now`.
    fn floor(self, now: Millis) -> Millis {
        now - (now - self.offset).rem_euclid(self.interval)
    }

    /// How long to wait at `now` for the due time after it. Never longer than the interval, so that a wall clock that
    /// jumps cannot stop scraping.
    pub(super) fn wait(self, now: Millis) -> Duration {
        Duration::from_millis((self.floor(now) + self.interval - now).unsigned_abs())
    }

    /// The due time that a timer which fired at `now` was set for, and how many due times since `last` passed without
    /// a scrape. `None` where it fired early and has to be set again.
    pub(super) fn due(self, now: Millis, last: Option<Millis>) -> Option<(Millis, u64)> {
        let tolerance = TOLERANCE_MILLIS_MAX.min(self.interval / 10);
        let due = self.floor(now + tolerance);
        match last {
            // The clock went back by more than a timer can be wrong: start over from where it is now.
            Some(last) if last > due + self.interval => Some((due, 0)),
            Some(last) if due <= last => None,
            Some(last) => Some((due, ((due - last) / self.interval - 1).unsigned_abs())),
            None => Some((due, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a schedule against a clock whose timers are late by up to `jitter`, with scrapes that take `busy`.
    fn simulate(schedule: Schedule, start: Millis, rounds: usize, busy: &dyn Fn(usize) -> i64) -> (Vec<Millis>, u64) {
        let (mut now, mut last, mut times, mut missed) = (start, None, Vec::new(), 0);
        while times.len() < rounds {
            now += i64::try_from(schedule.wait(now).as_millis()).unwrap() + (times.len() as i64 % 3);
            if let Some((due, skipped)) = schedule.due(now, last) {
                missed += skipped;
                last = Some(due);
                times.push(due);
                now += busy(times.len());
            }
        }
        (times, missed)
    }

    #[test]
    fn scrapes_sit_on_the_grid_however_late_timers_fire() {
        let schedule = Schedule::new(1_000, 437);
        let (times, missed) = simulate(schedule, 1_700_000_000_123, 100, &|_| 200);
        assert_eq!(missed, 0);
        assert!(times.iter().enumerate().all(|(i, time)| *time == 1_700_000_000_437 + 1_000 * i as i64));
    }

    #[test]
    fn a_slow_scrape_skips_and_is_counted_and_the_phase_stays() {
        let schedule = Schedule::new(100, 7);
        let (times, missed) = simulate(schedule, 1_000_000, 5, &|round| if round == 2 { 350 } else { 10 });
        assert_eq!(times, [1_000_007, 1_000_107, 1_000_507, 1_000_607, 1_000_707]);
        assert_eq!(missed, 3);
    }

    #[test]
    fn a_clock_set_back_by_an_hour_does_not_stop_scraping() {
        let schedule = Schedule::new(1_000, 0);
        assert_eq!(schedule.due(10_000_001, Some(9_999_000)), Some((10_000_000, 0)));
        assert_eq!(schedule.due(6_400_002, Some(10_000_000)), Some((6_400_000, 0)));
        assert!(schedule.wait(6_400_002) <= Duration::from_secs(1));
        // A timer that fires a millisecond early is not a scrape of the second before.
        assert_eq!(schedule.due(10_000_999, Some(10_000_000)), Some((10_001_000, 0)));
        assert_eq!(schedule.due(10_000_500, Some(10_000_000)), None);
    }
}
