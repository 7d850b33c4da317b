//! Data points as they lie in the request: read field by field, attributes left as bytes.

use std::borrow::Cow;

use crate::proto::wire::{Field, Reader, WireError};

/// Bit 0 of `flags`: the series exists, but nothing was recorded.
const NO_RECORDED_VALUE: u64 = 1;

/// What every kind of data point has.
#[derive(Clone, Debug, Default)]
pub(super) struct Head<'a> {
    /// The `KeyValue` fields with their tags, one behind the other.
    pub attributes: Cow<'a, [u8]>,
    pub start_nanos: u64,
    pub time_nanos: u64,
    pub flags: u64,
    pub has_exemplars: bool,
}

impl Head<'_> {
    pub(super) fn is_stale(&self) -> bool {
        self.flags & NO_RECORDED_VALUE != 0
    }

    /// Milliseconds since the epoch.
    pub(super) fn time(&self) -> i64 {
        millis(self.time_nanos)
    }

    /// When counting began, in milliseconds; 0 where unknown, no time before the point, or the end of counting.
    pub(super) fn start(&self) -> i64 {
        if self.start_nanos < self.time_nanos && !self.is_stale() { millis(self.start_nanos) } else { 0 }
    }
}

/// Cannot overflow: 2^64 ns are 1.8e13 ms.
pub(super) fn millis(nanos: u64) -> i64 {
    (nanos / 1_000_000).cast_signed()
}

/// Collects the attribute fields of a message. Encoders write them in one run, which is borrowed.
struct Run<'a> {
    message: &'a [u8],
    start: usize,
    end: usize,
    apart: Option<Vec<u8>>,
}

impl<'a> Run<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self { message, start: 0, end: 0, apart: None }
    }

    /// Takes the field between two places of the message.
    #[inline]
    fn take(&mut self, start: usize, end: usize) {
        if self.end == start && self.apart.is_none() && self.end != 0 {
            self.end = end;
        } else if self.end == 0 {
            (self.start, self.end) = (start, end);
        } else {
            let mut apart = self.apart.take().unwrap_or_else(|| self.borrowed().to_vec());
            apart.extend_from_slice(self.message.get(start..end).unwrap_or_default());
            self.apart = Some(apart);
        }
    }

    fn borrowed(&self) -> &'a [u8] {
        self.message.get(self.start..self.end).unwrap_or_default()
    }

    fn finish(self) -> Cow<'a, [u8]> {
        let borrowed = self.borrowed();
        self.apart.map_or(Cow::Borrowed(borrowed), Cow::Owned)
    }
}

/// Which numbers the fields of [`Head`] have in a kind of point.
#[derive(Clone, Copy)]
struct Numbers {
    attributes: u32,
    exemplars: u32,
    flags: u32,
}

/// Walks a point; fields that are not part of the head go to `visit`.
#[inline]
fn walk<'a>(
    message: &'a [u8],
    numbers: Numbers,
    mut visit: impl FnMut(Field<'a>) -> Result<(), WireError>,
) -> Result<Head<'a>, WireError> {
    let mut head = Head::default();
    let mut run = Run::new(message);
    let mut reader = Reader::new(message);
    loop {
        let start = message.len() - reader.rest().len();
        let Some(field) = reader.next_field()? else { break };
        match field.number {
            2 => head.start_nanos = field.fixed64()?,
            3 => head.time_nanos = field.fixed64()?,
            number if number == numbers.attributes => {
                field.bytes()?;
                run.take(start, message.len() - reader.rest().len());
            }
            number if number == numbers.flags => head.flags = field.uint()?,
            number if number == numbers.exemplars => head.has_exemplars = true,
            _ => visit(field)?,
        }
    }
    head.attributes = run.finish();
    Ok(head)
}

/// The time of a point of any kind.
pub(super) fn time_nanos(message: &[u8]) -> Result<u64, WireError> {
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        if field.number == 3 {
            return field.fixed64();
        }
    }
    Ok(0)
}

/// A gauge's or sum's point; the value is `None` where the sender set none.
#[inline]
pub(super) fn number(message: &[u8]) -> Result<(Head<'_>, Option<f64>), WireError> {
    if let Some(plain) = plain_number(message)? {
        return Ok(plain);
    }
    let mut value = None;
    let head = walk(message, NUMBER, |field| {
        match field.number {
            4 => value = Some(field.double()?),
            6 => value = Some(field.fixed64()?.cast_signed() as f64),
            _ => {}
        }
        Ok(())
    })?;
    Ok((head, value))
}

/// A point with times, value and attributes in the order that encoders use, and nothing else: nearly all are such.
#[inline]
fn plain_number(message: &[u8]) -> Result<Option<(Head<'_>, Option<f64>)>, WireError> {
    let mut head = Head::default();
    let mut reader = Reader::new(message);
    if reader.take_tag(0x11) {
        head.start_nanos = reader.fixed64()?;
    }
    if reader.take_tag(0x19) {
        head.time_nanos = reader.fixed64()?;
    }
    let value = if reader.take_tag(0x21) {
        f64::from_bits(reader.fixed64()?)
    } else if reader.take_tag(0x31) {
        reader.fixed64()?.cast_signed() as f64
    } else {
        return Ok(None);
    };
    let attributes = reader.rest();
    while reader.take_tag(0x3a) {
        reader.delimited()?;
    }
    head.attributes = Cow::Borrowed(attributes);
    Ok(reader.is_empty().then_some((head, Some(value))))
}

const NUMBER: Numbers = Numbers { attributes: 7, exemplars: 5, flags: 8 };

/// Numbers of an explicit histogram. Reused from point to point.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Explicit {
    pub count: u64,
    pub sum: Option<f64>,
    pub counts: Vec<u64>,
    pub bounds: Vec<f64>,
}

pub(super) fn explicit<'a>(message: &'a [u8], into: &mut Explicit) -> Result<Head<'a>, WireError> {
    (into.count, into.sum) = (0, None);
    into.counts.clear();
    into.bounds.clear();
    walk(message, EXPLICIT, |field| {
        match field.number {
            4 => into.count = field.fixed64()?,
            5 => into.sum = Some(field.double()?),
            6 => field.append_fixed64s(&mut into.counts)?,
            7 => field.append_doubles(&mut into.bounds)?,
            _ => {}
        }
        Ok(())
    })
}

const EXPLICIT: Numbers = Numbers { attributes: 9, exemplars: 8, flags: 10 };

/// Numbers of an exponential histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exponential {
    pub count: u64,
    pub sum: Option<f64>,
    pub scale: i64,
    pub zero_count: u64,
    pub zero_threshold: f64,
    pub positive: Buckets,
    pub negative: Buckets,
}

/// Bucket `offset + i` of one side has `counts[i]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets {
    pub offset: i64,
    pub counts: Vec<u64>,
}

pub(super) fn exponential(message: &[u8]) -> Result<(Head<'_>, Exponential), WireError> {
    let mut point = Exponential::default();
    let head = walk(message, EXPONENTIAL, |field| {
        match field.number {
            4 => point.count = field.fixed64()?,
            5 => point.sum = Some(field.double()?),
            6 => point.scale = field.sint()?,
            7 => point.zero_count = field.fixed64()?,
            8 => point.positive = buckets(field.bytes()?)?,
            9 => point.negative = buckets(field.bytes()?)?,
            14 => point.zero_threshold = field.double()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((head, point))
}

const EXPONENTIAL: Numbers = Numbers { attributes: 1, exemplars: 11, flags: 10 };

fn buckets(message: &[u8]) -> Result<Buckets, WireError> {
    let mut buckets = Buckets::default();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            // A sint32: anything beyond would only be a mistake, and must not overflow later.
            1 => buckets.offset = i64::from(field.sint()? as i32),
            2 => field.append_uints(&mut buckets.counts)?,
            _ => {}
        }
    }
    Ok(buckets)
}

/// Numbers of a summary.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    pub count: u64,
    pub sum: f64,
    /// Quantile and value.
    pub quantiles: Vec<(f64, f64)>,
}

pub(super) fn summary(message: &[u8]) -> Result<(Head<'_>, Summary), WireError> {
    let mut point = Summary::default();
    let head = walk(message, SUMMARY, |field| {
        match field.number {
            4 => point.count = field.fixed64()?,
            5 => point.sum = field.double()?,
            6 => {
                let (mut quantile, mut value) = (0.0, 0.0);
                let mut reader = Reader::new(field.bytes()?);
                while let Some(field) = reader.next_field()? {
                    match field.number {
                        1 => quantile = field.double()?,
                        2 => value = field.double()?,
                        _ => {}
                    }
                }
                point.quantiles.push((quantile, value));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok((head, point))
}

/// Summaries have no exemplars: 0 is no field's number.
const SUMMARY: Numbers = Numbers { attributes: 7, exemplars: 0, flags: 8 };

/// The kinds of point that carry exemplars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PointKind {
    Number,
    Explicit,
    Exponential,
}

/// The bytes of a point's exemplars.
pub(super) fn exemplars(message: &[u8], kind: PointKind) -> Result<Vec<&[u8]>, WireError> {
    let number = match kind {
        PointKind::Number => NUMBER.exemplars,
        PointKind::Explicit => EXPLICIT.exemplars,
        PointKind::Exponential => EXPONENTIAL.exemplars,
    };
    let mut found = Vec::new();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        if field.number == number {
            found.push(field.bytes()?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::opentelemetry::proto::metrics::v1::{NumberDataPoint, number_data_point};
    use crate::proto::wire::{put_bytes, put_fixed64, put_uint};
    use prost::Message as _;

    #[test]
    fn attributes_are_borrowed_in_one_run_and_gathered_from_several() {
        let mut whole = Vec::new();
        put_fixed64(&mut whole, 3, 2_000_000);
        put_bytes(&mut whole, 7, b"ab");
        put_bytes(&mut whole, 7, b"c");
        put_uint(&mut whole, 8, 1);
        let (head, value) = number(&whole).unwrap();
        assert!(matches!(&head.attributes, Cow::Borrowed(bytes) if *bytes == b"\x3a\x02ab\x3a\x01c"));
        assert_eq!((head.time(), head.start(), head.is_stale(), value), (2, 0, true, None));
        put_bytes(&mut whole, 7, b"d");
        let (head, _) = number(&whole).unwrap();
        assert_eq!(*head.attributes, *b"\x3a\x02ab\x3a\x01c\x3a\x01d");
    }

    #[test]
    fn integers_and_doubles_are_values() {
        let point = |value| NumberDataPoint { value: Some(value), ..NumberDataPoint::default() }.encode_to_vec();
        assert_eq!(number(&point(number_data_point::Value::AsInt(-5))).unwrap().1, Some(-5.0));
        assert_eq!(number(&point(number_data_point::Value::AsDouble(0.0))).unwrap().1, Some(0.0));
    }

    #[test]
    fn a_point_reads_the_same_in_any_order_of_its_fields() {
        let mut times = Vec::new();
        put_fixed64(&mut times, 2, 1_000_000);
        put_fixed64(&mut times, 3, 3_000_000);
        let (mut value, mut attributes, mut flags) = (Vec::new(), Vec::new(), Vec::new());
        put_fixed64(&mut value, 6, 7);
        put_bytes(&mut attributes, 7, b"ab");
        put_bytes(&mut attributes, 7, b"");
        put_uint(&mut flags, 8, 0);
        for parts in [
            [&times, &value, &attributes, &Vec::new()],
            [&times, &value, &attributes, &flags],
            [&attributes, &times, &value, &flags],
            [&value, &attributes, &flags, &times],
        ] {
            let message = parts.map(Vec::as_slice).concat();
            let (head, found) = number(&message).unwrap();
            assert_eq!((head.start(), head.time(), found), (1, 3, Some(7.0)), "{message:?}");
            assert_eq!(*head.attributes, *attributes, "{message:?}");
        }
        let whole = [times, value, attributes].concat();
        for end in 1..whole.len() {
            // Cut short it is no other point.
            let (head, found) = match number(&whole[..end]) {
                Ok(point) => point,
                Err(error) => {
                    assert_eq!(error, WireError::Truncated);
                    continue;
                }
            };
            assert!(found.is_none() || head.attributes.len() < 6, "{end}");
        }
    }
}
