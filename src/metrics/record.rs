//! What the frames of the log and of snapshots hold. Tables: docs/format/wal.md.

use crate::codec::CodecError;
use crate::codec::bytes::{Reader, put_signed, put_varint};
use crate::model::exemplar::Exemplar;
use crate::model::labels::Labels;
use crate::model::metadata::{Metadata, MetricType};

/// Kinds of frames. 0 is the log's own (a probe).
pub(super) const DEFINITIONS: u8 = 1;
pub(super) const BATCH: u8 = 2;
pub(super) const COLUMNS: u8 = 3;
pub(super) const END: u8 = 4;
pub(super) const DELETIONS: u8 = 5;

/// Times of a batch are one number.
const ONE_TIME: u8 = 1;
/// A column of start times follows.
const STARTS: u8 = 2;

const HISTOGRAM: u8 = 1;
const EXEMPLAR: u8 = 2;
const METADATA: u8 = 3;

/// Appends the definition of a series.
pub(super) fn put_definition(out: &mut Vec<u8>, id: u64, encoded_labels: &[u8]) {
    put_varint(out, id);
    put_bytes(out, encoded_labels);
}

/// Calls `visit` for each definition in a payload (which is decompressed already).
pub(super) fn read_definitions(payload: &[u8], mut visit: impl FnMut(u64, &[u8])) -> Result<(), CodecError> {
    let mut reader = Reader::new(payload);
    while !reader.is_empty() {
        let id = reader.varint()?;
        visit(id, take_bytes(&mut reader)?);
    }
    Ok(())
}

/// The samples of one request, by column, and what else it brought.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Width of the dedup window that its samples went through.
    pub dedup: i64,
    pub ids: Vec<u64>,
    pub times: Vec<i64>,
    /// Empty, or one for each sample.
    pub starts: Vec<i64>,
    pub values: Vec<f64>,
    side: Vec<u8>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.side.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.times.clear();
        self.starts.clear();
        self.values.clear();
        self.side.clear();
    }

    /// Makes room for so many samples more.
    pub(super) fn reserve(&mut self, samples: usize) {
        self.ids.reserve(samples);
        self.times.reserve(samples);
        self.values.reserve(samples);
    }

    #[inline]
    pub(super) fn push(&mut self, id: u64, time: i64, start: i64, value: f64) {
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(self.ids.len(), 0);
            self.starts.push(start);
        }
        self.ids.push(id);
        self.times.push(time);
        self.values.push(value);
    }

    /// Adds a native histogram, as a chunk of one.
    pub(super) fn push_histogram(&mut self, id: u64, chunk: &[u8]) {
        self.side.push(HISTOGRAM);
        put_varint(&mut self.side, id);
        put_bytes(&mut self.side, chunk);
    }

    pub(super) fn push_exemplar(&mut self, id: u64, exemplar: &Exemplar) {
        self.side.push(EXEMPLAR);
        put_varint(&mut self.side, id);
        put_signed(&mut self.side, exemplar.time);
        self.side.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        put_bytes(&mut self.side, exemplar.labels.as_encoded());
    }

    pub(super) fn push_metadata(&mut self, family: &str, metadata: &Metadata) {
        self.side.push(METADATA);
        for text in [family, metadata.kind.name(), &metadata.unit, &metadata.help] {
            put_bytes(&mut self.side, text.as_bytes());
        }
    }

    /// Bytes that the batch holds.
    pub(super) fn size(&self) -> usize {
        self.ids.len() * 24 + self.side.len()
    }

    /// The payload of its frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let count = self.ids.len();
        let mut out = Vec::with_capacity(count * 12 + self.side.len() + 32);
        let first = self.times.first().copied().unwrap_or(0);
        let one_time = self.times.iter().all(|time| *time == first);
        out.push(if one_time { ONE_TIME } else { 0 } | if self.starts.is_empty() { 0 } else { STARTS });
        put_signed(&mut out, self.dedup);
        put_varint(&mut out, count as u64);
        put_deltas(&mut out, self.ids.iter().map(|id| *id as i64));
        if one_time {
            put_signed(&mut out, first);
        } else {
            put_deltas(&mut out, self.times.iter().copied());
        }
        if !self.starts.is_empty() {
            // A start is mostly the one of the sample before, or the sample's own time less something fixed.
            put_deltas(&mut out, self.starts.iter().copied());
        }
        put_values(&mut out, &self.values);
        out.extend_from_slice(&self.side);
        out
    }
}

/// One thing out of a batch.
#[derive(Debug)]
pub(super) enum Item<'a> {
    Float { id: u64, time: i64, start: i64, value: f64 },
    Histogram { id: u64, chunk: &'a [u8] },
    Exemplar { id: u64, exemplar: Exemplar },
    Metadata { family: &'a str, metadata: Metadata },
}

/// The columns of a batch, kept from one to the next for their buffers.
#[derive(Debug, Default)]
pub(super) struct Columns {
    ids: Vec<i64>,
    times: Vec<i64>,
    starts: Vec<i64>,
    values: Vec<f64>,
}

/// Calls `visit` with the dedup width and each thing in the payload of a batch.
pub(super) fn read_batch(
    payload: &[u8],
    columns: &mut Columns,
    mut visit: impl FnMut(i64, Item<'_>),
) -> Result<(), CodecError> {
    let Columns { ids, times, starts, values } = columns;
    [&mut *ids, &mut *times, &mut *starts].into_iter().for_each(Vec::clear);
    values.clear();
    let mut reader = Reader::new(payload);
    let flags = reader.u8()?;
    let dedup = reader.signed()?;
    // Each sample has at least a byte of its id.
    let count = reader.count(payload.len())?;
    take_deltas(&mut reader, count, ids)?;
    if flags & ONE_TIME != 0 {
        times.resize(count, reader.signed()?);
    } else {
        take_deltas(&mut reader, count, times)?;
    }
    if flags & STARTS == 0 {
        starts.resize(count, 0);
    } else {
        take_deltas(&mut reader, count, starts)?;
    }
    take_values(&mut reader, count, values)?;
    for (((id, time), start), value) in ids.iter().zip(times).zip(starts).zip(values) {
        visit(dedup, Item::Float { id: *id as u64, time: *time, start: *start, value: *value });
    }
    while !reader.is_empty() {
        visit(dedup, read_side(&mut reader)?);
    }
    Ok(())
}

fn read_side<'a>(reader: &mut Reader<'a>) -> Result<Item<'a>, CodecError> {
    match reader.u8()? {
        HISTOGRAM => Ok(Item::Histogram { id: reader.varint()?, chunk: take_bytes(reader)? }),
        EXEMPLAR => {
            let (id, time) = (reader.varint()?, reader.signed()?);
            let value = f64::from_bits(reader.u64()?);
            let labels =
                Labels::from_encoded(take_bytes(reader)?).map_err(|_| CodecError("exemplar labels are damaged"))?;
            Ok(Item::Exemplar { id, exemplar: Exemplar { labels, value, time } })
        }
        METADATA => {
            let family = take_text(reader)?;
            let kind = MetricType::from_name(take_text(reader)?).unwrap_or_default();
            let metadata = Metadata { kind, unit: take_text(reader)?.to_owned(), help: take_text(reader)?.to_owned() };
            Ok(Item::Metadata { family, metadata })
        }
        _ => Err(CodecError("unknown entry in a batch")),
    }
}

/// Appends a byte string with its length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a byte string with its length.
pub(super) fn take_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], CodecError> {
    let len = reader.count(reader.rest().len())?;
    reader.take(len)
}

fn take_text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, CodecError> {
    std::str::from_utf8(take_bytes(reader)?).map_err(|_| CodecError("a text is not UTF-8"))
}

fn put_deltas(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let mut last = 0_i64;
    for number in numbers {
        put_signed(out, number.wrapping_sub(last));
        last = number;
    }
}

fn take_deltas(reader: &mut Reader<'_>, count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    out.reserve(count.min(reader.rest().len()));
    let mut last = 0_i64;
    for _ in 0..count {
        last = last.wrapping_add(reader.signed()?);
        out.push(last);
    }
    Ok(())
}

/// Values without their trailing zero bytes: whole numbers and short decimals have many. A nibble each says how many
/// bytes are kept, the highest first.
fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    let nibbles_at = out.len();
    let kept_at = nibbles_at + values.len().div_ceil(2);
    // Each value is written whole; the next begins where what is kept of it ends.
    out.resize(kept_at + values.len() * 8 + 8, 0);
    let (nibbles, kept) = out[nibbles_at..].split_at_mut(kept_at - nibbles_at);
    let mut at = 0;
    for (pair, nibbles) in values.chunks(2).zip(nibbles) {
        for (place, value) in pair.iter().enumerate() {
            let bits = value.to_bits();
            let keep = 8 - (bits.trailing_zeros() / 8) as usize;
            *nibbles |= (keep as u8) << (4 * place);
            if let Some(slot) = kept.get_mut(at..at + 8) {
                slot.copy_from_slice(&bits.to_be_bytes());
            }
            at += keep;
        }
    }
    out.truncate(kept_at + at);
}

fn take_values(reader: &mut Reader<'_>, count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let nibbles = reader.take(count.div_ceil(2))?;
    out.reserve(count);
    // The bytes are walked by hand: most values have eight bytes at hand, of which those that are not theirs are masked.
    let (kept, mut at) = (reader.rest(), 0);
    for number in 0..count {
        let byte = nibbles.get(number / 2).copied().unwrap_or(0);
        let keep = usize::from(if number % 2 == 0 { byte & 15 } else { byte >> 4 });
        if keep > 8 {
            return Err(CodecError("a value has more than eight bytes"));
        }
        let bits = match kept.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => {
                let mut bytes = [0; 8];
                let rest = kept.get(at..at + keep).ok_or(CodecError("it ends too early"))?;
                bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                u64::from_be_bytes(bytes)
            }
        };
        let mask = u64::MAX.checked_shl(64 - 8 * keep as u32).unwrap_or(0);
        out.push(f64::from_bits(bits & mask));
        at += keep;
    }
    reader.take(at).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::STALE_NAN;

    #[test]
    fn a_batch_comes_back_bit_for_bit() {
        let samples = [
            (7, 1_700_000_000_000, 0, 1.0),
            (9, 1_700_000_000_001, 5, -0.0),
            (8, -3, 5, STALE_NAN),
            (u64::MAX, i64::MAX, i64::MIN, 0.1),
            (1, 0, 0, f64::INFINITY),
        ];
        let mut batch = Batch { dedup: 1_000, ..Batch::default() };
        for (id, time, start, value) in samples {
            batch.push(id, time, start, value);
        }
        let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "x")]), value: 2.5, time: 9 };
        let metadata = Metadata { kind: MetricType::Counter, unit: "s".into(), help: "h".into() };
        batch.push_exemplar(7, &exemplar);
        batch.push_metadata("up", &metadata);
        let mut seen = Vec::new();
        let mut side = 0;
        let payload = batch.encode();
        read_batch(&payload, &mut Columns::default(), |dedup, item| {
            assert_eq!(dedup, 1_000);
            match item {
                Item::Float { id, time, start, value } => seen.push((id, time, start, value.to_bits())),
                Item::Exemplar { id, exemplar: got } => side += i32::from((id, got) == (7, exemplar.clone())),
                Item::Metadata { family, metadata: got } => side += i32::from((family, &got) == ("up", &metadata)),
                Item::Histogram { .. } => unreachable!("none was put in"),
            }
        })
        .unwrap();
        assert_eq!(seen, samples.map(|(id, time, start, value)| (id, time, start, value.to_bits())));
        assert_eq!(side, 2);
        for cut in 0..payload.len() {
            let _ = read_batch(&payload[..cut], &mut Columns::default(), |_, _| {});
        }
    }
}
