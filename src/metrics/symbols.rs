//! Labels of series in memory: a label that several series of a shard share is written once, and those name it by its
//! number; see docs/decisions/0145.
//!
//! `unsafe` is used for one thing: that what was taken out of a label set, whole labels in their order, is one.

use std::cmp::Ordering;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::codec::bytes::{Reader, put_varint};
use crate::model::labels::{Labels, LabelsIter};

/// The number of a label that is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol(NonZeroU32);

impl Symbol {
    fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The labels of one series. For each, ascending by name: a varint, which is twice a symbol's place and one, or twice the
/// length of the label's encoding, which follows.
#[derive(Debug, Default)]
pub(super) struct Coded(Box<[u8]>);

impl Coded {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.len()
    }
}

/// Appends one label to what becomes a [`Coded`]. `encoded` is its encoding in a set.
pub(super) fn put_label(coded: &mut Vec<u8>, symbol: Option<Symbol>, encoded: &[u8]) {
    match symbol {
        Some(symbol) => put_varint(coded, (symbol.place() as u64) << 1 | 1),
        None => {
            put_varint(coded, (encoded.len() as u64) << 1);
            coded.extend_from_slice(encoded);
        }
    }
}

/// The labels of a shard that are written once. A copy shares their text.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbols {
    /// By symbol.
    texts: Vec<Text>,
    free: Vec<Symbol>,
}

/// Bytes that are copied at once: most labels are shorter.
const PIECE: usize = 32;

/// The encoding of one label, filled up to whole pieces, so that copying it asks for no length.
#[derive(Clone, Debug, Default)]
struct Text {
    /// Without what it is filled up with; 0 where the number is free.
    len: u32,
    pieces: Arc<[[u8; PIECE]]>,
}

impl Text {
    /// `None` for a label too long to be one.
    fn new(encoded: &[u8]) -> Option<Self> {
        let piece = |part: &[u8]| {
            let mut piece = [0; PIECE];
            piece[..part.len()].copy_from_slice(part);
            piece
        };
        Some(Self { len: u32::try_from(encoded.len()).ok()?, pieces: encoded.chunks(PIECE).map(piece).collect() })
    }

    fn encoded(&self) -> &[u8] {
        self.pieces.as_flattened().get(..self.len as usize).unwrap_or(&[])
    }
}

impl Symbols {
    /// Gives a label a number; `None` where there are no more.
    pub(super) fn add(&mut self, encoded: &[u8]) -> Option<Symbol> {
        let text = Text::new(encoded)?;
        if let Some(symbol) = self.free.pop() {
            *self.texts.get_mut(symbol.place())? = text;
            return Some(symbol);
        }
        let symbol = Symbol(NonZeroU32::new(u32::try_from(self.texts.len() + 1).ok()?)?);
        self.texts.push(text);
        Some(symbol)
    }

    /// Frees a number that no series names any more.
    pub(super) fn remove(&mut self, symbol: Symbol) {
        if let Some(text) = self.texts.get_mut(symbol.place()).filter(|text| text.len > 0) {
            *text = Text::default();
            self.free.push(symbol);
        }
    }

    /// The labels of a series, in the encoding of sets each.
    #[inline]
    pub(super) fn encoded<'a>(&'a self, labels: &'a Coded) -> EncodedLabels<'a> {
        EncodedLabels { texts: &self.texts, rest: Reader::new(&labels.0) }
    }

    /// The labels of a series, by way of a buffer.
    pub(super) fn labels(&self, labels: &Coded, buffer: &mut Vec<u8>) -> Labels {
        self.encoded(labels).into_labels(buffer)
    }

    /// Whether the labels of a series have this encoding.
    #[inline]
    pub(super) fn are(&self, labels: &Coded, mut encoded: &[u8]) -> bool {
        for label in self.encoded(labels) {
            match encoded.strip_prefix(label) {
                Some(rest) => encoded = rest,
                None => return false,
            }
        }
        encoded.is_empty()
    }

    /// The value of a series' label, if it has it.
    pub(super) fn get<'a>(&'a self, labels: &'a Coded, name: &str) -> Option<&'a str> {
        self.encoded(labels).filter_map(read).find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

/// Name and value of a label.
fn read(encoded: &[u8]) -> Option<(&str, &str)> {
    // SAFETY: texts of symbols, and what stands between them, are labels that were taken whole out of sets.
    unsafe { LabelsIter::from_encoded_unchecked(encoded) }.next()
}

/// Bytes that a buffer grows by at least.
const ROOM: usize = 1_024;

/// Walks the labels of a series.
#[derive(Clone, Debug)]
pub(super) struct EncodedLabels<'a> {
    texts: &'a [Text],
    rest: Reader<'a>,
}

/// A label of a series.
enum Label<'a> {
    Shared(&'a Text),
    Own(&'a [u8]),
}

impl<'a> Iterator for EncodedLabels<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        Some(match self.next_label()? {
            Label::Shared(text) => text.encoded(),
            Label::Own(encoded) => encoded,
        })
    }
}

impl<'a> EncodedLabels<'a> {
    #[inline(always)]
    fn next_label(&mut self) -> Option<Label<'a>> {
        let token = self.rest.varint().ok()?;
        let number = (token >> 1) as usize;
        if token & 1 == 1 {
            self.texts.get(number).map(Label::Shared)
        } else {
            self.rest.take(number).ok().map(Label::Own)
        }
    }

    /// The encoding of all of them as a set, in a buffer.
    pub(super) fn into_encoded(mut self, buffer: &mut Vec<u8>) -> &[u8] {
        let mut end = 0;
        while let Some(label) = self.next_label() {
            let (len, space) = match label {
                Label::Shared(text) => (text.len as usize, text.pieces.len() * PIECE),
                Label::Own(encoded) => (encoded.len(), encoded.len()),
            };
            if buffer.len() < end + space {
                buffer.resize(end + space + ROOM, 0);
            }
            let room = &mut buffer[end..end + space];
            match label {
                Label::Shared(text) => match (room.as_chunks_mut().0, &*text.pieces) {
                    // Of a known length: a few instructions.
                    ([room], [piece]) => *room = *piece,
                    ([first, second], [piece, rest]) => (*first, *second) = (*piece, *rest),
                    (room, pieces) => room.copy_from_slice(pieces),
                },
                Label::Own(encoded) => room.copy_from_slice(encoded),
            }
            end += len;
        }
        &buffer[..end]
    }

    /// All of them as a set, by way of a buffer.
    pub(super) fn into_labels(self, buffer: &mut Vec<u8>) -> Labels {
        // SAFETY: these are all labels of a set, in its order.
        unsafe { Labels::from_encoded_unchecked(self.into_encoded(buffer)) }
    }

    /// The order of `Labels`.
    pub(super) fn compare(mut self, mut other: Self) -> Ordering {
        loop {
            match (self.next(), other.next()) {
                // Of one shard a label that many have is in one place; of two it is at least the same bytes.
                (Some(a), Some(b)) if std::ptr::eq(a, b) || a == b => {}
                (Some(a), Some(b)) => return read(a).cmp(&read(b)),
                (a, b) => return a.is_some().cmp(&b.is_some()),
            }
        }
    }
}

/// Labels of some series of a shard, to be looked at when its lock is let go.
#[derive(Debug)]
pub(super) struct Copied {
    symbols: Symbols,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Copied {
    /// Of a shard that has these symbols.
    pub(super) fn of<'a>(symbols: &Symbols, series: impl Iterator<Item = &'a Coded>) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(series.size_hint().0));
        for labels in series {
            bytes.extend_from_slice(&labels.0);
            ends.push(bytes.len());
        }
        Self { symbols: symbols.clone(), bytes, ends }
    }

    /// The labels of a series by its number; none beyond the last.
    pub(super) fn encoded(&self, number: usize) -> EncodedLabels<'_> {
        let begin = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let rest = self.ends.get(number).and_then(|end| self.bytes.get(begin..*end)).unwrap_or(&[]);
        EncodedLabels { texts: &self.symbols.texts, rest: Reader::new(rest) }
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(symbols: &mut Symbols, labels: &Labels, shared: &[&str]) -> Coded {
        let mut bytes = Vec::new();
        for (name, _, label) in labels.iter_encoded() {
            let symbol = shared.contains(&name).then(|| symbols.add(label).unwrap());
            put_label(&mut bytes, symbol, label);
        }
        Coded::new(&bytes)
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn labels_come_back_whichever_of_them_are_symbols() {
        let long = "v".repeat(300);
        let set = labels(&[("__name__", "up"), ("job", "a"), ("long", &long), ("über", "ß")]);
        for shared in [&[][..], &["job"], &["__name__", "long"], &["__name__", "job", "long", "über"]] {
            let mut symbols = Symbols::default();
            let coded = coded(&mut symbols, &set, shared);
            assert_eq!(symbols.labels(&coded, &mut Vec::new()), set);
            assert!(symbols.are(&coded, set.as_encoded()));
            assert!(!symbols.are(&coded, &set.as_encoded()[..9]));
            assert!(!symbols.are(&coded, labels(&[("__name__", "up"), ("job", "b")]).as_encoded()));
            assert_eq!(symbols.get(&coded, "über"), Some("ß"));
            assert_eq!(symbols.get(&coded, "absent"), None);
        }
    }

    #[test]
    fn a_number_is_given_again_after_it_was_freed() {
        let mut symbols = Symbols::default();
        let (a, b) = (symbols.add(b"\x01a\x01x").unwrap(), symbols.add(b"\x01b\x01x").unwrap());
        symbols.remove(a);
        symbols.remove(a);
        assert_eq!(symbols.add(b"\x01c\x01x"), Some(a));
        assert_ne!(symbols.add(b"\x01d\x01x"), Some(a));
        assert_ne!(a, b);
    }

    #[test]
    fn copies_of_two_shards_have_the_order_of_label_sets() {
        let sets: Vec<Labels> = [
            &[("a", "zz")][..],
            &[("b", "a")],
            &[("aa", "1")],
            &[("a", "1")],
            &[("a", "1"), ("b", "1")],
            &[("a", "1"), ("b", "1"), ("c", "x")],
            &[("a", "2"), ("b", "1"), ("c", "x")],
        ]
        .iter()
        .map(|pairs| labels(pairs))
        .collect();
        let copied = |shared: &[&str]| {
            let mut symbols = Symbols::default();
            let coded: Vec<Coded> = sets.iter().map(|set| coded(&mut symbols, set, shared)).collect();
            Copied::of(&symbols, coded.iter())
        };
        let (one, other) = (copied(&["a"]), copied(&["b", "c"]));
        for a in 0..sets.len() {
            assert_eq!(one.encoded(a).into_labels(&mut Vec::new()), sets[a]);
            for b in 0..sets.len() {
                assert_eq!(one.encoded(a).compare(other.encoded(b)), sets[a].cmp(&sets[b]));
                assert_eq!(one.encoded(a).compare(one.encoded(b)), sets[a].cmp(&sets[b]));
            }
        }
    }
}
