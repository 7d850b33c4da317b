//! Numbers for people: the humanize functions of Prometheus' and Alertmanager's templates.

use std::sync::Arc;

use super::format::significant;
use super::strings::count;
use super::{Function, Functions, Value};

/// `humanize`, `humanize1024`, `humanizeDuration`, `humanizePercentage`.
pub fn functions() -> Functions {
    let mut functions = Functions::new();
    let mut add = |name, convert: fn(f64) -> String| {
        let function: Function = Arc::new(move |args| match args {
            [value] => Ok(Value::from(convert(value.to_number()?))),
            _ => Err(count(1, args)),
        });
        functions.insert(name, function);
    };
    add("humanize", humanize);
    add("humanize1024", humanize1024);
    add("humanizeDuration", humanize_duration);
    add("humanizePercentage", |value| format!("{}%", significant(value * 100.0, 4)));
    functions
}

fn humanize(mut value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return significant(value, 4);
    }
    let mut prefix = "";
    if value.abs() >= 1.0 {
        for next in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if value.abs() < 1000.0 {
                break;
            }
            prefix = next;
            value /= 1000.0;
        }
    } else {
        for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
            if value.abs() >= 1.0 {
                break;
            }
            prefix = next;
            value *= 1000.0;
        }
    }
    significant(value, 4) + prefix
}

fn humanize1024(mut value: f64) -> String {
    let mut prefix = "";
    if value.is_finite() {
        for next in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
            if value.abs() < 1024.0 {
                break;
            }
            prefix = next;
            value /= 1024.0;
        }
    }
    significant(value, 4) + prefix
}

/// Seconds as `1d 2h 3m 4s`, or with an SI prefix below one second.
pub fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return significant(seconds, 4);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        let mut value = seconds;
        let mut prefix = "";
        for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
            if value.abs() >= 1.0 {
                break;
            }
            prefix = next;
            value *= 1000.0;
        }
        return format!("{}{prefix}s", significant(value, 4));
    }
    let (sign, magnitude) = if seconds < 0.0 { ("-", -seconds) } else { ("", seconds) };
    let whole = magnitude as i64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    let rest = whole % 60;
    if days != 0 {
        return format!("{sign}{days}d {hours}h {minutes}m {rest}s");
    }
    if hours != 0 {
        return format!("{sign}{hours}h {minutes}m {rest}s");
    }
    if minutes != 0 {
        return format!("{sign}{minutes}m {rest}s");
    }
    format!("{sign}{}s", significant(magnitude, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_short() {
        let seen: Vec<_> = [0.0, 1.0, 1_234_567.0, 0.12, 0.000_56, -12_345.0].map(humanize).into();
        assert_eq!(seen, ["0", "1", "1.235M", "120m", "560u", "-12.35k"]);
        let seen: Vec<_> = [0.5, 1_048_576.0, 2048.0].map(humanize1024).into();
        assert_eq!(seen, ["0.5", "1Mi", "2ki"]);
        let seen: Vec<_> = [0.0, 0.1, 1.5, 60.0, 3_600.0, 86_400.0, 899.99, -5_000.0].map(humanize_duration).into();
        assert_eq!(seen, ["0s", "100ms", "1.5s", "1m 0s", "1h 0m 0s", "1d 0h 0m 0s", "14m 59s", "-1h 23m 20s"]);
    }
}
