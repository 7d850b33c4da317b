//! Label sets: sorted, immutable, cheap to clone.
//!
//! A set is one byte string: for each label, in ascending order of names, the length of the name (LEB128), the name,
//! the length of the value, the value. Equal sets have equal bytes, so equality is `memcmp` and the same bytes serve
//! as the key of a series everywhere. A label with an empty value is the same as no label and is never stored.
//!
//! `unsafe` is used for one thing: strings inside the encoding were checked to be UTF-8 when the set was made.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// A sorted label set. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Arc<[u8]>);

/// Bytes that are not a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    #[error("label encoding is truncated")]
    Truncated,
    #[error("label name or value is not valid UTF-8")]
    NotUtf8,
    #[error("label names are not in ascending order or repeat")]
    NotSorted,
    #[error("label name is empty")]
    EmptyName,
    #[error("label value is empty")]
    EmptyValue,
}

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Self(Arc::from(&[][..]))
    }

    /// From pairs in any order. Empty values are left out; of equal names the last wins.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// From pairs whose names ascend, by way of a buffer that may be used again.
    ///
    /// # Errors
    /// Where names do not ascend, or a name or value is empty.
    pub fn from_ordered<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        buffer: &mut Vec<u8>,
    ) -> Result<Self, LabelsError> {
        buffer.clear();
        let mut last = "";
        for (name, value) in pairs {
            if name <= last {
                return Err(if name.is_empty() { LabelsError::EmptyName } else { LabelsError::NotSorted });
            }
            if value.is_empty() {
                return Err(LabelsError::EmptyValue);
            }
            push_pair(buffer, name, value);
            last = name;
        }
        Ok(Self(Arc::from(buffer.as_slice())))
    }

    /// Takes bytes that are already in the encoding, after checking them whole.
    pub fn from_encoded(bytes: &[u8]) -> Result<Self, LabelsError> {
        check_encoded(bytes)?;
        Ok(Self(Arc::from(bytes)))
    }

    /// Takes bytes that are known to be in the encoding.
    ///
    /// # Safety
    /// They are whole labels of sets, names ascending.
    pub unsafe fn from_encoded_unchecked(bytes: &[u8]) -> Self {
        debug_assert_eq!(check_encoded(bytes), Ok(()));
        Self(Arc::from(bytes))
    }

    /// The encoding: the key of the series.
    pub fn as_encoded(&self) -> &[u8] {
        &self.0
    }

    /// A 64-bit hash of the encoding, the same in every process (xxh3).
    pub fn stable_hash(&self) -> u64 {
        xxh3_64(&self.0)
    }

    /// Pairs in ascending order of names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter(&self.0)
    }

    /// Name, value and encoding of each label.
    pub fn iter_encoded(&self) -> impl Iterator<Item = (&str, &str, &[u8])> {
        let mut rest = self.iter();
        std::iter::from_fn(move || {
            let from = rest.0;
            let (name, value) = rest.next()?;
            Some((name, value, &from[..from.len() - rest.0.len()]))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many labels there are; walks the set.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// The value of a label, if the set has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value)
    }

    /// The metric name; empty where there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// The set of those labels for which `keep` holds.
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len());
        for (name, _, encoded) in self.iter_encoded() {
            if keep(name) {
                bytes.extend_from_slice(encoded);
            }
        }
        if bytes.len() == self.0.len() { self.clone() } else { Self(Arc::from(bytes)) }
    }

    /// Without the metric name.
    pub fn without_name(&self) -> Self {
        self.filter(|name| name != METRIC_NAME)
    }

    /// A builder that starts with these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// Pair by pair, name before value; a prefix comes first (Prometheus: `labels.Compare`).
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Display for Labels {
    /// As PromQL writes it: `name{label="value"}`; names beyond the classic characters are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        let classic = is_classic_metric_name(name);
        if classic {
            f.write_str(name)?;
        }
        let mut labels = self.iter().filter(|(label, _)| *label != METRIC_NAME).peekable();
        if labels.peek().is_none() && (classic || name.is_empty()) {
            return if name.is_empty() { f.write_str("{}") } else { Ok(()) };
        }
        f.write_str("{")?;
        let mut separator = "";
        if !classic && !name.is_empty() {
            write!(f, "{}", Quoted(name))?;
            separator = ", ";
        }
        for (label, value) in labels {
            f.write_str(separator)?;
            if is_classic_label_name(label) {
                f.write_str(label)?;
            } else {
                write!(f, "{}", Quoted(label))?;
            }
            write!(f, "={}", Quoted(value))?;
            separator = ", ";
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A string in double quotes, escaped as Go's `%q` and PromQL do for printable text.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                c if c.is_control() && u32::from(c) < 0x80 => write!(f, "\\x{:02x}", u32::from(c))?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// Whether a metric name can be written without quotes: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_classic_metric_name(name: &str) -> bool {
    name.bytes()
        .enumerate()
        .all(|(i, b)| b.is_ascii_alphabetic() || b == b'_' || b == b':' || (i > 0 && b.is_ascii_digit()))
        && !name.is_empty()
}

/// Whether a label name can be written without quotes: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_classic_label_name(name: &str) -> bool {
    name.bytes().enumerate().all(|(i, b)| b.is_ascii_alphabetic() || b == b'_' || (i > 0 && b.is_ascii_digit()))
        && !name.is_empty()
}

/// Walks the pairs of a set.
#[derive(Clone, Debug)]
pub struct LabelsIter<'a>(&'a [u8]);

impl<'a> LabelsIter<'a> {
    /// Walks bytes that are known to be in the encoding.
    ///
    /// # Safety
    /// They are whole labels of sets.
    pub unsafe fn from_encoded_unchecked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (name, rest) = take_string(self.0)?;
        let (value, rest) = take_string(rest)?;
        self.0 = rest;
        // SAFETY: every set passed `check_encoded` or was built from `&str`, so both are whole UTF-8 strings.
        unsafe { Some((std::str::from_utf8_unchecked(name), std::str::from_utf8_unchecked(value))) }
    }
}

/// Changes labels, then builds a set.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Ascending by name, values not empty.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.find(name) {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => value.clone_into(&mut self.pairs[at].1),
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// Keeps the labels for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.pairs.retain(|(name, value)| keep(name, value));
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).ok().map(|at| self.pairs[at].1.as_str())
    }

    /// Pairs in ascending order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn build(&self) -> Labels {
        let mut bytes = Vec::with_capacity(self.pairs.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
        for (name, value) in &self.pairs {
            push_pair(&mut bytes, name, value);
        }
        Labels(Arc::from(bytes))
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(candidate, _)| candidate.as_str().cmp(name))
    }
}

/// Appends one pair to an encoding. The caller keeps names ascending and values not empty.
pub fn push_pair(encoded: &mut Vec<u8>, name: &str, value: &str) {
    push_string(encoded, name.as_bytes());
    push_string(encoded, value.as_bytes());
}

fn push_string(encoded: &mut Vec<u8>, string: &[u8]) {
    let mut length = string.len();
    while length >= 0x80 {
        encoded.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    encoded.push(length as u8);
    encoded.extend_from_slice(string);
}

#[inline]
fn take_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = *bytes.first()?;
    let (length, at) = if first < 0x80 {
        (usize::from(first), 1)
    } else {
        let mut length = 0_usize;
        let mut at = 0;
        loop {
            let byte = *bytes.get(at)?;
            if at >= 5 {
                return None;
            }
            length |= usize::from(byte & 0x7f) << (7 * at);
            at += 1;
            if byte < 0x80 {
                break;
            }
        }
        (length, at)
    };
    bytes.get(at..)?.split_at_checked(length)
}

/// Checks that bytes are a label set in canonical encoding: whole, UTF-8, names ascending, nothing empty.
pub fn check_encoded(bytes: &[u8]) -> Result<(), LabelsError> {
    let mut rest = bytes;
    let mut last: &[u8] = &[];
    while !rest.is_empty() {
        let (name, after) = take_string(rest).ok_or(LabelsError::Truncated)?;
        let (value, after) = take_string(after).ok_or(LabelsError::Truncated)?;
        if name.is_empty() {
            return Err(LabelsError::EmptyName);
        }
        if value.is_empty() {
            return Err(LabelsError::EmptyValue);
        }
        if name <= last {
            return Err(LabelsError::NotSorted);
        }
        if std::str::from_utf8(name).is_err() || std::str::from_utf8(value).is_err() {
            return Err(LabelsError::NotUtf8);
        }
        (last, rest) = (name, after);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn pairs_are_sorted_and_empty_values_left_out() {
        let set = labels(&[("job", "a"), ("__name__", "up"), ("x", ""), ("job", "b")]);
        assert_eq!(set.to_string(), r#"up{job="b"}"#);
        assert_eq!(set.len(), 2);
        assert_eq!(set.get("x"), None);
    }

    #[test]
    fn the_encoding_round_trips_and_rejects_what_is_not_one() {
        let set = labels(&[("a", &"v".repeat(300)), ("b", "2")]);
        assert_eq!(Labels::from_encoded(set.as_encoded()), Ok(set.clone()));
        assert_eq!(Labels::from_encoded(&set.as_encoded()[..9]), Err(LabelsError::Truncated));
        assert_eq!(Labels::from_encoded(b"\x01b\x011\x01a\x011"), Err(LabelsError::NotSorted));
        assert_eq!(Labels::from_encoded(b"\x01a\x00"), Err(LabelsError::EmptyValue));
        assert_eq!(Labels::from_encoded(b"\x01a\x01\xff"), Err(LabelsError::NotUtf8));
        assert_eq!(Labels::from_encoded(b"\xff\xff\xff\xff\xff\xff\xff"), Err(LabelsError::Truncated));
    }

    #[test]
    fn filter_keeps_order_and_shares_when_nothing_goes() {
        let set = labels(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(set.filter(|name| name != "b"), labels(&[("a", "1"), ("c", "3")]));
        assert!(Arc::ptr_eq(&set.filter(|_| true).0, &set.0));
    }

    #[test]
    fn order_is_by_pairs_not_by_bytes() {
        assert!(labels(&[("a", "zz")]) < labels(&[("b", "a")]));
        assert!(labels(&[("aa", "1")]) < labels(&[("b", "1")]));
        assert!(labels(&[("a", "1")]) < labels(&[("a", "1"), ("b", "1")]));
    }

    #[test]
    fn names_beyond_the_classic_characters_are_quoted() {
        assert_eq!(labels(&[("__name__", "a.b"), ("c.d", "x\"y")]).to_string(), r#"{"a.b", "c.d"="x\"y"}"#);
        assert_eq!(Labels::empty().to_string(), "{}");
    }
}
