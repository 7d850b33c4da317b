//! Durations and sizes as configuration files write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A length of time, written as Prometheus does: `1h30m`, `15s`, `100ms`, `0`. Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(i64);

/// A size, written `64MB`, `1.5GiB` or `512`. As in Prometheus' files both `KB` and `KiB` mean 1,024 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// A text that is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("not a valid duration string: {0:?} (write 15s, 1m30s, 100ms; units y, w, d, h, m, s, ms in this order)")]
    Duration(String),
    #[error("duration out of range: {0:?}")]
    DurationRange(String),
    #[error("not a valid size: {0:?} (write 512, 64KB, 16MiB, 1GB)")]
    Size(String),
    #[error("not a valid size: {0:?} (here a size has a unit: 512B, 64KB, 16MiB, 1GB)")]
    SizeUnit(String),
}

/// Units of a duration from the longest, in milliseconds.
const PERIODS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Period {
    pub const ZERO: Self = Self(0);

    /// From milliseconds; negative numbers become zero.
    pub const fn from_millis(millis: i64) -> Self {
        Self(if millis < 0 { 0 } else { millis })
    }

    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds as i64 * 1_000)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    pub fn as_duration(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs())
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let bad = || UnitError::Duration(text.to_owned());
        let range = || UnitError::DurationRange(text.to_owned());
        let (mut rest, mut total, mut units) = (text, 0_i64, PERIODS.iter());
        while !rest.is_empty() || total == 0 && std::ptr::eq(rest, text) {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            if number.is_empty() {
                return Err(bad());
            }
            // Each unit once and in order: what `units` has passed cannot come again.
            let (_, millis) = units.find(|(name, _)| *name == unit).ok_or_else(bad)?;
            let number: i64 = number.parse().map_err(|_| range())?;
            total = number.checked_mul(*millis).and_then(|part| total.checked_add(part)).ok_or_else(range)?;
            rest = after;
        }
        // The longest that Prometheus can hold in nanoseconds, 292 years.
        if total <= i64::MAX / 1_000_000 { Ok(Self(total)) } else { Err(range()) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, millis) in PERIODS {
            // Years and weeks only where nothing is left over, as Prometheus prints them.
            if rest >= millis && (!matches!(name, "y" | "w") || rest % millis == 0) {
                write!(f, "{}{name}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::Size(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let shift = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "KB" | "KIB" | "K" => 10,
            "MB" | "MIB" | "M" => 20,
            "GB" | "GIB" | "G" => 30,
            "TB" | "TIB" | "T" => 40,
            "PB" | "PIB" | "P" => 50,
            _ => return Err(bad()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Self).ok_or_else(bad);
        }
        let number: f64 = number.parse().map_err(|_| bad())?;
        let bytes = number * (1_u64 << shift) as f64;
        // A float above this bound has no exact u64; nobody has so many bytes.
        if bytes < 9e15 { Ok(Self(bytes as u64)) } else { Err(bad()) }
    }
}

impl ByteSize {
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// For limits on buffers: more than the address space is no limit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, shift) in [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            let unit = 1_u64 << shift;
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Reads a scalar as text, whether YAML took it for a number or not.
struct Scalar<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = UnitError>> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 15s or a size such as 64MB")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Scalar(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Scalar(std::marker::PhantomData))
    }
}

/// A size as Prometheus' own files have it: numbers with units (`1GB512MB`, upper case), or `0`. Where nothing is
/// written it is none.
pub fn with_unit<'de, D: Deserializer<'de>, T: From<ByteSize> + Default>(deserializer: D) -> Result<T, D::Error> {
    let written = Option::<WithUnit>::deserialize(deserializer)?;
    Ok(written.map_or_else(T::default, |WithUnit(size)| size.into()))
}

struct WithUnit(ByteSize);

impl FromStr for WithUnit {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::SizeUnit(text.to_owned());
        let (mut rest, mut total) = (text, 0_u64);
        if text == "0" {
            return Ok(Self(ByteSize(0)));
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
            let letters = rest.get(digits..).and_then(|rest| rest.find(|c: char| c.is_ascii_digit() || c == '.'));
            let (part, after) = rest.split_at(letters.map_or(rest.len(), |letters| digits + letters));
            let unit = part.get(digits..).unwrap_or_default();
            if digits == 0 || !unit.ends_with('B') || !unit.chars().all(|c| c.is_ascii_uppercase() || c == 'i') {
                return Err(bad());
            }
            let part: ByteSize = part.parse().map_err(|_| bad())?;
            total = total.checked_add(part.0).ok_or_else(bad)?;
            rest = after;
        }
        if text.is_empty() { Err(bad()) } else { Ok(Self(ByteSize(total))) }
    }
}

impl<'de> Deserialize<'de> for WithUnit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Scalar(std::marker::PhantomData))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_prometheus_does() {
        for (text, millis, printed) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("324ms", 324, "324ms"),
            ("5m", 300_000, "5m"),
            ("4d1h", 349_200_000, "4d1h"),
            ("14d", 1_209_600_000, "2w"),
            ("3w2d1h", 1_990_800_000, "23d1h"),
            ("1y", 31_536_000_000, "1y"),
        ] {
            let read: Period = text.parse().unwrap();
            let back: Period = read.to_string().parse().unwrap();
            assert_eq!((read.as_millis(), back, read.to_string()), (millis, read, printed.to_owned()), "{text}");
        }
        for text in ["", "1", "1y1m1d", "-1w", "1.5d", "d", "1s1s", "294y99999999999h", "10 s", "1u"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_base_two() {
        for (text, bytes) in [("512", 512), ("1KB", 1024), ("1KiB", 1024), ("1.5MB", 1_572_864), ("0", 0)] {
            assert_eq!(text.parse::<ByteSize>().unwrap().as_u64(), bytes, "{text}");
        }
        assert!("1XB".parse::<ByteSize>().is_err() && "99999999PB".parse::<ByteSize>().is_err());
        assert_eq!(ByteSize::from_bytes(64 << 20).to_string(), "64MiB");
    }

    #[test]
    fn sizes_of_prometheus_have_units() {
        #[derive(Debug, serde::Deserialize)]
        struct Sizes {
            #[serde(default, deserialize_with = "with_unit")]
            a: ByteSize,
            #[serde(default, deserialize_with = "with_unit")]
            b: Option<ByteSize>,
        }
        let read: Sizes = serde_saphyr::from_str("{a: 1KiB512B, b: 0}").unwrap();
        assert_eq!((read.a, read.b), (ByteSize::from_bytes(1536), Some(ByteSize::default())));
        let read: Sizes = serde_saphyr::from_str("{a: 100B, b: }").unwrap();
        assert_eq!((read.a, read.b), (ByteSize::from_bytes(100), None));
        for text in ["100", "1kb", "'1 KB'", "KB", "''", "-1GB", "1GB2"] {
            assert!(serde_saphyr::from_str::<Sizes>(&format!("a: {text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn yaml_numbers_and_texts_are_both_read() {
        let read: (Period, ByteSize) = serde_saphyr::from_str("[0, 1048576]").unwrap();
        assert_eq!(read, (Period::ZERO, ByteSize::from_bytes(1 << 20)));
        let error = serde_saphyr::from_str::<Period>("5 minutes").unwrap_err().to_string();
        assert!(error.contains("not a valid duration string: \"5 minutes\""), "{error}");
    }
}
