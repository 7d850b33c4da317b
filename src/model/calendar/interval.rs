//! Named time intervals: times of day, weekdays, days of the month, months, years, in a time zone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::base::clock::Millis;

/// `time_intervals` of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NamedIntervals {
    pub name: String,
    pub time_intervals: Vec<Interval>,
}

/// A time is inside when it is inside one range of every field that is given.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Interval {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    times: Vec<TimeRange>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    weekdays: Vec<Weekdays>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    days_of_month: Vec<DaysOfMonth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    months: Vec<Months>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    years: Vec<Years>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
}

/// Minutes of the day, the end not included.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "RawTimeRange", into = "RawTimeRange")]
struct TimeRange {
    from: u16,
    to: u16,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawTimeRange {
    start_time: String,
    end_time: String,
}

impl From<TimeRange> for RawTimeRange {
    fn from(range: TimeRange) -> Self {
        let text = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        Self { start_time: text(range.from), end_time: text(range.to) }
    }
}

impl TryFrom<RawTimeRange> for TimeRange {
    type Error = String;

    fn try_from(raw: RawTimeRange) -> Result<Self, String> {
        let (from, to) = (minute_of_day(&raw.start_time)?, minute_of_day(&raw.end_time)?);
        if from >= to {
            return Err("start time cannot be equal or greater than end time".to_owned());
        }
        Ok(Self { from, to })
    }
}

/// `HH:MM`, up to `24:00`.
fn minute_of_day(text: &str) -> Result<u16, String> {
    let bad = || format!("couldn't parse timestamp {text}, invalid format");
    let (hours, minutes) = text.split_once(':').ok_or_else(bad)?;
    if hours.len() != 2 || minutes.len() != 2 {
        return Err(bad());
    }
    let (hours, minutes): (u16, u16) = (hours.parse().map_err(|_| bad())?, minutes.parse().map_err(|_| bad())?);
    if hours > 24 || minutes > 59 || (hours == 24 && minutes > 0) { Err(bad()) } else { Ok(hours * 60 + minutes) }
}

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// An inclusive range written as `a:b` or `a`.
type Bounds = (i32, i32);

fn parse_bounds(text: &str, member: impl Fn(&str) -> Option<i32>) -> Result<Bounds, String> {
    let text = text.to_lowercase();
    let (from, to) = text.split_once(':').unwrap_or((&text, &text));
    let read =
        |part: &str| member(part.trim()).ok_or_else(|| format!("{part} is not a valid value of the range {text}"));
    Ok((read(from)?, read(to)?))
}

fn ordered((from, to): Bounds) -> Result<Bounds, String> {
    if from > to { Err(format!("start {from} cannot be after end {to}")) } else { Ok((from, to)) }
}

/// A range as Alertmanager writes it: `a:b`, or `a` where both are the same.
fn print_bounds((from, to): Bounds, name: impl Fn(i32) -> String) -> String {
    if from == to { name(from) } else { format!("{}:{}", name(from), name(to)) }
}

macro_rules! range_type {
    ($(#[$doc:meta])* $name:ident, $print:expr, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize)]
        #[serde(try_from = "Scalar")]
        struct $name(i32, i32);

        impl TryFrom<Scalar> for $name {
            type Error = String;

            fn try_from(scalar: Scalar) -> Result<Self, String> {
                let parse: fn(&str) -> Result<Bounds, String> = $parse;
                parse(&scalar.text()).map(|(from, to)| Self(from, to))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let print: fn(i32) -> String = $print;
                serializer.serialize_str(&print_bounds((self.0, self.1), print))
            }
        }
    };
}

/// YAML reads `2024` as a number and `2024:2025` as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(i32),
    Text(String),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

range_type!(
    /// 0 is Sunday.
    Weekdays,
    |day| usize::try_from(day).ok().and_then(|day| WEEKDAYS.get(day)).map_or(String::new(), |day| (*day).to_owned()),
    |text| {
        let day = |part: &str| WEEKDAYS.iter().position(|day| *day == part).map(|at| at as i32);
        parse_bounds(text, day).and_then(ordered)
    }
);

range_type!(
    /// Negative days count from the end of the month, -1 being the last.
    DaysOfMonth,
    |day| day.to_string(),
    |text| {
        let (from, to) = parse_bounds(text, |part| part.parse().ok())?;
        for day in [from, to] {
            if day == 0 || !(-31..=31).contains(&day) {
                return Err(format!("{day} is not a valid day of the month: out of range"));
            }
        }
        if from < 0 && to > 0 {
            return Err("end day must be negative if start day is negative".to_owned());
        }
        if (from < 0) == (to < 0) { ordered((from, to)) } else { Ok((from, to)) }
    }
);

range_type!(Months, |month| month.to_string(), |text| {
    let month = |part: &str| {
        let named = MONTHS.iter().position(|month| *month == part).map(|at| at as i32 + 1);
        named.or_else(|| part.parse().ok().filter(|month| (1..=12).contains(month)))
    };
    parse_bounds(text, month).and_then(ordered)
});

range_type!(Years, |year| year.to_string(), |text| parse_bounds(text, |part| part
    .parse()
    .ok()
    .filter(|year| *year > 0))
.and_then(ordered));

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
struct Location {
    name: String,
    zone: TimeZone,
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.name
    }
}

impl TryFrom<String> for Location {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name == "Local" {
            return Ok(Self { name, zone: TimeZone::system() });
        }
        match TimeZone::get(&name) {
            Ok(zone) => Ok(Self { name, zone }),
            Err(_) => Err(format!("unknown time zone {name}")),
        }
    }
}

/// Days that [`Interval::ranges`] looks at; a longer span is cut off at its start.
const DAYS_MAX: i64 = 3_700;
const MINUTES_PER_DAY: u16 = 24 * 60;

impl Interval {
    /// The parts of a span that are inside, ascending, as begin and end (not included) in milliseconds.
    pub fn ranges(&self, from: Millis, to: Millis) -> Vec<(Millis, Millis)> {
        let zone = self.zone();
        let from = from.max(to.saturating_sub(DAYS_MAX * 86_400_000));
        let (Ok(first), Ok(last)) = (Timestamp::from_millisecond(from), Timestamp::from_millisecond(to)) else {
            return Vec::new();
        };
        let mut ranges: Vec<(Millis, Millis)> = Vec::new();
        let (mut day, last) = (first.to_zoned(zone.clone()).date(), last.to_zoned(zone.clone()).date());
        while from < to && day <= last {
            if self.contains_day(day) {
                let whole = [TimeRange { from: 0, to: MINUTES_PER_DAY }];
                for times in if self.times.is_empty() { &whole[..] } else { &self.times } {
                    let (Some(begin), Some(end)) = (instant(day, times.from, &zone), instant(day, times.to, &zone))
                    else {
                        continue;
                    };
                    let (begin, end) = (begin.max(from), end.min(to));
                    if begin < end {
                        ranges.push((begin, end));
                    }
                }
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        super::union(ranges)
    }

    fn zone(&self) -> TimeZone {
        self.location.as_ref().map_or(TimeZone::UTC, |location| location.zone.clone())
    }

    /// Whether a time, in milliseconds since the epoch, is inside.
    pub fn contains(&self, time: Millis) -> bool {
        let Ok(timestamp) = Timestamp::from_millisecond(time) else {
            return false;
        };
        let local = timestamp.to_zoned(self.zone());
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        any_or_empty(&self.times, |range| (range.from..range.to).contains(&minute)) && self.contains_day(local.date())
    }

    /// Whether the fields of the date are fulfilled.
    fn contains_day(&self, local: Date) -> bool {
        let (day, last) = (i32::from(local.day()), i32::from(local.days_in_month()));
        let weekday = i32::from(local.weekday().to_sunday_zero_offset());
        any_or_empty(&self.days_of_month, |range| {
            // A range that begins after the month's last day never holds in this month.
            let resolve = |day: i32| if day < 0 { last + day + 1 } else { day };
            let (from, to) = (resolve(range.0).max(1), resolve(range.1).min(last));
            resolve(range.0) <= last && (from..=to).contains(&day)
        }) && any_or_empty(&self.months, |range| (range.0..=range.1).contains(&i32::from(local.month())))
            && any_or_empty(&self.weekdays, |range| (range.0..=range.1).contains(&weekday))
            && any_or_empty(&self.years, |range| (range.0..=range.1).contains(&i32::from(local.year())))
    }
}

/// A minute of a local day; one that the clock skips is the next that exists.
fn instant(day: Date, minute: u16, zone: &TimeZone) -> Option<Millis> {
    let time = day.at(0, 0, 0, 0).checked_add(i32::from(minute).minutes()).ok()?;
    Some(time.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
}

fn any_or_empty<T>(ranges: &[T], holds: impl Fn(&T) -> bool) -> bool {
    ranges.is_empty() || ranges.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml;

    #[track_caller]
    fn check(interval: &str, inside: &[&str], outside: &[&str]) {
        let interval: Interval = yaml::read_plain("test.yml", interval).unwrap();
        let millis = |time: &str| time.parse::<Timestamp>().unwrap().as_millisecond();
        for time in inside {
            assert!(interval.contains(millis(time)), "{time} should be inside");
        }
        for time in outside {
            assert!(!interval.contains(millis(time)), "{time} should be outside");
        }
    }

    #[test]
    fn office_hours_follow_the_time_zone() {
        check(
            "{times: [{start_time: '09:00', end_time: '17:00'}], weekdays: ['monday:friday'], location: America/New_York}",
            &["2026-07-01T13:00:00Z", "2026-01-05T14:00:00Z"],
            &["2026-07-01T12:59:00Z", "2026-07-01T21:00:00Z", "2026-07-04T15:00:00Z"],
        );
    }

    #[test]
    fn days_may_count_from_the_end_of_the_month() {
        check(
            "{days_of_month: ['-3:-1']}",
            &["2026-02-26T00:00:00Z", "2026-01-31T23:00:00Z"],
            &["2026-01-28T00:00:00Z"],
        );
        check("{days_of_month: ['29:31']}", &["2026-01-29T00:00:00Z"], &["2026-02-28T00:00:00Z"]);
        check(
            "{months: ['january:march', '12'], years: [2026]}",
            &["2026-12-01T00:00:00Z"],
            &["2025-02-01T00:00:00Z", "2026-04-01T00:00:00Z"],
        );
        check(
            "{times: [{start_time: '23:00', end_time: '24:00'}]}",
            &["2026-12-01T23:59:00Z"],
            &["2026-12-01T00:00:00Z"],
        );
    }

    #[test]
    fn wrong_intervals_say_why() {
        let error = |text: &str| yaml::read_plain::<Interval>("test.yml", text).unwrap_err().to_string();
        assert!(error("{times: [{start_time: '17:00', end_time: '09:00'}]}").contains("cannot be equal or greater"));
        assert!(error("{location: Mars/Base}").contains("unknown time zone Mars/Base"));
        assert!(error("{weekdays: ['friday:monday']}").contains("cannot be after"));
        assert!(error("{days_of_month: ['0']}").contains("out of range"));
    }
}
