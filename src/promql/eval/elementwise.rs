//! Functions of single values: mathematics, clamping, parts of dates.

use crate::model::histogram::Histogram;

/// A function of one float.
pub(super) type FloatFunction = fn(f64) -> f64;

/// The function of this name, if it maps floats one by one.
pub(super) fn float_function(name: &str) -> Option<FloatFunction> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "sgn" => |value| {
            if value < 0.0 {
                -1.0
            } else if value > 0.0 {
                1.0
            } else {
                value
            }
        },
        _ => return date_function(name),
    })
}

/// The function of this name, if it takes a part out of a time in seconds since the epoch, in UTC.
pub(super) fn date_function(name: &str) -> Option<FloatFunction> {
    Some(match name {
        "minute" => |time| Date::of(time).minute,
        "hour" => |time| Date::of(time).hour,
        "day_of_week" => |time| Date::of(time).weekday,
        "day_of_month" => |time| Date::of(time).day,
        "day_of_year" => |time| Date::of(time).day_of_year,
        "days_in_month" => |time| Date::of(time).days_in_month,
        "month" => |time| Date::of(time).month,
        "year" => |time| Date::of(time).year,
        _ => return None,
    })
}

/// Parts of a time in the proleptic Gregorian calendar.
struct Date {
    minute: f64,
    hour: f64,
    weekday: f64,
    day: f64,
    day_of_year: f64,
    days_in_month: f64,
    month: f64,
    year: f64,
}

impl Date {
    fn of(time: f64) -> Self {
        let seconds = go_seconds(time);
        let days = seconds.div_euclid(86_400);
        let second = seconds.rem_euclid(86_400);
        // Years begin in March here, so that leap days come last.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i128::from(month <= 2);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let before: i128 = lengths[..(month - 1) as usize].iter().sum();
        Self {
            minute: (second / 60 % 60) as f64,
            hour: (second / 3_600) as f64,
            weekday: (days + 4).rem_euclid(7) as f64,
            day: day as f64,
            day_of_year: (before + day) as f64,
            days_in_month: lengths[(month - 1) as usize] as f64,
            month: month as f64,
            year: year as f64,
        }
    }
}

/// Whole seconds of a time, as Go's `time.Unix(int64(t), 0)` takes them on x86-64: what is no number, or too large, is
/// the least integer, and that lies so far back that it wraps around to the other end of the calendar.
fn go_seconds(time: f64) -> i128 {
    // From the first year that Go's calendar knows to 1970.
    const ORIGIN: i128 = 9_223_371_966_579_724_800;
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&time);
    let seconds = i128::from(if fits { time as i64 } else { i64::MIN });
    if seconds < -ORIGIN { seconds + (1 << 64) } else { seconds }
}

/// The function of this name, if it maps histograms to floats one by one.
pub(super) fn histogram_function(name: &str) -> Option<fn(&Histogram) -> f64> {
    Some(match name {
        "histogram_count" => |histogram| histogram.count,
        "histogram_sum" => |histogram| histogram.sum,
        "histogram_avg" => |histogram| histogram.sum / histogram.count,
        "histogram_stddev" => |histogram| histogram.variance().sqrt(),
        "histogram_stdvar" => Histogram::variance,
        _ => return None,
    })
}

/// The greater of two; NaN if one is NaN, unless the other is +Inf.
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The lesser of two; NaN if one is NaN, unless the other is -Inf.
pub(super) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

/// To the nearest multiple of `nearest`; ties go up.
pub(super) fn round(value: f64, nearest: f64) -> f64 {
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_leap_days() {
        let part = |name: &str, time: f64| date_function(name).unwrap()(time);
        let leap_day = 1_709_164_800.0 + 3_661.0;
        assert_eq!(part("day_of_month", leap_day), 29.0);
        assert_eq!(part("month", leap_day), 2.0);
        assert_eq!(part("day_of_year", leap_day), 60.0);
        assert_eq!(part("days_in_month", leap_day), 29.0);
        assert_eq!(part("day_of_week", leap_day), 4.0);
        assert_eq!((part("hour", leap_day), part("minute", leap_day)), (1.0, 1.0));
        assert_eq!(part("year", -1.0), 1969.0);
        assert_eq!((part("year", -6.3e10), part("day_of_year", 2.6e11)), (-27.0, 27.0));
        // What Go gives for what is no time.
        for time in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 9.3e18] {
            assert_eq!((part("year", time), part("month", time)), (292_277_026_596.0, 12.0));
            assert_eq!((part("hour", time), part("minute", time), part("day_of_week", time)), (15.0, 30.0, 0.0));
        }
        assert_eq!(part("day_of_year", 1_735_603_200.0), 366.0);
    }

    #[test]
    fn extremes_treat_nan_as_go_does() {
        assert!(max(1.0, f64::NAN).is_nan());
        assert_eq!(max(f64::INFINITY, f64::NAN), f64::INFINITY);
        assert_eq!(min(f64::NAN, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(round(2.5, 1.0), 3.0);
        assert_eq!(round(-2.5, 1.0), -2.0);
    }
}
