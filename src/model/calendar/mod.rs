//! Maintenance: windows of time that happen once or come again, and how much of a span they take.
//!
//! One calendar serves alerts (which stay silent in a window) and objectives (which do not count it). Windows are plain
//! data that is told the time. A window that comes again is written as Alertmanager's time intervals, or as a first
//! window with `every`, which may then cross midnight.

pub mod interval;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use self::interval::Interval;
use crate::base::clock::Millis;
use crate::base::units::Period;

/// Windows that one `every` may give for one question; more are cut off.
const REPEATS_MAX: i64 = 100_000;

/// A window of maintenance. Times are milliseconds since the epoch; an end is not included.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawWindow")]
pub struct Window {
    pub name: String,
    /// The bounds; for a window that comes again by intervals they say when that begins and ends.
    pub start: Option<Millis>,
    pub end: Option<Millis>,
    /// The window comes again this long after its start, until `until`.
    pub every: Option<Period>,
    pub until: Option<Millis>,
    /// The window holds inside these intervals.
    pub time_intervals: Vec<Interval>,
    /// Which alerts it silences, in Alertmanager's syntax; none means all.
    pub matchers: Vec<String>,
    pub comment: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    name: String,
    start: Option<String>,
    end: Option<String>,
    duration: Option<Period>,
    every: Option<Period>,
    until: Option<String>,
    #[serde(default)]
    time_intervals: Vec<Interval>,
    #[serde(default)]
    matchers: Vec<String>,
    #[serde(default)]
    comment: String,
}

fn read_time(text: Option<&String>) -> Result<Option<Millis>, String> {
    let parse = |text: &String| {
        let time: Timestamp = text.parse().map_err(|_| {
            format!(
                "{text:?} is not a time: write it with its offset, such as 2026-01-31T22:00:00Z or …T22:00:00+01:00"
            )
        })?;
        Ok(time.as_millisecond())
    };
    text.map(parse).transpose()
}

impl TryFrom<RawWindow> for Window {
    type Error = String;

    fn try_from(raw: RawWindow) -> Result<Self, String> {
        let name = raw.name;
        let fail = |what: &str| Err(format!("maintenance {name:?}: {what}"));
        let (start, mut end) = (read_time(raw.start.as_ref())?, read_time(raw.end.as_ref())?);
        if let Some(duration) = raw.duration {
            let Some(start) = start else { return fail("duration needs start") };
            if end.is_some() {
                return fail("give end or duration, not both");
            }
            end = Some(start.saturating_add(duration.as_millis()));
        }
        if raw.time_intervals.is_empty() && (start.is_none() || end.is_none()) {
            return fail("start with end or duration is required, or time_intervals");
        }
        if let (Some(start), Some(end)) = (start, end)
            && end <= start
        {
            return fail("end must be after start");
        }
        if let Some(every) = raw.every {
            if !raw.time_intervals.is_empty() {
                return fail("give every or time_intervals, not both");
            }
            if every.as_millis() < end.unwrap_or(0).saturating_sub(start.unwrap_or(0)) {
                return fail("every must be at least as long as the window");
            }
        }
        if raw.until.is_some() && raw.every.is_none() {
            return fail("until needs every");
        }
        Ok(Self {
            start,
            end,
            every: raw.every,
            until: read_time(raw.until.as_ref())?,
            time_intervals: raw.time_intervals,
            matchers: raw.matchers,
            comment: raw.comment,
            name,
        })
    }
}

/// For the list of settings only: the name says which window it is.
impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl Window {
    /// A window that happens once.
    pub fn once(name: &str, start: Millis, end: Millis) -> Self {
        Self {
            name: name.to_owned(),
            start: Some(start),
            end: Some(end),
            every: None,
            until: None,
            time_intervals: Vec::new(),
            matchers: Vec::new(),
            comment: String::new(),
        }
    }

    pub fn contains(&self, time: Millis) -> bool {
        if !self.time_intervals.is_empty() {
            return self.start.is_none_or(|start| start <= time)
                && self.end.is_none_or(|end| time < end)
                && self.time_intervals.iter().any(|interval| interval.contains(time));
        }
        !self.ranges(time, time.saturating_add(1)).is_empty()
    }

    /// The parts of the span that the window takes, ascending and apart from each other.
    pub fn ranges(&self, from: Millis, to: Millis) -> Vec<(Millis, Millis)> {
        if !self.time_intervals.is_empty() {
            let (from, to) = (from.max(self.start.unwrap_or(from)), to.min(self.end.unwrap_or(to)));
            return union(self.time_intervals.iter().flat_map(|interval| interval.ranges(from, to)).collect());
        }
        let (Some(start), Some(end)) = (self.start, self.end) else { return Vec::new() };
        let cut = |start: Millis, end: Millis| {
            let (start, end) = (start.max(from), end.min(to));
            (start < end).then_some((start, end))
        };
        let every = self.every.map_or(0, Period::as_millis);
        if every <= 0 {
            return cut(start, end).into_iter().collect();
        }
        // The first repetition that may still reach into the span.
        let first = (from.saturating_sub(end)).div_euclid(every).max(0);
        let until = self.until.unwrap_or(Millis::MAX);
        let starts =
            (first..first.saturating_add(REPEATS_MAX)).map(|number| start.saturating_add(number.saturating_mul(every)));
        starts
            .take_while(|start| *start < to && *start < until)
            .filter_map(|one| cut(one, one.saturating_add(end - start)))
            .collect()
    }

    /// The end of the part that holds at a time; `None` where none holds. Looks a month ahead.
    pub fn ends_after(&self, time: Millis) -> Option<Millis> {
        let ranges = self.ranges(time, time.saturating_add(31 * 86_400_000));
        ranges.first().filter(|range| range.0 == time).map(|range| range.1)
    }
}

/// A window's part of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    pub name: String,
    pub start: Millis,
    pub end: Millis,
}

/// All windows.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Calendar {
    pub windows: Vec<Window>,
}

impl Calendar {
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// The windows that hold at a time.
    pub fn at(&self, time: Millis) -> impl Iterator<Item = &Window> {
        self.windows.iter().filter(move |window| window.contains(time))
    }

    pub fn contains(&self, time: Millis) -> bool {
        self.at(time).next().is_some()
    }

    /// What each window takes of a span, to be listed; windows may overlap.
    pub fn excluded(&self, from: Millis, to: Millis) -> Vec<Excluded> {
        let one = |window: &Window| {
            let ranges = window.ranges(from, to);
            let name = window.name.clone();
            ranges.into_iter().map(move |(start, end)| Excluded { name: name.clone(), start, end })
        };
        let mut all: Vec<_> = self.windows.iter().flat_map(one).collect();
        all.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
        all
    }

    /// The parts of a span that any window takes, ascending and apart from each other.
    pub fn ranges(&self, from: Millis, to: Millis) -> Vec<(Millis, Millis)> {
        union(self.windows.iter().flat_map(|window| window.ranges(from, to)).collect())
    }

    /// How many minutes of a span any window takes; what several take counts once.
    pub fn excluded_minutes(&self, from: Millis, to: Millis) -> f64 {
        self.ranges(from, to).iter().map(|(start, end)| end - start).sum::<Millis>() as f64 / 60_000.0
    }
}

/// Joins ranges that touch or overlap.
pub(crate) fn union(mut ranges: Vec<(Millis, Millis)>) -> Vec<(Millis, Millis)> {
    ranges.sort_unstable();
    let mut joined: Vec<(Millis, Millis)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml;

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn calendar(text: &str) -> Calendar {
        yaml::read_plain("test.yml", text).unwrap()
    }

    #[test]
    fn overlapping_windows_count_once_and_are_listed_each() {
        let calendar = calendar(
            "[{name: a, start: '2026-01-01T00:00:00Z', end: '2026-01-01T02:00:00Z'}, \
              {name: b, start: '2026-01-01T02:00:00+01:00', duration: 2h}]",
        );
        let (from, to) = (at("2026-01-01T00:30:00Z"), at("2026-01-02T00:00:00Z"));
        assert_eq!(calendar.excluded_minutes(from, to), 150.0);
        let listed: Vec<_> = calendar.excluded(from, to).into_iter().map(|one| (one.name, one.start)).collect();
        assert_eq!(listed, [("a".to_owned(), from), ("b".to_owned(), at("2026-01-01T01:00:00Z"))]);
        assert!(calendar.contains(from) && !calendar.contains(at("2026-01-01T03:00:00Z")));
    }

    #[test]
    fn a_window_comes_again() {
        let weekly = calendar(
            "[{name: w, start: '2026-01-03T23:00:00Z', duration: 2h, every: 1w, until: '2026-02-01T00:00:00Z'}]",
        );
        assert!(weekly.contains(at("2026-01-11T00:30:00Z")));
        assert!(!weekly.contains(at("2026-01-11T01:00:00Z")));
        assert!(!weekly.contains(at("2026-02-07T23:30:00Z")), "after until");
        assert_eq!(weekly.excluded_minutes(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")), 5.0 * 120.0);
        assert_eq!(weekly.windows[0].ends_after(at("2026-01-11T00:30:00Z")), Some(at("2026-01-11T01:00:00Z")));
    }

    #[test]
    fn intervals_follow_the_clock_of_their_zone() {
        let nightly = calendar(
            "[{name: n, time_intervals: [{times: [{start_time: '01:00', end_time: '04:00'}], location: Europe/Berlin}]}]",
        );
        // On 29 March 2026 the hour from two to three does not exist there.
        let day = |text: &str| nightly.excluded_minutes(at(text), at(text) + 86_400_000);
        assert_eq!((day("2026-03-28T12:00:00Z"), day("2026-03-29T12:00:00Z")), (120.0, 180.0));
        let slow: i64 =
            (0..1_440).map(|minute| i64::from(nightly.contains(at("2026-03-28T12:00:00Z") + minute * 60_000))).sum();
        assert_eq!(slow, 120);
        let year = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        assert_eq!(nightly.ranges(year.0, year.1).len(), 365);
    }

    #[test]
    fn wrong_windows_say_why() {
        let error = |text: &str| yaml::read_plain::<Calendar>("test.yml", text).unwrap_err().to_string();
        assert!(error("[{name: a, start: '2026-01-01'}]").contains("is not a time"));
        assert!(error("[{name: a, start: '2026-01-01T00:00:00Z'}]").contains("end or duration"));
        assert!(
            error("[{name: a, start: '2026-01-01T00:00:00Z', duration: 2h, every: 1h}]").contains("at least as long")
        );
    }
}
