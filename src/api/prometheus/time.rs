//! Times and durations of query parameters, as Prometheus reads them.

use crate::base::units::Period;

/// The earliest time there is, in milliseconds. Far enough from the edge of `i64` that windows around it do not wrap.
pub const TIME_MIN: i64 = i64::MIN / 2;

/// The latest time there is, in milliseconds.
pub const TIME_MAX: i64 = i64::MAX / 2;

/// How Prometheus' clients write the earliest and latest time; no calendar reaches that far.
const MIN_FORMATTED: &str = "-292273086-05-16T16:47:06Z";
const MAX_FORMATTED: &str = "292277025-08-18T07:12:54.999999999Z";

/// Seconds since 1970 (also fractions, negative, or far in the future) or RFC 3339, in milliseconds.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && !seconds.is_nan()
    {
        // Rounded to the millisecond, because 1435781430.781 has no exact float.
        return Ok(((seconds * 1e3).round() as i64).clamp(TIME_MIN, TIME_MAX));
    }
    match text {
        MIN_FORMATTED => return Ok(TIME_MIN),
        MAX_FORMATTED => return Ok(TIME_MAX),
        _ => {}
    }
    text.parse::<jiff::Timestamp>()
        .map(|time| time.as_nanosecond().div_euclid(1_000_000) as i64)
        .map_err(|_| format!("cannot parse {text:?} to a valid timestamp"))
}

/// Seconds as a float, or a duration such as `1h30m`, in milliseconds. A positive duration below one millisecond is
/// one, so that it does not turn into none.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let ms = if let Ok(seconds) = text.parse::<f64>() {
        // The limit of Prometheus: nanoseconds in 64 bits.
        if seconds.is_nan() || (seconds * 1e9).abs() > i64::MAX as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        seconds * 1e3
    } else {
        return text
            .parse::<Period>()
            .map(Period::as_millis)
            .map_err(|_| format!("cannot parse {text:?} to a valid duration"));
    };
    Ok(if ms > 0.0 { (ms.round() as i64).max(1) } else { ms.round() as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(parse_time("4"), Ok(4_000));
        assert_eq!(parse_time("-1.5"), Ok(-1_500));
        assert_eq!(parse_time("1435781430.781"), Ok(1_435_781_430_781));
        assert_eq!(parse_time("1e3"), Ok(1_000_000));
        // Grafana's probe for exemplars: milliseconds where seconds are asked for.
        assert_eq!(parse_time("1700000000000"), Ok(1_700_000_000_000_000));
        assert_eq!(parse_time("2015-07-01T20:10:51.781Z"), Ok(1_435_781_451_781));
        assert_eq!(parse_time("2015-07-01T22:10:51.781+02:00"), Ok(1_435_781_451_781));
        assert_eq!(parse_time(MIN_FORMATTED), Ok(TIME_MIN));
        assert_eq!(parse_time("1e300"), Ok(TIME_MAX));
        assert_eq!(parse_time("now"), Err("cannot parse \"now\" to a valid timestamp".to_owned()));
        assert!(parse_time("").is_err() && parse_time("NaN").is_err());
    }

    #[test]
    fn durations_are_seconds_or_units_in_order() {
        assert_eq!(parse_duration("15"), Ok(15_000));
        assert_eq!(parse_duration("0.25"), Ok(250));
        assert_eq!(parse_duration("1h30m5ms"), Ok(5_400_005));
        assert_eq!(parse_duration("0"), Ok(0));
        assert_eq!(parse_duration("0.0001"), Ok(1));
        for wrong in ["", "5m1h", "1m1m", "m", "1.5h", "5 m"] {
            assert_eq!(parse_duration(wrong), Err(format!("cannot parse {wrong:?} to a valid duration")));
        }
        assert!(parse_duration("1e300").unwrap_err().ends_with("It overflows int64"));
    }
}
