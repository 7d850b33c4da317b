//! Numbers as Go reads and writes them.

/// The quiet NaN that Prometheus stores for a NaN that is not a staleness marker.
const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Reads a float in decimal; `Inf`, `Infinity` and `NaN` in any case. NaN comes out as the one that Prometheus stores;
/// what is beyond the range of a float is no number, as in Go.
pub fn parse_float(text: &[u8]) -> Option<f64> {
    parse_decimal(text).or_else(|| parse_any_float(text))
}

/// Digits with at most one point that fit 53 bits: dividing two exact floats rounds once, so the result is right.
#[inline]
fn parse_decimal(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut mantissa = 0_u64;
    let mut point = None;
    for (index, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            // At most 16 digits: no overflow.
            mantissa = mantissa * 10 + u64::from(digit);
        } else if byte == b'.' && point.is_none() && digits.len() > 1 {
            point = Some(index);
        } else {
            return None;
        }
    }
    if mantissa >= 1 << 53 {
        return None;
    }
    let decimals = point.map_or(0, |index| digits.len() - index - 1);
    let value = mantissa as f64 / POWERS_OF_TEN.get(decimals)?;
    Some(if negative { -value } else { value })
}

#[cold]
fn parse_any_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    if value.is_nan() {
        return text.eq_ignore_ascii_case("nan").then_some(NORMAL_NAN);
    }
    let infinite_in_words = text.bytes().any(|byte| matches!(byte, b'n' | b'N'));
    (value.is_finite() || infinite_in_words).then_some(value)
}

/// Reads seconds as milliseconds, rounded to the nearest.
pub(super) fn parse_seconds(text: &[u8]) -> Option<i64> {
    let millis = (parse_float(text)? * 1000.0).round();
    // The bounds of i64 as floats; a cast would saturate silently.
    (-9.2e18..=9.2e18).contains(&millis).then_some(millis as i64)
}

/// Writes a bucket bound or quantile as OpenMetrics does: always with a point or an exponent (`1.0`, `+Inf`, `1e+06`).
pub fn format_bound(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go's shortest %g has an exponent below 1e-04 and from 1e+06 on.
    if (-4..6).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_go_reads_them() {
        for (text, value) in [("0", 0.0), ("-1.5", -1.5), ("+7", 7.0), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0)] {
            assert_eq!(parse_float(text.as_bytes()), Some(value), "{text}");
        }
        assert_eq!(parse_float(b"0.1").map(f64::to_bits), Some(0.1_f64.to_bits()));
        assert_eq!(parse_float(b"9007199254740993"), "9007199254740993".parse().ok());
        assert_eq!(parse_float(b"1.7976931348623157e308"), Some(f64::MAX));
        assert_eq!(parse_float(b"-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_float(b"nAn").map(f64::to_bits), Some(0x7ff8_0000_0000_0001));
        assert_eq!(parse_float(b"-0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
        for text in ["", ".", "-", "1_0", "0x1p3", "1e999", "+nan", "1 ", "1\r", "--1", "1.2.3"] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn seconds_become_the_nearest_millisecond() {
        assert_eq!(parse_seconds(b"1520879607.789"), Some(1_520_879_607_789));
        assert_eq!(parse_seconds(b"1.001"), Some(1_001));
        assert_eq!(parse_seconds(b"1e300"), None);
        assert_eq!(parse_seconds(b"NaN"), None);
    }

    #[test]
    fn bounds_are_written_as_openmetrics_writes_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-1.0, "-1.0"),
            (0.25, "0.25"),
            (100_000.0, "100000.0"),
            (1_000_000.0, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.000_012, "1.2e-05"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(format_bound(value), text);
        }
    }
}
