//! Over which time an objective holds: the last 30 days, or the running month in some time zone.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::base::clock::Millis;
use crate::base::units::Period;

const DAY: Millis = 86_400_000;

/// The longest window.
pub const LENGTH_MAX: Millis = 731 * DAY;

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// A window of an objective.
#[derive(Clone, Debug)]
pub enum Window {
    /// The time before now.
    Rolling(Period),
    /// Periods of `count` units, side by side from `anchor` on, which is a time on the clocks of `zone`.
    Calendar { count: i64, unit: Unit, anchor: DateTime, zone: TimeZone },
}

/// A text that is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WindowError(String);

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let units = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];
        units.into_iter().find(|unit| unit.name() == name)
    }

    /// About how long it is.
    fn length(self) -> Millis {
        match self {
            Self::Hour => 3_600_000,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 30 * DAY,
            Self::Quarter => 91 * DAY,
            Self::Year => 365 * DAY,
        }
    }

    fn span(self, count: i64) -> Option<Span> {
        match self {
            Self::Hour => Span::new().try_hours(count).ok(),
            Self::Day => Span::new().try_days(count).ok(),
            Self::Week => Span::new().try_weeks(count).ok(),
            Self::Month => Span::new().try_months(count).ok(),
            Self::Quarter => Span::new().try_months(count.checked_mul(3)?).ok(),
            Self::Year => Span::new().try_years(count).ok(),
        }
    }
}

/// A time zone by its name in the IANA database.
pub fn zone(name: &str) -> Result<TimeZone, WindowError> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        name => TimeZone::get(name).map_err(|_| {
            WindowError(format!(
                "{name:?} is not a time zone of this machine's database; write UTC or such as Europe/Berlin"
            ))
        }),
    }
}

/// OpenSLO's durations: a number and one of m, h, d, w, M, Q, Y.
fn shorthand(text: &str) -> Option<(i64, Unit)> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "h" => Unit::Hour,
        "d" => Unit::Day,
        "w" => Unit::Week,
        // A month; OpenSLO's own examples write the small letter, and no calendar has periods of minutes.
        "M" | "m" => Unit::Month,
        "Q" => Unit::Quarter,
        "Y" => Unit::Year,
        _ => return None,
    };
    Some((number.parse().ok().filter(|number| *number > 0)?, unit))
}

impl Window {
    /// `30d`, `30d rolling`, `1M` (30 days), `calendar month`, `month`.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, WindowError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let window = match *words {
            ["calendar", unit] | [unit] if Unit::from_name(unit).is_some() => {
                let unit = Unit::from_name(unit).unwrap_or(Unit::Month);
                // A Monday, the first of a month, of a quarter and of a year.
                return Ok(Self::Calendar {
                    count: 1,
                    unit,
                    anchor: DateTime::constant(2018, 1, 1, 0, 0, 0, 0),
                    zone: zone.clone(),
                });
            }
            [length] | [length, "rolling"] => Self::rolling(length)?,
            _ => {
                let why = format!("not a window: {text:?} (write 30d, or calendar day, week, month, quarter or year)");
                return Err(WindowError(why));
            }
        };
        Ok(window)
    }

    /// A rolling window. A month has 30 days, a quarter 90, a year 365.
    pub fn rolling(text: &str) -> Result<Self, WindowError> {
        let period = match shorthand(text).filter(|_| !text.ends_with('m')) {
            Some((count, Unit::Quarter)) => Period::from_millis(count.saturating_mul(90 * DAY)),
            Some((count, unit)) => Period::from_millis(count.saturating_mul(unit.length())),
            None => text.parse::<Period>().map_err(|error| WindowError(error.to_string()))?,
        };
        if period.is_zero() {
            return Err(WindowError("a window of 0 holds nothing".to_owned()));
        }
        if period.as_millis() > LENGTH_MAX {
            return Err(WindowError(format!(
                "a window of {period} is longer than {}",
                Period::from_millis(LENGTH_MAX)
            )));
        }
        Ok(Self::Rolling(period))
    }

    /// Periods that stand side by side from a time on.
    pub fn calendar((count, unit): (i64, Unit), anchor: &str, zone: TimeZone) -> Result<Self, WindowError> {
        let anchor: DateTime = anchor
            .parse()
            .map_err(|_| WindowError(format!("not a date and time: {anchor:?} (write 2026-01-01 00:00:00)")))?;
        if unit.length().saturating_mul(count) > LENGTH_MAX {
            return Err(WindowError(format!("{count} {}s are longer than two years", unit.name())));
        }
        Ok(Self::Calendar { count, unit, anchor, zone })
    }

    /// As [`Window::calendar`], with a duration as OpenSLO writes it.
    pub fn calendar_text(duration: &str, anchor: &str, zone: TimeZone) -> Result<Self, WindowError> {
        let why = || WindowError("a calendar window is so many h, d, w, M, Q or Y, such as 1M".to_owned());
        Self::calendar(shorthand(duration).ok_or_else(why)?, anchor, zone)
    }

    /// About how long it is.
    pub fn length(&self) -> Millis {
        match self {
            Self::Rolling(period) => period.as_millis(),
            Self::Calendar { count, unit, .. } => count.saturating_mul(unit.length()),
        }
    }

    /// What it covers at a time: (start, time], and when it ends, which is later for a period of the calendar.
    pub fn at(&self, time: Millis) -> (Millis, Millis) {
        match self {
            Self::Rolling(period) => (time.saturating_sub(period.as_millis()), time),
            Self::Calendar { count, unit, anchor, zone } => {
                let edge = |number: i64| -> Option<Millis> {
                    let span = unit.span(number.checked_mul(*count)?)?;
                    let local = anchor.checked_add(span).ok()?;
                    Some(local.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
                };
                let first = edge(0).unwrap_or(0);
                let mut number = (time - first).div_euclid(self.length().max(1));
                // Periods differ in length, by less than one in any two years; an old anchor may be off by more.
                while edge(number).is_some_and(|start| start >= time) {
                    number -= 1;
                }
                while edge(number + 1).is_some_and(|end| end < time) {
                    number += 1;
                }
                let fallback = time.saturating_sub(self.length());
                (edge(number).unwrap_or(fallback), edge(number + 1).unwrap_or(time))
            }
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling(period) => f.write_str(&days(*period)),
            Self::Calendar { count: 1, unit, .. } => write!(f, "calendar {}", unit.name()),
            Self::Calendar { count, unit, .. } => write!(f, "calendar {count} {}s", unit.name()),
        }
    }
}

/// Days where Prometheus would write weeks: `30d` and `28d` belong together.
pub fn days(period: Period) -> String {
    let millis = period.as_millis();
    if millis >= DAY && millis % DAY == 0 { format!("{}d", millis / DAY) } else { period.to_string() }
}

/// A time as RFC 3339 writes it.
pub fn rfc3339(time: Millis) -> String {
    Timestamp::from_millisecond(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn rolling_windows_end_now() {
        let window = Window::parse("30d", &TimeZone::UTC).unwrap();
        assert_eq!((window.at(30 * DAY + 5), window.to_string()), ((5, 30 * DAY + 5), "30d".to_owned()));
        assert_eq!(Window::rolling("1M").unwrap().length(), 30 * DAY);
        assert_eq!(Window::parse("4w rolling", &TimeZone::UTC).unwrap().to_string(), "28d");
        assert!(Window::parse("soon", &TimeZone::UTC).is_err() && Window::rolling("9y").is_err());
    }

    #[test]
    fn calendar_windows_follow_clocks_and_months() {
        let berlin = zone("Europe/Berlin").unwrap();
        let window = Window::parse("calendar month", &berlin).unwrap();
        let march = (at("2026-02-28T23:00:00Z"), at("2026-03-31T22:00:00Z"));
        assert_eq!(window.at(at("2026-03-15T00:00:00Z")), march);
        // The moment at which a period ends is its last one.
        assert_eq!(window.at(march.1), march);
        assert_eq!(window.at(march.1 + 1).0, march.1);
        let week = Window::parse("week", &TimeZone::UTC).unwrap();
        assert_eq!(week.at(at("2026-03-04T10:00:00Z")).0, at("2026-03-02T00:00:00Z"));
        let quarter = Window::calendar((1, Unit::Quarter), "2022-01-01 12:00:00", TimeZone::UTC).unwrap();
        assert_eq!(quarter.at(at("2026-05-01T00:00:00Z")).0, at("2026-04-01T12:00:00Z"));
        assert_eq!(quarter.at(at("2019-05-01T00:00:00Z")).0, at("2019-04-01T12:00:00Z"));
        assert!(zone("Europe/Atlantis").is_err());
    }
}
