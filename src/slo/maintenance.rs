//! Time that does not count: windows of the one calendar that alerts and objectives share.
//!
//! A counter's rise counts at the later of two samples, so a window takes what rose in (start, end].

use crate::base::clock::Millis;
use crate::model::calendar::Calendar;
use crate::model::labels::Labels;
use crate::notify::matchers::{all_match, parse};
use crate::slo::objective::Objective;

/// The windows that hold for an objective: those without matchers, and those whose matchers its labels fulfil, its name
/// (`slo`) and service among them. A window for one host or one alert is none for a whole service.
pub fn of(calendar: &Calendar, objective: &Objective) -> Calendar {
    let labels = Labels::from_pairs(objective.identity());
    let fulfils = |list: &String| parse(list).is_ok_and(|all| all_match(&all, &labels));
    let windows = calendar.windows.iter().filter(|window| window.matchers.iter().all(fulfils));
    Calendar { windows: windows.cloned().collect() }
}

/// The parts of a span that no window takes, ascending.
pub fn counted(calendar: &Calendar, from: Millis, to: Millis) -> Vec<(Millis, Millis)> {
    let mut parts = Vec::new();
    let mut at = from;
    for (start, end) in calendar.ranges(from, to) {
        if start > at {
            parts.push((at, start));
        }
        at = at.max(end);
    }
    if at < to {
        parts.push((at, to));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_and_repeated_windows_are_taken_once() {
        let calendar: Calendar = serde_saphyr::from_str(
            "- {name: a, start: '1970-01-01T00:00:10Z', end: '1970-01-01T00:00:20Z'}\n\
             - {name: b, start: '1970-01-01T00:00:15Z', duration: 10s}\n\
             - {name: c, start: '1970-01-01T00:01:00Z', duration: 5s, every: 1m, until: '1970-01-01T00:03:00Z'}\n",
        )
        .unwrap();
        let expect = [(0, 10_000), (25_000, 60_000), (65_000, 120_000), (125_000, 130_000)];
        assert_eq!(counted(&calendar, 0, 130_000), expect);
        assert_eq!(counted(&Calendar::default(), 5, 6), [(5, 6)]);
        assert!(counted(&calendar, 12_000, 18_000).is_empty());
    }
}
