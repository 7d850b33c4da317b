//! Label sets on their way in: from the order of the sender to the canonical encoding of [`crate::model::labels`].
//!
//! The hot path copies names and values in the order they come. Where the store knows the bytes, they are canonical;
//! only for a series that it does not know, [`canonical`] sorts and checks them.

use crate::model::labels::METRIC_NAME;
use crate::proto::wire::{Reader, put_varint};

/// Why labels are no series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelProblem {
    #[error("label name is empty")]
    EmptyName,
    #[error("label {0:?} comes more than once")]
    Duplicate(String),
    #[error("label name or value is not valid UTF-8: {0:?}")]
    NotUtf8(String),
    #[error("series has no metric name")]
    NoMetricName,
    #[error("metric name is empty")]
    EmptyMetricName,
    #[error("more than {0} labels")]
    TooMany(usize),
}

impl LabelProblem {
    /// The word for counters.
    pub fn reason(&self) -> &'static str {
        "invalid_labels"
    }
}

/// Beyond this many labels a set is not even sorted; the store's own limit is far lower.
pub const LABELS_MAX: usize = 4096;

/// Appends one string of the encoding.
#[inline]
pub fn put(encoded: &mut Vec<u8>, string: &[u8]) {
    put_varint(encoded, string.len() as u64);
    encoded.extend_from_slice(string);
}

/// The pairs of an encoding that need not be canonical.
fn pairs(loose: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut reader = Reader::new(loose);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        Some((reader.delimited().ok()?, reader.delimited().ok()?))
    })
}

/// Makes the canonical encoding of pairs in any order: sorted, checked, without empty values.
///
/// # Errors
/// Where the pairs are not the labels of a series.
pub fn canonical(loose: &[u8], into: &mut Vec<u8>) -> Result<(), LabelProblem> {
    if sort(loose, into)? { Ok(()) } else { Err(LabelProblem::NoMetricName) }
}

/// As [`canonical`], for the labels of an exemplar, which have no metric name.
///
/// # Errors
/// Where the pairs are no label set.
pub fn canonical_nameless(loose: &[u8], into: &mut Vec<u8>) -> Result<(), LabelProblem> {
    sort(loose, into).map(|_| ())
}

/// Answers whether there is a metric name.
fn sort(loose: &[u8], into: &mut Vec<u8>) -> Result<bool, LabelProblem> {
    into.clear();
    let mut sorted: Vec<(&[u8], &[u8])> = Vec::new();
    for pair in pairs(loose) {
        if sorted.len() >= LABELS_MAX {
            return Err(LabelProblem::TooMany(LABELS_MAX));
        }
        sorted.push(pair);
    }
    sorted.sort_by(|a, b| a.0.cmp(b.0));
    let mut last: Option<&[u8]> = None;
    let mut named = false;
    for (name, value) in sorted {
        if name.is_empty() {
            return Err(LabelProblem::EmptyName);
        }
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if std::str::from_utf8(name).is_err() || std::str::from_utf8(value).is_err() {
            return Err(LabelProblem::NotUtf8(lossy(name)));
        }
        if last == Some(name) {
            return Err(LabelProblem::Duplicate(lossy(name)));
        }
        last = Some(name);
        if name == METRIC_NAME.as_bytes() {
            if value.is_empty() {
                return Err(LabelProblem::EmptyMetricName);
            }
            named = true;
        }
        if !value.is_empty() {
            put(into, name);
            put(into, value);
        }
    }
    Ok(named)
}

/// The text of labels for a message; bytes that are no text are replaced, and long sets are cut.
pub fn display(loose: &[u8]) -> String {
    const BYTES_MAX: usize = 300;
    let mut text = String::from("{");
    for (name, value) in pairs(loose) {
        if text.len() > 1 {
            text.push_str(", ");
        }
        if text.len() > BYTES_MAX {
            text.push('…');
            break;
        }
        let cut = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..BYTES_MAX).unwrap_or(bytes)).into_owned();
        text.push_str(&format!("{}={:?}", cut(name), cut(value)));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::labels::Labels;

    fn loose(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in pairs {
            put(&mut bytes, name);
            put(&mut bytes, value);
        }
        bytes
    }

    fn check(pairs: &[(&[u8], &[u8])]) -> Result<String, LabelProblem> {
        let mut encoded = Vec::new();
        canonical(&loose(pairs), &mut encoded)?;
        Ok(Labels::from_encoded(&encoded).unwrap().to_string())
    }

    #[test]
    fn any_order_becomes_canonical() {
        let long = "v".repeat(300);
        let sorted = check(&[(b"job", b"a"), (b"__name__", b"up"), (b"empty", b""), (b"a", long.as_bytes())]);
        assert_eq!(sorted, Ok(format!("up{{a=\"{long}\", job=\"a\"}}")));
    }

    #[test]
    fn what_is_no_series_is_named() {
        assert_eq!(check(&[(b"__name__", b"up"), (b"", b"x")]), Err(LabelProblem::EmptyName));
        assert_eq!(
            check(&[(b"a", b"1"), (b"__name__", b"up"), (b"a", b"2")]),
            Err(LabelProblem::Duplicate("a".into()))
        );
        assert_eq!(check(&[(b"__name__", b"\xff")]), Err(LabelProblem::NotUtf8("__name__".into())));
        assert_eq!(check(&[(b"a", b"1")]), Err(LabelProblem::NoMetricName));
        assert_eq!(check(&[(b"__name__", b"")]), Err(LabelProblem::EmptyMetricName));
        let many = vec![(&b"a"[..], &b"1"[..]); LABELS_MAX + 1];
        assert_eq!(check(&many), Err(LabelProblem::TooMany(LABELS_MAX)));
        assert!(display(&loose(&[(b"a", &[b'x'; 10_000]), (b"b", b"y")])).len() < 700);
    }
}
