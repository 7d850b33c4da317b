//! Durations as the language writes them: `1h30m`.

use crate::promql::quote::quote_str;

/// Units, largest first, in nanoseconds: the resolution in which Prometheus counts.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000_000_000),
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// Milliseconds of `1h30m`, `0`, `10s53ms`. The error is worded as Prometheus words it.
pub fn parse(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let invalid = || format!("not a valid duration string: {}", quote_str(text));
    let mut rest = text;
    let mut total = 0_u64;
    let mut allowed: &[(&str, u64)] = &UNITS;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(invalid)?;
        let count: u64 = number.parse().map_err(|_| invalid())?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end).ok_or_else(invalid)?;
        if unit.is_empty() {
            return Err(invalid());
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(format!("unknown unit {} in duration {}", quote_str(unit), quote_str(text)));
        }
        let at = allowed.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let nanos = allowed.get(at).and_then(|(_, size)| count.checked_mul(*size));
        total = nanos
            .and_then(|nanos| total.checked_add(nanos))
            .filter(|total| i64::try_from(*total).is_ok())
            .ok_or("duration out of range")?;
        allowed = allowed.get(at + 1..).unwrap_or_default();
        rest = tail;
    }
    Ok(i64::try_from(total / 1_000_000).unwrap_or(i64::MAX))
}

/// Writes milliseconds as Prometheus does: years and weeks only where nothing remains, `0s` for nothing, a leading
/// minus where negative.
pub fn format(millis: i64) -> String {
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if millis < 0 {
        out.push('-');
    }
    let mut rest = millis.unsigned_abs();
    for (unit, nanos) in UNITS {
        let size = nanos / 1_000_000;
        let exact = matches!(unit, "y" | "w");
        if rest >= size && (!exact || rest.is_multiple_of(size)) {
            out.push_str(&(rest / size).to_string());
            out.push_str(unit);
            rest %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, millis) in [("0s", 0), ("1y", 31_536_000_000), ("90d", 7_776_000_000), ("10s53ms", 10_053)] {
            assert_eq!(parse(text), Ok(millis));
            assert_eq!(format(millis), text);
        }
        assert_eq!(format(14 * 86_400_000), "2w");
        assert_eq!(format(-90_000), "-1m30s");
        assert_eq!(parse("5m1h").unwrap_err(), "not a valid duration string: \"5m1h\"");
        assert_eq!(parse("1.5h").unwrap_err(), "unknown unit \".\" in duration \"1.5h\"");
        assert_eq!(parse("300y").unwrap_err(), "duration out of range");
    }
}
