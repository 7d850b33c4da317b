//! Floats as text, in the forms that Prometheus' answers use (Go's `strconv`).

use std::fmt::Write as _;

/// Shortest digits, with an exponent below 1e-4 and from 1e21 on (Go's `%g`).
pub fn general(value: f64) -> String {
    general_from(value, 21)
}

/// Shortest digits, never with an exponent (Go's `FormatFloat(v, 'f', -1, 64)`).
pub fn plain(value: f64) -> String {
    special(value).map_or_else(|| format!("{value}"), str::to_owned)
}

/// As OpenMetrics writes label values such as `quantile`: 1 is `1.0`.
pub fn open_metrics(value: f64) -> String {
    let mut text = general_from(value, 21);
    if special(value).is_none() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    text
}

/// Two significant digits (Go's `%.2g`).
pub fn two_digits(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let rounded = format!("{value:.1e}");
    let (digits, exponent) = rounded.split_once('e').unwrap_or((rounded.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    if (-4..2).contains(&exponent) {
        let parsed: f64 = rounded.parse().unwrap_or(value);
        return format!("{parsed}");
    }
    with_exponent(digits, exponent)
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

fn general_from(value: f64, limit: i32) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..limit).contains(&exponent) { format!("{value}") } else { with_exponent(digits, exponent) }
}

fn with_exponent(digits: &str, exponent: i32) -> String {
    let mut text = digits.to_owned();
    let sign = if exponent < 0 { '-' } else { '+' };
    // Writing to a string cannot fail.
    let _ = write!(text, "e{sign}{:02}", exponent.abs());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_begin_where_go_begins_them() {
        assert_eq!(general(1e20), "100000000000000000000");
        assert_eq!(general(1.5e21), "1.5e+21");
        assert_eq!(general(0.0001), "0.0001");
        assert_eq!(general(0.00001), "1e-05");
        assert_eq!(plain(1e21), "1000000000000000000000");
        assert_eq!(plain(f64::NEG_INFINITY), "-Inf");
        assert_eq!(open_metrics(1.0), "1.0");
        assert_eq!(open_metrics(0.99), "0.99");
        assert_eq!(two_digits(1234.0), "1.2e+03");
        assert_eq!(two_digits(0.125), "0.12");
        assert_eq!(two_digits(3.0), "3");
    }
}
