//! Times and durations in templates, with Go's layouts.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::base::clock::Millis;
use crate::template::{Object, Value};

/// A moment in a time zone. `None` is Go's zero time.
#[derive(Clone, Debug)]
pub struct Time(Option<Zoned>);

/// A length of time, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elapsed(pub(super) f64);

impl Time {
    pub fn utc(time: Millis) -> Self {
        Self(Timestamp::from_millisecond(time).ok().map(|timestamp| timestamp.to_zoned(TimeZone::UTC)))
    }

    pub fn zero() -> Self {
        Self(None)
    }

    pub(super) fn in_zone(&self, name: &str) -> Result<Self, String> {
        let zone = TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))?;
        Ok(Self(self.0.as_ref().map(|zoned| zoned.with_time_zone(zone))))
    }

    /// The time a duration later, in the same zone.
    fn plus(&self, length: &Value) -> Result<Self, String> {
        let secs = match length {
            Value::Object(object) => object.number(),
            // A bare number is nanoseconds, as in Go.
            Value::Int(nanos) => Some(*nanos as f64 / 1e9),
            _ => None,
        };
        let secs = secs.ok_or_else(|| format!("expected time.Duration; found {}", length.type_name()))?;
        let length = jiff::SignedDuration::try_from_secs_f64(secs).map_err(|error| error.to_string())?;
        let later = self.0.as_ref().map(|zoned| zoned.checked_add(length)).transpose();
        later.map(Self).map_err(|error| error.to_string())
    }

    fn millis(&self) -> Option<Millis> {
        self.0.as_ref().map(|zoned| zoned.timestamp().as_millisecond())
    }

    /// The text by a layout of Go's reference time, `Mon Jan 2 15:04:05 MST 2006`.
    pub(super) fn format(&self, layout: &str) -> String {
        let zero = "0001-01-01T00:00:00[UTC]".parse::<Zoned>();
        let zoned = match (&self.0, &zero) {
            (Some(zoned), _) => zoned,
            (None, Ok(zoned)) => zoned,
            (None, Err(_)) => return String::new(),
        };
        let mut text = String::new();
        let mut rest = layout;
        while let Some(first) = rest.chars().next() {
            let part = PARTS.iter().find(|(name, _)| rest.starts_with(name));
            match part {
                Some((name, directive)) => {
                    text.push_str(&directive.write(zoned, name));
                    rest = &rest[name.len()..];
                }
                None => {
                    text.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        text
    }
}

/// How a part of a layout is written.
#[derive(Clone, Copy)]
enum Part {
    /// A directive of strftime.
    Strftime(&'static str),
    /// Digits of the second after the point; nines drop trailing zeros.
    Fraction,
    /// `Z07:00` and `Z0700`: Z at UTC, else the offset.
    OffsetOrZ(&'static str),
}

impl Part {
    fn write(self, zoned: &Zoned, name: &str) -> String {
        match self {
            Self::Strftime(directive) => zoned.strftime(directive).to_string(),
            Self::Fraction => {
                let digits = format!("{:09}", zoned.subsec_nanosecond());
                let kept = &digits[..(name.len() - 1).min(9)];
                let kept = if name.contains('9') { kept.trim_end_matches('0') } else { kept };
                if kept.is_empty() { String::new() } else { format!(".{kept}") }
            }
            Self::OffsetOrZ(directive) => {
                if zoned.offset().seconds() == 0 {
                    "Z".to_owned()
                } else {
                    zoned.strftime(directive).to_string()
                }
            }
        }
    }
}

/// Go's layout parts; longer ones stand before their prefixes.
const PARTS: [(&str, Part); 32] = [
    ("January", Part::Strftime("%B")),
    ("Jan", Part::Strftime("%b")),
    ("Monday", Part::Strftime("%A")),
    ("Mon", Part::Strftime("%a")),
    ("MST", Part::Strftime("%Z")),
    ("2006", Part::Strftime("%Y")),
    ("002", Part::Strftime("%j")),
    ("01", Part::Strftime("%m")),
    ("02", Part::Strftime("%d")),
    ("03", Part::Strftime("%I")),
    ("04", Part::Strftime("%M")),
    ("05", Part::Strftime("%S")),
    ("06", Part::Strftime("%y")),
    ("15", Part::Strftime("%H")),
    ("PM", Part::Strftime("%p")),
    ("pm", Part::Strftime("%P")),
    ("-07:00", Part::Strftime("%:z")),
    ("-0700", Part::Strftime("%z")),
    ("Z07:00", Part::OffsetOrZ("%:z")),
    ("Z0700", Part::OffsetOrZ("%z")),
    (".000000000", Part::Fraction),
    (".000000", Part::Fraction),
    (".000", Part::Fraction),
    (".999999999", Part::Fraction),
    (".999999", Part::Fraction),
    (".999", Part::Fraction),
    ("_2", Part::Strftime("%e")),
    ("1", Part::Strftime("%-m")),
    ("2", Part::Strftime("%-d")),
    ("3", Part::Strftime("%-I")),
    ("4", Part::Strftime("%-M")),
    ("5", Part::Strftime("%-S")),
];

/// A time as Go's JSON writes it: RFC 3339, fractions only where there are any.
pub fn go_rfc3339(time: Millis) -> String {
    Time::utc(time).format("2006-01-02T15:04:05.999Z07:00")
}

impl Object for Time {
    fn type_name(&self) -> &'static str {
        "time.Time"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let field = |number: fn(&Zoned) -> i64| Ok(Value::Int(self.0.as_ref().map_or(1, number)));
        Some(match (name, args) {
            ("Format", [layout]) => Ok(Value::from(self.format(&layout.text()))),
            ("Unix", []) => Ok(Value::Int(self.millis().map_or(-62_135_596_800, |ms| ms.div_euclid(1_000)))),
            ("UnixMilli", []) => Ok(Value::Int(self.millis().unwrap_or(-62_135_596_800_000))),
            ("IsZero", []) => Ok(Value::Bool(self.0.is_none())),
            ("UTC", []) => self.in_zone("UTC").map(|time| Value::Object(Arc::new(time))),
            ("Year", []) => field(|zoned| i64::from(zoned.year())),
            ("Month", []) => Ok(Value::from(self.format("January"))),
            ("Day", []) => field(|zoned| i64::from(zoned.day())),
            ("Hour", []) => field(|zoned| i64::from(zoned.hour())),
            ("Minute", []) => field(|zoned| i64::from(zoned.minute())),
            ("Second", []) => field(|zoned| i64::from(zoned.second())),
            ("Weekday", []) => Ok(Value::from(self.format("Monday"))),
            ("String", []) => Ok(Value::from(self.text())),
            ("Add", [length]) => self.plus(length).map(|time| Value::Object(Arc::new(time))),
            ("Before", [other]) => millis_of(other).map(|other| Value::Bool(self.millis() < Some(other))),
            ("After", [other]) => millis_of(other).map(|other| Value::Bool(self.millis() > Some(other))),
            _ => return None,
        })
    }

    fn text(&self) -> String {
        self.format("2006-01-02 15:04:05.999999999 -0700 MST")
    }
}

impl Elapsed {
    /// The time from a moment until now.
    pub(super) fn since(time: &Value, now: Millis) -> Result<Self, String> {
        millis_of(time).map(|then| Self(now.saturating_sub(then) as f64 / 1_000.0))
    }
}

/// The milliseconds of a value that is a time.
fn millis_of(time: &Value) -> Result<Millis, String> {
    match time {
        Value::Object(object) => match object.get("UnixMilli", &[]) {
            Some(Ok(Value::Int(then))) => Ok(then),
            _ => Err(format!("expected time.Time; found {}", object.type_name())),
        },
        other => Err(format!("expected time.Time; found {}", other.type_name())),
    }
}

impl Object for Elapsed {
    fn type_name(&self) -> &'static str {
        "time.Duration"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        Some(Ok(Value::Float(match (name, args) {
            ("Seconds", []) => self.0,
            ("Minutes", []) => self.0 / 60.0,
            ("Hours", []) => self.0 / 3_600.0,
            _ => return None,
        })))
    }

    /// As Go's `Duration.String`: `1h2m3.5s`.
    fn text(&self) -> String {
        let (sign, seconds) = if self.0 < 0.0 { ("-", -self.0) } else { ("", self.0) };
        let (hours, minutes) = ((seconds / 3_600.0).floor(), (seconds % 3_600.0 / 60.0).floor());
        let rest = (seconds % 60.0 * 1e9).round() / 1e9;
        if hours > 0.0 {
            format!("{sign}{hours}h{minutes}m{rest}s")
        } else if minutes > 0.0 {
            format!("{sign}{minutes}m{rest}s")
        } else if rest >= 1.0 || rest == 0.0 {
            format!("{sign}{rest}s")
        } else {
            format!("{sign}{}ms", rest * 1_000.0)
        }
    }

    fn number(&self) -> Option<f64> {
        Some(self.0)
    }
}
